/**
 * Pack records in DynamoDB, listed by state in an index of their own. Adding up by state reads that index: a read unit for some 25 packs, for
 * reports and not for requests (a million archived packs: 40,000 units, 0.5 cents, ten seconds).
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef, PackState } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Calls } from './dynamo-calls.ts';
import type { Item, Value } from './dynamo-items.ts';
import {
  behind,
  type ItemKey,
  joined,
  LAST,
  packItemKey,
  rangeOf,
  readCursor,
  studyPartition,
  tenantOf,
  uidsOf,
  uidsToSay,
} from './dynamo-keys.ts';

type PackTable = Pick<
  ArchiveIndex,
  'createPack' | 'getPack' | 'updatePack' | 'deletePack' | 'listPacks' | 'packsInState' | 'packTotals'
>;
type Totals = Awaited<ReturnType<PackTable['packTotals']>>;

/** Fields that are no part of the key: an item has them by the same names. */
const fields = [
  'state',
  'instanceCount',
  'lengthBytes',
  'sha256',
  'createdAtMs',
  'sealedAtMs',
  'sentAtMs',
  'archivedAtMs',
  'reason',
  'priority',
  'sourceAeTitles',
  'evictedAtMs',
  'accessedAtMs',
  'purgedAtMs',
] as const satisfies readonly Exclude<keyof PackRecord, 'tenant' | keyof PackRef>[];

type PackItem = ItemKey & { readonly uids?: string } & Pick<PackRecord, (typeof fields)[number]>;

const states: readonly PackState[] = ['open', 'sealed', 'sent', 'archived', 'rejected'];
const everything = { from: ' ', to: LAST };

const isOneOf = (from: readonly PackState[]) => ({
  text: from.length === 0 ? 'attribute_not_exists(pk)' : `#state IN (${from.map((_, i) => `:from${i}`).join(', ')})`,
  ...(from.length > 0 && {
    names: { '#state': 'state' },
    values: Object.fromEntries(from.map((state, i) => [`:from${i}`, state])),
  }),
});

export function createPackTable(calls: Calls): PackTable {
  async function getPack(tenant: string, ref: PackRef): Promise<PackRecord | undefined> {
    const item = await calls.get<PackItem>(packItemKey(tenant, ref));
    return item && packOf(item);
  }

  return {
    getPack,

    async createPack(record) {
      const { tenant, studyInstanceUid, seriesInstanceUid, packId } = record;
      const item: ItemKey & Item = {
        ...packItemKey(tenant, record),
        ...uidsToSay([studyInstanceUid, seriesInstanceUid, packId]),
        ...Object.fromEntries(fields.map((field): [string, Value] => [field, record[field]])),
        list: listOf(tenant, record.state),
        place: joined(packId, studyInstanceUid, seriesInstanceUid),
      };
      for (;;) {
        const written = await calls.put<PackItem>(item, { text: 'attribute_not_exists(pk)' });
        if (written.isDone) return undefined;
        if (written.item !== undefined) return packOf(written.item);
      }
    },

    async updatePack(tenant, ref, from, change) {
      const changed = fields.filter((field) => field in change);
      if (from.length === 0) return undefined;
      if (changed.length === 0) {
        const known = await getPack(tenant, ref);
        return known !== undefined && from.includes(known.state) ? known : undefined;
      }
      const values: Record<string, Value> = Object.fromEntries(changed.map((field) => [field, change[field]]));
      if (change.state !== undefined) values.list = listOf(tenant, change.state);
      const written = await calls.update<PackItem>(packItemKey(tenant, ref), values, isOneOf(from));
      return written.isDone ? packOf(written.item) : undefined;
    },

    async deletePack(tenant, ref) {
      const condition = {
        text: '#state = :open OR attribute_exists(#purged) OR attribute_not_exists(pk)',
        names: { '#state': 'state', '#purged': 'purgedAtMs' },
        values: { ':open': 'open' },
      };
      const { isDone, item } = await calls.delete<PackItem>(packItemKey(tenant, ref), condition);
      if (isDone || item === undefined) return;
      throw new ArchiveError(
        'conflict',
        'The record of a pack that was sealed stays; only that of an open one can go.',
        {
          packId: ref.packId,
          state: item.state,
        },
      );
    },

    async listPacks(tenant, ref) {
      const range = 'seriesInstanceUid' in ref ? rangeOf('PACK', ref.seriesInstanceUid) : rangeOf('PACK');
      const partition = studyPartition(tenant, ref);
      const packs = (await calls.first<PackItem>({ partition, range }, Number.POSITIVE_INFINITY)).map(packOf);
      // Within a series they come in order already.
      return packs.sort((a, b) => (a.packId < b.packId ? -1 : a.packId > b.packId ? 1 : 0));
    },

    async packsInState(tenant, state, { limit, after }) {
      const cursor = readCursor(after, ['', '', '']);
      const range = behind(everything, cursor && joined(...cursor));
      const asked = { index: 'lists', partition: listOf(tenant, state), range } as const;
      const found = (await calls.first<PackItem>(asked, limit + 1)).map(packOf);
      const items = found.slice(0, limit);
      const last = items.at(-1);
      const isMore = found.length > limit && last !== undefined;
      return {
        items,
        next: isMore ? JSON.stringify([last.packId, last.studyInstanceUid, last.seriesInstanceUid]) : undefined,
      };
    },

    async packTotals(tenant) {
      const totals = await Promise.all(
        states.map(async (state): Promise<[PackState, Totals[PackState]]> => {
          const only = ['instanceCount', 'lengthBytes', 'createdAtMs'];
          const asked = { index: 'lists', partition: listOf(tenant, state), range: everything, only } as const;
          const sum = { packs: 0, instances: 0, bytes: 0, oldestCreatedAtMs: undefined as number | undefined };
          for await (const page of calls.pages<PackItem>(asked))
            for (const pack of page) {
              sum.packs++;
              sum.instances += pack.instanceCount;
              sum.bytes += pack.lengthBytes;
              sum.oldestCreatedAtMs = Math.min(sum.oldestCreatedAtMs ?? pack.createdAtMs, pack.createdAtMs);
            }
          return [state, sum];
        }),
      );
      return Object.fromEntries(totals) as Totals;
    },
  };
}

const listOf = (tenant: string, state: PackState): string => `${tenant}#packs#${state}`;

function packOf(item: PackItem): PackRecord {
  const [studyInstanceUid = '', seriesInstanceUid = '', packId = ''] = uidsOf(item);
  const known = fields.filter((field) => item[field] !== undefined).map((field) => [field, item[field]]);
  return { tenant: tenantOf(item.pk), studyInstanceUid, seriesInstanceUid, packId, ...Object.fromEntries(known) };
}
