/**
 * The query part of a QIDO-RS request (PS3.18 §8.3.4, §10.6.1.2): which keys match, which attributes return, which page, and
 * what must be warned about. Matching itself is matching.ts, the search is the index's.
 */
import { type IndexedAttribute, indexedAttributes, type Level } from '../archive/records.ts';
import { type MatchKey, matchKey } from '../dicom/matching.ts';
import { dictionaryVr, keywordOf, parseTag } from '../dicom/tags.ts';
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
const modalitiesInStudy = 0x00080061;
const sopClassesInStudy = 0x00080062;
const derived: ReadonlySet<number> = new Set([modalitiesInStudy, sopClassesInStudy]);

/** Parameters that are not attributes. `accept` is negotiation's (accept.ts). */
const reserved: ReadonlySet<string> = new Set([
  'limit',
  'offset',
  'fuzzymatching',
  'includefield',
  'accept',
  'charset',
]);

/**
 * Reads the query of a search at `level`. A key that this archive does not match is left out of `keys` and named in
 * `warnings`. Error `bad-request` for what is malformed: numbers, dates, UIDs, fuzzymatching.
 */
export function parseSearch(query: URLSearchParams, level: Level, limits: PageLimits): SearchParameters {
  const keys: MatchKey[] = [];
  const included = new Set<number>();
  const warnings: string[] = [];
  const unsupported: string[] = [];
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
    if (text !== '') keys.push(matchKey(path, vr, text));
  }
  const includes = valuesOf(query, 'includefield')
    .flatMap((value) => value.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '');
  for (const word of includes) {
    if (word.toLowerCase() === 'all') continue;
    const path = attributePath(word);
    if (path === undefined) unsupported.push(word);
    else included.add(path[0]!);
  }
  if (unsupported.length > 0) {
    warnings.push(`The following parameters are not supported: ${unsupported.slice(0, 20).map(harmless).join(', ')}`);
  }
  if (isFuzzy(query)) {
    warnings.push('The fuzzymatching parameter is not supported. Only literal matching has been performed.');
  }
  const asked = wholeNumber(query, 'limit') ?? limits.defaultLimit;
  if (asked > limits.maximumLimit) {
    warnings.push(`The limit is too large; at most ${limits.maximumLimit} results are returned at once.`);
  }
  return {
    keys,
    included,
    includeAll: includes.some((word) => word.toLowerCase() === 'all'),
    limit: Math.min(asked, limits.maximumLimit),
    offset: wholeNumber(query, 'offset') ?? 0,
    warnings,
  };
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
  const isList = vr === 'UI' || tag === modalitiesInStudy;
  const joined = given.map((value) => (isList ? value.replaceAll(/\s*,\s*/g, '\\') : value)).join('\\');
  if (vr === 'UI' && !joined.split('\\').every((value) => value === '' || isUid(value))) {
    throw new ArchiveError(
      'bad-request',
      `A value of ${keywordOf(tag)} is not a UID: at most 64 digits and dots, such as 1.2.840.10008.1.`,
    );
  }
  return joined;
}

function isFuzzy(query: URLSearchParams): boolean {
  const text = valuesOf(query, 'fuzzymatching').at(-1)?.toLowerCase() ?? 'false';
  if (text === 'true' || text === 'false' || text === '') return text === 'true';
  throw new ArchiveError('bad-request', 'The parameter fuzzymatching is either true or false.');
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
