/**
 * Data sets to the DICOM JSON Model (PS3.18 Annex F): every VR in both byte orders, what stays outside, and the order of
 * the text.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { byteOrdered } from '#shared/dicom/byte-order.ts';
import { DataSet, type Element, type Vr } from '#shared/dicom/data-set.ts';
import { dicomJsonText, toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';

/** An element as the reader would leave it. */
function element(vr: Vr, value: Uint8Array | string | undefined, tag = 0x00091001): Element {
  const bytes = typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
  return { tag, vr, offsetBytes: 0, lengthBytes: bytes?.length ?? 0, value: bytes, items: undefined };
}

function jsonOf(
  vr: Vr,
  value: Uint8Array | string | undefined,
  characterSets: string[] = [],
  littleEndian = true,
): JsonElement {
  const dataSet = new DataSet(littleEndian, characterSets);
  dataSet.elements.set(0x00091001, element(vr, value));
  return toDicomJson(dataSet)['00091001'] ?? ({} as JsonElement);
}

describe('text', () => {
  it.each<[Vr, string, JsonValue[] | undefined]>([
    ['LO', 'value ', ['value']],
    ['LO', 'value\0', ['value']],
    ['LO', '  a \\ b', ['a', 'b']],
    ['LO', 'a\\\\b', ['a', null, 'b']],
    ['LO', '\\', [null, null]],
    ['LO', '', undefined],
    ['LO', '   ', undefined],
    ['CS', 'ORIGINAL\\PRIMARY ', ['ORIGINAL', 'PRIMARY']],
    ['UI', '1.2.3\0', ['1.2.3']],
    ['UI', '1.2.3\\1.2.4', ['1.2.3', '1.2.4']],
    ['ST', '  a\\b ', ['  a\\b']],
    ['UT', 'two\r\nlines', ['two\r\nlines']],
    ['UR', 'http://x/a\\b', ['http://x/a\\b']],
    ['UC', ' a\\b ', [' a', 'b']],
    ['DA', '20240102', ['20240102']],
    ['AE', ' STORE ', ['STORE']],
    ['PN', 'Doe^John ', [{ Alphabetic: 'Doe^John' }]],
    ['PN', 'Yamada^Tarou=A=B', [{ Alphabetic: 'Yamada^Tarou', Ideographic: 'A', Phonetic: 'B' }]],
    ['PN', '==B', [{ Phonetic: 'B' }]],
    ['PN', 'A=B=C=D', [{ Alphabetic: 'A', Ideographic: 'B', Phonetic: 'C=D' }]],
    ['PN', '==', [null]],
    ['PN', '\0=', [null]],
    ['PN', 'Doe^John =A ', [{ Alphabetic: 'Doe^John', Ideographic: 'A' }]],
    ['PN', 'A\\\\B', [{ Alphabetic: 'A' }, null, { Alphabetic: 'B' }]],
  ])('%s %j is %j', (vr, value, expected) => {
    const wanted = expected?.length === 1 && expected[0] === null ? undefined : expected;
    expect(jsonOf(vr, value)).toEqual(wanted === undefined ? { vr } : { vr, Value: wanted });
  });

  it('is decoded in the character sets of its data set', () => {
    expect(jsonOf('LO', 'J\xe9r\\\xf4', ['ISO_IR 100'])).toEqual({ vr: 'LO', Value: ['Jér', 'ô'] });
    expect(jsonOf('PN', '\xd4\xcf=\x1b$B;3ED\x1b(J', ['ISO 2022 IR 13', 'ISO 2022 IR 87'])).toEqual({
      vr: 'PN',
      Value: [{ Alphabetic: 'ﾔﾏ', Ideographic: '山田' }],
    });
    // The second byte is that of a backslash.
    expect(jsonOf('LO', '\x8f\x5c', ['GBK'])).toEqual({ vr: 'LO', Value: ['廫'] });
  });
});

describe('decimal and integer strings', () => {
  it.each<[Vr, string, JsonValue]>([
    ['IS', '42', 42],
    ['IS', ' +7 ', 7],
    ['IS', '-007', -7],
    ['IS', '-0', 0],
    ['IS', '9007199254740991', 9007199254740991],
    ['IS', '9007199254740993', '9007199254740993'],
    ['IS', '1.5', '1.5'],
    ['IS', '12A', '12A'],
    ['IS', '-', '-'],
    ['DS', '1.5', 1.5],
    ['DS', ' -.5 ', -0.5],
    ['DS', '5.', 5],
    ['DS', '.', '.'],
    ['DS', '+', '+'],
    ['DS', '0', 0],
    ['DS', '-0.0', 0],
    ['DS', '0.000000', 0],
    ['DS', '1e3', 1000],
    ['DS', '1.0E-07', 1e-7],
    ['DS', '-1.234567E+2', -123.4567],
    ['DS', '0.1234567890123456', 0.1234567890123456],
    ['DS', '0.00000000000000000000000000000123', 1.23e-30],
    ['DS', '12345678901234567', '12345678901234567'],
    ['DS', '1e400', '1e400'],
    ['DS', '1e-400', '1e-400'],
    ['DS', 'NaN', 'NaN'],
    ['DS', '1,5', '1,5'],
    ['DS', '1.5.2', '1.5.2'],
    ['DS', '0x10', '0x10'],
    ['DS', '1e', '1e'],
  ])('%s %j is %j', (vr, value, expected) => {
    expect(jsonOf(vr, value)).toEqual({ vr, Value: [expected] });
  });

  it('are read value by value', () => {
    expect(jsonOf('DS', '0.5\\ 1 \\\\abc\\-2')).toEqual({ vr: 'DS', Value: [0.5, 1, null, 'abc', -2] });
    expect(jsonOf('IS', '1\\2\\')).toEqual({ vr: 'IS', Value: [1, 2, null] });
  });

  it('make the number that the digits mean, or none', () => {
    const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 12 });
    const sign = fc.constantFrom('', '+', '-');
    const exponent = fc.oneof(
      fc.constant(''),
      fc.integer({ min: -30, max: 30 }).map((e) => `E${e}`),
    );
    fc.assert(
      fc.property(sign, digits, fc.option(digits), exponent, (s, whole, fraction, e) => {
        const text = `${s}${whole}${fraction === null ? '' : `.${fraction}`}${e}`;
        const [value] = jsonOf('DS', text).Value ?? [];
        if (typeof value === 'number') expect(value).toBe(Number(text) + 0);
        else expect(value).toBe(text);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('binary values', () => {
  const bytes = (...hex: string[]): Buffer => Buffer.from(hex.join(''), 'hex');
  it.each<[Vr, Buffer, JsonValue[]]>([
    ['US', bytes('ffff', '0100'), [65535, 1]],
    ['SS', bytes('ffff'), [-1]],
    ['UL', bytes('ffffffff'), [4294967295]],
    ['SL', bytes('feffffff'), [-2]],
    ['UV', bytes('ffffffffffffff1f'), ['2305843009213693951']],
    ['UV', bytes('0500000000000000'), [5]],
    ['SV', bytes('ffffffffffffffff'), [-1]],
    ['SV', bytes('0000000000000080'), ['-9223372036854775808']],
    ['FL', bytes('0000c03f'), [1.5]],
    ['FL', bytes('0000807f', '000080ff', '0000c07f'), ['Infinity', '-Infinity', 'NaN']],
    ['FD', bytes('000000000000f83f'), [1.5]],
    ['AT', bytes('28001000', 'e07f1000'), ['00280010', '7FE00010']],
  ])('%s %s is %j', (vr, value, expected) => {
    expect(jsonOf(vr, value)).toEqual({ vr, Value: expected });
    expect(jsonOf(vr, byteOrdered(value, vr, false), [], false)).toEqual({ vr, Value: expected });
  });

  it('leaves out what does not make a whole value', () => {
    expect(jsonOf('US', bytes('010002'))).toEqual({ vr: 'US', Value: [1] });
    expect(jsonOf('FD', bytes('0102'))).toEqual({ vr: 'FD' });
    expect(jsonOf('US', '')).toEqual({ vr: 'US' });
  });

  it('turns bytes round where the source is big endian', () => {
    const value = bytes('0102030405060708');
    const inline = (vr: Vr, littleEndian: boolean): string =>
      Buffer.from(jsonOf(vr, value, [], littleEndian).InlineBinary ?? '', 'base64').toString('hex');
    expect(inline('OW', true)).toBe('0102030405060708');
    expect(inline('OW', false)).toBe('0201040306050807');
    expect(inline('OF', false)).toBe('0403020108070605');
    expect(inline('OL', false)).toBe('0403020108070605');
    expect(inline('OD', false)).toBe('0807060504030201');
    expect(inline('OV', false)).toBe('0807060504030201');
    expect(inline('OB', false)).toBe('0102030405060708');
    expect(inline('UN', false)).toBe('0102030405060708');
    expect(value.toString('hex')).toBe('0102030405060708');
  });
});

describe('what stays outside', () => {
  const dataSet = new DataSet(true);
  const inner = new DataSet(true);
  inner.elements.set(0x00420011, element('OB', Buffer.alloc(20), 0x00420011));
  const put = (tag: number, vr: Vr, value: Buffer | undefined): void =>
    void dataSet.elements.set(tag, element(vr, value, tag));
  put(0x00080000, 'UL', Buffer.alloc(4));
  put(0x00091001, 'OB', Buffer.alloc(10));
  put(0x00091002, 'OB', Buffer.alloc(11));
  put(0x00091003, 'OW', undefined);
  put(0x00091004, 'US', Buffer.alloc(65_536));
  put(0x00091005, 'US', Buffer.alloc(65_538));
  dataSet.elements.set(0x0040a730, { ...element('SQ', undefined, 0x0040a730), items: [new DataSet(true), inner] });
  put(0x7fe00001, 'OV', Buffer.alloc(8));

  it('is named by tags and item numbers', () => {
    const seen: string[] = [];
    const json = toDicomJson(dataSet, {
      inlineLimitBytes: 10,
      bulkDataUri: (path, { tag }) => {
        seen.push(path);
        return `~/${path}?${tag}`;
      },
    });
    expect(seen).toEqual(['00091002', '00091003', '00091005', '0040A730/1/00420011', '7FE00001']);
    expect(json['00080000']).toBeUndefined();
    expect(json['00091001']?.InlineBinary).toBe(Buffer.alloc(10).toString('base64'));
    expect(json['00091003']).toEqual({ vr: 'OW', BulkDataURI: `~/00091003?${0x00091003}` });
    expect(json['00091004']?.Value?.length).toBe(32_768);
    expect(json['0040A730']?.Value?.[0]).toEqual({});
  });

  it('is left out when nobody names it', () => {
    const json = toDicomJson(dataSet, { inlineLimitBytes: 10 });
    expect(Object.keys(json)).toEqual(['00091001', '00091002', '00091004', '00091005', '0040A730']);
  });

  it('is chosen at the outermost level only', () => {
    expect(toDicomJson(dataSet, { only: new Set([0x0040a730]) })).toEqual({
      '0040A730': {
        vr: 'SQ',
        Value: [{}, { '00420011': { vr: 'OB', InlineBinary: Buffer.alloc(20).toString('base64') } }],
      },
    });
  });
});

describe('order and text', () => {
  it('is ascending in the text, whatever JavaScript makes of keys like 30060020', () => {
    const json: DicomJson = {
      '30060020': { vr: 'SQ', Value: [{ '30060022': { vr: 'IS', Value: [1] }, '00080005': { vr: 'CS' } }] },
      '00100010': { vr: 'PN', Value: [{ Alphabetic: 'A"\\^\u0001' }, null] },
      '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
      '20010010': { vr: 'LO', Value: ['\u2028é\ud800'] },
      '0009100A': { vr: 'OB', InlineBinary: 'AAA=' },
      '0009100B': { vr: 'OB', BulkDataURI: '~/"' },
    };
    const text = dicomJsonText(json);
    expect([...text.matchAll(/"([0-9A-F]{8})":/g)].map((match) => match[1])).toEqual([
      '00080005',
      '0009100A',
      '0009100B',
      '00100010',
      '20010010',
      '30060020',
      '00080005',
      '30060022',
    ]);
    expect(JSON.parse(text)).toEqual({ ...json, '20010010': { vr: 'LO', Value: ['\u2028é\ufffd'] } });
  });

  it('is ascending even where the sender was not', () => {
    const dataSet = new DataSet(true);
    for (const tag of [0x00100010, 0x00080060, 0x00080005]) dataSet.elements.set(tag, element('CS', 'A ', tag));
    expect(Object.keys(toDicomJson(dataSet))).toEqual(['00080005', '00080060', '00100010']);
    expect(toDicomJson(dataSet)['00080005']).toEqual({ vr: 'CS', Value: ['ISO_IR 192'] });
  });
});
