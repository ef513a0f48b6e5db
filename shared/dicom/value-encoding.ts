/**
 * One value of the DICOM JSON Model to bytes, by VR (PS3.5 §6.2, PS3.18 §F.2.3), without padding. Wrong types and values that
 * a VR cannot hold are refused, never bent; numbers and their texts are taken for one another.
 */
import type { ArchiveError } from '../errors.ts';
import { encodeText } from './charset.ts';
import type { Vr } from './data-set.ts';
import type { JsonValue } from './dicom-json-model.ts';
import { personNameText } from './person-name.ts';

export interface ValueEncoding {
  readonly littleEndian: boolean;
  readonly characterSets: readonly string[];
}

/** Makes the error of a value, from the end of a sentence: `holds a number out of range`. */
type Fail = (what: string) => ArchiveError;

const textVrs: ReadonlySet<string> = new Set<Vr>([
  'AE', 'AS', 'CS', 'DA', 'DS', 'DT', 'IS', 'LO', 'LT', 'PN', 'SH', 'ST', 'TM', 'UC', 'UI', 'UR', 'UT',
]); // biome-ignore format: a table reads better
const singleValueVrs: ReadonlySet<Vr> = new Set<Vr>(['LT', 'ST', 'UR', 'UT']);

export const isText = (vr: Vr): boolean => textVrs.has(vr);

export function encodeValue(values: readonly JsonValue[], vr: Vr, encoding: ValueEncoding, fail: Fail): Uint8Array {
  if (values.length === 0) return new Uint8Array(0);
  if (isText(vr)) return encodeTexts(values, vr, encoding, fail);
  switch (vr) {
    case 'AT':
      return encodeTags(values, encoding, fail);
    case 'FD':
      return encodeNumbers(values, 8, fail, floating, (view, at, n) =>
        view.setFloat64(at, Number(n), encoding.littleEndian),
      );
    case 'FL':
      return encodeNumbers(values, 4, fail, floating, (view, at, n) =>
        view.setFloat32(at, Number(n), encoding.littleEndian),
      );
    case 'SL':
    case 'SS':
    case 'SV':
    case 'UL':
    case 'US':
    case 'UV':
      return encodeIntegers(values, integers[vr], encoding, fail);
    default:
      throw fail(`has a Value, but its VR ${vr} holds bytes: use InlineBinary or BulkDataURI`);
  }
}

/** A value as characters, before its character set; undefined for what is no text. Null is the empty one. */
export function textOf(value: JsonValue, vr: Vr): string | undefined {
  if (value === null) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number')
    return vr === 'DS' ? decimalText(value) : Number.isFinite(value) ? String(value) : undefined;
  if (vr !== 'PN' || typeof value !== 'object') return undefined;
  const groups = [value.Alphabetic, value.Ideographic, value.Phonetic];
  if (!groups.every((group) => group === undefined || typeof group === 'string')) return undefined;
  return personNameText(value as { Alphabetic?: string });
}

/** DS has 16 bytes at most (PS3.5 §6.2): as many digits as fit. */
function decimalText(number: number): string | undefined {
  if (!Number.isFinite(number)) return undefined;
  const shortest = String(number);
  if (shortest.length <= 16) return shortest;
  for (let digits = 16; digits > 0; digits--) {
    const text = String(Number(number.toPrecision(digits)));
    if (text.length <= 16) return text;
  }
  return undefined;
}

function encodeTexts(values: readonly JsonValue[], vr: Vr, encoding: ValueEncoding, fail: Fail): Uint8Array {
  if (singleValueVrs.has(vr) && values.length > 1) throw fail(`has several values, but its VR ${vr} holds one`);
  const texts = values.map((value) => {
    const text = textOf(value, vr);
    if (text === undefined) throw fail(`has a value that is no text of its VR ${vr}`);
    if (!singleValueVrs.has(vr) && text.includes('\\'))
      throw fail('has a backslash within a value; give several values instead');
    return text;
  });
  const text = texts.join('\\');
  const bytes =
    encodeText(text, encoding.characterSets, vr) ?? encodeText(text.toWellFormed(), encoding.characterSets, vr);
  if (bytes === undefined) throw fail('has characters that its character set cannot express');
  return bytes;
}

function encodeTags(values: readonly JsonValue[], encoding: ValueEncoding, fail: Fail): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) {
    if (typeof value !== 'string' || !/^[0-9A-Fa-f]{8}$/.test(value)) {
      throw fail('has a value that is not a tag of eight hexadecimal digits');
    }
    view.setUint16(index * 4, Number.parseInt(value.slice(0, 4), 16), encoding.littleEndian);
    view.setUint16(index * 4 + 2, Number.parseInt(value.slice(4), 16), encoding.littleEndian);
  }
  return bytes;
}

/** What others write for the values that JSON numbers do not have. */
const notFinite: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  infinity: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
  '-infinity': Number.NEGATIVE_INFINITY,
};

const decimal = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;

function floating(value: JsonValue): number | undefined {
  if (typeof value === 'number') return value;
  if (value === null) return Number.NaN;
  if (typeof value !== 'string' || value.length > 64) return undefined;
  return decimal.test(value) ? Number(value) : notFinite[value.toLowerCase()];
}

function encodeNumbers(
  values: readonly JsonValue[],
  width: number,
  fail: Fail,
  read: (value: JsonValue) => number | undefined,
  put: (view: DataView, at: number, value: number) => void,
): Uint8Array {
  const bytes = new Uint8Array(values.length * width);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) {
    const number = read(value);
    if (number === undefined) throw fail('has a value that is not a number');
    put(view, index * width, number);
  }
  return bytes;
}

interface IntegerVr {
  readonly width: 2 | 4 | 8;
  readonly minimum: bigint;
  readonly maximum: bigint;
}

const unsigned = (width: 2 | 4 | 8): IntegerVr => ({ width, minimum: 0n, maximum: (1n << BigInt(width * 8)) - 1n });
const signed = (width: 2 | 4 | 8): IntegerVr => {
  const half = 1n << BigInt(width * 8 - 1);
  return { width, minimum: -half, maximum: half - 1n };
};
const integers = {
  SL: signed(4),
  SS: signed(2),
  SV: signed(8),
  UL: unsigned(4),
  US: unsigned(2),
  UV: unsigned(8),
} as const satisfies Partial<Record<Vr, IntegerVr>>;

function encodeIntegers(values: readonly JsonValue[], vr: IntegerVr, encoding: ValueEncoding, fail: Fail): Uint8Array {
  const bytes = new Uint8Array(values.length * vr.width);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) {
    const integer = integerOf(value);
    if (integer === undefined) throw fail('has a value that is not an integer');
    if (integer < vr.minimum || integer > vr.maximum) throw fail('has a number that is out of range for its VR');
    const at = index * vr.width;
    if (vr.width === 2) view.setUint16(at, Number(BigInt.asUintN(16, integer)), encoding.littleEndian);
    else if (vr.width === 4) view.setUint32(at, Number(BigInt.asUintN(32, integer)), encoding.littleEndian);
    else view.setBigUint64(at, BigInt.asUintN(64, integer), encoding.littleEndian);
  }
  return bytes;
}

function integerOf(value: JsonValue): bigint | undefined {
  if (typeof value === 'number') return Number.isInteger(value) ? BigInt(value) : undefined;
  if (typeof value !== 'string' || !/^[+-]?\d{1,20}$/.test(value)) return undefined;
  return BigInt(value.startsWith('+') ? value.slice(1) : value);
}
