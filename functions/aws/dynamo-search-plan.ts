/**
 * Which studies a search in DynamoDB has to look at: out of the keys it takes the way that leads to fewest, and yields the studies there, each
 * once, in the order asked for. It may yield too many (compileMatch decides) but never too few of what a recount has derived; the indexes
 * follow the table within moments. Where no key leads to few, it walks in order, until the page is full.
 */
import type { KeysByLevel, Place } from '#shared/archive/query.ts';
import { inParallel } from '#shared/archive/walk.ts';
import { fuzzyWords } from '#shared/dicom/fuzzy-name.ts';
import { dateRange, exactValues, type MatchKey, namePrefix } from '#shared/dicom/matching.ts';
import type { Calls, Meter, QueryRange } from './dynamo-calls.ts';
import type { StudyItem } from './dynamo-derived.ts';
import { uidLookup } from './dynamo-instances.ts';
import {
  behind,
  type ItemKey,
  LAST,
  partOf,
  type Range,
  SEPARATOR,
  studyPartOf,
  tenantPartition,
} from './dynamo-keys.ts';
import {
  dayOf,
  dayPart,
  isWholeValue,
  type LookupKind,
  listedStudy,
  lookupPartition,
  lookupValue,
  monthOf,
  monthPartition,
  nameLookups,
  studyList,
  textLookups,
  UNSAID,
  unsureMonth,
} from './dynamo-lookups.ts';

export type StudyOrder = 'newest first' | 'by uid';

export interface Wanted {
  readonly tenant: string;
  readonly keys: KeysByLevel;
  readonly order: StudyOrder;
  /** Only those behind it or, by UID, from its study on. */
  readonly after: Place | undefined;
  /** How many are likely to be taken. */
  readonly limit: number;
}

/** A study to look at; with sort keys of the only instances that matter, where they are known. */
export interface Candidate {
  readonly study: StudyItem;
  readonly instances?: readonly string[];
}

export interface Candidates {
  readonly batches: AsyncGenerator<readonly Candidate[], void, void>;
  /** Whether they are few enough to be looked at to the last one. */
  readonly areFew: boolean;
}

/** Entries of an index that are worth collecting before anything is looked at: some 130 read units. */
const COLLECTED = 5_000;
/** Of one key. Beyond it each would cost more than a walk. */
const MAXIMUM_ALTERNATIVES = 2_000;
const READ_BATCH = 100;

interface Entry extends ItemKey {
  /** In the index of lookups: a value, and where its study stands. */
  readonly found?: string;
}

/** Ranges of an index which hold all that a key can match. */
type Way = readonly QueryRange[];

export async function candidateStudies(calls: Calls, wanted: Wanted, meter: Meter): Promise<Candidates> {
  const { tenant, keys, order } = wanted;
  const named = exactOf(keys.study, 0x0020000d);
  if (named !== undefined) {
    const at = named.map((uid) => ({ pk: `${tenant}${SEPARATOR}${partOf(uid)}`, sk: 'STUDY' }));
    return {
      batches: byKeys(
        calls,
        at.map((one) => ({ key: one })),
        wanted,
        meter,
      ),
      areFew: true,
    };
  }
  for (const way of ways(tenant, keys)) {
    const entries = await collect(calls, way, meter);
    if (entries !== undefined) return { batches: byEntries(calls, entries, wanted, meter), areFew: true };
  }
  if (order === 'newest first') return { batches: byDay(calls, wanted, meter), areFew: false };
  const dated = datesOf(keys) && (await collectDays(calls, wanted, meter));
  if (dated === undefined) return { batches: byUid(calls, wanted, meter), areFew: false };
  return { batches: sortedByUid(dated, wanted), areFew: true };
}

/** The studies of the days that a key allows; undefined when there are too many. */
async function collectDays(calls: Calls, wanted: Wanted, meter: Meter): Promise<readonly StudyItem[] | undefined> {
  const { after: _, ...all } = wanted;
  const studies: StudyItem[] = [];
  for await (const batch of byDay(calls, { ...all, after: undefined, limit: COLLECTED }, meter)) {
    studies.push(...batch.map(({ study }) => study));
    if (studies.length > COLLECTED) return undefined;
  }
  return studies;
}

async function* sortedByUid(
  studies: readonly StudyItem[],
  { order, after, limit }: Wanted,
): AsyncGenerator<readonly Candidate[], void, void> {
  const isWanted = isBehind(order, after);
  const placed = studies
    .map((study) => ({ study, place: studyPartOf(study.pk) }))
    .filter(({ place }) => isWanted(place));
  yield* batches(placed.sort(byPlace), limit);
}

const datesOf = (keys: KeysByLevel): ReturnType<typeof dateRange> => {
  const key = keyFor(keys.study, 0x00080020);
  return key && dateRange(key);
};

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

/** Where an entry says that its study stands: what is behind the value. */
function dayOfEntry({ found = '' }: Entry): string | undefined {
  const at = found.indexOf(SEPARATOR);
  return at < 0 ? undefined : found.slice(at + 1);
}

async function* byEntries(
  calls: Calls,
  entries: readonly Entry[],
  wanted: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const instances = new Map<string, string[]>();
  for (const { pk, sk } of entries)
    if (sk.startsWith('INSTANCE#')) instances.set(pk, [...(instances.get(pk) ?? []), sk]);
  const studies = new Map<string, { key: ItemKey; day?: string; instances?: readonly string[] }>();
  for (const entry of entries) {
    const day = dayOfEntry(entry);
    const only = instances.get(entry.pk);
    // One study may stand in two places for a moment; it says itself which is right.
    studies.set(`${day} ${entry.pk}`, {
      key: { pk: entry.pk, sk: 'STUDY' },
      ...(day !== undefined && { day }),
      ...(only && { instances: only }),
    });
  }
  yield* byKeys(calls, [...studies.values()], wanted, meter);
}

/** Studies by their keys: read as they are needed, or all at once where nothing says beforehand in which order they stand. */
async function* byKeys(
  calls: Calls,
  studies: readonly { key: ItemKey; day?: string; instances?: readonly string[] }[],
  { order, after, limit }: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const read = async (some: typeof studies): Promise<Candidate[]> => {
    const items = await calls.getMany<StudyItem>(
      some.map(({ key }) => key),
      meter,
    );
    const byPk = new Map(items.map((item) => [item.pk, item]));
    return some.flatMap(({ key, day, instances }) => {
      const study = byPk.get(key.pk);
      if (study === undefined || study.instanceCount === 0) return [];
      if (order === 'newest first' && day !== undefined && study.day !== day) return [];
      return [instances === undefined ? { study } : { study, instances }];
    });
  };
  const isWanted = isBehind(order, after);
  if (order === 'by uid') {
    const parts = studies
      .map((one) => ({ ...one, place: studyPartOf(one.key.pk) }))
      .filter(({ place }) => isWanted(place));
    const unique = [...new Map(parts.map((one) => [one.key.pk, one])).values()].sort(byPlace);
    for (const some of batches(unique, limit)) yield await read(some);
  } else if (studies.every(({ day }) => day !== undefined)) {
    const placed = studies.map((one) => ({ ...one, place: one.day ?? '' })).filter(({ place }) => isWanted(place));
    for (const some of batches(placed.sort(byPlace), limit)) yield await read(some);
  } else {
    const found = (await read(studies)).map((one) => ({ ...one, place: one.study.day ?? '' }));
    yield found.filter(({ place }) => isWanted(place)).sort(byPlace);
  }
}

function isBehind(order: StudyOrder, after: Place | undefined): (place: string) => boolean {
  if (after === undefined) return () => true;
  const uid = partOf(after.uids[0] ?? '');
  if (order === 'by uid') return (place) => compareBytes(place, uid) >= 0;
  const last = dayOf(after.date, uid);
  return (place) => compareBytes(place, last) > 0;
}

function* batches<T>(items: readonly T[], limit: number): Generator<readonly T[]> {
  let size = Math.min(READ_BATCH, Math.max(10, limit + 1));
  for (let at = 0; at < items.length; at += size, size = READ_BATCH) yield items.slice(at, at + size);
}

/** All studies, or those of the days that a key allows, month by month. */
async function* byDay(
  calls: Calls,
  { tenant, keys, after, limit }: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const range = datesOf(keys);
  const months = calls.pages<ItemKey>({
    partition: tenantPartition(tenant),
    range: { from: 'MONTH#', to: `MONTH#${LAST}` },
    meter,
  });
  const last = after && dayOf(after.date, partOf(after.uids[0] ?? ''));
  // Later dates come first.
  const days = {
    from: range?.to === undefined ? '' : dayPart(range.to),
    to: range?.from === undefined ? LAST : dayPart(range.from) + LAST,
  };
  let firstLimit = Math.min(1_000, limit + 1);
  for await (const page of months)
    for (const { sk } of page) {
      const month = sk.slice('MONTH#'.length);
      const isUnsure = month === unsureMonth;
      if (!isUnsure && (month < monthOf(days.from) || month > monthOf(days.to))) continue;
      if (last !== undefined && month < monthOf(last)) continue;
      const within = isUnsure ? { from: '0', to: LAST } : { from: days.from === '' ? '0' : days.from, to: days.to };
      const asked = {
        index: 'days',
        partition: monthPartition(tenant, month),
        range: behind(within, last),
        meter,
      } as const;
      for await (const studies of calls.pages<StudyItem>({ ...asked, firstLimit })) {
        firstLimit = 1_000;
        yield studies.map((study) => ({ study }));
      }
    }
}

/** All studies by their UIDs. */
async function* byUid(
  calls: Calls,
  { tenant, after, limit }: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const from = after === undefined ? SEPARATOR : listedStudy(partOf(after.uids[0] ?? ''));
  const firstLimit = Math.min(READ_BATCH, Math.max(10, limit + 1));
  const list = {
    index: 'lookups',
    partition: studyList(tenant),
    range: { from, to: LAST },
    meter,
    firstLimit,
  } as const;
  for await (const page of calls.pages<ItemKey>(list))
    for (const some of batches(page, limit)) {
      const items = await calls.getMany<StudyItem>(some, meter);
      const byPk = new Map(items.map((item) => [item.pk, item]));
      yield some
        .map(({ pk }) => byPk.get(pk))
        .filter((item) => item !== undefined && item.instanceCount > 0)
        .map((study) => ({ study: study! }));
    }
}

const byPlace = (a: { readonly place: string }, b: { readonly place: string }): number =>
  compareBytes(a.place, b.place);

/** As DynamoDB compares: by bytes of UTF-8, which is another order than that of UTF-16 where surrogates are. */
function compareBytes(a: string, b: string): number {
  if (/[\ud800-\uffff]/.test(a + b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : a > b ? 1 : 0;
}
