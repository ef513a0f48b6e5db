/**
 * The way to one destination: jobs that wait together go over one association, in order of arrival; when the destination is
 * away, again with full-jitter back-off, for ever. What it refuses for good, and what cannot be sent, is counted and does
 * not hold up the rest; what it refuses for now comes again, for a week. How an instance is delivered is dimse/delivery.ts.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { QueueMessage } from '#shared/archive/queue.ts';
import { type Delivered, Delivery, type DeliveryOptions } from '../dimse/delivery.ts';
import type { StoredInstance } from '../dimse/retrieve-selection.ts';
import { instancesOfPacks } from './pack-instances.ts';
import type { RouteJob, RouteQueue } from './route-queue.ts';

/** For the status page, which makes sentences of it. */
export interface RouteReport {
  readonly aeTitle: string;
  /** Packs. */
  readonly waiting: number;
  /** Of the pack that has waited longest. */
  readonly waitingSinceMs: number | undefined;
  /** Instances that it will not get, since this process began. */
  readonly refused: number;
  /** A sentence; undefined when the last attempt had none. */
  readonly lastError: string | undefined;
  /** When it took an instance last, since this process began. */
  readonly lastSuccessAtMs: number | undefined;
}

export interface RouteDeliveryOptions extends Omit<DeliveryOptions, 'instances' | 'originator'> {
  readonly queue: RouteQueue;
  readonly index: ArchiveIndex;
  readonly tenant: string;
  readonly nowMs: () => number;
  readonly random: () => number;
  /** The longest pause between two attempts. Default 5 minutes. */
  readonly retryCapMs?: number;
}

/** How long an instance that is refused for now is tried, and how long a waiting pack is kept on the disk. */
export const ROUTE_PATIENCE_MS = 7 * 24 * 60 * 60 * 1000;
const FIRST_RETRY_MS = 1_000;
const RETRY_CAP_MS = 5 * 60_000;
/** For those that were to come later. */
const LOOK_AGAIN_MS = 1_000;
const CLOSE_PATIENCE_MS = 2_000;
/** To one association. */
const MAX_JOBS = 50;

type Job = QueueMessage<RouteJob>;

export class RouteDelivery {
  readonly #options: RouteDeliveryOptions;
  readonly #aeTitle: string;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  /** Of packs that were begun: instances that need not go again. A restart forgets it. */
  readonly #settled = new Map<string, Set<string>>();
  #delivery: Delivery | undefined;
  #wake = () => {};
  #refused = 0;
  #lastError: string | undefined;
  #lastSuccessAtMs: number | undefined;

  /** Begins at once. Whoever made `options.queue` closes it afterwards. */
  constructor(options: RouteDeliveryOptions) {
    this.#options = options;
    this.#aeTitle = options.destination.aeTitle;
    this.#running = this.#run();
  }

  /** A job was added. */
  wake(): void {
    this.#wake();
  }

  report(): RouteReport {
    const { waiting } = this.#options.queue;
    let waitingSinceMs: number | undefined;
    for (const enqueuedAtMs of waiting.values())
      if (waitingSinceMs === undefined || enqueuedAtMs < waitingSinceMs) waitingSinceMs = enqueuedAtMs;
    return {
      aeTitle: this.#aeTitle,
      waiting: waiting.size,
      waitingSinceMs,
      refused: this.#refused,
      lastError: this.#lastError,
      lastSuccessAtMs: this.#lastSuccessAtMs,
    };
  }

  /** Breaks off what is being sent: it goes again after the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#wake();
    this.#delivery?.abort();
    // One that is just being called has half a minute to answer; nobody waits for that.
    await Promise.race([this.#running, pause(CLOSE_PATIENCE_MS, undefined, { ref: false })]);
  }

  async #run(): Promise<void> {
    const { log, queue, retryCapMs = RETRY_CAP_MS } = this.#options;
    let failures = 0;
    while (!this.#closing.signal.aborted) {
      const news = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      let error: string | undefined;
      let isUseful = false;
      try {
        const jobs = await queue.next(MAX_JOBS);
        if (jobs.length > 0) {
          ({ error, isUseful } = await this.#deliver(jobs));
          this.#lastError = error;
        } else if (queue.waiting.size === 0) await news;
        else await Promise.race([news, this.#pause(Math.min(retryCapMs, LOOK_AGAIN_MS))]);
      } catch (cause) {
        error = 'the gateway itself failed';
        this.#lastError = error;
        if (!this.#closing.signal.aborted)
          log.error({ aeTitle: this.#aeTitle, err: cause }, 'routing failed unexpectedly');
      }
      // Where something gets through, the rest need not wait for long: what is refused for now waits by itself.
      failures = error === undefined ? 0 : isUseful ? 1 : failures + 1;
      if (failures > 0) await this.#pause(this.#backOffMs(failures));
    }
  }

  #pause(ms: number): Promise<void> {
    return pause(ms, undefined, { signal: this.#closing.signal }).catch(() => {});
  }

  /** Full jitter. @param attempts that failed, from 1 */
  #backOffMs(attempts: number): number {
    const { random, retryCapMs = RETRY_CAP_MS } = this.#options;
    return Math.round(random() * Math.min(retryCapMs, FIRST_RETRY_MS * 2 ** Math.min(attempts - 1, 30)));
  }

  /** `error`: why some of it must come again. `isUseful`: some of it need not. */
  async #deliver(jobs: readonly Job[]): Promise<{ error: string | undefined; isUseful: boolean }> {
    const { index, tenant, queue, log } = this.#options;
    const found = await instancesOfPacks(
      index,
      tenant,
      jobs.map(({ body }) => body),
    );
    const jobOf = new Map<StoredInstance, Job>();
    const left = new Map<Job, number>();
    for (const job of jobs) {
      const settled = this.#settled.get(job.body.packId);
      const open = (found.get(job.body.packId) ?? []).filter(
        ({ sopInstanceUid }) => settled?.has(sopInstanceUid) !== true,
      );
      for (const instance of open) jobOf.set(instance, job);
      left.set(job, open.length);
      if (open.length === 0) await this.#done(job);
    }
    if (jobOf.size === 0) return { error: undefined, isUseful: true };
    const delivery = new Delivery({ ...this.#options, instances: [...jobOf.keys()] });
    this.#delivery = delivery;
    const deferred = new Map<Job, string>();
    let sent = 0;
    try {
      for (const instance of delivery.instances) {
        const job = jobOf.get(instance);
        if (job === undefined) continue;
        const delivered = await delivery.store(instance);
        if (delivered.kind === 'unreachable') return { error: delivered.reason, isUseful: sent > 0 };
        const again = this.#note(instance, job.body, delivered);
        if (again === undefined) sent++;
        else deferred.set(job, again);
        const more = (left.get(job) ?? 0) - 1;
        left.set(job, more);
        const reason = deferred.get(job);
        if (more === 0 && reason === undefined) await this.#done(job);
        else if (more === 0 && reason !== undefined) await queue.later(job, reason, this.#backOffMs(job.receiveCount));
      }
      return { error: deferred.values().next().value, isUseful: sent > 0 };
    } finally {
      this.#delivery = undefined;
      delivery.end();
      if (sent > 0)
        log.info({ aeTitle: this.#aeTitle, packs: jobs.length, instances: jobOf.size, settled: sent }, 'routed');
    }
  }

  /** Why it must go again; undefined: it need not. */
  #note(
    { sopInstanceUid }: StoredInstance,
    { packId, enqueuedAtMs }: RouteJob,
    delivered: Delivered,
  ): string | undefined {
    const { log, nowMs } = this.#options;
    if (isTaken(delivered)) this.#lastSuccessAtMs = nowMs();
    else {
      const reason = 'reason' in delivered ? delivered.reason : '';
      if (isForNow(delivered) && nowMs() - enqueuedAtMs < ROUTE_PATIENCE_MS) return reason;
      this.#refused++;
      log.error({ aeTitle: this.#aeTitle, sopInstanceUid, packId, reason }, 'an instance will not be routed');
    }
    const settled = this.#settled.get(packId) ?? new Set();
    this.#settled.set(packId, settled.add(sopInstanceUid));
    return undefined;
  }

  async #done(job: Job): Promise<void> {
    await this.#options.queue.done(job);
    this.#settled.delete(job.body.packId);
  }
}

/** 0111H says that it has it already (PS3.7 §C.5.9). */
const DUPLICATE_SOP_INSTANCE = 0x0111;

function isTaken(delivered: Delivered): boolean {
  if (delivered.kind === 'refused') return delivered.status === DUPLICATE_SOP_INSTANCE;
  return delivered.kind === 'stored' || delivered.kind === 'warning';
}

/** What PS3.4 §B.2.3 calls a mismatch (A9xx) or not understood (Cxxx), and an unknown SOP class (0122H), stay so. */
function isForNow(delivered: Delivered): boolean {
  if (delivered.kind === 'unsendable') return delivered.isForNow;
  if (delivered.kind !== 'refused') return false;
  const { status } = delivered;
  return !(status >> 8 === 0xa9 || status >> 12 === 0xc || status === 0x0122);
}
