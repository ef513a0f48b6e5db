/**
 * Storing where there is no gateway: how the instances of a request become packs, how little room they take on the way, and that
 * nothing is answered as stored that the archive has not read back, whatever fails, whoever comes at once, and whenever it dies.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { createIngestStep, type PackArrived } from '#functions/ingest/step.ts';
import { createBatchReceiver } from '#functions/store/receiver.ts';
import { deleteVersions } from '#shared/archive/deletion.ts';
import { newPackId, packIdTimeMs, packKey } from '#shared/archive/keys.ts';
import { decodeManifest } from '#shared/archive/manifest.ts';
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import { announcementOf, oneSeries, rival, TENANT } from '../edge-gateway/cache/receiving.ts';
import {
  answerOf,
  failedItem,
  multipartOf,
  post,
  type StoreAnswer,
  storedItem,
  streamOf,
} from '../shared/dicomweb/storing.ts';
import { type CloudOptions, type CloudPlace, dataSetAt, inCloud } from '../shared/dicomweb/storing-places.ts';

const places: CloudPlace[] = [];
afterEach(async () => {
  for (const place of places.splice(0)) await place[Symbol.asyncDispose]();
});

async function open(options?: CloudOptions): Promise<{ at: CloudPlace; service: Service }> {
  const at = await inCloud(options);
  places.push(at);
  return { at, service: at.service() };
}

const store = async (service: Service, made: readonly MadeInstance[], chunkBytes = 65_536): Promise<StoreAnswer> =>
  answerOf(await post(service, '/studies', streamOf(multipartOf(made.map(({ file }) => file)), chunkBytes)));

const packsOf = (at: CloudPlace, made: MadeInstance): Promise<readonly PackRecord[]> =>
  at.archive.index.listPacks(TENANT, { studyInstanceUid: made.ref.studyInstanceUid });

async function expectStored(at: CloudPlace, made: readonly MadeInstance[]): Promise<void> {
  for (const { ref, dataSet } of made) expect(Buffer.compare((await dataSetAt(at, ref))!, dataSet)).toBe(0);
}

async function expectNothingLeft(at: CloudPlace): Promise<void> {
  await expect.poll(() => [at.receiver.scratchUsedBytes, at.scratchFiles(), at.isIdle()]).toEqual([0, [], true]);
}

/** Rejects the first so many calls. */
function failing<A extends readonly unknown[], R>(times: number, error: Error, work: (...args: A) => Promise<R>) {
  let left = times;
  return (...args: A): Promise<R> => (left-- > 0 ? Promise.reject(error) : work(...args));
}
const full = (): ArchiveError => new ArchiveError('out-of-resources', 'The store is full; send again later.');

describe('the packs of a request', () => {
  it('are one for each series, in order of arrival, verified and with their manifests, when it is answered', async () => {
    const { at, service } = await open();
    const studyInstanceUid = freshUid();
    const series = [freshUid(), freshUid(), freshUid()];
    const made = Array.from({ length: 30 }, (_, i) =>
      makeInstance({ studyInstanceUid, seriesInstanceUid: series[i % 3]!, instanceNumber: i, rows: 16, columns: 16 }),
    );
    expect(await store(service, made)).toMatchObject({ status: 200, stored: made.map(storedItem) });
    const packs = await packsOf(at, made[0]!);
    expect(packs.map(({ state, instanceCount }) => [state, instanceCount])).toEqual(series.map(() => ['archived', 10]));
    for (const pack of packs) {
      const key = packKey(TENANT, pack);
      const wanted = made.filter(({ ref }) => ref.seriesInstanceUid === pack.seriesInstanceUid);
      const names = wanted.map(({ ref }) => `${ref.sopInstanceUid}.dcm`);
      const bytes = Buffer.from(await at.archive.packs.read(key));
      expect(zipEntries(bytes).map(({ name }) => name)).toEqual(names);
      const manifest = await decodeManifest(await at.archive.packs.read(key.replace(/zip$/, 'manifest.zst')));
      expect([manifest.sha256, manifest.entries.length]).toEqual([pack.sha256, 10]);
    }
    await expectStored(at, made);
    await expectNothingLeft(at);
  });

  it('end where they would become too long, and what is large has one of its own', async () => {
    const { at, service } = await open({ limits: { packBytes: 20_000, ownPackBytes: 10_000 } });
    const series = oneSeries();
    const sizes = [50, 50, 50, 50, 50, 90, 50]; // 5 KB each, one of 16 KB
    const made = sizes.map((rows) => makeInstance({ ...series, rows, columns: rows }));
    expect((await store(service, made)).status).toBe(200);
    const packs = await packsOf(at, made[0]!);
    expect(packs.map(({ instanceCount }) => instanceCount)).toEqual([3, 3, 1]);
    expect(packs.every(({ lengthBytes }) => lengthBytes < 21_000)).toBe(true);
    await expectStored(at, made);
  });

  it('of very many series do not stay open all at once', async () => {
    const { at, service } = await open({ limits: { openPacks: 4 } });
    const studyInstanceUid = freshUid();
    const made = Array.from({ length: 24 }, () => makeInstance({ studyInstanceUid }));
    expect((await store(service, [...made, ...made.slice(0, 5)])).stored).toHaveLength(29);
    expect(await packsOf(at, made[0]!)).toHaveLength(24);
    await expectStored(at, made);
    await expectNothingLeft(at);
  });

  it('keep the order of arrival of two instances of one UID, whichever of them is large', async () => {
    const { at, service } = await open({ limits: { ownPackBytes: 3_000 } });
    const series = oneSeries();
    const [small, sopInstanceUid] = [makeInstance(series), freshUid()];
    const first = makeInstance({ ...series, sopInstanceUid, rows: 50, columns: 50 });
    const later = makeInstance({ ...series, sopInstanceUid, patientName: 'Later' });
    const answer = await store(service, [small, first, later, first, later]);
    expect(answer.status).toBe(202);
    expect(answer.stored.map((item) => item[3])).toEqual([undefined, undefined, 0xb00e, undefined, undefined]);
    const versions = await at.archive.index.getVersions(TENANT, first.ref);
    expect(versions.map(({ digest }) => digest)).toEqual([first.digest, later.digest]);
  });

  it('are not later than the clock because those of a gateway were', async () => {
    const { at, service } = await open();
    const [made, other] = [makeInstance(), makeInstance()];
    await store(service, [made]);
    const [current] = (await at.archive.index.getVersions(TENANT, made.ref)) as [InstanceRecord];
    const packId = newPackId(Date.UTC(2090, 0, 1), new Uint8Array(10));
    await at.archive.index.replaceCurrent({ ...current, packId }, current);
    expect(await store(service, [rival(made)])).toMatchObject({ status: 202 });
    const versions = await at.archive.index.getVersions(TENANT, made.ref);
    expect(versions.map(({ digest }) => digest === made.digest)).toEqual([true, false]);
    await store(service, [other]);
    const [pack] = (await packsOf(at, other)) as [PackRecord];
    expect(packIdTimeMs(pack.packId)).toBeLessThan(Date.UTC(2090, 0, 1));
  });
});

describe('scratch storage', () => {
  it('of less room than a request is enough: what is complete is archived while the rest arrives', async () => {
    const { at, service } = await open({ scratchBytes: 100_000 });
    const made = Array.from({ length: 32 }, () => makeInstance({ rows: 64, columns: 64 }));
    expect(await store(service, made)).toMatchObject({ status: 200, failed: [] });
    await expectStored(at, made);
    await expectNothingLeft(at);
  });

  it('that an instance does not fit into refuses it with 413, and stores the others', async () => {
    const { at, service } = await open({ scratchBytes: 600_000 });
    const [one, large, two] = [makeInstance(), makeInstance({ rows: 600, columns: 600 }), makeInstance()];
    const answer = await store(service, [one, large, two]);
    expect(answer).toMatchObject({ status: 202, stored: [one, two].map(storedItem) });
    expect(answer.failed).toEqual([failedItem(large, 0xa700)]);
    expect((await store(service, [large])).status).toBe(413);
    await expectNothingLeft(at);
  });

  it('that others fill with what they have not finished is 503, and free when they go', async () => {
    const { at, service } = await open({ scratchBytes: 1_000_000 });
    const large = makeInstance({ rows: 600, columns: 600 }); // 720 KB
    let goes: (() => void) | undefined;
    const unfinished = post(
      service,
      '/studies',
      new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(multipartOf([large.file]).subarray(0, 600_000));
          goes = () => controller.error(new Error('gone'));
        },
      }),
    );
    await expect.poll(() => at.receiver.scratchUsedBytes).toBeGreaterThan(500_000);
    const other = makeInstance({ rows: 600, columns: 600 });
    const refused = await post(service, '/studies', multipartOf([other.file]));
    expect([refused.status, refused.headers.has('retry-after')]).toEqual([503, true]);
    goes?.();
    expect((await unfinished).status).toBe(400);
    await expectNothingLeft(at);
    expect((await store(service, [other])).status).toBe(200);
  });

  it('holds nothing of instances that were refused, sent twice or not finished', async () => {
    const { at, service } = await open();
    const made = makeInstance({ rows: 400, columns: 400 });
    await store(service, [made, made]);
    await store(service, [made]);
    await post(service, '/studies/1.2.3', multipartOf([makeInstance({ rows: 400, columns: 400 }).file]));
    await post(service, '/studies', multipartOf([makeInstance({ rows: 400, columns: 400 }).file]).subarray(0, 300_000));
    expect(await packsOf(at, made)).toHaveLength(1);
    await expectNothingLeft(at);
  });

  it('is swept at the start: what a killed process left there was never answered', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-scratch-'));
    try {
      const scratchFolder = join(folder, 'scratch');
      mkdirSync(scratchFolder);
      writeFileSync(join(scratchFolder, '7.part'), 'half an instance');
      const { at } = await open();
      const receiver = await createBatchReceiver({
        archive: at.archive,
        scratchFolder,
        scratchBytes: 1,
        nowMs: Date.now,
        log: silentLogger,
      });
      expect(existsSync(join(scratchFolder, '7.part'))).toBe(false);
      await receiver.close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('an instance whose deletion has begun and not ended', () => {
  it('is stored anew: what goes then is not what was answered as stored', async () => {
    const { at, service } = await open();
    const series = oneSeries();
    const made = [makeInstance(series), makeInstance(series)];
    await store(service, made);
    const found = (await Promise.all(made.map(({ ref }) => at.archive.index.getVersions(TENANT, ref)))).flat();
    const moment = { deletedAtMs: Date.now(), changedAtMs: Date.now() };
    await at.archive.index.createTombstones(found.map((version) => ({ ...version, state: 'deleted', ...moment })));
    expect(await store(service, made)).toMatchObject({ status: 200, stored: made.map(storedItem) });
    await deleteVersions(at.archive.index, found, moment.deletedAtMs);
    await expectStored(at, made);
    expect(await packsOf(at, made[0]!)).toHaveLength(2);
  });
});

describe('two requests at once', () => {
  it('with the same instances are both 200, and each is there once (medplum#10154)', async () => {
    const { at, service } = await open();
    const series = oneSeries();
    const made = Array.from({ length: 8 }, () => makeInstance(series));
    const answers = await Promise.all(Array.from({ length: 4 }, () => store(service, made, 500)));
    for (const answer of answers) expect(answer).toMatchObject({ status: 200, stored: made.map(storedItem) });
    for (const { ref } of made) expect(await at.archive.index.getVersions(TENANT, ref)).toHaveLength(1);
    expect((await at.archive.index.getSeries(TENANT, series))?.instanceCount).toBe(8);
    await expectStored(at, made);
  });

  it('with other bytes under one UID keep both', async () => {
    const { at, service } = await open();
    const made = makeInstance();
    const answers = await Promise.all([store(service, [made]), store(service, [rival(made)])]);
    // Who is answered before the other has come cannot be told of it.
    for (const { status, failed } of answers) expect([[200, 202].includes(status), failed]).toEqual([true, []]);
    const versions = await at.archive.index.getVersions(TENANT, made.ref);
    expect(versions.map(({ state }) => state)).toEqual(['current', 'conflict']);
  });
});

describe('an archive that fails', () => {
  it('to take a pack is 503 with A700H for all of it, and the same request is 200 later', async () => {
    const { at, service } = await open({
      spoil: ({ packs }) => ({ packs: { ...packs, create: failing(1, full(), packs.create) } }),
    });
    const series = oneSeries();
    const made = [makeInstance(series), makeInstance(series)];
    const twice = [...made, made[0]!]; // who is in it twice is not told that it is there
    const response = await post(service, '/studies', multipartOf(twice.map(({ file }) => file)));
    expect([response.status, response.headers.has('retry-after')]).toEqual([503, true]);
    expect((await answerOf(response)).failed).toEqual(twice.map((one) => failedItem(one, 0xa700)));
    expect(await at.archive.index.getStudy(TENANT, made[0]!.ref)).toBeUndefined();
    await expectNothingLeft(at);
    expect((await store(service, twice)).status).toBe(200);
    await expectStored(at, made);
  });

  it('to take one pack of two is 202', async () => {
    const { service } = await open({
      spoil: ({ packs }) => ({ packs: { ...packs, create: failing(1, full(), packs.create) } }),
      limits: { openPacks: 1 },
    });
    const made = [makeInstance(), makeInstance()];
    const answer = await store(service, made);
    expect([answer.status, answer.stored.length, answer.failed.length]).toEqual([202, 1, 1]);
  });

  it('only in saying that it has the pack already, as after a PUT that was tried again, is 200', async () => {
    const { at, service } = await open({
      spoil: ({ packs }) => ({
        packs: {
          ...packs,
          async create(...args) {
            await packs.create(...args);
            return 'exists';
          },
        },
      }),
    });
    const made = [makeInstance(), makeInstance()];
    expect((await store(service, made)).status).toBe(200);
    await expectStored(at, made);
  });

  it('to index a pack is 503, and the pack, of which somebody was told, is archived later', async () => {
    const told: PackArrived[] = [];
    const down = new ArchiveError('unavailable', 'The index is away; try again.');
    const { at, service } = await open({
      arrived: async (message) => void told.push(message),
      spoil: ({ index }) => ({
        index: { ...index, createInstances: failing(1, down, (records) => index.createInstances(records)) },
      }),
    });
    const made = makeInstance();
    expect((await store(service, [made])).status).toBe(503);
    expect(await at.archive.index.getInstance(TENANT, made.ref)).toBeUndefined();
    for (const message of told)
      await createIngestStep({ archive: at.archive, nowMs: Date.now, log: silentLogger })(message);
    await expectStored(at, [made]);
    expect((await store(service, [made])).status).toBe(200);
    expect(await at.archive.index.getVersions(TENANT, made.ref)).toHaveLength(1);
  });

  it('to give back the bytes that it took answers 0110H, and shows nothing of them', async () => {
    const { at, service } = await open({
      spoil: ({ packs }) => ({
        packs: {
          ...packs,
          stream: async (key) => {
            const bytes = Buffer.from(await packs.read(key));
            bytes[400]! ^= 1;
            return streamOf(bytes, 1000);
          },
        },
      }),
    });
    const made = makeInstance();
    const answer = await store(service, [made]);
    expect([answer.status, answer.failed]).toEqual([500, [failedItem(made, 0x0110)]]);
    expect(await at.archive.index.getInstance(TENANT, made.ref)).toBeUndefined();
    expect((await packsOf(at, made)).map(({ state }) => state)).toEqual(['rejected']);
  });

  it('only in being slower than the event of its own store is told from the index what became of each', async () => {
    const { at, service } = await open({
      arrived: (message) => createIngestStep({ archive: at.archive, nowMs: Date.now, log: silentLogger })(message),
    });
    const made = makeInstance();
    expect((await store(service, [made])).status).toBe(200);
    const answer = await store(service, [rival(made), makeInstance()]);
    expect(answer.status).toBe(202);
    expect(answer.stored.map((item) => item[3])).toEqual([0xb00e, undefined]);
  });
});

describe('an archive that is being stopped', () => {
  it('archives what is complete, and tells the rest to come again', async () => {
    const { at, service } = await open();
    const [one, two] = [makeInstance(), makeInstance({ rows: 100, columns: 100 })];
    const whole = multipartOf([one.file, two.file]);
    let ends: (() => void) | undefined;
    const answered = post(
      service,
      '/studies',
      new ReadableStream<Uint8Array>({
        start(controller) {
          controller.enqueue(whole.subarray(0, -10_000));
          ends = () => {
            controller.enqueue(whole.subarray(-10_000));
            controller.close();
          };
        },
      }),
    );
    await expect.poll(() => at.receiver.instancesArriving).toBe(1);
    const closed = at.receiver.close();
    ends?.();
    await closed;
    expect(await answerOf(await answered)).toMatchObject({
      status: 202,
      stored: [storedItem(one)],
      failed: [failedItem(two, 0xa700)],
    });
    await expectStored(at, [one]);
  });

  it('begins nothing more', async () => {
    const { at } = await open();
    await at.receiver.close();
    const made = makeInstance();
    const batch = at.receiver.batch(TENANT);
    const sink = batch.begin(announcementOf(made));
    await sink.write(made.dataSet);
    expect(await sink.commit()).toMatchObject({ kind: 'refused', code: 'unavailable' });
    batch.end();
  });
});
