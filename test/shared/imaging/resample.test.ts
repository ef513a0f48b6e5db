/**
 * Scaling and viewports (PS3.18 §8.3.5.1.3).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitViewport, type Picture, resize } from '#shared/imaging/resample.ts';
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

  it('up is smooth, passes no value that was not between its neighbours by much, and is symmetric', () => {
    const up = [...resize(gray(4, 1, [0, 100, 100, 0]), 16, 1).pixels];
    expect(up).toEqual(up.toReversed());
    expect(Math.max(...up)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...up)).toBeLessThan(115);
    for (let i = 1; i < 8; i++) expect(up[i]!).toBeGreaterThanOrEqual(up[i - 1]! - 3);
  });
});

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
