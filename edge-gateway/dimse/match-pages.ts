/**
 * The matches of a search one after the other, however many there are: read from the index page by page, each behind the
 * last match of the one before, as soon as that is used up. Patients are made of the studies that match: one for each Patient ID and issuer.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { type Place, placeOf, type Query } from '#shared/archive/query.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { matchKey } from '#shared/dicom/matching.ts';
import { tagKey } from '#shared/dicom/tags.ts';
import { ArchiveError } from '#shared/errors.ts';
import { patientCounts } from './find-query.ts';

export interface PageSizes {
  /** The first answer is wanted soon. */
  readonly first: number;
  readonly next: number;
}

const usual: PageSizes = { first: 100, next: 1_000 };
/** Patients told apart in one query. */
const MAX_PATIENTS = 200_000;

/** Hears, maybe more than once, what a search could not ask: a sentence. */
export type OnIncomplete = (sentence: string) => void;

/** Each once, also while others are stored. Errors: those of ArchiveIndex.search. */
export async function* matchesOf(
  index: Pick<ArchiveIndex, 'search'>,
  tenant: string,
  query: Pick<Query, 'level' | 'keys'>,
  onIncomplete: OnIncomplete,
  sizes: PageSizes = usual,
): AsyncGenerator<DicomJson, void, void> {
  let limit = sizes.first;
  for (let after: Place | undefined; ; ) {
    const from = after === undefined ? {} : { after };
    const { matches, more, incomplete } = await index.search(tenant, { ...query, limit, offset: 0, ...from });
    if (incomplete !== undefined) onIncomplete(incomplete);
    yield* matches;
    const last = matches.at(-1);
    if (!more || last === undefined) return;
    after = placeOf(query.level, last);
    limit = sizes.next;
  }
}

/** Each with the attributes of the newest study that matches. Errors: as of `matchesOf`; `too-large` for too many patients. */
export async function* patientsOf(
  index: ArchiveIndex,
  tenant: string,
  keys: Query['keys'],
  withCounts: boolean,
  onIncomplete: OnIncomplete,
): AsyncGenerator<DicomJson, void, void> {
  const seen = new Set<string>();
  for await (const study of matchesOf(index, tenant, { level: 'study', keys }, onIncomplete)) {
    const patient = patientOf(study);
    if (seen.has(patient)) continue;
    if (seen.size === MAX_PATIENTS)
      throw new ArchiveError('too-large', 'too many patients match; narrow the query by a name or an ID');
    seen.add(patient);
    yield withCounts ? { ...study, ...(await countsOf(index, tenant, study, onIncomplete)) } : study;
  }
}

const values = (study: DicomJson, tag: number): string => JSON.stringify(study[tagKey(tag)]?.Value ?? []);

/** Studies without an ID belong together when name and date of birth are the same. */
function patientOf(study: DicomJson): string {
  const id = values(study, 0x00100020);
  const issuer = values(study, 0x00100021);
  return id === '[]' ? `${id}${issuer}${values(study, 0x00100010)}${values(study, 0x00100030)}` : `${id}${issuer}`;
}

async function countsOf(
  index: ArchiveIndex,
  tenant: string,
  study: DicomJson,
  onIncomplete: OnIncomplete,
): Promise<DicomJson> {
  const patient = patientOf(study);
  const id = study['00100020']?.Value?.[0];
  const keys = [matchKey([0x00100020], 'LO', typeof id === 'string' ? id : '""')];
  let studies = 0;
  let series = 0;
  let instances = 0;
  for await (const other of matchesOf(index, tenant, { level: 'study', keys }, onIncomplete)) {
    if (patientOf(other) !== patient) continue;
    studies++;
    series += Number(other['00201206']?.Value?.[0] ?? 0);
    instances += Number(other['00201208']?.Value?.[0] ?? 0);
  }
  const count = (tag: number, value: number): DicomJson => ({ [tagKey(tag)]: { vr: 'IS', Value: [value] } });
  return {
    ...count(patientCounts.studies, studies),
    ...count(patientCounts.series, series),
    ...count(patientCounts.instances, instances),
  };
}
