/**
 * Arbitrary data sets for property tests, in the DICOM JSON Model, in the form in which toDicomJson gives them: so that there
 * and back again means the same.
 */
import fc from 'fast-check';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';

/** Values of each VR in the form in which toDicomJson gives them. */
const word = fc
  .string({ unit: fc.constantFrom(...'aZ09 .-éΔ山ł€𠮷'), minLength: 1, maxLength: 12 })
  .map((text) => text.trim() || 'x');
const plain = fc.string({ unit: fc.constantFrom(...'AZ09_'), minLength: 1, maxLength: 12 });
const components = fc.array(word, { minLength: 1, maxLength: 7 }).map((parts) => parts.join('^'));
const ended = fc.tuple(components, fc.constantFrom('', '', '^', '^^^')).map(([text, carets]) => text + carets);
const name = fc
  .record({ Alphabetic: ended, Ideographic: word, Phonetic: ended }, { requiredKeys: ['Alphabetic'] })
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
/** Any data set of some elements of all VRs, three deep. Private tags, so that no dictionary says another VR than the explicit one. */
export const dataSets = fc.letrec<{ set: DicomJson; item: JsonElement }>((tie) => ({
  set: fc.dictionary(
    fc.integer({ min: 0x1000, max: 0x10ff }).map((low) => `0009${low.toString(16).toUpperCase().padStart(4, '0')}`),
    fc.oneof({ maxDepth: 3, depthSize: 'small' }, anyElement, tie('item')),
    { minKeys: 1, maxKeys: 6, noNullPrototype: true },
  ),
  item: fc
    .array(tie('set'), { maxLength: 3 })
    .map((Value): JsonElement => (Value.length === 0 ? { vr: 'SQ' } : { vr: 'SQ', Value })),
})).set;
