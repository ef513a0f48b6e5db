/**
 * The values of the Native DICOM Model (PS3.19 §A.1.5), which are all text, as the DICOM JSON Model has them: numbers where a number says
 * the same, text without the padding of its VR.
 */
import type { Vr } from './data-set.ts';
import type { JsonValue } from './dicom-json-model.ts';
import { decimalNumber, integerNumber } from './json-numbers.ts';

/** Null when nothing is left of it. What is no value of its VR stays text, which encoding refuses. */
export function nativeValue(text: string, vr: Vr): JsonValue {
  switch (vr) {
    case 'LT':
    case 'ST':
    case 'UC':
    case 'UR':
    case 'UT':
      return trimEnd(text, isSpace) || null;
    case 'DS':
    case 'FD':
    case 'FL':
      return numberOr(decimalNumber, trim(text));
    case 'IS':
    case 'SL':
    case 'SS':
    case 'SV':
    case 'UL':
    case 'US':
    case 'UV':
      return numberOr(integerNumber, trim(text));
    default:
      return trim(text) || null;
  }
}

type ReadNumber = (bytes: Uint8Array, from: number, to: number) => number | undefined;

const encoder = new TextEncoder();

function numberOr(read: ReadNumber, text: string): JsonValue {
  const bytes = encoder.encode(text);
  return read(bytes, 0, bytes.length) ?? (text || null);
}

type Test = (character: number) => boolean;

const isSpace: Test = (character) => character === 0x20;
/** That of XML, with which some writers lay out short values too. */
const isWhiteSpace: Test = (character) => character === 0x20 || (character >= 0x09 && character <= 0x0d);

function trimEnd(text: string, isPadding: Test): string {
  let end = text.length;
  while (end > 0 && isPadding(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

function trim(text: string): string {
  let start = 0;
  while (start < text.length && isWhiteSpace(text.charCodeAt(start))) start++;
  return trimEnd(text.slice(start), isWhiteSpace);
}
