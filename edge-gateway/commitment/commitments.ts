/**
 * Storage commitments from the request to the report (PS3.4 Annex J): takes requests for dimse/commitment.ts, finds out what is in
 * safe keeping, waits for packs on their way to the cloud, decides, and has the result delivered. All of its state is in the
 * store, so that a restart goes on where it was.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import type { CommitmentIntake } from '../dimse/commitment.ts';
import type { DimseEvent } from '../dimse/events.ts';
import type { CommitmentStore } from './commitment-store.ts';
import { type CommitmentPeer, Deliveries } from './deliveries.ts';
import type { DiskDigest } from './disk-digest.ts';
import { type CommitmentMode, findingsFor, LOOKUP_BATCH } from './safekeeping.ts';
import type { CommitmentsOverview } from './sqlite-commitments.ts';

export interface CommitmentsOptions {
  /** Closed by `close`. */
  readonly store: CommitmentStore;
  readonly tenant: string;
  /** What this gateway holds; not what could be had from elsewhere. */
  readonly index: ArchiveIndex;
  readonly mode: CommitmentMode;
  /** How long undecided references are waited for, and how long a decided commitment is tried to be reported. */
  readonly retryHours: number;
  /** Whether the cloud does not have an archived pack any more. */
  readonly isLost?: (pack: PackRecord) => boolean;
  /** Ours. */
  readonly aeTitle: string;
  readonly peerOf: (aeTitle: string) => CommitmentPeer | undefined;
  /** Resolves when everything acknowledged before the call is in the index. */
  readonly whenIndexed: () => Promise<void>;
  /** Closed by `close`. */
  readonly disk: DiskDigest;
  readonly nowMs: () => number;
  /** 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  readonly log: Logger;
  /** Of reports that were taken or given up; must not throw. */
  readonly onEvent?: (event: DimseEvent) => void;
  readonly timing?: Partial<CommitmentTiming>;
}

export interface CommitmentTiming {
  /** From a request to the first try to report: its answer comes first, and many an SCU needs its association's end. */
  readonly firstDelayMs: number;
  /** Between two looks at what is waited for. */
  readonly pollMs: number;
  /** The longest pause between two tries to report to an AE. */
  readonly retryCapMs: number;
}

const defaultTiming: CommitmentTiming = { firstDelayMs: 1_000, pollMs: 2_000, retryCapMs: 5 * 60_000 };

export interface Commitments extends CommitmentIntake {
  /** Whether the pack must stay on this disk: a commitment is undecided that depends on it, or may. */
  isPinned(pack: Pick<PackRecord, 'packId'>): Promise<boolean>;
  overview(): Promise<CommitmentsOverview>;
  close(): Promise<void>;
}

/** Lookups before others get their turn. */
const BATCHES_PER_ROUND = 20;
const PAGE = 500;
/** So long a look at many packs may keep the index busy: one in so many milliseconds. */
const MS_PER_PACK = 5;
const IDLE_MS = 60_000;
const FAILED_MS = 5_000;
/** Timers may fire so much early. */
const TIMER_MS = 20;
/** Ended commitments are kept for the log's reader and the status page. */
const KEPT_MS = 7 * 24 * 3_600_000;

export function startCommitments(options: CommitmentsOptions): Commitments {
  const { store, tenant, index, log, nowMs } = options;
  const timing = { ...defaultTiming, ...options.timing };
  const retryMs = options.retryHours * 3_600_000;
  const stop = new AbortController();
  const deliveries = new Deliveries({ ...options, ...timing, retryMs });
  let wakeUp: (() => void) | undefined;
  let isWoken = false;
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
  /** What went wrong last, by step: said once. */
  const failures = new Map<string, string>();
  const wake = (): void => {
    isWoken = true;
    wakeUp?.();
  };

  /** Looks up what is new. True: there is more. */
  async function locate(): Promise<boolean> {
    for (let i = 0; i < BATCHES_PER_ROUND; i++) {
      const references = await store.unlocated(LOOKUP_BATCH);
      if (references.length === 0) return false;
      // What was acknowledged before it was asked for must not be unknown because the index is behind.
      await Promise.race([options.whenIndexed(), stopped]);
      if (stop.signal.aborted) return false;
      await store.find(await findingsFor(references, options));
    }
    return true;
  }

  /** Answers how many packs are still waited for. */
  async function settle(): Promise<number> {
    let after = 0;
    let awaited = 0;
    for (;;) {
      const packs = await store.awaitedPacks(after, PAGE);
      const records = await Promise.all(packs.map(({ ref }) => index.getPack(tenant, ref)));
      for (const [i, { id }] of packs.entries()) {
        const state = records[i]?.state;
        if (state === undefined) await store.settle(id, 'gone');
        else if (state === 'archived' || state === 'rejected') await store.settle(id, state);
        else awaited++;
        after = id;
      }
      if (packs.length < PAGE || stop.signal.aborted) return awaited;
    }
  }

  async function decide(): Promise<void> {
    await store.expire(nowMs() - retryMs);
    await store.conclude(nowMs());
  }

  /** A step that fails keeps no other from its turn. */
  async function step<T>(name: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      const result = await work();
      failures.delete(name);
      return result;
    } catch (error) {
      const message = String(error);
      if (!stop.signal.aborted && failures.get(name) !== message)
        log.warn({ err: error, step: name }, 'storage commitments do not get on; it will be tried again');
      failures.set(name, message);
      return undefined;
    }
  }

  /** Answers the pause until the next. */
  async function round(): Promise<number> {
    const hasMore = await step('locate', locate);
    const awaited = await step('settle', settle);
    await step('decide', decide);
    await step('deliver', () => deliveries.begin());
    if (hasMore === true) return 0;
    const overview = await step('look', () => store.overview(nowMs()));
    await step('prune', () => store.prune(nowMs() - KEPT_MS));
    if (overview !== undefined && overview.undecided + overview.unreported === 0) return IDLE_MS;
    if (failures.size > 0) return Math.max(timing.pollMs, FAILED_MS);
    return Math.max(timing.pollMs, (awaited ?? 0) * MS_PER_PACK);
  }

  async function loop(): Promise<void> {
    while (!stop.signal.aborted) {
      isWoken = false;
      const pauseMs = await round();
      if (pauseMs > 0) await pause(pauseMs);
    }
  }

  async function pause(ms: number): Promise<void> {
    await sleep(ms, () => isWoken);
    // A request that came is looked at when its SCU has had its answer; more of them do not put it off.
    if (isWoken) await sleep(timing.firstDelayMs + TIMER_MS, () => false);
  }

  async function sleep(ms: number, isOver: () => boolean): Promise<void> {
    if (stop.signal.aborted || isOver()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      wakeUp = () => {
        if (!stop.signal.aborted && !isOver()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    wakeUp = undefined;
  }

  const running = loop();
  return {
    knows: (aeTitle) => options.peerOf(aeTitle) !== undefined,

    async accept(request) {
      const acceptance = await store.accept(request, nowMs());
      const { answer, transactionUid, references, isRepeated } = acceptance;
      const fields = { requestor: request.requestor, transactionUid };
      if (answer.status !== 0)
        log.warn({ ...fields, status: answer.status }, `storage commitment refused: ${answer.comment}`);
      else log.info({ ...fields, references, isRepeated }, 'storage commitment asked for');
      wake();
      return acceptance;
    },

    isPinned: ({ packId }) => store.isAwaited(packId),
    overview: () => store.overview(nowMs() - KEPT_MS),

    async close() {
      stop.abort();
      wake();
      await deliveries.close();
      // A hash that is being made is not waited for.
      await options.disk.close();
      await running;
      await store.close();
    },
  };
}
