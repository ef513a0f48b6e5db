/**
 * What every ArchiveIndex must do with tombstones: each a single item, written and changed on its own condition, listed by what it is
 * about, by when it changed, and by when it is to be purged.
 */
import { describe, expect, it } from 'vitest';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Tombstone } from '#shared/archive/records.ts';
import {
  type InstanceWish,
  instanceRecord,
  otherTenant,
  packId,
  seriesUid,
  tenant,
} from '../support/archive-records.ts';
import { all } from './pages.ts';

export function tombstoneOf(wish: InstanceWish, deletedAtMs: number, fields: Partial<Tombstone> = {}): Tombstone {
  const { state: _, ...record } = instanceRecord(wish);
  return { ...record, state: 'deleted', deletedAtMs, changedAtMs: deletedAtMs, ...fields };
}

export function tombstoneContract(index: () => ArchiveIndex): void {
  const listed = async (ref: Tombstone | { studyInstanceUid: string }, limit = 100) =>
    all((page) => index().listTombstones(tenant(), ref, page), limit);

  describe('tombstones', () => {
    it('are added once, and change in the given order of states alone', async () => {
      const tombstone = tombstoneOf({}, 100);
      await index().createTombstones([tombstone]);
      await index().createTombstones([{ ...tombstone, deletedAtMs: 200, changedAtMs: 200 }]);
      expect(await listed(tombstone)).toEqual([tombstone]);

      const change = { state: 'restored', changedAtMs: 300 } as const;
      expect(await index().updateTombstone(tombstone, ['purging'], change)).toBe(false);
      expect(await index().updateTombstone({ ...tombstone, packId: packId(9) }, ['deleted'], change)).toBe(false);
      expect(await index().updateTombstone(tombstone, ['purging', 'deleted'], change)).toBe(true);
      expect(await listed(tombstone)).toEqual([{ ...tombstone, ...change }]);

      const again = { ...tombstone, deletedAtMs: 400, changedAtMs: 400 };
      await index().createTombstones([again]);
      expect(await listed(tombstone)).toEqual([again]);
    });

    it('keep no attributes once they are purged', async () => {
      const tombstone = tombstoneOf({}, 100);
      await index().createTombstones([tombstone]);
      const purged = { state: 'purged', changedAtMs: 200 } as const;
      expect(await index().updateTombstone(tombstone, ['deleted'], purged)).toBe(true);
      expect(await listed(tombstone)).toEqual([{ ...tombstone, ...purged, attributes: {} }]);
    });

    it('are listed by study, series and instance, and belong to their tenant', async () => {
      const wishes = [2, 1].flatMap((series) =>
        [2, 1].flatMap((instance) => [2, 1].map((pack) => ({ series, instance, pack }))),
      );
      const tombstones = wishes.map((wish) => tombstoneOf(wish, 100));
      await index().createTombstones([...tombstones, tombstoneOf({ study: 2 }, 100)]);
      const sorted = tombstones.toReversed();
      for (const limit of [1, 3, 8, 20])
        expect(await listed({ studyInstanceUid: tombstones[0]!.studyInstanceUid }, limit)).toEqual(sorted);
      const { studyInstanceUid } = tombstones[0]!;
      const series = { studyInstanceUid, seriesInstanceUid: seriesUid(1, 1) };
      expect(await all((page) => index().listTombstones(tenant(), series, page), 3)).toEqual(sorted.slice(0, 4));
      expect(await listed(sorted[0]!)).toEqual(sorted.slice(0, 2));
      expect(await index().listTombstones(otherTenant(), series, { limit: 9 })).toEqual({ items: [], next: undefined });
    });

    it('are told in the order in which they changed, from a moment on', async () => {
      const tombstones = [3, 1, 2, 2].map((at, i) => tombstoneOf({ instance: i }, at * 100));
      await index().createTombstones(tombstones);
      await index().updateTombstone(tombstones[1]!, ['deleted'], { state: 'purging', changedAtMs: 400 });
      const times = async (fromMs: number, limit: number) =>
        (await all((page) => index().changedTombstones(tenant(), { fromMs, ...page }), limit)).map(
          (one) => one.changedAtMs,
        );
      for (const limit of [1, 2, 3, 9]) expect(await times(0, limit)).toEqual([200, 200, 300, 400]);
      expect(await times(200, 9)).toEqual([200, 200, 300, 400]);
      expect(await times(201, 1)).toEqual([300, 400]);
      expect(await index().changedTombstones(otherTenant(), { fromMs: 0, limit: 9 })).toMatchObject({ items: [] });
    });

    it('wait to be purged from the oldest deletion on, until they are', async () => {
      const tombstones = [3, 1, 2, 4].map((at, i) => tombstoneOf({ instance: i }, at * 100));
      await index().createTombstones(tombstones);
      await index().updateTombstone(tombstones[1]!, ['deleted'], { state: 'purging', changedAtMs: 900 });
      await index().updateTombstone(tombstones[2]!, ['deleted'], { state: 'restored', changedAtMs: 900 });
      const waiting = async (untilMs: number, limit: number) =>
        (await all((page) => index().tombstonesToPurge(tenant(), { untilMs, ...page }), limit)).map(
          (one) => one.deletedAtMs,
        );
      for (const limit of [1, 2, 9]) expect(await waiting(300, limit)).toEqual([100, 300]);
      await index().updateTombstone(tombstones[1]!, ['purging'], { state: 'purged', changedAtMs: 950 });
      expect(await waiting(1000, 9)).toEqual([300, 400]);
    });

    it('answer a cursor that is none with bad-request', async () => {
      const page = { limit: 5, after: '["a"]', fromMs: 0, untilMs: 9 };
      const refused = { code: 'bad-request' };
      await expect(index().listTombstones(tenant(), { studyInstanceUid: '1' }, page)).rejects.toMatchObject(refused);
      await expect(index().changedTombstones(tenant(), page)).rejects.toMatchObject(refused);
      await expect(index().tombstonesToPurge(tenant(), page)).rejects.toMatchObject(refused);
    });

    it('let the current record go only from the expected place', async () => {
      const current = instanceRecord({ pack: 5 });
      const conflict = instanceRecord({ bytes: 'x', pack: 9, state: 'conflict' });
      await index().createInstances([current, conflict]);
      expect(await index().deleteCurrent({ ...current, packId: packId(6) })).toBe(false);
      expect(await index().deleteCurrent({ ...conflict, state: 'current' })).toBe(false);
      expect(await index().deleteCurrent(current)).toBe(true);
      expect(await index().deleteCurrent(current)).toBe(false);
      expect(await index().getInstance(tenant(), current)).toBeUndefined();
      expect(await index().getVersions(tenant(), current)).toEqual([conflict]);
    });

    it('let a study vanish from everything that is derived, once it is counted', async () => {
      const record = instanceRecord();
      await index().createInstances([record]);
      await index().recount(tenant(), record);
      await index().deleteCurrent(record);
      await index().recount(tenant(), record);
      expect(await index().getStudy(tenant(), record)).toBeUndefined();
      expect(await index().getSeries(tenant(), record)).toBeUndefined();
      expect(await index().listSeries(tenant(), record)).toEqual([]);
      for (const level of ['study', 'series', 'instance'] as const)
        expect(await index().search(tenant(), { level, keys: [], limit: 9, offset: 0 })).toMatchObject({ matches: [] });
    });
  });
}
