/**
 * Grouped syncs without a timer: while one sync runs, all who come wait together for the next. So a lone sender waits for
 * one sync, and sixteen share one. The first failure is final: a sync that failed is never tried again on the same
 * file, since the system may have dropped the pages and would report success.
 */
export class SyncGroup {
  readonly #sync: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(sync: () => Promise<void>) {
    this.#sync = sync;
  }

  /** Resolves when a sync that began after this call has ended well; rejects for ever once one has failed. */
  synced(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error);
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#begin();
    this.#next = this.#running.then(() => {
      this.#next = undefined;
      return this.#begin();
    });
    return this.#next;
  }

  /** Resolves when no sync runs or waits, however they ended. */
  async idle(): Promise<void> {
    while (this.#failure === undefined && this.#running !== undefined) await this.#running.catch(() => {});
  }

  #begin(): Promise<void> {
    this.#running = this.#sync().then(
      () => {
        this.#running = undefined;
      },
      (error: unknown) => {
        this.#failure = { error };
        throw error;
      },
    );
    return this.#running;
  }
}
