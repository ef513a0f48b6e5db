/**
 * Compressed data sets as native ones: every sample of every compressed transfer syntax against what other decoders made
 * of it, in Explicit and Implicit VR; one-bit frames that share bytes; what is corrected, dropped and refused.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag } from '#shared/dicom/tags.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { createFrameTranscoder } from '#shared/dicomweb/frame-transcoder.ts';
import { type StoredBytes, transcodedDataSet } from '#shared/dicomweb/transcoded-data-set.ts';
import { canDecode } from '#shared/imaging/codecs.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import { encodeFragments, type InstanceOptions, makeInstance } from '#test/support/dicom-factory.ts';
import { samplesFolder, sampleTable } from '#test/support/samples.ts';

const EXPLICIT = '1.2.840.10008.1.2.1';
const IMPLICIT = '1.2.840.10008.1.2';
const RLE = '1.2.840.10008.1.2.5';
const DEFLATED_FRAMES = '1.2.840.10008.1.2.8.1';
const pool = createRenderPool({ timeoutMs: 30_000 });
const transcoder = createFrameTranscoder({ transcode: pool.transcode, budgetBytes: 8 * 1024 * 1024 });
afterAll(() => pool.close());

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** In ranges as a pack gives them, and pieces of an awkward size. */
function stored(dataSet: Uint8Array): StoredBytes {
  return {
    lengthBytes: dataSet.length,
    read: async ({ offsetBytes, lengthBytes }) => dataSet.slice(offsetBytes, offsetBytes + lengthBytes),
    stream: async function* ({ offsetBytes, lengthBytes }) {
      for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += 1001)
        yield dataSet.subarray(at, Math.min(at + 1001, offsetBytes + lengthBytes));
    },
  };
}

async function transcode(dataSet: Uint8Array, from: string, to: string): Promise<Buffer> {
  const { bytes } = await transcodedDataSet(stored(dataSet), transferSyntaxOf(from), transferSyntaxOf(to), transcoder);
  const parts: Uint8Array[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts);
}

function read(bytes: Uint8Array, transferSyntaxUid: string) {
  const header = readHeader(bytes, { transferSyntaxUid });
  const { offsetBytes = 0, lengthBytes = 0 } = header.pixelData ?? {};
  return { header, json: toDicomJson(header.dataSet), pixels: bytes.subarray(offsetBytes, offsetBytes + lengthBytes) };
}

const root = samplesFolder();
const references = sampleTable('REFERENCE.csv').filter((row) => row.error === '');
const compressed = [...Map.groupBy(references, (row) => row.file ?? '')].flatMap(([file, rows]) => {
  if (root === undefined) return [];
  const bytes = readFileSync(join(root, file));
  const header = readHeader(bytes);
  const { uid, encapsulated } = header.transferSyntax;
  return encapsulated && canDecode(uid)
    ? [{ file, rows, uid, header, dataSetOffsetBytes: header.dataSetOffsetBytes }]
    : [];
});

/** Without what decompressing changes, icons at every depth, and private attributes. */
function comparable(json: DicomJson): DicomJson {
  const changed = /^(...[13579BDF]....|0028000[46]|0028010[26]|0028211[024]|7FE0....)$/;
  const itemsOf = (element: JsonElement) => (element.vr === 'SQ' ? (element.Value ?? []) : []) as DicomJson[];
  const isIcon = (element: JsonElement) => itemsOf(element).some((item) => '00280010' in item && '00280011' in item);
  const kept = Object.entries(json).filter(([key, element]) => !changed.test(key) && !isIcon(element));
  return Object.fromEntries(
    kept.map(([key, element]) => [
      key,
      element.vr === 'SQ' ? { vr: 'SQ', Value: itemsOf(element).map((item) => comparable(item)) } : element,
    ]),
  );
}

describe.skipIf(root === undefined)('samples of every compressed transfer syntax', () => {
  it('are there', () => {
    expect(compressed.length).toBeGreaterThan(60);
    const codecs = new Set(compressed.map(({ header }) => header.transferSyntax.codec));
    expect([...codecs].sort()).toEqual([
      'deflate-frame',
      'htj2k',
      'jpeg',
      'jpeg-2000',
      'jpeg-lossless',
      'jpeg-ls',
      'rle',
    ]);
  });

  it.each(compressed)('$file', async ({ file, rows, uid, header, dataSetOffsetBytes }) => {
    const source = readFileSync(join(root ?? '', file)).subarray(dataSetOffsetBytes);
    const target = targetOf(file);
    const { json, pixels, header: made } = read(await transcode(source, uid, target), target);
    expect(header.tolerated).toEqual(expect.arrayContaining([...made.tolerated]));
    // Implicit VR does not tell US from SS or OW.
    if (target === EXPLICIT) expect(comparable(json)).toEqual(comparable(toDicomJson(header.dataSet)));
    const number = (tag: number) => made.dataSet.number(tag) ?? 1;
    const bitsAllocated = number(Tag.BitsAllocated);
    const samples = number(Tag.SamplesPerPixel);
    const frameBytes = (number(Tag.Rows) * number(Tag.Columns) * samples * bitsAllocated) / 8;
    expect(pixels.length).toBe(Math.ceil((frameBytes * number(Tag.NumberOfFrames)) / 2) * 2);
    const photometric = made.dataSet.ascii(Tag.PhotometricInterpretation);
    expect(photometric).toMatch(/^(MONOCHROME[12]|PALETTE COLOR|RGB|YBR_FULL)$/);
    if (samples > 1) expect(made.dataSet.number(Tag.PlanarConfiguration)).toBe(0);
    expect(made.dataSet.number(Tag.HighBit)).toBe(number(Tag.BitsStored) - 1);
    for (const row of rows) {
      const start = (Number(row.frame) - 1) * frameBytes;
      const frame =
        bitsAllocated === 1 ? unpacked(pixels, start * 8, frameBytes * 8) : pixels.subarray(start, start + frameBytes);
      if (row.sha256_values !== '') expect(sha256(frame)).toBe(row.sha256_values);
      else {
        expect(made.dataSet.ascii(0x00282110)).toBe('01');
        const [, tolerance] = /mean \+-([\d.]+)/.exec(row.tolerance ?? '') ?? [];
        expect(
          Math.abs(meanOf(frame, bitsAllocated, number(Tag.PixelRepresentation)) - Number(row.mean)),
        ).toBeLessThanOrEqual(Number(tolerance));
      }
    }
  });
});

const targetOf = (file: string): string =>
  compressed.findIndex((one) => one.file === file) % 2 === 0 ? EXPLICIT : IMPLICIT;

/** A byte to each pixel, as the references have them. */
const unpacked = (bytes: Uint8Array, firstBit: number, count: number): Uint8Array =>
  Uint8Array.from({ length: count }, (_, i) => ((bytes[(firstBit + i) >> 3] ?? 0) >> ((firstBit + i) & 7)) & 1);

function meanOf(bytes: Uint8Array, bitsAllocated: number, pixelRepresentation: number): number {
  const frame = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let sum = 0;
  const width = bitsAllocated / 8;
  for (let at = 0; at < frame.length; at += width)
    sum +=
      width === 1 ? frame.readUInt8(at) : pixelRepresentation === 1 ? frame.readInt16LE(at) : frame.readUInt16LE(at);
  return sum / (frame.length / width);
}

const made = (options: InstanceOptions) => makeInstance({ transferSyntaxUid: DEFLATED_FRAMES, ...options });

describe('made data sets', () => {
  it('one-bit frames follow each other bit by bit', async () => {
    const bits = [1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1];
    const packed = (from: number, count: number): Uint8Array => {
      const bytes = new Uint8Array(Math.ceil(count / 8));
      for (let i = 0; i < count; i++) if (bits[from + i] === 1) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (1 << (i & 7));
      return bytes;
    };
    const { dataSet } = made({
      rows: 1,
      columns: 5,
      frames: 3,
      bitsAllocated: 1,
      bitsStored: 1,
      pixels: [0, 5, 10].map((from) => deflateRawSync(packed(from, 5))),
    });
    const { pixels } = read(await transcode(dataSet, DEFLATED_FRAMES, EXPLICIT), EXPLICIT);
    expect([...pixels]).toEqual([...packed(0, 15)]);
  });

  it('odd frames lie without padding, and the value is padded once', async () => {
    const frames = [0, 1, 2].map((i) => Uint8Array.of(i, i + 10, i + 20));
    const { dataSet } = made({
      rows: 1,
      columns: 3,
      frames: 3,
      bitsAllocated: 8,
      bitsStored: 8,
      pixels: frames.map((frame) => deflateRawSync(frame)),
    });
    const { pixels } = read(await transcode(dataSet, DEFLATED_FRAMES, IMPLICIT), IMPLICIT);
    expect([...pixels]).toEqual([...frames.flatMap((frame) => [...frame]), 0]);
  });

  it('colour by plane comes by pixel; offset tables and a compressed icon are dropped, what follows the pixels stays', async () => {
    const { dataSet } = made({
      rows: 1,
      columns: 2,
      samplesPerPixel: 3,
      photometricInterpretation: 'RGB',
      bitsAllocated: 8,
      bitsStored: 8,
      pixels: [deflateRawSync(Uint8Array.of(1, 2, 3, 4, 5, 6))],
      extra: [
        { tag: 0x00280006, vr: 'US', value: [1] },
        { tag: 0x00880200, vr: 'SQ', value: [[{ tag: 0x00280010, vr: 'US', value: [1] }]] },
        { tag: 0x7fe00001, vr: 'OV', value: new Uint8Array(8) },
        { tag: 0x7fe00002, vr: 'OV', value: new Uint8Array(8) },
        { tag: 0xfffcfffc, vr: 'OB', value: new Uint8Array(6) },
      ],
    });
    // The icon's Rows become Pixel Data in fragments: factories make no such thing.
    const found = Buffer.from(dataSet);
    const rows = found.indexOf('2800100055530200', found.indexOf('8800000253510000', 0, 'hex'), 'hex');
    const pixels = encodeFragments([Uint8Array.of(7, 7)]);
    const compressedIcon = Buffer.concat([found.subarray(0, rows), pixels, found.subarray(rows + 10)]);
    for (const target of [EXPLICIT, IMPLICIT]) {
      const { json, pixels, header } = read(await transcode(compressedIcon, DEFLATED_FRAMES, target), target);
      expect([...pixels]).toEqual([1, 3, 5, 2, 4, 6]);
      expect(json['00280006']?.Value).toEqual([0]);
      expect(json).not.toHaveProperty('00880200');
      expect(json).not.toHaveProperty('7FE00001');
      expect(header.tolerated).toEqual([]);
    }
    const kept = read(await transcode(dataSet, DEFLATED_FRAMES, EXPLICIT), EXPLICIT);
    expect(kept.json).toHaveProperty('00880200');
    const bytes = await transcode(dataSet, DEFLATED_FRAMES, EXPLICIT);
    expect(bytes.subarray(-18).toString('hex')).toBe(`fcfffcff4f42000006000000${'00'.repeat(6)}`);
  });

  it('without pixels it is what it was', async () => {
    const { dataSet } = made({ pixels: 'none' });
    const { json } = read(await transcode(dataSet, DEFLATED_FRAMES, IMPLICIT), IMPLICIT);
    expect(comparable(json)).toEqual(comparable(read(dataSet, EXPLICIT).json));
  });

  it.each<[string, InstanceOptions, string]>([
    ['fewer frames than declared', { frames: 3, pixels: [deflateRawSync(new Uint8Array(512))] }, 'cannot-render'],
    ['pixels that are none', { transferSyntaxUid: RLE, pixels: [Uint8Array.of(1, 2, 3, 4)] }, 'cannot-render'],
    [
      'more than 4 GiB',
      { rows: 60_000, columns: 60_000, frames: 1, pixels: [deflateRawSync(new Uint8Array(4))] },
      'cannot-render',
    ],
  ])('is refused before anything is said: %s', async (_, options, code) => {
    const { dataSet, transferSyntaxUid } = made(options);
    await expect(transcode(dataSet, transferSyntaxUid, EXPLICIT)).rejects.toMatchObject({ code });
  });
});
