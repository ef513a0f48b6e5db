/**
 * What is deleted and stays so. A tombstone is about bytes: one instance in one pack. It covers the same instance in every other pack that
 * the archive had verified (`archived`) when it was deleted, and in no later one: to store it again after that is a new arrival.
 *
 * No transactions: the tombstone is written first, then the record removed; whoever brings records in looks for tombstones before and
 * after (ingest.ts). So of two at once at least one sees the other, and what ends half-way is finished by doing it again.
 */
import { packRefOf } from './keys.ts';
import type { ArchiveIndex } from './ports.ts';
import type { InstanceRecord, InstanceRef, SeriesRef, StudyRef, Tombstone } from './records.ts';
import { inParallel, pagesOf } from './walk.ts';

type AnyRef = StudyRef | SeriesRef | InstanceRef;

const PAGE = 500;
/** Who stores faster than is deleted has stored later. */
const MAXIMUM_ROUNDS = 10;

/** Which of the records name bytes that are deleted. One question for each series that has no tombstones. */
export async function deletedAmong(
  index: ArchiveIndex,
  records: readonly InstanceRecord[],
): Promise<ReadonlySet<InstanceRecord>> {
  const deleted = new Set<InstanceRecord>();
  for (const ofSeries of Map.groupBy(records, seriesNameOf).values()) {
    const wanted = new Set(ofSeries.map(({ sopInstanceUid }) => sopInstanceUid));
    const tombstones = new Map<string, Tombstone[]>();
    for await (const tombstone of tombstonesOf(index, ofSeries[0]!.tenant, seriesOf(ofSeries[0]!))) {
      const { sopInstanceUid } = tombstone;
      if (wanted.has(sopInstanceUid))
        tombstones.set(sopInstanceUid, [...(tombstones.get(sopInstanceUid) ?? []), tombstone]);
    }
    for (const record of ofSeries)
      if (await isCovered(index, tombstones.get(record.sopInstanceUid) ?? [], record)) deleted.add(record);
  }
  return deleted;
}

/** The same of versions of one instance. */
export async function deletedVersions(
  index: ArchiveIndex,
  versions: readonly InstanceRecord[],
): Promise<readonly InstanceRecord[]> {
  const [first] = versions;
  if (first === undefined) return [];
  const tombstones: Tombstone[] = [];
  for await (const tombstone of tombstonesOf(index, first.tenant, first)) tombstones.push(tombstone);
  const covered = await Promise.all(versions.map((version) => isCovered(index, tombstones, version)));
  return versions.filter((_, i) => covered[i]);
}

/** @param tombstones of the record's instance */
async function isCovered(
  index: Pick<ArchiveIndex, 'getPack'>,
  tombstones: readonly Tombstone[],
  record: InstanceRecord,
): Promise<boolean> {
  const own = tombstones.find(({ packId }) => packId === record.packId);
  if (own !== undefined && own.state !== 'restored') return true;
  // What was restored is concerned by later deletions alone.
  const restoredAtMs = own?.changedAtMs ?? Number.NEGATIVE_INFINITY;
  const others = tombstones.filter(({ state, deletedAtMs }) => state !== 'restored' && deletedAtMs > restoredAtMs);
  if (others.length === 0) return false;
  const pack = await index.getPack(record.tenant, packRefOf(record));
  // Of a pack that is being written anew it is known before it is archived itself: what was covered in the old one is covered in it.
  const archivedAtMs = pack?.archivedAtMs;
  return archivedAtMs !== undefined && others.some(({ deletedAtMs }) => archivedAtMs <= deletedAtMs);
}

/**
 * Deletes every version of every instance of a study or a series, or of one instance. Idempotent; to be called again when it rejects.
 * @returns whether there was, or is a deletion of, any such instance
 */
export async function deleteInstances(
  index: ArchiveIndex,
  tenant: string,
  ref: AnyRef,
  nowMs: () => number,
): Promise<boolean> {
  let found = false;
  // Until nothing is there: a purge may have moved what was about to be deleted.
  for (let again = true, round = 0; again && round < MAXIMUM_ROUNDS; round++) {
    again = false;
    for await (const current of currentOf(index, tenant, ref)) {
      again = true;
      const versions = (await inParallel(current, (record) => index.getVersions(tenant, record))).flat();
      await deleteVersions(index, versions, nowMs());
    }
    found ||= again;
  }
  // All that are shown, also those that a call before this one has emptied and not counted.
  for (const { studyInstanceUid, seriesInstanceUid } of await index.listSeries(tenant, ref))
    if (!('seriesInstanceUid' in ref) || ref.seriesInstanceUid === seriesInstanceUid)
      await index.recount(tenant, { studyInstanceUid, seriesInstanceUid });
  return found || isDeleted(index, tenant, ref);
}

/** Deletes these versions, whatever others there are of their instances; the caller recounts. */
export async function deleteVersions(
  index: ArchiveIndex,
  versions: readonly InstanceRecord[],
  deletedAtMs: number,
): Promise<void> {
  await index.createTombstones(
    versions.map(({ state: _, ...record }) => ({ ...record, state: 'deleted', deletedAtMs, changedAtMs: deletedAtMs })),
  );
  const ofInstances = [
    ...Map.groupBy(versions, (record) => `${seriesNameOf(record)}\n${record.sopInstanceUid}`).values(),
  ];
  await inParallel(ofInstances, async (ofOne) => {
    // The current one last: it is what finds the others, should this end half-way.
    const inOrder = ofOne.toSorted((a, b) => Number(a.state === 'current') - Number(b.state === 'current'));
    for (const version of inOrder) await removeVersion(index, version);
  });
}

/** Removes the record at this place. Of a current one the first conflict that is left takes the place. */
export async function removeVersion(index: ArchiveIndex, removed: InstanceRecord): Promise<void> {
  const versions = await index.getVersions(removed.tenant, removed);
  const isHere = ({ packId, offsetBytes }: InstanceRecord): boolean =>
    packId === removed.packId && offsetBytes === removed.offsetBytes;
  for (const version of versions)
    if (version.state === 'conflict' && isHere(version)) await index.deleteConflict(version);
  const current = versions.find(({ state }) => state === 'current');
  if (current === undefined || !isHere(current)) return;
  const conflicts = versions.filter((version) => version.state === 'conflict' && !isHere(version));
  const gone = await deletedVersions(index, conflicts);
  const next = conflicts.find((version) => !gone.includes(version));
  if (next === undefined) await index.deleteCurrent(current);
  else if (await index.replaceCurrent({ ...next, state: 'current' }, current)) await index.deleteConflict(next);
}

/** Whether something of it was deleted, and nothing of it is there. */
export async function isDeleted(index: ArchiveIndex, tenant: string, ref: AnyRef): Promise<boolean> {
  let wasDeleted = false;
  for await (const { state } of tombstonesOf(index, tenant, ref)) {
    wasDeleted = state !== 'restored';
    if (wasDeleted) break;
  }
  if (!wasDeleted) return false;
  if ('sopInstanceUid' in ref) return (await index.getInstance(tenant, ref)) === undefined;
  return (await index.listInstances(tenant, ref, { limit: 1 })).items.length === 0;
}

/** All of a study, a series or an instance, in the order of the index. */
export async function* tombstonesOf(
  index: Pick<ArchiveIndex, 'listTombstones'>,
  tenant: string,
  ref: AnyRef,
): AsyncGenerator<Tombstone, void, void> {
  for await (const items of pagesOf((from) => index.listTombstones(tenant, ref, { limit: PAGE, ...from })))
    yield* items;
}

async function* currentOf(
  index: ArchiveIndex,
  tenant: string,
  ref: AnyRef,
): AsyncGenerator<readonly InstanceRecord[], void, void> {
  if ('sopInstanceUid' in ref) {
    const record = await index.getInstance(tenant, ref);
    if (record !== undefined) yield [record];
    return;
  }
  for await (const items of pagesOf((from) => index.listInstances(tenant, ref, { limit: PAGE, ...from })))
    if (items.length > 0) yield items;
}

const seriesOf = ({ studyInstanceUid, seriesInstanceUid }: SeriesRef): SeriesRef => ({
  studyInstanceUid,
  seriesInstanceUid,
});

/** Of all archives. */
export const seriesNameOf = ({ tenant, studyInstanceUid, seriesInstanceUid }: InstanceRecord): string =>
  JSON.stringify([tenant, studyInstanceUid, seriesInstanceUid]);
