/**
 * Numbers of the DICOM JSON Model (PS3.18 §F.2.3): from the digits of DS and IS and from the binary VRs. A number is made only
 * where it says exactly what the value says.
 */
import { wordBytesOf } from './byte-order.ts';
import type { Vr } from './data-set.ts';
import type { JsonValue } from './dicom-json-model.ts';

const SPACE = 0x20;
const PLUS = 0x2b;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;

/** Any decimal of so many digits survives a double. Powers of ten that a double holds exactly: dividing an exact integer by one of them rounds as reading the decimal does. */
const EXACT_DIGITS = 15;
const exactPowers = Array.from({ length: 23 }, (_, exponent) => 10 ** exponent);

/** IS: digits with an optional sign, of at most 2^53; undefined for anything else. Spaces at both ends do not count. */
export function integerNumber(bytes: Uint8Array, from: number, to: number): number | undefined {
  const start = skipSpaces(bytes, from, to);
  const end = dropSpaces(bytes, start, to);
  let at = start;
  if (bytes[at] === PLUS || bytes[at] === MINUS) at++;
  if (at >= end) return undefined;
  let number = 0;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte < ZERO || byte > NINE) return undefined;
    number = number * 10 + (byte - ZERO);
    if (number > Number.MAX_SAFE_INTEGER) return undefined;
  }
  return bytes[start] === MINUS ? 0 - number : number;
}

/** DS: a decimal with optional fraction and exponent whose digits a double keeps; undefined for anything else. */
export function decimalNumber(bytes: Uint8Array, from: number, to: number): number | undefined {
  const start = skipSpaces(bytes, from, to);
  const end = dropSpaces(bytes, start, to);
  const negative = bytes[start] === MINUS;
  let at = negative || bytes[start] === PLUS ? start + 1 : start;
  let mantissa = 0;
  let significant = 0;
  let written = 0;
  let fraction = -1;
  for (; at < end; at++) {
    const byte = bytes[at]!;
    if (byte >= ZERO && byte <= NINE) {
      mantissa = mantissa * 10 + (byte - ZERO);
      written++;
      if (mantissa !== 0) significant++;
      if (fraction >= 0) fraction++;
    } else if (byte === POINT && fraction < 0) {
      fraction = 0;
    } else {
      return slowDecimal(bytes, start, end);
    }
  }
  if (written === 0) return undefined;
  if (significant > EXACT_DIGITS || fraction >= exactPowers.length) return slowDecimal(bytes, start, end);
  const number = fraction > 0 ? mantissa / exactPowers[fraction]! : mantissa;
  return negative ? 0 - number : number;
}

/** With an exponent, or with more digits than every double keeps: a number only if it is written with the same digits again. */
function slowDecimal(bytes: Uint8Array, start: number, end: number): number | undefined {
  if (end - start > 64) return undefined;
  const text = String.fromCharCode(...bytes.subarray(start, end));
  if (!/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text)) return undefined;
  const number = Number(text);
  if (!Number.isFinite(number)) return undefined;
  return significantDigits(String(number)) === significantDigits(text) ? number + 0 : undefined;
}

function significantDigits(text: string): string {
  const digits = text.replace(/[eE].*$/, '').replace(/[+.-]/g, '');
  let start = 0;
  let end = digits.length;
  while (start < end && digits[start] === '0') start++;
  while (end > start && digits[end - 1] === '0') end--;
  return digits.slice(start, end);
}

function skipSpaces(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] === SPACE) at++;
  return at;
}

function dropSpaces(bytes: Uint8Array, from: number, to: number): number {
  let at = to;
  while (at > from && (bytes[at - 1] === SPACE || bytes[at - 1] === 0)) at--;
  return at;
}

/**
 * The values of a binary VR. AT are eight hexadecimal digits; SV and UV beyond 2^53 and what is not finite are strings. Bytes
 * at the end that do not make a whole value are left out; undefined when none does.
 */
export function binaryNumbers(value: Uint8Array, vr: Vr, littleEndian: boolean): JsonValue[] | undefined {
  const width = vr === 'AT' ? 4 : wordBytesOf(vr);
  const count = Math.floor(value.length / width);
  if (count === 0) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const numbers = new Array<JsonValue>(count);
  for (let i = 0, at = 0; i < count; i++, at += width) numbers[i] = binaryNumber(view, at, vr, littleEndian);
  return numbers;
}

function binaryNumber(view: DataView, at: number, vr: Vr, littleEndian: boolean): JsonValue {
  switch (vr) {
    case 'US':
      return view.getUint16(at, littleEndian);
    case 'SS':
      return view.getInt16(at, littleEndian);
    case 'UL':
      return view.getUint32(at, littleEndian);
    case 'SL':
      return view.getInt32(at, littleEndian);
    case 'FL':
      return finite(view.getFloat32(at, littleEndian));
    case 'FD':
      return finite(view.getFloat64(at, littleEndian));
    case 'UV':
      return safe(view.getBigUint64(at, littleEndian));
    case 'SV':
      return safe(view.getBigInt64(at, littleEndian));
    default:
      return hex(view.getUint16(at, littleEndian)) + hex(view.getUint16(at + 2, littleEndian));
  }
}

const finite = (number: number): JsonValue => (Number.isFinite(number) ? number + 0 : String(number));

function safe(number: bigint): JsonValue {
  const small = Number(number);
  return Number.isSafeInteger(small) ? small : number.toString();
}

const hex = (number: number): string => number.toString(16).toUpperCase().padStart(4, '0');
