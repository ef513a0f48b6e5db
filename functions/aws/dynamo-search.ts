/**
 * Searching the index in DynamoDB: candidates come from the planner batch by batch, records are compared by compileMatch and by nothing else.
 * What one search may read is bounded in read units, so that no query costs more than READ_UNITS_LIMIT, and takes no longer than some seconds.
 */
import {
  checkQuery,
  inOrder,
  instanceMatch,
  type KeysByLevel,
  type Query,
  type SearchPage,
  seriesMatch,
  studyMatch,
  withAvailability,
} from '#shared/archive/query.ts';
import { inParallel } from '#shared/archive/walk.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { compileMatch, exactValues } from '#shared/dicom/matching.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Calls, Meter } from './dynamo-calls.ts';
import type { Candidate } from './dynamo-candidates.ts';
import { type SeriesItem, type StudyItem, seriesRecord, studyRecord } from './dynamo-derived.ts';
import { type InstanceItem, recordOf } from './dynamo-instances.ts';
import { behind, LAST, partOf, rangeOf, sortKey } from './dynamo-keys.ts';
import { candidateStudies } from './dynamo-search-plan.ts';

/** Read units that one search may use: 32 MB, which is some 60,000 studies as the index of days has them, or 8,000 that are read one by one. */
export const READ_UNITS_LIMIT = 4_000;

/** Matches behind a full page that are counted, where the candidates are few: half a read unit each. */
const COUNTED_LIMIT = 50;
/** Studies whose series are read at once. */
const STUDIES_AHEAD = 16;

/** Errors: `bad-request` (checkQuery), `too-large` past READ_UNITS_LIMIT. */
export async function search(calls: Calls, tenant: string, query: Query): Promise<SearchPage> {
  const keys = checkQuery(query);
  const page = new PageBuilder(query);
  const meter = boundedMeter();
  const order = query.level === 'study' ? 'newest first' : 'by uid';
  const limit = query.limit + query.offset;
  const wanted = { tenant, order, after: query.after, limit } as const;
  const { batches, areFew } = await candidateStudies(calls, keys, wanted, meter);
  if (areFew) page.countOn();
  const matches = compileMatch(keys.study);
  for await (const candidates of batches) {
    const found = candidates
      .map((candidate) => ({ ...candidate, match: matchOf(candidate.study) }))
      .filter(({ match }) => matches(match));
    if (query.level === 'study') for (const { match } of found) page.take(match);
    else await walkStudies(calls, query, keys, found, page, meter);
    if (page.isFull) break;
  }
  return page.result();
}

function boundedMeter(): Meter {
  return {
    readUnits: 0,
    check() {
      if (this.readUnits <= READ_UNITS_LIMIT) return;
      throw new ArchiveError(
        'too-large',
        'The search is too broad; narrow it by a patient ID, an accession number, a name, a date or a UID.',
        { readUnits: READ_UNITS_LIMIT },
      );
    },
  };
}

const matchOf = (item: StudyItem): DicomJson => studyMatch(studyRecord(item));

/** Skips, takes and counts. One match more than the page holds says that there are more. */
class PageBuilder {
  #skip: number;
  readonly #limit: number;
  readonly #found: DicomJson[] = [];
  /** Matches behind the page, as far as they were come upon. */
  #behind = 0;
  #behindTo = 0;

  constructor({ offset, limit }: Query) {
    this.#skip = offset;
    this.#limit = limit;
  }

  /** To be called when the candidates are few: matches behind the page are counted then, up to a bound. */
  countOn(): void {
    this.#behindTo = COUNTED_LIMIT;
  }

  /** Nothing more needs to be looked at. */
  get isFull(): boolean {
    return this.#behind > this.#behindTo;
  }

  /** Matches that are still to come before it is full, but not more than are well read at once. */
  get room(): number {
    return Math.min(1_000, Math.max(10, this.#skip + this.#limit - this.#found.length + 1));
  }

  /** Pixels in the cloud are there at once: what tiers will change. */
  take(match: DicomJson): void {
    if (this.#skip > 0) this.#skip--;
    else if (this.#found.length < this.#limit) this.#found.push(inOrder(withAvailability(match, 'ONLINE')));
    else if (!this.isFull) this.#behind++;
  }

  /** Passes over `count` matches unseen, if the page begins behind all of them. */
  skipAll(count: number): boolean {
    if (count > this.#skip) return false;
    this.#skip -= count;
    return true;
  }

  result(): SearchPage {
    const page = { matches: this.#found, more: this.#behind > 0 };
    return page.more && !this.isFull ? { ...page, remaining: this.#behind } : page;
  }
}

interface Found extends Candidate {
  readonly match: DicomJson;
}

async function walkStudies(
  calls: Calls,
  query: Query,
  keys: KeysByLevel,
  studies: readonly Found[],
  page: PageBuilder,
  meter: Meter,
): Promise<void> {
  const isAll = keys.study.length + keys.series.length + keys.instance.length === 0;
  const goneOnIn = query.after === undefined ? undefined : partOf(query.after.uids[0] ?? '');
  // Of the study that is gone on in, only a part comes; behind one of which a part is skipped, nothing is.
  const begin = studies.findIndex(({ study }) => {
    if (!isAll || study.pk.endsWith(`#${goneOnIn}`)) return true;
    return !page.skipAll(query.level === 'series' ? study.seriesCount : study.instanceCount);
  });
  const left = begin < 0 ? [] : studies.slice(begin);
  for (let at = 0, ahead = 2; at < left.length && !page.isFull; at += ahead, ahead = STUDIES_AHEAD) {
    const some = left.slice(at, at + ahead);
    const series = await inParallel(some, (found) => seriesOf(calls, keys, found, meter));
    for (const [i, found] of some.entries()) {
      await walkSeries(calls, query, keys, found, series[i] ?? [], page, meter);
      if (page.isFull) return;
    }
  }
}

async function seriesOf(calls: Calls, keys: KeysByLevel, { study }: Found, meter: Meter): Promise<SeriesItem[]> {
  const named = keys.series.find(({ path }) => path.length === 1 && path[0] === 0x0020000e);
  const uids = named && exactValues(named);
  const items =
    uids !== undefined && uids.length <= study.seriesCount
      ? await calls.getMany<SeriesItem>(
          uids.map((uid) => ({ pk: study.pk, sk: sortKey('SERIES', uid) })),
          meter,
        )
      : await calls.first<SeriesItem>(
          { partition: study.pk, range: rangeOf('SERIES'), meter },
          Number.POSITIVE_INFINITY,
        );
  return items.filter(({ instanceCount }) => instanceCount > 0).sort((a, b) => (a.sk < b.sk ? -1 : 1));
}

async function walkSeries(
  calls: Calls,
  { level, after }: Query,
  keys: KeysByLevel,
  { study, match: ofStudy, instances }: Found,
  all: readonly SeriesItem[],
  page: PageBuilder,
  meter: Meter,
): Promise<void> {
  const matches = compileMatch(keys.series);
  const [studyUid, seriesUid, instanceUid] = after?.uids ?? [];
  const isGoneOn = studyUid !== undefined && study.pk.endsWith(`#${partOf(studyUid)}`);
  const from = isGoneOn ? sortKey('SERIES', seriesUid ?? '') : '';
  const found = all
    .filter(({ sk }) => (level === 'series' ? sk > from : sk >= from))
    .map((item) => ({ item, match: seriesMatch(ofStudy, seriesRecord(item)) }))
    .filter(({ match }) => matches(match));
  if (level === 'series') {
    for (const { match } of found) page.take(match);
    return;
  }
  const ofInstance = compileMatch(keys.instance);
  for (const { item, match: ofSeries } of found) {
    const ofThis = isGoneOn && item.sk === from ? instanceUid : undefined;
    if (keys.instance.length === 0 && ofThis === undefined && page.skipAll(item.instanceCount)) continue;
    for await (const items of instancesOf(calls, item, ofThis, instances, page, meter)) {
      for (const instance of items) {
        const match = instanceMatch(ofSeries, recordOf(instance));
        if (ofInstance(match)) page.take(match);
      }
      if (page.isFull) return;
    }
  }
}

/** Of a series, behind `after`: all of them page by page, or those that are known to be the only ones that matter. */
async function* instancesOf(
  calls: Calls,
  series: SeriesItem,
  after: string | undefined,
  only: readonly string[] | undefined,
  page: PageBuilder,
  meter: Meter,
): AsyncGenerator<readonly InstanceItem[], void, void> {
  const seriesPart = series.sk.slice('SERIES#'.length);
  const prefix = `INSTANCE#${seriesPart}#`;
  const last = after === undefined ? undefined : prefix + partOf(after);
  if (only === undefined) {
    const range = behind({ from: prefix, to: prefix + LAST }, last);
    yield* calls.pages<InstanceItem>({ partition: series.pk, range, meter, firstLimit: page.room });
    return;
  }
  const keys = only.filter((sk) => sk.startsWith(prefix) && (last === undefined || sk > last));
  const items = await calls.getMany<InstanceItem>(
    keys.map((sk) => ({ pk: series.pk, sk })),
    meter,
  );
  yield items.sort((a, b) => (a.sk < b.sk ? -1 : 1));
}
