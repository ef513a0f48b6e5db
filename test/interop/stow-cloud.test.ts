/**
 * STOW-RS into the cloud of a real one-machine system: curl with every sample, an instance of more than a gigabyte, a cloud that is
 * killed in the middle, and a gateway that sees what it never sent.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { samplesFolder } from '#test/support/samples.ts';
import { type System, startSystem, until } from '#test/support/system.ts';
import { multipartOf } from '../shared/dicomweb/storing.ts';
import { storeSamples } from './curl-store.ts';
import { hasPrograms } from './dcmtk.ts';
import { LARGE_FRAME_BYTES, storeLarge } from './large-store.ts';

const FRAMES = 150;
const MAX_GROWTH_KB = 160 * 1024;

let work: string;
let system: System;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'archipel-stow-cloud-'));
  system = await startSystem({ folder: join(work, 'data') });
});
afterAll(async () => {
  await system?.stop();
  rmSync(work, { recursive: true, force: true });
});

const multipart = { 'content-type': 'multipart/related; type="application/dicom"; boundary=b' };
const scratchFiles = (): string[] => readdirSync(join(work, 'data', 'cloud', 'incoming'));

it.skipIf(samplesFolder() === undefined || !hasPrograms('curl'))(
  'takes every sample from curl, a folder to a request, and gives each back as it was',
  async () => {
    await storeSamples(system.dicomweb, work);
    expect(scratchFiles()).toEqual([]);
  },
);

describe.skipIf(process.platform !== 'linux')(
  `an instance of ${Math.round((FRAMES * LARGE_FRAME_BYTES) / 1e6)} MB`,
  () => {
    it('goes by scratch storage into the archive in flat memory and comes back the same', async () => {
      expect(await storeLarge(system.dicomweb, system.cloudPid, FRAMES)).toBeLessThanOrEqual(MAX_GROWTH_KB);
      expect(scratchFiles()).toEqual([]);
    });
  },
);

describe('what was stored into the cloud', () => {
  it('is found and had at a gateway that never saw it', async () => {
    const studyInstanceUid = freshUid();
    const made = Array.from({ length: 3 }, () => makeInstance({ studyInstanceUid, patientId: 'ELSEWHERE' }));
    const body = new Uint8Array(multipartOf(made.map(({ file }) => file)));
    const stored = await fetch(`${system.dicomweb.baseUrl}/studies`, { method: 'POST', headers: multipart, body });
    expect(stored.status).toBe(200);
    const gateway = new DicomwebClient(`${system.gatewayUrl}/dicomweb`);
    const [study] = await gateway.search('/studies?PatientID=ELSEWHERE');
    expect([study?.['0020000D']?.Value, study?.['00201208']?.Value]).toEqual([[studyInstanceUid], [3]]);
    for (const { ref, dataSet } of made) expect(Buffer.compare(await gateway.dataSet(ref), dataSet)).toBe(0);
  });

  it('survives a kill while more arrives, of which nothing is left', async () => {
    const [before, during] = [makeInstance(), makeInstance({ rows: 1500, columns: 1500 })];
    const stored = await fetch(`${system.dicomweb.baseUrl}/studies`, {
      method: 'POST',
      headers: multipart,
      body: new Uint8Array(multipartOf([before.file])),
    });
    expect(stored.status).toBe(200);
    const unfinished = request(`${system.dicomweb.baseUrl}/studies`, { method: 'POST', headers: multipart });
    unfinished.on('error', () => {});
    unfinished.write(multipartOf([during.file]).subarray(0, 4_000_000));
    await until('something to lie on scratch storage', 10_000, async () => scratchFiles().length > 0);
    await system.killEverything();
    await system.start();
    expect(scratchFiles()).toEqual([]);
    expect(Buffer.compare(await system.dicomweb.dataSet(before.ref), before.dataSet)).toBe(0);
    expect(await system.dicomweb.search(`/studies?StudyInstanceUID=${during.ref.studyInstanceUid}`)).toEqual([]);
  });
});
