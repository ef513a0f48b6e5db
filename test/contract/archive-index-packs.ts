/**
 * What every ArchiveIndex must do with the records of packs, whose states are promises to others.
 */
import { describe, expect, it } from 'vitest';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { otherTenant, packId, packRecord, seriesUid, studyUid, tenant } from '../support/archive-records.ts';
import { all } from './pages.ts';

export function packContract(index: () => ArchiveIndex): void {
  describe('packs', () => {
    it('are created once', async () => {
      const pack = packRecord();
      expect(await index().getPack(tenant(), pack)).toBeUndefined();
      expect(await index().createPack(pack)).toBeUndefined();
      expect(await index().createPack({ ...pack, lengthBytes: 99 })).toEqual(pack);
      expect(await index().getPack(tenant(), pack)).toEqual(pack);
      expect(await index().getPack(otherTenant(), pack)).toBeUndefined();
    });

    it('change fields from the states given, and no others', async () => {
      const pack = packRecord();
      await index().createPack(pack);
      expect(await index().updatePack(tenant(), pack, ['sealed', 'sent'], { state: 'archived' })).toBeUndefined();
      const change = { state: 'sealed', sha256: 'ab', sealedAtMs: 5, lengthBytes: 77, instanceCount: 3 } as const;
      const sealed = await index().updatePack(tenant(), pack, ['open'], change);
      expect(sealed).toEqual({ ...pack, ...change });
      expect(await index().updatePack(tenant(), pack, ['open'], change)).toBeUndefined();
      expect(await index().updatePack(tenant(), pack, ['sealed'], {})).toEqual(sealed);
      const { tenant: _, ...rest } = packRecord({
        reason: 'No room.',
        state: 'rejected',
        sentAtMs: 6,
        archivedAtMs: 7,
        priority: 'stat',
        sourceAeTitles: ['CT 1', 'MR\u00e4'],
        evictedAtMs: 8,
        accessedAtMs: 9,
      });
      expect(await index().updatePack(tenant(), pack, ['sealed'], rest)).toEqual({ ...sealed, ...rest });
      expect(await index().getPack(tenant(), pack)).toEqual({ ...sealed, ...rest });
      const { evictedAtMs: __, ...back } = { ...sealed, ...rest };
      expect(await index().updatePack(tenant(), pack, ['rejected'], { evictedAtMs: undefined })).toEqual(back);
      expect(await index().getPack(tenant(), pack)).toEqual(back);
      expect(await index().updatePack(tenant(), packRecord({ pack: 2 }), ['open'], change)).toBeUndefined();
    });

    it('let one of many take a step', async () => {
      const pack = packRecord();
      await index().createPack(pack);
      const step = (sentAtMs: number) => index().updatePack(tenant(), pack, ['open'], { state: 'sealed', sentAtMs });
      const answers = await Promise.all([1, 2, 3, 4, 5].map(step));
      expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1);
    });

    it('go only while they are open', async () => {
      const pack = packRecord();
      await index().deletePack(tenant(), pack);
      await index().createPack(pack);
      await index().deletePack(tenant(), pack);
      expect(await index().getPack(tenant(), pack)).toBeUndefined();
      await index().createPack({ ...pack, state: 'sealed' });
      await expect(index().deletePack(tenant(), pack)).rejects.toMatchObject({ code: 'conflict' });
      expect(await index().getPack(tenant(), pack)).toEqual({ ...pack, state: 'sealed' });
    });

    it('go when nothing is looked for in them any more', async () => {
      const pack = packRecord({ state: 'archived' });
      await index().createPack(pack);
      expect(await index().updatePack(tenant(), pack, ['archived'], { purgedAtMs: 7 })).toEqual({
        ...pack,
        purgedAtMs: 7,
      });
      await index().deletePack(tenant(), pack);
      expect(await index().getPack(tenant(), pack)).toBeUndefined();
    });

    it('are listed by study, by series and by state, oldest first', async () => {
      const packs = [4, 2, 3, 1].map((pack) => packRecord({ pack, state: pack === 3 ? 'sealed' : 'open' }));
      const elsewhere = packRecord({ pack: 5, seriesInstanceUid: seriesUid(1, 2) });
      for (const pack of [...packs, elsewhere, packRecord({ pack: 6, study: 2 })]) await index().createPack(pack);
      const ids = (list: readonly { packId: string }[]) => list.map((pack) => pack.packId);
      expect(ids(await index().listPacks(tenant(), { studyInstanceUid: studyUid(1) }))).toEqual(
        [1, 2, 3, 4, 5].map(packId),
      );
      expect(ids(await index().listPacks(tenant(), packs[0]!))).toEqual([1, 2, 3, 4].map(packId));
      for (const limit of [1, 2, 3, 10]) {
        const open = await all((page) => index().packsInState(tenant(), 'open', page), limit);
        expect(ids(open)).toEqual([1, 2, 4, 5, 6].map(packId));
      }
      expect(await index().packsInState(tenant(), 'sealed', { limit: 1 })).toEqual({
        items: [packs[2]],
        next: undefined,
      });
      expect(await index().packsInState(otherTenant(), 'open', { limit: 1 })).toEqual({ items: [], next: undefined });
    });

    it('add up by state', async () => {
      await index().createPack(packRecord({ pack: 1, lengthBytes: 10, instanceCount: 2 }));
      await index().createPack(packRecord({ pack: 2, lengthBytes: 5, instanceCount: 1 }));
      await index().createPack(packRecord({ pack: 3, lengthBytes: 2 ** 40, instanceCount: 7, state: 'archived' }));
      const none = { packs: 0, instances: 0, bytes: 0, oldestCreatedAtMs: undefined };
      expect(await index().packTotals(tenant())).toEqual({
        open: { packs: 2, instances: 3, bytes: 15, oldestCreatedAtMs: packRecord({ pack: 1 }).createdAtMs },
        sealed: none,
        sent: none,
        archived: { packs: 1, instances: 7, bytes: 2 ** 40, oldestCreatedAtMs: packRecord({ pack: 3 }).createdAtMs },
        rejected: none,
      });
    });
  });
}
