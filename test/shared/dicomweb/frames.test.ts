/**
 * Frames over a real archive: every way of lying in a pack, and the Accept lists of real viewers.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange } from '#shared/archive/records.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { attributesWith } from '../imaging/image-fixture.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { codestreamOf } from './made-codestreams.ts';
import { partsOf } from './read-multipart.ts';

const ramp = (length: number, seed = 0): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * 13 + seed) & 0xff);
const jpegLs = '1.2.840.10008.1.2.4.80';
const stored = 'multipart/related; type=application/octet-stream; transfer-syntax=*';

const pictures = [ramp(32, 1), ramp(32, 2), ramp(32, 3)];
const codestreams = await Promise.all(pictures.map((picture) => codestreamOf(picture, { rows: 4, columns: 4 })));
const native = makeInstance({ rows: 4, columns: 4, frames: 3, pixels: ramp(96) });
const compressed = makeInstance({ rows: 4, columns: 4, frames: 3, transferSyntaxUid: jpegLs, pixels: codestreams });
const bits = makeInstance({
  rows: 3,
  columns: 3,
  frames: 3,
  bitsAllocated: 1,
  bitsStored: 1,
  pixels: Uint8Array.of(0b10110101, 0b01101011, 0b11010110, 0b00000101),
});
const bigEndian = makeInstance({ rows: 4, columns: 4, transferSyntaxUid: '1.2.840.10008.1.2.2', pixels: ramp(32) });
/** Odd frames of 8-bit samples in words: pairs reach over their borders. */
const bigEndianBytes = makeInstance({
  rows: 3,
  columns: 3,
  frames: 2,
  bitsAllocated: 8,
  bitsStored: 8,
  transferSyntaxUid: '1.2.840.10008.1.2.2',
  pixels: 'none',
  extra: [
    { tag: 0x00280002, vr: 'US', value: [1] },
    { tag: 0x00280004, vr: 'CS', value: 'MONOCHROME2' },
    { tag: 0x00280008, vr: 'IS', value: '2' },
    { tag: 0x00280010, vr: 'US', value: [3] },
    { tag: 0x00280011, vr: 'US', value: [3] },
    { tag: 0x00280100, vr: 'US', value: [8] },
    { tag: 0x00280101, vr: 'US', value: [8] },
    { tag: 0x00280102, vr: 'US', value: [7] },
    { tag: 0x00280103, vr: 'US', value: [0] },
    { tag: 0x7fe00010, vr: 'OW', value: new Uint8Array(Buffer.from(ramp(18)).swap16()) },
  ],
});
const deflated = makeInstance({
  rows: 4,
  columns: 4,
  frames: 2,
  transferSyntaxUid: '1.2.840.10008.1.2.1.99',
  pixels: ramp(64),
});
const damaged = makeInstance({ rows: 4, columns: 4, transferSyntaxUid: jpegLs, pixels: [ramp(50)] });
const video = makeInstance({
  rows: 4,
  columns: 4,
  frames: 2,
  transferSyntaxUid: '1.2.840.10008.1.2.4.102',
  pixels: [ramp(80)],
});
const report = makeInstance({ pixels: 'none' });

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  const all = [native, compressed, bits, bigEndian, bigEndianBytes, deflated, damaged, video, report];
  fixture = await makeArchive(all.map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const framesPath = ({ ref }: MadeInstance, list: string): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}/frames/${list}`;

async function frames(instance: MadeInstance, list: string, accept = stored): Promise<Buffer[]> {
  const response = await ask(service, framesPath(instance, list), { accept });
  expect(response.status).toBe(200);
  return (await partsOf(response)).map(({ body }) => body);
}

/** Codestreams of odd length are padded (PS3.5 §A.4). */
const padded = (bytes: Uint8Array): Buffer => Buffer.concat([bytes, Buffer.alloc(bytes.length % 2)]);

describe('frames', () => {
  it('come in the order asked for, repeated if asked for twice', async () => {
    const pixels = Buffer.from(ramp(96));
    const frame = (n: number): Buffer => pixels.subarray((n - 1) * 32, n * 32);
    expect(await frames(native, '1')).toEqual([frame(1)]);
    expect(await frames(native, '3,1,2,2')).toEqual([frame(3), frame(1), frame(2), frame(2)]);
  });

  it('are labelled with what they are, and where each is', async () => {
    const [part] = await partsOf(await ask(service, framesPath(native, '2'), { accept: stored }));
    expect(part?.headers).toEqual({
      'content-type': 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1',
      'content-location': `${base}${framesPath(native, '2')}`,
    });
  });

  it('come compressed to viewers that ask for an octet stream in any transfer syntax (cornerstone, OHIF)', async () => {
    for (const accept of [stored, stored.replace('application/octet-stream', '"application/octet-stream"')]) {
      const response = await ask(service, framesPath(compressed, '2,3'), { accept });
      expect(response.headers.get('content-type')).toMatch(/^multipart\/related; type="image\/jls"/);
      const parts = await partsOf(response);
      expect(parts.map(({ headers }) => headers['content-type'])).toEqual(
        Array(2).fill(`image/jls; transfer-syntax=${jpegLs}`),
      );
      expect(parts.map(({ body }) => body)).toEqual(codestreams.slice(1).map(padded));
    }
  });

  it.each([
    'multipart/related; type="image/jls"',
    `multipart/related; type="image/jls"; transfer-syntax=${jpegLs}`,
    'multipart/related; type="*/*"; transfer-syntax=*',
    'multipart/related; type="image/*"',
    `multipart/related; type=image/jpeg; q=0.5, multipart/related; type=image/jls, ${stored}`,
    `multipart/related; type=application/octet-stream; transfer-syntax=${jpegLs}`,
  ])('compressed are given for %s', async (accept) => {
    expect(await frames(compressed, '1', accept)).toEqual([padded(codestreams[0]!)]);
  });

  it('come as a single part when one is asked for so', async () => {
    const response = await ask(service, framesPath(compressed, '1'), { accept: 'image/jls' });
    expect(response.headers.get('content-type')).toBe(`image/jls; transfer-syntax=${jpegLs}`);
    expect(await bytesOf(response)).toEqual(padded(codestreams[0]!));
    const octets = await ask(service, `${framesPath(native, '1')}?accept=application/octet-stream`);
    expect(await bytesOf(octets)).toEqual(Buffer.from(ramp(32)));
    expect((await ask(service, framesPath(native, '1,2'), { accept: 'application/octet-stream' })).status).toBe(406);
  });

  it.each([
    undefined,
    '*/*',
    'multipart/related; type="*/*"',
    'multipart/related; type=application/octet-stream',
    'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1',
  ])('compressed are decoded for %s (cornerstoneWADOImageLoader#54)', async (accept) => {
    const response = await ask(service, framesPath(compressed, '3,1'), accept === undefined ? {} : { accept });
    expect(response.headers.get('content-type')).toMatch(/^multipart\/related; type="application\/octet-stream"/);
    const parts = await partsOf(response);
    expect(parts.map(({ body }) => body)).toEqual([Buffer.from(pictures[2]!), Buffer.from(pictures[0]!)]);
    const label = 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1';
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual([label, label]);
  });

  it('come in another codec, labelled as what they are (dcm4chee#3443, #4393)', async () => {
    for (const [accept, label] of [
      ['image/jp2', 'image/jp2; transfer-syntax=1.2.840.10008.1.2.4.90'],
      ['image/jphc', 'image/jphc; transfer-syntax=1.2.840.10008.1.2.4.201'],
      ['image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202', 'image/jphc; transfer-syntax=1.2.840.10008.1.2.4.202'],
      ['image/dicom-rle', 'image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5'],
      ['image/jls', `image/jls; transfer-syntax=${jpegLs}`],
    ] as const) {
      for (const instance of label.includes('dicom-rle')
        ? [native, compressed, bigEndianBytes, deflated]
        : [compressed]) {
        const response = await ask(service, framesPath(instance, '2'), { accept });
        expect([response.status, response.headers.get('content-type')]).toEqual([200, label]);
        const [type, uid = ''] = label.split('; transfer-syntax=');
        expect(transferSyntaxOf(uid).mediaType).toBe(type);
        const frame = await bytesOf(response);
        const is8Bit = instance === bigEndianBytes;
        const side = is8Bit ? 3 : 4;
        const attributes = attributesWith({ rows: side, columns: side, bitsAllocated: is8Bit ? 8 : 16 });
        const back = await transcodeFrame({
          frame,
          fromTransferSyntaxUid: uid,
          toTransferSyntaxUid: '1.2.840.10008.1.2.1',
          attributes,
        });
        const [expected] = await frames(instance, '2', 'multipart/related; type="application/octet-stream"');
        expect(Buffer.from(back.bytes)).toEqual(expected);
      }
    }
  });

  it('are never compressed with loss unless that is asked for by name', async () => {
    const eightBit = 'image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50';
    const lossy = await ask(service, framesPath(bigEndianBytes, '1'), { accept: eightBit });
    expect([lossy.status, lossy.headers.get('content-type')]).toEqual([200, eightBit]);
    const lossless = 'image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.70';
    for (const accept of ['image/jpeg', 'image/jpeg; transfer-syntax=*', lossless]) {
      const response = await ask(service, framesPath(bigEndianBytes, '1'), { accept });
      expect([response.status, response.headers.get('content-type')]).toEqual([200, lossless]);
    }
    expect((await ask(service, framesPath(native, '1'), { accept: eightBit })).status).toBe(406);
  });

  it('that are damaged are 406 where they would have to be decoded, and come as they are', async () => {
    const response = await ask(service, framesPath(damaged, '1'));
    expect(response.status).toBe(406);
    expect((await problemOf(response)).detail).toContain('transfer-syntax=*');
    expect(await frames(damaged, '1')).toEqual([Buffer.from(ramp(50))]);
  });

  it('are refused with what can be had where nobody encodes so', async () => {
    for (const accept of [
      'multipart/related; type="image/jxl"; transfer-syntax=1.2.840.10008.1.2.4.112',
      'multipart/related; type="image/jls"; transfer-syntax=1.2.840.10008.1.2.4.81',
    ]) {
      const response = await ask(service, framesPath(compressed, '1'), { accept });
      expect(response.status).toBe(406);
      expect((await problemOf(response)).detail).toContain(`type="image/jls"; transfer-syntax=${jpegLs}`);
    }
  });

  it('of video without transfer-syntax=* are 406, not 500 (dcm4chee#1985, #3608)', async () => {
    for (const accept of ['application/octet-stream', '*/*', 'multipart/related; type="*/*"', 'image/*'])
      expect((await ask(service, framesPath(video, '1'), { accept })).status).toBe(406);
    const [part] = await partsOf(await ask(service, framesPath(video, '1'), { accept: stored }));
    expect(part?.headers['content-type']).toBe('video/mp4; transfer-syntax=1.2.840.10008.1.2.4.102');
  });

  it('of one bit begin at a byte of their own', async () => {
    // 27 bits: the frames begin at bits 0, 9 and 18.
    const all = [0b10110101, 0b01101011, 0b11010110, 0b00000101];
    const bit = (i: number): number => (all[i >> 3]! >> (i & 7)) & 1;
    const expected = [0, 9, 18].map((start) => {
      const frame = Buffer.alloc(2);
      for (let i = 0; i < 9; i++) frame[i >> 3]! |= bit(start + i) << (i & 7);
      return frame;
    });
    expect(await frames(bits, '1,2,3')).toEqual(expected);
    expect(await frames(bits, '3,2')).toEqual([expected[2], expected[1]]);
  });

  it('of big-endian instances come in little endian', async () => {
    expect(await frames(bigEndian, '1')).toEqual([Buffer.from(ramp(32)).swap16()]);
  });

  it('of 8-bit samples in big-endian words come with their pairs the right way round, odd frames too', async () => {
    const pixels = Buffer.from(ramp(18));
    expect(await frames(bigEndianBytes, '1')).toEqual([pixels.subarray(0, 9)]);
    expect(await frames(bigEndianBytes, '2')).toEqual([pixels.subarray(9)]);
    expect(await frames(bigEndianBytes, '1,2')).toEqual([pixels.subarray(0, 9), pixels.subarray(9)]);
  });

  it('are inflated for as many at a time as memory is set aside for, however many ask', async () => {
    const { packs } = fixture.archive;
    let reading = 0;
    let most = 0;
    const read: typeof packs.read = async (key, range) => {
      most = Math.max(most, ++reading);
      await new Promise((resolve) => setImmediate(resolve));
      return packs.read(key, range).finally(() => reading--);
    };
    const busy = serviceOver(fixture, { archive: { ...fixture.archive, packs: { ...packs, read } } });
    const path = framesPath(deflated, '1');
    await ask(busy, path); // the manifest is read
    most = 0;
    const answers = await Promise.all(Array.from({ length: 200 }, () => ask(busy, path)));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    // Each may become 16 MiB and more, and there are 512.
    expect(most).toBeLessThan(32);
  });

  it('come out of deflated data sets', async () => {
    expect(await frames(deflated, '2,1')).toEqual([Buffer.from(ramp(64)).subarray(32), Buffer.from(ramp(32))]);
  });

  it('beyond the last are 404 with the count (dcm4chee#2827)', async () => {
    const response = await ask(service, framesPath(native, '1,4'));
    expect(response.status).toBe(404);
    expect((await problemOf(response)).detail).toBe('There is no frame 4: this instance has 3 frames, counted from 1.');
  });

  it('of an instance without pixels are 404 with a sentence', async () => {
    const response = await ask(service, framesPath(report, '1'));
    expect([response.status, (await problemOf(response)).detail]).toEqual([
      404,
      'This instance has no frames: it holds no Pixel Data.',
    ]);
  });

  it('cost one ranged read each, neighbours one together', async () => {
    const ranges: (ByteRange | undefined)[] = [];
    const { packs } = fixture.archive;
    const counting: PackStore = {
      ...packs,
      read: (key, range) => {
        if (key.endsWith('.zip')) ranges.push(range);
        return packs.read(key, range);
      },
    };
    const counted = serviceOver(fixture, { archive: { ...fixture.archive, packs: counting } });
    const lengths = async (list: string): Promise<number[]> => {
      ranges.length = 0;
      await partsOf(await ask(counted, framesPath(native, list), { accept: stored }));
      return ranges.map((range) => range?.lengthBytes ?? 0);
    };
    expect(await lengths('2')).toEqual([32]);
    expect(await lengths('1,2,3')).toEqual([96]);
    expect(await lengths('3,1')).toEqual([32, 32]);
  });

  it('may be kept by the browser, and are not sent twice', async () => {
    const response = await ask(service, framesPath(native, '1'));
    expect(response.headers.get('cache-control')).toBe('private, max-age=600');
    const again = await ask(service, framesPath(native, '1'), { 'if-none-match': response.headers.get('etag')! });
    expect(again.status).toBe(304);
  });

  it('of compressed Pixel Data are its bulk data', async () => {
    const path = framesPath(compressed, '1').replace('frames/1', 'bulkdata/7FE00010');
    const parts = await partsOf(await ask(service, path, { accept: stored }));
    expect(parts.map(({ body }) => body)).toEqual(codestreams.map(padded));
  });
});
