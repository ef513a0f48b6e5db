/**
 * Which studies a search has to look at: the planner. Out of the keys it finds the narrowest way through the indexes and
 * yields candidate studies, each once, in the order asked for. It may yield too many (compileMatch decides)
 * but never too few; a property test compares it with looking at everything.
 */
import type { KeysByLevel } from '#shared/archive/query.ts';
import { dateRange, exactValues, type MatchKey, namePrefix } from '#shared/dicom/matching.ts';
import type { Database } from './sqlite-database.ts';
import { EDGE, LOOK } from './sqlite-lookup.ts';

export type StudyOrder = 'newest first' | 'by uid';

/** A condition in SQL; its values stand for its question marks. */
export interface Condition {
  readonly sql: string;
  readonly values: readonly string[];
}

/** What finds more studies than this is no help: walking in order then comes to a page sooner than sorting what was found. */
const SELECTIVE = 1_000;
/** Alternatives of one key that are worth a condition of their own. */
const ALTERNATIVES = 16;
/** Behind every text that begins with the text before it. */
const LAST = '\u{10ffff}';

/** What storedStudy needs, and the number of the study. */
const columns = 'id, study_uid, attributes, modalities, sop_classes, series_count, instance_count';

export interface Candidates {
  readonly order: StudyOrder;
  /** How many to leave out at the beginning: where no key has to decide. */
  readonly skip: number;
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
  { order, skip }: Candidates,
): Iterable<Record<string, unknown>> {
  const filters = [...keys.study.map(filterOf), ...attributeFilters(keys.study, 'attributes')].filter(
    (filter) => filter !== undefined,
  );
  const visible: Condition = { sql: 'tenant = ? AND instance_count > 0', values: [tenant] };
  const found = selectiveIds(database, tenant, keys, order);
  if (found !== undefined) {
    const among: Condition = { sql: 'id IN (SELECT value FROM json_each(?))', values: [JSON.stringify(found)] };
    return studies(database, [['study NOT INDEXED', [among, visible, ...filters]]], order, skip);
  }
  if (order === 'by uid') {
    return studies(database, [['study INDEXED BY sqlite_autoindex_study_1', [visible, ...filters]]], order, skip);
  }
  const ranges = datePieces(keys.study)?.map((range) => [range]) ?? [[]];
  const pieces = ranges.map((range): Piece => ['study INDEXED BY study_by_date', [visible, ...range, ...filters]]);
  return studies(database, pieces, order, skip);
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
    case 0x0020000d:
      return columnFilters([key], 0x0020000d, 'study_uid')[0];
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

/** VRs whose values stand in DICOM JSON as they are, but for JSON's escapes. */
const textual: ReadonlySet<MatchKey['vr']> = new Set([
  'AE',
  'AS',
  'CS',
  'LO',
  'LT',
  'SH',
  'ST',
  'UC',
  'UI',
  'UR',
  'UT',
]);
/** What matches carry of columns, not of the record's attributes. */
const fromColumns: ReadonlySet<number | undefined> = new Set([
  0x0020000d, 0x0020000e, 0x00080016, 0x00080018, 0x00080061, 0x00080062, 0x00201206, 0x00201208, 0x00201209,
]);

/**
 * What the JSON text of a record's attributes must contain for its keys to match, in sequences too: looking for it costs
 * a tenth of parsing.
 */
export function attributeFilters(keys: readonly MatchKey[], column: string): Condition[] {
  return keys.flatMap(({ path, vr, condition }) => {
    if (fromColumns.has(path[0]) || !textual.has(vr)) return [];
    const alternatives =
      condition.kind === 'values' ? condition.values : condition.kind === 'patterns' ? condition.patterns : undefined;
    // A name in the place of such a text would be joined with `=` only when it is compared.
    const parts = alternatives?.map((text) => text.split(/[*?=]/).reduce(longer, ''));
    const filter =
      parts &&
      anyOf(
        parts.map((part) => [JSON.stringify(part).slice(1, -1)]),
        column,
      );
    return filter ?? [];
  });
}

/** The same for a column that is the attribute itself. */
export function columnFilters(keys: readonly MatchKey[], tag: number, column: string): Condition[] {
  const key = keyFor(keys, tag);
  const values = key && exactValues(key);
  if (values === undefined) return [];
  return [{ sql: `${column} IN (SELECT value FROM json_each(?))`, values: [JSON.stringify(values)] }];
}

export const allOf = (conditions: readonly Condition[]): Condition => ({
  sql: conditions.length === 0 ? 'true' : conditions.map(({ sql }) => `(${sql})`).join(' AND '),
  values: conditions.flatMap(({ values }) => values),
});

const longer = (a: string, b: string): string => (b.length > a.length ? b : a);

/** The longest run without wild cards. */
const literalPart = (pattern: string): string => pattern.split(/[*?]/).reduce(longer, '');

/** Some alternative has all its parts in the column; undefined when one of them says nothing, or there are too many to ask. */
function anyOf(alternatives: readonly (readonly string[])[], column: string): Condition | undefined {
  const parts = alternatives.map((alternative) => alternative.filter((part) => part !== ''));
  if (parts.length > ALTERNATIVES || parts.some((alternative) => alternative.length === 0)) return undefined;
  return {
    sql: parts.map((all) => all.map(() => `instr(${column}, ?) > 0`).join(' AND ')).join(' OR '),
    values: parts.flat(),
  };
}
