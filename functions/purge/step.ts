/**
 * The pipeline step that takes deleted bytes away, some time after the deletion: each pack that holds such is written anew without them,
 * as an earlier arrival of the rest, and taken in by ingest like any other; then nothing is looked for in the old one, and after a while
 * for those who read it, it goes. What is left of the deletion is a tombstone without attributes.
 *
 * Idempotent, and safe to be ended between any two writes: first the tombstones say that they can no longer be restored, the new pack has
 * an id that follows from the old one's, the rule book of ingest moves the records, and the old pack is given up only when the index
 * names it nowhere. No pack goes whose bytes a record needs.
 */

import { removeVersion, tombstonesOf } from '#shared/archive/deletion.ts';
import { entryNameOf } from '#shared/archive/entry-inspector.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { keyPartOf, manifestKey, packIdBefore, packKey, packRefOf } from '#shared/archive/keys.ts';
import { decodeManifest, type Manifest, type ManifestEntry } from '#shared/archive/manifest.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord, PackRef, SeriesRef, Tombstone } from '#shared/archive/records.ts';
import { inParallel, pagesOf } from '#shared/archive/walk.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { storeRewritten } from './rewritten-pack.ts';

export interface PurgeDue {
  readonly tenant: string;
}

export interface PurgeOptions {
  readonly archive: Archive;
  /** Takes in a pack that lies in the store: functions/ingest. */
  readonly ingest: (message: { readonly key: string }) => Promise<unknown>;
  /** How long a deletion can be undone. */
  readonly purgeAfterMs: number;
  /** How long a pack in which nothing is looked for any more stays for who is reading it. Default an hour: longer than any URL to it is good for. */
  readonly readGraceMs?: number;
  readonly nowMs: () => number;
  readonly log: Logger;
}

const READ_GRACE_MS = 60 * 60_000;
const PAGE = 500;
/** Of those whose bytes are still there. */
const pending = ['deleted', 'purging'] as const;

/** Looks at every series in which a deletion is due. Rejects when one could not be purged, after all others were. */
export function createPurgeStep(options: PurgeOptions): (message: PurgeDue) => Promise<void> {
  const { archive, purgeAfterMs, nowMs, log } = options;
  return async ({ tenant }) => {
    const untilMs = nowMs() - purgeAfterMs;
    const seen = new Set<string>();
    let failure: unknown;
    const due = pagesOf((from) => archive.index.tombstonesToPurge(tenant, { untilMs, limit: PAGE, ...from }));
    for await (const items of due)
      for (const { studyInstanceUid, seriesInstanceUid } of items) {
        const name = JSON.stringify([studyInstanceUid, seriesInstanceUid]);
        if (seen.has(name)) continue;
        seen.add(name);
        try {
          await new SeriesPurge(options, tenant, { studyInstanceUid, seriesInstanceUid }, untilMs).run();
        } catch (error) {
          failure ??= error;
          log.error({ studyInstanceUid, seriesInstanceUid, err: error }, 'deleted instances could not be purged');
        }
      }
    if (failure !== undefined) throw failure;
  };
}

class SeriesPurge {
  readonly #options: PurgeOptions;
  readonly #tenant: string;
  readonly #series: SeriesRef;
  readonly #untilMs: number;
  /** Of this series, those whose bytes are still there. */
  #tombstones: Tombstone[] = [];

  constructor(options: PurgeOptions, tenant: string, series: SeriesRef, untilMs: number) {
    this.#options = options;
    this.#tenant = tenant;
    this.#series = series;
    this.#untilMs = untilMs;
  }

  async run(): Promise<void> {
    for await (const tombstone of tombstonesOf(this.#index, this.#tenant, this.#series))
      if (pending.some((state) => state === tombstone.state)) this.#tombstones.push(tombstone);
    for (const pack of await this.#packs()) if (isHeld(pack)) await this.#purgePack(pack);
    const gone = await this.#removePacks();
    await inParallel(this.#tombstones, async (tombstone) => {
      const isGone = tombstone.deletedAtMs <= this.#untilMs && gone.has(tombstone.packId);
      if (isGone) await this.#change(tombstone, 'purging', 'purged');
    });
  }

  get #index(): Archive['index'] {
    return this.#options.archive.index;
  }

  #packs(): Promise<readonly PackRecord[]> {
    const { studyInstanceUid, seriesInstanceUid } = this.#series;
    const ref = { studyInstanceUid: keyPartOf(studyInstanceUid), seriesInstanceUid: keyPartOf(seriesInstanceUid) };
    return this.#index.listPacks(this.#tenant, ref);
  }

  #change(tombstone: Tombstone, from: Tombstone['state'], state: Tombstone['state']): Promise<boolean> {
    return this.#index.updateTombstone(tombstone, [from], { state, changedAtMs: this.#options.nowMs() });
  }

  /** Sees to it that nothing is looked for in a pack that holds deleted bytes, if all deletions in it are due. */
  async #purgePack(pack: PackRecord): Promise<void> {
    const { archive, ingest, log, nowMs } = this.#options;
    const { packId } = pack;
    const manifest = await this.#manifestOf(pack);
    await this.#markCopies(pack, manifest);
    const inPack = this.#tombstones.filter((tombstone) => tombstone.packId === packId);
    const isBegun = inPack.some(({ state }) => state === 'purging');
    const due = inPack.filter(({ state, deletedAtMs }) => state === 'purging' || deletedAtMs <= this.#untilMs);
    // What was begun is finished, whatever has been deleted since: of the new pack some may be known already.
    if (due.length === 0 || (due.length < inPack.length && !isBegun)) return;
    const doomed = await this.#claim(due);
    if (doomed.length === 0) return;
    await this.#finishDeleting(doomed);
    const dropped = new Set(doomed.map(({ sopInstanceUid }) => entryNameOf(sopInstanceUid)));
    if (manifest.entries.some(({ sopInstanceUid }) => !dropped.has(entryNameOf(sopInstanceUid)))) {
      const key = await storeRewritten(archive.packs, pack, dropped);
      const ref = { ...pack, packId: packIdBefore(packId) };
      await this.#announce(pack, ref);
      // Before anybody can see them in the new pack.
      if (await this.#isDeletedBeside(packId, dropped))
        await this.#carryDeletions(
          pack,
          (await inspectPack(archive.packs, key, { tenant: this.#tenant, ref })).manifest,
        );
      await ingest({ key });
      await this.#finishCarrying(pack, ref);
    }
    if (await this.#isNeeded(pack, manifest)) {
      log.warn(
        { ...this.#series, packId },
        'something is still looked for in a pack that was written anew; it stays for now',
      );
      return;
    }
    if ((await this.#index.updatePack(this.#tenant, pack, ['archived'], { purgedAtMs: nowMs() })) === undefined) return;
    log.info({ ...this.#series, packId, instances: doomed.length }, 'a pack was written anew without what is deleted');
  }

  /**
   * The same deleted bytes may lie in other packs of the series, where they were duplicates that the index did not need to know: they are
   * deleted as well, unless they are current again.
   */
  async #markCopies(pack: PackRecord, { entries }: Manifest): Promise<void> {
    const due = this.#tombstones.filter(({ deletedAtMs }) => deletedAtMs <= this.#untilMs);
    const byBytes = new Map(due.map((tombstone) => [`${tombstone.sopInstanceUid} ${tombstone.digest}`, tombstone]));
    const known = new Set(
      this.#tombstones.filter(({ packId }) => packId === pack.packId).map(({ sopInstanceUid }) => sopInstanceUid),
    );
    const copies: Tombstone[] = [];
    for (const entry of entries) {
      const deleted = byBytes.get(`${entry.sopInstanceUid} ${entry.digest}`);
      if (deleted === undefined || known.has(entry.sopInstanceUid)) continue;
      const versions = await this.#index.getVersions(this.#tenant, deleted);
      if (versions.some(({ digest }) => digest === entry.digest)) continue;
      const changedAtMs = this.#options.nowMs();
      copies.push({ ...deleted, ...placeIn(pack.packId, entry), state: 'deleted', changedAtMs });
    }
    await this.#index.createTombstones(copies);
    this.#tombstones.push(...copies);
  }

  /** From now on they cannot be restored. Those that have been are left out. */
  async #claim(inPack: readonly Tombstone[]): Promise<readonly Tombstone[]> {
    const claimed = await inParallel(inPack, async (tombstone) =>
      tombstone.state === 'purging' || (await this.#change(tombstone, 'deleted', 'purging')) ? [tombstone] : [],
    );
    return claimed.flat();
  }

  /** Whoever deleted may have ended between the tombstone and the record. */
  async #finishDeleting(doomed: readonly Tombstone[]): Promise<void> {
    await inParallel(doomed, ({ deletedAtMs: _, changedAtMs: __, ...record }) =>
      removeVersion(this.#index, { ...record, state: 'current' }),
    );
    await this.#index.recount(this.#tenant, this.#series);
  }

  /** Deletions that cover the old pack cover the new one: it has no later arrivals, but copies of what was deleted elsewhere. */
  async #announce({ archivedAtMs, instanceCount, lengthBytes }: PackRecord, ref: PackRef): Promise<void> {
    const { studyInstanceUid, seriesInstanceUid, packId } = ref;
    const createdAtMs = this.#options.nowMs();
    await this.#index.createPack({
      studyInstanceUid,
      seriesInstanceUid,
      packId,
      tenant: this.#tenant,
      state: 'sealed',
      // As far as is known before it is read.
      instanceCount,
      lengthBytes,
      createdAtMs,
      archivedAtMs: archivedAtMs ?? createdAtMs,
    });
  }

  /** Whether others than those are, or were, deleted in a pack. */
  async #isDeletedBeside(packId: string, dropped: ReadonlySet<string>): Promise<boolean> {
    for await (const tombstone of tombstonesOf(this.#index, this.#tenant, this.#series)) {
      if (tombstone.packId === packId && !dropped.has(entryNameOf(tombstone.sopInstanceUid))) return true;
    }
    return false;
  }

  /**
   * What was deleted while it was being copied is deleted in the copy too, unless it was restored from there since; and what was restored
   * is restored there, whatever is deleted elsewhere. Answers all that is deleted in both.
   */
  async #carryDeletions(
    pack: PackRecord,
    made: Manifest,
  ): Promise<readonly { readonly original: Tombstone; readonly carried: Tombstone }[]> {
    const entries = new Map(made.entries.map((entry) => [entry.sopInstanceUid, entry]));
    const both: { original: Tombstone; carried: Tombstone }[] = [];
    const known = new Set<string>();
    const restored = new Set<string>();
    const kept: Tombstone[] = [];
    for await (const original of tombstonesOf(this.#index, this.#tenant, this.#series)) {
      const { sopInstanceUid, packId, state } = original;
      if (packId === made.packId) (state === 'restored' ? restored : known).add(sopInstanceUid);
      const entry = entries.get(sopInstanceUid);
      if (packId !== pack.packId || entry === undefined) continue;
      if (state === 'restored') {
        kept.push({ ...original, ...placeIn(made.packId, entry) });
        continue;
      }
      const changedAtMs = this.#options.nowMs();
      both.push({ original, carried: { ...original, ...placeIn(made.packId, entry), state: 'deleted', changedAtMs } });
    }
    const deleted = both.filter(({ carried }) => !restored.has(carried.sopInstanceUid));
    const carried = [...deleted.map((one) => one.carried), ...kept].filter(
      ({ sopInstanceUid }) => !known.has(sopInstanceUid) && !restored.has(sopInstanceUid),
    );
    if (carried.length > 0) await this.#index.createTombstones(carried);
    return deleted;
  }

  /** The same once more for what was deleted while it was taken in; then only the copy has bytes that can be restored. */
  async #finishCarrying(pack: PackRecord, ref: PackRef): Promise<void> {
    const made = await this.#index.getPack(this.#tenant, ref);
    if (made?.state !== 'archived')
      throw new ArchiveError('damaged', 'A pack that was written anew could not be archived.', { packId: ref.packId });
    const both = await this.#carryDeletions(pack, await this.#manifestOf(made));
    if (both.length === 0) return;
    await inParallel(both, ({ original }) => this.#change(original, 'deleted', 'purging'));
    await this.#finishDeleting(both.map(({ carried }) => carried));
  }

  /** Whether the index looks for anything in the pack. */
  async #isNeeded(pack: PackRecord, { entries }: Manifest): Promise<boolean> {
    const needed = await inParallel(entries, async ({ sopInstanceUid }) => {
      const versions = await this.#index.getVersions(this.#tenant, { ...this.#series, sopInstanceUid });
      return versions.some((version) => packRefOf(version).packId === pack.packId);
    });
    return needed.includes(true);
  }

  /** Removes packs in which nothing is looked for any more; answers which are not there now. */
  async #removePacks(): Promise<ReadonlySet<string>> {
    const { archive, nowMs, readGraceMs = READ_GRACE_MS, log } = this.#options;
    const gone = new Set<string>();
    for (const pack of await this.#packs()) {
      if (pack.purgedAtMs === undefined || nowMs() - pack.purgedAtMs < readGraceMs) continue;
      const key = packKey(this.#tenant, pack);
      if ((await archive.packs.head(key)) !== undefined) log.info({ packId: pack.packId }, 'a purged pack is removed');
      await archive.packs.delete(key);
      await archive.packs.delete(manifestKey(this.#tenant, pack));
      gone.add(pack.packId);
    }
    return gone;
  }

  async #manifestOf(pack: PackRecord): Promise<Manifest> {
    return decodeManifest(await this.#options.archive.packs.read(manifestKey(this.#tenant, pack)));
  }
}

/** Verified, and not given up. */
const isHeld = ({ state, purgedAtMs }: PackRecord): boolean => state === 'archived' && purgedAtMs === undefined;

const placeIn = (
  packId: string,
  { offsetBytes, lengthBytes, dataSetOffsetBytes, digest }: ManifestEntry,
): Pick<InstanceRecord, 'packId' | 'offsetBytes' | 'lengthBytes' | 'dataSetOffsetBytes' | 'digest'> => ({
  packId,
  offsetBytes,
  lengthBytes,
  dataSetOffsetBytes,
  digest,
});
