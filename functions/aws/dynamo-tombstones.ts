/**
 * Tombstones in DynamoDB: in the item collection of their study for whoever looks one up, in an index by change for who is to be told of them,
 * and, while they wait to be purged, in an index by deletion.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Tombstone, TombstoneState } from '#shared/archive/records.ts';
import { inParallel } from '#shared/archive/walk.ts';
import type { Calls } from './dynamo-calls.ts';
import { fieldsOf, type InstanceItem, storedFields } from './dynamo-instances.ts';
import { withAttributes } from './dynamo-items.ts';
import {
  behind,
  joined,
  LAST,
  momentPart,
  rangeOf,
  readCursor,
  SEPARATOR,
  sortKey,
  studyPartition,
} from './dynamo-keys.ts';

type TombstoneTable = Pick<
  ArchiveIndex,
  'createTombstones' | 'updateTombstone' | 'listTombstones' | 'changedTombstones' | 'tombstonesToPurge'
>;

interface TombstoneItem extends Omit<InstanceItem, 'data'> {
  readonly data?: Uint8Array;
  readonly state: TombstoneState;
  readonly deletedAtMs: number;
  readonly changedAtMs: number;
}

type Place = Pick<Tombstone, 'tenant' | 'studyInstanceUid' | 'seriesInstanceUid' | 'sopInstanceUid' | 'packId'>;

export function createTombstoneTable(calls: Calls): TombstoneTable {
  /** A page of items, and the cursor behind the last of them. */
  async function pageOf(
    asked: Parameters<Calls['pages']>[0],
    limit: number,
    cursorOf: (tombstone: Tombstone) => readonly (string | number)[],
  ) {
    const found = (await calls.first<TombstoneItem>(asked, limit + 1)).map(tombstoneOf);
    const items = found.slice(0, limit);
    const last = items.at(-1);
    const isMore = found.length > limit && last !== undefined;
    return { items, next: isMore ? JSON.stringify(cursorOf(last)) : undefined };
  }

  return {
    async createTombstones(tombstones) {
      const ofKeys = Map.groupBy(tombstones, (tombstone) => JSON.stringify(keyOf(tombstone)));
      await inParallel([...ofKeys.values()], async (ofOne) => {
        for (const tombstone of ofOne)
          await calls.put<TombstoneItem>(itemOf(tombstone), {
            text: 'attribute_not_exists(pk) OR #state = :restored',
            names: { '#state': 'state' },
            values: { ':restored': 'restored' },
          });
      });
    },

    async updateTombstone(tombstone, from, { state, changedAtMs }) {
      if (from.length === 0) return false;
      const change = {
        state,
        changedAtMs,
        place: placeAt(changedAtMs, tombstone),
        due: isDue(state) ? dueList(tombstone.tenant) : undefined,
        ...(state === 'purged' && { data: undefined }),
      };
      const condition = {
        text: `#state IN (${from.map((_, i) => `:from${i}`).join(', ')})`,
        names: { '#state': 'state' },
        values: Object.fromEntries(from.map((one, i) => [`:from${i}`, one])),
      };
      return (await calls.update<TombstoneItem>(keyOf(tombstone), change, condition)).isDone;
    },

    listTombstones(tenant, ref, { limit, after }) {
      const cursor = readCursor(after, ['', '', '']);
      const parts = [
        ...('seriesInstanceUid' in ref ? [ref.seriesInstanceUid] : []),
        ...('sopInstanceUid' in ref ? [ref.sopInstanceUid] : []),
      ];
      const range = behind(rangeOf('TOMBSTONE', ...parts), cursor && sortKey('TOMBSTONE', ...cursor));
      return pageOf({ partition: studyPartition(tenant, ref), range }, limit, (one) => [
        one.seriesInstanceUid,
        one.sopInstanceUid,
        one.packId,
      ]);
    },

    changedTombstones(tenant, { fromMs, limit, after }) {
      const range = behind({ from: momentPart(fromMs), to: LAST }, placeBehind(after));
      const asked = { index: 'lists', partition: changeList(tenant), range } as const;
      return pageOf(asked, limit, (one) => [one.changedAtMs, aboutOf(one)]);
    },

    tombstonesToPurge(tenant, { untilMs, limit, after }) {
      const to = `${momentPart(untilMs)}${SEPARATOR}${LAST}`;
      const range = behind({ from: ' ', to }, placeBehind(after));
      const asked = { index: 'due', partition: dueList(tenant), range } as const;
      return pageOf(asked, limit, (one) => [one.deletedAtMs, aboutOf(one)]);
    },
  };
}

const isDue = (state: TombstoneState): boolean => state === 'deleted' || state === 'purging';
const changeList = (tenant: string): string => `${tenant}#deletions`;
const dueList = (tenant: string): string => tenant;

const aboutOf = (one: Place): string =>
  joined(one.studyInstanceUid, one.seriesInstanceUid, one.sopInstanceUid, one.packId);

/** Among what happened at the same moment, by what it is about. */
const placeAt = (ms: number, one: Place): string => `${momentPart(ms)}${SEPARATOR}${aboutOf(one)}`;

function placeBehind(after: string | undefined): string | undefined {
  const cursor = readCursor<readonly [number, string]>(after, [0, '']);
  return cursor && `${momentPart(cursor[0])}${SEPARATOR}${cursor[1]}`;
}

const keyOf = (one: Place) => ({
  pk: studyPartition(one.tenant, one),
  sk: sortKey('TOMBSTONE', one.seriesInstanceUid, one.sopInstanceUid, one.packId),
});

function itemOf(tombstone: Tombstone) {
  const { tenant, state, deletedAtMs, changedAtMs } = tombstone;
  return {
    ...keyOf(tombstone),
    ...storedFields(tombstone),
    state,
    deletedAtMs,
    changedAtMs,
    list: changeList(tenant),
    place: placeAt(changedAtMs, tombstone),
    due: isDue(state) ? dueList(tenant) : undefined,
    dueAt: placeAt(deletedAtMs, tombstone),
  };
}

function tombstoneOf(item: TombstoneItem): Tombstone {
  const { state, deletedAtMs, changedAtMs } = item;
  const fields = fieldsOf({ ...item, data: item.data ?? new Uint8Array() });
  return withAttributes({ ...fields, state, deletedAtMs, changedAtMs }, item.data);
}
