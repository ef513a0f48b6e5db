/**
 * Which studies a search in DynamoDB has to look at: out of the keys it takes the way that leads to fewest, and yields the studies there, each
 * once, in the order asked for. It may yield too many (compileMatch decides) but never too few of what a recount has derived; the indexes
 * follow the table within moments. Where no key leads to few, it walks in order, until the page is full.
 */
import type { KeysByLevel } from '#shared/archive/query.ts';
import { inParallel } from '#shared/archive/walk.ts';
import { fuzzyWords } from '#shared/dicom/fuzzy-name.ts';
import { dateRange, exactValues, type MatchKey, namePrefix } from '#shared/dicom/matching.ts';
import type { Calls, Meter, QueryRange } from './dynamo-calls.ts';
import {
  byDay,
  byEntries,
  byKeys,
  byUid,
  type Candidate,
  COLLECTED,
  collectDays,
  type Entry,
  sortedByUid,
  type Wanted,
} from './dynamo-candidates.ts';
import { uidLookup } from './dynamo-instances.ts';
import { LAST, partOf, type Range, SEPARATOR } from './dynamo-keys.ts';
import {
  isWholeValue,
  type LookupKind,
  lookupPartition,
  lookupValue,
  nameLookups,
  textLookups,
  UNSAID,
} from './dynamo-lookups.ts';

export interface Candidates {
  readonly batches: AsyncGenerator<readonly Candidate[], void, void>;
  /** Whether they are few enough to be looked at to the last one. */
  readonly areFew: boolean;
}

/** Of one key. Beyond it each would cost more than a walk. */
const MAXIMUM_ALTERNATIVES = 2_000;
/** So few that their studies are read at once. */
const FEW_ENTRIES = 50;

/** Ranges of an index which hold all that a key can match. */
type Way = readonly QueryRange[];

export async function candidateStudies(
  calls: Calls,
  keys: KeysByLevel,
  asked: Omit<Wanted, 'dates'>,
  meter: Meter,
): Promise<Candidates> {
  const { tenant, order } = asked;
  const date = keyFor(keys.study, 0x00080020);
  const wanted: Wanted = { ...asked, dates: date && dateRange(date) };
  const named = exactOf(keys.study, 0x0020000d);
  if (named !== undefined) {
    const at = named.map((uid) => ({ key: { pk: `${tenant}${SEPARATOR}${partOf(uid)}`, sk: 'STUDY' } }));
    return { batches: byKeys(calls, at, wanted, meter), areFew: true };
  }
  const found = await leadingEntries(calls, ways(tenant, keys), meter);
  if (found !== undefined) return { batches: byEntries(calls, found, wanted, meter), areFew: true };
  if (order === 'newest first') return { batches: byDay(calls, wanted, meter), areFew: false };
  const dated = wanted.dates && (await collectDays(calls, wanted, meter));
  if (dated === undefined) return { batches: byUid(calls, wanted, meter), areFew: false };
  return { batches: sortedByUid(dated, wanted), areFew: true };
}

/**
 * What all ways agree on, as far as they lead to few enough: an entry costs a twentieth of what reading its study costs. Undefined: no way does.
 */
async function leadingEntries(calls: Calls, all: readonly Way[], meter: Meter): Promise<readonly Entry[] | undefined> {
  let found: readonly Entry[] | undefined;
  for (const way of all) {
    if (found !== undefined && found.length <= FEW_ENTRIES) break;
    const entries = await collect(calls, way, meter);
    if (entries === undefined) continue;
    const studies = new Set(entries.map(({ pk }) => pk));
    found = found === undefined ? entries : found.filter(({ pk }) => studies.has(pk));
  }
  return found;
}

/** From the most selective on. */
function ways(tenant: string, { study, series, instance }: KeysByLevel): Way[] {
  const found: (Way | undefined)[] = [
    uids(tenant, exactOf(instance, 0x00080018)),
    uids(tenant, exactOf(series, 0x0020000e)),
    ...textLookups.map(({ tag, kind }) => texts(tenant, kind, keyFor(study, tag))),
    ...nameLookups.flatMap((names) => {
      const key = keyFor(study, names.tag);
      return key === undefined ? [] : [groups(tenant, names.group, key), ...words(tenant, names, key)];
    }),
  ];
  return found.filter((way) => way !== undefined);
}

const keyFor = (keys: readonly MatchKey[], tag: number): MatchKey | undefined =>
  keys.find((key) => key.path.length === 1 && key.path[0] === tag);

function exactOf(keys: readonly MatchKey[], tag: number): readonly string[] | undefined {
  const key = keyFor(keys, tag);
  return key && exactValues(key);
}

function uids(tenant: string, values: readonly string[] | undefined): Way | undefined {
  if (values === undefined || values.length > MAXIMUM_ALTERNATIVES) return undefined;
  return values.map((uid) => lookup(uidLookup(tenant, uid), { from: ' ', to: LAST }));
}

function texts(tenant: string, kind: LookupKind, key: MatchKey | undefined): Way | undefined {
  if (key === undefined) return undefined;
  const values = exactValues(key);
  const unsaid = beginning(tenant, kind, UNSAID);
  if (values !== undefined)
    return values.length > MAXIMUM_ALTERNATIVES
      ? undefined
      : [...values.map((one) => exactly(tenant, kind, one)), unsaid];
  if (key.condition.kind !== 'patterns' || key.condition.patterns.length !== 1) return undefined;
  const prefix = /^[^*?]*/.exec(key.condition.patterns[0] ?? '')?.[0] ?? '';
  return prefix === '' ? undefined : [beginning(tenant, kind, prefix), unsaid];
}

function groups(tenant: string, kind: LookupKind | undefined, key: MatchKey): Way | undefined {
  const prefix = namePrefix(key);
  if (kind === undefined || prefix === undefined) return undefined;
  return [beginning(tenant, kind, prefix), beginning(tenant, kind, UNSAID)];
}

/** By one word each, the longest first. What begins a component of a name begins a word of it: of a literal key no sounds. */
function words(tenant: string, { word, sound }: (typeof nameLookups)[number], { condition }: MatchKey): Way[] {
  if (condition.kind !== 'fuzzy' && condition.kind !== 'names') return [];
  const [only, ...others] = condition.alternatives;
  if (only === undefined || others.length > 0) return [];
  const all = condition.kind === 'fuzzy' ? (condition.words[0] ?? []) : fuzzyWords(only);
  return all
    .filter(({ isPattern }) => !isPattern)
    .sort((a, b) => b.text.length - a.text.length)
    .map(({ text, sounds }) => [
      beginning(tenant, word, text),
      beginning(tenant, word, UNSAID),
      ...(condition.kind === 'fuzzy' ? sounds.map((one) => exactly(tenant, sound, one)) : []),
    ]);
}

const lookup = (partition: string, range: Range): QueryRange => ({ index: 'lookups', partition, range });

function beginning(tenant: string, kind: LookupKind, value: string): QueryRange {
  const from = lookupValue(value);
  return lookup(lookupPartition(tenant, kind, value), { from: value === UNSAID ? SEPARATOR : from, to: from + LAST });
}

function exactly(tenant: string, kind: LookupKind, value: string): QueryRange {
  if (!isWholeValue(value)) return beginning(tenant, kind, value);
  const from = `${lookupValue(value)}${SEPARATOR}`;
  return lookup(lookupPartition(tenant, kind, value), { from, to: from + LAST });
}

/** Undefined when there are too many. */
async function collect(calls: Calls, way: Way, meter: Meter): Promise<readonly Entry[] | undefined> {
  const entries: Entry[] = [];
  await inParallel(way, async (asked) => {
    if (entries.length > COLLECTED) return;
    for await (const page of calls.pages<Entry>({ ...asked, meter })) {
      entries.push(...page);
      if (entries.length > COLLECTED) return;
    }
  });
  return entries.length > COLLECTED ? undefined : entries;
}
