/** What is asked of a client of AWS, to its end before it closes, and not at all afterwards. */
import { ArchiveError } from '#shared/errors.ts';

export interface WorkInHand {
  /** Error `unavailable` once it is closed. */
  guard<T>(work: () => Promise<T>): Promise<T>;
  /** Takes no more; resolves when what was taken has ended. */
  close(): Promise<void>;
}

/** @param subject of the sentence that refuses: "The index" */
export function workInHand(subject: string): WorkInHand {
  const running = new Set<Promise<unknown>>();
  let isClosed = false;
  return {
    async guard(work) {
      if (isClosed) throw new ArchiveError('unavailable', `${subject} is closed.`);
      const work$ = work();
      running.add(work$);
      try {
        return await work$;
      } finally {
        running.delete(work$);
      }
    },
    async close() {
      isClosed = true;
      await Promise.allSettled(running);
    },
  };
}
