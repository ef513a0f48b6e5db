/**
 * A new series costs the index one question; what was stored, indexed or forgotten is never taken for new.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KnownInstances } from '#edge-gateway/cache/known-instances.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, InstanceRef } from '#shared/archive/records.ts';

const tenant = 'hospital';
const ref = (series: number, instance: number): InstanceRef => ({
  studyInstanceUid: '1.2',
  seriesInstanceUid: `1.2.${series}`,
  sopInstanceUid: `1.2.${series}.${instance}`,
});
const record = (of: InstanceRef): InstanceRecord => ({
  ...of,
  tenant,
  sopClassUid: '1.2.840.10008.5.1.4.1.1.2',
  transferSyntaxUid: '1.2.840.10008.1.2.1',
  digest: 'ab'.repeat(32),
  packId: '0197a000-0000-7000-8000-000000000001',
  offsetBytes: 100,
  lengthBytes: 1000,
  dataSetOffsetBytes: 300,
  state: 'current',
  attributes: {},
});

let folder: string;
let index: ArchiveIndex;
let questions: number;
let waiting: boolean;
let known: KnownInstances;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  questions = 0;
  waiting = false;
  const counting: ArchiveIndex = {
    ...index,
    getVersions: (...args) => {
      questions++;
      return index.getVersions(...args);
    },
    listInstances: (...args) => {
      questions++;
      return index.listInstances(...args);
    },
  };
  known = new KnownInstances(tenant, counting, () => waiting);
});

afterEach(async () => {
  await index.close();
  await rm(folder, { recursive: true });
});

describe('what the index knows of an arriving instance', () => {
  it('is asked once for a new series, however many instances come', async () => {
    for (let i = 0; i < 500; i++) {
      expect(await known.versions(ref(1, i))).toEqual([]);
      known.stored(ref(1, i));
    }
    expect(questions).toBe(1);
  });

  it('is asked again about an instance that was stored', async () => {
    expect(await known.versions(ref(1, 1))).toEqual([]);
    known.stored(ref(1, 1));
    await index.createInstances([record(ref(1, 1))]);
    expect(await known.versions(ref(1, 1))).toMatchObject([{ sopInstanceUid: '1.2.1.1' }]);
  });

  it('is asked about each instance of a series that was there before', async () => {
    await index.createInstances([record(ref(1, 1))]);
    expect(await known.versions(ref(1, 2))).toEqual([]);
    expect(await known.versions(ref(1, 1))).toHaveLength(1);
    expect(questions).toBe(3);
  });

  it('does not count as nothing while instances of the series are on their way to the index', async () => {
    waiting = true;
    expect(await known.versions(ref(1, 1))).toEqual([]);
    waiting = false;
    await index.createInstances([record(ref(1, 2))]);
    expect(await known.versions(ref(1, 2))).toHaveLength(1);
  });

  it('is right for every instance when far more series come than are remembered', async () => {
    const count = 12_000;
    for (let i = 0; i < count; i++) known.stored(ref(i, 1));
    await index.createInstances([record(ref(0, 1)), record(ref(count - 1, 1))]);
    expect(await known.versions(ref(0, 1))).toHaveLength(1);
    expect(await known.versions(ref(count - 1, 1))).toHaveLength(1);
  });

  it('is asked again after a question that failed', async () => {
    await index.close();
    await expect(known.versions(ref(1, 1))).rejects.toThrow();
    index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  });
});
