/**
 * Searching the SQLite index: candidates come from the planner one by one, records are compared by compileMatch and by
 * nothing else. Rows are pulled as they are needed and what a page skips is not read where no key has to decide, so that
 * the work is that of the records looked at, at most EXAMINED_LIMIT of them: about a second, and memory for one page.
 */
import type { InstanceAvailability } from '#shared/archive/availability.ts';
import {
  checkQuery,
  inOrder,
  instanceMatch,
  type KeysByLevel,
  type Place,
  type Query,
  seriesMatch,
  studyMatch,
  withAvailability,
} from '#shared/archive/query.ts';
import type { SeriesRef } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { compileMatch, type MatchKey } from '#shared/dicom/matching.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type StoredStudy, storedSeries, storedStudy } from './sqlite-aggregates.ts';
import { type AvailabilityOf, availabilityIn } from './sqlite-availability.ts';
import { allOf, attributeFilters, columnFilters } from './sqlite-conditions.ts';
import type { Database } from './sqlite-database.ts';
import { candidateStudies, countStudies } from './sqlite-search-plan.ts';

/** A SearchPage whose matches are DICOM JSON as text. */
export interface StoredSearchPage {
  readonly matches: readonly string[];
  readonly more: boolean;
  readonly remaining?: number;
}

/** Records behind a full page that are still looked at, to count matches. */
const COUNTED_LIMIT = 200;
/** The same where an index counts. */
const COUNTED_BY_INDEX = 10_000;

/** How many records one search may compare with its keys. */
export const EXAMINED_LIMIT = 50_000;

type Matches = (attributes: DicomJson) => boolean;

/** Errors: `bad-request` (checkQuery), `too-large` past EXAMINED_LIMIT. */
export function search(database: Database, tenant: string, query: Query): StoredSearchPage {
  const keys = checkQuery(query);
  const page = new PageBuilder(query);
  const availability = availabilityIn(database, tenant);
  const studies = studiesOf(database, tenant, keys, query, page);
  if (query.level === 'study') {
    for (const { record, match } of studies) {
      page.take(match, () => availability.study(record));
      if (page.full) break;
    }
    if (page.full && keys.study.length === 0) page.remaining = studiesBehind(database, tenant, query);
  } else {
    walkSeries(database, query, keys, studies, page, availability);
  }
  return page.result();
}

/** Skips, takes and counts. One match more than the page holds says that there are more. */
class PageBuilder {
  private skip: number;
  private readonly limit: number;
  private examined = 0;
  private readonly found: string[] = [];
  /** Matches behind the page, as far as they were come upon. */
  private behind = 0;
  private behindTo = 0;
  private examinedTo = 0;
  /** All there are behind the page, where somebody has counted them. */
  remaining: number | undefined;

  constructor(query: Query) {
    this.skip = query.offset;
    this.limit = query.limit;
  }

  /** To be called when the candidates are few: matches behind the page are counted then, up to a bound. */
  countOn(): void {
    this.behindTo = COUNTED_LIMIT;
  }

  /** Nothing more needs to be looked at. */
  get full(): boolean {
    return this.behind > this.behindTo || (this.behind > 0 && this.examined > this.examinedTo);
  }

  /** To be called for every record that is read in order to be compared. */
  examine(): void {
    if (++this.examined <= EXAMINED_LIMIT) return;
    throw new ArchiveError(
      'too-large',
      'The search is too broad; narrow it by a patient ID, an accession number, a name, a date or a UID.',
      { examined: EXAMINED_LIMIT },
    );
  }

  /** How soon it can be had is asked of what the page wants alone; no key matches it. */
  take(match: DicomJson, availability: () => InstanceAvailability): void {
    if (this.skip > 0) this.skip--;
    else if (this.found.length < this.limit) {
      this.found.push(JSON.stringify(inOrder(withAvailability(match, availability()))));
    } else if (this.behind++ === 0) this.examinedTo = this.examined + COUNTED_LIMIT;
  }

  /** Passes over `count` matches unseen, if the page begins behind all of them. */
  skipAll(count: number): boolean {
    if (count > this.skip) return false;
    this.skip -= count;
    return true;
  }

  /** How many of the next matches the page does not want. */
  takeSkip(): number {
    const count = this.skip;
    this.skip = 0;
    return count;
  }

  result(): StoredSearchPage {
    const page = { matches: this.found, more: this.behind > 0 };
    const remaining = this.full ? this.remaining : this.behind;
    return page.more && remaining !== undefined ? { ...page, remaining } : page;
  }
}

/** Behind the page of a search for everything; undefined where they are too many to count. */
function studiesBehind(database: Database, tenant: string, { after, limit, offset }: Query): number | undefined {
  const wanted = offset + limit + COUNTED_BY_INDEX;
  const count = countStudies(database, tenant, after, wanted + 1);
  return count > wanted ? undefined : count - offset - limit;
}

interface StudyFound {
  readonly id: number;
  readonly record: StoredStudy;
  readonly match: DicomJson;
}

function* studiesOf(
  database: Database,
  tenant: string,
  keys: KeysByLevel,
  { level, after }: Query,
  page: PageBuilder,
): Generator<StudyFound> {
  const matches: Matches = compileMatch(keys.study);
  const all = keys.study.length + keys.series.length + keys.instance.length === 0;
  const order = level === 'study' ? 'newest first' : 'by uid';
  const skip = all && level === 'study' ? page.takeSkip() : 0;
  const { rows, areFew } = candidateStudies(database, tenant, keys, { order, skip, after });
  if (areFew) page.countOn();
  for (const row of rows) {
    // Of the study that is gone on in, only a part comes.
    if (all && level !== 'study' && row.study_uid !== after?.uids[0]) {
      const count = level === 'series' ? row.series_count : row.instance_count;
      if (page.skipAll(count as number)) continue;
    }
    page.examine();
    const study = storedStudy(tenant, row);
    const match = studyMatch({ ...study, attributes: parse(study.attributes) });
    if (matches(match)) yield { id: row.id as number, record: study, match };
  }
}

function walkSeries(
  database: Database,
  { level, after }: Query,
  keys: KeysByLevel,
  studies: Iterable<StudyFound>,
  page: PageBuilder,
  availability: AvailabilityOf,
): void {
  const matches: Matches = compileMatch(keys.series);
  const { sql, values } = allOf([
    ...columnFilters(keys.series, 0x0020000e, 'series_uid'),
    ...attributeFilters(keys.series, 'attributes'),
  ]);
  const list = database.prepare(`SELECT id, series_uid, instance_count, attributes FROM series
    WHERE study_id = ? AND instance_count > 0 AND series_uid >= ? AND ${sql} ORDER BY series_uid`);
  const instances = level === 'instance' ? instanceWalk(database, keys.instance, page, availability, after) : undefined;
  for (const study of studies) {
    const from = (study.record.studyInstanceUid === after?.uids[0] && after.uids[1]) || '';
    for (const row of list.iterate(study.id, from, ...values)) {
      if (level === 'series' && from !== '' && row.series_uid === from) continue;
      page.examine();
      const series = storedSeries(study.record.tenant, study.record, row);
      const match = seriesMatch(study.match, { ...series, attributes: parse(series.attributes) });
      if (matches(match)) {
        if (instances === undefined) page.take(match, () => availability.series(series));
        else instances(row.id as number, series, match);
      }
      if (page.full) return;
    }
  }
}

function instanceWalk(
  database: Database,
  keys: readonly MatchKey[],
  page: PageBuilder,
  availability: AvailabilityOf,
  after: Place | undefined,
): (seriesId: number, record: SeriesRef & { readonly instanceCount: number }, series: DicomJson) => void {
  const matches: Matches = compileMatch(keys);
  const { sql, values } = allOf([
    ...columnFilters(keys, 0x00080018, 'instance_uid'),
    ...columnFilters(keys, 0x00080016, 'sop_class_uid'),
    ...attributeFilters(keys, 'attributes'),
  ]);
  const list =
    database.prepare(`SELECT instance_uid, sop_class_uid, transfer_syntax_uid, pack_id, attributes FROM instance
    WHERE series_id = ? AND conflict = '' AND instance_uid > ? AND ${sql} ORDER BY instance_uid LIMIT -1 OFFSET ?`);
  return (seriesId, record, series) => {
    const isGoneOn = record.studyInstanceUid === after?.uids[0] && record.seriesInstanceUid === after.uids[1];
    const areCounted = keys.length === 0 && !isGoneOn;
    if (areCounted && page.skipAll(record.instanceCount)) return;
    const offset = areCounted ? page.takeSkip() : 0;
    for (const row of list.iterate(seriesId, isGoneOn ? (after.uids[2] ?? '') : '', ...values, offset)) {
      page.examine();
      const match = instanceMatch(series, {
        sopInstanceUid: row.instance_uid as string,
        sopClassUid: row.sop_class_uid as string,
        transferSyntaxUid: row.transfer_syntax_uid as string,
        attributes: parse(row.attributes as string),
      });
      if (matches(match)) page.take(match, () => availability.instance({ ...record, packId: row.pack_id as string }));
      if (page.full) return;
    }
  };
}

const parse = (text: string): DicomJson => JSON.parse(text) as DicomJson;
