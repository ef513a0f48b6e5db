/**
 * The query part of a QIDO-RS request (PS3.18 §8.3.4, §10.6.1.2): which keys match, which attributes return, which page, and
 * what must be warned about. Matching itself is matching.ts, the search is the index's.
 */
import { type IndexedAttribute, indexedAttributes, type Level } from '../archive/records.ts';
import { parseOffset } from '../dicom/date-time.ts';
import { combineDateTime, fuzzyNameKey, type MatchKey, matchKey } from '../dicom/matching.ts';
import { dictionaryVr, keywordOf, parseTag, Tag, tagKey } from '../dicom/tags.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError } from '../errors.ts';

export interface SearchParameters {
  readonly keys: readonly MatchKey[];
  /** Tags of the first element of each key and each includefield: returned beside the required ones. */
  readonly included: ReadonlySet<number>;
  readonly includeAll: boolean;
  /** 0 asks for nothing but whether the search is valid. */
  readonly limit: number;
  readonly offset: number;
  /** Texts for Warning header fields. */
  readonly warnings: readonly string[];
}

export interface PageLimits {
  readonly defaultLimit: number;
  readonly maximumLimit: number;
}

const depthOf: Readonly<Record<Level, number>> = { study: 0, series: 1, instance: 2 };
const indexed: ReadonlyMap<number, IndexedAttribute> = new Map(indexedAttributes.map((entry) => [entry.tag, entry]));

/** Derived attributes that can be matched although no instance has them (PS3.4 §C.3.4). */
const derived: ReadonlySet<number> = new Set([Tag.ModalitiesInStudy, Tag.SOPClassesInStudy]);

/** What matches have beside indexed attributes, from which level on. */
const alsoReturned: ReadonlyMap<number, Level> = new Map<number, Level>([
  [Tag.SpecificCharacterSet, 'study'],
  [Tag.InstanceAvailability, 'study'],
  [Tag.RetrieveURL, 'study'],
  [Tag.ModalitiesInStudy, 'study'],
  [Tag.SOPClassesInStudy, 'study'],
  [Tag.NumberOfStudyRelatedSeries, 'study'],
  [Tag.NumberOfStudyRelatedInstances, 'study'],
  [Tag.NumberOfSeriesRelatedInstances, 'series'],
  // Available Transfer Syntax UID (0008,3002).
  [0x00083002, 'instance'],
]);

/**
 * Parameters that are not attributes. `accept` is negotiation's (accept.ts). Matching of empty values and of several is always on: a
 * key says by itself whether it wants that.
 */
const reserved: ReadonlySet<string> = new Set([
  'limit',
  'offset',
  'fuzzymatching',
  'emptyvaluematching',
  'multiplevaluematching',
  'includefield',
  'accept',
  'charset',
]);

/**
 * Reads the query of a search at `level`. A key that this archive does not match is left out of `keys` and named in
 * `warnings`. Error `bad-request` for what is malformed: numbers, dates, UIDs, time zones, fuzzymatching.
 */
export function parseSearch(query: URLSearchParams, level: Level, limits: PageLimits): SearchParameters {
  const keys: MatchKey[] = [];
  const included = new Set<number>();
  const unsupported: string[] = [];
  const isFuzzy = flag(query, 'fuzzymatching');
  let zoneMinutes: number | undefined;
  for (const name of new Set(query.keys())) {
    if (reserved.has(name.toLowerCase())) continue;
    const path = attributePath(name);
    const vr = path && matchableVr(path, level);
    if (path === undefined || vr === undefined) {
      unsupported.push(name);
      continue;
    }
    included.add(path[0]!);
    const text = joinValues(query.getAll(name), vr, path[0]!);
    if (text === '') continue;
    if (path[0] === Tag.TimezoneOffsetFromUTC) zoneMinutes = zoneOf(text);
    else keys.push(vr === 'PN' && isFuzzy ? fuzzyNameKey(path, text) : matchKey(path, vr, text));
  }
  const { fields, isAll, unknown, notReturned } = includedFields(query, level);
  for (const tag of fields) included.add(tag);
  // A range of dates with one of times is one range of moments (PS3.4 §C.2.2.2.5).
  const combined = combineDateTime(keys, zoneMinutes);
  const warnings: string[] = [];
  const warnOf = (sentence: string, words: readonly string[]): void => {
    if (words.length > 0) warnings.push(`${sentence}: ${words.slice(0, 20).map(harmless).join(', ')}`);
  };
  warnOf('The following parameters are not supported', [...unsupported, ...unknown]);
  warnOf('The following attributes are not returned by a search at this level', notReturned);
  if (combined.some(({ condition }) => condition.kind === 'fuzzy')) {
    warnings.push(
      'Person names were matched by their words in any order, as they begin or, in Latin letters, as they sound (Double Metaphone)',
    );
  }
  if (zoneMinutes !== undefined && combined.some(({ vr }) => vr === 'TM')) {
    warnings.push('Times without a date were compared as they are written, whatever their time zone');
  }
  const asked = wholeNumber(query, 'limit') ?? limits.defaultLimit;
  if (asked > limits.maximumLimit) {
    warnings.push(`The limit is too large; at most ${limits.maximumLimit} results are returned at once.`);
  }
  return {
    keys: combined,
    included,
    includeAll: isAll,
    limit: Math.min(asked, limits.maximumLimit),
    offset: wholeNumber(query, 'offset') ?? 0,
    warnings,
  };
}

function includedFields(query: URLSearchParams, level: Level) {
  const words = valuesOf(query, 'includefield')
    .flatMap((value) => value.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '');
  const fields: number[] = [];
  const unknown: string[] = [];
  const notReturned: string[] = [];
  for (const word of new Set(words)) {
    if (word.toLowerCase() === 'all') continue;
    const path = attributePath(word);
    if (path === undefined) unknown.push(word);
    else if (isReturned(path[0]!, level)) fields.push(path[0]!);
    else notReturned.push(path.map(tagKey).join('.'));
  }
  return { fields, isAll: words.some((word) => word.toLowerCase() === 'all'), unknown, notReturned };
}

function isReturned(tag: number, level: Level): boolean {
  const own = indexed.get(tag)?.level ?? alsoReturned.get(tag);
  return own !== undefined && depthOf[own] <= depthOf[level];
}

/** `00100010`, `PatientName` or a path of them with dots through sequences (PS3.18 §8.3.4.1); undefined when a word is none. */
export function attributePath(text: string): number[] | undefined {
  if (text.length > 256) return undefined;
  const path: number[] = [];
  for (const word of text.split('.')) {
    const tag = parseTag(word.trim());
    if (tag === undefined) return undefined;
    path.push(tag);
  }
  return path;
}

/** The VR of what a path ends at when it can be matched at this level; undefined when it cannot. */
function matchableVr(path: readonly number[], level: Level): MatchKey['vr'] | undefined {
  const [first, ...below] = path as [number, ...number[]];
  if (derived.has(first)) return below.length === 0 ? dictionaryVr(first) : undefined;
  const attribute = indexed.get(first);
  if (attribute === undefined || depthOf[attribute.level] > depthOf[level]) return undefined;
  if (below.length === 0) return attribute.vr === 'SQ' ? undefined : attribute.vr;
  for (const tag of path.slice(0, -1)) if (dictionaryVr(tag) !== 'SQ') return undefined;
  const vr = dictionaryVr(below.at(-1)!);
  return vr === 'SQ' ? undefined : vr;
}

/** Lists of UIDs come with commas, backslashes or as repeated parameters; the index wants backslashes (PS3.4 §C.2.2.2.2). */
function joinValues(values: readonly string[], vr: MatchKey['vr'], tag: number): string {
  const given = values.map((value) => value.trim()).filter((value) => value !== '');
  const isList = vr === 'UI' || tag === Tag.ModalitiesInStudy;
  const joined = given.map((value) => (isList ? value.replaceAll(/\s*,\s*/g, '\\') : value)).join('\\');
  if (vr === 'UI' && !joined.split('\\').every((value) => value === '' || isUid(value))) {
    throw new ArchiveError(
      'bad-request',
      `A value of ${keywordOf(tag)} is not a UID: at most 64 digits and dots, such as 1.2.840.10008.1.`,
    );
  }
  return joined;
}

/** `+0100`; a plus sign that was not escaped has become a space. */
function zoneOf(text: string): number {
  const minutes = parseOffset(/^\d/.test(text) ? `+${text}` : text);
  if (minutes !== undefined && Math.abs(minutes) <= 14 * 60) return minutes;
  throw new ArchiveError(
    'bad-request',
    'A time zone is given as hours and minutes from UTC, such as -0500 or %2B0100.',
  );
}

function flag(query: URLSearchParams, name: string): boolean {
  const text = valuesOf(query, name).at(-1)?.toLowerCase() ?? 'false';
  if (text === 'true' || text === 'false' || text === '') return text === 'true';
  throw new ArchiveError('bad-request', `The parameter ${name} is either true or false.`);
}

function wholeNumber(query: URLSearchParams, name: string): number | undefined {
  const text = valuesOf(query, name).at(-1)?.trim();
  if (text === undefined || text === '') return undefined;
  if (!/^[0-9]{1,9}$/.test(text)) {
    throw new ArchiveError('bad-request', `The parameter ${name} is a whole number from 0 on, such as ${name}=100.`);
  }
  return Number(text);
}

/** Names of the reserved parameters are taken in any case, as other servers do. */
function valuesOf(query: URLSearchParams, name: string): string[] {
  return [...query].filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

/** A client's word in a header field of ours: no separators, no quotes, no control characters. */
const harmless = (word: string): string => word.replaceAll(/[^A-Za-z0-9_.-]/g, '?').slice(0, 64);
