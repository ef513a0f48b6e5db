/**
 * Gray pictures from DICOM JSON and native bytes against the arbiter's formulas, clause by clause: what the samples hold none of.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type ImageAttributes, imageAttributesOf, type Window } from '#shared/imaging/image-attributes.ts';
import { renderGrayWide } from '#shared/imaging/lut.ts';
import { type ArbiterWindow, grayOf, storedValueOf } from './arbiter.ts';
import { EXPLICIT_BIG, EXPLICIT_LITTLE, jsonOf, noise } from './image-fixture.ts';
import { bytesOf, expectGray, identity, lutItem, pixelsOf, ramp, rampValues, row } from './pipeline-fixture.ts';

describe('stored values (PS3.5 8.1.1), by the arbiter', () => {
  it('hold for any Bits Stored, High Bit and sign, whatever the other bits are', async () => {
    const cases = fc.record({
      width: fc.constantFrom(8, 16, 32),
      stored: fc.integer({ min: 2, max: 32 }),
      above: fc.integer({ min: 0, max: 31 }),
      signed: fc.boolean(),
      isBigEndian: fc.boolean(),
      seed: fc.integer({ min: 1, max: 1e6 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ width, stored, above, signed, isBigEndian, seed }) => {
        const bitsStored = Math.min(stored, width);
        const highBit = Math.min(width - 1, bitsStored - 1 + above);
        const random = noise(seed);
        const cells = Array.from({ length: 16 }, () => random(2 ** width));
        const view = new DataView(new ArrayBuffer((16 * width) / 8));
        cells.forEach((cell, i) => {
          if (width === 8) view.setUint8(i, cell);
          else if (width === 16) view.setUint16(2 * i, cell, !isBigEndian);
          else {
            // OW is swapped by 16-bit words: the low word comes first also in big endian.
            view.setUint16(4 * i, cell & 0xffff, !isBigEndian);
            view.setUint16(4 * i + 2, cell >>> 16, !isBigEndian);
          }
        });
        const metadata = row(16, {
          '00280100': ['US', width],
          '00280101': ['US', bitsStored],
          '00280102': ['US', highBit],
          '00280103': ['US', signed ? 1 : 0],
        });
        const half = signed ? 0 : 2 ** (bitsStored - 1);
        const window: Window = { center: half, width: 2 ** bitsStored, function: 'LINEAR_EXACT' };
        const syntax = isBigEndian && width > 8 ? EXPLICIT_BIG : EXPLICIT_LITTLE;
        const pixels = await pixelsOf(metadata, new Uint8Array(view.buffer), window, 1, syntax);
        const values = cells.map((cell) => storedValueOf(BigInt(cell), { bitsStored, highBit, signed }));
        expectGray(pixels, values, { modality: identity, voi: window });
      }),
      { numRuns: 150 },
    );
  });

  it('of 8 bits in big-endian words stand the other way round', async () => {
    const metadata = {
      ...row(4, { '00280100': ['US', 8], '00280101': ['US', 8], '00280102': ['US', 7] }),
      '7FE00010': { vr: 'OW' as const },
    };
    const window: Window = { center: 128, width: 256, function: 'LINEAR' };
    expect([...(await pixelsOf(metadata, Uint8Array.of(20, 10, 40, 30), window, 1, EXPLICIT_BIG))]).toEqual([
      10, 20, 30, 40,
    ]);
  });
});

const window = fc.record({
  center: fc.double({ min: -500, max: 5000, noNaN: true }),
  width: fc.double({ min: 1, max: 6000, noNaN: true }),
  function: fc.constantFrom('LINEAR', 'LINEAR_EXACT', 'SIGMOID'),
}) as fc.Arbitrary<ArbiterWindow>;

describe('gray (PS3.3 C.11), by the arbiter', () => {
  it('Modality LUT, VOI LUT and Presentation LUT sequences in a row, for any tables and polarity', async () => {
    const tables = fc.record({
      modalityFirst: fc.integer({ min: 0, max: 3000 }),
      modalityCount: fc.integer({ min: 1, max: 2000 }),
      voiFirst: fc.integer({ min: 0, max: 3000 }),
      voiCount: fc.integer({ min: 1, max: 2000 }),
      presentationCount: fc.constantFrom(256, 1024, 4096),
      isInverse: fc.boolean(),
      seed: fc.integer({ min: 1, max: 1e6 }),
    });
    await fc.assert(
      fc.asyncProperty(tables, async (given) => {
        const random = noise(given.seed);
        const make = (firstMapped: number, count: number, bits: number) => {
          const entries = Array.from({ length: count }, () => random(2 ** bits));
          // The largest value, so that its width is beyond doubt.
          entries[0] = 2 ** bits - 1;
          return { firstMapped, entries, bits };
        };
        const modality = make(given.modalityFirst, given.modalityCount, 12);
        const voi = make(given.voiFirst, given.voiCount, 10);
        const presentation = make(0, given.presentationCount, 16);
        const item = ({ firstMapped, entries, bits }: typeof voi) =>
          lutItem([entries.length, firstMapped, bits], entries);
        const metadata = row(4096, {
          '00280004': ['CS', given.isInverse ? 'MONOCHROME1' : 'MONOCHROME2'],
          '00283000': ['SQ', item(modality)],
          '00283010': ['SQ', item(voi)],
          '20500010': ['SQ', item(presentation)],
        });
        const formula = { modality, voi, presentation, inverse: given.isInverse };
        expectGray(await pixelsOf(metadata, bytesOf(ramp)), rampValues, formula);
      }),
      { numRuns: 25 },
    );
  });

  it('per-frame and shared groups: Pixel Value Transformation and Frame VOI LUT with its function', async () => {
    const group = (slope: number, intercept: number, center: number, width: number, name: string) =>
      jsonOf({
        '00289145': ['SQ', jsonOf({ '00281052': ['DS', intercept], '00281053': ['DS', slope] })],
        '00289132': ['SQ', jsonOf({ '00281050': ['DS', center], '00281051': ['DS', width], '00281056': ['CS', name] })],
      });
    const metadata = row(4096, {
      '00280008': ['IS', 2],
      '00281050': ['DS', 1],
      '00281051': ['DS', 2],
      '52009229': ['SQ', group(9, 9, 9, 9, 'LINEAR')],
      '52009230': ['SQ', group(0.5, -300, 400, 900, 'SIGMOID'), group(-2.25, 4000, 900, 333.5, 'LINEAR_EXACT')],
    });
    expectGray(await pixelsOf(metadata, bytesOf(ramp), undefined, 1), rampValues, {
      modality: { slope: 0.5, intercept: -300 },
      voi: { center: 400, width: 900, function: 'SIGMOID' },
    });
    expectGray(await pixelsOf(metadata, bytesOf(ramp), undefined, 2), rampValues, {
      modality: { slope: -2.25, intercept: 4000 },
      voi: { center: 900, width: 333.5, function: 'LINEAR_EXACT' },
    });
  });

  it('padding: a value or a range, signed values written as US, under any window', async () => {
    await fc.assert(
      fc.asyncProperty(
        window,
        fc.integer({ min: -2048, max: 2047 }),
        fc.option(fc.integer({ min: -2048, max: 2047 }), { nil: undefined }),
        fc.boolean(),
        async (voi, value, limit, isUnsigned) => {
          const written = (number: number) => (isUnsigned && number < 0 ? number + 65536 : number);
          const metadata = row(4096, {
            '00280103': ['US', 1],
            '00280120': [isUnsigned ? 'US' : 'SS', written(value)],
            ...(limit !== undefined && { '00280121': [isUnsigned ? 'US' : 'SS', written(limit)] as const }),
          });
          const values = Int16Array.from({ length: 4096 }, (_, i) => i - 2048);
          const padding = { low: Math.min(value, limit ?? value), high: Math.max(value, limit ?? value) };
          expectGray(await pixelsOf(metadata, bytesOf(values), voi), [...values], { modality: identity, voi, padding });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('without a window the range of what is no padding, infinite or not a number', async () => {
    const floats = Float32Array.of(-5, 0, 2.5, 10, Number.NaN, -99, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
    const metadata: DicomJson = {
      ...row(8, { '00280100': ['US', 32], '00280101': ['US', 32], '00280102': ['US', 31], '00280122': ['FL', -99] }),
      '7FE00008': { vr: 'OF' },
    };
    const voi = { center: 2.5, width: 15, function: 'LINEAR_EXACT' } as const;
    const formula = { modality: identity, voi, padding: { low: -99, high: -99 } };
    expectGray(await pixelsOf(metadata, bytesOf(floats)), [...floats], formula);
    const doubles = Float64Array.from(floats);
    const wide = {
      ...row(8, { '00280100': ['US', 64], '00280123': ['FD', -99] }),
      '7FE00009': { vr: 'OD' },
    } as DicomJson;
    expectGray(await pixelsOf(wide, bytesOf(doubles)), [...doubles], formula);
  });

  it('32 bits, signed and not, under any window and rescale', async () => {
    const random = noise(11);
    for (const signed of [true, false]) {
      const cells = Uint32Array.from({ length: 200 }, () => random(2 ** 32));
      const values = [...(signed ? new Int32Array(cells.buffer) : cells)];
      const metadata = row(200, {
        '00280100': ['US', 32],
        '00280101': ['US', 32],
        '00280102': ['US', 31],
        '00280103': ['US', signed ? 1 : 0],
        '00281052': ['DS', 12.5],
        '00281053': ['DS', 0.001],
      });
      const modality = { slope: 0.001, intercept: 12.5 };
      for (const name of ['LINEAR', 'LINEAR_EXACT', 'SIGMOID'] as const) {
        const voi = { center: 1e5, width: 3e6, function: name };
        expectGray(await pixelsOf(metadata, bytesOf(cells), voi), values, { modality, voi });
      }
    }
  });

  it('65,536 levels come of the same formulas', () => {
    const values = Int16Array.from({ length: 65536 }, (_, i) => i - 32768);
    const metadata = row(65535, { '00280101': ['US', 16], '00280102': ['US', 15], '00280103': ['US', 1] });
    const attributes: ImageAttributes = { ...imageAttributesOf(metadata, 1), padding: { low: 100, high: 120 } };
    const frame = { rows: 1, columns: 65536, meaning: 'GRAY', bitsStored: 16, signed: true, values } as const;
    fc.assert(
      fc.property(window, fc.boolean(), (voi, inverse) => {
        const { pixels } = renderGrayWide(frame, { ...attributes, inverse }, voi);
        let worst = 0;
        const formula = { modality: identity, voi, inverse, padding: attributes.padding };
        for (let i = 0; i < values.length; i++) {
          worst = Math.max(worst, Math.abs(pixels[i]! - grayOf(values[i]!, formula, 65535)));
        }
        expect(worst).toBeLessThanOrEqual(0.5 + 1e-4);
      }),
      { numRuns: 8 },
    );
  });

  it('angiograms are not led back to intensities by their Modality LUT', async () => {
    const voi = { center: 2048, width: 4096, function: 'LINEAR' } as const;
    const entries = Array.from({ length: 4096 }, (_, i) => 4095 - i);
    const with1040 = (relationship: string, sopClass = '1.2.840.10008.5.1.4.1.1.12.1') =>
      row(4096, {
        '00080016': ['UI', sopClass],
        '00281040': ['CS', relationship],
        '00283000': ['SQ', lutItem([4096, 0, 12], entries)],
      });
    const plain = { modality: identity, voi };
    const table = { modality: { firstMapped: 0, entries, bits: 12 }, voi };
    expectGray(await pixelsOf(with1040('LOG'), bytesOf(ramp), voi), rampValues, plain);
    expectGray(await pixelsOf(with1040('DISP'), bytesOf(ramp), voi), rampValues, plain);
    expectGray(await pixelsOf(with1040('LIN'), bytesOf(ramp), voi), rampValues, table);
    expectGray(await pixelsOf(with1040('LOG', '1.2.840.10008.5.1.4.1.1.1'), bytesOf(ramp), voi), rampValues, table);
  });
});
