/** Deletions: what they cover, that they are final for the bytes they are about, and that nothing else goes with them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { deleteInstances, deleteVersions, isDeleted } from '#shared/archive/deletion.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import { instanceRecord, newTenant, packRecord, tenant } from '../../support/archive-records.ts';

let folder: string;
let index: ArchiveIndex;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-deletion-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
});
beforeEach(newTenant);
afterAll(async () => {
  await index.close();
  await rm(folder, { recursive: true });
});

const remove = (ref: Parameters<typeof deleteInstances>[2], atMs = 1_000) =>
  deleteInstances(index, tenant(), ref, () => atMs);
const versions = (record: InstanceRecord) => index.getVersions(tenant(), record);
const kinds = async (...records: InstanceRecord[]) =>
  (await indexInstances(index, records)).map((outcome) => outcome.kind);

describe('a deletion', () => {
  it('takes a study, a series or an instance with all its versions, and counts what is left', async () => {
    const records = [1, 2].flatMap((series) => [1, 2].map((instance) => instanceRecord({ series, instance })));
    const conflict = instanceRecord({ bytes: 'other', pack: 7 });
    await indexInstances(index, [...records, conflict, instanceRecord({ study: 2 })]);
    expect(await remove({ ...records[0]! })).toBe(true);
    expect(await versions(records[0]!)).toEqual([]);
    expect(await index.getStudy(tenant(), records[0]!)).toMatchObject({ seriesCount: 2, instanceCount: 3 });
    const { studyInstanceUid, seriesInstanceUid } = records[3]!;
    expect(await remove({ studyInstanceUid, seriesInstanceUid })).toBe(true);
    expect(await index.getStudy(tenant(), records[0]!)).toMatchObject({ seriesCount: 1, instanceCount: 1 });
    expect(await remove({ studyInstanceUid })).toBe(true);
    expect(await index.getStudy(tenant(), records[0]!)).toBeUndefined();
    expect(await index.listConflicts(tenant(), 9)).toEqual({ count: 0, records: [] });
    expect(await index.getStudy(tenant(), instanceRecord({ study: 2 }))).toMatchObject({ instanceCount: 1 });
    expect((await index.listTombstones(tenant(), { studyInstanceUid }, { limit: 9 })).items).toHaveLength(5);
  });

  it('may be asked for again, and knows what never was', async () => {
    const record = instanceRecord();
    expect(await remove(record)).toBe(false);
    await indexInstances(index, [record]);
    expect(await isDeleted(index, tenant(), record)).toBe(false);
    expect(await remove(record)).toBe(true);
    expect(await isDeleted(index, tenant(), record)).toBe(true);
    expect(await remove(record, 2_000)).toBe(true);
    expect((await index.listTombstones(tenant(), record, { limit: 9 })).items).toMatchObject([{ deletedAtMs: 1_000 }]);
  });

  it('is not undone by who tells of the same bytes again', async () => {
    const record = instanceRecord();
    await indexInstances(index, [record]);
    await remove(record);
    expect(await kinds(record, instanceRecord({ instance: 2 }))).toEqual(['duplicate', 'stored']);
    expect(await versions(record)).toEqual([]);
  });

  it('lets the same instance be stored anew in a later pack, whatever its bytes', async () => {
    const record = instanceRecord({ pack: 5 });
    await indexInstances(index, [record]);
    await remove(record);
    // Made before the other one, and on its way ever since: nobody had seen it when the deletion was asked for.
    const again = instanceRecord({ pack: 4 });
    expect(await kinds(again)).toEqual(['stored']);
    expect(await kinds(record)).toEqual(['duplicate']);
    expect(await versions(record)).toEqual([again]);
    expect(await isDeleted(index, tenant(), record)).toBe(false);
    await remove(record, 2_000);
    const other = instanceRecord({ bytes: 'other', pack: 3 });
    expect(await kinds(other, record, again)).toEqual(['stored', 'duplicate', 'duplicate']);
    expect(await versions(record)).toEqual([other]);
  });

  it('that has not come to its end takes nothing with it that is stored anew before', async () => {
    const current = instanceRecord({ pack: 5 });
    const conflict = instanceRecord({ pack: 6, bytes: 'other' });
    await indexInstances(index, [current, conflict]);
    const found = await versions(current);
    const moment = { deletedAtMs: 1_000, changedAtMs: 1_000 };
    await index.createTombstones(found.map((version) => ({ ...version, state: 'deleted', ...moment })));
    const [again, other] = [instanceRecord({ pack: 7 }), instanceRecord({ pack: 8, bytes: 'other' })];
    expect(await kinds(again, other)).toEqual(['stored', 'conflict']);
    await deleteVersions(index, found, 1_000);
    expect(await versions(current)).toEqual([again, { ...other, state: 'conflict' }]);
  });

  it('beside a conflict that just arrives leaves it as what it is when it is brought in once more', async () => {
    const [current, other] = [instanceRecord(), instanceRecord({ bytes: 'other', pack: 7 })];
    await indexInstances(index, [current]);
    const racing: ArchiveIndex = {
      ...index,
      createInstances: async (records) => {
        const isConflict = records.some(({ state }) => state === 'conflict');
        if (isConflict) await remove(current);
        return index.createInstances(records);
      },
    };
    await expect(indexInstances(racing, [other])).rejects.toMatchObject({ code: 'unavailable' });
    expect(await kinds(other)).toEqual(['stored']);
    expect(await versions(current)).toEqual([other]);
    expect(await index.listConflicts(tenant(), 9)).toMatchObject({ count: 0 });
  });

  it('covers copies in packs that were archived before it, and not those that came later', async () => {
    const record = instanceRecord({ pack: 5 });
    await index.createPack(packRecord({ pack: 6, state: 'archived', archivedAtMs: 1_000 }));
    await index.createPack(packRecord({ pack: 7, state: 'archived', archivedAtMs: 1_001 }));
    await index.createPack(packRecord({ pack: 8, state: 'sealed' }));
    await indexInstances(index, [record]);
    await remove(record, 1_000);
    expect(await kinds(instanceRecord({ pack: 6 }))).toEqual(['duplicate']);
    expect(await kinds(instanceRecord({ pack: 8 }))).toEqual(['stored']);
    expect(await kinds(instanceRecord({ pack: 7 }))).toEqual(['stored']);
  });

  it('of the current version alone makes the first of the others current', async () => {
    const [current, late, early] = [
      instanceRecord(),
      ...[9, 8].map((pack) => instanceRecord({ bytes: `${pack}`, pack })),
    ];
    await indexInstances(index, [current!, late!, early!]);
    await deleteVersions(index, [current!], 1_000);
    expect(await versions(current!)).toEqual([
      { ...early, state: 'current' },
      { ...late, state: 'conflict' },
    ]);
  });

  it('is undone while its bytes are there, and can be made again', async () => {
    const records = [1, 2].map((instance) => instanceRecord({ instance }));
    const conflict = instanceRecord({ bytes: 'other', pack: 7 });
    await indexInstances(index, [...records, conflict]);
    const before = [await versions(records[0]!), await index.getStudy(tenant(), records[0]!)];
    const study = { studyInstanceUid: records[0]!.studyInstanceUid };
    await remove(study, 1_000);
    const [tombstone] = (await index.listTombstones(tenant(), records[1]!, { limit: 1 })).items;
    await index.updateTombstone(tombstone!, ['deleted'], { state: 'purging', changedAtMs: 1_500 });
    expect(await restoreInstances(index, tenant(), study, 2_000)).toBe(2);
    expect(await versions(records[0]!)).toEqual(before[0]);
    expect(await index.getStudy(tenant(), study)).toMatchObject({ instanceCount: 1 });
    expect(await restoreInstances(index, tenant(), study, 3_000)).toBe(0);
    expect(await remove(records[0]!, 4_000)).toBe(true);
    expect(await versions(records[0]!)).toEqual([]);
    expect(await isDeleted(index, tenant(), study)).toBe(true);
  });

  it('is undone for what has its bytes, whatever becomes of copies', async () => {
    const [current, conflict] = [instanceRecord({ pack: 6 }), instanceRecord({ bytes: 'other', pack: 7 })];
    for (const pack of [6, 7]) await index.createPack(packRecord({ pack, state: 'archived', archivedAtMs: 500 }));
    await indexInstances(index, [current, conflict]);
    await remove(current, 1_000);
    const place = { ...conflict, state: 'deleted', deletedAtMs: 1_000, changedAtMs: 1_000 } as const;
    await index.updateTombstone(place, ['deleted'], { state: 'purging', changedAtMs: 1_500 });
    expect(await restoreInstances(index, tenant(), current, 2_000)).toBe(1);
    expect(await versions(current)).toEqual([current]);
    expect(await kinds(current, conflict)).toEqual(['stored', 'duplicate']);
    await remove(current, 3_000);
    expect(await versions(current)).toEqual([]);
  });
});

describe('deletions and arrivals at once, with any failures between', () => {
  it('end with nothing deleted in the index, and everything that came later', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.array(fc.nat(40), { maxLength: 3 }),
        fc.boolean(),
        async (scheduler, failures, stored) => {
          newTenant();
          const old = [instanceRecord({ pack: 1 }), instanceRecord({ bytes: 'conflict', pack: 2 })];
          const later = instanceRecord({ bytes: 'conflict', pack: 9 });
          await indexInstances(index, old);
          await index.recount(tenant(), later);
          const shaky = scheduled(scheduler, new Set(failures));
          const again = async (work: () => Promise<unknown>): Promise<void> => {
            for (;;) {
              const failure = await work().then(
                () => undefined,
                (error: Error) => error,
              );
              if (failure === undefined) return;
              if (!/failed$|deleted while/.test(failure.message)) throw failure;
            }
          };
          await scheduler.waitFor(
            Promise.all([
              again(() => indexInstances(shaky, old)),
              again(() => deleteInstances(shaky, tenant(), later, () => 1_000)),
              ...(stored ? [] : [again(() => indexInstances(shaky, [old[1]!]))]),
            ]),
          );
          if (stored) await indexInstances(index, [later, ...old]);
          expect(await versions(later)).toEqual(stored ? [later] : []);
          expect((await index.getStudy(tenant(), later))?.instanceCount).toBe(stored ? 1 : undefined);
        },
      ),
      { numRuns: 50 },
    );
  });
});

/** The index, each call of which waits its turn, and fails when its number is among `failures`. */
function scheduled(scheduler: fc.Scheduler, failures: ReadonlySet<number>): ArchiveIndex {
  let calls = 0;
  return new Proxy(index, {
    get(target, name: keyof ArchiveIndex) {
      const method = target[name] as (...args: unknown[]) => Promise<unknown>;
      return async (...args: unknown[]) => {
        await scheduler.schedule(Promise.resolve(), name);
        const fails = failures.has(calls++);
        if (fails && calls % 2 === 0) throw new Error(`${name} failed`);
        const result = await method(...args);
        if (fails) throw new Error(`${name} failed`);
        await scheduler.schedule(Promise.resolve(), `${name} done`);
        return result;
      };
    },
  });
}
