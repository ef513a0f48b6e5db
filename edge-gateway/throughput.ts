/**
 * What went through the gateway in the last 24 hours, minute by minute, in memory: a ring of buckets, fed from counters that only
 * grow. For the plot of the status page and for saying how long a backlog will take; nothing decides by it.
 */

export interface Counters {
  readonly receivedBytes: number;
  readonly uploadedBytes: number;
}

export interface Throughput {
  /** Of each minute, the oldest first, the present one last; shorter than a day after a start. */
  minutes(): readonly Counters[];
  /** Mean of the last five minutes, or of the time since the start. */
  bytesPerSecond(): Counters;
  close(): void;
}

export interface ThroughputOptions {
  /** Totals since the process began. */
  readonly counters: () => Counters;
  /** Milliseconds that only grow (performance.now): a clock that is set must not empty the plot. */
  readonly elapsedMs?: () => number;
  readonly sampleMs?: number;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 24 * 60;
const RATE_MINUTES = 5;
const SAMPLE_MS = 5_000;

export function createThroughput(options: ThroughputOptions): Throughput {
  const { counters, elapsedMs = () => performance.now(), sampleMs = SAMPLE_MS } = options;
  const startedAtMs = elapsedMs();
  const received = new Float64Array(DAY_MINUTES);
  const uploaded = new Float64Array(DAY_MINUTES);
  /** Minutes since the start; its bucket is the one that is being filled. */
  let present = 0;
  let before = counters();

  function sample(): void {
    const minute = Math.floor((elapsedMs() - startedAtMs) / MINUTE_MS);
    for (let steps = Math.min(minute - present, DAY_MINUTES); steps > 0; steps--) {
      received[(minute - steps + 1) % DAY_MINUTES] = 0;
      uploaded[(minute - steps + 1) % DAY_MINUTES] = 0;
    }
    present = Math.max(present, minute);
    const now = counters();
    const bucket = present % DAY_MINUTES;
    received[bucket] = (received[bucket] ?? 0) + Math.max(0, now.receivedBytes - before.receivedBytes);
    uploaded[bucket] = (uploaded[bucket] ?? 0) + Math.max(0, now.uploadedBytes - before.uploadedBytes);
    before = now;
  }

  const timer = setInterval(sample, sampleMs).unref();
  return {
    minutes() {
      sample();
      const count = Math.min(present + 1, DAY_MINUTES);
      return Array.from({ length: count }, (_, i) => {
        const bucket = (present - count + 1 + i) % DAY_MINUTES;
        return { receivedBytes: received[bucket] ?? 0, uploadedBytes: uploaded[bucket] ?? 0 };
      });
    },
    bytesPerSecond() {
      const last = this.minutes().slice(-RATE_MINUTES);
      // The present minute counts for as much of it as has passed.
      const sinceStartMs = elapsedMs() - startedAtMs;
      const seconds = Math.max(1, ((last.length - 1) * MINUTE_MS + (sinceStartMs % MINUTE_MS)) / 1000);
      const sum = (of: (minute: Counters) => number): number => last.reduce((total, minute) => total + of(minute), 0);
      return {
        receivedBytes: sum((minute) => minute.receivedBytes) / seconds,
        uploadedBytes: sum((minute) => minute.uploadedBytes) / seconds,
      };
    },
    close: () => clearInterval(timer),
  };
}
