/**
 * The grayscale pipeline against a float64 arbiter of the standard’s formulas, and the choice of what to show.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DecodedFrame, PixelValues } from '#shared/imaging/decoded-frame.ts';
import type { ImageAttributes, Window } from '#shared/imaging/image-attributes.ts';
import { rangeWindow, renderGray } from '#shared/imaging/lut.ts';
import { grayOf } from './arbiter.ts';
import { attributesWith } from './image-fixture.ts';

function arbiter(stored: number, attributes: ImageAttributes, window: Window | 'table'): number {
  const { modality, padding, inverse } = attributes;
  return grayOf(stored, {
    modality: modality.kind === 'linear' ? modality : modality.table,
    voi: window === 'table' ? attributes.voiTables[0]! : window,
    inverse,
    padding,
  });
}

function frameOf(values: PixelValues, bitsStored: number, signed: boolean): DecodedFrame {
  return { rows: 1, columns: values.length, meaning: 'GRAY', bitsStored, signed, values };
}

/** Every value that so many bits can store. */
function ramp(bitsStored: number, signed: boolean): PixelValues {
  const half = signed ? 2 ** (bitsStored - 1) : 0;
  const values = Array.from({ length: 2 ** bitsStored }, (_, i) => i - half);
  if (bitsStored <= 8) return signed ? Int8Array.from(values) : Uint8Array.from(values);
  return signed ? Int16Array.from(values) : Uint16Array.from(values);
}

/** The picture is the formula rounded once: never further than half a grey level from it. */
function expectAsArbiter(
  values: PixelValues,
  bitsStored: number,
  attributes: ImageAttributes,
  window: Window | 'table',
) {
  const pixels = renderGray(
    frameOf(values, bitsStored, attributes.signed),
    attributes,
    window === 'table' ? undefined : window,
  ).pixels;
  let worst = 0;
  for (let i = 0; i < values.length; i++) {
    worst = Math.max(worst, Math.abs(pixels[i]! - arbiter(values[i]!, attributes, window)));
  }
  expect(worst).toBeLessThanOrEqual(0.5 + 1e-9);
}

const windowFunctions = ['LINEAR', 'LINEAR_EXACT', 'SIGMOID'] as const;

describe('grayscale pipeline against a float64 arbiter of PS3.3 C.11', () => {
  for (const voiFunction of windowFunctions) {
    for (const [bitsStored, signed] of [
      [8, false],
      [12, false],
      [12, true],
      [16, true],
      [16, false],
      [10, true],
    ] as const) {
      it(`${voiFunction}, ${bitsStored} bits ${signed ? 'signed' : 'unsigned'}`, () => {
        const attributes = attributesWith({
          bitsStored,
          signed,
          modality: { kind: 'linear', slope: 1, intercept: -1024 },
        });
        const window = { center: 40, width: 400, function: voiFunction };
        expectAsArbiter(ramp(bitsStored, signed), bitsStored, attributes, window);
      });
    }
  }

  it('holds for any rescale, window, inversion and padding', () => {
    const finite = (min: number, max: number) => fc.double({ min, max, noNaN: true });
    fc.assert(
      fc.property(
        fc.record({
          slope: fc.oneof(finite(-3, -0.01), finite(0.01, 3)),
          intercept: finite(-2000, 2000),
          center: finite(-3000, 3000),
          width: fc.oneof(fc.constant(1), finite(1, 5000)),
          voiFunction: fc.constantFrom(...windowFunctions),
          inverse: fc.boolean(),
          signed: fc.boolean(),
          padding: fc.option(fc.integer({ min: -100, max: 1000 }), { nil: undefined }),
        }),
        ({ slope, intercept, center, width, voiFunction, inverse, signed, padding }) => {
          const attributes = attributesWith({
            bitsStored: 10,
            signed,
            inverse,
            modality: { kind: 'linear', slope, intercept },
            padding: padding === undefined ? undefined : { low: padding, high: padding + 5 },
          });
          expectAsArbiter(ramp(10, signed), 10, attributes, { center, width, function: voiFunction });
        },
      ),
      { numRuns: 60 },
    );
  });

  it('a window of width 1 is a threshold', () => {
    const pixels = renderGray(frameOf(Uint8Array.of(9, 10, 11), 8, false), attributesWith({ bitsStored: 8 }), {
      center: 10.5,
      width: 1,
      function: 'LINEAR',
    }).pixels;
    expect([...pixels]).toEqual([0, 0, 255]);
  });

  it('a Modality LUT Sequence maps before the window, and holds its ends', () => {
    const entries = Uint16Array.from({ length: 1000 }, (_, i) => (i * 37) % 4096);
    const attributes = attributesWith({
      bitsStored: 12,
      signed: true,
      modality: { kind: 'table', table: { firstMapped: -200, entries, bits: 12 } },
    });
    expectAsArbiter(ramp(12, true), 12, attributes, { center: 2048, width: 4096, function: 'LINEAR' });
  });

  it('a VOI LUT Sequence is used where there is no window, after the rescale, and holds its ends', () => {
    const entries = Uint16Array.from({ length: 500 }, (_, i) => Math.round(65535 * (i / 499) ** 2));
    const attributes = attributesWith({
      bitsStored: 12,
      modality: { kind: 'linear', slope: 0.5, intercept: -700 },
      voiTables: [{ firstMapped: -300, entries, bits: 16 }],
    });
    expect(renderGray(frameOf(ramp(12, false), 12, false), attributes).voi).toBe('table');
    expectAsArbiter(ramp(12, false), 12, attributes, 'table');
  });

  it('values wider than 16 bits and floats are computed one by one', () => {
    const window = { center: 1e6, width: 2e6, function: 'LINEAR_EXACT' } as const;
    const attributes = attributesWith({ bitsAllocated: 32, modality: { kind: 'linear', slope: 2, intercept: 5 } });
    expectAsArbiter(Uint32Array.of(0, 1, 300_000, 999_999, 2 ** 32 - 1), 32, attributes, window);
    expectAsArbiter(Int32Array.of(-(2 ** 31), -5, 70_000, 2 ** 31 - 1), 32, { ...attributes, signed: true }, window);
    const floats = Float32Array.of(-0.25, 0.5, 1.75);
    expectAsArbiter(floats, 32, attributesWith({ bitsAllocated: 32, pixelKind: 'float' }), {
      center: 0.5,
      width: 2,
      function: 'SIGMOID',
    });
  });
});

describe('what is shown when nothing says how', () => {
  const gray = (values: PixelValues, bitsStored: number, changes: Partial<ImageAttributes> = {}) => {
    const attributes = attributesWith({ bitsStored, ...changes });
    return [...renderGray(frameOf(values, bitsStored, attributes.signed), attributes).pixels];
  };

  it('prefers the window asked for, then the first window, then the VOI LUT, then the range', () => {
    const table = { firstMapped: 0, entries: Uint16Array.of(0, 255), bits: 8 };
    const windows = [
      { center: 50, width: 10, function: 'LINEAR' },
      { center: 1, width: 1, function: 'LINEAR' },
    ] as const;
    const frame = frameOf(Uint8Array.of(0, 100), 8, false);
    const asked = { center: 1000, width: 10, function: 'LINEAR' } as const;
    const all = attributesWith({ bitsStored: 8, windows, voiTables: [table] });
    expect(renderGray(frame, all, asked)).toMatchObject({ voi: 'requested', pixels: Uint8Array.of(0, 0) });
    expect(renderGray(frame, all)).toMatchObject({ voi: 'window', pixels: Uint8Array.of(0, 255) });
    expect(renderGray(frame, { ...all, windows: [] })).toMatchObject({ voi: 'table' });
    expect(renderGray(frame, { ...all, windows: [], voiTables: [] })).toMatchObject({ voi: 'range' });
  });

  it('stretches the frame from its smallest to its largest value', () => {
    expect(gray(Uint16Array.of(100, 200, 300), 12)).toEqual([0, 128, 255]);
    expect(gray(Int16Array.of(-100, 0, 100), 16, { signed: true })).toEqual([0, 128, 255]);
    expect(gray(Int8Array.of(-100, 0, 100), 8, { signed: true, bitsAllocated: 8 })).toEqual([0, 128, 255]);
    expect(gray(Uint16Array.of(1, 3), 12, { modality: { kind: 'linear', slope: -1, intercept: 0 } })).toEqual([255, 0]);
  });

  it('leaves padding out of the range and draws it black, in the middle of the range and inverted too', () => {
    const padding = { low: 200, high: 200 };
    expect(gray(Uint16Array.of(100, 200, 300, 200), 12, { padding })).toEqual([0, 0, 255, 0]);
    expect(gray(Uint16Array.of(0, 100, 300), 12, { padding: { low: 0, high: 50 } })).toEqual([0, 0, 255]);
    expect(gray(Uint16Array.of(0, 100, 300), 12, { padding: { low: 0, high: 50 }, inverse: true })).toEqual([
      0, 255, 0,
    ]);
    expect(gray(Int16Array.of(-2000, 0, 10), 16, { padding: { low: -2000, high: -2000 }, signed: true })).toEqual([
      0, 0, 255,
    ]);
  });

  it('looks at the entries in use when a Modality LUT does not rise', () => {
    const table = { firstMapped: 0, entries: Uint16Array.of(500, 900, 100, 4000), bits: 12 };
    expect(gray(Uint16Array.of(0, 1, 2), 12, { modality: { kind: 'table', table } })).toEqual([128, 255, 0]);
  });

  it('draws frames of one value, of padding only and of nothing finite without failing', () => {
    expect(gray(Uint16Array.of(7, 7), 12)).toEqual([0, 0]);
    expect(gray(Uint16Array.of(7, 7), 12, { padding: { low: 7, high: 7 } })).toEqual([0, 0]);
    expect(gray(Int32Array.of(7, 7), 32, { bitsAllocated: 32, signed: true, padding: { low: 7, high: 7 } })).toEqual([
      0, 0,
    ]);
    const nothing = Float32Array.of(Number.NaN, Number.NEGATIVE_INFINITY);
    expect(gray(nothing, 32, { bitsAllocated: 32, pixelKind: 'float' })).toEqual([0, 0]);
    const some = Float32Array.of(Number.NaN, 1, 3, Number.POSITIVE_INFINITY);
    expect(gray(some, 32, { bitsAllocated: 32, pixelKind: 'float' })).toEqual([0, 0, 255, 255]);
  });

  it('shows the 1 of a one-bit frame white even where every pixel is 1', () => {
    expect(gray(Uint8Array.of(1, 1), 1, { bitsAllocated: 1 })).toEqual([255, 255]);
    expect(gray(Uint8Array.of(0, 0), 1, { bitsAllocated: 1 })).toEqual([0, 0]);
  });

  it('the range is one of modality values', () => {
    const attributes = attributesWith({ bitsStored: 12, modality: { kind: 'linear', slope: 2, intercept: -1000 } });
    expect(rangeWindow(frameOf(Uint16Array.of(0, 100), 12, false), attributes)).toEqual({
      center: -900,
      width: 200,
      function: 'LINEAR_EXACT',
    });
  });
});
