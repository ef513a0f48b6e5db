/**
 * What is not on the gateway's disk, from the cloud: found, fetched once, verified, kept; and what everybody is told while the cloud
 * is away, slow, wrong or there is no room.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { createDicomwebService, type Service } from '#shared/dicomweb/service.ts';
import { isArchiveError } from '#shared/errors.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { until } from '#test/support/system.ts';
import { keyOf, manifestKeyOf, openSite, type Site, type SiteOptions, tenant } from './recall-site.ts';

let site: Site;
let lan: Service;
afterEach(() => site.close());

async function open(made: readonly MadeInstance[], options: Partial<SiteOptions> = {}): Promise<void> {
  site = await openSite({ instances: made.map(({ file }) => file), ...options });
  lan = createDicomwebService({
    archive: site.recall.archive,
    tenantOf: () => tenant,
    render: renderFrame,
    transcode: transcodeFrame,
    log: silentLogger,
    inspectEntry: () => Promise.reject(new Error('there is a manifest for everything here')),
  });
}

const get = (path: string, accept = '*/*'): Promise<Response> =>
  lan(new Request(`http://gateway/dicomweb${path}`, { headers: { accept } }));
const json = async (path: string): Promise<Record<string, { Value?: unknown[] }>[]> =>
  (await (await get(path)).json()) as Record<string, { Value?: unknown[] }>[];
const valuesOf = (found: readonly Record<string, { Value?: unknown[] }>[], tag: string): unknown[] =>
  found.map((match) => match[tag]?.Value?.[0]);
const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;
const fileOf = async (instance: MadeInstance): Promise<Response> =>
  get(pathOf(instance), 'application/dicom; transfer-syntax=*');
const dataSetOf = async (response: Response): Promise<Buffer> => {
  const file = Buffer.from(await response.arrayBuffer());
  return file.subarray(144 + file.readUInt32LE(140));
};

/** A study of some series with some instances each. */
function makeStudy(series: number, instances: number): MadeInstance[] {
  const study = { studyInstanceUid: freshUid(), patientId: 'RECALL', studyDate: '20240131' };
  return Array.from({ length: series }, () => freshUid())
    .toSorted()
    .flatMap((seriesInstanceUid) =>
      Array.from({ length: instances }, (_, i) =>
        makeInstance({ ...study, seriesInstanceUid, instanceNumber: i + 1, rows: 16, columns: 16 }),
      ),
    );
}

const error = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (reason: unknown) => (isArchiveError(reason) ? reason.code : String(reason)),
  );

describe('a study that another gateway has sent', () => {
  it('is found, looked into and retrieved as it is in the cloud, and is kept', async () => {
    const made = makeStudy(2, 3);
    await open(made);
    const study = `/studies/${made[0]!.ref.studyInstanceUid}`;
    const [found] = await json('/studies?PatientID=RECALL');
    expect(found).toMatchObject({ '00080056': { Value: ['NEARLINE'] }, '00201208': { Value: [6] } });
    expect(await site.index.getStudy(tenant, made[0]!.ref)).toBeUndefined();

    expect(valuesOf(await json(`${study}/series`), '0020000E')).toEqual(
      [...new Set(made.map(({ ref }) => ref.seriesInstanceUid))].toSorted(),
    );
    const instances = await json(`${study}/instances`);
    expect(instances).toHaveLength(6);
    expect(new Set(valuesOf(instances, '00080056'))).toEqual(new Set(['NEARLINE']));
    expect(await json(`${study}/metadata`)).toHaveLength(6);
    expect([site.gets('.zip'), site.gets('.manifest.zst')]).toEqual([0, 2]);

    for (const instance of made) expect(await dataSetOf(await fileOf(instance))).toEqual(Buffer.from(instance.dataSet));
    expect(site.gets('.zip')).toBe(2);
    expect(valuesOf(await json('/studies?PatientID=RECALL'), '00080056')).toEqual(['ONLINE']);
    expect((await site.record(site.cloud.packs[0]!))?.evictedAtMs).toBeUndefined();

    // Everything is here now.
    await site.stopCloud();
    for (const instance of made) expect((await fileOf(instance)).status).toBe(200);
    expect(await json(`${study}/metadata`)).toHaveLength(6);
    expect((await get(`${pathOf(made[0]!)}/rendered`)).status).toBe(200);
  });

  it('of which a part is here shows the whole of it, at every level', async () => {
    const made = makeStudy(3, 2);
    await open(made);
    await site.bringHere(site.cloud.packs.slice(0, 1));
    const [found] = await json('/studies');
    expect(found).toMatchObject({ '00080056': { Value: ['NEARLINE'] }, '00201206': { Value: [3] } });
    const study = `/studies/${made[0]!.ref.studyInstanceUid}`;
    expect(valuesOf(await json(`${study}/series`), '00080056')).toEqual(['ONLINE', 'NEARLINE', 'NEARLINE']);
    expect(valuesOf(await json(`${study}/instances`), '00080056').filter((one) => one === 'ONLINE')).toHaveLength(2);
  });

  it('gives each version of an instance, and the same one as current as in the cloud', async () => {
    const uids = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid(), sopInstanceUid: freshUid() };
    const versions = [1, 2, 3].map((rows) => makeInstance({ ...uids, rows: rows * 8, columns: 8 }));
    await open(versions.slice(0, 1));
    await site.cloud.add([versions[1]!.file]);
    await site.cloud.add([versions[2]!.file]);
    // The second is ours; the first came before it elsewhere.
    await site.bringHere([site.cloud.packs[1]!]);
    const { index } = site.recall.archive;
    expect((await index.getVersions(tenant, uids)).map(({ digest }) => digest)).toEqual(
      versions.map(({ digest }) => digest),
    );
    expect((await index.getInstance(tenant, uids))?.digest).toBe(versions[0]!.digest);
    for (const instance of versions)
      expect(
        await dataSetOf(
          await get(`${pathOf(instance)}?digest=${instance.digest}`, 'application/dicom; transfer-syntax=*'),
        ),
      ).toEqual(Buffer.from(instance.dataSet));
  });

  it('is asked about once, however many want it, and not again for a while', async () => {
    const made = makeStudy(1, 2);
    await open(made);
    const ref = { studyInstanceUid: made[0]!.ref.studyInstanceUid };
    const { index } = site.recall.archive;
    await Promise.all(Array.from({ length: 20 }, () => index.listInstances(tenant, ref, { limit: 10 })));
    await index.listSeries(tenant, ref);
    expect(site.asked).toEqual(['POST /gateway/holdings', 'POST /gateway/instances']);
    await site.cloud.add([makeInstance({ ...made[0]!.ref, sopInstanceUid: freshUid() }).file]);
    expect((await index.listInstances(tenant, ref, { limit: 10 })).items).toHaveLength(2);
    site.nowMs += 120_000;
    expect((await index.listInstances(tenant, ref, { limit: 10 })).items).toHaveLength(3);
  });
});

describe('what was evicted', () => {
  it('comes back byte for byte, each pack once for all who read it', async () => {
    const made = makeStudy(2, 4);
    await open(made);
    await site.bringHere(site.cloud.packs);
    await site.evict(site.cloud.packs);
    expect(valuesOf(await json('/studies'), '00080056')).toEqual(['NEARLINE']);
    const answers = await Promise.all([...made, ...made].map(fileOf));
    const bytes = await Promise.all(answers.map(dataSetOf));
    expect(bytes).toEqual([...made, ...made].map(({ dataSet }) => Buffer.from(dataSet)));
    expect(site.gets('.zip')).toBe(2);
    for (const pack of site.cloud.packs) {
      expect(await site.packs.head(keyOf(pack))).toBeDefined();
      expect(await site.record(pack)).toMatchObject({ state: 'archived', accessedAtMs: site.nowMs });
    }
    expect(site.recall.report()).toMatchObject({ packs: 2, failures: 0, cloudAnswers: true });
  });

  it('is said to be lost, not to be waited for, when the cloud does not have it any more', async () => {
    const made = makeStudy(1, 1);
    await open(made);
    const [pack] = site.cloud.packs;
    await site.bringHere([pack!]);
    await site.evict([pack!]);
    const key = keyOf(pack!).replace(tenant, site.cloud.tenant);
    const bytes = await site.cloud.archive.packs.read(key);
    await site.cloud.archive.packs.delete(key);
    expect((await fileOf(made[0]!)).status).toBe(500);
    expect(site.gets('.zip')).toBe(1);
    expect((await site.record(pack!))?.evictedAtMs).toBeDefined();
    expect(site.recall.isLost(pack!)).toBe(true);
    // It was restored from the bucket's versions.
    const { sha256 = '', lengthBytes } = (await site.record(pack!))!;
    await site.cloud.archive.packs.create(key, bytes, { sha256, lengthBytes });
    expect((await fileOf(made[0]!)).status).toBe(200);
    expect(site.recall.isLost(pack!)).toBe(false);
  });

  it('goes on coming when the one who asked for it has left', async () => {
    const made = makeStudy(1, 2);
    await open(made);
    await site.bringHere(site.cloud.packs);
    await site.evict(site.cloud.packs);
    const stream = await site.recall.archive.packs.stream(keyOf(site.cloud.packs[0]!));
    await stream.cancel();
    expect(await site.packs.head(keyOf(site.cloud.packs[0]!))).toBeDefined();
  });

  it('is fetched ahead of who reads a study pack by pack, and of nobody else', async () => {
    const made = makeStudy(6, 1);
    await open(made);
    const packs = site.cloud.packs.toSorted((a, b) => (a.seriesInstanceUid < b.seriesInstanceUid ? -1 : 1));
    await site.bringHere(packs);
    await site.evict(packs);
    await site.recall.archive.packs.read(keyOf(packs[0]!));
    await site.recall.archive.packs.read(keyOf(packs[0]!));
    expect(site.gets('.zip')).toBe(1);
    await site.recall.archive.packs.read(keyOf(packs[1]!));
    await until(
      'two packs ahead',
      5_000,
      async () => (await site.packs.head(keyOf(packs[3]!))) !== undefined && site.gets('.zip') === 4,
    );
    expect(await site.packs.head(keyOf(packs[4]!))).toBeUndefined();
    await site.recall.archive.packs.read(keyOf(packs[2]!));
    await until('one more', 5_000, async () => (await site.packs.head(keyOf(packs[4]!))) !== undefined);
  });

  it('of which nobody has the bytes is said to be unknown, and asks the cloud nothing when it is none of its packs', async () => {
    const made = makeStudy(1, 1);
    await open(made);
    const [pack] = site.cloud.packs;
    expect(await error(site.recall.archive.packs.read(keyOf(pack!)))).toBe('not-found');
    await site.index.createPack({
      ...(await site.cloud.archive.index.getPack(site.cloud.tenant, pack!))!,
      tenant,
      state: 'sealed',
    });
    expect(await error(site.recall.archive.packs.read(keyOf(pack!)))).toBe('not-found');
    expect(await error(site.recall.archive.packs.read(manifestKeyOf(pack!)))).toBe('not-found');
    expect(site.asked).toEqual([]);
  });
});

describe('bytes that are not those of the pack', () => {
  const spoilt = async (answer: () => Promise<Response>): Promise<Response> => {
    const response = await answer();
    const bytes = Buffer.from(await response.arrayBuffer());
    bytes[bytes.length >> 1]! ^= 0x10;
    return new Response(bytes, { headers: { 'content-length': String(bytes.length) } });
  };
  const isObject = (request: Request, suffix: string): boolean => new URL(request.url).pathname.endsWith(suffix);

  it('are fetched again, and neither stored nor served when they stay wrong', async () => {
    const made = makeStudy(1, 3);
    await open(made);
    const [pack] = site.cloud.packs;
    let left = 1_000;
    site.trick = (request, answer) => (isObject(request, '.zip') && left-- > 0 ? spoilt(answer) : undefined);
    const response = await fileOf(made[0]!);
    expect([response.status, response.headers.get('retry-after') !== null]).toEqual([503, true]);
    expect(site.gets('.zip')).toBe(3);
    expect(await site.packs.head(keyOf(pack!))).toBeUndefined();
    expect((await site.record(pack!))?.evictedAtMs).toBeDefined();

    left = 1;
    expect(await dataSetOf(await fileOf(made[1]!))).toEqual(Buffer.from(made[1]!.dataSet));
    expect(site.gets('.zip')).toBe(5);
  });

  it('are found in manifests too, and of other packs', async () => {
    const made = makeStudy(2, 2);
    await open(made);
    const manifests = await Promise.all(
      site.cloud.packs.map((pack) =>
        site.cloud.archive.packs.read(manifestKeyOf(pack).replace(tenant, site.cloud.tenant)),
      ),
    );
    site.trick = (request, answer) => (isObject(request, '.zst') ? spoilt(answer) : undefined);
    expect((await get(`${pathOf(made[0]!)}/metadata`)).status).toBe(503);
    site.trick = (request) =>
      isObject(request, '.zst')
        ? Promise.resolve(
            new Response(new Uint8Array(manifests[request.url.includes(site.cloud.packs[0]!.packId) ? 1 : 0]!)),
          )
        : undefined;
    expect((await get(`${pathOf(made[0]!)}/metadata`)).status).toBe(503);
    for (const pack of site.cloud.packs) expect(await site.packs.head(manifestKeyOf(pack))).toBeUndefined();
    site.trick = undefined;
    expect((await get(`${pathOf(made[0]!)}/metadata`)).status).toBe(200);
  });

  it('do not come in place of what is here; right ones do', async () => {
    const made = makeStudy(1, 2);
    await open(made);
    const [pack] = site.cloud.packs;
    await site.bringHere([pack!]);
    const record = (await site.record(pack!))!;
    const damaged = Buffer.alloc(record.lengthBytes, 1);
    await site.packs.delete(keyOf(pack!));
    const { createHash } = await import('node:crypto');
    await site.packs.create(keyOf(pack!), damaged, {
      lengthBytes: damaged.length,
      sha256: createHash('sha256').update(damaged).digest('hex'),
    });
    site.trick = (request, answer) => (isObject(request, '.zip') ? spoilt(answer) : undefined);
    expect(await error(site.recall.fetchPack(record))).toBe('unavailable');
    expect(Buffer.from(await site.packs.read(keyOf(pack!)))).toEqual(damaged);
    site.trick = undefined;
    await site.recall.fetchPack(record);
    expect(await dataSetOf(await fileOf(made[1]!))).toEqual(Buffer.from(made[1]!.dataSet));
  });
});

describe('while the cloud is away', () => {
  it('what is here is found and served, what is missing is said, and what is not here is 503', async () => {
    const [here, there] = [makeStudy(1, 2), makeStudy(1, 2)];
    await open([...here, ...there]);
    const packOf = (study: MadeInstance[]) =>
      site.cloud.packs.find(({ studyInstanceUid }) => studyInstanceUid === study[0]!.ref.studyInstanceUid)!;
    await site.bringHere([packOf(here)]);
    expect(await json('/studies')).toHaveLength(2);
    await site.stopCloud();

    const found = await get('/studies');
    expect(found.headers.get('warning')).toMatch(/^299 .*"The cloud archive could not be asked;/);
    expect(valuesOf((await found.json()) as [], '0020000D')).toEqual([here[0]!.ref.studyInstanceUid]);
    expect(await dataSetOf(await fileOf(here[0]!))).toEqual(Buffer.from(here[0]!.dataSet));
    const within = await get(`/studies/${here[0]!.ref.studyInstanceUid}/instances`);
    expect(within.headers.get('warning')).toMatch(/could not be asked/);
    expect(await within.json()).toHaveLength(2);
    for (const path of [
      pathOf(there[0]!),
      `/studies/${there[0]!.ref.studyInstanceUid}`,
      `${pathOf(there[0]!)}/rendered`,
    ]) {
      const response = await get(path);
      expect([path, response.status, response.headers.get('retry-after')]).toEqual([path, 503, '30']);
      expect(((await response.json()) as { detail: string }).detail).toMatch(/cloud archive cannot be reached/);
    }

    // Known to be in the cloud, and nowhere else.
    await site.evict([packOf(here)]);
    expect((await fileOf(here[0]!)).status).toBe(503);
    const { sopInstanceUid } = here[0]!.ref;
    expect(valuesOf(await json(`/instances?SOPInstanceUID=${sopInstanceUid}`), '00080056')).toEqual(['NEARLINE']);

    await site.startCloud();
    await until('the cloud to be noticed', 10_000, async () => site.recall.report().cloudAnswers);
    expect(await dataSetOf(await fileOf(here[0]!))).toEqual(Buffer.from(here[0]!.dataSet));
    expect((await get('/studies')).headers.get('warning')).toBeNull();
    expect((await fileOf(there[0]!)).status).toBe(200);
  });

  it('nobody waits for one that does not answer, after the first has', async () => {
    const made = makeStudy(1, 1);
    await open(made, { line: { waitMs: 100, firstProbeMs: 60_000 } });
    let release: () => void = () => {};
    const silence = new Promise<void>((resolve) => {
      release = resolve;
    });
    site.trick = async (_, answer) => {
      await silence;
      return answer();
    };
    expect((await get('/studies')).headers.get('warning')).not.toBeNull();
    const { length } = site.asked;
    for (let i = 0; i < 20; i++) {
      expect((await get('/studies')).headers.get('warning')).not.toBeNull();
      expect((await fileOf(made[0]!)).status).toBe(503);
    }
    expect(site.asked).toHaveLength(length);
    release();
  });

  it('an answer that is none of the contract, or a refusal, is as good as none', async () => {
    const made = makeStudy(1, 1);
    await open(made);
    for (const answer of [
      () => Response.json({ detail: 'This gateway is not welcome any more.' }, { status: 403 }),
      () => new Response('<html>'),
    ]) {
      site.trick = async () => answer();
      expect((await get('/studies')).headers.get('warning')).toMatch(/could not be asked/);
      expect((await fileOf(made[0]!)).status).toBe(503);
    }
  });
});

describe('without room on the disk', () => {
  it('is made room for, also by whoever takes turns at the very pack that is fetched or mended', async () => {
    const made = makeStudy(1, 2);
    await open(made);
    const [pack] = site.cloud.packs;
    await site.bringHere([pack!]);
    let rounds = 0;
    site.makeRoom = () => site.turns.inTurn(pack!, async () => rounds++);
    await site.recall.fetchPack((await site.record(pack!))!);
    await site.evict([pack!]);
    expect((await fileOf(made[0]!)).status).toBe(200);
    expect(rounds).toBe(2);
  });

  it('nothing is fetched, and who asks is told to come back', async () => {
    const made = makeStudy(1, 2);
    await open(made);
    site.roomBytes = 100;
    const response = await fileOf(made[0]!);
    expect(response.status).toBe(503);
    expect(((await response.json()) as { detail: string }).detail).toMatch(/no room/);
    expect(site.gets('.zip')).toBe(0);
    site.roomBytes = Number.POSITIVE_INFINITY;
    expect((await fileOf(made[0]!)).status).toBe(200);
  });
});
