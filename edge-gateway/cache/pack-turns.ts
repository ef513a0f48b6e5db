/**
 * One at a time for each pack: whoever removes the file of a sealed pack, fetches it back or replaces it does so in its
 * turn, so that what the index says of the file and the file itself never part ways. Reading needs no turn.
 */
import type { PackRef } from '#shared/archive/records.ts';

export class PackTurns {
  readonly #last = new Map<string, Promise<void>>();

  /** Runs `work` when all earlier work on the pack has ended, however it ended. */
  async inTurn<T>({ packId }: Pick<PackRef, 'packId'>, work: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(packId) ?? Promise.resolve()).then(work);
    const ended = turn.then(
      () => {},
      () => {},
    );
    this.#last.set(packId, ended);
    try {
      return await turn;
    } finally {
      if (this.#last.get(packId) === ended) this.#last.delete(packId);
    }
  }
}
