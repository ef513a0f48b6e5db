/**
 * The share of the hospital's line that uploads may take, all of them together: a bucket that fills at the configured rate,
 * on the monotonic clock. What is urgent draws from it first.
 */

/** So much may go at once after a pause: enough not to feel each chunk, too little to be felt on the line. */
const BURST_MS = 500;

interface Waiting {
  readonly bytes: number;
  readonly go: () => void;
}

export class Bandwidth {
  readonly #bytesPerMs: number;
  readonly #monotonicMs: () => number;
  readonly #urgent: Waiting[] = [];
  readonly #other: Waiting[] = [];
  /** When all that was let go has gone at the configured rate. */
  #paidUntilMs = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param kilobytesPerSecond of 1,000 bytes; undefined: as fast as it goes */
  constructor(kilobytesPerSecond: number | undefined, monotonicMs: () => number = () => performance.now()) {
    this.#bytesPerMs = kilobytesPerSecond ?? Number.POSITIVE_INFINITY;
    this.#monotonicMs = monotonicMs;
  }

  get isLimited(): boolean {
    return Number.isFinite(this.#bytesPerMs);
  }

  /** The same bytes, no faster than the line may be used. Cancelling it cancels the source. */
  pace(body: ReadableStream<Uint8Array>, options: { readonly urgent: boolean }): ReadableStream<Uint8Array> {
    if (!this.isLimited) return body;
    const reader = body.getReader();
    let ended = false;
    return new ReadableStream<Uint8Array>(
      {
        pull: async (controller) => {
          const { done, value } = await reader.read();
          if (done) return controller.close();
          await this.#take(value.length, options.urgent);
          if (!ended) controller.enqueue(value);
        },
        cancel: (reason) => {
          ended = true;
          return reader.cancel(reason);
        },
      },
      { highWaterMark: 0 },
    );
  }

  #take(bytes: number, urgent: boolean): Promise<void> {
    return new Promise((go) => {
      (urgent ? this.#urgent : this.#other).push({ bytes, go });
      this.#serve();
    });
  }

  #serve(): void {
    if (this.#timer !== undefined) return;
    for (;;) {
      const nowMs = this.#monotonicMs();
      const line = this.#urgent.length > 0 ? this.#urgent : this.#other;
      const next = line[0];
      if (next === undefined) return;
      const aheadMs = this.#paidUntilMs - nowMs;
      if (aheadMs > 0) {
        this.#timer = setTimeout(() => {
          this.#timer = undefined;
          this.#serve();
        }, aheadMs);
        return;
      }
      line.shift();
      this.#paidUntilMs = Math.max(this.#paidUntilMs, nowMs - BURST_MS) + next.bytes / this.#bytesPerMs;
      next.go();
    }
  }
}
