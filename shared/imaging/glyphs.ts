/**
 * A bitmap font of our own for text that is drawn into pictures: machines that serve archives have no fonts, and what a text
 * library draws without one is empty or boxes. Latin with its accents, Greek and Cyrillic, five columns wide; data and lookup only.
 * Characters of other scripts have no glyph: who draws text says so.
 */

/** Cells of a glyph: rows -3 to 8 around the seven rows of a capital letter; descenders are rows 7 and 8. */
export const GLYPH_COLUMNS = 5;
export const GLYPH_TOP = -3;
export const GLYPH_BOTTOM = 8;

export interface GlyphRow {
  /** 0 is the top of a capital letter. */
  readonly row: number;
  /** Five bits, the leftmost is 16. */
  readonly bits: number;
}

/** Rows from the top of a capital letter on, two hexadecimal digits each. */
const shapes: Readonly<Record<string, string>> = {
  ' ': '00',
  '!': '04040404000004',
  '"': '0a0a0a',
  '#': '0a0a1f0a1f0a0a',
  $: '040f140e051e04',
  '%': '18190204081303',
  '&': '0c12140815120d',
  "'": '0c0408',
  '(': '02040808080402',
  ')': '08040202020408',
  '*': '0004150e1504',
  '+': '0004041f0404',
  ',': '00000000000c0c0408',
  '-': '0000001f',
  '.': '00000000000c0c',
  '/': '000102040810',
  ':': '000c0c000c0c',
  ';': '00000c0c000c0c0408',
  '<': '02040810080402',
  '=': '00001f001f',
  '>': '08040201020408',
  '?': '0e110102040004',
  '@': '0e11010d15150e',
  '[': '0e08080808080e',
  '\\': '001008040201',
  ']': '0e02020202020e',
  '^': '040a11',
  _: '0000000000001f',
  '`': '080402',
  '{': '02040408040402',
  '|': '04040404040404',
  '}': '08040402040408',
  '~': '0000081502',
  '°': '0c12120c',
  '±': '04041f04001f',
  '×': '00110a040a11',
  '0': '0e11131519110e',
  '1': '040c040404040e',
  '2': '0e11010204081f',
  '3': '1f02040201110e',
  '4': '02060a121f0202',
  '5': '1f101e0101110e',
  '6': '0608101e11110e',
  '7': '1f010204080808',
  '8': '0e11110e11110e',
  '9': '0e11110f01020c',
  A: '0e11111f111111',
  B: '1e11111e11111e',
  C: '0e11101010110e',
  D: '1e11111111111e',
  E: '1f10101e10101f',
  F: '1f10101e101010',
  G: '0e11101711110f',
  H: '1111111f111111',
  I: '0e04040404040e',
  J: '0702020202120c',
  K: '11121418141211',
  L: '1010101010101f',
  M: '111b1515111111',
  N: '11111915131111',
  O: '0e11111111110e',
  P: '1e11111e101010',
  Q: '0e11111115120d',
  R: '1e11111e141211',
  S: '0f10100e01011e',
  T: '1f040404040404',
  U: '1111111111110e',
  V: '11111111110a04',
  W: '11111115151b11',
  X: '11110a040a1111',
  Y: '11110a04040404',
  Z: '1f01020408101f',
  a: '00000e010f110f',
  b: '1010161911111e',
  c: '00000e1010110e',
  d: '01010d1311110f',
  e: '00000e111f100e',
  f: '0609081c080808',
  g: '00000f1111110f010e',
  h: '10101619111111',
  i: '04000c0404040e',
  j: '02000602020202120c',
  k: '10101214181412',
  l: '0c04040404040e',
  m: '00001a15151111',
  n: '00001619111111',
  o: '00000e1111110e',
  p: '00001e1111111e1010',
  q: '00000f1111110f0101',
  r: '00001619101010',
  s: '00000e100e011e',
  t: '08081c08080906',
  u: '0000111111130d',
  v: '00001111110a04',
  w: '0000111115150a',
  x: '0000110a040a11',
  y: '0000111111110f010e',
  z: '00001f0204081f',
  ß: '0c121216111116',
  æ: '00001a050f140f',
  Æ: '0f14141f141417',
  ø: '00000f1315191e',
  Ø: '0f11131519111e',
  ł: '0c04060c04040e',
  Ł: '1010141810101f',
  đ: '0207020e12120e',
  Đ: '0e09091d09090e',
  ð: '0a040a010f110e',
  Ð: '0e09091d09090e',
  þ: '10101e1111111e1010',
  Þ: '101e11111e1010',
  œ: '00000a1517140b',
  Œ: '0f14141714140f',
  ı: '00000c0404040e',
  Γ: '1f101010101010',
  Δ: '04040a0a11111f',
  Θ: '0e11111f11110e',
  Λ: '04040a0a111111',
  Ξ: '1f00000e00001f',
  Π: '1f111111111111',
  Σ: '1f10080408101f',
  Φ: '040e1515150e04',
  Ψ: '151515150e0404',
  Ω: '0e111111110a1b',
  α: '00000d1212120d',
  β: '0c12141211111e1010',
  γ: '000011110a0a040404',
  δ: '0608040e11110e',
  ε: '00000f100e100f',
  ζ: '1f0204081010100e02',
  η: '000016191111110101',
  θ: '0c12121e12120c',
  ι: '00000c04040502',
  κ: '00001214181412',
  λ: '100808040c1211',
  μ: '0000111111131d1010',
  ξ: '0e080e0810100e0106',
  π: '00001f0a0a0a0b',
  ρ: '00000e1111111e1010',
  σ: '00000f1211110e',
  ς: '00000e10100c020106',
  τ: '00001f04040502',
  υ: '0000111111110e',
  φ: '0000121515150e0404',
  χ: '0000110a04040a11',
  ψ: '0000151515150e0404',
  ω: '00000a1115150a',
  Б: '1f10101e11111e',
  Д: '060a0a0a0a1f11',
  Ж: '15150e040e1515',
  З: '0e11010601110e',
  И: '11111315191111',
  Л: '07090909090911',
  У: '1111110f01110e',
  Ц: '1212121212121f01',
  Ч: '1111110f010101',
  Ш: '1515151515151f',
  Щ: '1515151515151f01',
  Ъ: '1808080e09090e',
  Ы: '11111119151519',
  Ь: '1010101e11111e',
  Э: '0e11010701110e',
  Ю: '1215151d151512',
  Я: '0f11110f050911',
  Є: '0e11101c10110e',
  Ґ: '011f1010101010',
  б: '030c101e11110e',
  в: '00001e111e111e',
  г: '00001f10101010',
  д: '0000060a0a1f11',
  ж: '0000150e040e15',
  з: '00000e1106110e',
  и: '00001113151911',
  л: '00000709090911',
  м: '0000111b151111',
  н: '000011111f1111',
  п: '00001f11111111',
  т: '00001f04040404',
  ф: '04040e1515150e0404',
  ц: '0000121212121f01',
  ч: '000011110f0101',
  ш: '0000151515151f',
  щ: '0000151515151f01',
  ъ: '000018080e090e',
  ы: '00001111191519',
  ь: '000010101e111e',
  э: '00000e1107110e',
  ю: '000012151d1512',
  я: '00000f110f0519',
  є: '00000e111c110e',
  ґ: '00011f10101010',
};

/** Letters that look like others: Greek and Cyrillic capitals and small ones, and signs with a typographic form. */
const lookalikes = new Map<string, string>(
  [
    ['ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ', 'ABEZHIKMNOPTYX'],
    ['νο', 'vo'],
    ['АВГЕКМНОПРСТФХІЈЅ', 'ABΓEKMHOΠPCTΦXIJS'],
    ['аекорсухіјѕ', 'aeκopcyxijs'],
    ['‐‑‒–—−’‘“”„«»·µ', `------''"""<>.μ`],
  ].flatMap(([from = '', to = '']) => [...from].map((letter, i) => [letter, [...to][i]!] as const)),
);

/** Combining marks above, upwards from the letter: the last row stands next to it but one. */
const marksAbove: Readonly<Record<string, readonly number[]>> = {
  '\u0300': [0x08, 0x04],
  '\u0301': [0x02, 0x04],
  '\u0302': [0x04, 0x0a],
  '\u0303': [0x0d, 0x16],
  '\u0304': [0x0e],
  '\u0306': [0x11, 0x0e],
  '\u0307': [0x04],
  '\u0308': [0x0a],
  '\u030a': [0x0e, 0x0a],
  '\u030b': [0x05, 0x0a],
  '\u030c': [0x0a, 0x04],
};
const marksBelow: Readonly<Record<string, readonly number[]>> = {
  '\u0323': [0x04],
  '\u0326': [0x04, 0x08],
  '\u0327': [0x04, 0x0c],
  '\u0328': [0x02, 0x03],
};

const missing = '1f11111111111f';

/** Text as it can be drawn: compatibility forms (full width, ligatures) as plain letters, marks behind their letter, signs for lookalikes. */
export function drawableForm(text: string): string {
  return [...text.normalize('NFKD').replaceAll(/[\s\p{Cc}]+/gu, ' ')]
    .map((character) => lookalikes.get(character) ?? character)
    .join('');
}

/** Whether every character of the text has a glyph. */
export function canBeDrawn(text: string): boolean {
  return [...drawableForm(text)].every(
    (character) =>
      Object.hasOwn(shapes, character) || Object.hasOwn(marksAbove, character) || Object.hasOwn(marksBelow, character),
  );
}

/**
 * The glyphs of a text, a letter with its marks as one; a character without a glyph is an empty box.
 * @returns for each glyph the rows that have anything in them
 */
export function glyphsOf(text: string): GlyphRow[][] {
  const glyphs: GlyphRow[][] = [];
  const form = [...drawableForm(text)];
  for (const [i, character] of form.entries()) {
    const above = Object.hasOwn(marksAbove, character) ? marksAbove[character] : undefined;
    const below = Object.hasOwn(marksBelow, character) ? marksBelow[character] : undefined;
    const letter = glyphs.at(-1);
    if (letter !== undefined && above !== undefined) {
      const top = Math.min(...letter.map(({ row }) => row));
      for (const [at, bits] of above.entries()) {
        const row = Math.max(GLYPH_TOP, top - 1 - above.length + at);
        if (row < top) letter.push({ row, bits });
      }
    } else if (letter !== undefined && below !== undefined) {
      for (const [at, bits] of below.entries()) letter.push({ row: 7 + at, bits });
    } else {
      // The dot of an i gives way to its accent.
      const dotless = character === 'i' && Object.hasOwn(marksAbove, form[i + 1] ?? '') ? 'ı' : character;
      glyphs.push(rowsOf(Object.hasOwn(shapes, dotless) ? shapes[dotless]! : missing));
    }
  }
  return glyphs;
}

function rowsOf(shape: string): GlyphRow[] {
  const rows: GlyphRow[] = [];
  for (let row = 0; row * 2 < shape.length; row++) {
    const bits = Number.parseInt(shape.slice(row * 2, row * 2 + 2), 16);
    if (bits !== 0) rows.push({ row, bits });
  }
  return rows;
}
