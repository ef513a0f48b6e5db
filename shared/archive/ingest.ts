/**
 * The rule book: what becomes of an instance that reaches an index, whether by C-STORE, STOW-RS or a pack that was uploaded.
 * Same UIDs and same bytes (digest of the data set): a duplicate, stored once. Same UIDs, other bytes: a conflict; the first
 * in order of arrival (packId, offsetBytes) is current, each other digest is kept once, as its first arrival.
 *
 * The end is the same in whatever order, however often and by however many at once the records come. What makes it so:
 * the current record only ever moves to an earlier arrival; a record that gives way is written as a conflict, at
 * its exact place, before it is replaced; a conflict that the current record makes superfluous is removed only if it is a
 * later arrival of the same bytes; and whoever has written looks again, so that of two at once at least one sees both.
 * What was deleted (deletion.ts) is not brought in again by whoever tells of the same bytes once more.
 */
import { ArchiveError } from '../errors.ts';
import { deletedAmong, deletedVersions, removeVersion, seriesNameOf } from './deletion.ts';
import type { Outcome } from './outcome.ts';
import type { ArchiveIndex } from './ports.ts';
import { arrivedBefore, type InstanceRecord, type InstanceRef } from './records.ts';
import { inParallel } from './walk.ts';

/** What an instance with this digest would be, beside the current one of the same UIDs. */
export function decide(
  existing: InstanceRecord | undefined,
  incoming: { readonly digest: string },
): 'stored' | 'duplicate' | 'conflict' {
  if (existing === undefined) return 'stored';
  return existing.digest === incoming.digest ? 'duplicate' : 'conflict';
}

/** Each round that fails means that somebody else moved on to an earlier arrival: this many are not a race but a broken index. */
const MAXIMUM_ROUNDS = 1_000;

/**
 * Puts the instances of packs into the index and recounts their series. Idempotent: to be repeated from the start when it
 * rejects or the process ends half-way. Outcomes are in the order of `records` (whose `state` does not count): `stored`
 * for the current record itself, also when it was there before; `duplicate` also for bytes that are deleted; never `refused`.
 * Errors: those of the index; `unavailable` when an instance was deleted meanwhile.
 */
export async function indexInstances(
  index: ArchiveIndex,
  records: readonly InstanceRecord[],
): Promise<readonly Outcome[]> {
  const deleted = await deletedAmong(index, records);
  const live = records.filter((record) => !deleted.has(record));
  const outcomes = (await bringIn(index, live)).values();
  // Somebody may have deleted them since, or while an earlier call was half-way: of the two at least one sees both.
  for (const record of await deletedAmong(index, records)) await removeVersion(index, record);

  await inParallel([...Map.groupBy(records, seriesNameOf).values()], async ([first]) => {
    const { tenant, studyInstanceUid, seriesInstanceUid } = first!;
    await index.recount(tenant, { studyInstanceUid, seriesInstanceUid });
  });
  return records.map((record) => (deleted.has(record) ? outcomeOf('duplicate', record) : outcomes.next().value!));
}

/** Puts them into the index; their series are not counted yet. */
async function bringIn(index: ArchiveIndex, records: readonly InstanceRecord[]): Promise<readonly Outcome[]> {
  const incoming = records.map((record): InstanceRecord => ({ ...record, state: 'current' }));
  const known = await createBesideDeleted(index, incoming);
  const outcomes = incoming.map((record): Outcome => outcomeOf('stored', record));
  const unsettled = [...incoming.keys()].filter((i) => known[i] !== undefined);
  await inParallel(unsettled, async (i) => {
    const record = incoming[i]!;
    outcomes[i] = outcomeOf(await settle(index, record, known[i]!), record);
  });
  return outcomes;
}

/**
 * ArchiveIndex.createInstances, where what is about to go is in nobody's way: a deletion that has not come to its end, and perhaps never
 * will, would take with it what has come since as its duplicate.
 */
async function createBesideDeleted(
  index: ArchiveIndex,
  incoming: readonly InstanceRecord[],
): Promise<readonly (InstanceRecord | undefined)[]> {
  const known = await index.createInstances(incoming);
  const found = known.filter((record) => record !== undefined);
  let isAnyGone = false;
  for (const ofSeries of Map.groupBy(found, seriesNameOf).values()) {
    const [{ tenant, studyInstanceUid, seriesInstanceUid }] = ofSeries as [InstanceRecord];
    const series = { studyInstanceUid, seriesInstanceUid };
    if ((await index.listTombstones(tenant, series, { limit: 1 })).items.length === 0) continue;
    for (const record of ofSeries)
      for (const gone of await deletedVersions(index, await index.getVersions(tenant, record))) {
        await removeVersion(index, gone);
        isAnyGone = true;
      }
  }
  if (!isAnyGone) return known;
  const again = await index.createInstances(incoming);
  // Whoever was added the first time is there now, and is no other.
  return again.map((record, i) => (known[i] === undefined ? undefined : record));
}

/** Brings a record in beside the current one of its UIDs, which is `found` as it was seen last. */
async function settle(
  index: ArchiveIndex,
  record: InstanceRecord,
  found: InstanceRecord,
): Promise<'stored' | 'duplicate' | 'conflict'> {
  let current = found;
  for (let round = 0; round < MAXIMUM_ROUNDS; round++) {
    if (arrivedBefore(record, current)) {
      if (current.digest !== record.digest) await keepAsConflict(index, current);
      if (await index.replaceCurrent(record, current)) return tidy(index, record);
    } else {
      if (current.digest !== record.digest) await keepAsConflict(index, record);
      return tidy(index, record);
    }
    const next = await index.getInstance(record.tenant, record);
    if (next === undefined) throw lost(record);
    current = next;
  }
  throw new ArchiveError('unavailable', 'The index does not come to rest on this instance; try again later.', {
    ...uidsOf(record),
  });
}

/** Keeps the first arrival of these bytes among the conflicts. */
async function keepAsConflict(index: ArchiveIndex, bytes: InstanceRecord): Promise<void> {
  const record: InstanceRecord = { ...bytes, state: 'conflict' };
  for (let round = 0; round < MAXIMUM_ROUNDS; round++) {
    const [known] = await index.createInstances([record]);
    if (known === undefined || !arrivedBefore(record, known)) return;
    if (await index.replaceConflict(record, known)) return;
  }
  throw new ArchiveError('unavailable', 'The index does not come to rest on this conflict; try again later.', {
    ...uidsOf(record),
  });
}

/** Looks again: removes conflicts whose bytes are the current ones, and says what the record is now. */
async function tidy(index: ArchiveIndex, record: InstanceRecord): Promise<'stored' | 'duplicate' | 'conflict'> {
  const versions = await index.getVersions(record.tenant, record);
  const current = versions.find(({ state }) => state === 'current');
  if (current === undefined) {
    // Beside nothing it is no conflict: whoever brings it in once more makes it current.
    await index.deleteConflict({ ...record, state: 'conflict' });
    throw lost(record);
  }
  for (const version of versions) {
    // One at the current record's own place is the word of somebody who is about to replace that record; an earlier one
    // says that this view of the current record is old.
    const superfluous = version.state === 'conflict' && version.digest === current.digest;
    if (superfluous && arrivedBefore(current, version)) await index.deleteConflict(version);
  }
  return isSame(record, current) ? 'stored' : decide(current, record);
}

const isSame = (a: InstanceRecord, b: InstanceRecord): boolean =>
  a.packId === b.packId && a.offsetBytes === b.offsetBytes;

const uidsOf = ({ studyInstanceUid, seriesInstanceUid, sopInstanceUid }: InstanceRef): InstanceRef => ({
  studyInstanceUid,
  seriesInstanceUid,
  sopInstanceUid,
});

const outcomeOf = (kind: 'stored' | 'duplicate' | 'conflict', record: InstanceRecord): Outcome => ({
  kind,
  ref: uidsOf(record),
  digest: record.digest,
});

const lost = (record: InstanceRecord): ArchiveError =>
  new ArchiveError('unavailable', 'An instance was deleted while it was brought into the index; try again.', {
    ...uidsOf(record),
  });
