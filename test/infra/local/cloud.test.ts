/**
 * The local cloud as a whole: one DICOMweb however many functions serve it, and nobody else's pages.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCloud, startLocalCloud } from '#infra/local/cloud.ts';
import { silentLogger } from '#shared/log.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';

let folder: string;
let cloud: LocalCloud;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  cloud = await startLocalCloud({
    folder,
    host: '127.0.0.1',
    port: 0,
    tenant: 'default',
    viewer: () => ({ kind: 'missing', reason: 'there is none in this test.' }),
    log: silentLogger,
  });
});
afterAll(async () => {
  await cloud.close();
  await rm(folder, { recursive: true });
});

/** fetch() sets Host by itself. */
function statusOf(path: string, host: string, method = 'GET'): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const asking = request(`${cloud.url}${path}`, { method, headers: { host } }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    asking.on('error', reject);
    asking.end();
  });
}

describe('the local cloud', () => {
  it('answers nobody who calls it by a name that only leads here', async () => {
    for (const host of ['rebound.example', 'rebound.example:8080', '127.0.0.1.rebound.example', 'localhost.example']) {
      for (const [path, method] of [
        ['/dicomweb/studies', 'GET'],
        ['/gateway/uploads', 'POST'],
        ['/objects/default/1/2/3.zip', 'PUT'],
        ['/', 'GET'],
      ] as const) {
        expect([host, path, await statusOf(path, host, method)]).toEqual([host, path, 403]);
      }
    }
    for (const host of ['localhost', 'localhost:8080', '127.0.0.1:1', '[::1]:8080', '10.0.0.5']) {
      expect([host, await statusOf('/dicomweb/studies', host)]).toEqual([host, 200]);
    }
  });

  it('takes DELETE, from its own pages and from programs', async () => {
    const study = `${cloud.url}/dicomweb/studies/1.2`;
    const options = await fetch(study, { method: 'OPTIONS' });
    expect(options.headers.get('allow')).toContain('DELETE');
    const statusFor = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(study, { method: 'DELETE', headers })).status;
    expect(await statusFor({})).toBe(404);
    expect(await statusFor({ origin: cloud.url })).toBe(404);
    expect(await statusFor({ origin: 'http://localhost:3000' })).toBe(403);
    expect((await fetch(`${cloud.url}/dicomweb/studies`, { method: 'DELETE' })).status).toBe(405);
  });

  it('stores anew what was deleted, and keeps both apart', async () => {
    const instance = makeInstance();
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = instance.ref;
    const study = `${cloud.url}/dicomweb/studies/${studyInstanceUid}`;
    const path = `${study}/series/${seriesInstanceUid}/instances/${sopInstanceUid}`;
    const store = async (): Promise<number> => {
      const headers = { 'content-type': 'application/dicom', accept: 'application/dicom+json' };
      return (await fetch(`${cloud.url}/dicomweb/studies`, { method: 'POST', headers, body: instance.file })).status;
    };
    const statusNow = async (): Promise<number> => {
      const response = await fetch(path, { headers: { accept: 'application/dicom; transfer-syntax=*' } });
      await response.body?.cancel();
      return response.status;
    };
    expect([await store(), await statusNow()]).toEqual([200, 200]);
    expect((await fetch(study, { method: 'DELETE' })).status).toBe(204);
    expect(await statusNow()).toBe(410);
    expect([await store(), await statusNow()]).toEqual([200, 200]);
    expect(await cloud.archive.index.listPacks('default', instance.ref)).toHaveLength(2);
    expect((await fetch(path, { method: 'DELETE' })).status).toBe(204);
    expect(await statusNow()).toBe(410);
  });

  it('takes a slash at the end, and refuses methods, on every resource alike', async () => {
    const instance = '/dicomweb/studies/1.2/series/1.3/instances/1.4';
    expect(await statusOf('/dicomweb/studies/', 'localhost')).toBe(200);
    expect(await statusOf('/dicomweb/studies/1.2/series/', 'localhost')).toBe(200);
    for (const path of ['/dicomweb/series', '/dicomweb/series/', `${instance}/rendered`, `${instance}/metadata`]) {
      expect([path, await statusOf(path, 'localhost', 'POST')]).toEqual([path, 405]);
      expect([path, await statusOf(path, 'localhost', 'OPTIONS')]).toEqual([path, 200]);
    }
  });

  it('has the planes of volumes under each spelling of the standard', async () => {
    for (const name of ['renderedmpr', 'renderedMPR', 'rendered3d', 'rendered3D']) {
      for (const path of ['', '/series/1.3', '/series/1.3/instances/1.4']) {
        const url = `/dicomweb/studies/1.2${path}/${name}`;
        expect([url, await statusOf(url, 'localhost')]).toEqual([url, 404]);
      }
    }
  });

  it('takes instances, which can be found and had at once', async () => {
    const made = makeInstance();
    const url = `${cloud.url}/dicomweb/studies/${made.ref.studyInstanceUid}`;
    const options = await fetch(url, { method: 'OPTIONS' });
    expect(options.headers.get('allow')).toContain('POST');
    const headers = { 'content-type': 'application/dicom' };
    const stored = await fetch(url, { method: 'POST', headers, body: new Uint8Array(made.file) });
    expect(stored.status).toBe(200);
    const dicomweb = new DicomwebClient(`${cloud.url}/dicomweb`);
    expect((await dicomweb.search(`/studies?StudyInstanceUID=${made.ref.studyInstanceUid}`)).length).toBe(1);
    expect(Buffer.compare(await dicomweb.dataSet(made.ref), made.dataSet)).toBe(0);
  });
});
