/**
 * What every ArchiveIndex must do, whatever it is built on. It asks for nothing that a store of single items with conditional
 * writes could not give. Packs are archive-index-packs.ts, tombstones
 * archive-index-tombstones.ts, searches archive-index-search.ts.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import {
  CT,
  digestOf,
  instanceRecord,
  json,
  MR,
  newTenant,
  otherTenant,
  packId,
  seriesUid,
  studyUid,
  tenant,
} from '../support/archive-records.ts';
import { packContract } from './archive-index-packs.ts';
import { searchContract } from './archive-index-search.ts';
import { tombstoneContract } from './archive-index-tombstones.ts';
import { all } from './pages.ts';

export interface MadeIndex {
  readonly index: ArchiveIndex;
  /** Removes what it lies on; the index is closed before. Tests share an index, each with tenants of its own. */
  remove(): Promise<void>;
}

/** @param share of the many random searches that are asked, where each takes long: from 0 to 1 */
export function archiveIndexContract(name: string, make: () => Promise<MadeIndex>, share = 1): void {
  describe(`${name} as an ArchiveIndex`, () => {
    let made: MadeIndex;
    let index: ArchiveIndex;
    beforeAll(async () => {
      made = await make();
      index = made.index;
    });
    beforeEach(newTenant);
    afterAll(async () => {
      await index.close();
      await made.remove();
    });

    describe('instances', () => {
      it('are added once and come back as they were', async () => {
        const record = instanceRecord();
        expect(await index.getInstance(tenant(), record)).toBeUndefined();
        expect(await index.createInstances([record])).toEqual([undefined]);
        expect(await index.getInstance(tenant(), record)).toEqual(record);
      });

      it('are never overwritten: the one that was there is answered', async () => {
        const first = instanceRecord({ bytes: 'first' });
        await index.createInstances([first]);
        const second = instanceRecord({ bytes: 'second', pack: 2 });
        const other = instanceRecord({ instance: 2 });
        expect(await index.createInstances([other, second, other])).toEqual([undefined, first, other]);
        expect(await index.getInstance(tenant(), first)).toEqual(first);
      });

      it('have conflicts under their digests beside the current one', async () => {
        const current = instanceRecord();
        const late = instanceRecord({ bytes: 'late', pack: 9, state: 'conflict' });
        const early = instanceRecord({ bytes: 'early', pack: 5, state: 'conflict' });
        expect(await index.createInstances([late, current, early, late])).toEqual([
          undefined,
          undefined,
          undefined,
          late,
        ]);
        expect(await index.getVersions(tenant(), current)).toEqual([current, early, late]);
        expect(await index.getInstance(tenant(), current)).toEqual(current);
        expect(await index.getVersions(tenant(), instanceRecord({ instance: 7 }))).toEqual([]);
      });

      it('of two series or studies with one SOP Instance UID are two', async () => {
        const one = instanceRecord();
        const two: InstanceRecord = { ...instanceRecord({ series: 2 }), sopInstanceUid: one.sopInstanceUid };
        expect(await index.createInstances([one, two])).toEqual([undefined, undefined]);
        expect((await index.getInstance(tenant(), two))?.seriesInstanceUid).toBe(two.seriesInstanceUid);
      });

      it('belong to their tenant alone', async () => {
        const record = instanceRecord();
        await index.createInstances([record]);
        await index.recount(tenant(), record);
        const mine = instanceRecord({ tenant: otherTenant(), bytes: 'mine' });
        expect(await index.getInstance(otherTenant(), record)).toBeUndefined();
        expect(await index.createInstances([mine])).toEqual([undefined]);
        expect(await index.getInstance(tenant(), record)).toEqual(record);
        expect(await index.getStudy(otherTenant(), record)).toBeUndefined();
        expect((await index.listInstances(otherTenant(), record, { limit: 9 })).items).toEqual([mine]);
        expect(await index.listConflicts(otherTenant(), 9)).toEqual({ count: 0, records: [] });
      });

      it('keep UIDs, attributes and numbers of any kind', async () => {
        const record: InstanceRecord = {
          ...instanceRecord({
            attributes: {
              '00100010': json('PN', {
                Alphabetic: 'O\'Neil^"Ann"',
                Ideographic: '山田^太郎',
                Phonetic: 'やまだ^たろう',
              }),
              '00080051': json('SQ', { '00400031': json('UT', 'ü/\\"\u2028') }),
              '00081030': json('LO', '', 'a', null),
            },
          }),
          studyInstanceUid: "not a uid' --",
          seriesInstanceUid: '',
          offsetBytes: 2 ** 40,
        };
        await index.createInstances([record]);
        expect(await index.getInstance(tenant(), record)).toEqual(record);
        expect(
          (await index.listInstances(tenant(), { studyInstanceUid: record.studyInstanceUid }, { limit: 1 })).items,
        ).toEqual([record]);
      });

      it('are replaced only if the current one is the expected one', async () => {
        const current = instanceRecord({ bytes: 'b', pack: 5, offsetBytes: 500 });
        await index.createInstances([current]);
        const better = instanceRecord({ bytes: 'a', pack: 2, transferSyntaxUid: '1.2.840.10008.1.2' });
        const wrong = [
          { ...current, digest: digestOf('x') },
          { ...current, packId: packId(6) },
          { ...current, offsetBytes: 501 },
        ];
        for (const expected of wrong) expect(await index.replaceCurrent(better, expected)).toBe(false);
        expect(await index.getInstance(tenant(), current)).toEqual(current);
        expect(await index.replaceCurrent(better, current)).toBe(true);
        expect(await index.getInstance(tenant(), current)).toEqual(better);
        expect(await index.replaceCurrent(better, current)).toBe(false);
        expect(await index.replaceCurrent(instanceRecord({ instance: 9 }), current)).toBe(false);
      });

      it('let one of many replace them', async () => {
        const current = instanceRecord({ bytes: 'z', pack: 100 });
        await index.createInstances([current]);
        const rivals = Array.from({ length: 8 }, (_, i) => instanceRecord({ bytes: `rival ${i}`, pack: i }));
        const won = await Promise.all(rivals.map((rival) => index.replaceCurrent(rival, current)));
        expect(won.filter((success) => success)).toHaveLength(1);
        expect(await index.getInstance(tenant(), current)).toEqual(rivals[won.indexOf(true)]);
      });

      it('have their conflicts replaced and removed only at the expected place', async () => {
        const current = instanceRecord();
        const conflict = instanceRecord({ bytes: 'x', pack: 9, state: 'conflict' });
        await index.createInstances([current, conflict]);
        const earlier = { ...conflict, packId: packId(7) };
        expect(await index.replaceConflict(earlier, { packId: packId(8), offsetBytes: conflict.offsetBytes })).toBe(
          false,
        );
        expect(await index.replaceConflict(earlier, { packId: conflict.packId, offsetBytes: 1 })).toBe(false);
        expect(await index.replaceConflict(earlier, conflict)).toBe(true);
        expect(await index.getVersions(tenant(), current)).toEqual([current, earlier]);
        expect(await index.deleteConflict(conflict)).toBe(false);
        expect(await index.deleteConflict(earlier)).toBe(true);
        expect(await index.deleteConflict(earlier)).toBe(false);
        expect(await index.getVersions(tenant(), current)).toEqual([current]);
      });

      it('are listed page by page in the order of series and instance', async () => {
        const records: InstanceRecord[] = [];
        for (const series of [2, 10, 3]) {
          for (const instance of [3, 1, 2]) records.push(instanceRecord({ series, instance }));
        }
        await index.createInstances([
          ...records,
          instanceRecord({ study: 2 }),
          instanceRecord({ series: 2, bytes: 'other', state: 'conflict' }),
        ]);
        const sorted = records.toSorted((a, b) =>
          a.seriesInstanceUid === b.seriesInstanceUid
            ? compare(a.sopInstanceUid, b.sopInstanceUid)
            : compare(a.seriesInstanceUid, b.seriesInstanceUid),
        );
        const study = { studyInstanceUid: studyUid(1) };
        for (const limit of [1, 2, 4, 9, 20]) {
          expect(await all((page) => index.listInstances(tenant(), study, page), limit)).toEqual(sorted);
        }
        const series = { ...study, seriesInstanceUid: seriesUid(1, 3) };
        expect(await all((page) => index.listInstances(tenant(), series, page), 2)).toEqual(
          sorted.filter((record) => record.seriesInstanceUid === series.seriesInstanceUid),
        );
        expect(await index.listInstances(tenant(), { studyInstanceUid: '9' }, { limit: 5 })).toEqual({
          items: [],
          next: undefined,
        });
      });

      it('answer a cursor that is none with bad-request', async () => {
        const page = { limit: 5, after: '{"no":"cursor"' };
        await expect(index.listInstances(tenant(), { studyInstanceUid: '1' }, page)).rejects.toMatchObject({
          code: 'bad-request',
        });
      });

      it('show all conflicts of a tenant', async () => {
        const conflicts = [3, 1, 2].map((study) => instanceRecord({ study, bytes: 'x', state: 'conflict' }));
        await index.createInstances([instanceRecord(), ...conflicts]);
        const { count, records } = await index.listConflicts(tenant(), 2);
        expect(count).toBe(3);
        expect(records).toEqual([conflicts[1], conflicts[2]]);
      });
    });

    describe('recounting', () => {
      it('derives series and study from their instances', async () => {
        const records = [
          instanceRecord({ series: 2, instance: 1, pack: 3, attributes: { '00100020': json('LO', 'late') } }),
          instanceRecord({
            series: 1,
            instance: 2,
            pack: 2,
            sopClassUid: MR,
            attributes: { '0008103E': json('LO', 'Second'), '00100020': json('LO', 'first') },
          }),
          instanceRecord({
            series: 1,
            instance: 1,
            pack: 2,
            offsetBytes: 300,
            attributes: { '00100020': json('LO', 'no') },
          }),
        ];
        await index.createInstances(records);
        expect(await index.getStudy(tenant(), records[0]!)).toBeUndefined();
        expect(await index.listSeries(tenant(), records[0]!)).toEqual([]);
        for (const record of records) await index.recount(tenant(), record);

        const study = await index.getStudy(tenant(), records[0]!);
        expect(study).toEqual({
          tenant: tenant(),
          studyInstanceUid: studyUid(1),
          attributes: expect.objectContaining({ '00100020': json('LO', 'first'), '00080020': json('DA', '20240115') }),
          modalities: ['CT', 'MR'],
          sopClassUids: [CT, MR],
          seriesCount: 2,
          instanceCount: 3,
        });
        expect(study?.attributes).not.toHaveProperty('0008103E');
        const first = await index.getSeries(tenant(), records[1]!);
        expect(first).toEqual({
          tenant: tenant(),
          studyInstanceUid: studyUid(1),
          seriesInstanceUid: seriesUid(1, 1),
          attributes: expect.objectContaining({ '0008103E': json('LO', 'Second'), '00080060': json('CS', 'MR') }),
          instanceCount: 2,
        });
        expect(first?.attributes).not.toHaveProperty('00100020');
        expect(first?.attributes).not.toHaveProperty('00200013');
        const listed = await index.listSeries(tenant(), records[0]!);
        expect(listed.map(({ seriesInstanceUid }) => seriesInstanceUid)).toEqual([seriesUid(1, 1), seriesUid(1, 2)]);
        expect(listed[0]).toEqual(first);
      });

      it('changes nothing when it is done again, and knows nothing of what is not there', async () => {
        const record = instanceRecord();
        await index.createInstances([record]);
        await index.recount(tenant(), record);
        const before = [await index.getStudy(tenant(), record), await index.getSeries(tenant(), record)];
        await Promise.all([index.recount(tenant(), record), index.recount(tenant(), record)]);
        await index.recount(tenant(), instanceRecord({ series: 8 }));
        await index.recount(tenant(), instanceRecord({ study: 8 }));
        expect([await index.getStudy(tenant(), record), await index.getSeries(tenant(), record)]).toEqual(before);
        expect(await index.getStudy(tenant(), instanceRecord({ study: 8 }))).toBeUndefined();
      });

      it('does not count conflicts, and follows the instance that is first', async () => {
        const late = instanceRecord({
          pack: 5,
          attributes: { '00100020': json('LO', 'late'), '00080060': json('CS', 'OT') },
        });
        await index.createInstances([
          late,
          instanceRecord({ bytes: 'x', pack: 1, sopClassUid: MR, state: 'conflict' }),
        ]);
        await index.recount(tenant(), late);
        expect(await index.getStudy(tenant(), late)).toMatchObject({
          instanceCount: 1,
          modalities: ['OT'],
          sopClassUids: [CT],
        });

        const early = instanceRecord({ instance: 2, pack: 4, attributes: { '00100020': json('LO', 'early') } });
        await index.createInstances([early]);
        await index.recount(tenant(), early);
        const study = await index.getStudy(tenant(), late);
        expect(study).toMatchObject({
          instanceCount: 2,
          modalities: ['CT'],
          attributes: { '00100020': json('LO', 'early') },
        });

        const first = instanceRecord({
          bytes: 'y',
          pack: 3,
          sopClassUid: MR,
          attributes: { '00100020': json('LO', 'first') },
        });
        expect(await index.replaceCurrent(first, late)).toBe(true);
        await index.recount(tenant(), first);
        expect(await index.getStudy(tenant(), late)).toMatchObject({
          instanceCount: 2,
          modalities: ['MR'],
          sopClassUids: [CT, MR],
          attributes: { '00100020': json('LO', 'first') },
        });
      });

      it('is exact when many write at once', async () => {
        const records = Array.from({ length: 60 }, (_, i) => instanceRecord({ series: 1 + (i % 3), instance: i }));
        await Promise.all(
          records.map(async (record) => {
            await index.createInstances([record]);
            await index.recount(tenant(), record);
          }),
        );
        expect(await index.getStudy(tenant(), records[0]!)).toMatchObject({ seriesCount: 3, instanceCount: 60 });
        const series = await index.listSeries(tenant(), records[0]!);
        expect(series.map(({ instanceCount }) => instanceCount)).toEqual([20, 20, 20]);
      });
    });

    packContract(() => index);
    tombstoneContract(() => index);

    it('answers what was asked before it is closed, and nothing after', async () => {
      const record = instanceRecord();
      const own = await make();
      const asked = own.index.createInstances([record]);
      await Promise.all([own.index.close(), own.index.close()]);
      expect(await asked).toEqual([undefined]);
      await expect(own.index.getInstance(tenant(), record)).rejects.toMatchObject({ code: 'unavailable' });
      await own.remove();
    });

    searchContract(() => index, share);
  });
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
