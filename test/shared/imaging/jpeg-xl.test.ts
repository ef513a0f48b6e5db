/**
 * JPEG XL: its header as our reader sees it against what its encoder was told, lossy colour within its error, and what is refused because
 * nobody knows what it means.
 */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { readJpegXlHeader } from '#shared/imaging/jpeg-xl-codestream.ts';
import { jpegXlEncoder } from '#shared/imaging/jpeg-xl-package.ts';
import { attributesWith } from './image-fixture.ts';

const LOSSLESS = '1.2.840.10008.1.2.4.110';
const LOSSY = '1.2.840.10008.1.2.4.112';

interface Encoder {
  getDecodedBuffer(info: object): Uint8Array;
  getEncodedBuffer(): Uint8Array;
  encode(): void;
  setLossless(isLossless: boolean): void;
  setDistance(distance: number): void;
  setEffort(effort: number): void;
  delete(): void;
}

let Encoder: new () => Encoder;
beforeAll(async () => {
  Encoder = (await jpegXlEncoder<{ JpegXLEncoder: new () => Encoder }>()).JpegXLEncoder;
});

interface Shape {
  readonly width: number;
  readonly height: number;
  readonly bitsPerSample: number;
  readonly componentCount: number;
}

function encoded(shape: Shape, sampleAt: (i: number) => number, distance?: number): Uint8Array {
  const { width, height, bitsPerSample, componentCount } = shape;
  const encoder = new Encoder();
  const count = width * height * componentCount;
  const values = Array.from({ length: count }, (_, i) => sampleAt(i) & (2 ** bitsPerSample - 1));
  const samples = bitsPerSample <= 8 ? Uint8Array.from(values) : new Uint8Array(Uint16Array.from(values).buffer);
  encoder.getDecodedBuffer({ ...shape, isSigned: false }).set(samples);
  encoder.setEffort(1);
  encoder.setLossless(distance === undefined);
  if (distance !== undefined) encoder.setDistance(distance);
  encoder.encode();
  const bytes = new Uint8Array(encoder.getEncodedBuffer());
  encoder.delete();
  return bytes;
}

const attributesOf = (
  { width, height, bitsPerSample, componentCount }: Shape,
  changes: Partial<ImageAttributes> = {},
) =>
  attributesWith({
    rows: height,
    columns: width,
    bitsAllocated: bitsPerSample <= 8 ? 8 : 16,
    bitsStored: bitsPerSample,
    samplesPerPixel: componentCount,
    photometricInterpretation: componentCount === 3 ? 'RGB' : 'MONOCHROME2',
    ...changes,
  });

describe('JPEG XL', () => {
  it('says in its header what its encoder was told, bare and in boxes', () => {
    const shapes = fc.record({
      width: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(256, 512, 520, 1024, 4100)),
      height: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(8, 256, 512, 9000)),
      bitsPerSample: fc.integer({ min: 1, max: 16 }),
      componentCount: fc.constantFrom(1, 3),
      distance: fc.constantFrom(undefined, undefined, 1),
    });
    fc.assert(
      fc.property(shapes, ({ distance, ...shape }) => {
        fc.pre(shape.width * shape.height < 100_000 && (distance === undefined || shape.bitsPerSample >= 8));
        expect(readJpegXlHeader(encoded(shape, () => 0, distance))).toEqual({
          rows: shape.height,
          columns: shape.width,
          samplesPerPixel: shape.componentCount,
          precision: shape.bitsPerSample,
          signed: false,
          // This encoder makes XYB of colour only.
          lossy: distance !== undefined && shape.componentCount === 3,
        });
      }),
      { numRuns: 30 },
    );
  });

  it('lossy, gray of 12 bits and colour, is near the original and clamped to Bits Stored', async () => {
    for (const [bitsPerSample, componentCount, near] of [
      [12, 1, 60],
      [8, 3, 24],
    ] as const) {
      // biome-ignore format: a table
      const shape = { width: 64, height: 48, bitsPerSample, componentCount };
      const sampleAt = (i: number) => Math.floor(i / componentCount) % 64 * (2 ** bitsPerSample / 64); // biome-ignore format: a formula
      const bytes = encoded(shape, sampleAt, 0.5);
      const { values, meaning } = await decodeFrame(bytes, LOSSY, attributesOf(shape));
      expect(meaning).toBe(componentCount === 3 ? 'RGB' : 'GRAY');
      const worst = Math.max(...Array.from(values, (value, i) => Math.abs(value - sampleAt(i))));
      expect(worst).toBeLessThan(near);
    }
  });

  it('is refused where its data set says what its samples cannot be, and where decoders would change the picture unasked', async () => {
    const shape = { width: 16, height: 8, bitsPerSample: 8, componentCount: 3 };
    const bytes = encoded(shape, (i) => i);
    const refused = (changes: Partial<ImageAttributes>, frame = bytes) =>
      expect(decodeFrame(frame, LOSSLESS, attributesOf(shape, changes))).rejects;
    await refused({ signed: true }).toThrow(/no signed samples/);
    await refused({ photometricInterpretation: 'YBR_FULL' }).toThrow(/gives RGB/);
    await refused({ rows: 9 }).toThrow(/but the data set says 16 x 9/);
    await refused({ samplesPerPixel: 1 }).toThrow(/3 samples per pixel/);
    // Behind the signature and a size in eights with the ratio 2:1 (1 + 5 + 3 bits): not all default, extra fields, orientation 2.
    const bits = (text: string) => Uint8Array.from({ length: 40 }, (_, i) => Number.parseInt([...text.padEnd(320, '0')].slice(8 * i, 8 * i + 8).reverse().join(''), 2)); // biome-ignore format: one thought
    const headed = (text: string) => Buffer.concat([Uint8Array.of(0xff, 0x0a), bits(text)]);
    const size = '100000111';
    for (const [metadata, reason] of [
      ['01100', /turned or mirrored/],
      ['0100001', /preview/],
      ['01000001', /animation/],
      ['001', /floating point/],
      ['0000001', /alpha/],
    ] as const)
      await refused({}, headed(size + metadata)).toThrow(reason);
    await refused({}, Uint8Array.of(0xff, 0x0a, 1)).toThrow(/cut short|but the data set/);
  });
});
