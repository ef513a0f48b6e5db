/**
 * What SQS and Lambda's event source are to a pipeline step, on one machine: takes messages from the queue, runs the
 * step, deletes what succeeded, lets come back what failed (ever later), and leaves what failed too often among the dead
 * letters. A message is taken on a short lease that is renewed while the step runs: what a killed process had in hand comes
 * back within seconds, not after the longest time that a step may take.
 */
import type { Queue, QueueMessage } from '#shared/archive/queue.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';

export interface PipelineOptions<T> {
  readonly queue: Pick<Queue<T>, 'receive' | 'extend' | 'delete' | 'retry'>;
  readonly step: (message: T) => Promise<void>;
  readonly batch: number;
  /** Batches that are worked on at once, as Lambda runs several instances of a function. Default 1. */
  readonly concurrency?: number;
  readonly log: Logger;
  readonly leaseMs?: number;
}

const IDLE_MS = 250;
const LEASE_MS = 15_000;
const RETRY_CAP_MS = 300_000;
const FIRST_RETRY_MS = 2_000;

export interface Pipeline {
  /** A message was sent: have a look now. */
  wake(): void;
  close(): Promise<void>;
}

export function startPipeline<T>(options: PipelineOptions<T>): Pipeline {
  const { queue, step, batch, log, concurrency = 1, leaseMs = LEASE_MS } = options;
  let closed = false;
  const sleeping = new Set<() => void>();
  let rung = false;

  const pause = async (): Promise<void> => {
    if (!rung && !closed) {
      await new Promise<void>((resolve) => {
        const wakeUp = (): void => {
          clearTimeout(timer);
          sleeping.delete(wakeUp);
          resolve();
        };
        const timer = setTimeout(wakeUp, IDLE_MS);
        sleeping.add(wakeUp);
      });
    }
    rung = false;
  };

  async function run(): Promise<void> {
    while (!closed) {
      let messages: readonly QueueMessage<T>[] = [];
      try {
        messages = await queue.receive(batch, leaseMs);
      } catch (error) {
        log.error({ err: error }, 'the queue could not be read');
      }
      if (messages.length === 0) await pause();
      else await work(messages);
    }
  }

  async function work(messages: readonly QueueMessage<T>[]): Promise<void> {
    const inHand = new Set(messages.map(({ id }) => id));
    const renew = (): void => {
      queue.extend([...inHand], leaseMs).catch((error: unknown) => {
        log.warn({ err: error }, 'a lease could not be renewed; the message may be worked on twice');
      });
    };
    const renewing = setInterval(renew, leaseMs / 3);
    try {
      for (const message of messages) {
        await workOn(message);
        inHand.delete(message.id);
      }
    } finally {
      clearInterval(renewing);
    }
  }

  async function workOn({ id, body, receiveCount }: QueueMessage<T>): Promise<void> {
    try {
      await step(body);
      await queue.delete([id]);
    } catch (error) {
      log.error({ err: error, receiveCount }, 'a pipeline step failed; the message will come back');
      const reason = isArchiveError(error) ? error.message : 'The step failed unexpectedly; the log says more.';
      const delayMs = Math.min(RETRY_CAP_MS, FIRST_RETRY_MS * 4 ** (receiveCount - 1));
      // Where even this fails, the lease runs out by itself.
      await queue.retry(id, { reason, delayMs }).catch(() => {});
    }
  }

  const running = Promise.all(Array.from({ length: concurrency }, run));
  const wake = (): void => {
    rung = true;
    for (const wakeUp of [...sleeping]) wakeUp();
  };
  return {
    wake,
    async close() {
      closed = true;
      wake();
      await running;
    },
  };
}
