/**
 * Makes room: the bytes of a pack may leave this disk only when the cloud has archived it, and then when it was not needed
 * for the retention time or when space is needed, the one longest unused first, never one that is pinned. What is evicted
 * stays in the index, and its manifest on the disk.
 *
 * The order survives a crash at any instant: the record is marked, durably and on the condition that its state is
 * `archived`, then the file goes. Between the two the mark is right already: the file is only a remnant, removed at the
 * next start. No setting has a part in that condition.
 */

import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import type { Logger } from '#shared/log.ts';
import type { CacheClock } from './cache-clock.ts';
import type { CrashPoint } from './crash-point.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import type { DiskRoom } from './disk-room.ts';
import type { PackTurns } from './pack-turns.ts';
import { lastUsedMs } from './sqlite-cached-packs.ts';
import type { SqliteIndex } from './sqlite-index.ts';

/** Whether somebody needs the bytes of a pack here: who reads it, a commitment or a route that is not settled. */
export type Pin = (pack: PackRecord) => boolean | Promise<boolean>;

export interface EvictionOptions {
  readonly tenant: string;
  readonly index: SqliteIndex;
  readonly packs: DiskPackStore;
  readonly room: DiskRoom;
  readonly turns: PackTurns;
  /** By which packs grow old. */
  readonly clock: CacheClock;
  /** Wall clock: what goes into the index. */
  readonly nowMs: () => number;
  /** A pack that was not needed for longer goes. */
  readonly retentionMs: number;
  readonly pins: readonly Pin[];
  /** A pack has no manifest yet and is not evicted before it has: metadata could not be had without its bytes. It is to have one now. */
  readonly wantManifest: (pack: PackRef) => void;
  readonly log: Logger;
  readonly crashPoint?: CrashPoint;
  /** How often the free space is looked at. */
  readonly tickMs?: number;
}

export interface Eviction {
  /**
   * Whether so many bytes that no sender waits for may be brought here, after evicting what may be evicted for them: see
   * DiskRoom.hasRoom.
   */
  makeRoom(bytes: number): Promise<boolean>;
  /** Looks at once; resolves when what may and should go is gone. Errors: those of index and disk. */
  run(): Promise<void>;
  /** Since this process began. */
  totals(): { readonly packs: number; readonly bytes: number };
  close(): Promise<void>;
}

const TICK_MS = 2_000;
/** How often it is looked for packs that have grown old. */
const AGE_MS = 10 * 60_000;
/** When nothing could be evicted and nothing has changed since, the next try is after so long. */
const FRUITLESS_MS = 30_000;
/** For so many walks it is waited for a manifest, before others go in the place of its pack. */
const HOPEFUL_WALKS = 5;
const MAX_HOPES = 10_000;
const PAGE = 64;
/** A crash leaves one file that was marked last; others mark packs as well that never were here. */
const LAST_MARKS = 500;

interface Need {
  readonly bytes: number;
  readonly files: number;
}

/** First removes what an earlier process had marked and not removed; goes on by itself until it is closed. */
export async function startEviction(options: EvictionOptions): Promise<Eviction> {
  const { tenant, index, packs, room, turns, clock, nowMs, retentionMs, pins, wantManifest, log } = options;
  const crashPoint = options.crashPoint ?? (() => {});
  const gone = { packs: 0, bytes: 0 };
  let closed = false;
  let lastMarkMs = 0;
  /** In how many walks the manifest of a pack was wanted. */
  const hopes = new Map<string, number>();
  /** Rounds, one after the other. */
  let rounds: Promise<unknown> = Promise.resolve();

  /** Marks rise, whatever the clock does, so that the last ones are always found first. */
  function nextMarkMs(): number {
    lastMarkMs = Math.max(lastMarkMs + 1, nowMs());
    return lastMarkMs;
  }

  async function takeUp(): Promise<void> {
    const last = await index.lastEvicted(tenant, LAST_MARKS);
    lastMarkMs = last[0]?.evictedAtMs ?? 0;
    for (const marked of last)
      await turns.inTurn(marked, async () => {
        const pack = await index.getPack(tenant, marked);
        if (pack?.state !== 'archived' || pack.evictedAtMs === undefined) return;
        if ((await packs.head(packKey(tenant, pack))) === undefined) return;
        await packs.delete(packKey(tenant, pack));
        log.info({ packId: pack.packId }, 'removed the file of a pack that had been evicted');
      });
  }

  async function isPinned(pack: PackRecord): Promise<boolean> {
    for (const pin of pins) {
      try {
        if (await pin(pack)) return true;
      } catch (error) {
        log.warn({ err: error, packId: pack.packId }, 'nobody knows whether a pack is needed; it stays');
        return true;
      }
    }
    return false;
  }

  function evict(candidate: PackRecord): Promise<'evicted' | 'kept' | 'wanted'> {
    return turns.inTurn(candidate, async () => {
      const pack = await index.getPack(tenant, candidate);
      if (pack?.state !== 'archived' || pack.evictedAtMs !== undefined || (await isPinned(pack))) return 'kept';
      if ((await packs.head(manifestKey(tenant, pack))) === undefined) {
        wantManifest(pack);
        return 'wanted';
      }
      const marked = await index.updatePack(tenant, pack, ['archived'], { evictedAtMs: nextMarkMs() });
      if (marked === undefined) return 'kept';
      crashPoint('after-evicted-mark');
      try {
        if (await isPinned(marked)) {
          await unmark(marked);
          return 'kept';
        }
        await packs.delete(packKey(tenant, pack));
      } catch (error) {
        await unmark(marked).catch(() => {});
        throw error;
      }
      crashPoint('after-evicted-delete');
      return 'evicted';
    });
  }

  /** Whether a manifest that is wanted may be expected soon; one that cannot be made must not keep others from going. */
  function isHoped({ packId }: PackRecord): boolean {
    if (hopes.size >= MAX_HOPES) hopes.clear();
    const walks = (hopes.get(packId) ?? 0) + 1;
    hopes.set(packId, walks);
    return walks <= HOPEFUL_WALKS;
  }

  const unmark = (pack: PackRecord): Promise<unknown> =>
    index.updatePack(tenant, pack, ['archived'], { evictedAtMs: undefined });

  /**
   * Evicts what has grown old, and of the rest as much as is needed; answers how many bytes went, and how many will be able to
   * go as soon as their manifests are there.
   */
  async function walk(need: Need): Promise<{ readonly freedBytes: number; readonly wantedBytes: number }> {
    const freed = { packs: 0, bytes: 0 };
    const wanted = { packs: 0, bytes: 0 };
    const done = () => ({ freedBytes: freed.bytes, wantedBytes: wanted.bytes });
    try {
      for await (const items of pagesOf((from) => index.leastRecentlyUsed(tenant, { limit: PAGE, ...from }))) {
        for (const pack of items) {
          const isOld = clock.nowMs() - lastUsedMs(pack) > retentionMs;
          const isEnough = freed.bytes + wanted.bytes >= need.bytes && freed.packs + wanted.packs >= need.files;
          if (closed || (!isOld && isEnough)) return done();
          const end = await evict(pack);
          if (end === 'kept') continue;
          if (end === 'wanted' && !isHoped(pack)) continue;
          const sum = end === 'evicted' ? freed : wanted;
          sum.packs++;
          sum.bytes += pack.lengthBytes;
        }
      }
      return done();
    } finally {
      gone.packs += freed.packs;
      gone.bytes += freed.bytes;
      if (freed.packs > 0) {
        room.changed();
        log.info({ ...freed, neededBytes: need.bytes }, 'evicted packs that are archived in the cloud');
      }
    }
  }

  function inLine<T>(round: () => Promise<T>): Promise<T> {
    const run = rounds.then(round);
    rounds = run.catch(() => {});
    return run;
  }

  let looksAgainAtMs = 0;
  let seenPacks = -1;
  let complaint = '';
  let timer: NodeJS.Timeout | undefined;

  /** A round if there is a reason for one: age now and then, shortage at once, but not again and again for nothing. */
  async function tick(): Promise<void> {
    const need = await room.shortage();
    const isShort = need.bytes > 0 || need.files > 0;
    const nowMs = performance.now();
    if (nowMs < looksAgainAtMs) {
      if (!isShort || (await index.cacheTotals(tenant)).evictable.packs === seenPacks) return;
    }
    const { freedBytes, wantedBytes } = await inLine(() => walk(need));
    const isFruitless = isShort && freedBytes + wantedBytes === 0;
    looksAgainAtMs = performance.now() + (isFruitless ? FRUITLESS_MS : AGE_MS);
    seenPacks = isFruitless ? (await index.cacheTotals(tenant)).evictable.packs : -1;
  }

  function plan(): void {
    if (closed) return;
    timer = setTimeout(() => {
      tick()
        .then(
          () => {
            complaint = '';
          },
          (error: unknown) => {
            looksAgainAtMs = performance.now() + FRUITLESS_MS;
            const message = error instanceof Error ? error.message : String(error);
            if (message !== complaint && !closed) log.warn({ err: error }, 'eviction failed; it will be tried again');
            complaint = message;
          },
        )
        .finally(plan);
    }, options.tickMs ?? TICK_MS).unref();
  }

  await takeUp().catch((error: unknown) => log.warn({ err: error }, 'what was evicted could not be removed'));
  plan();

  return {
    async makeRoom(bytes) {
      if (await room.hasRoom(bytes)) return true;
      const { evictBelowBytes } = room.marks;
      const freed = await inLine(() =>
        walk({ bytes: Math.max(0, bytes + evictBelowBytes - room.freeBytes), files: 0 }),
      );
      return freed.freedBytes > 0 && (await room.hasRoom(bytes));
    },
    run: () => inLine(async () => void (await walk(await room.shortage()))),
    totals: () => ({ ...gone }),
    async close() {
      closed = true;
      clearTimeout(timer);
      await rounds;
    },
  };
}
