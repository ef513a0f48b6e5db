import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataSet, type Element, type Vr } from '#shared/dicom/data-set.ts';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import { dicomJsonText, fromDicomJson, toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { byteOrdered } from '#shared/dicom/json-numbers.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { isArchiveError } from '#shared/errors.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';

const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
const EXPLICIT_BIG = '1.2.840.10008.1.2.2';
const IMPLICIT_LITTLE = '1.2.840.10008.1.2';

const syntaxes = [
  { uid: EXPLICIT_LITTLE, explicitVr: true, littleEndian: true },
  { uid: EXPLICIT_BIG, explicitVr: true, littleEndian: false },
  { uid: IMPLICIT_LITTLE, explicitVr: false, littleEndian: true },
] as const;

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

const read = (bytes: Uint8Array, transferSyntaxUid = EXPLICIT_LITTLE): DicomJson =>
  toDicomJson(readHeader(bytes, { transferSyntaxUid }).dataSet);

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

/** Values of each VR in the form in which toDicomJson gives them. */
const word = fc
  .string({ unit: fc.constantFrom(...'aZ09 .-éΔ山ł€𠮷'), minLength: 1, maxLength: 12 })
  .map((text) => text.trim() || 'x');
const plain = fc.string({ unit: fc.constantFrom(...'AZ09_'), minLength: 1, maxLength: 12 });
const name = fc
  .record({ Alphabetic: word, Ideographic: word, Phonetic: word }, { requiredKeys: ['Alphabetic'] })
  .map((groups) => ({ ...groups }));
const sometimesNull = (value: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonValue[]> =>
  fc
    .array(fc.option(value, { freq: 5 }), { minLength: 1, maxLength: 4 })
    .filter((values) => values.length > 1 || values[0] !== null);
const list = (value: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonValue[]> =>
  fc.array(value, { minLength: 1, maxLength: 4 });
const big = (minimum: bigint, maximum: bigint): fc.Arbitrary<JsonValue> =>
  fc.bigInt(minimum, maximum).map((n) => (Number.isSafeInteger(Number(n)) ? Number(n) : n.toString()));
const floats = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
  fc.constantFrom('NaN', 'Infinity', '-Infinity'),
);
const float32 = fc.oneof(
  fc.float({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0),
  fc.constantFrom('NaN', 'Infinity', '-Infinity'),
);
const decimals = fc.double({ noNaN: true, min: -1e6, max: 1e6 }).map((n) => Number(n.toPrecision(8)) + 0);
const values: Partial<Record<Vr, fc.Arbitrary<JsonValue[]>>> = {
  AE: sometimesNull(plain),
  AS: sometimesNull(plain),
  AT: list(fc.nat(0xffffffff).map((n) => n.toString(16).toUpperCase().padStart(8, '0'))),
  CS: sometimesNull(plain),
  DA: sometimesNull(plain),
  DS: list(decimals),
  DT: sometimesNull(plain),
  FD: list(floats),
  FL: list(float32),
  IS: list(fc.integer()),
  LO: sometimesNull(word),
  LT: word.map((text) => [text]),
  PN: sometimesNull(name),
  SH: sometimesNull(word),
  SL: list(fc.integer()),
  SS: list(fc.integer({ min: -32768, max: 32767 })),
  ST: word.map((text) => [`${text}\\${text}`]),
  SV: list(big(-(2n ** 63n), 2n ** 63n - 1n)),
  TM: sometimesNull(plain),
  UC: sometimesNull(word),
  UI: list(fc.constantFrom('1.2.3', '1.2.840.10008.1.1', '2.25.1')),
  UL: list(fc.nat(0xffffffff)),
  UR: plain.map((text) => [text]),
  US: list(fc.nat(0xffff)),
  UT: word.map((text) => [text]),
  UV: list(big(0n, 2n ** 64n - 1n)),
};
const bytesOf = (unit: number): fc.Arbitrary<string> =>
  fc
    .uint8Array({ minLength: 1, maxLength: 4 })
    .map((bytes) => Buffer.concat(Array(Math.max(2, unit)).fill(bytes)).toString('base64'));
const anyElement: fc.Arbitrary<JsonElement> = fc.oneof(
  ...Object.entries(values).map(([vr, value]) =>
    fc
      .option(value, { freq: 8 })
      .map((Value): JsonElement => (Value === null ? { vr: vr as Vr } : { vr: vr as Vr, Value })),
  ),
  ...Object.entries({ OB: 1, OW: 2, OF: 4, OL: 4, OD: 8, OV: 8, UN: 1 }).map(([vr, unit]) =>
    bytesOf(unit).map((InlineBinary): JsonElement => ({ vr: vr as Vr, InlineBinary })),
  ),
);
/** Private tags, so that no dictionary says another VR than the explicit one. */
const dataSets = fc.letrec<{ set: DicomJson; item: JsonElement }>((tie) => ({
  set: fc.dictionary(
    fc.integer({ min: 0x1000, max: 0x10ff }).map((low) => `0009${low.toString(16).toUpperCase().padStart(4, '0')}`),
    fc.oneof({ maxDepth: 3, depthSize: 'small' }, anyElement, tie('item')),
    { minKeys: 1, maxKeys: 6, noNullPrototype: true },
  ),
  item: fc
    .array(tie('set'), { maxLength: 3 })
    .map((Value): JsonElement => (Value.length === 0 ? { vr: 'SQ' } : { vr: 'SQ', Value })),
})).set;

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
      { numRuns: 400 },
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
