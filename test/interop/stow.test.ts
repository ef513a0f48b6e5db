/**
 * STOW-RS into the gateway by clients that are not ours: curl with every sample, Orthanc's DICOMweb plugin, and Node's own HTTP with
 * an instance of more than a gigabyte. Everything comes back by WADO-RS with the data set that was sent.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identityOf } from '#shared/archive/instance-reader.ts';
import type { InstanceRef } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import {
  defaultElements,
  elementHeader,
  encodeElements,
  freshUid,
  type MadeInstance,
  makeInstance,
} from '#test/support/dicom-factory.ts';
import { DicomwebClient, sha256 } from '#test/support/dicomweb-client.ts';
import { filesBelow, samplesFolder, soundFolders } from '#test/support/samples.ts';
import { processMemoryKb, type System, startSystem } from '#test/support/system.ts';
import { orthanc } from '../bench/servers.ts';
import { answerOf, multipartOf } from '../shared/dicomweb/storing.ts';
import { hasPrograms, run } from './dcmtk.ts';

const samples = samplesFolder();
const hasCurl = hasPrograms('curl');
const MIB = 1024 * 1024;
const ROWS = 1024;
const FRAME_BYTES = ROWS * ROWS * 2;
const FRAMES = 600;
const MAX_GROWTH_KB = 100 * 1024;
const SETTLE_MS = 3_000;

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

/** Undefined for what nobody can identify. */
function versionOf(file: string): { ref: InstanceRef; digest: string } | undefined {
  const bytes = readFileSync(file);
  try {
    const header = readHeader(bytes);
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identityOf(header);
    const digest = sha256(bytes.subarray(header.dataSetOffsetBytes));
    return { ref: { studyInstanceUid, seriesInstanceUid, sopInstanceUid }, digest };
  } catch {
    return undefined;
  }
}

const isBroken = (file: string): boolean =>
  relative(samples ?? '', file)
    .split('/')
    .includes('broken');

describe.skipIf(process.platform !== 'linux')(`an instance of ${Math.round((FRAMES * FRAME_BYTES) / 1e6)} MB`, () => {
  it('streams through flat memory and comes back the same', async () => {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid(), sopInstanceUid: freshUid() };
    const encoding = { explicitVr: true, littleEndian: true };
    const start = makeInstance({ ...ref, pixels: 'none' });
    const head = Buffer.concat([
      encodeElements(defaultElements(ref, { rows: ROWS, columns: ROWS, frames: FRAMES }), encoding),
      elementHeader(0x7fe00010, 'OW', FRAME_BYTES * FRAMES, encoding),
    ]);
    const hash = createHash('sha256');
    const frame = Buffer.alloc(FRAME_BYTES, 'pixels of some kind, and line ends too\r\n--b');
    let lengthBytes = 0;
    function* pieces(): Generator<Uint8Array> {
      const count = (piece: Uint8Array): Uint8Array => {
        hash.update(piece);
        lengthBytes += piece.length;
        return piece;
      };
      yield Buffer.from('--boundary\r\nContent-Type: application/dicom\r\n\r\n');
      yield start.file.subarray(0, start.dataSetOffsetBytes);
      yield count(head);
      for (let number = 1; number <= FRAMES; number++) {
        const own = Buffer.from(frame);
        own.writeUInt32LE(number);
        yield count(own);
      }
      yield Buffer.from('\r\n--boundary--\r\n');
    }
    // Threads and buffers that every gateway has sooner or later.
    const before = makeInstance({ rows: 2400, columns: 2400 });
    const first = await fetch(`${dicomweb.baseUrl}/studies`, {
      method: 'POST',
      headers: { 'content-type': 'application/dicom' },
      body: new Uint8Array(before.file),
    });
    expect(first.status).toBe(200);
    await pause(SETTLE_MS);
    const pid = system.gatewayPid()!;
    const beforeKb = processMemoryKb(pid, 'VmRSS');
    writeFileSync(`/proc/${pid}/clear_refs`, '5'); // proc(5): the peak begins anew
    const startedAtMs = performance.now();
    const answer = await new Promise<{ status: number | undefined; body: Readable }>((resolve, reject) => {
      const outgoing = request(`${dicomweb.baseUrl}/studies/${ref.studyInstanceUid}`, {
        method: 'POST',
        headers: { 'content-type': 'multipart/related; type="application/dicom"; boundary=boundary' },
      });
      outgoing.on('response', (incoming) => resolve({ status: incoming.statusCode, body: incoming }));
      outgoing.on('error', reject);
      pipeline(Readable.from(pieces()), outgoing).catch(reject);
    });
    const seconds = (performance.now() - startedAtMs) / 1000;
    const growthKb = processMemoryKb(pid, 'VmHWM') - beforeKb;
    answer.body.resume();
    console.log(
      `${Math.round(lengthBytes / 1e6)} MB by STOW-RS: ${Math.round(lengthBytes / 1e6 / seconds)} MB/s, RSS of the gateway ${Math.round(beforeKb / 1024)} MB, grown by at most ${Math.round(growthKb / 1024)} MB`,
    );
    expect(answer.status).toBe(200);
    expect(lengthBytes).toBeGreaterThan(1000 * MIB);
    expect(await dicomweb.dataSetDigest(ref)).toEqual({ digest: hash.digest('hex'), lengthBytes });
    expect(growthKb).toBeLessThanOrEqual(MAX_GROWTH_KB);
  });
});

describe.skipIf(samples === undefined || !hasCurl)('curl', () => {
  it('stores every sample, a folder to a request, and each comes back as it was', async () => {
    const table: string[] = [];
    for (const folder of soundFolders) {
      const files = filesBelow(join(samples!, folder)).filter((file) => !isBroken(file));
      const config = join(work, 'curl.txt');
      const forms = files.map((file) => `form = "file=@\\"${file}\\";type=application/dicom"`);
      writeFileSync(config, forms.join('\n'));
      const answerFile = join(work, 'answer.json');
      const startedAtMs = performance.now();
      const curl = await run('curl', [
        ...['-sS', '-o', answerFile, '-w', '%{http_code}', '-K', config],
        ...['-H', 'Content-Type: multipart/related; type="application/dicom"', '-H', 'Accept: application/dicom+json'],
        `${dicomweb.baseUrl}/studies`,
      ]);
      const elapsedMs = performance.now() - startedAtMs;
      const json = JSON.parse(readFileSync(answerFile, 'utf8')) as DicomJson;
      const count = (key: string): number => json[key]?.Value?.length ?? 0;
      const versions = files.map((file) => versionOf(file));
      const [stored, failed, unknown] = [count('00081199'), count('00081198'), count('0008119A')];
      const conflicts = ((json['00081199']?.Value ?? []) as DicomJson[]).filter(
        (item) => item['00081196'] !== undefined,
      );
      const size = files.reduce((sum, file) => sum + readFileSync(file).length, 0);
      table.push(
        `  ${folder.padEnd(18)} ${curl.text}  ${String(files.length).padStart(4)} sent, ${String(stored).padStart(4)} stored (${conflicts.length} beside another), ${failed + unknown} refused, ${Math.round(elapsedMs)} ms, ${Math.round(size / 1e3 / elapsedMs)} MB/s`,
      );
      expect(stored).toBe(versions.filter((version) => version !== undefined).length);
      expect(stored + failed + unknown).toBe(files.length);
      expect(curl.text).toBe(stored === files.length && conflicts.length === 0 ? '200' : '202');
      for (const version of versions) {
        if (version === undefined) continue;
        expect((await dicomweb.dataSetDigest(version.ref, version.digest)).digest).toBe(version.digest);
      }
    }
    console.log(['curl, multipart/related', ...table].join('\n'));
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
