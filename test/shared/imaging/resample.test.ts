/**
 * Scaling and viewports (PS3.18 §8.3.5.1.3).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitViewport, type Picture, type Raster, resize } from '#shared/imaging/resample.ts';
import { noise } from './image-fixture.ts';

const gray = (width: number, height: number, pixels: readonly number[]): Picture => ({
  width,
  height,
  channels: 1,
  pixels: Uint8Array.from(pixels),
});

describe('scaling', () => {
  it('down is the average of the area, whole or in part', () => {
    expect([...resize(gray(4, 2, [0, 10, 100, 110, 20, 30, 120, 130]), 2, 1).pixels]).toEqual([15, 115]);
    expect([...resize(gray(3, 1, [0, 90, 180]), 2, 1).pixels]).toEqual([30, 150]);
  });

  it('keeps a flat picture flat, and its mean when it shrinks by a whole factor', () => {
    fc.assert(
      fc.property(
        fc.record({
          width: fc.integer({ min: 1, max: 12 }),
          height: fc.integer({ min: 1, max: 12 }),
          toWidth: fc.integer({ min: 1, max: 30 }),
          toHeight: fc.integer({ min: 1, max: 30 }),
          channels: fc.constantFrom(1 as const, 3 as const),
          value: fc.integer({ min: 0, max: 255 }),
        }),
        ({ width, height, toWidth, toHeight, channels, value }) => {
          const flat = { width, height, channels, pixels: new Uint8Array(width * height * channels).fill(value) };
          const scaled = resize(flat, toWidth, toHeight);
          expect(scaled.pixels).toHaveLength(toWidth * toHeight * channels);
          expect(scaled.pixels.every((pixel) => pixel === value)).toBe(true);
        },
      ),
      { numRuns: 100 },
    );
  });

  const size = { width: fc.integer({ min: 1, max: 24 }), height: fc.integer({ min: 1, max: 24 }) };
  const pictures = fc
    .record({ ...size, channels: fc.constantFrom(1 as const, 3 as const), seed: fc.nat(), deep: fc.boolean() })
    .map(({ width, height, channels, seed, deep }) => {
      const random = noise(seed + 1);
      // Mostly the ends of the range, as beyond the limits of a window.
      const values = Array.from({ length: width * height * channels }, () => [0, 1, random(1000) / 999][random(3)]!);
      const pixels = deep
        ? Uint16Array.from(values, (value) => Math.round(value * 65_535))
        : Uint8Array.from(values, (value) => Math.round(value * 255));
      return { width, height, channels, pixels };
    });

  it('down is exactly the mean of what a pixel covers, of 8 and of 16 bits, gray and colour', () => {
    fc.assert(
      fc.property(pictures, fc.double({ min: 0.02, max: 1, noNaN: true }), (picture, scale) => {
        const to = { width: Math.ceil(picture.width * scale), height: Math.ceil(picture.height * scale) };
        expect([...resize(picture, to.width, to.height).pixels]).toEqual(meansOf(picture, to.width, to.height));
      }),
      { numRuns: 200 },
    );
  });

  it('up is Catmull-Rom in each direction, within the range of the samples that a pixel is made of', () => {
    fc.assert(
      fc.property(pictures, fc.double({ min: 1.01, max: 4, noNaN: true }), (picture, scale) => {
        const to = { width: Math.ceil(picture.width * scale), height: Math.ceil(picture.height * scale) };
        const scaled = resize(picture, to.width, to.height).pixels;
        const expected = curvedOf(picture, to.width, to.height);
        const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(scaled[i]! - value)), 0);
        expect(worst).toBeLessThanOrEqual(0.500001);
      }),
      { numRuns: 100 },
    );
  });

  it('mirrored is the mirror image of scaled, to the last pixel', () => {
    fc.assert(
      fc.property(pictures, fc.record(size), (picture, { width, height }) => {
        const mirrored = (of: typeof picture) =>
          fitViewport(of, { ...frameOf(of), source: { x: 0, y: 0, width: -of.width, height: -of.height } });
        expect(resize(mirrored(picture), width, height)).toEqual(mirrored(resize(picture, width, height)));
      }),
      { numRuns: 100 },
    );
  });

  it('up leaves no halo: what is white or black by the window stays so up to its edge, and nothing outside gets brighter or darker', () => {
    const step = gray(8, 1, [255, 255, 255, 255, 90, 90, 90, 90]);
    const up = [...resize(step, 64, 1).pixels];
    expect(Math.min(...up)).toBe(90);
    for (let i = 1; i < up.length; i++) expect(up[i]!).toBeLessThanOrEqual(up[i - 1]!);
    expect(up.toReversed()).toEqual([...resize(gray(8, 1, [90, 90, 90, 90, 255, 255, 255, 255]), 64, 1).pixels]);
  });

  it('of a part whose edges lie within pixels takes as much of those as lies inside, and goes on beyond the edge', () => {
    const line = gray(4, 1, [0, 100, 200, 40]);
    const shown = (x: number, width: number, to: number) => [
      ...resize(line, to, 1, { x, y: 0, width, height: 1 }).pixels,
    ];
    expect(shown(0.5, 2, 1)).toEqual([100]);
    expect(shown(0.5, 3, 3)).toEqual([50, 150, 120]);
    expect(shown(-1, 6, 6)).toEqual([0, 0, 100, 200, 40, 40]);
  });
});

const frameOf = ({ width, height }: { width: number; height: number }) => ({ width, height });

type Samples = Raster<Uint8Array | Uint16Array>;

/** In fractions of whole numbers of any size, a half rounded up. */
function meansOf({ width, height, channels, pixels }: Samples, toWidth: number, toHeight: number): number[] {
  const overlap = (target: number, source: number, from: number, to: number): bigint =>
    BigInt(Math.max(0, Math.min((target + 1) * from, (source + 1) * to) - Math.max(target * from, source * to)));
  const area = BigInt(width * height);
  return Array.from({ length: toWidth * toHeight * channels }, (_, i) => {
    const c = i % channels;
    const column = Math.floor(i / channels) % toWidth;
    const row = Math.floor(i / channels / toWidth);
    let sum = 0n;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const part = overlap(row, y, height, toHeight) * overlap(column, x, width, toWidth);
        if (part > 0n) sum += part * BigInt(pixels[(y * width + x) * channels + c]!);
      }
    }
    return Number((2n * sum + area) / (2n * area));
  });
}

/** By the textbook, first down the columns, then along the rows. */
function curvedOf({ width, height, channels, pixels }: Samples, toWidth: number, toHeight: number): number[] {
  const at = (x: number, y: number, c: number): number => {
    return pixels[(Math.max(0, Math.min(height - 1, y)) * width + Math.max(0, Math.min(width - 1, x))) * channels + c]!;
  };
  const along = (center: number, sample: (position: number) => number): number => {
    const before = Math.floor(center);
    const t = center - before;
    const [a, b, c, d] = [sample(before - 1), sample(before), sample(before + 1), sample(before + 2)] as const;
    const value = b + (t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))) / 2;
    return Math.min(Math.max(a, b, c, d), Math.max(Math.min(a, b, c, d), value));
  };
  return Array.from({ length: toWidth * toHeight * channels }, (_, i) => {
    const c = i % channels;
    const column = Math.floor(i / channels) % toWidth;
    const row = Math.floor(i / channels / toWidth);
    const y = ((row + 0.5) * height) / toHeight - 0.5;
    const x = ((column + 0.5) * width) / toWidth - 0.5;
    return along(x, (sx) => along(y, (sy) => at(Math.max(0, Math.min(width - 1, sx)), sy, c)));
  });
}

describe('viewport', () => {
  const random = noise(4);
  const wide = gray(
    40,
    20,
    Array.from({ length: 800 }, () => random(256)),
  );

  it('fits inside and keeps the aspect ratio', () => {
    const sizeOf = (width: number, height: number) => {
      const { width: w, height: h } = fitViewport(wide, { width, height });
      return [w, h];
    };
    expect(sizeOf(20, 20)).toEqual([20, 10]);
    expect(sizeOf(100, 10)).toEqual([20, 10]);
    expect(sizeOf(80, 80)).toEqual([80, 40]);
    expect(sizeOf(1, 1)).toEqual([1, 1]);
  });

  it('cuts the source region out and mirrors it', () => {
    const small = gray(3, 2, [1, 2, 3, 4, 5, 6]);
    const cut = (x: number, y: number, width: number, height: number) => [
      ...fitViewport(small, { width: Math.abs(width), height: Math.abs(height), source: { x, y, width, height } })
        .pixels,
    ];
    expect(cut(1, 0, 2, 2)).toEqual([2, 3, 5, 6]);
    expect(cut(0, 0, -3, 2)).toEqual([3, 2, 1, 6, 5, 4]);
    expect(cut(0, 0, 3, -2)).toEqual([4, 5, 6, 1, 2, 3]);
    const rgb: Picture = { width: 2, height: 1, channels: 3, pixels: Uint8Array.of(1, 2, 3, 4, 5, 6) };
    const mirrored = fitViewport(rgb, { width: 2, height: 1, source: { x: 0, y: 0, width: -2, height: 1 } });
    expect([...mirrored.pixels]).toEqual([4, 5, 6, 1, 2, 3]);
  });

  it('refuses what cannot be', () => {
    for (const viewport of [
      { width: 0, height: 10 },
      { width: 1.5, height: 10 },
      { width: 65535, height: 65535 },
      { width: 10, height: 10, source: { x: 30, y: 0, width: 20, height: 20 } },
      { width: 10, height: 10, source: { x: 0, y: 0, width: 0, height: 20 } },
      { width: 10, height: 10, source: { x: -1, y: 0, width: 5, height: 5 } },
    ]) {
      expect(() => fitViewport(wide, viewport), JSON.stringify(viewport)).toThrow(
        expect.objectContaining({ code: 'bad-request' }),
      );
    }
  });
});
