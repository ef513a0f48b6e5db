/**
 * What a scheduled rule is to a pipeline step, on one machine: runs it at the start and then time after time, never twice at once. What
 * failed is logged and done again the next time.
 */
import type { Logger } from '#shared/log.ts';

export interface Schedule {
  /** Resolves when nothing of it runs. */
  close(): Promise<void>;
}

export function startSchedule(run: () => Promise<void>, everyMs: number, log: Logger): Schedule {
  let running: Promise<void> | undefined;
  const begin = (): void => {
    running ??= run()
      .catch((error: unknown) => log.error({ err: error }, 'a scheduled step failed; it will be tried again'))
      .finally(() => {
        running = undefined;
      });
  };
  begin();
  const timer = setInterval(begin, everyMs).unref();
  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}
