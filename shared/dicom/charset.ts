/**
 * Specific Character Set (0008,0005): from its Defined Terms, and from the spellings that the field uses for them, to
 * text and back (PS3.3 §C.12.1.1.2, PS3.5 §6.1). Decoding never fails: what cannot be read becomes U+FFFD. Values are not
 * split and padding is not trimmed here. Code extensions are code-extensions.ts, tables graphic-sets.ts.
 */
import { decodeExtended, encodeExtended, type Repertoire, usesCharacterSets } from './code-extensions.ts';
import type { Vr } from './data-set.ts';
import { encodeGb } from './gb18030.ts';
import { ascii, decoderOf, decodeWith, ESCAPE, REPLACEMENT, romaji, setsOfTerm } from './graphic-sets.ts';

type CharacterSet =
  | { readonly kind: 'utf-8' }
  | { readonly kind: 'gb'; readonly label: 'gb18030' | 'gbk' }
  | {
      readonly kind: 'iso';
      readonly repertoire: Repertoire /** Of TextDecoder, equal to it as long as no ESC comes. */;
      readonly label: string | undefined;
    }
  /** Not a DICOM term, but a name that the platform knows (`shift_jis`, `windows-1251`). Never written. */
  | { readonly kind: 'foreign'; readonly label: string }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unknown' };

const basic: Repertoire = { g0: ascii, g1: undefined, assumedG1: undefined, sets: [ascii], extended: false };
const absent: CharacterSet = { kind: 'absent' };

/**
 * Text of a value in the character sets of its data set (values of (0008,0005), trimmed or not; none or '' means the default
 * repertoire). Backslashes between values, and `^` and `=` in names, stay in the text.
 * Without (0008,0005), or with a term nobody knows, bytes above 7F are UTF-8 if they are valid as such; else, when the element is absent,
 * Windows' Latin-1 (what such files mostly hold), and U+FFFD when the term is unknown.
 */
export function decodeText(value: Uint8Array, characterSets: readonly string[], vr: Vr): string {
  let special = 0;
  for (let i = 0; i < value.length; i++) {
    const byte = value[i]!;
    if (byte >= 0x80 || byte === ESCAPE) return decodeOther(value, characterSetOf(characterSets), vr);
    if (byte === 0x5c || byte === 0x7e) special++;
  }
  // All is ASCII, unless JIS X 0201 has the yen sign and the overline there.
  if (special > 0 && characterSets.length > 0 && usesCharacterSets(vr)) {
    const set = characterSetOf(characterSets);
    if (set.kind === 'iso' && set.repertoire.g0 === romaji) return decodeExtended(value, set.repertoire, vr);
  }
  return asciiSlice(value, 0, value.length);
}

const { latin1Slice } = Buffer.prototype as unknown as {
  latin1Slice: (this: Uint8Array, start: number, end: number) => string;
};

/** Bytes that are known to be ASCII as text: the quickest way, which makes no Buffer for each value. */
export const asciiSlice = (value: Uint8Array, start: number, end: number): string =>
  latin1Slice.call(value, start, end);

function decodeOther(value: Uint8Array, set: CharacterSet, vr: Vr): string {
  switch (set.kind) {
    case 'utf-8':
      return decodeWith('utf-8', value);
    case 'gb':
      // GB 18030 holds GBK, and its decoder is the same on every platform.
      return decodeWith('gb18030', value);
    case 'foreign':
      return decodeWith(set.label, value);
    case 'iso': {
      const escapes = value.includes(ESCAPE);
      if (!escapes && set.label !== undefined) return decodeWith(set.label, value);
      // Japanese consoles write Shift JIS under the name of its half with one byte to a character.
      if (!escapes && !set.repertoire.extended && set.repertoire.g0 === romaji && value.some(isNoKatakana)) {
        return decodeWith('shift_jis', value);
      }
      return decodeExtended(value, set.repertoire, vr);
    }
    default: {
      if (value.includes(ESCAPE)) return decodeExtended(value, basic, vr);
      try {
        return strictUtf8.decode(value);
      } catch {
        return set.kind === 'absent' ? decodeWith('windows-1252', value) : onlyAscii(value);
      }
    }
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

const isNoKatakana = (byte: number): boolean => (byte >= 0x80 && byte <= 0xa0) || byte >= 0xe0;

function onlyAscii(value: Uint8Array): string {
  let text = '';
  for (const byte of value) text += byte < 0x80 ? String.fromCharCode(byte) : REPLACEMENT;
  return text;
}

/**
 * The bytes of a text in these character sets, without padding; undefined when they cannot express it. With several values of
 * (0008,0005) escape sequences are written where they are needed. What it writes, decodeText reads as the same text.
 */
export function encodeText(text: string, characterSets: readonly string[], vr: Vr): Uint8Array | undefined {
  const set = characterSetOf(characterSets);
  switch (set.kind) {
    case 'utf-8':
      return text.isWellFormed() ? Buffer.from(text, 'utf8') : undefined;
    case 'gb':
      return text.isWellFormed() ? encodeGb(text, set.label) : undefined;
    case 'iso':
      return encodeExtended(text, set.repertoire, vr);
    default:
      return encodeExtended(text, basic, vr);
  }
}

const known = new Map<string, CharacterSet>();

function characterSetOf(terms: readonly string[]): CharacterSet {
  const key = terms.length === 1 ? terms[0]! : keyOf(terms);
  const found = known.get(key);
  if (found !== undefined) return found;
  const set = readTerms(terms.slice(0, MAXIMUM_TERMS));
  // Terms come from files: hostile ones must not fill the memory.
  if (known.size < 1024 && key.length <= 256) known.set(key, set);
  return set;
}

/** Nobody has more sets than there are; a hostile file would have every value pay for its list. */
const MAXIMUM_TERMS = 32;
const MAXIMUM_TERM_LENGTH = 64;

const keyOf = (terms: readonly string[]): string =>
  terms
    .slice(0, MAXIMUM_TERMS)
    .map((term) => term.slice(0, MAXIMUM_TERM_LENGTH + 1))
    .join('\\');

type Term = CharacterSet | { readonly kind: 'registered'; readonly number: number };

function readTerms(terms: readonly string[]): CharacterSet {
  const read = terms.map(readTerm);
  if (read.every((term) => term.kind === 'absent')) return absent;
  // Sets without code extensions stand alone by the standard; where they do not, they are the one that holds all text.
  for (const term of read) if (term.kind === 'utf-8' || term.kind === 'gb') return term;

  const [first] = read;
  const sets = read.flatMap((term) => (term.kind === 'registered' ? [...(setsOfTerm.get(term.number) ?? [])] : []));
  if (sets.length === 0) return read.find((term) => term.kind === 'foreign') ?? { kind: 'unknown' };
  const initial = first?.kind === 'registered' ? (setsOfTerm.get(first.number) ?? []) : [];
  const g0 = initial.find((set) => set.half === 'G0' && set.width === 1) ?? ascii;
  const g1 = initial.find((set) => set.half === 'G1');
  const extended = terms.length > 1;
  const repertoire = { g0, g1, assumedG1: sets.find((set) => set.half === 'G1'), sets, extended };
  const plain = g0 === ascii && (g1 === undefined ? sets.every((set) => set === ascii) : g1.width === 1);
  if (plain && g1 === undefined) return absent;
  return { kind: 'iso', repertoire, label: plain ? g1?.label : undefined };
}

/** `ISO_IR 100`, `ISO 2022 IR 100`, and as the field writes them: `ISO IR 100`, `iso-ir-100`, `ISO2022IR100`, `IR 100`. */
const registeredTerm = /^(?:ISO)?[ _-]*(?:2022)?[ _-]*IR[ _-]*(\d{1,3})$/;
/** `ISO 8859-1`, `ISO_8859_1`, `8859-1`. */
const isoStandard = /^(?:ISO)?[ _-]*8859[ _-]*(\d{1,2})$/;
const numberOfPart: Readonly<Record<number, number>> = {
  1: 100,
  2: 101,
  3: 109,
  4: 110,
  5: 144,
  6: 127,
  7: 126,
  8: 138,
  9: 148,
  11: 166,
  15: 203,
};

function readTerm(text: string): Term {
  if (text.length > MAXIMUM_TERM_LENGTH) return { kind: 'unknown' };
  const term = text.replaceAll('\0', ' ').trim().toUpperCase();
  if (term === '') return absent;
  const registered = registeredTerm.exec(term);
  const part = isoStandard.exec(term);
  const number = registered ? Number(registered[1]) : part ? numberOfPart[Number(part[1])] : undefined;
  if (number === 192) return { kind: 'utf-8' };
  if (number === 2) return { kind: 'registered', number: 6 };
  if (number === 14) return { kind: 'registered', number: 13 };
  if (number !== undefined && setsOfTerm.has(number)) return { kind: 'registered', number };
  switch (term.replace(/^ISO 2022 /, '').replace(/[ _-]/g, '')) {
    case 'UTF8':
    case 'UNICODE':
      return { kind: 'utf-8' };
    case 'GB18030':
      return { kind: 'gb', label: 'gb18030' };
    case 'GBK':
    case 'GB2312':
    case 'CP936':
      return { kind: 'gb', label: 'gbk' };
    case 'ASCII':
    case 'USASCII':
      return absent;
    case 'LATIN1':
    case 'ISOLATIN1':
      return { kind: 'registered', number: 100 };
    default: {
      const label = decoderOf(term)?.encoding;
      return label === undefined
        ? { kind: 'unknown' }
        : label === 'utf-8'
          ? { kind: 'utf-8' }
          : { kind: 'foreign', label };
    }
  }
}
