/**
 * Packs that the cloud has written anew without what was deleted: what is looked for in them here is looked for in the new ones from
 * then on, by the rule book of ingest, of which the new packs are earlier arrivals; then file and record of the old one go. As long
 * as anything is looked for in it, it stays.
 */

import { manifestKey, packKey, packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord, PackRef, SeriesRef } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { isUid } from '#shared/dicom/uid.ts';
import type { Logger } from '#shared/log.ts';
import type { DiskPackStore } from '../cache/disk-pack-store.ts';
import type { PackTurns } from '../cache/pack-turns.ts';
import type { StudyHoldings } from './study-holdings.ts';

export interface PurgedPacksOptions {
  readonly index: ArchiveIndex;
  readonly packs: DiskPackStore;
  readonly turns: PackTurns;
  readonly holdings: StudyHoldings;
  readonly nowMs: () => number;
  readonly log: Logger;
}

/**
 * The cloud has said that it gave this pack up. Errors: those of StudyHoldings.
 * @param series of the pack with the UIDs that its instances have, where these are known: they need not be those of its key
 */
export type GiveUpPack = (tenant: string, pack: PackRef, series?: SeriesRef) => Promise<void>;

const PAGE = 500;

export function createPurgedPacks(options: PurgedPacksOptions): GiveUpPack {
  const { index, packs, turns, holdings, nowMs, log } = options;
  /** By packId: whoever reads a pack bit by bit asks for it many times. */
  const underWay = new Map<string, Promise<void>>();

  async function giveUp(tenant: string, ref: PackRef, series: SeriesRef): Promise<void> {
    const { packId } = ref;
    if ((await index.getPack(tenant, ref))?.state !== 'archived') return;
    holdings.forget(tenant, series);
    await holdings.adopt(tenant, series);
    // What was adopted are current instances; conflicts are asked for one by one.
    for (const record of await lookedForIn(tenant, packId, series)) await holdings.adoptVersions(tenant, record);
    const left = await lookedForIn(tenant, packId, series);
    if (left.length > 0) {
      log.warn(
        { packId, instances: left.length },
        'the cloud gave up a pack in which something is looked for here; it stays',
      );
      return;
    }
    await turns.inTurn(ref, async () => {
      const change = { purgedAtMs: nowMs(), evictedAtMs: nowMs() };
      const marked: PackRecord | undefined = await index.updatePack(tenant, ref, ['archived'], change);
      if (marked === undefined) return;
      await packs.delete(packKey(tenant, ref));
      await packs.delete(manifestKey(tenant, ref));
      await index.deletePack(tenant, ref);
    });
    log.info({ packId }, 'a pack with deleted instances was given up, as in the cloud');
  }

  /** Versions of instances whose bytes are looked for in the pack. */
  async function lookedForIn(tenant: string, packId: string, series: SeriesRef): Promise<readonly InstanceRecord[]> {
    const found: InstanceRecord[] = [];
    const { studyInstanceUid, seriesInstanceUid } = series;
    const ref = { studyInstanceUid, seriesInstanceUid };
    for await (const items of pagesOf((from) => index.listInstances(tenant, ref, { limit: PAGE, ...from }))) {
      const versions = await Promise.all(items.map((record) => index.getVersions(tenant, record)));
      found.push(...versions.flat().filter((version) => packRefOf(version).packId === packId));
    }
    return found;
  }

  return async (tenant, pack, series = pack) => {
    const known = underWay.get(pack.packId);
    if (known !== undefined) return known;
    // A key does not tell which records are of its series where their UIDs are none; the deletions tell.
    if (series === pack && !(isUid(pack.studyInstanceUid) && isUid(pack.seriesInstanceUid))) return;
    const work = giveUp(tenant, packRefOf(pack), series).finally(() => underWay.delete(pack.packId));
    underWay.set(pack.packId, work);
    return work;
  };
}
