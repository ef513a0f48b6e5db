/**
 * The cells of a volume: which kind holds all slices' values exactly, what padding and rescale become, and what is refused.
 */
import { describe, expect, it } from 'vitest';
import type { DecodedFrame, PixelValues } from '#shared/imaging/decoded-frame.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { allocateCells, fillSlice, planCells, volumeBytes } from '#shared/imaging/volume.ts';
import { attributesWith } from './image-fixture.ts';
import { latticeWith } from './volume-phantom.ts';

const tiny = latticeWith({ columns: 4, rows: 1, slices: 2 });

function frameOf(values: PixelValues, changes: Partial<DecodedFrame> = {}): DecodedFrame {
  return { rows: 1, columns: values.length, meaning: 'GRAY', bitsStored: 16, signed: false, values, ...changes };
}

/** Modality values of a volume of two slices, by way of its cells; NaN where there is none. */
function roundTrip(slices: readonly (readonly [ImageAttributes, PixelValues])[]) {
  const plan = planCells(slices.map(([attributes]) => attributes));
  const cells = allocateCells(tiny, plan);
  const ranges = slices.map(([attributes, values], slice) =>
    fillSlice(cells, plan, slice, frameOf(values), attributes),
  );
  const { slope, intercept } = plan.modality;
  const values = Array.from(cells, (cell) => (cell === plan.missing ? Number.NaN : cell * slope + intercept));
  return { plan, ranges, values };
}

const rescaled = (slope: number, intercept: number): Partial<ImageAttributes> => ({
  modality: { kind: 'linear', slope, intercept },
});

describe('the cells of a volume', () => {
  it('are 16-bit stored values where all slices share one rescale', () => {
    const ct = attributesWith({ bitsStored: 12, ...rescaled(1, -1024) });
    const { plan, values, ranges } = roundTrip([
      [ct, Uint16Array.of(0, 1, 2, 4095)],
      [ct, Uint16Array.of(1024, 1024, 1024, 1024)],
    ]);
    expect(plan).toMatchObject({ kind: 'int16', offset: 0, missing: undefined });
    expect(values).toEqual([-1024, -1023, -1022, 3071, 0, 0, 0, 0]);
    expect(ranges).toEqual([
      { low: -1024, high: 3071 },
      { low: 0, high: 0 },
    ]);
  });

  it('hold all of 16 bits without a sign, and 8-bit samples', () => {
    const wide = attributesWith(rescaled(0.5, 10));
    const { plan, values, ranges } = roundTrip([
      [wide, Uint16Array.of(0, 1, 32768, 65535)],
      [wide, Uint16Array.of(65534, 2, 3, 4)],
    ]);
    expect(plan).toMatchObject({ kind: 'int16', offset: 32768 });
    expect(values).toEqual([10, 10.5, 16394, 32777.5, 32777, 11, 11.5, 12]);
    expect(ranges[0]).toEqual({ low: 10, high: 32777.5 });
    const narrow = attributesWith({ bitsAllocated: 8 });
    expect(roundTrip([narrow, narrow].map((one) => [one, Uint8Array.of(0, 1, 254, 255)] as const)).values).toEqual([
      0, 1, 254, 255, 0, 1, 254, 255,
    ]);
    const signed = attributesWith({ signed: true });
    expect(
      roundTrip([signed, signed].map((one) => [one, Int16Array.of(-32768, -1, 0, 32767)] as const)).values,
    ).toEqual([-32768, -1, 0, 32767, -32768, -1, 0, 32767]);
  });

  it('are modality values where each slice has its own rescale, as in PET', () => {
    const { plan, values, ranges } = roundTrip([
      [attributesWith({ ...rescaled(0.25, 0), signed: true }), Int16Array.of(0, 4, 8, 32764)],
      [attributesWith({ ...rescaled(2, -1), signed: true }), Int16Array.of(0, 4, 8, 32764)],
    ]);
    expect(plan).toMatchObject({ kind: 'float32', modality: { slope: 1, intercept: 0 } });
    expect(values).toEqual([0, 1, 2, 8191, -1, 7, 15, 65527]);
    expect(ranges).toEqual([
      { low: 0, high: 8191 },
      { low: -1, high: 65527 },
    ]);
  });

  it('are modality values for tables, 32-bit and float pixels, and signed among unsigned ones', () => {
    const table = { kind: 'table', table: { firstMapped: 0, entries: Uint16Array.of(7, 5, 3), bits: 8 } } as const;
    const tabled = attributesWith({ modality: table });
    expect(roundTrip([tabled, tabled].map((one) => [one, Uint16Array.of(0, 1, 2, 3)] as const)).values).toEqual([
      7, 5, 3, 3, 7, 5, 3, 3,
    ]);
    const wide = attributesWith({ bitsAllocated: 32 });
    expect(roundTrip([wide, wide].map((one) => [one, Uint32Array.of(0, 1, 2, 2 ** 31)] as const)).values[3]).toBe(
      2 ** 31,
    );
    const float = attributesWith({ bitsAllocated: 32, pixelKind: 'float' });
    const infinite = Float32Array.of(0.5, Number.POSITIVE_INFINITY, Number.NaN, -2);
    const { values, ranges } = roundTrip([
      [float, infinite],
      [float, infinite],
    ]);
    expect(values.slice(0, 4)).toEqual([0.5, Number.NaN, Number.NaN, -2]);
    expect(ranges[0]).toEqual({ low: -2, high: 0.5 });
    const mixed = roundTrip([
      [attributesWith({ signed: true }), Int16Array.of(-5, 0, 1, 2)],
      [attributesWith(), Uint16Array.of(65535, 0, 1, 2)],
    ]);
    expect(mixed.values).toEqual([-5, 0, 1, 2, 65535, 0, 1, 2]);
  });

  it('say where padding was, a value or a range, and leave it out of the range of values', () => {
    const padded = attributesWith({ signed: true, padding: { low: -2000, high: -1990 } });
    const { plan, values, ranges } = roundTrip([
      [padded, Int16Array.of(-2000, -1995, -1990, -1989)],
      [padded, Int16Array.of(-2000, -2000, -2000, -2000)],
    ]);
    expect(plan.missing).toBe(-2000);
    expect(values.slice(0, 4)).toEqual([Number.NaN, Number.NaN, Number.NaN, -1989]);
    expect(ranges).toEqual([{ low: -1989, high: -1989 }, undefined]);
    const beyond = attributesWith({ padding: { low: 65535, high: 70000 } });
    expect(
      roundTrip([beyond, beyond].map((one) => [one, Uint16Array.of(1, 65535, 2, 3)] as const)).values.slice(0, 4),
    ).toEqual([1, Number.NaN, 2, 3]);
  });

  it('take each slice’s own padding where they differ: what is padding in one is a value in the other', () => {
    const { plan, values } = roundTrip([
      [attributesWith({ padding: { low: 0, high: 0 } }), Uint16Array.of(0, 1, 2, 3)],
      [attributesWith({ padding: { low: 3, high: 3 } }), Uint16Array.of(0, 1, 2, 3)],
    ]);
    expect(plan.kind).toBe('float32');
    expect(values).toEqual([Number.NaN, 1, 2, 3, 0, 1, 2, Number.NaN]);
  });
});

describe('what is no volume', () => {
  it('colour, palettes, and inverse slices among others', () => {
    const gray = attributesWith();
    expect(() => planCells([gray, attributesWith({ samplesPerPixel: 3, photometricInterpretation: 'RGB' })])).toThrow(
      'in colour',
    );
    expect(() => planCells([gray, attributesWith({ photometricInterpretation: 'PALETTE COLOR' })])).toThrow(
      'in colour',
    );
    const table = { firstMapped: 0, entries: Uint16Array.of(0), bits: 8 };
    const palette = { red: table, green: table, blue: table };
    expect(() => planCells([gray, attributesWith({ supplemental: { palette, largestGray: 100 } })])).toThrow(
      'in colour',
    );
    expect(() => planCells([gray, attributesWith({ inverse: true })])).toThrow('largest value is black');
  });

  it('more than may be held', () => {
    const large = latticeWith({ columns: 512, rows: 512, slices: 1000 });
    const plan = planCells([attributesWith({ bitsStored: 12 })]);
    expect(volumeBytes(large, 'int16')).toBe(524_288_000);
    expect(() => allocateCells(large, plan, 2 ** 29 - 2 ** 24)).toThrow('takes 524288000 bytes');
    expect(() => allocateCells(latticeWith({ columns: 65535, rows: 65535, slices: 65535 }), plan)).toThrow(
      expect.objectContaining({ code: 'too-large' }),
    );
  });

  it('a frame of another size', () => {
    const attributes = attributesWith();
    const plan = planCells([attributes, attributes]);
    const cells = allocateCells(tiny, plan);
    expect(() => fillSlice(cells, plan, 2, frameOf(new Uint16Array(4)), attributes)).toThrow('size and kind');
    const colour = frameOf(new Uint16Array(4), { meaning: 'RGB' });
    expect(() => fillSlice(cells, plan, 0, colour, attributes)).toThrow('size and kind');
  });
});
