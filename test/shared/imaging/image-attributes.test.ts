/**
 * What imageAttributesOf makes of DICOM JSON: defaults, functional groups, lookup tables, palettes, refusals.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { isArchiveError } from '#shared/errors.ts';
import { bulkNeededForRendering, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { grayImage, jsonOf } from './image-fixture.ts';

const words = (...values: number[]) => Buffer.from(Uint16Array.from(values).buffer).toString('base64');

const lut = (descriptor: readonly number[], data: object): DicomJson => ({
  '00283002': { vr: 'US', Value: [...descriptor] },
  '00283006': { vr: 'OW', ...data },
});

describe('image attributes', () => {
  it('of a plain grayscale frame', () => {
    expect(imageAttributesOf(jsonOf(grayImage), 1)).toEqual({
      rows: 2,
      columns: 2,
      samplesPerPixel: 1,
      photometricInterpretation: 'MONOCHROME2',
      planarConfiguration: 0,
      bitsAllocated: 16,
      bitsStored: 12,
      highBit: 11,
      signed: false,
      pixelKind: 'integer',
      pixelDataVr: 'OB',
      modality: { kind: 'linear', slope: 1, intercept: 0 },
      windows: [],
      voiTables: [],
      inverse: false,
      padding: undefined,
      palette: undefined,
    });
  });

  it('numbers may come as strings, windows in lists, impossible ones are left out', () => {
    const attributes = imageAttributesOf(
      jsonOf({
        ...grayImage,
        '00281050': ['DS', '40', 300, '1', 7],
        '00281051': ['DS', 400, '1500', 0, '0.5'],
        '00281052': ['DS', '-1024'],
        '00281053': ['DS', 2],
      }),
      1,
    );
    expect(attributes.modality).toEqual({ kind: 'linear', slope: 2, intercept: -1024 });
    expect(attributes.windows).toEqual([
      { center: 40, width: 400, function: 'LINEAR' },
      { center: 300, width: 1500, function: 'LINEAR' },
      { center: 7, width: 0.5, function: 'LINEAR_EXACT' },
    ]);
    const exact = jsonOf({
      ...grayImage,
      '00281050': ['DS', 1],
      '00281051': ['DS', 2],
      '00281056': ['CS', 'LINEAR_EXACT'],
    });
    expect(imageAttributesOf(exact, 1).windows).toEqual([{ center: 1, width: 2, function: 'LINEAR_EXACT' }]);
    expect(imageAttributesOf(jsonOf({ ...grayImage, '00281053': ['DS', 0] }), 1).modality).toMatchObject({ slope: 1 });
  });

  it('functional groups: the frame’s own before the shared one before the top level', () => {
    const transformation = (slope: number) =>
      jsonOf({ '00289145': ['SQ', jsonOf({ '00281052': ['DS', 0], '00281053': ['DS', slope] })] });
    const voi = (center: number) =>
      jsonOf({
        '00289132': [
          'SQ',
          jsonOf({ '00281050': ['DS', center], '00281051': ['DS', 10], '00281056': ['CS', 'SIGMOID'] }),
        ],
      });
    const metadata = jsonOf({
      ...grayImage,
      '00281050': ['DS', 1],
      '00281051': ['DS', 1],
      '00281053': ['DS', 9],
      '52009229': ['SQ', transformation(3)],
      '52009230': ['SQ', { ...transformation(5), ...voi(50) }, voi(60), {}],
    });
    const of = (frameNumber: number) => {
      const { modality, windows } = imageAttributesOf(metadata, frameNumber);
      return [modality, windows[0]];
    };
    expect(of(1)).toEqual([
      { kind: 'linear', slope: 5, intercept: 0 },
      { center: 50, width: 10, function: 'SIGMOID' },
    ]);
    expect(of(2)).toEqual([
      { kind: 'linear', slope: 3, intercept: 0 },
      { center: 60, width: 10, function: 'SIGMOID' },
    ]);
    expect(of(3)).toEqual([
      { kind: 'linear', slope: 3, intercept: 0 },
      { center: 1, width: 1, function: 'LINEAR' },
    ]);
  });

  it('inverts for MONOCHROME1 and for INVERSE, and once for both', () => {
    const inverse = (photometric: string, shape?: string) =>
      imageAttributesOf(
        jsonOf({ ...grayImage, '00280004': ['CS', photometric], ...(shape ? { '20500020': ['CS', shape] } : {}) }),
        1,
      ).inverse;
    expect([inverse('MONOCHROME1'), inverse('MONOCHROME1', 'INVERSE'), inverse('MONOCHROME2', 'INVERSE')]).toEqual([
      true,
      true,
      true,
    ]);
    expect([inverse('MONOCHROME2'), inverse('MONOCHROME2', 'IDENTITY')]).toEqual([false, false]);
  });

  it('padding: one value or a range, either way round, read as the pixels are', () => {
    const padding = (value: number, limit?: number, signed = 1) =>
      imageAttributesOf(
        jsonOf({
          ...grayImage,
          '00280101': ['US', 16],
          '00280103': ['US', signed],
          '00280120': ['US', value],
          ...(limit === undefined ? {} : { '00280121': ['US', limit] }),
        }),
        1,
      ).padding;
    expect(padding(-2000)).toEqual({ low: -2000, high: -2000 });
    expect(padding(63536)).toEqual({ low: -2000, high: -2000 });
    expect(padding(63536, undefined, 0)).toEqual({ low: 63536, high: 63536 });
    expect(padding(10, 0, 0)).toEqual({ low: 0, high: 10 });
    expect(padding(-1, undefined, 0)).toEqual({ low: 65535, high: 65535 });
    expect(padding(-40_000, undefined, 1)).toBeUndefined();
  });

  it('lookup tables from values, from words and from packed bytes, and 0 for 65536 entries', () => {
    const withTable = (item: DicomJson) =>
      imageAttributesOf(jsonOf({ ...grayImage, '00283010': ['SQ', item] }), 1).voiTables[0];
    expect(withTable(lut([3, 10, 12], { Value: [1, 2, 4095] }))).toEqual({
      firstMapped: 10,
      entries: Uint16Array.of(1, 2, 4095),
      bits: 12,
    });
    expect(withTable(lut([3, 0, 16], { InlineBinary: words(1, 2, 3) }))?.entries).toEqual(Uint16Array.of(1, 2, 3));
    const packed = Buffer.from([7, 8, 9, 0]).toString('base64');
    expect(withTable(lut([3, 0, 8], { InlineBinary: packed }))?.entries).toEqual(Uint16Array.of(7, 8, 9));
    expect(withTable(lut([2, 0, 8], { Value: [0, 1023] }))?.bits).toBe(10);
    const large = lut([0, 0, 16], { InlineBinary: Buffer.from(new Uint16Array(65536).buffer).toString('base64') });
    expect(withTable(large)?.entries).toHaveLength(65536);
    expect(() => withTable(lut([4, 0, 12], { Value: [1, 2, 3] }))).toThrow(/3 entries/);
  });

  it('First Stored Pixel Value Mapped is signed where its input is', () => {
    const signed = { ...grayImage, '00280103': ['US', 1] } as const;
    const table = lut([2, 65336, 12], { Value: [0, 1] });
    const modality = imageAttributesOf(jsonOf({ ...signed, '00283000': ['SQ', table] }), 1).modality;
    expect(modality).toMatchObject({ kind: 'table', table: { firstMapped: -200 } });
    const rescaled = {
      ...grayImage,
      '00281052': ['DS', -1024],
      '00281053': ['DS', 1],
      '00283010': ['SQ', table],
    } as const;
    expect(imageAttributesOf(jsonOf(rescaled), 1).voiTables[0]?.firstMapped).toBe(-200);
    expect(imageAttributesOf(jsonOf({ ...grayImage, '00283010': ['SQ', table] }), 1).voiTables[0]?.firstMapped).toBe(
      65336,
    );
  });

  it('palettes, plain and segmented, and what they need of bulk data', () => {
    const descriptor = ['US', 8, 0, 8] as const;
    const color = { ...grayImage, '00280004': ['CS', 'PALETTE COLOR'] } as const;
    const bulk = { vr: 'OW', BulkDataURI: '~/00281203' } as const;
    const metadata: DicomJson = {
      ...jsonOf({ ...color, '00281101': descriptor, '00281102': descriptor, '00281103': descriptor }),
      '00281201': { vr: 'OW', InlineBinary: words(0, 1, 2, 3, 4, 5, 6, 7) },
      // Discrete 10 20, linear to 50 in 3 steps, indirect: one segment (the discrete one) again, then linear to 21.
      '00281222': { vr: 'OW', InlineBinary: words(0, 2, 10, 20, 1, 3, 50, 2, 1, 0, 0, 1, 1, 21) },
      '00281203': bulk,
    };
    expect(bulkNeededForRendering(metadata)).toEqual(['~/00281203']);
    const eight = Uint8Array.of(9, 9, 9, 9, 9, 9, 9, 9);
    const { palette } = imageAttributesOf(metadata, 1, (uri) => (uri === '~/00281203' ? eight : undefined));
    expect([...palette!.red.entries]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...palette!.green.entries]).toEqual([10, 20, 30, 40, 50, 10, 20, 21]);
    expect([...palette!.blue.entries]).toEqual([...eight]);
    expect(() => imageAttributesOf(metadata, 1)).toThrow(expect.objectContaining({ code: 'cannot-render' }));
  });

  it('bulk of LUTs in functional groups is named as well', () => {
    const table = lut([4, 0, 12], { BulkDataURI: '~/a' });
    const group = jsonOf({ '00289132': ['SQ', jsonOf({ '00283010': ['SQ', table] })] });
    expect(bulkNeededForRendering(jsonOf({ ...grayImage, '52009230': ['SQ', group, group] }))).toEqual(['~/a']);
  });

  it('refuses what holds no image or contradicts itself', () => {
    for (const changes of [
      { '00280010': ['US'] },
      { '00280010': ['UL', 70_000] },
      { '00280011': ['US', 0] },
      { '00280002': ['US', 2] },
      { '00280002': ['US', 4] },
      { '00280100': ['US', 24] },
      { '00280100': ['US', 64] },
      { '00280101': ['US', 17] },
      { '00280102': ['US', 16] },
    ] as const) {
      expect(() => imageAttributesOf(jsonOf({ ...grayImage, ...changes }), 1), JSON.stringify(changes)).toThrow(
        expect.objectContaining({ code: 'cannot-render' }),
      );
    }
  });

  it('answers any JSON with attributes or with cannot-render', () => {
    const value = fc.oneof(fc.integer(), fc.double(), fc.string(), fc.constant(null), fc.constant({}));
    const tags = [...Object.keys(grayImage), '00281050', '00281051', '00283000', '00283010', '00281101', '52009230'];
    const element = fc.record({
      vr: fc.constantFrom('US', 'DS', 'CS', 'SQ'),
      Value: fc.array(value, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...tags), element), (changes) => {
        try {
          imageAttributesOf({ ...jsonOf(grayImage), ...(changes as DicomJson) }, 1);
        } catch (error) {
          expect(isArchiveError(error, 'cannot-render'), String(error)).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});
