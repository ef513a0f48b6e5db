/**
 * Colour spaces and palettes to RGB (PS3.3 §C.7.6.3.1.2, §C.7.6.3.1.5).
 */
import { describe, expect, it } from 'vitest';
import { renderColor } from '#shared/imaging/color.ts';
import type { DecodedFrame, PixelValues, SampleMeaning } from '#shared/imaging/decoded-frame.ts';
import type { LookupTable } from '#shared/imaging/lookup-table.ts';
import { noise } from './image-fixture.ts';

const frame = (meaning: SampleMeaning, values: PixelValues, columns: number, bitsStored = 8): DecodedFrame => ({
  rows: 1,
  columns,
  meaning,
  bitsStored,
  signed: false,
  values,
});

const channel = (entries: readonly number[], bits: number, firstMapped = 0): LookupTable => ({
  firstMapped,
  entries: Uint16Array.from(entries),
  bits,
});

describe('colour', () => {
  it('YBR_FULL to RGB is the inverse of the standard’s equations, to one grey level', () => {
    const random = noise(5);
    for (let i = 0; i < 500; i++) {
      const [r, g, b] = [random(256), random(256), random(256)] as const;
      const ybr = [
        0.299 * r + 0.587 * g + 0.114 * b,
        -0.1687 * r - 0.3313 * g + 0.5 * b + 128,
        0.5 * r - 0.4187 * g - 0.0813 * b + 128,
      ].map((value) => Math.max(0, Math.min(255, Math.round(value))));
      const rgb = renderColor(frame('YBR_FULL', Uint8Array.from(ybr), 1), undefined);
      [r, g, b].forEach((value, c) => {
        expect(Math.abs(rgb[c]! - value)).toBeLessThanOrEqual(2);
      });
    }
    expect([...renderColor(frame('YBR_FULL', Uint8Array.of(76, 85, 255), 1), undefined)]).toEqual([254, 0, 0]);
    expect([...renderColor(frame('YBR_FULL', Uint8Array.of(128, 128, 128), 1), undefined)]).toEqual([128, 128, 128]);
  });

  it('YBR_FULL_422 shares its chroma between two pixels', () => {
    const values = Uint8Array.of(50, 200, 128, 128, 76, 76, 85, 255);
    expect([...renderColor(frame('YBR_FULL_422', values, 4), undefined)]).toEqual([
      50, 50, 50, 200, 200, 200, 254, 0, 0, 254, 0, 0,
    ]);
  });

  it('YBR_PARTIAL_422 stretches 16 … 235', () => {
    const values = Uint8Array.of(16, 235, 128, 128);
    expect([...renderColor(frame('YBR_PARTIAL_422', values, 2), undefined)]).toEqual([0, 0, 0, 255, 255, 255]);
  });

  it('colour of more than 8 bits keeps its full range', () => {
    expect([...renderColor(frame('RGB', Uint16Array.of(0, 4095, 2048), 1, 12), undefined)]).toEqual([0, 255, 128]);
    expect([...renderColor(frame('RGB', Uint16Array.of(0, 65535, 257), 1, 16), undefined)]).toEqual([0, 255, 1]);
  });

  it('palettes of 8 and 16 bits, both ways of writing 16, and indices outside of them', () => {
    const eight = channel([10, 20, 255], 8, 5);
    const doubled = channel([0x0a0a, 0x1414, 0xffff], 16, 5);
    const shifted = channel([0x0a00, 0x1400, 0xff00], 16, 5);
    const rgb = renderColor(frame('PALETTE', Uint8Array.of(5, 6, 7, 0, 200), 5), {
      red: eight,
      green: doubled,
      blue: shifted,
    });
    expect([...rgb]).toEqual([10, 10, 10, 20, 20, 20, 255, 255, 255, 10, 10, 10, 255, 255, 255]);
    expect(() => renderColor(frame('PALETTE', Uint8Array.of(1), 1), undefined)).toThrow(
      expect.objectContaining({ code: 'cannot-render' }),
    );
  });

  it('signed indices find negative first mapped values', () => {
    const table = channel([1, 2, 3], 8, -1);
    const rgb = renderColor(frame('PALETTE', Int16Array.of(-1, 0, 1), 3), { red: table, green: table, blue: table });
    expect([...rgb]).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3]);
  });
});
