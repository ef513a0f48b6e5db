/**
 * The queue of the cloud, on SQS: a standard queue whose redrive policy counts the deliveries and names the queue of its dead letters.
 * What is throttled or fails on the way is tried again, of a batch only what is left of it; sent twice is borne by whoever receives.
 * SQS keeps no reasons and tells no times of death.
 */
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
  type SQSClientConfig,
} from '@aws-sdk/client-sqs';
import { encodeMessage, type Queue, type QueueMessage } from '#shared/archive/queue.ts';
import { inParallel } from '#shared/archive/walk.ts';
import { faultOf } from './faults.ts';
import { defaultTiming, type Pace, retried, type Timing } from './retry.ts';
import { workInHand } from './work-in-hand.ts';

export interface SqsQueueOptions {
  readonly queueUrl: string;
  /** The target of its redrive policy. */
  readonly deadLetterUrl: string;
  /** Endpoint, region and credentials where they are not those of the environment. */
  readonly client?: SQSClientConfig;
  /** How long `receive` waits for the first message: 1 to 20 asks all of SQS's servers, 0 only some, which may know of none. Default 1. */
  readonly waitSeconds?: number;
  readonly timing?: Timing;
}

const pace: Pace = { patienceMs: 20_000, firstPauseMs: 50, longestPauseMs: 2_000, what: 'the queue' };
const CONNECT_MS = 2_000;
const SILENCE_MS = 5_000;
const BATCH = 10;
const BATCH_BYTES = 256 * 1024;
const MAXIMUM_DELAY_SECONDS = 15 * 60;
const MAXIMUM_VISIBILITY_SECONDS = 12 * 60 * 60;
/** Dead letters are hidden for as long while they are looked through; whoever is slower sees some again, and stops. */
const LOOK_SECONDS = 60;

interface Failure {
  readonly Id: string | undefined;
  readonly Code: string | undefined;
  readonly SenderFault: boolean | undefined;
  readonly Message?: string | undefined;
}

/** What each entry of a batch has. */
interface Entry {
  readonly Id: string;
}

export function createSqsQueue<T>({
  queueUrl,
  deadLetterUrl,
  client: config,
  waitSeconds = 1,
  timing = defaultTiming,
}: SqsQueueOptions): Queue<T> {
  const client = new SQSClient({
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: waitSeconds * 1_000 + SILENCE_MS,
      throwOnRequestTimeout: true,
    },
    ...config,
    maxAttempts: 1,
  });
  const inHand = workInHand('The queue');
  const guarded = inHand.guard;

  /** One batch, whose entries succeed and fail each on its own. Rejects when those that can be done are. */
  async function inBatch<E extends Entry>(
    entries: readonly E[],
    send: (entries: E[]) => Promise<{ readonly Failed?: readonly Failure[] | undefined }>,
    isMoot: (failure: Failure) => boolean,
  ): Promise<void> {
    let left = [...entries];
    let refused: unknown;
    await retried(timing, pace, async () => {
      const { Failed = [] } = await send(left);
      const again = new Set<string>();
      let cause: unknown;
      for (const failure of Failed) {
        if (isMoot(failure) || failure.Id === undefined) continue;
        const error = errorOf(failure);
        const fault = faultOf(error, pace.what);
        if (fault.kind === 'failed') refused ??= fault.error;
        else {
          again.add(failure.Id);
          cause = error;
        }
      }
      left = left.filter(({ Id }) => again.has(Id));
      if (left.length > 0) throw cause;
    });
    if (refused !== undefined) throw refused;
  }

  async function sendBodies(bodies: readonly string[], delayMs: number): Promise<void> {
    const DelaySeconds = wholeSeconds(delayMs, MAXIMUM_DELAY_SECONDS);
    await inParallel(batchesOf(bodies), (batch) =>
      inBatch(
        batch.map((MessageBody, i) => ({ Id: `${i}`, MessageBody, DelaySeconds })),
        (Entries) => client.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries })),
        () => false,
      ),
    );
  }

  async function deleteFrom(QueueUrl: string, ids: readonly string[]): Promise<void> {
    await inParallel(handleBatches(ids), (batch) =>
      inBatch(batch, (Entries) => client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries })), isOfNoDelivery),
    );
  }

  async function hide(QueueUrl: string, ids: readonly string[], visibilityMs: number): Promise<void> {
    const VisibilityTimeout = wholeSeconds(visibilityMs, MAXIMUM_VISIBILITY_SECONDS);
    await inParallel(handleBatches(ids), (batch) =>
      inBatch(
        batch.map((entry) => ({ ...entry, VisibilityTimeout })),
        (Entries) => client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries })),
        isOfNoDelivery,
      ),
    );
  }

  async function take(QueueUrl: string, max: number, VisibilityTimeout: number, wait: number): Promise<Message[]> {
    const command = new ReceiveMessageCommand({
      QueueUrl,
      VisibilityTimeout,
      MaxNumberOfMessages: Math.min(BATCH, max),
      WaitTimeSeconds: wait,
      MessageSystemAttributeNames: ['ApproximateReceiveCount', 'SentTimestamp'],
    });
    return (await retried(timing, pace, () => client.send(command))).Messages ?? [];
  }

  /** Looks through the dead letters, each once, until it is enough. What is not `gone` shows again at the end. */
  async function visitDead(
    visit: (messages: readonly Message[], gone: (messages: readonly Message[]) => void) => Promise<'more' | 'enough'>,
  ): Promise<void> {
    const seen = new Map<string, string>();
    const gone = (messages: readonly Message[]): void => {
      for (const { MessageId = '' } of messages) seen.set(MessageId, '');
    };
    try {
      for (;;) {
        const page = await take(deadLetterUrl, BATCH, LOOK_SECONDS, waitSeconds);
        const fresh = page.filter(({ MessageId = '' }) => !seen.has(MessageId));
        for (const { MessageId = '', ReceiptHandle = '' } of page) seen.set(MessageId, ReceiptHandle);
        if (fresh.length < page.length || page.length === 0) break;
        if ((await visit(fresh, gone)) === 'enough') break;
      }
    } finally {
      // Where this fails they show again by themselves.
      await hide(deadLetterUrl, [...seen.values()], 0).catch(() => {});
    }
  }

  async function countOf(QueueUrl: string): Promise<{ ready: number; inFlight: number }> {
    const AttributeNames = [
      'ApproximateNumberOfMessages',
      'ApproximateNumberOfMessagesDelayed',
      'ApproximateNumberOfMessagesNotVisible',
    ] as const;
    const command = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] });
    const { Attributes = {} } = await retried(timing, pace, () => client.send(command));
    const [visible = 0, delayed = 0, inFlight = 0] = AttributeNames.map((name) => Number(Attributes[name] ?? 0));
    return { ready: visible + delayed, inFlight };
  }

  const sendAll: Queue<T>['sendAll'] = (messages, { delayMs = 0 } = {}) =>
    guarded(() => sendBodies(messages.map(encodeMessage), delayMs));

  return {
    sendAll,
    send: (message, options) => sendAll([message], options),

    receive: (max, visibilityMs) =>
      guarded(async () => {
        const visibility = wholeSeconds(visibilityMs, MAXIMUM_VISIBILITY_SECONDS);
        const messages: QueueMessage<T>[] = [];
        for (let wait = waitSeconds, left = max; left > 0; wait = 0) {
          let taken: Message[];
          try {
            taken = await take(queueUrl, left, visibility, wait);
          } catch (error) {
            if (messages.length === 0) throw error;
            // Those that came are hidden from everybody else.
            break;
          }
          messages.push(...taken.flatMap((message) => readMessage<T>(message)));
          // Hidden for no time at all they would be found again and again.
          if (taken.length < Math.min(BATCH, left) || visibility === 0) break;
          left -= taken.length;
        }
        return messages;
      }),

    delete: (ids) => guarded(() => deleteFrom(queueUrl, ids)),
    extend: (ids, visibilityMs) => guarded(() => hide(queueUrl, ids, visibilityMs)),
    retry: (id, { delayMs }) => guarded(() => hide(queueUrl, [id], delayMs)),

    counts: () =>
      guarded(async () => {
        const [living, dead] = await Promise.all([countOf(queueUrl), countOf(deadLetterUrl)]);
        return { ...living, dead: dead.ready + dead.inFlight };
      }),

    deadLetters: (limit) =>
      guarded(async () => {
        const found: Message[] = [];
        await visitDead(async (messages) => {
          found.push(...messages);
          return found.length < limit ? 'more' : 'enough';
        });
        return found
          .toSorted((a, b) => sentAtMs(a) - sentAtMs(b))
          .slice(0, limit)
          .map(({ MessageId = '', Body = '' }) => ({ id: MessageId, body: readBody(Body) }));
      }),

    redrive: (ids) =>
      guarded(async () => {
        const wanted = ids && new Set(ids);
        let count = 0;
        await visitDead(async (messages, gone) => {
          const chosen = messages.filter(({ MessageId = '' }) => wanted?.delete(MessageId) ?? true);
          // First sent, then deleted: whoever is interrupted in between has it twice.
          await sendBodies(
            chosen.map(({ Body = '' }) => Body),
            0,
          );
          await deleteFrom(
            deadLetterUrl,
            chosen.map(({ ReceiptHandle = '' }) => ReceiptHandle),
          );
          gone(chosen);
          count += chosen.length;
          return wanted?.size === 0 ? 'enough' : 'more';
        });
        return count;
      }),

    async close() {
      await inHand.close();
      client.destroy();
    },
  };
}

/** None where nobody could work on it: it comes as often as it may, and is a dead letter then. */
function readMessage<T>({ Body = '', ReceiptHandle = '', Attributes }: Message): QueueMessage<T>[] {
  try {
    const receiveCount = Number(Attributes?.ApproximateReceiveCount ?? 1);
    return [{ id: ReceiptHandle, body: JSON.parse(Body) as T, receiveCount }];
  } catch {
    return [];
  }
}

/** Of a dead letter: text that is no JSON as it is. */
function readBody(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return body;
  }
}

const sentAtMs = ({ Attributes }: Message): number => Number(Attributes?.SentTimestamp ?? 0);

/** SQS counts in seconds: rather too long than too short. */
function wholeSeconds(ms: number, maximum: number): number {
  const seconds = Math.max(0, Math.ceil(ms / 1_000));
  if (!(seconds <= maximum)) throw new RangeError(`SQS hides a message for at most ${maximum} seconds here`);
  return seconds;
}

/** By number and by bytes. */
function batchesOf(bodies: readonly string[]): string[][] {
  const batches: string[][] = [];
  let roomBytes = 0;
  for (const body of bodies) {
    const lengthBytes = Buffer.byteLength(body);
    const open = batches.at(-1);
    if (open === undefined || open.length === BATCH || lengthBytes > roomBytes) {
      batches.push([body]);
      roomBytes = BATCH_BYTES - lengthBytes;
    } else {
      open.push(body);
      roomBytes -= lengthBytes;
    }
  }
  return batches;
}

function handleBatches(ids: readonly string[]): { Id: string; ReceiptHandle: string }[][] {
  const handles = ids.filter((id) => id !== '');
  return Array.from({ length: Math.ceil(handles.length / BATCH) }, (_, batch) =>
    handles.slice(batch * BATCH, (batch + 1) * BATCH).map((ReceiptHandle, i) => ({ Id: `${i}`, ReceiptHandle })),
  );
}

/** The message is deleted, was delivered to somebody else, or never was ours: nothing is to be done about it. */
function isOfNoDelivery({ Code = '', Message: message = '' }: Failure): boolean {
  if (/(ReceiptHandleIsInvalid|MessageNotInflight)$/.test(Code)) return true;
  return /InvalidParameterValue$/.test(Code) && /receipt ?handle/i.test(message);
}

/** As if the entry had been a request of its own. */
function errorOf({ Code = 'Unknown', SenderFault = false, Message: message }: Failure): Error {
  const $metadata = { httpStatusCode: SenderFault ? 400 : 500 };
  return Object.assign(new Error(message ?? 'SQS did not take an entry of a batch'), { name: Code, $metadata });
}
