/**
 * STOW-RS into the gateway by clients that are not ours: curl with every sample, Orthanc's DICOMweb plugin, and Node's own HTTP with
 * an instance of more than a gigabyte. Everything comes back by WADO-RS with the data set that was sent.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { filesBelow, samplesFolder } from '#test/support/samples.ts';
import { type System, startSystem } from '#test/support/system.ts';
import { orthanc } from '../bench/servers.ts';
import { answerOf, multipartOf } from '../shared/dicomweb/storing.ts';
import { storeSamples } from './curl-store.ts';
import { hasPrograms } from './dcmtk.ts';
import { LARGE_FRAME_BYTES, storeLarge } from './large-store.ts';

const samples = samplesFolder();
const hasCurl = hasPrograms('curl');
const FRAMES = 600;
const MAX_GROWTH_KB = 100 * 1024;

let work: string;
let system: System;
let dicomweb: DicomwebClient;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'archipel-stow-'));
  system = await startSystem({ folder: join(work, 'data') });
  dicomweb = new DicomwebClient(`${system.gatewayUrl}/dicomweb`);
});
afterAll(async () => {
  await system?.stop();
  rmSync(work, { recursive: true, force: true });
});

describe.skipIf(process.platform !== 'linux')(
  `an instance of ${Math.round((FRAMES * LARGE_FRAME_BYTES) / 1e6)} MB`,
  () => {
    it('streams through flat memory and comes back the same', async () => {
      expect(await storeLarge(dicomweb, system.gatewayPid()!, FRAMES)).toBeLessThanOrEqual(MAX_GROWTH_KB);
    });
  },
);

describe.skipIf(samples === undefined || !hasCurl)('curl', () => {
  it('stores every sample, a folder to a request, and each comes back as it was', async () => {
    await storeSamples(dicomweb, work);
  });

  it('gets a definite answer for every broken sample, and what it sends with it is stored', async () => {
    const files = [...filesBelow(join(samples!, 'broken')), ...filesBelow(join(samples!, 'generated', 'broken'))];
    const statuses = new Map<number, number>();
    for (const file of files) {
      const good = makeInstance();
      const response = await fetch(`${dicomweb.baseUrl}/studies`, {
        method: 'POST',
        headers: { 'content-type': 'multipart/related; type="application/dicom"; boundary=b' },
        body: new Uint8Array(multipartOf([readFileSync(file), good.file])),
      });
      const answer = await answerOf(response);
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      expect([200, 202]).toContain(answer.status);
      expect(answer.stored.at(-1)?.[1]).toBe(good.ref.sopInstanceUid);
      expect(answer.stored.length + answer.failed.length + answer.unknown.length).toBe(2);
    }
    console.log(
      `broken samples beside a good one: ${[...statuses].map(([status, n]) => `${n} times ${status}`).join(', ')}`,
    );
  });
});

describe.skipIf(orthanc.missing !== undefined)('Orthanc', () => {
  it('sends studies by its STOW-RS client', async () => {
    const studyInstanceUid = freshUid();
    const made = [
      makeInstance({ studyInstanceUid, rows: 256, columns: 256 }),
      makeInstance({ studyInstanceUid, transferSyntaxUid: '1.2.840.10008.1.2' }),
      makeInstance({ studyInstanceUid, modality: 'SR', pixels: 'none' }),
    ];
    const folder = join(work, 'orthanc');
    mkdirSync(folder);
    const peer = await orthanc.start({ folder });
    try {
      if (peer.dicomweb === undefined)
        return console.warn('SKIPPED: Orthanc has no DICOMweb plugin (orthanc-dicomweb)');
      const rest = peer.dicomweb.replace(/\/dicom-web$/, '');
      const call = async (method: string, path: string, body: string | Uint8Array<ArrayBuffer>): Promise<DicomJson> => {
        const response = await fetch(rest + path, { method, body });
        if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
        return (await response.json().catch(() => ({}))) as DicomJson;
      };
      await call('PUT', '/dicom-web/servers/gateway', JSON.stringify({ Url: `${dicomweb.baseUrl}/` }));
      const ids: string[] = [];
      for (const { file } of made) {
        const answer = (await call('POST', '/instances', new Uint8Array(file))) as unknown as { ID: string };
        ids.push(answer.ID);
      }
      await call('POST', '/dicom-web/servers/gateway/stow', JSON.stringify({ Resources: ids }));
      await expectStored(made);
      // Again: the gateway has them, and says so.
      await call('POST', '/dicom-web/servers/gateway/stow', JSON.stringify({ Resources: ids }));
      const study = await dicomweb.search(`/studies?StudyInstanceUID=${studyInstanceUid}`);
      expect(study[0]?.['00201208']?.Value).toEqual([made.length]);
    } finally {
      await peer.stop();
    }
  });

  async function expectStored(made: readonly MadeInstance[]): Promise<void> {
    for (const { ref, dataSet } of made) expect(Buffer.compare(await dicomweb.dataSet(ref), dataSet)).toBe(0);
  }
});
