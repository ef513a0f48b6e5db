/**
 * Instance records in DynamoDB: an item for the current record of each instance, and one for each conflict in another range of keys, so
 * that whoever lists or counts instances does not read conflicts. Each write is on the condition of its own item.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { arrivedBefore, type InstanceRecord, type InstanceRef, type SeriesRef } from '#shared/archive/records.ts';
import { inParallel } from '#shared/archive/walk.ts';
import type { Calls, Condition } from './dynamo-calls.ts';
import { packAttributes, withAttributes } from './dynamo-items.ts';
import {
  behind,
  type ItemKey,
  instanceKey,
  joined,
  LAST,
  partOf,
  rangeOf,
  readCursor,
  sortKey,
  studyPartition,
  tenantOf,
  uidsOf,
  uidsToSay,
} from './dynamo-keys.ts';

/** An instance as an item, current or in conflict. Names are short: each is stored with every instance. */
export interface InstanceItem extends ItemKey {
  readonly uids?: string;
  readonly class: string;
  readonly syntax: string;
  readonly digest: string | Uint8Array;
  readonly pack: string;
  readonly offset: number;
  readonly length: number;
  readonly header: number;
  readonly data: Uint8Array;
}

type InstanceTable = Pick<
  ArchiveIndex,
  | 'createInstances'
  | 'replaceCurrent'
  | 'replaceConflict'
  | 'deleteConflict'
  | 'deleteCurrent'
  | 'getInstance'
  | 'getVersions'
  | 'listInstances'
  | 'listConflicts'
>;

const absent: Condition = { text: 'attribute_not_exists(pk)' };

export function createInstanceTable(calls: Calls): InstanceTable {
  async function createOne(record: InstanceRecord): Promise<InstanceRecord | undefined> {
    for (;;) {
      const written = await calls.put<InstanceItem>(itemOf(record), absent);
      if (written.isDone) return undefined;
      // Gone again since the condition failed on it.
      if (written.item !== undefined) return recordOf(written.item);
    }
  }

  async function replace(
    record: InstanceRecord,
    expected: { readonly digest?: string; readonly packId: string; readonly offsetBytes: number },
  ): Promise<boolean> {
    return (await calls.put<InstanceItem>(itemOf(record), at(expected))).isDone;
  }

  async function remove(record: InstanceRecord): Promise<boolean> {
    return (await calls.delete<InstanceItem>(keyOf(record), at(record))).isDone;
  }

  async function get(tenant: string, ref: InstanceRef): Promise<InstanceRecord | undefined> {
    const item = await calls.get<InstanceItem>(instanceKey(tenant, ref));
    return item && recordOf(item);
  }

  return {
    async createInstances(records) {
      // Of several under one key the first of the list is first.
      const ofKeys = Map.groupBy(records.entries(), ([, record]) => JSON.stringify(keyOf(record)));
      const known: (InstanceRecord | undefined)[] = records.map(() => undefined);
      await inParallel([...ofKeys.values()], async (ofOne) => {
        for (const [i, record] of ofOne) known[i] = await createOne(record);
      });
      return known;
    },

    replaceCurrent: (record, expected) => replace(record, expected),
    replaceConflict: (record, { packId, offsetBytes }) => replace(record, { packId, offsetBytes }),
    deleteConflict: (record) => remove({ ...placeOf(record), state: 'conflict' } as InstanceRecord),
    deleteCurrent: (record) => remove({ ...placeOf(record), state: 'current' } as InstanceRecord),
    getInstance: get,

    async getVersions(tenant, ref) {
      const range = rangeOf('CONFLICT', ref.seriesInstanceUid, ref.sopInstanceUid);
      const [current, conflicts] = await Promise.all([
        get(tenant, ref),
        calls.first<InstanceItem>({ partition: studyPartition(tenant, ref), range }, Number.POSITIVE_INFINITY),
      ]);
      const sorted = conflicts.map(recordOf).sort((a, b) => (arrivedBefore(a, b) ? -1 : 1));
      return current === undefined ? sorted : [current, ...sorted];
    },

    async listInstances(tenant, ref, { limit, after }) {
      const cursor = readCursor(after, ['', '']);
      const all = 'seriesInstanceUid' in ref ? rangeOf('INSTANCE', ref.seriesInstanceUid) : rangeOf('INSTANCE');
      const range = behind(all, cursor && sortKey('INSTANCE', ...cursor));
      const partition = studyPartition(tenant, ref);
      const found = (await calls.first<InstanceItem>({ partition, range }, limit + 1)).map(recordOf);
      const items = found.slice(0, limit);
      const last = items.at(-1);
      const isMore = found.length > limit && last !== undefined;
      return { items, next: isMore ? JSON.stringify([last.seriesInstanceUid, last.sopInstanceUid]) : undefined };
    },

    async listConflicts(tenant, limit) {
      const asked = {
        index: 'lists',
        partition: conflictList(tenant),
        range: { from: ' ', to: LAST },
      } as const;
      const [count, items] = await Promise.all([calls.count(asked), calls.first<InstanceItem>(asked, limit)]);
      return { count, records: items.map(recordOf) };
    },
  };
}

const conflictList = (tenant: string): string => `${tenant}#conflicts`;

/** That the record is still the expected one. */
const at = (expected: { digest?: string; packId: string; offsetBytes: number }): Condition => {
  const values = { ':pack': expected.packId, ':offset': expected.offsetBytes };
  const text = '#pack = :pack AND #offset = :offset';
  const names = { '#pack': 'pack', '#offset': 'offset' };
  if (expected.digest === undefined) return { text, names, values };
  return {
    text: `${text} AND #digest = :digest`,
    names: { ...names, '#digest': 'digest' },
    values: { ...values, ':digest': storedDigest(expected.digest) },
  };
};

/** What a record is found again by: its attributes are not looked at. */
const placeOf = (record: InstanceRecord): Omit<InstanceRecord, 'attributes' | 'state'> => ({
  tenant: record.tenant,
  studyInstanceUid: record.studyInstanceUid,
  seriesInstanceUid: record.seriesInstanceUid,
  sopInstanceUid: record.sopInstanceUid,
  sopClassUid: record.sopClassUid,
  transferSyntaxUid: record.transferSyntaxUid,
  digest: record.digest,
  packId: record.packId,
  offsetBytes: record.offsetBytes,
  lengthBytes: record.lengthBytes,
  dataSetOffsetBytes: record.dataSetOffsetBytes,
});

function keyOf(record: InstanceRecord): ItemKey {
  if (record.state === 'current') return instanceKey(record.tenant, record);
  const sk = sortKey('CONFLICT', record.seriesInstanceUid, record.sopInstanceUid, record.digest);
  return { pk: studyPartition(record.tenant, record), sk };
}

/** Half the bytes of hexadecimal digits; what is none stays as it is. */
const storedDigest = (digest: string): string | Uint8Array =>
  /^[0-9a-f]{64}$/.test(digest) ? Buffer.from(digest, 'hex') : digest;

const digestOf = (stored: string | Uint8Array): string =>
  typeof stored === 'string' ? stored : Buffer.from(stored).toString('hex');

/** What instances and tombstones keep alike. */
export const storedFields = (record: Omit<InstanceRecord, 'state'>) => ({
  ...uidsToSay([record.studyInstanceUid, record.seriesInstanceUid, record.sopInstanceUid]),
  class: record.sopClassUid,
  syntax: record.transferSyntaxUid,
  digest: storedDigest(record.digest),
  pack: record.packId,
  offset: record.offsetBytes,
  length: record.lengthBytes,
  header: record.dataSetOffsetBytes,
  data: packAttributes(record.attributes),
});

/** The lookup by which instances and series are found by their UIDs alone. */
export const uidLookup = (tenant: string, uid: string): string => `${tenant}#uid#${partOf(uid)}`;

/** The item of a record. */
export function itemOf(record: InstanceRecord): InstanceItem & { [name: string]: string | number | Uint8Array } {
  const { tenant, studyInstanceUid, seriesInstanceUid, sopInstanceUid } = record;
  const found =
    record.state === 'current'
      ? { lookup: uidLookup(tenant, sopInstanceUid), found: 'INSTANCE' }
      : {
          list: conflictList(tenant),
          place: joined(studyInstanceUid, seriesInstanceUid, sopInstanceUid, record.digest),
        };
  return { ...keyOf(record), ...storedFields(record), ...found };
}

export function recordOf(item: InstanceItem): InstanceRecord {
  return withAttributes(
    { ...fieldsOf(item), state: item.sk.startsWith('INSTANCE#') ? ('current' as const) : ('conflict' as const) },
    item.data,
  );
}

export function fieldsOf(item: InstanceItem): Omit<InstanceRecord, 'attributes' | 'state'> {
  const [studyInstanceUid = '', seriesInstanceUid = '', sopInstanceUid = ''] = uidsOf(item);
  return {
    tenant: tenantOf(item.pk),
    studyInstanceUid,
    seriesInstanceUid,
    sopInstanceUid,
    sopClassUid: item.class,
    transferSyntaxUid: item.syntax,
    digest: digestOf(item.digest),
    packId: item.pack,
    offsetBytes: item.offset,
    lengthBytes: item.length,
    dataSetOffsetBytes: item.header,
  };
}

/** Of the series, all. */
export const instancesOf = (ref: SeriesRef) => rangeOf('INSTANCE', ref.seriesInstanceUid);
