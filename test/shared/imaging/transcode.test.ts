/**
 * Frames in other transfer syntaxes: what is claimed to lose nothing against random pictures of every kind, what the codestreams
 * say of themselves, JPEG within its error, and everything that is refused.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { readJ2kHeader } from '#shared/imaging/j2k-codestream.ts';
import { readJpegHeader } from '#shared/imaging/jpeg-codestream.ts';
import { decodeRle, encodeRle } from '#shared/imaging/rle.ts';
import { canEncode, encodableTransferSyntaxes, transcodeFrame } from '#shared/imaging/transcode.ts';
import { attributesWith, EXPLICIT_LITTLE, noise } from './image-fixture.ts';

const JPEG = '1.2.840.10008.1.2.4.50';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const J2K_LOSSLESS = '1.2.840.10008.1.2.4.90';
const J2K = '1.2.840.10008.1.2.4.91';
const HTJ2K = '1.2.840.10008.1.2.4.201';
const HTJ2K_RPCL = '1.2.840.10008.1.2.4.202';
const RLE = '1.2.840.10008.1.2.5';
const JPEG_XL = '1.2.840.10008.1.2.4.110';
const DEFLATED_FRAME = '1.2.840.10008.1.2.8.1';
const JPEG_LOSSLESS = '1.2.840.10008.1.2.4.70';
const lossless = encodableTransferSyntaxes.filter((uid) => uid !== JPEG);

/** A gradient with grain, in native cells: bits above Bits Stored hold the sign. */
function pictureOf(attributes: ImageAttributes, seed: number): Uint8Array<ArrayBuffer> {
  const { rows, columns, samplesPerPixel, bitsAllocated, bitsStored, signed } = attributes;
  const random = noise(seed);
  const range = 2 ** bitsStored;
  const low = signed ? -range / 2 : 0;
  const width = bitsAllocated / 8;
  const bytes = new Uint8Array(rows * columns * samplesPerPixel * width);
  const view = new DataView(bytes.buffer);
  const grain = Math.max(1, range >> 3);
  for (let i = 0; i < bytes.length / width; i++) {
    const value = low + ((i * 3 + random(grain) + (i % samplesPerPixel) * 40) % range);
    if (width === 1) view.setUint8(i, value & 0xff);
    else if (width === 2) view.setUint16(i * 2, value & 0xffff, true);
    else view.setUint32(i * 4, value >>> 0, true);
  }
  return bytes;
}

const images = fc
  .record({
    rows: fc.integer({ min: 1, max: 40 }),
    columns: fc.integer({ min: 1, max: 40 }),
    bitsAllocated: fc.constantFrom(8, 16),
    less: fc.integer({ min: 0, max: 7 }),
    signed: fc.boolean(),
    color: fc.constantFrom(undefined, 'RGB', 'YBR_FULL'),
    seed: fc.integer(),
  })
  .map(({ less, color, seed, ...given }) => ({
    seed,
    attributes: attributesWith({
      ...given,
      bitsStored: given.bitsAllocated - less,
      samplesPerPixel: color === undefined ? 1 : 3,
      signed: color === undefined && given.signed,
      ...(color === undefined ? {} : { photometricInterpretation: color }),
    }),
  }));

/** Its samples have no sign, and three of them are RGB. */
const refusedOf = (uid: string, { photometricInterpretation, signed }: ImageAttributes) =>
  uid === JPEG_XL && (signed || photometricInterpretation === 'YBR_FULL');

async function transcode(frame: Uint8Array, from: string, to: string, attributes: ImageAttributes) {
  return transcodeFrame({ frame, fromTransferSyntaxUid: from, toTransferSyntaxUid: to, attributes });
}

describe('lossless compression', () => {
  it.each(lossless)('%s gives back every value of every picture', async (uid) => {
    await fc.assert(
      fc.asyncProperty(images, async ({ attributes, seed }) => {
        const native = pictureOf(attributes, seed);
        const encoding = transcode(native, EXPLICIT_LITTLE, uid, attributes);
        if (refusedOf(uid, attributes)) {
          await expect(encoding).rejects.toMatchObject({ code: 'not-acceptable' });
          return;
        }
        const { bytes, photometricInterpretation, isLossy } = await encoding;
        expect(isLossy).toBe(false);
        const back = await transcode(bytes, uid, EXPLICIT_LITTLE, { ...attributes, photometricInterpretation });
        expect(Buffer.from(back.bytes).equals(native)).toBe(true);
        expect(back.photometricInterpretation).toBe(attributes.photometricInterpretation);
      }),
      { numRuns: 25 },
    );
  });

  it('deflated frames hold one bit to a pixel, and 32', async () => {
    for (const changes of [{ bitsAllocated: 1 }, { bitsAllocated: 32, bitsStored: 29, signed: true }]) {
      const attributes = attributesWith({ rows: 9, columns: 7, ...changes });
      const bits = Uint8Array.of(0x5a, 0xff, 0, 1, 0x80, 7, 0x33, 0x7f);
      const native = attributes.bitsAllocated === 1 ? bits : pictureOf(attributes, 3);
      const { bytes } = await transcode(native, EXPLICIT_LITTLE, DEFLATED_FRAME, attributes);
      const back = await transcode(bytes, DEFLATED_FRAME, EXPLICIT_LITTLE, attributes);
      expect(Buffer.from(back.bytes).equals(native)).toBe(true);
    }
  });

  it('crosses from each to each', async () => {
    const attributes = attributesWith({ rows: 33, columns: 47, bitsStored: 12, signed: true });
    const native = pictureOf(attributes, 7);
    const ofSigned = lossless.filter((uid) => uid !== JPEG_XL);
    for (const from of ofSigned) {
      const { bytes } = await transcode(native, EXPLICIT_LITTLE, from, attributes);
      for (const to of ofSigned) {
        const other = await transcode(Uint8Array.from(bytes), from, to, attributes);
        const { bytes: back } = await transcode(other.bytes, to, EXPLICIT_LITTLE, attributes);
        expect(Buffer.from(back).equals(native)).toBe(true);
      }
    }
  });

  it('says in the codestream what the data set says: size, precision, sign, reversible colour', async () => {
    const gray = attributesWith({ rows: 100, columns: 300, bitsStored: 12, signed: true });
    for (const uid of [J2K_LOSSLESS, HTJ2K_RPCL]) {
      const { bytes } = await transcode(pictureOf(gray, 1), EXPLICIT_LITTLE, uid, gray);
      expect(readJ2kHeader(bytes)).toMatchObject({
        rows: 100,
        columns: 300,
        precision: 12,
        signed: true,
        lossy: false,
      });
    }
    const color = attributesWith({ rows: 20, columns: 30, bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' }); // biome-ignore format: a table
    for (const [uid, photometric] of [
      [J2K_LOSSLESS, 'YBR_RCT'],
      [HTJ2K, 'YBR_RCT'],
      [JPEG_LS, 'RGB'],
      [RLE, 'RGB'],
    ] as const) {
      // biome-ignore format: a table
      const { photometricInterpretation } = await transcode(pictureOf(color, 1), EXPLICIT_LITTLE, uid, color);
      expect(photometricInterpretation).toBe(photometric);
    }
    const planes = { ...color, planarConfiguration: 1 };
    const { bytes } = await transcode(pictureOf(color, 1), EXPLICIT_LITTLE, JPEG_LS, planes);
    const back = await transcode(bytes, JPEG_LS, EXPLICIT_LITTLE, color);
    const [native, pixels] = [pictureOf(color, 1), 20 * 30];
    expect([...back.bytes.subarray(0, 3)]).toEqual([native[0], native[pixels], native[2 * pixels]]);
  });

  it('orders HTJ2K with RPCL options by resolution down to 64 pixels, with a table of its tile-parts', async () => {
    const attributes = attributesWith({ rows: 40, columns: 5000, bitsStored: 10 });
    const { bytes } = await transcode(pictureOf(attributes, 1), EXPLICIT_LITTLE, HTJ2K_RPCL, attributes);
    const cod = Buffer.from(bytes).indexOf('ff52', 0, 'hex');
    expect([bytes[cod + 5], bytes[cod + 9]]).toEqual([2, 7]);
    expect(Buffer.from(bytes).indexOf('ff55', 0, 'hex')).toBeGreaterThan(0);
  });

  it('takes a lossless JPEG 2000 codestream for one that may be lossy as it is', async () => {
    const attributes = attributesWith({ rows: 9, columns: 9 });
    const { bytes } = await transcode(pictureOf(attributes, 1), EXPLICIT_LITTLE, J2K_LOSSLESS, attributes);
    expect((await transcode(bytes, J2K_LOSSLESS, J2K, attributes)).bytes).toEqual(bytes);
  });

  it('repeats the chroma of YBR_FULL_422', async () => {
    const attributes = attributesWith({ columns: 2, bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'YBR_FULL_422' }); // biome-ignore format: a table
    const encoded = await transcode(Uint8Array.of(10, 20, 130, 140), EXPLICIT_LITTLE, RLE, attributes);
    expect(encoded.photometricInterpretation).toBe('YBR_FULL');
    const { bytes } = await transcode(encoded.bytes, RLE, EXPLICIT_LITTLE, { ...attributes, photometricInterpretation: 'YBR_FULL' }); // biome-ignore format: one call
    expect([...bytes]).toEqual([10, 130, 140, 20, 130, 140]);
  });
});

describe('RLE', () => {
  it('gives back all bytes, in segments of even length, rows apart', () => {
    const shape = fc.record({
      rows: fc.integer({ min: 1, max: 5 }),
      columns: fc.integer({ min: 1, max: 300 }),
      samples: fc.constantFrom(1, 3),
      width: fc.constantFrom(1, 2, 4),
      runs: fc.array(fc.record({ value: fc.nat(255), length: fc.integer({ min: 1, max: 200 }) }), { minLength: 1 }),
    });
    fc.assert(
      fc.property(shape, ({ rows, columns, samples, width, runs }) => {
        const cells = new Uint8Array(rows * columns * samples * width);
        for (let at = 0, run = 0; at < cells.length; run++) {
          const { value, length } = runs[run % runs.length]!;
          cells.fill(value + run, at, at + length);
          at += length;
        }
        const frame = encodeRle(cells, columns, samples, width);
        expect(frame.length % 2).toBe(0);
        const view = new DataView(frame.buffer);
        for (let i = 0; i < samples * width; i++) expect(view.getUint32(4 + 4 * i, true) % 2).toBe(0);
        expect(Buffer.from(decodeRle(frame, rows * columns * samples, samples, width)).equals(cells)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('holds cells of 32 bits', async () => {
    const attributes = attributesWith({ rows: 7, columns: 9, bitsAllocated: 32, signed: true });
    const native = pictureOf(attributes, 3);
    const { bytes } = await transcode(native, EXPLICIT_LITTLE, RLE, attributes);
    expect(Buffer.from((await transcode(bytes, RLE, EXPLICIT_LITTLE, attributes)).bytes).equals(native)).toBe(true);
  });
});

describe('JPEG Baseline', () => {
  it('makes YBR_FULL of RGB, its chroma in full resolution (dcm4chee#2208, #2214)', async () => {
    const attributes = attributesWith({ rows: 16, columns: 32, bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' }); // biome-ignore format: a table
    const native = new Uint8Array(16 * 32 * 3);
    for (let i = 0; i < 16 * 32; i++) native.set(i % 32 < 16 ? [200, 30, 60] : [10, 90, 220], i * 3);
    const encoded = await transcode(native, EXPLICIT_LITTLE, JPEG, attributes);
    expect(encoded).toMatchObject({ photometricInterpretation: 'YBR_FULL', isLossy: true });
    const header = readJpegHeader(encoded.bytes);
    expect(header).toMatchObject({ process: 0xc0, precision: 8, rows: 16, columns: 32 });
    expect(header.components.map(({ horizontal, vertical }) => [horizontal, vertical])).toEqual([[1, 1], [1, 1], [1, 1]]); // biome-ignore format: a table
    const back = await transcode(encoded.bytes, JPEG, EXPLICIT_LITTLE, { ...attributes, photometricInterpretation: 'YBR_FULL' }); // biome-ignore format: one call
    for (const at of [0, 8 * 32 * 3, 31 * 3])
      for (let c = 0; c < 3; c++) expect(Math.abs(back.bytes[at + c]! - native[at + c]!)).toBeLessThan(8);
    expect(back.isLossy).toBe(true);
  });

  it('keeps gray gray', async () => {
    const attributes = attributesWith({ rows: 17, columns: 33, bitsAllocated: 8, photometricInterpretation: 'MONOCHROME1' }); // biome-ignore format: a table
    const native = Uint8Array.from({ length: 17 * 33 }, (_, i) => (i % 33) * 7);
    const encoded = await transcode(native, EXPLICIT_LITTLE, JPEG, attributes);
    expect(encoded.photometricInterpretation).toBe('MONOCHROME1');
    const { bytes } = await transcode(encoded.bytes, JPEG, EXPLICIT_LITTLE, attributes);
    expect(Math.max(...bytes.map((value, i) => Math.abs(value - native[i]!)))).toBeLessThan(10);
  });
});

describe('what is refused', () => {
  it.each<[string, string, Partial<ImageAttributes>]>([
    ['16 bits in JPEG Baseline', JPEG, { bitsAllocated: 16 }],
    ['6 of 8 bits in JPEG Baseline', JPEG, { bitsAllocated: 8, bitsStored: 6 }],
    ['signed in JPEG Baseline', JPEG, { bitsAllocated: 8, signed: true }],
    ['a palette in JPEG Baseline', JPEG, { bitsAllocated: 8, photometricInterpretation: 'PALETTE COLOR' }],
    ['one bit in JPEG-LS', JPEG_LS, { bitsAllocated: 1 }],
    ['one bit in RLE', RLE, { bitsAllocated: 1 }],
    ['32 bits in HTJ2K', HTJ2K, { bitsAllocated: 32 }],
    ['floats in RLE', RLE, { bitsAllocated: 32, pixelKind: 'float' }],
    ['signed in JPEG XL', JPEG_XL, { signed: true }],
    ['one bit in JPEG Lossless', JPEG_LOSSLESS, { bitsAllocated: 1 }],
    ['32 bits in JPEG XL', JPEG_XL, { bitsAllocated: 32 }],
    ['floats in deflated frames', DEFLATED_FRAME, { bitsAllocated: 32, pixelKind: 'float' }],
    ['lossy JPEG XL', '1.2.840.10008.1.2.4.112', {}],
    ['video', '1.2.840.10008.1.2.4.102', {}],
  ])('%s, with a sentence', async (_, uid, changes) => {
    const refused = transcode(new Uint8Array(64), EXPLICIT_LITTLE, uid, attributesWith(changes));
    await expect(refused).rejects.toMatchObject({ code: 'not-acceptable', message: /^The pixels cannot be had so: / });
  });

  it('is known from the bits before anything is read', () => {
    expect([canEncode(JPEG, 8), canEncode(JPEG, 16), canEncode(RLE, 32), canEncode(J2K), canEncode('1.2.3')]).toEqual([true, false, true, true, false]); // biome-ignore format: a table
  });

  it('noise that would grow, never a codestream that is cut short', async () => {
    const attributes = attributesWith({ rows: 128, columns: 128, bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' }); // biome-ignore format: a table
    const random = noise(5);
    const native = Uint8Array.from({ length: 128 * 128 * 3 }, () => random(256));
    for (const uid of lossless) {
      const made = await transcode(native, EXPLICIT_LITTLE, uid, attributes).catch((error: unknown) => error);
      if (made instanceof Error) {
        expect(made).toMatchObject({ code: 'not-acceptable' });
        continue;
      }
      const { bytes, photometricInterpretation } = made as Awaited<ReturnType<typeof transcode>>;
      const back = await transcode(bytes, uid, EXPLICIT_LITTLE, { ...attributes, photometricInterpretation });
      expect(Buffer.from(back.bytes).equals(native)).toBe(true);
    }
  });
});
