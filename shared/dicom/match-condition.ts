/**
 * What a matching key demands of an attribute (the kinds of matching of PS3.4 §C.2.2.2) and the test that a value meets
 * it. Reading keys and joining their tests for whole data sets is matching.ts.
 */
import type { Interval } from './date-time.ts';
import { parseDate, parseDateTime, parseTime, toUtc } from './date-time.ts';
import type { DicomJson, JsonElement, JsonValue, PersonName } from './dicom-json-model.ts';
import { type FuzzyWord, fitsWords, nameWords } from './fuzzy-name.ts';
import { nameGroups, personNameText } from './person-name.ts';
import { tagKey } from './tags.ts';
import { hasWildcard, matchesWildcard } from './wildcard.ts';

/** What a key demands. Plain data: it may travel to another thread. */
export type Condition =
  /** A key without a value, or of `*` alone: everything matches, also a data set without the attribute. */
  | { readonly kind: 'universal' }
  /** The key `""`: the attribute is absent or has no value. */
  | { readonly kind: 'empty' }
  /** Equals one of these, case and accents counted. Single value, list of UID, and several values. */
  | { readonly kind: 'values'; readonly values: readonly string[] }
  /** Equals one of these numbers (canonical form of canonicalNumber). */
  | { readonly kind: 'numbers'; readonly values: readonly string[] }
  /** Fits one of these patterns. */
  | { readonly kind: 'patterns'; readonly patterns: readonly string[] }
  /** Person names: of one alternative, each of its component groups (normalised, maybe with wild cards) fits a group of the value. */
  | { readonly kind: 'names'; readonly alternatives: readonly (readonly string[])[] }
  /** Person names that fit as `names`, or that have all the words of one of `words`, in any order, as they begin or as they sound. */
  | {
      readonly kind: 'fuzzy';
      readonly alternatives: readonly (readonly string[])[];
      readonly words: readonly (readonly FuzzyWord[])[];
    }
  /** DA and TM: `YYYYMMDD` or `HHMMSS.ffffff`, both ends included. */
  | { readonly kind: 'range'; readonly from?: string; readonly to?: string; readonly single: boolean }
  /** DT, both ends included. */
  | { readonly kind: 'instants'; readonly from?: Interval; readonly to?: Interval }
  /** A date and a time attribute of one level read as one instant: `YYYYMMDDHHMMSS.ffffff`, both ends included. */
  | {
      readonly kind: 'combined';
      readonly timeTag: number;
      readonly from?: string;
      readonly to?: string;
      /** Of the key, from UTC: compared as moments with data sets that say theirs. */
      readonly offsetMinutes?: number;
    };

export type Test = (element: JsonElement | undefined, context: Context) => boolean;

export interface Context {
  /** The data set or item that the element is of. */
  readonly attributes: DicomJson;
  /** Timezone Offset From UTC (0008,0201) of the whole data set. */
  readonly offsetMinutes: number | undefined;
}

export const FIRST_TIME = '000000.000000';
export const LAST_TIME = '235959.999999';

/** Padding and spaces around a value, without a regular expression that could go back and forth. */
export function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (end > start && text.charCodeAt(end - 1) <= 0x20) end--;
  while (start < end && text.charCodeAt(start) <= 0x20) start++;
  return text.slice(start, end);
}

/** `007`, `+7` and `7.0` are `7`; undefined for what is no number. Integers of any size keep all their digits. */
export function canonicalNumber(text: string): string | undefined {
  if (text.length > 64 || !/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return undefined;
  if (/^[+-]?\d+$/.test(text)) return BigInt(text.startsWith('+') ? text.slice(1) : text).toString();
  return String(Number(text) + 0);
}

export const isItem = (value: JsonValue): value is DicomJson => typeof value === 'object' && value !== null;

export function testOf(condition: Condition): Test {
  switch (condition.kind) {
    case 'universal':
      return () => true;
    case 'empty':
      return (element) =>
        element === undefined ||
        (element.InlineBinary === undefined &&
          element.BulkDataURI === undefined &&
          !(element.Value ?? []).some(hasContent));
    case 'values': {
      const values = new Set(condition.values);
      return (element) => anyValue(element, (value) => values.has(textOf(value)));
    }
    case 'numbers': {
      const values = new Set(condition.values);
      return (element) => anyValue(element, (value) => values.has(canonicalNumber(textOf(value)) ?? ''));
    }
    case 'patterns':
      return (element) =>
        anyValue(element, (value) => {
          const text = textOf(value);
          return text !== '' && condition.patterns.some((pattern) => matchesWildcard(pattern, text));
        });
    case 'names':
      return (element) => anyValue(element, (value) => fitsAnyName(condition.alternatives, groupsOf(value)));
    case 'fuzzy':
      return (element) =>
        anyValue(element, (value) => {
          const groups = groupsOf(value);
          if (fitsAnyName(condition.alternatives, groups)) return true;
          const words = nameWords(groups);
          return condition.words.some((key) => fitsWords(key, words));
        });
    case 'range': {
      const parse = (condition.from ?? condition.to ?? '').length === 8 ? parseDate : parseTime;
      return (element) =>
        anyValue(element, (value) => {
          const own = parse(textOf(value));
          return own !== undefined && isWithin(own.from, condition.from, condition.to);
        });
    }
    case 'instants':
      return (element, { offsetMinutes }) =>
        anyValue(element, (value) => {
          const own = parseDateTime(textOf(value));
          if (own === undefined) return false;
          const offset = own.offsetMinutes ?? offsetMinutes;
          return (
            (condition.from === undefined ||
              compareInstants(own.from, offset, condition.from.from, condition.from) >= 0) &&
            (condition.to === undefined || compareInstants(own.from, offset, condition.to.to, condition.to) <= 0)
          );
        });
    case 'combined': {
      const timeTag = tagKey(condition.timeTag);
      const { offsetMinutes } = condition;
      const inUtc = (bound: string | undefined): string | undefined =>
        bound === undefined || offsetMinutes === undefined ? bound : toUtc(bound, offsetMinutes);
      const utc = { from: inUtc(condition.from), to: inUtc(condition.to) };
      return (element, { attributes, offsetMinutes: ownOffset }) => {
        const [time] = attributes[timeTag]?.Value ?? [];
        const { from, to } = parseTime(textOf(time ?? null)) ?? { from: FIRST_TIME, to: LAST_TIME };
        const isMoment = ownOffset !== undefined && offsetMinutes !== undefined;
        const own = (local: string): string => (isMoment ? toUtc(local, ownOffset) : local);
        const wanted = isMoment ? utc : condition;
        return anyValue(element, (value) => {
          const date = parseDate(textOf(value))?.from;
          if (date === undefined) return false;
          // Without a time of its own the study may have been at any time of that day.
          return (
            (wanted.from === undefined || own(date + to) >= wanted.from) &&
            (wanted.to === undefined || own(date + from) <= wanted.to)
          );
        });
      };
    }
  }
}

const anyValue = (element: JsonElement | undefined, matches: (value: JsonValue) => boolean): boolean =>
  element?.Value?.some((value) => value !== null && matches(value)) ?? false;

/** A name without anything but delimiters is none. */
const hasContent = (value: JsonValue): boolean =>
  isPersonName(value) ? nameGroups(value).length > 0 : isItem(value) || textOf(value) !== '';

/** A value as text for comparison; '' for what has none. */
function textOf(value: JsonValue): string {
  if (typeof value === 'string') return trim(value);
  if (typeof value === 'number') return String(value);
  return isPersonName(value) ? personNameText(value) : '';
}

function isPersonName(value: JsonValue): value is PersonName {
  return (
    typeof value === 'object' &&
    value !== null &&
    (typeof value.Alphabetic === 'string' ||
      typeof value.Ideographic === 'string' ||
      typeof value.Phonetic === 'string')
  );
}

const groupsOf = (value: JsonValue): readonly string[] =>
  isPersonName(value) || typeof value === 'string' ? nameGroups(value) : [];

const fitsAnyName = (keys: readonly (readonly string[])[], groups: readonly string[]): boolean =>
  keys.some((key) => key.every((part) => groups.some((group) => fitsName(part, group))));

/**
 * Whether a group of the key fits one of the value, both normalised. A key of one component without wild cards names a
 * family, whatever the given names.
 */
function fitsName(key: string, group: string): boolean {
  if (!hasWildcard(key)) return group === key || (!key.includes('^') && group.startsWith(`${key}^`));
  if (matchesWildcard(key, group)) return true;
  // Empty components at the end may be left out, so `dupont^*` must find `dupont` too.
  const missing = count(key, '^') - count(group, '^');
  return missing > 0 && matchesWildcard(key, group + '^'.repeat(missing));
}

function count(text: string, character: string): number {
  let found = 0;
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) found++;
  return found;
}

const isWithin = (value: string, from: string | undefined, to: string | undefined): boolean =>
  (from === undefined || value >= from) && (to === undefined || value <= to);

/** In UTC when both sides say how far they are from it; else as local times of the same place. */
function compareInstants(own: string, ownOffset: number | undefined, bound: string, key: Interval): number {
  const comparable = ownOffset !== undefined && key.offsetMinutes !== undefined;
  const left = comparable ? toUtc(own, ownOffset) : own;
  const right = comparable ? toUtc(bound, key.offsetMinutes ?? 0) : bound;
  return left < right ? -1 : left > right ? 1 : 0;
}
