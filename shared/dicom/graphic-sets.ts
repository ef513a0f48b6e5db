/**
 * The coded graphic character sets that Specific Character Set (0008,0005) can name, and the escape sequences that
 * designate them (PS3.3 §C.12.1.1.2, ISO 2022): tables taken from the platform's TextDecoder when they are first
 * needed, and turned round for encoding. What a text value makes of them is charset.ts and code-extensions.ts.
 */

export const ESCAPE = 0x1b;
export const REPLACEMENT = '\ufffd';

export interface GraphicSet {
  /** Where it is designated: G0 is reached by bytes 21-7E, G1 by A0-FF. */
  readonly half: 'G0' | 'G1';
  /** Bytes to a character. */
  readonly width: 1 | 2;
  /** What follows ESC to designate it. */
  readonly escape: string;
  /** Encoding label of TextDecoder; '' where the set is ASCII or a variant of it. */
  readonly label: string;
  /** How two 7-bit bytes are written for that decoder. */
  readonly prefix?: number;
  /** Whether two 7-bit bytes are of the registered set, and not of an extension that only some systems read. */
  readonly registered?: (row: number, cell: number) => boolean;
}

/** ISO-IR 6. */
export const ascii: GraphicSet = { half: 'G0', width: 1, escape: '(B', label: '' };
/** ISO-IR 14, JIS X 0201: ASCII but for the yen sign and the overline. */
export const romaji: GraphicSet = { half: 'G0', width: 1, escape: '(J', label: '' };
/** ISO-IR 13, JIS X 0201 half-width katakana. */
export const katakana: GraphicSet = { half: 'G1', width: 1, escape: ')I', label: 'shift_jis' };

const jisX0208: GraphicSet = {
  half: 'G0',
  width: 2,
  escape: '$B',
  label: 'euc-jp',
  registered: (row) => row <= 0x28 || (row >= 0x30 && row <= 0x74),
};
const jisX0212: GraphicSet = { half: 'G0', width: 2, escape: '$(D', label: 'euc-jp', prefix: 0x8f };
const ksX1001: GraphicSet = { half: 'G1', width: 2, escape: '$)C', label: 'euc-kr' };
const gb2312: GraphicSet = {
  half: 'G1',
  width: 2,
  escape: '$)A',
  label: 'gb18030',
  // GBK filled the gaps of GB 2312.
  registered: (row, cell) =>
    (row <= 0x29 || (row >= 0x30 && row <= 0x77)) &&
    !(row === 0x22 && cell <= 0x2a) &&
    !(row === 0x26 && cell >= 0x60) &&
    !(row === 0x28 && cell >= 0x3b && cell <= 0x40),
};

const latin = (final: string, label: string): GraphicSet => ({ half: 'G1', width: 1, escape: `-${final}`, label });

/** By ISO-IR number: what a Defined Term makes available, in G0 and in G1. */
export const setsOfTerm: ReadonlyMap<number, readonly GraphicSet[]> = new Map([
  [6, [ascii]],
  [13, [romaji, katakana]],
  [58, [gb2312]],
  [87, [jisX0208]],
  [100, [latin('A', 'windows-1252')]],
  [101, [latin('B', 'iso-8859-2')]],
  [109, [latin('C', 'iso-8859-3')]],
  [110, [latin('D', 'iso-8859-4')]],
  [126, [latin('F', 'iso-8859-7')]],
  [127, [latin('G', 'iso-8859-6')]],
  [138, [latin('H', 'iso-8859-8')]],
  [144, [latin('L', 'iso-8859-5')]],
  [148, [latin('M', 'windows-1254')]],
  [149, [ksX1001]],
  [159, [jisX0212]],
  [166, [latin('T', 'windows-874')]],
  [203, [latin('b', 'iso-8859-15')]],
]);

/** By what follows ESC. Also forms that DICOM does not have but mail and old consoles do: other ways to G0, JIS C 6226. */
export const setsByEscape: ReadonlyMap<string, GraphicSet> = new Map<string, GraphicSet>([
  ...[ascii, ...setsOfTerm.values()].flat().map((set): [string, GraphicSet] => [set.escape, set]),
  ['(I', { ...katakana, half: 'G0', escape: '(I' }],
  ['$@', jisX0208],
  ['$(@', jisX0208],
  ['$(B', jisX0208],
  ['$(C', { ...ksX1001, half: 'G0', escape: '$(C' }],
  ['$A', { ...gb2312, half: 'G0', escape: '$A' }],
  ['$(A', { ...gb2312, half: 'G0', escape: '$(A' }],
]);

type Decoder = InstanceType<typeof TextDecoder>;
const decoders = new Map<string, Decoder | undefined>();

/** The platform's decoder for a label of the Encoding Standard; undefined for a label it does not know. */
export function decoderOf(label: string): Decoder | undefined {
  const known = decoders.get(label);
  if (known !== undefined || decoders.has(label)) return known;
  let decoder: Decoder | undefined;
  try {
    decoder = new TextDecoder(label);
  } catch {
    decoder = undefined;
  }
  // Labels come from files: not every misspelling is worth remembering.
  if (decoder !== undefined || decoders.size < 256) decoders.set(label, decoder);
  return decoder;
}

/** Never throws for a label of this file; bytes that stand for nothing become U+FFFD. */
export const decodeWith = (label: string, bytes: Uint8Array): string => {
  const decoder = decoderOf(label);
  return decoder === undefined ? REPLACEMENT.repeat(bytes.length) : decoder.decode(bytes);
};

const highHalves = new Map<string, readonly string[]>();

/** The characters of bytes 80-FF of an encoding with one byte to a character, by the byte's low seven bits. */
export function highHalf(label: string): readonly string[] {
  let table = highHalves.get(label);
  if (table === undefined) {
    table = Array.from({ length: 128 }, (_, low) => decodeWith(label, Uint8Array.of(0x80 | low)));
    highHalves.set(label, table);
  }
  return table;
}

/** Pairs of bytes of a set with two bytes to a character; the eighth bit of the pairs does not count. */
export function decodePairs(set: GraphicSet, pairs: Uint8Array): string {
  const { prefix } = set;
  const step = prefix === undefined ? 2 : 3;
  const bytes = new Uint8Array((pairs.length / 2) * step);
  for (let from = 0, to = 0; from < pairs.length; from += 2, to += step) {
    if (prefix !== undefined) bytes[to] = prefix;
    bytes[to + step - 2] = pairs[from]! | 0x80;
    bytes[to + step - 1] = pairs[from + 1]! | 0x80;
  }
  return decodeWith(set.label, bytes);
}

const inverted = new Map<GraphicSet, ReadonlyMap<number, number>>();

/**
 * The code of each character of a set: one byte (as in G1, with its eighth bit) or two 7-bit bytes. What the platform's decoder
 * knows beyond the registered set is left out, since others could not read it.
 */
export function codesOf(set: GraphicSet): ReadonlyMap<number, number> {
  let codes = inverted.get(set);
  if (codes === undefined) {
    codes = set.width === 1 ? invertBytes(set) : invertPairs(set);
    inverted.set(set, codes);
  }
  return codes;
}

function invertBytes(set: GraphicSet): ReadonlyMap<number, number> {
  const codes = new Map<number, number>();
  const last = set.label === katakana.label ? 0xdf : 0xff;
  for (let byte = 0xa0; byte <= last; byte++) put(codes, highHalf(set.label)[byte & 0x7f]!, byte);
  return codes;
}

function invertPairs(set: GraphicSet): ReadonlyMap<number, number> {
  const codes = new Map<number, number>();
  for (let row = 0x21; row <= 0x7e; row++) {
    for (let cell = 0x21; cell <= 0x7e; cell++) {
      if (set.registered?.(row, cell) === false) continue;
      put(codes, decodePairs(set, Uint8Array.of(row, cell)), (row << 8) | cell);
    }
  }
  return codes;
}

/** The first code wins where a character has two. Private use is no character that another system would know. */
function put(codes: Map<number, number>, text: string, code: number): void {
  const point = text.codePointAt(0);
  if (point === undefined || text.length !== 1 || text === REPLACEMENT) return;
  if (point >= 0x80 && !(point >= 0xe000 && point <= 0xf8ff) && !codes.has(point)) codes.set(point, code);
}
