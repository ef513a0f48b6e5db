/**
 * How soon what a search finds can be had (0008,0056): what of its packs lies on this disk is ONLINE, what has to come from the
 * cloud NEARLINE. Of a study or a series it is that of its least rapidly available instance (PS3.4 §C.4.1.1.3.2).
 */
import type { InstanceAvailability } from '#shared/archive/availability.ts';
import { keyPartOf } from '#shared/archive/keys.ts';
import type { SeriesRef, StudyRef } from '#shared/archive/records.ts';
import type { Database } from './sqlite-database.ts';

/** A search asks for every match: what it looks at are the evicted packs alone. */
export const availabilityMigration = `
  CREATE INDEX pack_evicted_of_study ON pack (tenant, study_uid, series_uid, pack_id) WHERE evicted_at_ms IS NOT NULL;
`;

export interface AvailabilityOf {
  study(ref: StudyRef): InstanceAvailability;
  series(ref: SeriesRef): InstanceAvailability;
  instance(ref: SeriesRef & { readonly packId: string }): InstanceAvailability;
}

/** For the matches of one search, which come study by study: the packs of the study asked about last are remembered. */
export function availabilityIn(database: Database, tenant: string): AvailabilityOf {
  const list = database.statement(`SELECT series_uid, pack_id FROM pack INDEXED BY pack_evicted_of_study
    WHERE tenant = ? AND study_uid = ? AND evicted_at_ms IS NOT NULL`);
  let known:
    | { readonly studyInstanceUid: string; readonly evicted: ReadonlyMap<string, ReadonlySet<string>> }
    | undefined;

  /** Of a study: packs by series, as keys name them. */
  const evictedIn = (studyInstanceUid: string): ReadonlyMap<string, ReadonlySet<string>> => {
    if (known?.studyInstanceUid === studyInstanceUid) return known.evicted;
    const evicted = new Map<string, Set<string>>();
    for (const row of list.all(tenant, keyPartOf(studyInstanceUid))) {
      const packs = evicted.get(row.series_uid as string) ?? new Set();
      evicted.set(row.series_uid as string, packs.add(row.pack_id as string));
    }
    known = { studyInstanceUid, evicted };
    return evicted;
  };
  const packsOf = (ref: SeriesRef): ReadonlySet<string> | undefined => {
    const evicted = evictedIn(ref.studyInstanceUid);
    return evicted.size === 0 ? undefined : evicted.get(keyPartOf(ref.seriesInstanceUid));
  };
  const unless = (isEvicted: boolean): InstanceAvailability => (isEvicted ? 'NEARLINE' : 'ONLINE');

  return {
    study: ({ studyInstanceUid }) => unless(evictedIn(studyInstanceUid).size > 0),
    series: (ref) => unless(packsOf(ref) !== undefined),
    instance: (ref) => unless(packsOf(ref)?.has(ref.packId) === true),
  };
}
