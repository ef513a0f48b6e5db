/**
 * What time it is at the cloud, learned from its answers, so that nothing hangs on this machine's clock: grants expire by the
 * cloud's time. It runs on the monotonic clock: setting the machine's clock, by NTP or by hand, changes nothing here.
 */
import type { Logger } from '#shared/log.ts';

export interface ServerClockOptions {
  /** The machine's clock, milliseconds since 1970: what is compared with the cloud's. */
  readonly nowMs: () => number;
  readonly log: Logger;
  /** Never goes back. Default performance.now. */
  readonly monotonicMs?: () => number;
}

/** An answer that took longer says too little about when the cloud wrote its time into it. */
const MAX_ROUND_TRIP_MS = 10_000;
/** What a hospital's clock may be wrong by without anybody having to know. */
const TOLERATED_SKEW_MS = 60_000;

export class ServerClock {
  readonly #options: ServerClockOptions;
  readonly #monotonicMs: () => number;
  /** The cloud's time less the monotonic one. */
  #offsetMs: number | undefined;
  #warnedOfMs = 0;

  constructor(options: ServerClockOptions) {
    this.#options = options;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
  }

  /** Begins to measure a request; call what it answers with the time in the response: it was there half a round trip ago. */
  measure(): (serverTimeMs: number) => void {
    const beganAtMs = this.#monotonicMs();
    return (serverTimeMs) => {
      const nowMs = this.#monotonicMs();
      const roundTripMs = nowMs - beganAtMs;
      if (roundTripMs > MAX_ROUND_TRIP_MS && this.#offsetMs !== undefined) return;
      this.#offsetMs = serverTimeMs + roundTripMs / 2 - nowMs;
      this.#warn();
    };
  }

  /** The cloud's time; this machine's while nothing was heard of the cloud. */
  nowMs(): number {
    return this.#offsetMs === undefined ? this.#options.nowMs() : this.#offsetMs + this.#monotonicMs();
  }

  /** By how much this machine's clock is behind the cloud's (negative: ahead); undefined while that is not known. */
  skewMs(): number | undefined {
    return this.#offsetMs === undefined ? undefined : Math.round(this.nowMs() - this.#options.nowMs());
  }

  /** Once for each change that is worth a line. */
  #warn(): void {
    const skewMs = this.skewMs() ?? 0;
    if (Math.abs(skewMs - this.#warnedOfMs) <= TOLERATED_SKEW_MS) return;
    this.#warnedOfMs = Math.abs(skewMs) <= TOLERATED_SKEW_MS ? 0 : skewMs;
    const seconds = Math.round(Math.abs(skewMs) / 1000);
    if (this.#warnedOfMs === 0) this.#options.log.info({ skewMs }, 'the clock of this machine is right again');
    else
      this.#options.log.warn(
        { skewMs },
        `the clock of this machine is ${seconds} s ${skewMs > 0 ? 'behind' : 'ahead of'} the cloud's; set it by NTP`,
      );
  }
}
