/**
 * Brings what was stored into the index, behind the acknowledgements: in batches as they come while the last one is written,
 * again and again if the index fails. The packs are the log: what it has not come to is found again by recovery,
 * because a pack leaves the folder of open packs only when all its instances are indexed.
 */
import { indexInstances } from '#shared/archive/ingest.ts';
import { packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord, SeriesRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import type { Arrivals } from './arrivals.ts';
import type { CrashPoint } from './crash-point.ts';
import type { OpenPack } from './open-pack.ts';

export interface FeederOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly arrivals: Arrivals;
  readonly log: Logger;
  readonly crashPoint: CrashPoint;
}

interface Item {
  readonly pack: OpenPack;
  readonly record: InstanceRecord;
  /** A record of the same bytes in a pack that is gone: to give way, though it came earlier. */
  readonly replaces: InstanceRecord | undefined;
}

const BATCH = 256;
/** Records in memory; whoever would add more waits. */
const BACKLOG = 4096;
/** Nobody waits for the index, but every write to it takes from the disk and the cores that senders wait for. */
const GATHER_MS = 50;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 5000;
/** How old the counts of an open pack in the index may be. */
const COUNTS_AGE_MS = 1000;

export class IndexFeeder {
  readonly #options: FeederOptions;
  #waiting: Item[] = [];
  readonly #recorded = new Map<OpenPack, { countedAt: number; lengthBytes: number }>();
  #running: Promise<void> | undefined;
  #stopped = false;
  /** How many wait for the index after all: then nothing is gathered. */
  #urgent = 0;
  #wakeUp: (() => void) | undefined;
  /** How many records are expected, waiting or being written, of each pack. */
  readonly #pending = new Map<OpenPack, number>();
  #watchers: (() => void)[] = [];
  #room: (() => void)[] = [];
  /** Records since the start; they are written in the order in which they were added. */
  #added = 0;
  #written = 0;

  constructor(options: FeederOptions) {
    this.#options = options;
  }

  get backlog(): number {
    return this.#waiting.length;
  }

  /** Resolves when the backlog is short enough to take more; undefined: it is. */
  room(): Promise<void> | undefined {
    if (this.#waiting.length < BACKLOG || this.#stopped) return undefined;
    return new Promise((resolve) => this.#room.push(resolve));
  }

  /** Whether instances of the series were added and are not in the index yet. */
  isWaiting({ studyInstanceUid, seriesInstanceUid }: SeriesRef): boolean {
    return this.#waiting.some(
      ({ record }) => record.seriesInstanceUid === seriesInstanceUid && record.studyInstanceUid === studyInstanceUid,
    );
  }

  /** An instance is about to be stored in the pack: `add` or `cancel` follows, and until then the pack is not indexed. */
  expect(pack: OpenPack): void {
    this.#pending.set(pack, (this.#pending.get(pack) ?? 0) + 1);
  }

  /** What was expected was not stored. */
  cancel(pack: OpenPack): void {
    this.#pending.set(pack, (this.#pending.get(pack) ?? 0) - 1);
    for (const wake of this.#watchers.splice(0)) wake();
  }

  /** The record's instance, which was expected, is on stable storage in that pack. */
  add(pack: OpenPack, record: InstanceRecord, replaces?: InstanceRecord): void {
    this.#options.arrivals.hold(record);
    this.#waiting.push({ pack, record, replaces });
    this.#added++;
    this.#running ??= this.#run();
  }

  /** Resolves when all records of the pack are in the index, and after them, durably, its own; rejects if `stop` comes first. */
  async indexed(pack: OpenPack): Promise<void> {
    await this.#urgently(async () => {
      while ((this.#pending.get(pack) ?? 0) > 0) {
        if (this.#stopped) throw new Error('the index feeder was stopped');
        await new Promise<void>((resolve) => this.#watchers.push(resolve));
      }
    });
    if (pack.entries.length > 0) await this.#record(pack, true);
  }

  /** Resolves when all that was added before the call is in the index, whatever is added meanwhile; rejects if `stop` comes first. */
  async caughtUp(): Promise<void> {
    const added = this.#added;
    await this.#urgently(async () => {
      while (this.#written < added) {
        if (this.#stopped) throw new Error('the index feeder was stopped');
        await new Promise<void>((resolve) => this.#watchers.push(resolve));
      }
    });
  }

  /** Resolves when the backlog is empty, or `stop` was called. */
  async idle(): Promise<void> {
    await this.#urgently(async () => {
      while (this.#running !== undefined) await this.#running;
    });
  }

  /** Ends after the batch that is being written; the rest is recovery's. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wakeUp?.();
    await this.#running;
  }

  /** The pack is sealed: nothing more will be recorded of it. */
  forget(pack: OpenPack): void {
    this.#recorded.delete(pack);
    this.#pending.delete(pack);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (this.#waiting.length > 0 && !this.#stopped) {
      if (this.#waiting.length < BATCH && this.#urgent === 0) await this.#pause(GATHER_MS);
      const batch = this.#waiting.slice(0, BATCH);
      try {
        await this.#write(batch);
        failures = 0;
      } catch (error) {
        this.#options.log.warn(
          { err: error, backlog: this.#waiting.length },
          'indexing failed; it will be tried again',
        );
        await this.#pause(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++));
        continue;
      }
      this.#waiting.splice(0, batch.length);
      this.#written += batch.length;
      for (const { record, pack } of batch) {
        this.#options.arrivals.release(record);
        this.#pending.set(pack, (this.#pending.get(pack) ?? 0) - 1);
      }
      this.#options.crashPoint('after-ack-indexed');
      for (const wake of this.#watchers.splice(0)) wake();
      if (this.#waiting.length < BACKLOG) for (const wake of this.#room.splice(0)) wake();
    }
    this.#running = undefined;
    for (const wake of [...this.#watchers.splice(0), ...this.#room.splice(0)]) wake();
  }

  async #write(batch: readonly Item[]): Promise<void> {
    const { index, tenant, log } = this.#options;
    // The pack's record comes first: an instance in the index never names a pack that is unknown.
    const packs = new Set(batch.map(({ pack }) => pack));
    for (const pack of packs) if (!this.#recorded.has(pack)) await this.#record(pack, true);
    const outcomes = await indexInstances(
      index,
      batch.map(({ record }) => record),
    );
    for (const [i, outcome] of outcomes.entries()) {
      const item = batch[i];
      if (item?.replaces?.state === 'current') await index.replaceCurrent(item.record, item.replaces);
      else if (item?.replaces !== undefined)
        await index.replaceConflict({ ...item.record, state: 'conflict' }, item.replaces);
      if (outcome.kind === 'conflict')
        log.warn(
          { ...outcome.ref, digest: outcome.digest, tenant },
          'the same SOP Instance UID came with other bytes; both are kept',
        );
    }
    for (const pack of packs) await this.#record(pack, false);
  }

  /** Writes what is in the pack to its record, unless that is fresh enough. */
  async #record(pack: OpenPack, now: boolean): Promise<void> {
    const { index, tenant } = this.#options;
    const known = this.#recorded.get(pack);
    const counts = { ...pack.synced, ...pack.senders.facts };
    const { lengthBytes } = counts;
    if (known !== undefined && known.lengthBytes === lengthBytes && !now) return;
    if (known !== undefined && !now && performance.now() - known.countedAt < COUNTS_AGE_MS) return;
    const ref = packRefOf(pack.ref);
    const record: PackRecord = { ...ref, tenant, state: 'open', createdAtMs: pack.createdAtMs, ...counts };
    if (known !== undefined || (await index.createPack(record)) !== undefined)
      await index.updatePack(tenant, ref, ['open'], counts);
    this.#recorded.set(pack, { countedAt: performance.now(), lengthBytes });
  }

  async #urgently(work: () => Promise<void>): Promise<void> {
    this.#urgent++;
    this.#wakeUp?.();
    try {
      await work();
    } finally {
      this.#urgent--;
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
