/**
 * Series and study records in DynamoDB, derived from the level below. Each has a version: it is read before what is counted, and what was
 * counted is written on the condition that it is still the same; so nobody who has counted earlier can write later. Every recount writes,
 * also when nothing has changed, since otherwise such a one could.
 *
 * Cost: the instances of a series are read, some twelve to two read units (COST); recounts of one series, or of one study, at the
 * same time in one process are one.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import {
  arrivedBefore,
  attributesOf,
  type SeriesRecord,
  type SeriesRef,
  type StudyRecord,
} from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { trim } from '#shared/dicom/match-condition.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Calls, Condition, Timing } from './dynamo-calls.ts';
import { type InstanceItem, instancesOf, uidLookup } from './dynamo-instances.ts';
import { packAttributes, unpackAttributes, withAttributes } from './dynamo-items.ts';
import {
  type ItemKey,
  partOf,
  rangeOf,
  seriesKey,
  studyKey,
  studyPartition,
  tenantOf,
  tenantPartition,
  uidsOf,
  uidsToSay,
} from './dynamo-keys.ts';
import {
  attemptPrefix,
  listedStudy,
  lookupItems,
  lookupsOf,
  lookupsUpTo,
  monthOf,
  monthPartition,
  studyDay,
  studyList,
} from './dynamo-lookups.ts';

type AggregateTable = Pick<ArchiveIndex, 'recount' | 'getStudy' | 'getSeries' | 'listSeries'>;

export interface SeriesItem extends ItemKey {
  readonly uids?: string;
  readonly version: number;
  readonly instanceCount: number;
  /** Attributes of the series, out of its first instance. */
  readonly data: Uint8Array;
  /** Attributes that the study has if this series is its first. */
  readonly studyData: Uint8Array;
  readonly modalities: readonly string[];
  readonly classes: readonly string[];
  /** Where the first instance is. */
  readonly pack: string;
  readonly offset: number;
}

/** As the index of days has it, too, without what is of no use to a search. */
export interface StudyItem extends ItemKey {
  readonly uids?: string;
  readonly seriesCount: number;
  readonly instanceCount: number;
  readonly data: Uint8Array;
  readonly modalities: readonly string[];
  readonly classes: readonly string[];
  readonly day?: string;
}

interface StoredStudyItem extends StudyItem {
  readonly version: number;
  /** Of what leads to it, and of where it stands: what has not changed is not written anew. */
  readonly lookupHash?: string;
  readonly lookupAttempt?: string;
}

/** An item has room for no more; the standard has 200 SOP Classes, and a modality is one of some 80. */
const MAXIMUM_LIST = 1_000;
/** Rounds of two who recount the same are few: each has been beaten by somebody who has succeeded. */
const MAXIMUM_ROUNDS = 200;
const LONGEST_PAUSE_MS = 500;

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
    const at = seriesKey(tenant, ref);
    const known = await calls.get<SeriesItem>(at);
    const { count, classes, first } = await countInstances(tenant, ref);
    const attributes = unpackAttributes(first?.data);
    const ofSeries = attributesOf('series', attributes);
    const version = (known?.version ?? 0) + 1;
    const written = await calls.put<SeriesItem>(
      {
        ...at,
        ...uidsToSay([ref.studyInstanceUid, ref.seriesInstanceUid]),
        version,
        instanceCount: count,
        data: packAttributes(ofSeries),
        studyData: packAttributes(attributesOf('study', attributes)),
        modalities: textsOf(ofSeries['00080060']),
        classes: [...classes].sort().slice(0, MAXIMUM_LIST),
        pack: first?.pack ?? '',
        offset: first?.offset ?? 0,
        ...(count > 0 && { lookup: uidLookup(tenant, ref.seriesInstanceUid), found: 'SERIES' }),
      },
      isStill(known?.version),
    );
    return written.isDone;
  }

  async function countInstances(tenant: string, ref: SeriesRef) {
    type Counted = Pick<InstanceItem, 'class' | 'pack' | 'offset' | 'data'>;
    // The same read units as without the data, and no second question for those of the first.
    const only = ['class', 'pack', 'offset', 'data'];
    const classes = new Set<string>();
    let count = 0;
    let first: Counted | undefined;
    const asked = { partition: studyPartition(tenant, ref), range: instancesOf(ref), only };
    for await (const page of calls.pages<Counted>(asked))
      for (const item of page) {
        count++;
        classes.add(item.class);
        if (first === undefined || arrivedBefore(placeOf(item), placeOf(first))) first = item;
      }
    return { count, classes, first };
  }

  async function recountStudy(tenant: string, ref: SeriesRef): Promise<boolean> {
    const at = studyKey(tenant, ref);
    const known = await calls.get<StoredStudyItem>(at);
    const all = await seriesOf(tenant, ref);
    const present = all.filter(({ instanceCount }) => instanceCount > 0);
    const first = present.reduce<SeriesItem | undefined>(
      (a, b) => (a === undefined || arrivedBefore(placeOf(b), placeOf(a)) ? b : a),
      undefined,
    );
    const attributes = unpackAttributes(first?.studyData);
    const isShown = first !== undefined;
    const version = (known?.version ?? 0) + 1;
    const day = studyDay(attributes, ref.studyInstanceUid);
    const lookups = isShown ? lookupsOf(attributes) : [];
    const lookupHash = createHash('sha256')
      .update(JSON.stringify([isShown, day, lookups]))
      .digest('base64url');
    const isSame = known?.lookupHash === lookupHash;
    const attempt = { version, writer: randomBytes(6).toString('base64url'), day };
    const own = isSame ? [] : lookupItems(tenant, at.pk, attempt, lookups);
    if (isShown && !isSame) {
      await noteMonth(tenant, monthOf(day));
      await calls.writeMany(own);
    }
    const lookupAttempt = isSame ? known?.lookupAttempt : attemptPrefix(attempt);
    const written = await calls.put<StoredStudyItem>(
      {
        ...at,
        ...uidsToSay([ref.studyInstanceUid]),
        version,
        lookupHash,
        lookupAttempt,
        seriesCount: present.length,
        instanceCount: present.reduce((sum, { instanceCount }) => sum + instanceCount, 0),
        data: first?.studyData ?? packAttributes({}),
        modalities: sortedUnique(present.flatMap(({ modalities }) => modalities)),
        classes: sortedUnique(present.flatMap(({ classes }) => classes)),
        ...(isShown && {
          month: monthPartition(tenant, monthOf(day)),
          day,
          lookup: studyList(tenant),
          found: listedStudy(partOf(ref.studyInstanceUid)),
        }),
      },
      isStill(known?.version),
    );
    if (!written.isDone) await calls.writeMany([], own);
    else if (known !== undefined && !isSame) await removeLookups(at.pk, version, lookupAttempt ?? '');
    return written.isDone;
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
    const name = `${tenant} ${month}`;
    if (months.has(name)) return;
    await calls.writeMany([{ pk: tenantPartition(tenant), sk: `MONTH#${month}` }]);
    months.add(name);
  }

  const seriesOf = (tenant: string, ref: { readonly studyInstanceUid: string }): Promise<SeriesItem[]> =>
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

const placeOf = ({ pack, offset }: { readonly pack: string; readonly offset: number }) => ({
  packId: pack,
  offsetBytes: offset,
});

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

export function studyRecord(item: StudyItem): StudyRecord {
  const [studyInstanceUid = ''] = uidsOf(item);
  return withAttributes(
    {
      tenant: tenantOf(item.pk),
      studyInstanceUid,
      modalities: item.modalities,
      sopClassUids: item.classes,
      seriesCount: item.seriesCount,
      instanceCount: item.instanceCount,
    },
    item.data,
  );
}

export function seriesRecord(item: SeriesItem): SeriesRecord {
  const [studyInstanceUid = '', seriesInstanceUid = ''] = uidsOf(item);
  const { pk, data, instanceCount } = item;
  return withAttributes({ tenant: tenantOf(pk), studyInstanceUid, seriesInstanceUid, instanceCount }, data);
}

const sortedUnique = (values: readonly string[]): string[] => [...new Set(values)].sort().slice(0, MAXIMUM_LIST);

function textsOf(element: DicomJson[string] | undefined): string[] {
  return (element?.Value ?? [])
    .filter((value) => typeof value === 'string')
    .map(trim)
    .filter((text) => text !== '');
}
