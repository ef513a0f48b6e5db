/**
 * From a batch of SQS messages, as Lambda hands it over, to a step of the pipeline: each message is read, worked on and reported on its
 * own (ReportBatchItemFailures), so that one that is poison or hangs takes none of the others with it. Understands S3's notifications
 * of objects that were created, and messages of our own.
 */
import { z } from 'zod';
import type { PackArrived } from '#functions/ingest/step.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';

/** What is looked at of what AWS sends. */
const sqsEvent = z.object({
  Records: z.array(
    z.looseObject({
      messageId: z.string().min(1),
      body: z.string(),
      attributes: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

export type SqsEvent = z.infer<typeof sqsEvent>;
type SqsRecord = SqsEvent['Records'][number];

export interface SqsBatchResponse {
  readonly batchItemFailures: readonly { readonly itemIdentifier: string }[];
}

export interface SqsEventsOptions {
  readonly step: (message: PackArrived) => Promise<void>;
  /** Whose notifications are believed. */
  readonly bucket: string;
  readonly log: Logger;
}

/** Of Lambda's context. */
export interface Remaining {
  getRemainingTimeInMillis(): number;
}

/** Enough to answer, so that what is done is deleted, before Lambda ends the call and all of it comes again. */
const ANSWER_MS = 3_000;

const ownMessage = z.strictObject({ key: z.string().min(1).max(1024) });
const testEvent = z.looseObject({ Service: z.literal('Amazon S3'), Event: z.literal('s3:TestEvent') });
const notification = z.object({
  Records: z
    .array(
      z.object({
        eventSource: z.literal('aws:s3'),
        eventName: z.string(),
        s3: z.object({
          bucket: z.object({ name: z.string() }),
          object: z.object({
            key: z
              .string()
              .min(1)
              .max(3 * 1024),
          }),
        }),
      }),
    )
    .min(1),
});

/** Rejects only what is no event of SQS at all. */
export function createSqsHandler({
  step,
  bucket,
  log,
}: SqsEventsOptions): (event: unknown, context?: Remaining) => Promise<SqsBatchResponse> {
  async function workOn(record: SqsRecord): Promise<void> {
    let failure: unknown;
    for (const message of readMessages(record.body, bucket)) {
      // What stands beside it in the same notification is none the worse for it.
      await step(message).catch((error: unknown) => {
        failure ??= error;
      });
    }
    if (failure !== undefined) throw failure;
  }

  return async (event, context) => {
    const parsed = sqsEvent.safeParse(event);
    if (!parsed.success) throw new TypeError('this function is called with events of SQS only');
    const outOfTime = deadline(context);
    try {
      const failed = await Promise.all(
        parsed.data.Records.map(async (record) => {
          const { messageId } = record;
          try {
            await Promise.race([workOn(record), outOfTime.reached]);
            return [];
          } catch (error) {
            const receiveCount = Number(record.attributes?.ApproximateReceiveCount ?? 1);
            log.error({ err: error, messageId, receiveCount }, 'a pipeline step failed; the message will come back');
            return [{ itemIdentifier: messageId }];
          }
        }),
      );
      return { batchItemFailures: failed.flat() };
    } finally {
      outOfTime.stop();
    }
  };
}

/** What a body tells of. Error: `bad-request` for what nobody can work on. */
function readMessages(body: string, bucket: string): readonly PackArrived[] {
  const value = parseJson(body);
  const own = ownMessage.safeParse(value);
  if (own.success) return [own.data];
  // Sent once, when a bucket is told to notify.
  if (testEvent.safeParse(value).success) return [];
  const told = notification.safeParse(value);
  if (!told.success) throw unreadable('It is neither a notification of S3 nor one of ours.');
  return told.data.Records.map(({ eventName, s3 }) => {
    if (!eventName.startsWith('ObjectCreated:')) throw unreadable('It tells of something else than a new object.');
    if (s3.bucket.name !== bucket) throw unreadable('It tells of another bucket.');
    return { key: decodeKey(s3.object.key) };
  });
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    throw unreadable('It is no JSON.');
  }
}

/** S3 writes keys as forms do: a blank is a plus. */
function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    throw unreadable('Its key is not URL-encoded.');
  }
}

const unreadable = (why: string): ArchiveError =>
  new ArchiveError('bad-request', `A message of the queue cannot be understood. ${why}`);

/** Rejects shortly before the call is over; without a context never. */
function deadline(context: Remaining | undefined): { readonly reached: Promise<never>; stop(): void } {
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  if (context === undefined) return { reached: promise, stop: () => {} };
  const error = new ArchiveError('timeout', 'The step was not finished in the time that a call may take.');
  const timer = setTimeout(() => reject(error), Math.max(0, context.getRemainingTimeInMillis() - ANSWER_MS));
  return { reached: promise, stop: () => clearTimeout(timer) };
}
