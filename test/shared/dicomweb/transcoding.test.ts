/**
 * Instances and pixel data in other transfer syntaxes than they are stored in, over a real archive and through real threads: mixed studies,
 * what is corrected and what is left out, and what is held while a reader is slow.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import { type FrameTable, locateFrames } from '#shared/dicom/frame-ranges.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import type { TranscodeRequest } from '#shared/imaging/transcode.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';
import { codestreamOf, JPEG_LS } from './made-codestreams.ts';
import { partsOf } from './read-multipart.ts';

const EXPLICIT = '1.2.840.10008.1.2.1';
const HTJ2K = '1.2.840.10008.1.2.4.201';
const RLE = '1.2.840.10008.1.2.5';
const JPEG = '1.2.840.10008.1.2.4.50';
const study = freshUid();
const series = freshUid();
const ramp = (length: number, seed = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 13 + seed) & 0xff);
const of = (options: InstanceOptions): MadeInstance =>
  makeInstance({ studyInstanceUid: study, seriesInstanceUid: series, rows: 8, columns: 8, ...options });

const frames = [ramp(128, 1), ramp(128, 2), ramp(128, 3)];
const native = of({ pixels: ramp(128) });
const implicit = of({ transferSyntaxUid: '1.2.840.10008.1.2', pixels: ramp(128) });
const bigEndian = of({ transferSyntaxUid: '1.2.840.10008.1.2.2', pixels: Buffer.from(ramp(128)).swap16() });
const deflated = of({ transferSyntaxUid: '1.2.840.10008.1.2.1.99', pixels: ramp(128) });
const multiFrame = of({
  frames: 3,
  transferSyntaxUid: JPEG_LS,
  pixels: await Promise.all(frames.map((frame) => codestreamOf(frame, { rows: 8, columns: 8 }))),
  extra: [{ tag: 0x7fe00001, vr: 'OV', value: new Uint8Array(24) }],
});
const report = of({ pixels: 'none' });
const video = of({ transferSyntaxUid: '1.2.840.10008.1.2.4.102', frames: 2, pixels: [ramp(80)] });
const damaged = of({ transferSyntaxUid: JPEG_LS, pixels: [ramp(50)] });
const color = of({
  samplesPerPixel: 3,
  photometricInterpretation: 'RGB',
  bitsAllocated: 8,
  bitsStored: 8,
  pixels: ramp(192),
});
const convertible = [native, implicit, bigEndian, deflated, multiFrame, report, color];

const pool = createRenderPool({ timeoutMs: 60_000 });
let running = 0;
let mostRunning = 0;
let transcoded = 0;
let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive(
    [...convertible, video, damaged].map(({ file }) => file),
    { packSize: 4 },
  );
  const transcode = async (request: TranscodeRequest) => {
    transcoded++;
    mostRunning = Math.max(mostRunning, ++running);
    return pool.transcode(request).finally(() => running--);
  };
  service = serviceOver(fixture, { transcode });
});
afterAll(async () => {
  await pool.close();
  await fixture?.close();
});

const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

async function opened(file: Uint8Array) {
  const header = readHeader(file);
  const { table } = await locateFrames(header, file.length, async ({ offsetBytes, lengthBytes }) =>
    file.subarray(offsetBytes, offsetBytes + lengthBytes),
  );
  const { offsetBytes = 0, lengthBytes = 0 } = header.pixelData ?? {};
  return {
    header,
    table,
    json: toDicomJson(header.dataSet),
    value: file.subarray(offsetBytes, offsetBytes + lengthBytes),
  };
}

async function instance(made: MadeInstance, syntax?: string) {
  const accept = `application/dicom${syntax === undefined ? '' : `; transfer-syntax=${syntax}`}`;
  const response = await ask(service, pathOf(made), { accept });
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    `application/dicom; transfer-syntax=${syntax ?? EXPLICIT}`,
  ]);
  const found = await opened(await bytesOf(response));
  expect(found.header.tolerated).toEqual([]);
  expect(found.header.fileMeta?.ascii(Tag.TransferSyntaxUID)).toBe(syntax ?? EXPLICIT);
  expect(found.header.fileMeta?.ascii(Tag.MediaStorageSOPInstanceUID)).toBe(made.ref.sopInstanceUid);
  return found;
}

const fragmentsOf = (table: FrameTable): number => (table.kind === 'encapsulated' ? table.frames.length : 0);

describe('an instance', () => {
  it('comes in Explicit VR Little Endian when no transfer syntax is asked for, whatever it is stored in (dcm4chee#1749)', async () => {
    for (const made of [native, implicit, bigEndian, deflated]) {
      const { value, json } = await instance(made);
      expect(Buffer.from(value)).toEqual(Buffer.from(ramp(128)));
      expect(json['00080018']?.Value).toEqual([made.ref.sopInstanceUid]);
    }
    const { value, json } = await instance(multiFrame);
    expect(Buffer.from(value)).toEqual(Buffer.concat(frames));
    expect(json).not.toHaveProperty('7FE00001');
    expect((await instance(report)).header.pixelData).toBeUndefined();
  });

  it('comes compressed, with a table of its frames, and says what it is', async () => {
    for (const [syntax, photometric] of [
      [HTJ2K, 'YBR_RCT'],
      [RLE, 'RGB'],
    ] as const) {
      // biome-ignore format: a table
      const many = await instance(multiFrame, syntax);
      expect(fragmentsOf(many.table)).toBe(3);
      const single = await instance(color, syntax);
      expect(fragmentsOf(single.table)).toBe(1);
      expect([single.json['00280004']?.Value, single.json['00280006']?.Value]).toEqual([[photometric], [0]]);
      expect(single.json).not.toHaveProperty('00282110');
      for (const made of [implicit, bigEndian]) expect(fragmentsOf((await instance(made, syntax)).table)).toBe(1);
    }
    const bytes = await bytesOf(await ask(service, pathOf(multiFrame), { accept: `application/dicom; transfer-syntax=${RLE}` })); // biome-ignore format: one call
    const { offsetBytes = 0 } = readHeader(bytes).pixelData ?? {};
    expect(bytes.readUInt32LE(offsetBytes + 4)).toBe(12);
    const second = bytes.readUInt32LE(offsetBytes + 8 + 4);
    expect(bytes.readUInt32LE(offsetBytes + 8 + 12 + second)).toBe(0xe000fffe);
  });

  it('says what JPEG Baseline has lost, under the UID it had', async () => {
    const { json } = await instance(color, JPEG);
    expect(json['00282110']?.Value).toEqual(['01']);
    expect(json['00282114']?.Value).toEqual(['ISO_10918_1']);
    expect(json['00082111']?.Value).toEqual(['Lossy compression: JPEG Baseline (Process 1)']);
    expect(Number(json['00282112']?.Value?.[0])).toBeGreaterThan(0);
    expect(json['00280004']?.Value).toEqual(['YBR_FULL']);
  });

  it('is 406 where it cannot be had so, and comes as it is stored for transfer-syntax=* (dcm4chee#1985, #3608)', async () => {
    for (const [made, accept] of [
      [video, 'application/dicom'],
      [video, '*/*'],
      [video, 'multipart/related; type="application/dicom"'],
      [damaged, 'application/dicom'],
      [damaged, '*/*'],
      [native, `application/dicom; transfer-syntax=${JPEG}`],
      [native, 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.81'],
      [native, 'application/dicom; transfer-syntax=1.2.840.10008.1.2.2'],
      [deflated, `application/dicom; transfer-syntax=${RLE}`],
    ] as const) {
      const response = await ask(service, pathOf(made), { accept });
      expect([made.transferSyntaxUid, accept, response.status]).toEqual([made.transferSyntaxUid, accept, 406]);
      expect((await problemOf(response)).detail).toContain('transfer-syntax=');
    }
    for (const made of [video, damaged]) {
      const response = await ask(service, pathOf(made), { accept: 'application/dicom; transfer-syntax=*' });
      const bytes = await bytesOf(response);
      expect(bytes.subarray(readHeader(bytes).dataSetOffsetBytes)).toEqual(Buffer.from(made.dataSet));
    }
  });

  it('has the range that is liked best of those that can be had', async () => {
    const accept = `application/dicom; transfer-syntax=${JPEG}, application/dicom; transfer-syntax=${RLE};q=0.5, application/dicom;q=0.1`;
    const typeOf = async (made: MadeInstance) =>
      (await ask(service, pathOf(made), { accept })).headers.get('content-type');
    expect(await typeOf(color)).toContain(JPEG);
    expect(await typeOf(native)).toContain(RLE);
    expect(await typeOf(deflated)).toContain(EXPLICIT);
  });

  it('keeps its pixels where there are overlays in them', async () => {
    const overlay = of({
      bitsStored: 12,
      extra: [
        { tag: 0x60000100, vr: 'US', value: [16] },
        { tag: 0x60000102, vr: 'US', value: [12] },
      ],
    });
    await fixture.add([overlay.file]);
    expect((await ask(service, pathOf(overlay), { accept: `application/dicom; transfer-syntax=${RLE}` })).status).toBe(
      406,
    );
    await instance(overlay);
  });

  it('is neither read nor decoded for HEAD', async () => {
    const before = transcoded;
    const response = await ask(service, pathOf(multiFrame), {}, 'HEAD');
    expect([response.status, response.headers.get('content-length'), transcoded]).toEqual([200, null, before]);
  });
});

describe('a study', () => {
  it('comes in one transfer syntax; what is damaged as it is stored, what nobody decodes not at all, with 206', async () => {
    const response = await ask(service, `/studies/${study}`, { accept: '*/*' });
    expect(response.status).toBe(206);
    expect(response.headers.get('warning')).toContain(
      '1 of 10 instances cannot be given in the transfer syntax asked for',
    );
    const parts = await partsOf(response);
    const labels = new Map(
      parts.map(({ headers }) => [headers['content-location']?.split('/').at(-1), headers['content-type']]),
    );
    for (const made of convertible)
      expect(labels.get(made.ref.sopInstanceUid)).toBe(`application/dicom; transfer-syntax=${EXPLICIT}`);
    expect(labels.get(damaged.ref.sopInstanceUid)).toBe(`application/dicom; transfer-syntax=${JPEG_LS}`);
    expect(labels.has(video.ref.sopInstanceUid)).toBe(false);
    for (const { headers, body } of parts) {
      const said = /transfer-syntax=(.+)$/.exec(headers['content-type'] ?? '')?.[1];
      expect(readHeader(body).transferSyntax.uid).toBe(said);
    }
  });

  it('comes whole, as it is stored, for transfer-syntax=*', async () => {
    const accept = 'multipart/related; type="application/dicom"; transfer-syntax=*';
    const response = await ask(service, `/studies/${study}`, { accept });
    expect([response.status, (await partsOf(response)).length]).toEqual([200, 10]);
  });

  it('lets go of what was begun when the client leaves, and takes few turns at a time', async () => {
    for (let i = 0; i < 10; i++) {
      const response = await ask(service, `/studies/${study}`, { accept: `multipart/related; type="application/dicom"; transfer-syntax=${RLE}` }); // biome-ignore format: one call
      const reader = response.body!.getReader();
      await reader.read();
      await reader.cancel();
    }
    expect((await instance(multiFrame)).value.length).toBe(384);
    expect(mostRunning).toBeLessThanOrEqual(4);
  });
});

describe('pixel data', () => {
  it('of a series are all frames, native by default, with their places', async () => {
    const response = await ask(service, `/studies/${study}/series/${series}/pixeldata`);
    expect(response.status).toBe(206);
    expect(response.headers.get('content-type')).toMatch(/^multipart\/related; type="application\/octet-stream"/);
    const parts = await partsOf(response);
    const labels = Map.groupBy(parts, ({ headers }) => headers['content-type']);
    // One of each, three of the multi-frame one, and one with overlays; the damaged one is found out under way.
    expect(labels.get(`application/octet-stream; transfer-syntax=${EXPLICIT}`)?.length).toBe(9);
    expect(labels.get(`image/jls; transfer-syntax=${JPEG_LS}`)?.map(({ body }) => body)).toEqual([
      Buffer.from(ramp(50)),
    ]);
  });

  it('of an instance come as its frames do', async () => {
    const parts = await partsOf(await ask(service, `${pathOf(multiFrame)}/pixeldata`));
    expect(parts.map(({ body }) => body)).toEqual(frames.map((frame) => Buffer.from(frame)));
    expect(parts.map(({ headers }) => headers['content-location'])).toEqual(
      [1, 2, 3].map((number) => expect.stringMatching(`${pathOf(multiFrame)}/frames/${number}$`)),
    );
    const stored = await partsOf(
      await ask(service, `${pathOf(multiFrame)}/pixeldata`, { accept: 'multipart/related; type=image/jls' }),
    );
    expect(stored.map(({ headers }) => headers['content-type'])).toEqual(
      Array(3).fill(`image/jls; transfer-syntax=${JPEG_LS}`),
    );
  });

  it('are 404 where there are none, and 406 where none can be had so', async () => {
    expect((await ask(service, `${pathOf(report)}/pixeldata`)).status).toBe(404);
    expect((await ask(service, `${pathOf(video)}/pixeldata`)).status).toBe(406);
    const any = 'multipart/related; type=application/octet-stream; transfer-syntax=*';
    expect((await ask(service, `/studies/${study}/pixeldata`, { accept: any })).status).toBe(200);
  });
});
