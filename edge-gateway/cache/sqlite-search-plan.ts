/**
 * Which studies a search has to look at: the planner. Out of the keys it finds the narrowest way through the indexes and
 * yields the numbers of candidate studies, each once, in the order asked for. It may yield too many (compileMatch decides)
 * but never too few; a property test compares it with looking at everything.
 */
import type { KeysByLevel } from '#shared/archive/query.ts';
import { dateRange, exactValues, type MatchKey, namePrefix } from '#shared/dicom/matching.ts';
import type { Database } from './sqlite-database.ts';
import { EDGE, LOOK } from './sqlite-lookup.ts';

export type StudyOrder = 'newest first' | 'by uid';

interface Condition {
  readonly sql: string;
  readonly values: readonly string[];
}

/** What finds more studies than this is no help: walking in order then comes to a page sooner than sorting what was found. */
const SELECTIVE = 5_000;
/** Alternatives of one key that are worth a condition of their own. */
const ALTERNATIVES = 16;
/** Behind every text that begins with the text before it. */
const LAST = '\u{10ffff}';

/**
 * The numbers of the studies to look at. Cost: with UIDs, a patient ID, an accession number, a name, or the beginning of one
 * of them, about what is found; with dates, newest first, about what is taken; else a walk over one narrow index, which
 * filters by modality and by parts of names as it goes (about 30 ms for 100,000 studies).
 */
export function* candidateStudies(
  database: Database,
  tenant: string,
  keys: KeysByLevel,
  order: StudyOrder,
): Generator<number> {
  const filters = keys.study.map(filterOf).filter((filter) => filter !== undefined);
  const visible: Condition = { sql: 'tenant = ? AND instance_count > 0', values: [tenant] };
  const found = selectiveIds(database, tenant, keys, order);
  if (found !== undefined) {
    const among: Condition = { sql: 'id IN (SELECT value FROM json_each(?))', values: [JSON.stringify(found)] };
    yield* ids(database, [['study NOT INDEXED', [among, visible, ...filters]]], order);
  } else if (order === 'by uid') {
    yield* ids(database, [['study INDEXED BY sqlite_autoindex_study_1', [visible, ...filters]]], order);
  } else {
    const from = 'study INDEXED BY study_by_date';
    const ranges = datePieces(keys.study);
    const pieces = (ranges ?? [undefined]).map(
      (range): Piece => [from, [visible, ...(range === undefined ? [] : [range]), ...filters]],
    );
    yield* ids(database, pieces, order);
  }
}

type Piece = readonly [from: string, conditions: readonly Condition[]];

/** Several pieces, each in order out of its index, are merged as they are read. */
function* ids(database: Database, pieces: readonly Piece[], order: StudyOrder): Generator<number> {
  const selects = pieces.map(
    ([from, conditions]) =>
      `SELECT id, study_date, study_uid FROM ${from} WHERE ${conditions.map(({ sql }) => `(${sql})`).join(' AND ')}`,
  );
  const by = order === 'by uid' ? 'study_uid' : 'study_date DESC, study_uid';
  const statement = database.prepare(`${selects.join(' UNION ALL ')} ORDER BY ${by}`);
  const values = pieces.flatMap(([, conditions]) => conditions.flatMap((condition) => condition.values));
  for (const row of statement.iterate(...values)) yield row.id as number;
}

/** The studies that the first selective key leads to; undefined when no key leads to few enough. */
function selectiveIds(
  database: Database,
  tenant: string,
  keys: KeysByLevel,
  order: StudyOrder,
): readonly number[] | undefined {
  const ways = [
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
    order === 'by uid' ? dates(keys.study) : undefined,
  ];
  for (const way of ways) {
    if (way === undefined) continue;
    const rows = database.prepare(`${way.sql} LIMIT ${SELECTIVE + 1}`).all(tenant, ...way.values);
    if (rows.length <= SELECTIVE) return rows.map((row) => row.id as number);
  }
  return undefined;
}

function keyFor(keys: readonly MatchKey[], tag: number): MatchKey | undefined {
  return keys.find((key) => key.path.length === 1 && key.path[0] === tag);
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

/** What rows of the study table can say of a key without their attributes; undefined: nothing. */
function filterOf(key: MatchKey): Condition | undefined {
  if (key.path.length !== 1) return undefined;
  switch (key.path[0]) {
    case 0x0020000d: {
      const values = exactValues(key);
      return values && { sql: 'study_uid IN (SELECT value FROM json_each(?))', values: [JSON.stringify(values)] };
    }
    case 0x00080020: {
      const range = dateRange(key);
      if (range === undefined) return undefined;
      const values = [range.from ?? '00000000', range.to ?? '99999999', LOOK];
      return { sql: 'study_date BETWEEN ? AND ? OR study_date = ?', values };
    }
    case 0x00100020:
      return plainFilter(key, 'patient_id');
    case 0x00080050:
      return plainFilter(key, 'accession');
    case 0x00100010:
      return namesFilter(key);
    case 0x00080061:
      return listFilter(key, 'modalities');
    case 0x00080062:
      return listFilter(key, 'sop_classes');
    default:
      return undefined;
  }
}

function plainFilter({ condition }: MatchKey, column: string): Condition | undefined {
  if (condition.kind === 'values') {
    const list = JSON.stringify([...condition.values, LOOK]);
    return { sql: `${column} IN (SELECT value FROM json_each(?))`, values: [list] };
  }
  if (condition.kind !== 'patterns') return undefined;
  const parts = anyOf(
    condition.patterns.map((pattern) => [literalPart(pattern)]),
    column,
  );
  return parts && { sql: `${parts.sql} OR ${column} = ?`, values: [...parts.values, LOOK] };
}

function listFilter({ condition }: MatchKey, column: string): Condition | undefined {
  if (condition.kind === 'values') {
    return anyOf(
      condition.values.map((value) => [EDGE + value.replaceAll(EDGE, ' ') + EDGE]),
      column,
    );
  }
  if (condition.kind !== 'patterns') return undefined;
  return anyOf(
    condition.patterns.map((pattern) => [literalPart(pattern.replaceAll(EDGE, ' '))]),
    column,
  );
}

function namesFilter({ condition }: MatchKey): Condition | undefined {
  if (condition.kind !== 'names') return undefined;
  return anyOf(
    condition.alternatives.map((groups) => groups.map(namePart)),
    'names',
  );
}

/** A part of the list of names that is there wherever the group of a key fits. */
function namePart(group: string): string {
  // Empty components at the end may be missing in the name, and with them what the key says of them.
  const core = /[*?]/.test(group) ? group.replace(/[*?^]+$/, '*') : group;
  const part = literalPart(core);
  return part !== '' && core.startsWith(part) ? EDGE + part : part;
}

/** The longest run without wild cards. */
function literalPart(pattern: string): string {
  let longest = '';
  for (const part of pattern.split(/[*?]/)) if (part.length > longest.length) longest = part;
  return longest;
}

/** Some alternative has all its parts in the column; undefined when one of them says nothing, or there are too many to ask. */
function anyOf(alternatives: readonly (readonly string[])[], column: string): Condition | undefined {
  const parts = alternatives.map((alternative) => alternative.filter((part) => part !== ''));
  if (parts.length > ALTERNATIVES || parts.some((alternative) => alternative.length === 0)) return undefined;
  return {
    sql: parts.map((all) => all.map(() => `instr(${column}, ?) > 0`).join(' AND ')).join(' OR '),
    values: parts.flat(),
  };
}
