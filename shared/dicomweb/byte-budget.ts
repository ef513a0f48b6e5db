/**
 * A budget of memory for work that has to hold bytes while it goes on: what does not fit waits in the order it came, holding
 * nothing. It knows nothing of what the bytes are.
 */
import { ArchiveError } from '../errors.ts';

export interface ByteBudget {
  /**
   * Does `work` once `sizeBytes` fit beside what is held already; they count until it has settled. More than the whole budget is
   * done alone. Error `unavailable` when too many wait.
   */
  hold<T>(sizeBytes: number, work: () => Promise<T>): Promise<T>;
}

export function createByteBudget(budgetBytes: number, maximumWaiting: number): ByteBudget {
  const waiting: { readonly sizeBytes: number; readonly begin: () => void }[] = [];
  let heldBytes = 0;

  const fits = (sizeBytes: number): boolean => heldBytes === 0 || heldBytes + sizeBytes <= budgetBytes;
  const beginNext = (): void => {
    for (let next = waiting[0]; next !== undefined && fits(next.sizeBytes); next = waiting[0]) {
      waiting.shift();
      heldBytes += next.sizeBytes;
      next.begin();
    }
  };

  return {
    async hold(sizeBytes, work) {
      if (waiting.length >= maximumWaiting) {
        throw new ArchiveError('unavailable', 'Too many frames are waiting to be rendered; ask again later.');
      }
      await new Promise<void>((begin) => {
        waiting.push({ sizeBytes, begin });
        beginNext();
      });
      try {
        return await work();
      } finally {
        heldBytes -= sizeBytes;
        beginNext();
      }
    },
  };
}
