/** The rule book: what becomes of an instance, and that order, repetition and concurrency do not matter. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { decide, indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, SeriesRef } from '#shared/archive/records.ts';
import {
  digestOf,
  instanceRecord,
  json,
  newTenant,
  seriesUid,
  studyUid,
  tenant,
} from '../../support/archive-records.ts';

let folder: string;
let index: ArchiveIndex;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-ingest-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
});
beforeEach(newTenant);
afterAll(async () => {
  await index.close();
  await rm(folder, { recursive: true });
});

const kinds = async (...records: InstanceRecord[]) =>
  (await indexInstances(index, records)).map((outcome) => outcome.kind);

describe('what becomes of an instance', () => {
  it('is decided by its bytes', () => {
    const existing = instanceRecord({ bytes: 'a' });
    expect(decide(undefined, { digest: digestOf('a') })).toBe('stored');
    expect(decide(existing, { digest: digestOf('a') })).toBe('duplicate');
    expect(decide(existing, { digest: digestOf('b') })).toBe('conflict');
  });

  it('is said in the order of the records, and said again when they come again', async () => {
    const records = [
      instanceRecord({ bytes: 'a', offsetBytes: 100 }),
      instanceRecord({ bytes: 'b', offsetBytes: 200 }),
      instanceRecord({ instance: 2, offsetBytes: 300 }),
      instanceRecord({ bytes: 'a', offsetBytes: 400 }),
    ];
    const expected = ['stored', 'conflict', 'stored', 'duplicate'];
    expect(await kinds(...records)).toEqual(expected);
    expect(await kinds(...records)).toEqual(expected);
    expect(await indexInstances(index, [])).toEqual([]);
    const [outcome] = await indexInstances(index, records);
    expect(outcome).toEqual({
      kind: 'stored',
      ref: {
        studyInstanceUid: records[0]?.studyInstanceUid,
        seriesInstanceUid: records[0]?.seriesInstanceUid,
        sopInstanceUid: records[0]?.sopInstanceUid,
      },
      digest: digestOf('a'),
    });
  });

  it('does not depend on the state that its record claims', async () => {
    expect(await kinds(instanceRecord({ state: 'conflict' }))).toEqual(['stored']);
    expect(await index.getInstance(tenant(), instanceRecord())).toMatchObject({ state: 'current' });
  });

  it('counts what is touched, also after an end half-way', async () => {
    const record = instanceRecord();
    await index.createInstances([record]);
    expect(await index.getStudy(tenant(), record)).toBeUndefined();
    await indexInstances(index, [record]);
    expect(await index.getStudy(tenant(), record)).toMatchObject({ instanceCount: 1 });
  });

  it('lets an earlier arrival take the place of a later one, and keeps the later one', async () => {
    const late = instanceRecord({ bytes: 'late', pack: 5 });
    const early = instanceRecord({ bytes: 'early', pack: 3 });
    await indexInstances(index, [late]);
    expect(await kinds(early)).toEqual(['stored']);
    expect(await index.getVersions(tenant(), late)).toEqual([early, { ...late, state: 'conflict' }]);
    expect(await kinds(late)).toEqual(['conflict']);
  });

  it('writes the conflict before anything is replaced', async () => {
    const late = instanceRecord({ bytes: 'late', pack: 5 });
    await indexInstances(index, [late]);
    const stopped: ArchiveIndex = { ...index, replaceCurrent: () => Promise.reject(new Error('the power is gone')) };
    await expect(indexInstances(stopped, [instanceRecord({ bytes: 'early', pack: 3 })])).rejects.toThrow('power');
    expect(await index.getVersions(tenant(), late)).toEqual([late, { ...late, state: 'conflict' }]);
  });

  it('gives up on an index that never comes to rest', async () => {
    await indexInstances(index, [instanceRecord({ pack: 5 })]);
    const broken: ArchiveIndex = { ...index, replaceCurrent: () => Promise.resolve(false) };
    await expect(indexInstances(broken, [instanceRecord({ pack: 3 })])).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('records in any order, any number of times, from any number of senders, with any failures between', () => {
  it('end as they would in order, once', async () => {
    await fc.assert(
      fc.asyncProperty(anyRecords, anyDelivery, fc.scheduler(), async (wishes, delivery, scheduler) => {
        newTenant();
        const ordered = wishes
          .map(recordOf)
          .sort((a, b) => (a.packId + a.offsetBytes < b.packId + b.offsetBytes ? -1 : 1));
        for (const record of ordered) await indexInstances(index, [record]);
        const expected = await stateOf(wishes);

        newTenant();
        const records = wishes.map(recordOf);
        const batches = delivery.batches.map((picks) => picks.map((pick) => records[pick % records.length]!));
        // Whatever the batches left out comes as well.
        batches.push(records);
        const calls = { count: 0 };
        const shaky = scheduled(scheduler, () => delivery.failures.get(calls.count++));
        const deliver = async (batch: readonly InstanceRecord[]): Promise<void> => {
          for (;;) {
            try {
              await indexInstances(shaky, batch);
              return;
            } catch (error) {
              if (!(error instanceof Error) || !error.message.endsWith('failed')) throw error;
            }
          }
        };
        await scheduler.waitFor(Promise.all(batches.map(deliver)));
        expect(await stateOf(wishes)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });
});

interface Wish {
  readonly instance: number;
  readonly series: number;
  readonly bytes: string;
  readonly place: number;
}

const anyRecords = fc.uniqueArray(
  fc.record({
    instance: fc.constantFrom(1, 1, 1, 2),
    series: fc.constantFrom(1, 1, 1, 2),
    bytes: fc.constantFrom('a', 'b', 'c'),
    place: fc.integer({ min: 10, max: 29 }),
  }),
  { minLength: 1, maxLength: 9, selector: ({ place }) => place },
);

const anyDelivery = fc.record({
  batches: fc.array(fc.array(fc.nat(20), { minLength: 1, maxLength: 5 }), { maxLength: 4 }),
  /** Which calls fail, and whether before or after they have done their work. */
  failures: fc
    .array(fc.tuple(fc.nat(60), fc.constantFrom<'before' | 'after'>('before', 'after')), { maxLength: 4 })
    .map((failures) => new Map(failures)),
});

/** Three packs; what is at one place is always the same, and says so in attributes of all levels. */
const recordOf = ({ instance, series, bytes, place }: Wish): InstanceRecord =>
  instanceRecord({
    instance,
    series,
    bytes,
    pack: Math.floor(place / 7),
    offsetBytes: 10 + (place % 7),
    attributes: {
      '00100020': json('LO', `patient ${place}`),
      '0008103E': json('LO', `series ${place}`),
      '00200013': json('IS', place),
    },
  });

/** Everything that the index says of the records, without the tenant. */
async function stateOf(wishes: readonly Wish[]): Promise<unknown> {
  const study = { studyInstanceUid: studyUid(1) };
  const series: SeriesRef[] = [1, 2].map((number) => ({ ...study, seriesInstanceUid: seriesUid(1, number) }));
  const state = {
    versions: await Promise.all(wishes.map((wish) => index.getVersions(tenant(), recordOf(wish)))),
    conflicts: await index.listConflicts(tenant(), 100),
    instances: await index.listInstances(tenant(), study, { limit: 100 }),
    study: await index.getStudy(tenant(), study),
    series: await Promise.all(series.map((ref) => index.getSeries(tenant(), ref))),
  };
  return JSON.parse(JSON.stringify(state, (key, value: unknown) => (key === 'tenant' ? undefined : value)));
}

/** The index, each call of which waits its turn before and after, and fails when `failure` says so. */
function scheduled(scheduler: fc.Scheduler, failure: () => 'before' | 'after' | undefined): ArchiveIndex {
  const turn =
    <A extends unknown[], R>(name: string, method: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await scheduler.schedule(Promise.resolve(), name);
      const fails = failure();
      if (fails === 'before') throw new Error(`${name} failed`);
      const result = await method(...args);
      if (fails === 'after') throw new Error(`${name} failed`);
      await scheduler.schedule(Promise.resolve(), `${name} done`);
      return result;
    };
  return {
    ...index,
    createInstances: turn('createInstances', index.createInstances),
    replaceCurrent: turn('replaceCurrent', index.replaceCurrent),
    replaceConflict: turn('replaceConflict', index.replaceConflict),
    deleteConflict: turn('deleteConflict', index.deleteConflict),
    getInstance: turn('getInstance', index.getInstance),
    getVersions: turn('getVersions', index.getVersions),
    recount: turn('recount', index.recount),
  };
}
