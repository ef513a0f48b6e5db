/**
 * Series and study records in DynamoDB, derived from the level below. Each has a version: it is read before what is counted, and what was
 * counted is written on the condition that it is still the same; so nobody who has counted earlier can write later. Every recount writes,
 * also when nothing has changed, since otherwise such a one could.
 *
 * Cost: the items of a series' instances are read, each of some 600 bytes: 10,000 of them are 1,500 read units and seven requests, and
 * nothing more than 300 are fifty and one. Recounts of one series, or of one study, at the same time in one process are one.
 */
import { randomBytes } from 'node:crypto';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Calls, Condition } from './dynamo-calls.ts';
import {
  type Counted,
  countedAttributes,
  countOne,
  derivedSeries,
  derivedStudy,
  type SeriesCount,
  type SeriesItem,
  type StoredStudyItem,
  type StudyItem,
  seriesRecord,
  studyRecord,
} from './dynamo-derived.ts';
import { instancesOf } from './dynamo-instances.ts';
import { type ItemKey, rangeOf, seriesKey, studyKey, studyPartition } from './dynamo-keys.ts';
import { lookupsUpTo, monthKey } from './dynamo-lookups.ts';
import type { Timing } from './retry.ts';

type AggregateTable = Pick<ArchiveIndex, 'recount' | 'getStudy' | 'getSeries' | 'listSeries'>;

/** Rounds of two who recount the same are few: each has been beaten by somebody who has succeeded. */
const MAXIMUM_ROUNDS = 200;
const LONGEST_PAUSE_MS = 500;
/** Of the word by which an attempt is told from others. */
const WRITER_BYTES = 6;
/** Months that one process remembers to have noted. */
const MAXIMUM_MONTHS = 10_000;

export function createAggregateTable(calls: Calls, timing: Timing): AggregateTable {
  /** Months that are known to be in the table. */
  const months = new Set<string>();

  /** Tries until nobody was faster. */
  async function settle(attempt: () => Promise<boolean>): Promise<void> {
    for (let round = 0; round < MAXIMUM_ROUNDS; round++) {
      if (await attempt()) return;
      await timing.sleep(timing.random() * Math.min(LONGEST_PAUSE_MS, 2 ** Math.min(round, 12)));
    }
    throw new ArchiveError('unavailable', 'The index does not come to rest on this study; try again later.');
  }

  async function recountSeries(tenant: string, ref: SeriesRef): Promise<boolean> {
    const known = await calls.get<SeriesItem>(seriesKey(tenant, ref));
    const counted: SeriesCount = { count: 0, classes: new Set(), first: undefined };
    // The data of all cost nothing: units are those of whole items, whatever is wanted of them.
    const asked = { partition: studyPartition(tenant, ref), range: instancesOf(ref), only: countedAttributes };
    for await (const page of calls.pages<Counted>(asked)) for (const item of page) countOne(counted, item);
    const item = derivedSeries(tenant, ref, counted, (known?.version ?? 0) + 1);
    return (await calls.put<SeriesItem>(item, isStill(known?.version))).isDone;
  }

  async function recountStudy(tenant: string, ref: StudyRef): Promise<boolean> {
    const { pk, sk } = studyKey(tenant, ref);
    const known = await calls.get<StoredStudyItem>({ pk, sk });
    const writer = randomBytes(WRITER_BYTES).toString('base64url');
    const { item, lookups, month } = derivedStudy(tenant, ref, await seriesOf(tenant, ref), known, writer);
    if (month !== undefined) await noteMonth(tenant, month);
    if (lookups.length > 0) await calls.writeMany(lookups);
    const { isDone } = await calls.put<StoredStudyItem>(item, isStill(known?.version));
    if (!isDone) await calls.writeMany([], lookups);
    else if (known !== undefined && known.lookupHash !== item.lookupHash)
      await removeLookups(pk, item.version, item.lookupAttempt ?? '');
    return isDone;
  }

  /** All that do not lead to the study any more, and what has been left by whoever did not come to the end of an attempt. */
  async function removeLookups(pk: string, version: number, kept: string): Promise<void> {
    const asked = { partition: pk, range: lookupsUpTo(version), only: ['pk', 'sk'] };
    for await (const page of calls.pages<ItemKey>(asked))
      await calls.writeMany(
        [],
        page.filter(({ sk }) => !sk.startsWith(kept)),
      );
  }

  /** So that a walk through all days knows which months there are. */
  async function noteMonth(tenant: string, month: string): Promise<void> {
    const at = monthKey(tenant, month);
    const name = at.pk + at.sk;
    if (months.has(name)) return;
    await calls.writeMany([at]);
    if (months.size >= MAXIMUM_MONTHS) months.clear();
    months.add(name);
  }

  const seriesOf = (tenant: string, ref: StudyRef): Promise<SeriesItem[]> =>
    calls.first<SeriesItem>(
      { partition: studyPartition(tenant, ref), range: rangeOf('SERIES') },
      Number.POSITIVE_INFINITY,
    );

  const inTurn = createTurns();

  return {
    async recount(tenant, ref) {
      const { studyInstanceUid, seriesInstanceUid } = ref;
      await inTurn(JSON.stringify([tenant, studyInstanceUid, seriesInstanceUid]), () =>
        settle(() => recountSeries(tenant, ref)),
      );
      await inTurn(JSON.stringify([tenant, studyInstanceUid]), () => settle(() => recountStudy(tenant, ref)));
    },

    async getStudy(tenant, ref) {
      const item = await calls.get<StudyItem>(studyKey(tenant, ref));
      return item === undefined || item.instanceCount === 0 ? undefined : studyRecord(item);
    },

    async getSeries(tenant, ref) {
      const item = await calls.get<SeriesItem>(seriesKey(tenant, ref));
      return item === undefined || item.instanceCount === 0 ? undefined : seriesRecord(item);
    },

    listSeries: async (tenant, ref) =>
      (await seriesOf(tenant, ref)).filter(({ instanceCount }) => instanceCount > 0).map(seriesRecord),
  };
}

const isStill = (version: number | undefined): Condition =>
  version === undefined
    ? { text: 'attribute_not_exists(pk)' }
    : { text: '#version = :version', names: { '#version': 'version' }, values: { ':version': version } };

/** Work of one name at a time: whoever asks for it while it is done is served, with all others who do, by the next turn. */
function createTurns(): (name: string, work: () => Promise<void>) => Promise<void> {
  const running = new Map<string, Promise<void>>();
  const waiting = new Map<string, Promise<void>>();
  return (name, work) => {
    const start = (): Promise<void> => {
      waiting.delete(name);
      const done = work().finally(() => {
        if (running.get(name) === done) running.delete(name);
      });
      running.set(name, done);
      return done;
    };
    const current = running.get(name);
    if (current === undefined) return start();
    const next = waiting.get(name) ?? current.then(start, start);
    waiting.set(name, next);
    return next;
  };
}
