/**
 * The line to the cloud, as seen by people who wait: a circuit breaker. While it holds, a question may take so long and no longer;
 * one that fails or takes longer opens it, and from then on nothing waits at all, until a probe in the background is answered in time.
 * So everything that is cached works at the LAN's speed whatever the internet does.
 */
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';

export interface CloudLineOptions {
  /** Whether the cloud answers; rejects when it does not. */
  readonly probe: (signal: AbortSignal) => Promise<unknown>;
  readonly log: Logger;
  /** How long a question may take. Default 2 s. */
  readonly waitMs?: number;
  /** Until the first probe, which is made at once where a question was late; doubled up to half a minute. Default 1 s. */
  readonly firstProbeMs?: number;
}

export interface CloudLine {
  /** False: nobody waits for the cloud. */
  readonly isUp: boolean;
  /**
   * What the question answers. Errors: `unavailable` at once while the line is down, and when the cloud cannot be reached or takes
   * longer than `waitMs` (which takes the line down); what else the cloud answers as it comes.
   */
  ask<T>(question: (signal: AbortSignal) => Promise<T>, waitMs?: number): Promise<T>;
  /** Ends questions and probes. */
  close(): void;
}

const WAIT_MS = 2_000;
const FIRST_PROBE_MS = 1_000;
const MAX_PROBE_MS = 30_000;

export function createCloudLine({
  probe,
  log,
  waitMs: usualWaitMs = WAIT_MS,
  firstProbeMs = FIRST_PROBE_MS,
}: CloudLineOptions): CloudLine {
  const closing = new AbortController();
  let isUp = true;
  let timer: NodeJS.Timeout | undefined;

  async function within<T>(
    question: (signal: AbortSignal) => Promise<T>,
    waitMs: number,
    late = new AbortController(),
  ): Promise<T> {
    const clock = setTimeout(() => late.abort(), waitMs);
    try {
      return await question(AbortSignal.any([late.signal, closing.signal]));
    } finally {
      clearTimeout(clock);
    }
  }

  function goDown(error: unknown, isLate: boolean): void {
    if (!isUp || closing.signal.aborted) return;
    isUp = false;
    log.warn({ err: error }, 'the cloud does not answer in time: what is not cached cannot be had until it does');
    // Late may be a heavy question alone, which anybody may ask: a light one tells at once, before others have to do without.
    if (isLate) void look(firstProbeMs);
    else probeAfter(firstProbeMs);
  }

  function probeAfter(pauseMs: number): void {
    // Not all gateways of a site at the same moment.
    const jittered = pauseMs * (0.75 + Math.random() / 2);
    timer = setTimeout(() => void look(pauseMs), jittered).unref();
  }

  async function look(pausedMs: number): Promise<void> {
    try {
      await within(probe, usualWaitMs);
    } catch (error) {
      // An answer that refuses is an answer.
      if (!isArchiveError(error) || error.code === 'unavailable') {
        if (!closing.signal.aborted) probeAfter(Math.min(MAX_PROBE_MS, pausedMs * 2));
        return;
      }
    }
    if (closing.signal.aborted) return;
    isUp = true;
    log.info({}, 'the cloud answers again');
  }

  return {
    get isUp() {
      return isUp;
    },
    async ask(question, waitMs = usualWaitMs) {
      if (!isUp || closing.signal.aborted) throw away();
      const late = new AbortController();
      try {
        return await within(question, waitMs, late);
      } catch (error) {
        if (isArchiveError(error) && error.code !== 'unavailable') throw error;
        goDown(error, late.signal.aborted);
        throw away(error);
      }
    },
    close() {
      closing.abort();
      clearTimeout(timer);
    },
  };
}

const away = (cause?: unknown): ArchiveError =>
  new ArchiveError(
    'unavailable',
    'The cloud archive cannot be reached now: only what is on this gateway can be had. Try again later.',
    { retryAfterSeconds: 30 },
    cause,
  );
