/** The rasteriser: how much of each pixel is covered, what lies outside, and that no coordinates from outside hurt it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createMask, fillPolygon, type Mask, paint, strokeLine, strokeLines } from '#shared/imaging/raster.ts';
import type { Picture } from '#shared/imaging/resample.ts';

const sumOf = ({ coverage }: Mask): number => coverage.reduce((sum, value) => sum + value, 0) / 255;

describe('a filled polygon', () => {
  it('covers whole pixels wholly and others by their part', () => {
    const mask = createMask(6, 4);
    fillPolygon(mask, [
      { x: 1, y: 1 },
      { x: 4.5, y: 1 },
      { x: 4.5, y: 3 },
      { x: 1, y: 3 },
    ]);
    expect([...mask.coverage.subarray(6, 12)]).toEqual([0, 255, 255, 255, 128, 0]);
    expect(sumOf(mask)).toBeCloseTo(7, 1);
  });

  it('has the area of its shape, holes by the even-odd rule', () => {
    const mask = createMask(40, 40);
    fillPolygon(mask, [
      { x: 2, y: 3 },
      { x: 33, y: 8 },
      { x: 11, y: 37 },
    ]);
    expect(sumOf(mask)).toBeCloseTo(Math.abs(31 * 34 - 9 * 5) / 2, 0);
    const star = createMask(8, 8);
    const square = [0, 8].flatMap((x) => [
      { x, y: 0 },
      { x, y: 8 },
    ]);
    fillPolygon(star, [
      ...[square[0]!, square[1]!, square[3]!, square[2]!],
      ...[square[0]!, square[1]!, square[3]!, square[2]!],
    ]);
    expect(sumOf(star)).toBe(0);
  });
});

describe('a line', () => {
  it('is as wide as it is meant, whichever way it goes', () => {
    for (const [x, y] of [
      [30, 10],
      [10, 30],
      [30, 30],
      [24, 13],
    ] as const) {
      const mask = createMask(40, 40);
      strokeLine(mask, { x: 10, y: 10 }, { x, y }, 3);
      const length = Math.hypot(x - 10, y - 10);
      expect(sumOf(mask)).toBeGreaterThan(length * 3 * 0.97);
      expect(sumOf(mask)).toBeLessThan((length + 3) * 3 * 1.03);
    }
  });

  it('is nowhere denser where it meets itself', () => {
    const picture: Picture = { width: 20, height: 20, channels: 1, pixels: new Uint8Array(400).fill(100) };
    const mask = createMask(20, 20);
    strokeLines(
      mask,
      [
        { x: 3, y: 3 },
        { x: 16, y: 16 },
        { x: 16, y: 3 },
        { x: 3, y: 16 },
      ],
      2,
    );
    paint(picture, mask, [200, 0, 0], 0.5);
    expect(Math.max(...picture.pixels)).toBe(150);
    expect([mask.right, mask.bottom, Math.max(...mask.coverage)]).toEqual([0, 0, 0]);
  });

  it('that ends far outside crosses the picture where it should, and one that misses it covers nothing', () => {
    const mask = createMask(10, 10);
    strokeLine(mask, { x: -1e9, y: 5 }, { x: 1e9, y: 5 }, 2);
    expect([...mask.coverage.subarray(40, 50)]).toEqual(Array.from({ length: 10 }, () => 255));
    const missed = createMask(10, 10);
    strokeLine(missed, { x: -1e9, y: 50 }, { x: 1e9, y: 50 }, 2);
    expect(sumOf(missed)).toBe(0);
  });
});

it('takes any coordinates, and covers nothing outside', () => {
  const coordinate = fc.oneof(fc.double(), fc.double({ min: -50, max: 50 }), fc.integer({ min: -5, max: 30 }));
  const point = fc.record({ x: coordinate, y: coordinate });
  fc.assert(
    fc.property(fc.array(point, { maxLength: 6 }), fc.double({ min: 0.5, max: 9, noNaN: true }), (points, width) => {
      const mask = createMask(12, 9);
      strokeLines(mask, points, width);
      fillPolygon(mask, points);
      expect(mask.coverage.length).toBe(108);
      expect(mask.left >= 0 && mask.top >= 0 && mask.right <= 12 && mask.bottom <= 9).toBe(true);
    }),
    { numRuns: 300 },
  );
});
