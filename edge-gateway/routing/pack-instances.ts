/**
 * The instances of packs as they are to be sent: those that are current, in order of arrival. What came under the same SOP
 * Instance UID with other bytes (a conflict) is not sent on: the receiver could not tell which is which.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRef, SeriesRef } from '#shared/archive/records.ts';
import { instancesOf, type StoredInstance, storedInstance } from '../dimse/retrieve-selection.ts';

/** By packId, for every pack given. A series is looked through once, however many of its packs are asked for. */
export async function instancesOfPacks(
  index: ArchiveIndex,
  tenant: string,
  packs: readonly PackRef[],
): Promise<ReadonlyMap<string, readonly StoredInstance[]>> {
  const byPack = new Map<string, StoredInstance[]>(packs.map(({ packId }) => [packId, []]));
  const series = new Map<string, SeriesRef>(
    packs.map((ref) => [`${ref.studyInstanceUid}/${ref.seriesInstanceUid}`, ref]),
  );
  for (const { studyInstanceUid, seriesInstanceUid } of series.values())
    for await (const record of instancesOf(index, tenant, { studyInstanceUid, seriesInstanceUid }))
      byPack.get(record.packId)?.push(storedInstance(record));
  for (const instances of byPack.values()) instances.sort((a, b) => a.offsetBytes - b.offsetBytes);
  return byPack;
}
