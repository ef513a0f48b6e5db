/**
 * A gateway that hears of the cloud's deletions: what was deleted there is shown here no more, what came later stays, and packs that the
 * cloud has written anew are looked for where they are now.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { createIngestStep } from '#functions/ingest/step.ts';
import { createPurgeStep } from '#functions/purge/step.ts';
import { deleteInstances } from '#shared/archive/deletion.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackRef, StudyRef } from '#shared/archive/records.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import { createDicomwebService, type Service } from '#shared/dicomweb/service.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { keyOf, manifestKeyOf, openSite, type Site, type SiteOptions, tenant } from './recall-site.ts';

let site: Site;
let lan: Service;
afterEach(() => site.close());

const uids = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const made = [1, 2, 3].map((instanceNumber) => makeInstance({ ...uids, instanceNumber, rows: 8, columns: 8 }));
const [first, second, third] = made as [MadeInstance, MadeInstance, MadeInstance];

async function open(options: Partial<SiteOptions> = {}): Promise<void> {
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

const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;
const ask = (path: string, method = 'GET'): Promise<Response> =>
  lan(new Request(`http://gateway/dicomweb${path}`, { method, headers: { accept: '*/*' } }));
const statusOf = async (instance: MadeInstance): Promise<number> => {
  const response = await ask(pathOf(instance));
  await response.body?.cancel();
  return response.status;
};
const found = async (): Promise<number> =>
  ((await (await ask(`/studies/${uids.studyInstanceUid}/instances`)).json()) as unknown[]).length;
const bytesOf = async (instance: MadeInstance): Promise<Buffer> => {
  const response = await ask(`${pathOf(instance)}?accept=application/dicom`);
  const file = Buffer.from(await response.arrayBuffer());
  return file.subarray(144 + file.readUInt32LE(140));
};
const deleteInCloud = (ref: StudyRef, atMs = Date.now()) =>
  deleteInstances(site.cloud.index, site.cloud.tenant, ref, () => atMs);
const hear = () => site.recall.hearDeletions(tenant);
/** As if 30 days and so many hours had gone by. */
async function purgeInCloud(hours: number): Promise<void> {
  const nowMs = (): number => Date.now() + hours * 60 * 60_000;
  const { archive } = site.cloud;
  const ingest = createIngestStep({ archive, nowMs, log: silentLogger });
  const step = createPurgeStep({ archive, ingest, purgeAfterMs: 0, nowMs, log: silentLogger });
  await step({ tenant: site.cloud.tenant });
}
/** One of the cloud's packs here, as if it had not been uploaded yet. */
async function arriveHere(ref: PackRef): Promise<void> {
  const { archive, tenant: theirs } = site.cloud;
  const bytes = await archive.packs.read(packKey(theirs, ref));
  const { sha256 = '', lengthBytes } = (await archive.index.getPack(theirs, ref))!;
  await site.packs.create(keyOf(ref), bytes, { lengthBytes, sha256 });
  const { instances } = await inspectPack(site.packs, keyOf(ref), { tenant, ref });
  await indexInstances(site.index, instances);
  await site.index.createPack({
    ...ref,
    tenant,
    state: 'sealed',
    instanceCount: 1,
    lengthBytes,
    sha256,
    createdAtMs: 1,
  });
}

describe('what the cloud has deleted', () => {
  it('is shown here no more, with the bytes on this disk untouched, and DELETE here is 405', async () => {
    await open();
    await site.bringHere(site.cloud.packs);
    expect(await found()).toBe(3);
    await deleteInCloud(second.ref);
    await hear();
    expect(await found()).toBe(2);
    expect(await statusOf(second)).toBe(410);
    expect([await statusOf(first), await statusOf(third)]).toEqual([200, 200]);
    expect(await site.index.getStudy(tenant, uids)).toMatchObject({ instanceCount: 2 });
    expect(await site.packs.head(keyOf(site.cloud.packs[0]!))).toBeDefined();
    const { items } = await site.index.listTombstones(tenant, uids, { limit: 9 });
    expect(items).toMatchObject([{ attributes: {} }]);
    expect((await ask(pathOf(first), 'DELETE')).status).toBe(405);
    await deleteInCloud(uids);
    await hear();
    expect((await ask(`/studies/${uids.studyInstanceUid}`)).status).toBe(410);
    expect(await site.index.search(tenant, { level: 'study', keys: [], limit: 9, offset: 0 })).toMatchObject({
      matches: [],
    });
  });

  it('goes from packs that were archived before, under whatever packId, and stays in those that were not', async () => {
    await open();
    await site.cloud.add([second.file]);
    await site.cloud.add([third.file]);
    const [, duplicate, waiting] = site.cloud.packs as [PackRef, PackRef, PackRef];
    await site.bringHere([duplicate]);
    await arriveHere(waiting);
    await deleteInCloud(uids);
    await hear();
    expect(await statusOf(second)).toBe(410);
    expect(await site.packs.head(keyOf(waiting))).toBeDefined();
    expect(await bytesOf(third)).toEqual(Buffer.from(third.dataSet));
    expect(await site.index.getPack(tenant, waiting)).toMatchObject({ state: 'sealed' });
  });

  it('does not come here with what the cloud was saying of the study at that moment', async () => {
    await open();
    let go = (): void => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    let isHeld = false;
    site.trick = (request, answer) => {
      if (!request.url.endsWith('/gateway/instances')) return undefined;
      return (async () => {
        const said = await answer();
        isHeld = true;
        await held;
        return said;
      })();
    };
    const asking = ask(`/studies/${uids.studyInstanceUid}/metadata`);
    while (!isHeld) await new Promise((resolve) => setTimeout(resolve, 5));
    await deleteInCloud(second.ref);
    await hear();
    go();
    expect(((await (await asking).json()) as unknown[]).length).toBe(2);
    expect(await statusOf(second)).toBe(410);
  });

  it('is there again when the cloud has restored it, and can be deleted again', async () => {
    await open();
    await site.bringHere(site.cloud.packs);
    await deleteInCloud(uids);
    await hear();
    expect(await statusOf(first)).toBe(410);
    await restoreInstances(site.cloud.index, site.cloud.tenant, uids, Date.now() + 1);
    await hear();
    for (const instance of made) expect(await bytesOf(instance)).toEqual(Buffer.from(instance.dataSet));
    await deleteInCloud(first.ref, Date.now() + 2);
    await hear();
    expect([await statusOf(first), await statusOf(second)]).toEqual([410, 200]);
  });

  it('is heard page by page, from where it was left, the latest more than once', async () => {
    await open();
    await site.bringHere(site.cloud.packs);
    const old = Date.now() - 60 * 60_000;
    await deleteInCloud(first.ref, old);
    await hear();
    const cursor = await site.index.deletionCursor(tenant);
    const heard: number[] = [];
    site.trick = (request, answer) =>
      request.url.endsWith('/gateway/deletions')
        ? (async () => {
            const said = await answer();
            heard.push(((await said.clone().json()) as { deletions: unknown[] }).deletions.length);
            return said;
          })()
        : undefined;
    await deleteInCloud(second.ref);
    await hear();
    await hear();
    // The one of an hour ago is behind, the one of this moment may have neighbours that are being written.
    expect(heard).toEqual([1, 1]);
    expect(await site.index.deletionCursor(tenant)).not.toBe(cursor);
    expect(await found()).toBe(1);
  });

  it('is counted here when it is heard of again, should the first time have ended half-way', async () => {
    await open();
    await site.bringHere(site.cloud.packs);
    await deleteInCloud(uids);
    const { recount } = site.index;
    Object.assign(site.index, { recount: () => Promise.reject(new Error('the disk is full')) });
    await expect(hear()).rejects.toThrow('the disk is full');
    Object.assign(site.index, { recount });
    await hear();
    expect(await site.index.getStudy(tenant, uids)).toBeUndefined();
  });

  it('goes also from a copy that the cloud had archived, of which its receipt comes here later', async () => {
    await open();
    await site.cloud.add([second.file]);
    const [, copy] = site.cloud.packs as [PackRef, PackRef];
    await arriveHere(copy);
    // Longer ago than is told again.
    await deleteInCloud(uids, Date.now() - 60 * 60_000);
    await hear();
    const archivedAtMs = (await site.cloud.index.getPack(site.cloud.tenant, copy))?.archivedAtMs ?? 0;
    const archived = { ...(await site.record(copy))!, state: 'archived', archivedAtMs } as const;
    await site.recall.hideDeleted({ ...archived, archivedAtMs: Date.now() });
    expect(await statusOf(second)).toBe(200);
    await site.recall.hideDeleted(archived);
    await site.index.updatePack(tenant, copy, ['sealed'], { state: 'archived', archivedAtMs });
    expect(await statusOf(second)).toBe(410);
    expect(await site.index.getStudy(tenant, uids)).toBeUndefined();
  });

  it('goes also where it was restored and deleted again before any of that was heard of', async () => {
    await open();
    await site.cloud.add([second.file]);
    const [whole, copy] = site.cloud.packs as [PackRef, PackRef];
    await site.bringHere([copy]);
    const archivedAtMs = Date.now();
    await site.index.updatePack(tenant, copy, ['archived'], { archivedAtMs });
    await deleteInCloud(second.ref, archivedAtMs - 2);
    await hear();
    expect(await site.index.getVersions(tenant, second.ref)).toHaveLength(1);
    await restoreInstances(site.cloud.index, site.cloud.tenant, second.ref, archivedAtMs - 1);
    await deleteInCloud(second.ref, archivedAtMs + 1);
    await hear();
    expect(await site.index.getVersions(tenant, second.ref)).toEqual([]);
    expect(await site.record(whole)).toBeUndefined();
  });

  it('is heard of later, while the cloud cannot be reached', async () => {
    await open();
    await site.bringHere(site.cloud.packs);
    await deleteInCloud(second.ref);
    await site.stopCloud();
    await expect(hear()).rejects.toMatchObject({ code: 'unavailable' });
    expect(await statusOf(second)).toBe(200);
    await site.startCloud();
    for (let tries = 0; (await statusOf(second)) !== 410 && tries < 500; tries++) {
      await hear().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(await statusOf(second)).toBe(410);
  });
});

describe('a pack that the cloud has written anew', () => {
  it('is given up here: what is left of it comes from the new one, and its file goes', async () => {
    await open();
    const other = makeInstance({ ...third.ref, instanceNumber: 33, rows: 8, columns: 8 });
    await site.cloud.add([other.file]);
    await site.bringHere(site.cloud.packs);
    await deleteInCloud(second.ref);
    await purgeInCloud(1);
    await purgeInCloud(3);
    await hear();
    const [old] = site.cloud.packs as [PackRef];
    expect(await site.packs.head(keyOf(old))).toBeUndefined();
    expect(await site.packs.head(manifestKeyOf(old))).toBeUndefined();
    expect(await site.record(old)).toBeUndefined();
    for (const instance of [first, third]) expect(await bytesOf(instance)).toEqual(Buffer.from(instance.dataSet));
    expect(await statusOf(second)).toBe(410);
    const versions = await site.index.getVersions(tenant, third.ref);
    expect(versions.map(({ digest, state }) => [digest, state])).toEqual([
      [third.digest, 'current'],
      [other.digest, 'conflict'],
    ]);
  });

  it('does not alarm whoever wants something of it before that is heard of: he asks once more', async () => {
    await open();
    const [old] = site.cloud.packs as [PackRef];
    await site.bringHere([old]);
    await site.evict([old]);
    await deleteInCloud(second.ref);
    await purgeInCloud(1);
    const answer = await ask(pathOf(first));
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    expect(site.recall.isLost(old)).toBe(false);
    expect(await bytesOf(first)).toEqual(Buffer.from(first.dataSet));
    expect(await statusOf(third)).toBe(200);
    // What was deleted is looked for in it still, as far as is known here.
    expect(await site.record(old)).toBeDefined();
    await purgeInCloud(3);
    await hear();
    expect(await statusOf(second)).toBe(410);
    expect(await site.record(old)).toBeUndefined();
  });

  it('ends the mending of a damaged copy: there is nothing to be mended any more', async () => {
    await open();
    const [old] = site.cloud.packs as [PackRef];
    await site.bringHere([old]);
    const record = (await site.record(old))!;
    await deleteInCloud(uids);
    await purgeInCloud(1);
    await hear();
    await expect(site.recall.fetchPack(record)).rejects.toMatchObject({ code: 'unavailable' });
    expect(site.recall.isLost(old)).toBe(false);
    expect(await site.record(old)).toBeUndefined();
    expect(await site.packs.head(keyOf(old))).toBeUndefined();
  });
});
