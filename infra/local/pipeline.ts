/**
 * What SQS and Lambda's event source are to a pipeline step, on one machine: takes messages from the queue, runs the
 * step, deletes what succeeded, lets come back what failed (after its visibility time, ever longer), and leaves what
 * failed too often among the dead letters.
 */
import type { Logger } from '#shared/log.ts';

export interface PipelineQueue<T> {
  receive(
    max: number,
    visibilityMs: number,
  ): Promise<readonly { readonly id: string | number; readonly body: T; readonly receiveCount: number }[]>;
  delete(ids: readonly (string | number)[]): Promise<void>;
}

export interface PipelineOptions<T> {
  readonly queue: PipelineQueue<T>;
  readonly step: (message: T) => Promise<void>;
  readonly batch: number;
  readonly visibilityMs: number;
  readonly log: Logger;
}

const IDLE_MS = 250;

export interface Pipeline {
  /** A message was sent: have a look now. */
  wake(): void;
  close(): Promise<void>;
}

export function startPipeline<T>({ queue, step, batch, visibilityMs, log }: PipelineOptions<T>): Pipeline {
  let closed = false;
  let wakeUp: (() => void) | undefined;
  let rung = false;

  const pause = async (): Promise<void> => {
    if (!rung && !closed) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, IDLE_MS);
        wakeUp = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    wakeUp = undefined;
    rung = false;
  };

  async function run(): Promise<void> {
    while (!closed) {
      let messages: Awaited<ReturnType<typeof queue.receive>> = [];
      try {
        messages = await queue.receive(batch, visibilityMs);
      } catch (error) {
        log.error({ err: error }, 'the queue could not be read');
      }
      if (messages.length === 0) await pause();
      for (const { id, body, receiveCount } of messages) {
        try {
          await step(body);
          await queue.delete([id]);
        } catch (error) {
          log.error({ err: error, receiveCount }, 'a pipeline step failed; the message will come back');
        }
      }
    }
  }

  const running = run();
  const wake = (): void => {
    rung = true;
    wakeUp?.();
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
