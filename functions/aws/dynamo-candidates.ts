/**
 * Studies in the order in which a search wants them, each once, batch by batch as they are needed: those that entries of an index lead to, those
 * of some days, or all. They are read at most a batch ahead; of which way to go dynamo-search-plan.ts decides.
 */
import type { Place } from '#shared/archive/query.ts';
import { inParallel } from '#shared/archive/walk.ts';
import type { Calls, Meter } from './dynamo-calls.ts';
import type { StudyItem } from './dynamo-derived.ts';
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
import { dayOf, dayPart, listedStudy, monthOf, monthPartition, studyList, unsureMonth } from './dynamo-lookups.ts';

/** `YYYYMMDD`, both ends included. */
export interface Dates {
  readonly from?: string;
  readonly to?: string;
}

export type StudyOrder = 'newest first' | 'by uid';

export interface Wanted {
  readonly tenant: string;
  /** The days that a key allows; undefined: any. */
  readonly dates: Dates | undefined;
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

export interface Entry extends ItemKey {
  /** In the index of lookups: a value, and where its study stands. */
  readonly found?: string;
}

/** Entries of an index that are worth collecting before anything is looked at: some 130 read units. */
export const COLLECTED = 5_000;
const READ_BATCH = 100;
/** Of a month, at first. */
const FIRST_STUDIES = 1_000;
const MONTHS_AHEAD = 16;
const ANY_DAY: Range = { from: '0', to: LAST };

/** Where an entry says that its study stands: what is behind the value. */
function dayOfEntry({ found = '' }: Entry): string | undefined {
  const at = found.indexOf(SEPARATOR);
  return at < 0 ? undefined : found.slice(at + 1);
}

export async function* byEntries(
  calls: Calls,
  entries: readonly Entry[],
  wanted: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const instances = new Map<string, string[]>();
  for (const { pk, sk } of entries)
    if (sk.startsWith('INSTANCE#')) instances.set(pk, [...(instances.get(pk) ?? []), sk]);
  const studies = new Map<string, { key: ItemKey; day?: string; instances?: readonly string[] }>();
  const days = daysOf(wanted.dates);
  for (const entry of entries) {
    const day = dayOfEntry(entry);
    const isOther = day !== undefined && monthOf(day) !== unsureMonth && (day < days.from || day > days.to);
    if (isOther) continue;
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
export async function* byKeys(
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
  if (order === 'by uid') return (place) => place >= uid;
  const last = dayOf(after.date, uid);
  return (place) => place > last;
}

function* batches<T>(items: readonly T[], limit: number): Generator<readonly T[]> {
  let size = Math.min(READ_BATCH, Math.max(10, limit + 1));
  for (let at = 0; at < items.length; at += size, size = READ_BATCH) yield items.slice(at, at + size);
}

/** All studies, or those of the days that a key allows, month by month; of months with few studies several at once. */
export async function* byDay(
  calls: Calls,
  { tenant, dates, after, limit }: Wanted,
  meter: Meter,
): AsyncGenerator<readonly Candidate[], void, void> {
  const last = after && dayOf(after.date, partOf(after.uids[0] ?? ''));
  const months = await monthsOf(calls, tenant, dates, last, meter);
  const days = daysOf(dates);
  const firstLimit = Math.min(FIRST_STUDIES, limit + 1);
  for (let at = 0, ahead = 1; at < months.length; ) {
    const some = months.slice(at, at + ahead);
    at += ahead;
    const begun = await inParallel(some, async (month) => {
      const range = behind(month === unsureMonth ? ANY_DAY : days, last);
      const asked = { index: 'days', partition: monthPartition(tenant, month), range, meter, firstLimit } as const;
      const pages = calls.pages<StudyItem>(asked);
      return { pages, first: await pages.next() };
    });
    let found = 0;
    for (const { pages, first } of begun) {
      if (first.done === true) continue;
      found += first.value.length;
      yield first.value.map((study) => ({ study }));
      for await (const page of pages) yield page.map((study) => ({ study }));
    }
    if (found < limit) ahead = Math.min(MONTHS_AHEAD, 2 * ahead);
  }
}

/** Those in which there are studies, as far as they are wanted: the latest first. */
async function monthsOf(
  calls: Calls,
  tenant: string,
  dates: Dates | undefined,
  last: string | undefined,
  meter: Meter,
): Promise<string[]> {
  const range = { from: 'MONTH#', to: `MONTH#${LAST}` };
  const asked = { partition: tenantPartition(tenant), range, meter };
  const { from, to } = daysOf(dates);
  return (await calls.first<ItemKey>(asked, Number.POSITIVE_INFINITY))
    .map(({ sk }) => sk.slice('MONTH#'.length))
    .filter((month) => month === unsureMonth || (month >= monthOf(from) && month <= monthOf(to)))
    .filter((month) => last === undefined || month >= monthOf(last));
}

/** Later dates come first. */
const daysOf = (dates: Dates | undefined): Range => ({
  from: dates?.to === undefined ? ANY_DAY.from : dayPart(dates.to),
  to: dates?.from === undefined ? ANY_DAY.to : dayPart(dates.from) + LAST,
});

/** All studies by their UIDs. */
export async function* byUid(
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
  a.place < b.place ? -1 : a.place > b.place ? 1 : 0;

/** The studies of the days that a key allows; undefined when there are too many. */
export async function collectDays(
  calls: Calls,
  wanted: Wanted,
  meter: Meter,
): Promise<readonly StudyItem[] | undefined> {
  const studies: StudyItem[] = [];
  for await (const batch of byDay(calls, { ...wanted, after: undefined, limit: COLLECTED }, meter)) {
    studies.push(...batch.map(({ study }) => study));
    if (studies.length > COLLECTED) return undefined;
  }
  return studies;
}

export async function* sortedByUid(
  studies: readonly StudyItem[],
  { order, after, limit }: Wanted,
): AsyncGenerator<readonly Candidate[], void, void> {
  const isWanted = isBehind(order, after);
  const placed = studies
    .map((study) => ({ study, place: studyPartOf(study.pk) }))
    .filter(({ place }) => isWanted(place));
  yield* batches(placed.sort(byPlace), limit);
}
