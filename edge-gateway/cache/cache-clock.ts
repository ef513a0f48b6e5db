/**
 * The time by which packs grow old. The machine's own clock may jump by years, and a cache that believed it would throw
 * away everything at once. This one follows it backwards at once, but forwards at most twice as fast as the gateway has
 * really been running: after a jump nothing is evicted before its time, after a long stop it catches up.
 */

/** How fast it may go: 1 would never catch up with the days that the gateway was off. */
const FASTEST = 2;

export class CacheClock {
  readonly #nowMs: () => number;
  readonly #elapsedMs: () => number;
  /** The latest moment that may be believed, as it was at `#sinceMs`. */
  #limitMs: number;
  #sinceMs: number;

  /**
   * @param nowMs the machine's clock, milliseconds since 1970
   * @param elapsedMs milliseconds that only grow while the process runs (performance.now)
   * @param savedMs what `limitMs` said last in an earlier process; undefined: the machine's clock is believed this once
   */
  constructor(nowMs: () => number, elapsedMs: () => number, savedMs?: number) {
    this.#nowMs = nowMs;
    this.#elapsedMs = elapsedMs;
    this.#limitMs = savedMs ?? nowMs();
    this.#sinceMs = elapsedMs();
  }

  /** Milliseconds since 1970, as far as they may be believed. */
  nowMs(): number {
    return Math.min(this.#nowMs(), this.limitMs());
  }

  /** To be saved now and then, so that the next process goes on from here. */
  limitMs(): number {
    const elapsedMs = this.#elapsedMs();
    const farthestMs = this.#limitMs + FASTEST * (elapsedMs - this.#sinceMs);
    this.#limitMs = Math.min(farthestMs, Math.max(this.#limitMs, this.#nowMs()));
    this.#sinceMs = elapsedMs;
    return this.#limitMs;
  }
}
