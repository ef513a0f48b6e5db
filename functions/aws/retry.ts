/**
 * How long, and at what pace, something is asked of AWS again: full jitter within a bounded time. The SDK itself tries nothing again: whoever
 * repeats a conditional write must know whether the first one may have been done (its answer lost).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ArchiveError } from '#shared/errors.ts';
import { faultOf } from './faults.ts';

export interface Timing {
  /** Monotonic. */
  readonly nowMs: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly sleep: (ms: number) => Promise<unknown>;
}

export const defaultTiming: Timing = { nowMs: () => performance.now(), random: Math.random, sleep: (ms) => sleep(ms) };

export interface Pace {
  /** After it nothing is tried again. */
  readonly patienceMs: number;
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Of the archive, as sentences have it: "the store". */
  readonly what: string;
}

/**
 * What `attempt` answers, asked again while it fails in a way that may pass. It is told whether an earlier attempt may have been done.
 * Errors: its own; `unavailable` with `retryAfterSeconds` when patience is over.
 */
export async function retried<T>(
  { nowMs, random, sleep: pause }: Timing,
  { patienceMs, firstPauseMs, longestPauseMs, what }: Pace,
  attempt: (isUnsure: boolean) => Promise<T>,
): Promise<T> {
  const endMs = nowMs() + patienceMs;
  let isUnsure = false;
  for (let round = 0; ; round++) {
    let cause: unknown;
    try {
      return await attempt(isUnsure);
    } catch (error) {
      const fault = faultOf(error, what);
      if (fault.kind === 'failed') throw fault.error;
      if (fault.kind === 'refused') throw error;
      isUnsure ||= fault.kind === 'unsure';
      cause = error;
    }
    const pauseMs = random() * Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(round, 10));
    if (nowMs() + pauseMs >= endMs)
      throw new ArchiveError(
        'unavailable',
        `${what.charAt(0).toUpperCase()}${what.slice(1)} is busy or out of reach; try again in a minute.`,
        { retryAfterSeconds: 60 },
        cause,
      );
    await pause(pauseMs);
  }
}
