/**
 * Text with the code extension techniques of ISO 2022 (PS3.5 §6.1.2.5): escape sequences that switch between coded
 * character sets, and the delimiters at which everything is as it was in the beginning. Which sets a data set
 * declares is charset.ts; the sets themselves are graphic-sets.ts.
 */
import type { Vr } from './data-set.ts';
import {
  ascii,
  codesOf,
  decodePairs,
  decodeWith,
  ESCAPE,
  type GraphicSet,
  highHalf,
  katakana,
  REPLACEMENT,
  romaji,
  setsByEscape,
} from './graphic-sets.ts';

export interface Repertoire {
  /** What is active at the beginning and after each delimiter: value 1 of (0008,0005). */
  readonly g0: GraphicSet;
  readonly g1: GraphicSet | undefined;
  /** What bytes above 7F mean when nothing was designated: writers forget the escape sequence that PS3.5 asks for after each delimiter. */
  readonly assumedG1: GraphicSet | undefined;
  /** Everything that may be designated, in the order of (0008,0005). */
  readonly sets: readonly GraphicSet[];
  /** Whether escape sequences may be written: (0008,0005) has several values. */
  readonly extended: boolean;
}

const TAB = 0x09;
const LINE_FEED = 0x0a;
const FORM_FEED = 0x0c;
const CARRIAGE_RETURN = 0x0d;
const BACKSLASH = 0x5c;
const CARET = 0x5e;
const EQUALS = 0x3d;
const TILDE = 0x7e;
const YEN = '\u00a5';
const OVERLINE = '\u203e';
const KATAKANA_FIRST = 0xa1;
const KATAKANA_LAST = 0xdf;

const backslashIsText: ReadonlySet<Vr> = new Set<Vr>(['LT', 'ST', 'UR', 'UT']);
/** The VRs that (0008,0005) is for (PS3.3 §C.12.1.1.2). In all others 5C and 7E are ASCII, whatever it says. */
export const usesCharacterSets = (vr: Vr): boolean =>
  vr === 'PN' || vr === 'LO' || vr === 'SH' || vr === 'LT' || vr === 'ST' || vr === 'UT' || vr === 'UC';

function isDelimiter(byte: number, vr: Vr): boolean {
  if (byte === BACKSLASH) return !backslashIsText.has(vr);
  if (byte === CARET || byte === EQUALS) return vr === 'PN';
  return byte === TAB || byte === LINE_FEED || byte === FORM_FEED || byte === CARRIAGE_RETURN;
}

/** Follows any escape sequence it knows, declared or not. What stands for nothing becomes U+FFFD. */
export function decodeExtended(value: Uint8Array, repertoire: Repertoire, vr: Vr): string {
  const initialG0 = usesCharacterSets(vr) ? repertoire.g0 : ascii;
  const initialG1 = repertoire.g1 ?? repertoire.assumedG1;
  let g0 = initialG0;
  let g1 = initialG1;
  let text = '';
  let at = 0;
  while (at < value.length) {
    const byte = value[at]!;
    if (byte === ESCAPE) {
      const designation = designationAt(value, at + 1);
      if (designation === undefined) text += REPLACEMENT;
      else if (designation.set.half === 'G0') g0 = designation.set;
      else g1 = designation.set;
      at += 1 + (designation?.lengthBytes ?? 0);
      continue;
    }
    const set = byte < 0x80 ? g0 : g1;
    if (set?.width === 2) {
      const end = endOfPairs(value, at);
      if (end > at) {
        text += decodePairs(set, value.subarray(at, end));
        at = end;
        continue;
      }
      if (byte >= 0x80) {
        // Not of the set itself, but maybe of a larger one that the field puts under its name (GBK for GB 2312).
        const pair = decodeWith(set.label, value.subarray(at, at + 2));
        const found = at + 1 < value.length && pair.length === 1 && pair !== REPLACEMENT;
        text += found ? pair : REPLACEMENT;
        at += found ? 2 : 1;
        continue;
      }
    }
    if (isDelimiter(byte, vr)) {
      g0 = initialG0;
      g1 = initialG1;
      text += String.fromCharCode(byte);
    } else {
      text += characterOf(byte, set);
    }
    at++;
  }
  return text;
}

function designationAt(value: Uint8Array, at: number): { set: GraphicSet; lengthBytes: number } | undefined {
  for (let lengthBytes = 2; lengthBytes <= 3; lengthBytes++) {
    const set = setsByEscape.get(String.fromCharCode(...value.subarray(at, at + lengthBytes)));
    if (set !== undefined) return { set, lengthBytes };
  }
  return undefined;
}

/** How far whole pairs go on from `at`, all of them with or all without the eighth bit; spaces and controls are of no pair. */
function endOfPairs(value: Uint8Array, at: number): number {
  const high = value[at]! & 0x80;
  const isOfPair = (byte: number | undefined): boolean =>
    byte !== undefined && (byte & 0x80) === high && (byte & 0x7f) > 0x20 && (byte & 0x7f) < 0x7f;
  let end = at;
  while (isOfPair(value[end]) && isOfPair(value[end + 1])) end += 2;
  return end;
}

/** Of one byte that is no delimiter, in a set of one byte to a character (a byte without its partner counts as ASCII). */
function characterOf(byte: number, set: GraphicSet | undefined): string {
  if (set?.label === katakana.label) {
    const high = byte | 0x80;
    if (high >= KATAKANA_FIRST && high <= KATAKANA_LAST) return highHalf(set.label)[high & 0x7f]!;
    return byte >= 0x80 ? REPLACEMENT : String.fromCharCode(byte);
  }
  if (byte >= 0x80) return set === undefined ? REPLACEMENT : highHalf(set.label)[byte & 0x7f]!;
  if (set === romaji && byte === BACKSLASH) return YEN;
  if (set === romaji && byte === TILDE) return OVERLINE;
  return String.fromCharCode(byte);
}

/**
 * Writes escape sequences only where a character needs one, and goes back to the initial sets before each delimiter and
 * at the end (PS3.5 §6.1.2.5.3). Undefined when no declared set has a character.
 */
export function encodeExtended(text: string, repertoire: Repertoire, vr: Vr): Uint8Array | undefined {
  const initialG0 = usesCharacterSets(vr) ? repertoire.g0 : ascii;
  const bytes: number[] = [];
  let g0 = initialG0;
  let g1 = repertoire.g1;
  const designate = (set: GraphicSet): void => {
    bytes.push(ESCAPE, ...Array.from(set.escape, (character) => character.charCodeAt(0)));
    if (set.half === 'G0') g0 = set;
    else g1 = set;
  };
  const reset = (): void => {
    if (g0 !== initialG0) designate(initialG0);
    if (g1 !== repertoire.g1 && repertoire.g1 !== undefined) designate(repertoire.g1);
    g1 = repertoire.g1;
  };

  for (const character of text) {
    const point = character.codePointAt(0)!;
    if (point < 0x80 && isDelimiter(point, vr)) {
      reset();
      bytes.push(point);
      continue;
    }
    let set = [g0, g1].find((active) => active !== undefined && codeOf(active, point, vr) !== undefined);
    if (set === undefined) {
      const candidates = repertoire.extended ? [initialG0, ascii, ...repertoire.sets] : [];
      set = candidates.find((candidate) => codeOf(candidate, point, vr) !== undefined);
      if (set === undefined) return undefined;
      designate(set);
    }
    const code = codeOf(set, point, vr);
    if (code === undefined) return undefined;
    if (set.width === 1) bytes.push(code);
    else if (set.half === 'G0') bytes.push(code >> 8, code & 0x7f);
    else bytes.push((code >> 8) | 0x80, code | 0x80);
  }
  reset();
  return Uint8Array.from(bytes);
}

function codeOf(set: GraphicSet, point: number, vr: Vr): number | undefined {
  if (set.label !== '') return codesOf(set).get(point);
  if (set === romaji) {
    // Where 5C separates values a yen sign would do so too.
    if (point === YEN.charCodeAt(0)) return isDelimiter(BACKSLASH, vr) ? undefined : BACKSLASH;
    if (point === OVERLINE.charCodeAt(0)) return TILDE;
    if (point === BACKSLASH || point === TILDE) return undefined;
  }
  return point < 0x80 && point !== ESCAPE ? point : undefined;
}
