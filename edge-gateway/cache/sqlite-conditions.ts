/**
 * Keys as conditions in SQL: what columns that a search can look up (sqlite-lookup.ts) must hold for a record to match. They may hold
 * too often, since compileMatch decides, but never too seldom. Which of them lead to studies is sqlite-search-plan.ts.
 */
import { exactValues, type MatchKey } from '#shared/dicom/matching.ts';
import { EDGE, LOOK } from './sqlite-lookup.ts';

/** A condition in SQL; its values stand for its question marks. */
export interface Condition {
  readonly sql: string;
  readonly values: readonly string[];
}

/** Alternatives of one key that are worth a condition of their own. */
const ALTERNATIVES = 16;
/** Behind every text that begins with the text before it. */
export const LAST = '\u{10ffff}';

export function keyFor(keys: readonly MatchKey[], tag: number): MatchKey | undefined {
  return keys.find((key) => key.path.length === 1 && key.path[0] === tag);
}

/** Of a date or a time in the form in which ranges are compared, or LOOK. */
export function rangeFilter(range: { from?: string; to?: string } | undefined, column: string): Condition | undefined {
  if (range === undefined) return undefined;
  return {
    sql: `${column} BETWEEN ? AND ? OR ${column} = ?`,
    values: [range.from ?? '0', range.to ?? '99999999', LOOK],
  };
}

/** Of an attribute of one value that the column has, or LOOK. */
export function plainFilter({ condition }: MatchKey, column: string): Condition | undefined {
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

/** Of a number in canonical form, or LOOK; or of one that is a number in SQL. */
export function numberFilter({ condition }: MatchKey, column: string): Condition | undefined {
  if (condition.kind !== 'numbers') return undefined;
  const list = JSON.stringify([...condition.values, LOOK]);
  return { sql: `CAST(${column} AS TEXT) IN (SELECT value FROM json_each(?))`, values: [list] };
}

/** Of a list (EDGE) of whole values. */
export function listFilter({ condition }: MatchKey, column: string): Condition | undefined {
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

/** Of a list of normalised names. */
export function namesFilter({ condition }: MatchKey, column: string): Condition | undefined {
  if (condition.kind !== 'names') return undefined;
  return anyOf(
    condition.alternatives.map((groups) => groups.map(namePart)),
    column,
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
export const literalPart = (pattern: string): string => pattern.split(/[*?]/).reduce(longer, '');

/** Some alternative has all its parts in the column; undefined when one of them says nothing, or there are too many to ask. */
export function anyOf(alternatives: readonly (readonly string[])[], column: string): Condition | undefined {
  const parts = alternatives.map((alternative) => alternative.filter((part) => part !== ''));
  if (parts.length > ALTERNATIVES || parts.some((alternative) => alternative.length === 0)) return undefined;
  return {
    sql: parts.map((all) => all.map(() => `instr(${column}, ?) > 0`).join(' AND ')).join(' OR '),
    values: parts.flat(),
  };
}
