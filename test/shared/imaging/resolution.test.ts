/**
 * Lower resolutions of JPEG 2000 and HTJ2K frames: exactly the low-pass of the reversible wavelet, computed here once more by its
 * formulas (ISO/IEC 15444-1 Annex F, G), from the beginning of a codestream as from all of it; and drawn only where that is right.
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { MAIN_HEADER_BYTES, resolutionPrefixes } from '#shared/dicom/resolution-prefixes.ts';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { type PictureRequest, renderPicture } from '#shared/imaging/render.ts';
import { reductionFor } from '#shared/imaging/resolution.ts';
import { codestreamOf } from '#test/shared/dicomweb/made-codestreams.ts';
import { attributesWith, noise } from './image-fixture.ts';

const RPCL = '1.2.840.10008.1.2.4.202';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const LINEAR = { center: 2048, width: 4096, function: 'LINEAR' } as const;

/** Bars from end to end of the range, where the low-pass overshoots most, and noise. */
function barsOf(attributes: ImageAttributes): Int32Array {
  const { rows, columns, samplesPerPixel, bitsStored, signed } = attributes;
  const low = signed ? -(2 ** (bitsStored - 1)) : 0;
  const next = noise(rows * columns + bitsStored);
  return Int32Array.from({ length: rows * columns * samplesPerPixel }, (_, i) => {
    const pixel = Math.floor(i / samplesPerPixel);
    const isBar = ((pixel % columns) >> 3) + (Math.floor(pixel / columns) >> 4);
    if (pixel % columns > columns / 2) return low + next(2 ** bitsStored);
    return (isBar + (i % samplesPerPixel)) % 2 === 0 ? low : low + 2 ** bitsStored - 1;
  });
}

const cellsOf = (values: Int32Array, { bitsAllocated }: ImageAttributes): Uint8Array =>
  bitsAllocated === 8 ? Uint8Array.from(values) : new Uint8Array(Uint16Array.from(values).buffer);

interface Plane {
  readonly rows: number;
  readonly columns: number;
  readonly values: Int32Array;
}

/** Every second output of the 5/3 filter, columns first (F.4). */
function lowPass({ rows, columns, values }: Plane): Plane {
  const half = [Math.ceil(rows / 2), Math.ceil(columns / 2)] as const;
  const down = new Int32Array(half[0] * columns);
  for (let column = 0; column < columns; column++) {
    const line = lowOf(Int32Array.from({ length: rows }, (_, row) => values[row * columns + column]!));
    for (const [row, value] of line.entries()) down[row * columns + column] = value;
  }
  const both = new Int32Array(half[0] * half[1]);
  for (let row = 0; row < half[0]; row++)
    both.set(lowOf(down.subarray(row * columns, (row + 1) * columns)), row * half[1]);
  return { rows: half[0], columns: half[1], values: both };
}

function lowOf(x: Int32Array): Int32Array {
  if (x.length === 1) return x;
  const at = (i: number): number => x[i < 0 ? -i : i >= x.length ? 2 * (x.length - 1) - i : i]!;
  const high = (n: number): number => at(2 * n + 1) - ((at(2 * n) + at(2 * n + 2)) >> 1);
  return Int32Array.from({ length: Math.ceil(x.length / 2) }, (_, n) => at(2 * n) + ((high(n - 1) + high(n) + 2) >> 2));
}

function expectedOf(values: Int32Array, attributes: ImageAttributes, reduction: number): number[] {
  const { rows, columns, samplesPerPixel, bitsStored, signed } = attributes;
  const shift = signed ? 0 : 2 ** (bitsStored - 1);
  const lowered = (samples: Int32Array): Plane => {
    let plane: Plane = { rows, columns, values: samples };
    for (let i = 0; i < reduction; i++) plane = lowPass(plane);
    return plane;
  };
  const sampleOf = (c: number): Int32Array =>
    Int32Array.from({ length: rows * columns }, (_, i) => values[i * samplesPerPixel + c]! - shift);
  const least = signed ? -(2 ** (bitsStored - 1)) : 0;
  const most = least + 2 ** bitsStored - 1;
  const stored = (value: number): number => Math.max(least, Math.min(most, value + shift));
  if (samplesPerPixel === 1) return Array.from(lowered(sampleOf(0)).values, stored);
  const [r, g, b] = [sampleOf(0), sampleOf(1), sampleOf(2)] as [Int32Array, Int32Array, Int32Array];
  const y = lowered(r.map((red, i) => (red + 2 * g[i]! + b[i]!) >> 2)).values;
  const cb = lowered(b.map((blue, i) => blue - g[i]!)).values;
  const cr = lowered(r.map((red, i) => red - g[i]!)).values;
  return Array.from(y).flatMap((luma, i) => {
    const green = luma - ((cb[i]! + cr[i]!) >> 2);
    return [cr[i]! + green, green, cb[i]! + green].map(stored);
  });
}

const layouts: [string, Partial<ImageAttributes>][] = [
  ['8 bits', { bitsAllocated: 8 }],
  ['8 bits, signed', { bitsAllocated: 8, signed: true }],
  ...[9, 10, 12, 15, 16].flatMap((bitsStored): [string, Partial<ImageAttributes>][] => [
    [`${bitsStored} bits`, { bitsStored }],
    [`${bitsStored} bits, signed`, { bitsStored, signed: true }],
  ]),
  ['colour', { bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' }],
];

describe('a lower resolution of an HTJ2K frame', () => {
  it.each(layouts)(
    'of %s is the low-pass of its wavelet, exactly, from its beginning as from all of it',
    async (_name, layout) => {
      for (const [rows, columns] of [
        [96, 128],
        [67, 101],
      ] as const) {
        const attributes = attributesWith({ ...layout, rows, columns });
        const values = barsOf(attributes);
        const frame = await codestreamOf(cellsOf(values, attributes), attributes, RPCL);
        const prefixes = resolutionPrefixes(frame.subarray(0, MAIN_HEADER_BYTES), frame.length) ?? [];
        expect(prefixes.length).toBe(5);
        const whole = await decodeFrame(frame, RPCL, attributes);
        expect(Array.from(whole.values), 'the full resolution').toEqual(Array.from(values));
        for (const reduction of columns % 2 === 0 ? [2] : [1, 2, 5]) {
          const expected = expectedOf(values, attributes, reduction);
          for (const bytes of [frame, frame.subarray(0, prefixes[prefixes.length - reduction])]) {
            const decoded = await decodeFrame(bytes, RPCL, attributes, { reduction });
            expect([decoded.rows, decoded.columns, decoded.reduction]).toEqual([
              Math.ceil(rows / 2 ** reduction),
              Math.ceil(columns / 2 ** reduction),
              reduction,
            ]);
            expect(Array.from(decoded.values)).toEqual(expected);
          }
        }
      }
    },
  );

  it('is the same of a JPEG 2000 frame', async () => {
    for (const layout of [
      { bitsStored: 12 },
      { bitsStored: 16, signed: true },
      { bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' },
    ]) {
      const attributes = attributesWith({ ...layout, rows: 67, columns: 101 });
      const values = barsOf(attributes);
      const frame = await codestreamOf(cellsOf(values, attributes), attributes, JPEG_2000);
      for (const reduction of [1, 2]) {
        const decoded = await decodeFrame(frame, JPEG_2000, attributes, { reduction });
        expect(Array.from(decoded.values)).toEqual(expectedOf(values, attributes, reduction));
      }
    }
  });

  it('of damaged bytes is a picture of its size or an error with its reason', async () => {
    const attributes = attributesWith({ rows: 64, columns: 64, bitsStored: 12 });
    const next = noise(11);
    for (const uid of [RPCL, JPEG_2000]) {
      const sound = await codestreamOf(cellsOf(barsOf(attributes), attributes), attributes, uid);
      for (let i = 0; i < 60; i++) {
        const bytes = Uint8Array.from(sound.subarray(0, i % 3 === 0 ? next(sound.length) : sound.length));
        for (let flips = next(4); flips > 0; flips--) bytes[next(bytes.length)]! ^= 1 << next(8);
        const decoded = await decodeFrame(bytes, uid, attributes, { reduction: 1 + next(3) }).catch(
          (error: unknown) => {
            expect(error).toMatchObject({ code: 'cannot-render' });
          },
        );
        if (decoded !== undefined) expect(decoded.values.length).toBe(decoded.rows * decoded.columns);
      }
    }
  });

  it('is as low as the codestream allows, where more is spared', async () => {
    const attributes = attributesWith({ rows: 96, columns: 128, bitsStored: 12 });
    const frame = await codestreamOf(cellsOf(barsOf(attributes), attributes), attributes, RPCL);
    expect((await decodeFrame(frame, RPCL, attributes, { reduction: 8 })).reduction).toBe(5);
  });

  it('is the full one of colour of more than 8 bits', async () => {
    const attributes = attributesWith({ rows: 40, columns: 40, bitsStored: 12, samplesPerPixel: 3, photometricInterpretation: 'RGB' }); // biome-ignore format: a table
    const values = barsOf(attributes);
    const frame = await codestreamOf(cellsOf(values, attributes), attributes, RPCL);
    const decoded = await decodeFrame(frame, RPCL, attributes, { reduction: 1 });
    expect([decoded.reduction, Array.from(decoded.values)]).toEqual([0, Array.from(values)]);
  });

  it('is never made of the beginning of a frame that is to be whole, or of other things than numbers', async () => {
    const attributes = attributesWith({ rows: 96, columns: 128, bitsStored: 12 });
    const made = attributesWith({ ...attributes, bitsStored: 16, highBit: 15 });
    const dirty = Int32Array.from(barsOf(attributes), (value, i) => (value | (i % 128 < 64 ? 0xf000 : 0)) & 0xffff);
    const frame = await codestreamOf(cellsOf(dirty, made), made, RPCL);
    const prefix = frame.subarray(0, resolutionPrefixes(frame, frame.length)?.[3]);
    // Bits above the samples: the frame is decoded whole.
    expect(await decodeFrame(frame, RPCL, attributes, { reduction: 2 })).toEqual(
      await decodeFrame(frame, RPCL, attributes),
    );
    const refused = { code: 'cannot-render' };
    await expect(decodeFrame(prefix, RPCL, attributes, { reduction: 2 })).rejects.toMatchObject(refused);
    // As of an overlay that nothing in the data set tells of: thin lines, whose bits become brightness in the low-pass.
    const lines = Int32Array.from({ length: 96 * 128 }, (_, i) => (i % 32 === 0 ? 0x1000 : 0) | 1000);
    const drawnOn = await codestreamOf(cellsOf(lines, made), made, RPCL);
    const lower = await decodeFrame(drawnOn, RPCL, attributes, { reduction: 2 });
    expect(new Set(lower.values)).toEqual(new Set([1000]));
    // More is needed than there is.
    await expect(decodeFrame(prefix, RPCL, made, { reduction: 1 })).rejects.toMatchObject(refused);
    // Nor where its tile-parts do not say how many they are.
    const uncounted = Uint8Array.from(frame);
    for (let at = uncounted.indexOf(0x90, 2); at < uncounted.length; at += 1) {
      if (uncounted[at - 1] === 0xff && uncounted[at + 1] === 0 && uncounted[at + 2] === 10) uncounted[at + 10] = 0;
    }
    const beginning = uncounted.subarray(0, resolutionPrefixes(uncounted, uncounted.length)?.[3]);
    expect(beginning.length).toBeLessThan(uncounted.length);
    expect((await decodeFrame(beginning, RPCL, made, { reduction: 2 })).reduction).toBe(2);
    await expect(decodeFrame(beginning, RPCL, made, { reduction: 1 })).rejects.toMatchObject(refused);
    expect(await decodeFrame(uncounted, RPCL, made, { reduction: 1 })).toEqual(
      await decodeFrame(frame, RPCL, made, { reduction: 1 }),
    );
    // A sign that the codestream does not know of, and values that begin above the lowest bit.
    for (const other of [
      { ...made, signed: true },
      { ...made, bitsStored: 12, highBit: 15 },
    ]) {
      expect((await decodeFrame(frame, RPCL, other, { reduction: 2 })).reduction).toBe(0);
      await expect(decodeFrame(prefix, RPCL, other, { reduction: 2 })).rejects.toMatchObject(refused);
    }
  });
});

describe('the resolution for a picture', () => {
  const attributes = attributesWith({ rows: 4000, columns: 3000, bitsStored: 12, windows: [LINEAR] });
  const request = { transferSyntaxUid: RPCL, attributes, viewport: { width: 200, height: 200 } };
  const region = (x: number, y: number, width: number, height: number) => ({ x, y, width, height });

  it.each([
    [4, {}],
    [2, { viewport: { width: 1000, height: 1000 } }],
    [1, { viewport: { width: 1500, height: 2000 } }],
    [0, { viewport: { width: 1501, height: 2002 } }],
    [0, { viewport: { width: 8000, height: 8000 } }],
    [1, { viewport: { width: 500, height: 500, source: region(100, 100, 1000, 1000) } }],
    [0, { viewport: { width: 500, height: 500, source: region(100, 100, 999, 999) } }],
    [4, { transferSyntaxUid: JPEG_2000 }],
    [4, { attributes: { ...attributes, windows: [] }, window: LINEAR }],
    [4, { attributes: { ...attributes, padding: { low: 0, high: 0 } } }],
    [4, { attributes: { ...attributes, inverse: true, padding: { low: 4095, high: 4095 } } }],
    [4, { attributes: { ...attributes, padding: { low: 3, high: 3 } }, window: { ...LINEAR, width: 1000 } }],
  ] satisfies [number, Partial<Omit<PictureRequest, 'frame'>>][])(
    'is %i levels lower where all of that is shown: %o',
    (reduction, change) => {
      expect(reductionFor({ ...request, ...change })).toBe(reduction);
    },
  );

  it.each([
    ['another transfer syntax', { transferSyntaxUid: '1.2.840.10008.1.2.4.80' }],
    ['no viewport', { viewport: undefined }],
    ['a mirrored part', { viewport: { width: 10, height: 10, source: region(0, 0, -3000, 4000) } }],
    ['what is no part of the frame', { viewport: { width: 10, height: 10, source: region(0, 0, 3001, 4000) } }],
    ['a window that is the range of the pixels', { attributes: { ...attributes, windows: [] } }],
    ['a palette', { attributes: { ...attributes, photometricInterpretation: 'PALETTE COLOR' } }],
    ['colours above the gray', { attributes: { ...attributes, supplemental: {} } }],
    ['a Presentation LUT', { attributes: { ...attributes, presentationTable: {} } }],
    ['16 bits', { bitDepth: 16 }],
    ['colour of more than 8 bits', { attributes: { ...attributes, samplesPerPixel: 3 } }],
    ['a shutter', { shutter: {} }],
    ['an overlay', { overlays: [{}] }],
    ['segments', { segments: {} }],
    ['a presentation state', { presentation: {} }],
    ['segments of one bit', { attributes: { ...attributes, bitsStored: 1 } }],
    ['padding that is not black', { attributes: { ...attributes, padding: { low: 4095, high: 4095 } } }],
    ['padding in the middle', { attributes: { ...attributes, padding: { low: 2000, high: 2000 } } }],
    ['a Modality LUT', { attributes: { ...attributes, modality: { kind: 'table', table: { firstMapped: 0, bits: 16, entries: Uint16Array.of(1) } } } }], // biome-ignore format: a row
  ] as [string, Record<string, unknown>][])('is the full one with %s', (_name, change) => {
    expect(reductionFor({ ...request, ...change } as typeof request)).toBe(0);
  });
});

/** Whether a part changes which resolution will do, or is of no account. One that is new does not compile until it has been thought of. */
const requestParts: Record<keyof PictureRequest, boolean> = {
  frame: false, transferSyntaxUid: true, attributes: true, bitOffset: false, window: true, shutter: true, overlays: true, viewport: true,
  segments: true, presentation: true, bitDepth: true, isOwnMemory: false,
}; // biome-ignore format: a list
const attributeParts: Record<keyof ImageAttributes, boolean> = {
  rows: true, columns: true, samplesPerPixel: true, photometricInterpretation: true, planarConfiguration: false, bitsAllocated: false,
  bitsStored: true, highBit: true, signed: true, pixelKind: false, pixelDataVr: false, modality: true, windows: true, voiTables: true,
  inverse: true, presentationTable: true, padding: true, palette: false, supplemental: true,
}; // biome-ignore format: a list

describe('a picture of a lower resolution', () => {
  it('is thought of with everything that a request has', () => {
    expect([requestParts.viewport, attributeParts.padding]).toEqual([true, true]);
  });

  const attributes = attributesWith({ rows: 300, columns: 421, bitsStored: 12, windows: [LINEAR] });
  const smooth = Int32Array.from({ length: 300 * 421 }, (_, i) => {
    const [x, y] = [i % 421, Math.floor(i / 421)];
    return 2048 + 1000 * Math.sin(x / 40) + 1000 * Math.cos(y / 25);
  });
  let frame: Uint8Array;
  beforeAll(async () => {
    frame = await codestreamOf(cellsOf(smooth, attributes), attributes, RPCL);
  });

  it.each([
    { width: 200, height: 200 },
    { width: 105, height: 75 },
    { width: 60, height: 60 },
    { width: 30, height: 30 },
    { width: 50, height: 50, source: { x: 37, y: 51, width: 211, height: 199 } },
    { width: 30, height: 64, source: { x: 210, y: 0, width: 211, height: 300 } },
    { width: 100, height: 100, pixelAspect: 2 },
    { width: 100, height: 100, pixelAspect: 0.5, source: { x: 37, y: 51, width: 211, height: 199 } },
  ])('lies where the picture of the full one lies: %o', async (viewport) => {
    const request = { frame, transferSyntaxUid: RPCL, attributes, viewport };
    expect(reductionFor(request)).toBeGreaterThan(0);
    const picture = await renderPicture(request);
    const native = new Uint8Array(Uint16Array.from(smooth).buffer);
    const full = await renderPicture({ ...request, frame: native, transferSyntaxUid: '1.2.840.10008.1.2.1' });
    expect([picture.width, picture.height]).toEqual([full.width, full.height]);
    // Drawn as if its pixels lay in the middle of theirs, it would differ by up to eight.
    for (const [i, value] of full.pixels.entries()) expect(Math.abs(picture.pixels[i]! - value)).toBeLessThanOrEqual(3);
  });
});
