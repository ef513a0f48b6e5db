/**
 * An SQS on this machine for tests: fauxqs, spoken to over a real socket, with a queue and its dead letters as they are deployed, and what
 * Lambda does between a queue and a function. ARCHIPEL_SQS_ENDPOINT names another one (or AWS itself) to be tested against.
 */
import { randomUUID } from 'node:crypto';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
  type SQSClientConfig,
} from '@aws-sdk/client-sqs';
import { startFauxqs } from 'fauxqs';
import type { SqsBatchResponse, SqsEvent } from '#functions/aws/sqs-events.ts';

export interface TestSqs {
  /** Whether it lives on the clock of this process, which a test may turn. */
  readonly isOurs: boolean;
  readonly config: SQSClientConfig;
  createQueue(maxReceiveCount: number): Promise<TestQueue>;
  close(): Promise<void>;
}

export interface TestQueue {
  readonly queueUrl: string;
  readonly deadLetterUrl: string;
  readonly client: SQSClientConfig;
  remove(): Promise<void>;
}

export async function startSqs(): Promise<TestSqs> {
  const known = process.env.ARCHIPEL_SQS_ENDPOINT;
  const server = known === undefined ? await startFauxqs({ host: '127.0.0.1', port: 0, logger: false }) : undefined;
  const endpoint = known ?? `http://127.0.0.1:${server!.port}`;
  const config: SQSClientConfig = {
    endpoint,
    // The URLs that it gives its queues are of a host that need not be this one.
    useQueueUrlAsEndpoint: false,
    ...(!/amazonaws\.com/.test(endpoint) && {
      region: 'us-east-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    }),
  };
  const client = new SQSClient(config);
  const create = async (name: string, Attributes: Record<string, string>): Promise<string> =>
    (await client.send(new CreateQueueCommand({ QueueName: name, Attributes }))).QueueUrl!;
  return {
    isOurs: server !== undefined,
    config,
    async createQueue(maxReceiveCount) {
      const name = `archipel-test-${randomUUID()}`;
      const deadLetterUrl = await create(`${name}-dead`, {});
      const { Attributes } = await client.send(
        new GetQueueAttributesCommand({ QueueUrl: deadLetterUrl, AttributeNames: ['QueueArn'] }),
      );
      const deadLetterTargetArn = Attributes!.QueueArn!;
      const queueUrl = await create(name, { RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount }) });
      return {
        queueUrl,
        deadLetterUrl,
        client: config,
        async remove() {
          for (const QueueUrl of [queueUrl, deadLetterUrl]) await client.send(new DeleteQueueCommand({ QueueUrl }));
        },
      };
    },
    async close() {
      client.destroy();
      await server?.stop();
    },
  };
}

/**
 * One round of Lambda's event source mapping: takes a batch, calls the function with it, deletes what was not reported as failed. What was
 * hidden for `visibilitySeconds` shows again by itself. False: there was nothing.
 */
export async function pollOnce(
  client: SQSClient,
  queueUrl: string,
  settings: { readonly batch: number; readonly visibilitySeconds: number },
  handler: (event: SqsEvent) => Promise<SqsBatchResponse>,
): Promise<boolean> {
  const { Messages = [] } = await client.send(
    new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: settings.batch,
      VisibilityTimeout: settings.visibilitySeconds,
      MessageSystemAttributeNames: ['All'],
    }),
  );
  if (Messages.length === 0) return false;
  let failed: ReadonlySet<string>;
  try {
    const { batchItemFailures } = await handler(eventOf(Messages));
    failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  } catch {
    return true;
  }
  const done = Messages.filter(({ MessageId }) => !failed.has(MessageId!));
  const Entries = done.map(({ ReceiptHandle }, i) => ({ Id: `${i}`, ReceiptHandle }));
  if (Entries.length > 0) await client.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
  return true;
}

/** As AWS sends it. */
export function eventOf(messages: readonly Message[]): SqsEvent {
  return {
    Records: messages.map(({ MessageId, ReceiptHandle, Body, MD5OfBody, Attributes }) => ({
      messageId: MessageId!,
      receiptHandle: ReceiptHandle!,
      body: Body!,
      attributes: { ...Attributes },
      messageAttributes: {},
      md5OfBody: MD5OfBody!,
      eventSource: 'aws:sqs',
      eventSourceARN: 'arn:aws:sqs:us-east-1:000000000000:pack-arrived',
      awsRegion: 'us-east-1',
    })),
  };
}
