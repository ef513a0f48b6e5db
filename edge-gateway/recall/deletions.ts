/**
 * The cloud's deletions, heard and followed: what it has deleted is shown here no more, by nobody. Only records go, and only of bytes that the
 * cloud had archived when it deleted them: what is on its way to the cloud has come later, and stays. Asked every half minute;
 * how far it has been told stands in the index, and is told again if that is lost.
 */

import { deletedVersions, deleteVersions, tombstonesOf } from '#shared/archive/deletion.ts';
import type { PackRecord, SeriesRef, Tombstone } from '#shared/archive/records.ts';
import { inParallel } from '#shared/archive/walk.ts';
import { isArchiveError } from '#shared/errors.ts';
import { deletionFromWire, MAX_DELETIONS_PER_PAGE } from '#shared/gateway-deletions-api.ts';
import type { Logger } from '#shared/log.ts';
import type { SqliteIndex } from '../cache/sqlite-index.ts';
import type { CloudLine } from './cloud-line.ts';
import type { CloudReader } from './cloud-reader.ts';
import type { GiveUpPack } from './purged-packs.ts';
import type { StudyHoldings } from './study-holdings.ts';

export interface DeletionsOptions {
  /** The gateway's own. */
  readonly index: SqliteIndex;
  readonly cloud: Pick<CloudReader, 'deletions'>;
  readonly line: CloudLine;
  readonly holdings: Pick<StudyHoldings, 'forget' | 'adoptVersions'>;
  readonly giveUpPack: GiveUpPack;
  readonly log: Logger;
}

/** For a page; a question of few bytes has the line's own bound. */
const PAGE_WAIT_MS = 30_000;
const POLL_MS = 30_000;
/** When the cloud knows of no such question. */
const RARE_POLL_MS = 10 * 60_000;

/** Hears all that there is to be heard now. Errors: those of the line and the index; what was followed is not asked for again. */
export type HearDeletions = (tenant: string) => Promise<void>;

export function createDeletions(options: DeletionsOptions): HearDeletions {
  const { index, cloud, line, holdings, giveUpPack, log } = options;

  async function follow(tenant: string, deletions: readonly Tombstone[]): Promise<void> {
    const gone = deletions.filter(({ state }) => state === 'deleted');
    // First of all, and also for what is unknown here: it may be on its way here from the cloud at this moment.
    await index.createTombstones(gone);
    await inParallel(gone, (tombstone) => renew(tombstone));
    const hidden = (await inParallel(gone, (tombstone) => hide(tenant, tombstone))).filter((isHidden) => isHidden);
    // Also where nothing was hidden: it may have been the last time, which ended before it counted.
    const series = new Map(gone.map(seriesOf).map((ref) => [JSON.stringify(ref), ref]));
    for (const ref of series.values()) await index.recount(tenant, ref);
    if (hidden.length > 0)
      log.info({ deletions: hidden.length, series: series.size }, 'what was deleted in the cloud is shown no more');
  }

  /** What was restored and deleted again before any of that was heard of is deleted as of then. */
  async function renew(tombstone: Tombstone): Promise<void> {
    const { packId, deletedAtMs, changedAtMs } = tombstone;
    for await (const own of tombstonesOf(index, tombstone.tenant, tombstone)) {
      if (own.packId !== packId || own.deletedAtMs >= deletedAtMs) continue;
      await index.updateTombstone(own, ['deleted'], { state: 'restored', changedAtMs });
      await index.createTombstones([tombstone]);
    }
  }

  /** Whether there was something to hide. */
  async function hide(tenant: string, tombstone: Tombstone): Promise<boolean> {
    const versions = await index.getVersions(tenant, tombstone);
    const gone = await deletedVersions(index, versions);
    if (gone.length === 0) return false;
    // No patient data is kept of them: what is restored is asked of the cloud.
    const bare = gone.map((version) => ({ ...version, attributes: {} }));
    await deleteVersions(index, bare, tombstone.deletedAtMs);
    return true;
  }

  async function restore(tenant: string, restored: Tombstone): Promise<void> {
    const { changedAtMs } = restored;
    let wasDeleted = false;
    for await (const tombstone of tombstonesOf(index, tenant, restored)) {
      if (tombstone.deletedAtMs > changedAtMs) continue;
      await index.updateTombstone(tombstone, ['deleted'], { state: 'restored', changedAtMs });
      wasDeleted = true;
    }
    if (!wasDeleted) return;
    await holdings.adoptVersions(tenant, restored);
  }

  return async (tenant) => {
    for (let more = true; more; ) {
      const cursor = await index.deletionCursor(tenant);
      const request = { limit: MAX_DELETIONS_PER_PAGE, ...(cursor === undefined ? {} : { cursor }) };
      const page = await line.ask((signal) => cloud.deletions(request, signal), PAGE_WAIT_MS);
      const tombstones = page.deletions.map((wire) => deletionFromWire(tenant, wire));
      await follow(tenant, tombstones);
      const restored = tombstones.filter(({ state }) => state === 'restored');
      // Once for all of a study: there may be thousands.
      for (const tombstone of restored) holdings.forget(tenant, tombstone);
      for (const tombstone of restored) await restore(tenant, tombstone);
      const purged = page.deletions.filter(({ state }) => state === 'purged');
      for (const pack of new Map(purged.map((one) => [one.packId, one])).values())
        await giveUpPack(tenant, pack, { ...pack });
      await index.moveDeletionCursor(tenant, page.cursor);
      more = page.more;
    }
  };
}

const seriesOf = ({ studyInstanceUid, seriesInstanceUid }: SeriesRef): SeriesRef => ({
  studyInstanceUid,
  seriesInstanceUid,
});

/**
 * Hides what a pack has of instances that the cloud deleted after it had archived the pack: until the receipt is here nobody knows that these
 * do not come later. @param archived as the receipt has it
 */
export async function hideDeletedIn(index: SqliteIndex, archived: PackRecord): Promise<void> {
  const { tenant, studyInstanceUid, seriesInstanceUid, packId } = archived;
  const series = { studyInstanceUid, seriesInstanceUid };
  const asArchived: SqliteIndex = {
    ...index,
    getPack: async (of, ref) => (ref.packId === packId ? archived : index.getPack(of, ref)),
  };
  let isHidden = false;
  for await (const tombstone of tombstonesOf(index, tenant, series)) {
    const versions = await index.getVersions(tenant, tombstone);
    const own = versions.filter((version) => version.packId === packId);
    const gone = await deletedVersions(asArchived, own);
    if (gone.length === 0) continue;
    const bare = gone.map((version) => ({ ...version, attributes: {} }));
    await deleteVersions(index, bare, tombstone.deletedAtMs);
    isHidden = true;
  }
  if (isHidden) await index.recount(tenant, series);
}

/** Hears again and again until it is closed. */
export function startDeletions(
  { hear, log }: { readonly hear: () => Promise<void>; readonly log: Logger },
  pollMs = POLL_MS,
): { close(): Promise<void> } {
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let complaint = '';
  let running: Promise<void> = Promise.resolve();

  const round = async (): Promise<void> => {
    let pauseMs = pollMs;
    try {
      await hear();
      complaint = '';
    } catch (error) {
      // The line says by itself when it is down and up again.
      const message = error instanceof Error ? error.message : String(error);
      if (!isArchiveError(error, 'unavailable') && message !== complaint && !closed)
        log.warn({ err: error }, 'what was deleted in the cloud could not be heard of; it will be tried again');
      complaint = message;
      if (isArchiveError(error, 'not-found')) pauseMs = Math.max(pollMs, RARE_POLL_MS);
    }
    if (!closed) timer = setTimeout(begin, pauseMs).unref();
  };
  const begin = (): void => {
    running = round();
  };
  begin();
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
