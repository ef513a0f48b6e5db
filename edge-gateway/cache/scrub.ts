/**
 * Reads every sealed pack on this disk once in a while and does about what it finds what can be done: a damaged pack that the
 * cloud has archived is fetched from there; of one that it has not, what is intact is stored anew, and what is not is said
 * loudly. Also asked out of turn, by whoever stumbled over a pack. Goes on over restarts where it was.
 */
import { packKey } from '#shared/archive/keys.ts';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import {
  type CacheState,
  type CacheStateFile,
  type DamagedPack,
  MAX_DAMAGED,
  type ScrubProgress,
} from './cache-state.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import type { Files } from './files.ts';
import { findDamage } from './pack-check.ts';
import { salvagePack } from './pack-salvage.ts';
import type { PackTurns } from './pack-turns.ts';
import type { SqliteIndex } from './sqlite-index.ts';

/**
 * The cloud's copy of an archived pack: downloads it, verifies it against the record's SHA-256, and puts it in the place of the
 * file on this disk (DiskPackStore.replace, in the pack's turn), which stays until the new one is durable. Rejects when
 * that cannot be done now.
 */
export interface MendPack {
  fetchPack(pack: PackRecord): Promise<void>;
}

export interface ScrubOptions {
  readonly tenant: string;
  readonly index: SqliteIndex;
  readonly packs: DiskPackStore;
  readonly files: Files;
  readonly turns: PackTurns;
  /** Every pack is read at least once in so many days; 0: only those that somebody has stumbled over. */
  readonly scrubDays: number;
  readonly state: CacheStateFile;
  readonly isBusy: () => boolean;
  readonly mend: MendPack | undefined;
  /** Takes what is intact of a pack that exists nowhere else. */
  readonly receiver: InstanceReceiver;
  readonly nowMs: () => number;
  readonly log: Logger;
  /** Of the first pack after the start. */
  readonly firstPauseMs?: number;
}

export type CheckedPack = 'intact' | 'mended' | 'damaged' | 'not here';

export interface Scrub {
  /** Reads one pack again now. Errors: those of the index. */
  check(pack: PackRef): Promise<CheckedPack>;
  /** Somebody found a pack wanting: it is read again soon, once. */
  suspect(pack: PackRef): void;
  report(): ScrubReport;
  close(): Promise<void>;
}

export interface ScrubReport {
  readonly running: ScrubProgress | undefined;
  readonly last: CacheState['lastScrub'];
  /** Found and not mended. */
  readonly damaged: readonly DamagedPack[];
}

const DAY_MS = 24 * 60 * 60 * 1000;
const FIRST_PAUSE_MS = 60_000;
const LONGEST_PAUSE_MS = 6 * 60 * 60 * 1000;
/** What could not be mended is tried again. */
const MEND_AGAIN_MS = 10 * 60_000;
const MAX_SUSPECTS = 1_000;

export function startScrub(options: ScrubOptions): Scrub {
  const { tenant, index, packs, files, turns, scrubDays, state, isBusy, mend, receiver, nowMs, log } = options;
  const stop = new AbortController();
  const { signal } = stop;
  /** A pass takes half of the time that it may: the gateway may be off, or busy, for the other half. */
  const passMs = (scrubDays * DAY_MS) / 2;
  const suspects = new Map<string, PackRef>();
  /** When suspects were read again, so that many complaints about one pack are one. */
  const looked = new Map<string, number>();
  let wake: (() => void) | undefined;
  let mendAtMs = performance.now() + MEND_AGAIN_MS;
  let scrubAtMs = performance.now() + (options.firstPauseMs ?? FIRST_PAUSE_MS);

  const damagedPacks = (): readonly DamagedPack[] => state.state.damaged ?? [];

  function noteDamage(pack: PackRecord, reason: string, isMendable: boolean): Promise<void> {
    const { studyInstanceUid, seriesInstanceUid, packId } = pack;
    const others = damagedPacks().filter((known) => known.packId !== packId);
    const known = damagedPacks().find((other) => other.packId === packId);
    const foundAtMs = known?.foundAtMs ?? nowMs();
    const now = { studyInstanceUid, seriesInstanceUid, packId, reason, foundAtMs, isMendable };
    const damaged = [...others, now];
    return state.change({ damaged: damaged.slice(-MAX_DAMAGED) });
  }

  async function noteWell({ packId }: PackRef): Promise<void> {
    const others = damagedPacks().filter((known) => known.packId !== packId);
    if (others.length < damagedPacks().length) await state.change({ damaged: others });
  }

  async function check(ref: PackRef): Promise<CheckedPack> {
    const pack = await onDisk(ref);
    if (pack === undefined) {
      await noteWell(ref);
      return 'not here';
    }
    const damage = await findDamage(files, packs.pathOf(packKey(tenant, pack)), pack, { isBusy, signal });
    // It may have been evicted, or archived, while it was being read.
    const now = damage === undefined ? pack : await onDisk(ref);
    if (damage === undefined || now === undefined) {
      await noteWell(pack);
      return damage === undefined ? 'intact' : 'not here';
    }
    if (now.state === 'archived') return mendFromCloud(now, damage);
    // Its bytes may be in the cloud, which has not said so yet: the status of the upload decides what is done.
    if (now.state === 'sent') {
      await noteDamage(now, `${damage} The cloud is verifying its own copy.`, true);
      return 'damaged';
    }
    return condemn(now, damage);
  }

  async function onDisk(ref: PackRef): Promise<PackRecord | undefined> {
    const pack = await index.getPack(tenant, ref);
    const isHere = pack?.sha256 !== undefined && pack.state !== 'open' && pack.evictedAtMs === undefined;
    return isHere ? pack : undefined;
  }

  async function mendFromCloud(pack: PackRecord, damage: string): Promise<CheckedPack> {
    const { packId } = pack;
    if (await isGone(pack)) {
      log.error({ packId }, 'the file of a pack is gone; the cloud has it');
      await noteWell(pack);
      return 'not here';
    }
    const isNew = !damagedPacks().some((known) => known.packId === packId);
    if (isNew)
      log.error({ packId, damage }, 'a pack on this disk is damaged; the cloud has it, and it is fetched anew');
    await noteDamage(pack, `${damage} The cloud has it; it will be fetched from there.`, true);
    if (mend === undefined) return 'damaged';
    try {
      await mend.fetchPack(pack);
    } catch (error) {
      if (!signal.aborted && isNew)
        log.warn({ err: error, packId }, 'a damaged pack could not be fetched; it will be tried again');
      return 'damaged';
    }
    const still = await findDamage(files, packs.pathOf(packKey(tenant, pack)), pack, { isBusy, signal });
    if (still !== undefined) {
      log.error({ packId, damage: still }, 'a pack is damaged again after it was fetched: the disk is failing');
      return 'damaged';
    }
    await noteWell(pack);
    log.info({ packId }, 'a damaged pack is mended');
    return 'mended';
  }

  /** Whether there is no file of an archived pack at all: then it is marked as evicted, which is what it is. */
  function isGone(pack: PackRecord): Promise<boolean> {
    return turns.inTurn(pack, async () => {
      if ((await packs.head(packKey(tenant, pack))) !== undefined) return false;
      return (await index.updatePack(tenant, pack, ['archived'], { evictedAtMs: nowMs() })) !== undefined;
    });
  }

  /** There is no other copy: keeps what is intact, says what is not, and sees to it that the file is never taken for good. */
  async function condemn(pack: PackRecord, damage: string): Promise<CheckedPack> {
    const { studyInstanceUid, seriesInstanceUid, packId } = pack;
    const before = `${damage} It was not archived yet.`;
    // First of all, so that whatever ends this half-way, it is taken up again.
    await noteDamage(pack, before, true);
    const marked = await index.updatePack(tenant, pack, ['sealed', 'rejected'], { state: 'rejected', reason: before });
    if (marked === undefined) return check(pack);
    const path = packs.pathOf(packKey(tenant, pack));
    const { expected, kept, lost, refused } = await salvagePack({ tenant, index, files, receiver }, marked, path);
    if (expected === 0) {
      await noteWell(pack);
      return 'not here';
    }
    const said = [before];
    if (kept > 0) said.push(`${kept} of ${pack.instanceCount} instances are intact and were stored anew.`);
    if (refused !== undefined) said.push(`Others are intact and could not be stored yet: ${refused}`);
    else if (lost.length > 0) said.push(`${lost.length} must be sent again; the log names them.`);
    const reason = said.join(' ');
    await index.updatePack(tenant, pack, ['rejected'], { reason });
    const facts = { studyInstanceUid, seriesInstanceUid, packId, damage, kept, lost };
    if (lost.length === 0) {
      log.error(facts, 'a pack was damaged before it was archived; every instance in it was stored anew');
      await noteWell(pack);
      return 'mended';
    }
    if (pack.reason !== reason)
      log.error(facts, 'a pack was damaged before it was archived: instances are lost unless they are sent again');
    await noteDamage(pack, reason, refused !== undefined);
    return 'damaged';
  }

  /** One step; answers how long to rest after it. */
  async function step(): Promise<number> {
    for (const [packId, ref] of suspects) {
      suspects.delete(packId);
      if (looked.size >= MAX_SUSPECTS) looked.clear();
      // Noted when it has been read, not before: what goes bad while it is being looked at is looked at once more. And what is damaged
      // again after it was mended is mended again, at once.
      const found = await check(ref).finally(() => looked.set(packId, performance.now()));
      if (found === 'mended') looked.delete(packId);
    }
    if (performance.now() >= mendAtMs) {
      for (const ref of damagedPacks()) if (ref.isMendable) await check(ref);
      mendAtMs = performance.now() + MEND_AGAIN_MS;
    }
    if (scrubDays > 0 && performance.now() >= scrubAtMs) {
      const pauseMs = await scrubNext();
      scrubAtMs = performance.now() + pauseMs;
    }
    return Math.max(0, Math.min(mendAtMs, scrubDays > 0 ? scrubAtMs : mendAtMs) - performance.now());
  }

  async function scrubNext(): Promise<number> {
    const at = state.state.scrub ?? { startedAtMs: nowMs(), checkedPacks: 0, checkedBytes: 0 };
    const agoMs = nowMs() - at.startedAtMs;
    // Done, and the next pass is not due: a start that is still to come is of a clock that was set back.
    if (isDone(at) && agoMs >= 0 && agoMs < passMs) return Math.min(LONGEST_PAUSE_MS, passMs - agoMs);
    const going = isDone(at) ? { startedAtMs: nowMs(), checkedPacks: 0, checkedBytes: 0 } : at;
    const { after } = going;
    const [pack] = await index.packsOnDisk(tenant, { limit: 1, ...(after === undefined ? {} : { after }) });
    if (pack === undefined) {
      const { startedAtMs, checkedPacks, checkedBytes } = going;
      const lastScrub = { startedAtMs, finishedAtMs: nowMs(), checkedPacks, checkedBytes };
      await state.change({ scrub: going, lastScrub });
      return Math.min(LONGEST_PAUSE_MS, passMs);
    }
    await check(pack);
    const checkedPacks = going.checkedPacks + 1;
    const checkedBytes = going.checkedBytes + pack.lengthBytes;
    await state.change({ scrub: { ...going, after: pack.packId, checkedPacks, checkedBytes } });
    const { onDisk: all } = await index.cacheTotals(tenant);
    return Math.min(LONGEST_PAUSE_MS, passMs * (pack.lengthBytes / Math.max(pack.lengthBytes, all.bytes)));
  }

  const isDone = (progress: ScrubProgress): boolean => progress.startedAtMs === state.state.lastScrub?.startedAtMs;

  async function run(): Promise<void> {
    let restMs = Math.min(MEND_AGAIN_MS, options.firstPauseMs ?? FIRST_PAUSE_MS);
    while (!signal.aborted) {
      await rest(restMs);
      if (signal.aborted) return;
      try {
        restMs = await step();
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ err: error }, 'the scrub failed; it goes on later');
        restMs = MEND_AGAIN_MS;
      }
    }
  }

  async function rest(ms: number): Promise<void> {
    if (suspects.size > 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms).unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    wake = undefined;
  }

  const running = run();
  return {
    check,
    suspect(pack) {
      const lookedAtMs = looked.get(pack.packId) ?? Number.NEGATIVE_INFINITY;
      if (suspects.size >= MAX_SUSPECTS || performance.now() - lookedAtMs < MEND_AGAIN_MS) return;
      suspects.set(pack.packId, pack);
      wake?.();
    },
    report: () => ({ running: state.state.scrub, last: state.state.lastScrub, damaged: damagedPacks() }),
    async close() {
      stop.abort();
      wake?.();
      await running;
    },
  };
}
