/**
 * The DICOM JSON Model to bytes and back through the reader: any data set, the headers of real files, hostile JSON, and
 * the encoding itself byte by byte (PS3.5 §7.1).
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import { dicomJsonText, fromDicomJson, toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { vrNames } from '#shared/dicom/vr.ts';
import { isArchiveError } from '#shared/errors.ts';
import { dataSets } from '#test/support/data-sets.ts';
import { encodeElement, joinBytes } from '#test/support/dicom-factory.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';

const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
const EXPLICIT_BIG = '1.2.840.10008.1.2.2';
const IMPLICIT_LITTLE = '1.2.840.10008.1.2';

const syntaxes = [
  { uid: EXPLICIT_LITTLE, explicitVr: true, littleEndian: true },
  { uid: EXPLICIT_BIG, explicitVr: true, littleEndian: false },
  { uid: IMPLICIT_LITTLE, explicitVr: false, littleEndian: true },
] as const;

const read = (bytes: Uint8Array, transferSyntaxUid = EXPLICIT_LITTLE): DicomJson =>
  toDicomJson(readHeader(bytes, { transferSyntaxUid }).dataSet);

describe('there and back', () => {
  it.each(syntaxes.filter(({ explicitVr }) => explicitVr))('any data set, in $uid', ({ uid, ...syntax }) => {
    fc.assert(
      fc.property(dataSets, (json) => {
        const bytes = encodeDataSet(json, syntax);
        expect(bytes.length % 2).toBe(0);
        const { '00080005': characterSet, ...back } = read(bytes, uid);
        expect(back).toEqual(json);
        const isAscii = /^[\x20-\x7e]*$/.test(JSON.stringify(json));
        expect(characterSet).toEqual(isAscii ? undefined : { vr: 'CS', Value: ['ISO_IR 192'] });
      }),
      { numRuns: 150 },
    );
  });

  it('any bytes of values: what they are as JSON is what that JSON is as bytes, and the same bytes from then on', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 24 }),
      fc
        .string({ unit: fc.constantFrom(...'0123456789+-.eE \\^=AZaz\0'), maxLength: 24 })
        .map((text) => Buffer.from(text)),
    );
    const elements = fc.array(fc.tuple(fc.constantFrom(...vrNames.filter((vr) => vr !== 'SQ')), bytes), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(elements, fc.constantFrom(...syntaxes.slice(0, 2)), (list, { uid, ...encoding }) => {
        const dataSet = joinBytes(
          list.map(([vr, value], i) => {
            const even = value.length % 2 === 0 ? value : joinBytes([value, Uint8Array.of(0x20)]);
            return encodeElement({ tag: 0x00091000 + i, vr, value: even }, encoding);
          }),
        );
        const json = read(dataSet, uid);
        let once: Uint8Array;
        try {
          once = encodeDataSet(json, encoding);
        } catch (error) {
          // Text where the VR has numbers, and the like: said, not bent.
          expect(isArchiveError(error, 'bad-request')).toBe(true);
          return;
        }
        const { '00080005': _, ...again } = read(once, uid);
        expect(again).toEqual(json);
        expect(encodeDataSet(read(once, uid), encoding)).toEqual(once);
      }),
      { numRuns: 300 },
    );
  });

  const standard: DicomJson = {
    '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
    '00080008': { vr: 'CS', Value: ['ORIGINAL', 'PRIMARY'] },
    '00080018': { vr: 'UI', Value: ['1.2.3'] },
    '00081140': { vr: 'SQ', Value: [{ '00081150': { vr: 'UI', Value: ['1.2'] } }, {}] },
    '00081199': { vr: 'SQ' },
    '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Müller^Jürgen', Ideographic: '山田^太郎' }] },
    '00101030': { vr: 'DS', Value: [70.5] },
    '00189461': { vr: 'FL', Value: [1.5] },
    '00280010': { vr: 'US', Value: [512] },
    '00280009': { vr: 'AT', Value: ['00181063'] },
    '30060020': { vr: 'SQ', Value: [{ '30060022': { vr: 'IS', Value: [1] } }] },
  };

  it.each(syntaxes)('attributes of the standard, in $uid', ({ uid, ...syntax }) => {
    expect(read(encodeDataSet(standard, syntax), uid)).toEqual(standard);
  });

  it('in the character sets that were asked for, where they are enough', () => {
    const json: DicomJson = { '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Yamada', Ideographic: '山田^太郎' }] } };
    const japanese = ['', 'ISO 2022 IR 87'];
    const syntax = { explicitVr: true, littleEndian: true };
    const { dataSet } = readHeader(encodeDataSet(json, syntax, japanese), { transferSyntaxUid: EXPLICIT_LITTLE });
    expect(dataSet.characterSets).toEqual(japanese);
    expect(Buffer.from(dataSet.get(0x00100010)?.value ?? []).toString('latin1')).toBe(
      'Yamada=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B',
    );
    expect(toDicomJson(dataSet)['00100010']).toEqual(json['00100010']);
    const latin = readHeader(encodeDataSet(json, syntax, ['ISO_IR 100']), {
      transferSyntaxUid: EXPLICIT_LITTLE,
    }).dataSet;
    expect(latin.characterSets).toEqual(['ISO_IR 192']);
    expect(toDicomJson(latin)['00100010']).toEqual(json['00100010']);
  });

  const files = samplesFolder() === undefined ? [] : sampleFiles('charsets').concat(sampleFiles('modalities'));
  it.skipIf(files.length === 0)('every header of the samples of character sets and modalities', () => {
    let compared = 0;
    for (const file of files.filter((path) => path.endsWith('.dcm'))) {
      const { dataSet } = readHeader(readFileSync(file));
      const json = toDicomJson(dataSet);
      const held = JSON.parse(dicomJsonText(json)) as DicomJson;
      expect(held).toEqual(JSON.parse(JSON.stringify(json)));
      let encoded: Uint8Array;
      try {
        encoded = fromDicomJson(held);
      } catch (error) {
        // Text where the VR has numbers, and the like: said, not bent.
        if (isArchiveError(error, 'bad-request')) continue;
        throw error;
      }
      const { '00080005': before, ...rest } = held;
      const { '00080005': after, ...again } = JSON.parse(dicomJsonText(read(encoded))) as DicomJson;
      expect(withoutNestedCharacterSets(again), file).toEqual(withoutNestedCharacterSets(rest));
      if (before !== undefined) expect(after).toEqual(before);
      compared++;
    }
    expect(compared).toBeGreaterThan(files.length * 0.8);
  });
});

/** Items are written in the character set of the outermost data set and need not name one. */
function withoutNestedCharacterSets(json: DicomJson): DicomJson {
  const entries = Object.entries(json).filter(([key]) => key !== '00080005');
  return Object.fromEntries(
    entries.map(([key, value]) =>
      value.vr === 'SQ' && value.Value
        ? [key, { ...value, Value: value.Value.map((item) => withoutNestedCharacterSets(item as DicomJson)) }]
        : [key, value],
    ),
  );
}

describe('JSON from outside', () => {
  const refused = (json: unknown, code: 'bad-request' | 'limit-exceeded' = 'bad-request'): void => {
    expect(() => fromDicomJson(json as DicomJson)).toThrowError(expect.objectContaining({ code }));
  };

  it('is refused where it is not the model', () => {
    refused(null);
    refused([]);
    refused({ PatientName: { vr: 'PN' } });
    refused(JSON.parse('{"__proto__":{"vr":"LO","Value":["x"]}}'));
    refused({ '00100010': 'Doe' });
    refused({ '00100010': { vr: 'XX' } });
    refused({ '00100010': { vr: '__proto__' } });
    refused({ '00100010': { vr: 'PN', Value: 'Doe' } });
    refused({ '00100010': { vr: 'PN', Value: [{ Alphabetic: 1 }] } });
    refused({ '00100020': { vr: 'LO', Value: [{}] } });
    refused({ '00100020': { vr: 'LO', Value: ['a\\b'] } });
    refused({ '00104000': { vr: 'LT', Value: ['a', 'b'] } });
    refused({ '00280010': { vr: 'US', Value: [65536] } });
    refused({ '00280010': { vr: 'US', Value: [-1] } });
    refused({ '00280010': { vr: 'US', Value: [1.5] } });
    refused({ '00280010': { vr: 'US', Value: [null] } });
    refused({ '00189461': { vr: 'FL', Value: ['abc'] } });
    refused({ '00280009': { vr: 'AT', Value: ['Rows'] } });
    refused({ '00091001': { vr: 'OB', Value: [1] } });
    refused({ '00091001': { vr: 'OB', InlineBinary: '***' } });
    refused({ '00091001': { vr: 'OB', BulkDataURI: 'http://elsewhere/' } });
    refused({ '00081140': { vr: 'SQ', Value: ['x'] } });
  });

  it('is bounded in depth', () => {
    let json: DicomJson = {};
    for (let i = 0; i < 100; i++) json = { '0040A730': { vr: 'SQ', Value: [json] } };
    refused(json, 'limit-exceeded');
  });

  it('never repeats a value in its error', () => {
    try {
      fromDicomJson({ '00081140': { vr: 'SQ', Value: [{ '00280010': { vr: 'US', Value: ['Secret'] } }] } });
      expect.unreachable();
    } catch (error) {
      expect(isArchiveError(error, 'bad-request')).toBe(true);
      expect(JSON.stringify([(error as Error).message, (error as { details: unknown }).details])).not.toContain(
        'Secret',
      );
      expect((error as Error).message).toContain('00081140/0/00280010');
    }
  });

  it('takes numbers and texts for one another, and other spellings of what is not finite', () => {
    const back = read(
      fromDicomJson({
        '00091001': { vr: 'IS', Value: ['7', 8] },
        '00091002': { vr: 'US', Value: ['7'] },
        '00091003': { vr: 'FD', Value: ['1.5', 'inf', '-inf', 'nan', null] },
        '00091004': { vr: 'PN', Value: ['Doe^John=X'] },
        '00091005': { vr: 'DS', Value: [1234.567890123457, -1.2345678901234567e-100] },
        '00091006': { vr: 'LO', Value: [5] },
      } as unknown as DicomJson),
    );
    expect(back['00091001']?.Value).toEqual([7, 8]);
    expect(back['00091002']?.Value).toEqual([7]);
    expect(back['00091003']?.Value).toEqual([1.5, 'Infinity', '-Infinity', 'NaN', 'NaN']);
    expect(back['00091004']?.Value).toEqual([{ Alphabetic: 'Doe^John', Ideographic: 'X' }]);
    expect(back['00091005']?.Value).toEqual([1234.56789012346, -1.23456789e-100]);
    expect(back['00091006']?.Value).toEqual(['5']);
  });

  it('gets its bulk from the callback', () => {
    const seen: string[] = [];
    const bytes = fromDicomJson(
      { '00081140': { vr: 'SQ', Value: [{ '00091001': { vr: 'OW', BulkDataURI: '~/x' } }] } },
      {
        bulk: (uri, path) => {
          seen.push(uri, path);
          return Uint8Array.of(1, 2, 3, 4);
        },
      },
    );
    expect(seen).toEqual(['~/x', '00081140/0/00091001']);
    expect(read(bytes)['00081140']?.Value?.[0]).toEqual({ '00091001': { vr: 'OW', InlineBinary: 'AQIDBA==' } });
  });
});

describe('encoding', () => {
  it('pads and orders as PS3.5 says, and leaves out group lengths and File Meta', () => {
    const bytes = encodeDataSet(
      {
        '00100020': { vr: 'LO', Value: ['abc'] },
        '00080018': { vr: 'UI', Value: ['1.2'] },
        '00080000': { vr: 'UL', Value: [1] },
        '00020010': { vr: 'UI', Value: ['1.2'] },
        '00091001': { vr: 'OB', InlineBinary: 'AQ==' },
        '00091002': { vr: 'UT', Value: ['x'] },
      },
      { explicitVr: true, littleEndian: true },
    );
    expect(Buffer.from(bytes).toString('latin1')).toBe(
      '\x08\0\x18\0UI\x04\x001.2\0' +
        '\x09\0\x01\x10OB\0\0\x02\0\0\0\x01\0' +
        '\x09\0\x02\x10UT\0\0\x02\0\0\0x ' +
        '\x10\0\x20\0LO\x04\0abc ',
    );
  });

  it('writes sequences and items with their lengths', () => {
    const json: DicomJson = { '00081140': { vr: 'SQ', Value: [{ '00081150': { vr: 'UI', Value: ['1.2.3.4'] } }] } };
    expect(Buffer.from(encodeDataSet(json, { explicitVr: false, littleEndian: true })).toString('latin1')).toBe(
      '\x08\0\x40\x11\x18\0\0\0' + '\xfe\xff\0\xe0\x10\0\0\0' + '\x08\0\x50\x11\x08\0\0\x001.2.3.4\0',
    );
    expect(Buffer.from(encodeDataSet(json, { explicitVr: true, littleEndian: false })).toString('latin1')).toBe(
      '\0\x08\x11\x40SQ\0\0\0\0\0\x18' + '\xff\xfe\xe0\0\0\0\0\x10' + '\0\x08\x11\x50UI\0\x081.2.3.4\0',
    );
  });

  it('writes UN where a value is too long for its VR in explicit VR', () => {
    const json: DicomJson = { '00091001': { vr: 'IS', Value: Array<number>(40_000).fill(5) } };
    const explicit = encodeDataSet(json, { explicitVr: true, littleEndian: true });
    expect(Buffer.from(explicit.subarray(4, 12)).toString('latin1')).toBe('UN\0\0\x80\x38\x01\0');
    expect(explicit.length).toBe(12 + 80_000);
  });
});
