/**
 * Attribute matching of PS3.4 §C.2.2.2: the one definition that QIDO-RS, C-FIND and both indexes share. `matchKey` reads
 * one key, `compileMatch` makes the test for data sets (DICOM JSON Model, as toDicomJson gives it), the hints say what a
 * planner may look up in an index before it filters with that test. Patterns are wildcard.ts, dates date-time.ts, names person-name.ts.
 */
import { ArchiveError } from '../errors.ts';
import type { Vr } from './data-set.ts';
import type { Parse } from './date-time.ts';
import { parseDate, parseDateTime, parseOffset, parseRange, parseTime, toUtc } from './date-time.ts';
import type { DicomJson } from './dicom-json-model.ts';
import { fuzzyWords, MAXIMUM_NAME_WORDS } from './fuzzy-name.ts';
import type { Test } from './match-condition.ts';
import { type Condition, canonicalNumber, FIRST_TIME, isItem, LAST_TIME, testOf, trim } from './match-condition.ts';
import { nameGroups } from './person-name.ts';
import { tagKey } from './tags.ts';
import { hasWildcard } from './wildcard.ts';

export { normaliseName } from './person-name.ts';

export interface MatchKey {
  /** Tags from the outermost sequence to the attribute itself. */
  readonly path: readonly number[];
  readonly vr: Vr;
  /** The key as it was given. */
  readonly text: string;
  readonly condition: Condition;
}

const wildcardVrs: ReadonlySet<Vr> = new Set<Vr>(['AE', 'CS', 'LO', 'LT', 'PN', 'SH', 'ST', 'UC', 'UR', 'UT']);
const numberVrs: ReadonlySet<Vr> = new Set<Vr>(['DS', 'FD', 'FL', 'IS', 'SL', 'SS', 'SV', 'UL', 'US', 'UV']);
const binaryVrs: ReadonlySet<Vr> = new Set<Vr>(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN', 'SQ']);
/** One value, in which a backslash is a character (PS3.5 §6.2). */
const singleValueVrs: ReadonlySet<Vr> = new Set<Vr>(['LT', 'ST', 'UR', 'UT']);

const MAXIMUM_KEY_LENGTH = 1_048_576;
const MAXIMUM_PATTERN_LENGTH = 1024;
const MAXIMUM_DATE_LENGTH = 128;

/**
 * Reads one key. Several values, separated by backslashes (UI, CS, AT and numbers: also by commas, which cannot be part of their
 * values), mean: any of them. `""` means: absent or empty. Spaces and NULs around a value do not count.
 * Errors: `bad-request` where the value cannot be one of the VR, a wild card stands where PS3.4 §C.2.2.2.4 has none, or a limit is passed.
 */
export function matchKey(path: readonly number[], vr: Vr, text: string): MatchKey {
  if (path.length === 0) throw new ArchiveError('bad-request', 'A matching key needs an attribute.');
  if (text.length > MAXIMUM_KEY_LENGTH) {
    throw badKey(path, vr, `is longer than ${MAXIMUM_KEY_LENGTH} characters; ask in several queries`);
  }
  return { path, vr, text, condition: conditionOf(path, vr, trim(text)) };
}

/**
 * A key for a person's name that is matched fuzzily (fuzzy-name.ts), and finds whatever `matchKey` would find. Errors: those of
 * `matchKey`; `bad-request` for too many words.
 */
export function fuzzyNameKey(path: readonly number[], text: string): MatchKey {
  const key = matchKey(path, 'PN', text);
  if (key.condition.kind !== 'names') return key;
  const { alternatives } = key.condition;
  const words = alternatives.map(fuzzyWords);
  if (words.some((name) => name.length > MAXIMUM_NAME_WORDS))
    throw badKey(path, 'PN', `has more than ${MAXIMUM_NAME_WORDS} words; shorten it, or match literally`);
  // A name of nothing but signs has no words, which all names would have.
  return { ...key, condition: { kind: 'fuzzy', alternatives, words: words.filter((name) => name.length > 0) } };
}

function conditionOf(path: readonly number[], vr: Vr, text: string): Condition {
  if (/^\**$/.test(text)) return { kind: 'universal' };
  if (text === '""') return { kind: 'empty' };
  if (binaryVrs.has(vr))
    throw badKey(path, vr, 'cannot be matched against a value; leave it empty, or name an attribute within it');
  if (vr === 'DA') return rangeOf(path, vr, text, parseDate, 'YYYYMMDD');
  if (vr === 'TM') return rangeOf(path, vr, text, parseTime, 'HHMMSS.FFFFFF (or its first parts)');
  if (vr === 'DT') return instantsOf(path, vr, text);

  const values = splitValues(vr, text);
  if (values.length === 0 || values.some((value) => /^\*+$/.test(value))) return { kind: 'universal' };
  if (vr === 'PN') return namesOf(path, values);
  const patterned = values.some(hasWildcard);
  if (patterned && !wildcardVrs.has(vr))
    throw badKey(path, vr, 'does not allow the wild cards * and ?; give whole values');
  if (patterned) return { kind: 'patterns', patterns: values.map((value) => boundedPattern(path, vr, value)) };
  if (numberVrs.has(vr)) return numbersOf(path, vr, values);
  return { kind: 'values', values: vr === 'AT' ? values.map(canonicalTag) : values };
}

function splitValues(vr: Vr, text: string): string[] {
  if (singleValueVrs.has(vr)) return [text];
  const commas = vr === 'UI' || vr === 'CS' || numberVrs.has(vr);
  const values = text.split(commas ? /[\\,]/ : '\\').map(trim);
  return values.filter((value) => value !== '');
}

function boundedPattern(path: readonly number[], vr: Vr, pattern: string): string {
  if (pattern.length <= MAXIMUM_PATTERN_LENGTH) return pattern;
  throw badKey(path, vr, `has a pattern of more than ${MAXIMUM_PATTERN_LENGTH} characters; shorten it`);
}

function namesOf(path: readonly number[], values: readonly string[]): Condition {
  const alternatives: string[][] = [];
  for (const value of values) {
    const groups = nameGroups(boundedPattern(path, 'PN', value)).filter((group) => !/^\*+$/.test(group));
    if (groups.length === 0) return { kind: 'universal' };
    alternatives.push(groups);
  }
  return { kind: 'names', alternatives };
}

function numbersOf(path: readonly number[], vr: Vr, values: readonly string[]): Condition {
  return {
    kind: 'numbers',
    values: values.map((value) => {
      const number = canonicalNumber(value);
      if (number === undefined) throw badKey(path, vr, 'must be a number');
      return number;
    }),
  };
}

function rangeOf(path: readonly number[], vr: Vr, text: string, parse: Parse, form: string): Condition {
  const range = text.length > MAXIMUM_DATE_LENGTH ? undefined : parseRange(text, parse);
  if (range === undefined) throw badKey(path, vr, `must be ${form}, or a range a-b, a- or -b of such values`);
  return {
    kind: 'range',
    ...(range.from && { from: range.from.from }),
    ...(range.to && { to: range.to.to }),
    single: range.single,
  };
}

function instantsOf(path: readonly number[], vr: Vr, text: string): Condition {
  const range = text.length > MAXIMUM_DATE_LENGTH ? undefined : parseRange(text, parseDateTime);
  if (range === undefined) {
    throw badKey(
      path,
      vr,
      'must be YYYYMMDDHHMMSS.FFFFFF&ZZXX (or its first parts), or a range a-b, a- or -b of such values',
    );
  }
  return { kind: 'instants', ...(range.from && { from: range.from }), ...(range.to && { to: range.to }) };
}

/** Never repeats the value: it may be a patient's. */
function badKey(path: readonly number[], vr: Vr, what: string): ArchiveError {
  const attribute = path.map(tagKey).join('.');
  return new ArchiveError('bad-request', `The matching key ${attribute} (VR ${vr}) ${what}.`, { attribute, vr });
}

const canonicalTag = (text: string): string => text.replace(/[(),\s]/g, '').toUpperCase();

/** Which attributes of time belong to which of date (PS3.4 §C.2.2.2.5): the ones that a query can name. */
const timeOfDate: ReadonlyMap<number, number> = new Map([
  [0x00080012, 0x00080013],
  [0x00080020, 0x00080030],
  [0x00080021, 0x00080031],
  [0x00080022, 0x00080032],
  [0x00080023, 0x00080033],
  [0x00100030, 0x00100032],
  [0x00400002, 0x00400003],
  [0x00400004, 0x00400005],
  [0x00400244, 0x00400245],
  [0x00400250, 0x00400251],
]);

const PATIENT_BIRTH_DATE = 0x00100030;
/** From UTC-12 to UTC+14. */
const FARTHEST_ZONES_MINUTES = 26 * 60;

/**
 * Combined date-time matching: where a date and its time are both given as ranges, they become one key for the instants
 * between, in the place of the date's key. C-FIND does this only where it was negotiated; QIDO-RS always.
 * With `offsetMinutes` from UTC, the time zone of the keys, dates are days of that zone (PS3.4 §C.2.2.2.5.1): each becomes such a key, from
 * midnight to midnight where it has no range of times. Data sets that do not say their zone are taken to be of the key's.
 */
export function combineDateTime(keys: readonly MatchKey[], offsetMinutes?: number): readonly MatchKey[] {
  const times = new Map<string, MatchKey>();
  for (const key of keys) if (key.vr === 'TM' && isRange(key.condition)) times.set(key.path.join('/'), key);
  if (times.size === 0 && offsetMinutes === undefined) return keys;

  const taken = new Set<MatchKey>();
  const combined = keys.map((key): MatchKey => {
    const { condition, path } = key;
    const timeTag = timeOfDate.get(path[path.length - 1]!);
    if (key.vr !== 'DA' || timeTag === undefined || condition.kind !== 'range') return key;
    // People are born on a day, wherever somebody asks.
    const zone = path[path.length - 1] === PATIENT_BIRTH_DATE ? undefined : offsetMinutes;
    const found = times.get([...path.slice(0, -1), timeTag].join('/'));
    const time = found !== undefined && !taken.has(found) ? found : undefined;
    if (zone === undefined && (time === undefined || condition.single)) return key;
    if (time !== undefined) taken.add(time);
    const range = time?.condition.kind === 'range' ? time.condition : undefined;
    const { from, to } = condition;
    return {
      ...key,
      text: time === undefined ? key.text : `${key.text} ${time.text}`,
      condition: {
        kind: 'combined',
        timeTag,
        ...(from !== undefined && { from: from + (range?.from ?? FIRST_TIME) }),
        ...(to !== undefined && { to: to + (range?.to ?? LAST_TIME) }),
        ...(zone !== undefined && { offsetMinutes: zone }),
      },
    };
  });
  return combined.filter((key) => !taken.has(key));
}

const isRange = (condition: Condition): condition is Extract<Condition, { kind: 'range' }> =>
  condition.kind === 'range' && !condition.single;

/** Of one data set, or of one item: what must hold there, and within its sequences. */
interface Level {
  readonly tests: { readonly tag: string; readonly matches: Test }[];
  readonly sequences: Map<string, Level>;
}

/**
 * The test that all keys are met. Keys within one sequence must be met by one and the same item (PS3.4 §C.2.2.2.6); an
 * attribute of several values is met by any of them.
 */
export function compileMatch(keys: readonly MatchKey[]): (attributes: DicomJson) => boolean {
  const root: Level = { tests: [], sequences: new Map() };
  for (const key of keys) {
    // Universal: whatever the path leads to, or whether it leads anywhere.
    if (key.condition.kind === 'universal') continue;
    let level = root;
    for (const tag of key.path.slice(0, -1)) {
      const name = tagKey(tag);
      const inner = level.sequences.get(name) ?? { tests: [], sequences: new Map() };
      level.sequences.set(name, inner);
      level = inner;
    }
    const tag = tagKey(key.path[key.path.length - 1]!);
    level.tests.push({ tag, matches: testOf(key.condition) });
  }
  return (attributes) => {
    const zone = attributes['00080201']?.Value?.[0];
    const offsetMinutes = typeof zone === 'string' ? parseOffset(trim(zone)) : undefined;
    return meets(root, attributes, offsetMinutes);
  };
}

function meets(level: Level, attributes: DicomJson, offsetMinutes: number | undefined): boolean {
  const context = { attributes, offsetMinutes };
  for (const test of level.tests) if (!test.matches(attributes[test.tag], context)) return false;
  for (const [tag, inner] of level.sequences) {
    const items = attributes[tag]?.Value ?? [];
    if (!items.some((item) => isItem(item) && meets(inner, item, offsetMinutes))) return false;
  }
  return true;
}

/** A planner's hint for keys of dates: `YYYYMMDD`, both ends included; every match lies within. Undefined where the key says nothing about a date. */
export function dateRange(key: MatchKey): { from?: string; to?: string } | undefined {
  const { condition } = key;
  if (condition.kind === 'combined' && condition.offsetMinutes !== undefined) {
    const { from, to } = condition;
    return {
      ...(from !== undefined && { from: toUtc(from, FARTHEST_ZONES_MINUTES).slice(0, 8) }),
      ...(to !== undefined && { to: toUtc(to, -FARTHEST_ZONES_MINUTES).slice(0, 8) }),
    };
  }
  if (condition.kind === 'combined' || (condition.kind === 'range' && key.vr === 'DA')) {
    return {
      ...(condition.from !== undefined && { from: condition.from.slice(0, 8) }),
      ...(condition.to !== undefined && { to: condition.to.slice(0, 8) }),
    };
  }
  return undefined;
}

/** A planner's hint: every match has one of these values exactly (trimmed). Undefined for names, numbers, patterns and ranges. */
export function exactValues(key: MatchKey): readonly string[] | undefined {
  return key.condition.kind === 'values' ? key.condition.values : undefined;
}

/**
 * A planner's hint for names: some component group of every match, normalised as by `normaliseName`, begins with this.
 * Undefined when the key begins with a wild card or allows several names.
 */
export function namePrefix(key: MatchKey): string | undefined {
  const { condition } = key;
  if (condition.kind !== 'names' || condition.alternatives.length !== 1) return undefined;
  let longest = '';
  for (const part of condition.alternatives[0]!) {
    const prefix = /^[^*?]*/.exec(part)![0].replace(/\^+$/, '');
    if (prefix.length > longest.length) longest = prefix;
  }
  return longest === '' ? undefined : longest;
}
