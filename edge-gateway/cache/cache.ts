/**
 * The cache on the gateway's disk, put together: how much room there is, who reads what, what may leave, and whether what is
 * here is still what was stored. Made before the receiver, which asks it for room; started after it, since what a scrub
 * saves goes through the receiver's door.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { newPackId, packIdTimeMs } from '#shared/archive/keys.ts';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { PackRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import { CacheClock } from './cache-clock.ts';
import { openCacheState } from './cache-state.ts';
import { checkedReads } from './checked-reads.ts';
import type { CrashPoint } from './crash-point.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import { DiskRoom, type Watermarks } from './disk-room.ts';
import { type Eviction, type Pin, startEviction } from './eviction.ts';
import { diskFiles } from './files.ts';
import { PackTurns } from './pack-turns.ts';
import { ReadPins } from './read-pins.ts';
import { type MendPack, type Scrub, type ScrubReport, startScrub } from './scrub.ts';
import type { CacheTotals } from './sqlite-cached-packs.ts';
import type { SqliteIndex } from './sqlite-index.ts';

export interface CacheOptions {
  readonly folder: string;
  readonly tenant: string;
  readonly index: SqliteIndex;
  readonly packs: DiskPackStore;
  readonly settings: Watermarks & { readonly retentionDays: number; readonly scrubDays: number };
  /** Wall clock. */
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly crashPoint?: CrashPoint;
}

export interface CacheStart {
  readonly receiver: InstanceReceiver;
  /** Beside those who read. */
  readonly pins: readonly Pin[];
  readonly wantManifest: (pack: PackRef) => void;
  /** Whether senders need the machine at this moment. */
  readonly isBusy: () => boolean;
  /** Where damaged packs that are archived are fetched from. */
  readonly mend?: MendPack;
}

export interface CacheReport {
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly marks: Watermarks;
  readonly packs: CacheTotals;
  /** Received a day, on the average of the last seven days. */
  readonly bytesPerDay: number;
  /** How long the disk takes what comes at this rate if nothing more is archived from now on; undefined: nothing comes. */
  readonly daysUntilFull: number | undefined;
  /** Since this process began. */
  readonly evicted: { readonly packs: number; readonly bytes: number };
  readonly scrub: ScrubReport;
}

export interface Cache {
  readonly room: DiskRoom;
  readonly turns: PackTurns;
  readonly reads: ReadPins;
  /** The packs on this disk for people and programs: what is read is checked, and stays for a while. */
  readonly packs: PackStore;
  /** The same for the uploader: checked, and no reason to stay. */
  readonly uploads: PackStore;
  start(options: CacheStart): Promise<void>;
  /** See Eviction.makeRoom; false before `start`. */
  makeRoom(bytes: number): Promise<boolean>;
  /** Somebody found a pack wanting. */
  suspect(pack: PackRef): void;
  report(): Promise<CacheReport>;
  close(): Promise<void>;
}

const DAY_MS = 24 * 60 * 60 * 1000;
const FORECAST_DAYS = 7;
const SAVE_CLOCK_MS = 60 * 60 * 1000;
const noScrub: ScrubReport = { running: undefined, last: undefined, damaged: [] };

export async function openCache(options: CacheOptions): Promise<Cache> {
  const { folder, tenant, index, packs, settings, nowMs, log, crashPoint } = options;
  const { evictBelowBytes, reserveBytes, rejectBelowBytes } = settings;
  const marks = { evictBelowBytes, reserveBytes, rejectBelowBytes };
  const files = diskFiles;
  const room = new DiskRoom({ files, folder, marks });
  await room.watch();
  const state = await openCacheState(join(folder, 'cache.json'), files, log);
  const clock = new CacheClock(nowMs, () => performance.now(), state.state.clockMs);
  const turns = new PackTurns();
  const reads = new ReadPins({ tenant, index, log, nowMs });
  const saveClock = (): Promise<void> => state.change({ clockMs: clock.limitMs() });
  const saving = setInterval(() => void saveClock(), SAVE_CLOCK_MS).unref();
  await saveClock();
  let eviction: Eviction | undefined;
  let scrub: Scrub | undefined;

  const suspect = (pack: PackRef): void => scrub?.suspect(pack);
  const uploads = checkedReads(packs, suspect);

  return {
    room,
    turns,
    reads,
    packs: reads.over(uploads),
    uploads,

    async start({ receiver, pins, wantManifest, isBusy, mend }) {
      eviction = await startEviction({
        tenant,
        index,
        packs,
        room,
        turns,
        clock,
        nowMs,
        retentionMs: settings.retentionDays * DAY_MS,
        pins: [(pack) => reads.isPinned(pack), ...pins],
        wantManifest,
        log,
        ...(crashPoint === undefined ? {} : { crashPoint }),
      });
      const { scrubDays } = settings;
      scrub = startScrub({ tenant, index, packs, files, turns, scrubDays, state, isBusy, mend, receiver, nowMs, log });
    },

    makeRoom: async (bytes) => (await eviction?.makeRoom(bytes)) ?? false,
    suspect,

    async report() {
      const since = newPackId(nowMs() - FORECAST_DAYS * DAY_MS, randomBytes(10));
      const [totals, arrived] = await Promise.all([index.cacheTotals(tenant), index.arrivedSince(tenant, since)]);
      const firstMs = arrived.firstPackId === undefined ? nowMs() : packIdTimeMs(arrived.firstPackId);
      const days = Math.min(FORECAST_DAYS, Math.max(1, (nowMs() - firstMs) / DAY_MS));
      const bytesPerDay = arrived.bytes / days;
      const left = Math.max(0, room.freeBytes - reserveBytes + totals.evictable.bytes);
      return {
        freeBytes: room.freeBytes,
        totalBytes: room.totalBytes,
        marks,
        packs: totals,
        bytesPerDay,
        daysUntilFull: bytesPerDay === 0 ? undefined : left / bytesPerDay,
        evicted: eviction?.totals() ?? { packs: 0, bytes: 0 },
        scrub: scrub?.report() ?? noScrub,
      };
    },

    async close() {
      clearInterval(saving);
      room.close();
      await scrub?.close();
      await eviction?.close();
      await reads.close();
      await saveClock();
    },
  };
}
