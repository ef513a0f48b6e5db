/**
 * Which studies a search has to look at: the planner. Out of the keys it finds the narrowest way through the indexes and
 * yields candidate studies, each once, in the order asked for. It may yield too many (compileMatch decides)
 * but never too few; a property test compares it with looking at everything.
 */
import type { KeysByLevel, Place } from '#shared/archive/query.ts';
import { dateRange, exactValues, type MatchKey, namePrefix } from '#shared/dicom/matching.ts';
import {
  allOf,
  attributeFilters,
  type Condition,
  columnFilters,
  keyFor,
  LAST,
  listFilter,
  namesFilter,
  numberFilter,
  plainFilter,
  rangeFilter,
} from './sqlite-conditions.ts';
import type { Database } from './sqlite-database.ts';
import { LOOK } from './sqlite-lookup.ts';
import { lookupFilter, lookupWay, notLookedUp, seriesLookupWay, wordFilters, wordWays } from './sqlite-lookup-plan.ts';

export type StudyOrder = 'newest first' | 'by uid';

/** What finds more studies than this is no help: walking in order then comes to a page sooner than sorting what was found. */
const SELECTIVE = 1_000;

/** What storedStudy needs, and the number of the study. */
const columns = 'id, study_uid, attributes, modalities, sop_classes, series_count, instance_count';

export interface Wanted {
  readonly order: StudyOrder;
  /** How many to leave out at the beginning: where no key has to decide. */
  readonly skip: number;
  /** Only those behind it or, by UID, from its study on. */
  readonly after: Place | undefined;
}

export interface Candidates {
  readonly rows: Iterable<Record<string, unknown>>;
  /** Whether they are few enough to be looked at to the last one. */
  readonly areFew: boolean;
}

/**
 * The rows of the studies to look at. Cost: with UIDs, a patient ID, an accession number, a name, or the beginning of one
 * of them, about what is found; with dates, newest first, about what is taken; else a walk over one narrow index, which
 * filters by modality and by parts of names as it goes (20 ms for 100,000 studies), or over the rows, for other attributes.
 */
export function candidateStudies(
  database: Database,
  tenant: string,
  keys: KeysByLevel,
  { order, skip, after }: Wanted,
): Candidates {
  const filters = [
    ...keys.study.map(filterOf),
    ...attributeFilters(notLookedUp(keys.study), 'attributes'),
    ...sumFilters(keys),
  ].filter((filter) => filter !== undefined);
  const visible = visibleStudies(tenant, after, order);
  const found = selectiveIds(database, tenant, keys, order);
  if (found !== undefined) {
    const among: Condition = { sql: 'id IN (SELECT value FROM json_each(?))', values: [JSON.stringify(found)] };
    return {
      rows: studies(database, [['study NOT INDEXED', [among, visible, ...filters]]], order, skip),
      areFew: true,
    };
  }
  const lookup = lookupFilter(keys.study);
  filters.push(...wordFilters(tenant, keys.study), ...(lookup === undefined ? [] : [lookup]));
  if (order === 'by uid') {
    const piece: Piece = ['study INDEXED BY sqlite_autoindex_study_1', [visible, ...filters]];
    return { rows: studies(database, [piece], order, skip), areFew: false };
  }
  const ranges = datePieces(keys.study)?.map((range) => [range]) ?? [[]];
  const pieces = ranges.map((range): Piece => ['study INDEXED BY study_by_date', [visible, ...range, ...filters]]);
  return { rows: studies(database, pieces, order, skip), areFew: false };
}

/** How many studies there are behind a place, counted up to `limit`. */
export function countStudies(database: Database, tenant: string, after: Place | undefined, limit: number): number {
  const { sql, values } = visibleStudies(tenant, after, 'newest first');
  const counted = `SELECT 1 FROM study INDEXED BY study_by_date WHERE ${sql} LIMIT ${limit}`;
  return database.prepare(`SELECT count(*) AS found FROM (${counted})`).get(...values)?.found as number;
}

function visibleStudies(tenant: string, after: Place | undefined, order: StudyOrder): Condition {
  const all: Condition = { sql: 'tenant = ? AND instance_count > 0', values: [tenant] };
  return after === undefined ? all : allOf([all, behind(after, order)]);
}

function behind({ date, uids: [uid = ''] }: Place, order: StudyOrder): Condition {
  if (order === 'by uid') return { sql: 'study_uid >= ?', values: [uid] };
  return { sql: 'study_date <= ? AND (study_date < ? OR study_uid > ?)', values: [date, date, uid] };
}

type Piece = readonly [from: string, conditions: readonly Condition[]];

/** Several pieces, each in order out of its index, are merged as they are read. */
function studies(
  database: Database,
  pieces: readonly Piece[],
  order: StudyOrder,
  skip: number,
): Iterable<Record<string, unknown>> {
  const selects = pieces.map(
    ([from, conditions]) => `SELECT ${columns}, study_date FROM ${from} WHERE ${allOf(conditions).sql}`,
  );
  const by = order === 'by uid' ? 'study_uid' : 'study_date DESC, study_uid';
  const statement = database.prepare(`${selects.join(' UNION ALL ')} ORDER BY ${by} LIMIT -1 OFFSET ${skip}`);
  return statement.iterate(...pieces.flatMap(([, conditions]) => allOf(conditions).values));
}

/** The studies that the first selective key leads to; undefined when no key leads to few enough. */
function selectiveIds(
  database: Database,
  tenant: string,
  keys: KeysByLevel,
  order: StudyOrder,
): readonly number[] | undefined {
  const inTenant = (way: Condition | undefined): Condition[] =>
    way === undefined ? [] : [{ sql: way.sql, values: [tenant, ...way.values] }];
  const ways = [
    ...[
      uids(
        keys.study,
        0x0020000d,
        'SELECT id FROM study WHERE tenant = ? AND study_uid IN (SELECT value FROM json_each(?))',
      ),
      uids(
        keys.instance,
        0x00080018,
        `SELECT DISTINCT study.id FROM json_each(?2) AS wanted
        CROSS JOIN instance INDEXED BY instance_by_uid ON instance_uid = wanted.value AND conflict = ''
        CROSS JOIN series ON series.id = series_id CROSS JOIN study ON study.id = study_id WHERE tenant = ?1`,
      ),
      uids(
        keys.series,
        0x0020000e,
        `SELECT DISTINCT study.id FROM json_each(?2) AS wanted
        CROSS JOIN series INDEXED BY series_by_uid ON series_uid = wanted.value
        CROSS JOIN study ON study.id = study_id WHERE tenant = ?1`,
      ),
      texts(keys.study, 0x00100020, 'patient_id', 'study_by_patient'),
      texts(keys.study, 0x00080050, 'accession', 'study_by_accession'),
      names(keys.study),
    ].flatMap(inTenant),
    ...wordWays(tenant, keys.study),
    ...[
      order === 'by uid' ? dates(keys.study) : undefined,
      lookupWay(keys.study),
      seriesLookupWay(keys.series),
    ].flatMap(inTenant),
  ];
  for (const way of ways) {
    const rows = database.prepare(`${way.sql} LIMIT ${SELECTIVE + 1}`).all(...way.values);
    if (rows.length <= SELECTIVE) return rows.map((row) => row.id as number);
  }
  return undefined;
}

function uids(keys: readonly MatchKey[], tag: number, sql: string): Condition | undefined {
  const key = keyFor(keys, tag);
  const values = key && exactValues(key);
  return values && { sql, values: [JSON.stringify(values)] };
}

/** By whole values or, where there is one pattern, by what it begins with. */
function texts(keys: readonly MatchKey[], tag: number, column: string, index: string): Condition | undefined {
  const key = keyFor(keys, tag);
  if (key === undefined) return undefined;
  const from = `SELECT id FROM study INDEXED BY ${index} WHERE tenant = ?1 AND instance_count > 0`;
  const values = exactValues(key);
  if (values !== undefined) {
    const list = JSON.stringify([...values, LOOK]);
    return { sql: `${from} AND ${column} IN (SELECT value FROM json_each(?2))`, values: [list] };
  }
  if (key.condition.kind !== 'patterns' || key.condition.patterns.length !== 1) return undefined;
  const prefix = /^[^*?]*/.exec(key.condition.patterns[0] ?? '')?.[0] ?? '';
  if (prefix === '') return undefined;
  const sql = `${from} AND ${column} >= ?2 AND ${column} < ?3 UNION ALL ${from} AND ${column} = ?4`;
  // A prefix that begins with the mark finds the marked rows by itself.
  return { sql, values: [prefix, prefix + LAST, prefix.startsWith(LOOK) ? LAST : LOOK] };
}

function names(keys: readonly MatchKey[]): Condition | undefined {
  const key = keyFor(keys, 0x00100010);
  const prefix = key && namePrefix(key);
  if (prefix === undefined) return undefined;
  return {
    sql: 'SELECT DISTINCT study_id AS id FROM study_name WHERE tenant = ? AND name >= ? AND name < ?',
    values: [prefix, prefix + LAST],
  };
}

function dates(keys: readonly MatchKey[]): Condition | undefined {
  const pieces = datePieces(keys);
  if (pieces === undefined) return undefined;
  const from = 'SELECT id FROM study INDEXED BY study_by_date WHERE tenant = ?1 AND instance_count > 0 AND';
  const [range, marked] = pieces;
  return {
    sql: `${from} study_date BETWEEN ?2 AND ?3 UNION ALL ${from} study_date = ?4`,
    values: [...range.values, ...marked.values],
  };
}

/** Study Date as a range of the index, and the few that must be looked at. */
function datePieces(keys: readonly MatchKey[]): readonly [Condition, Condition] | undefined {
  const key = keyFor(keys, 0x00080020);
  const range = key && dateRange(key);
  if (range === undefined) return undefined;
  return [
    { sql: 'study_date BETWEEN ? AND ?', values: [range.from ?? '00000000', range.to ?? '99999999'] },
    { sql: 'study_date = ?', values: [LOOK] },
  ];
}

/** What a study has of its series and instances, for keys of theirs. */
function sumFilters({ series, instance }: KeysByLevel): (Condition | undefined)[] {
  const [modality, sopClass] = [keyFor(series, 0x00080060), keyFor(instance, 0x00080016)];
  return [modality && listFilter(modality, 'modalities'), sopClass && listFilter(sopClass, 'sop_classes')];
}

/** What rows of the study table can say of a key without their attributes; undefined: nothing. */
function filterOf(key: MatchKey): Condition | undefined {
  if (key.path.length !== 1) return undefined;
  switch (key.path[0]) {
    case 0x0020000d:
      return columnFilters([key], 0x0020000d, 'study_uid')[0];
    case 0x00080020:
      return rangeFilter(dateRange(key), 'study_date');
    case 0x00100020:
      return plainFilter(key, 'patient_id');
    case 0x00080050:
      return plainFilter(key, 'accession');
    case 0x00100010:
      return namesFilter(key, 'names');
    case 0x00080061:
      return listFilter(key, 'modalities');
    case 0x00080062:
      return listFilter(key, 'sop_classes');
    case 0x00201206:
      return numberFilter(key, 'series_count');
    case 0x00201208:
      return numberFilter(key, 'instance_count');
    default:
      return undefined;
  }
}
