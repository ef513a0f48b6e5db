/**
 * Specific Character Set both ways (PS3.3 §C.12.1.1.2, PS3.5 §6.1): each set, the spellings of the field, code extensions with
 * their delimiters, and that no bytes make decoding fail.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeText, encodeText } from '#shared/dicom/charset.ts';
import type { Vr } from '#shared/dicom/data-set.ts';

const bytes = (...parts: (string | number)[]): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...part].map((c) => c.charCodeAt(0)))));
const hex = (value: Uint8Array | undefined): string | undefined => value && Buffer.from(value).toString('latin1');

describe('single character sets', () => {
  it.each([
    ['ISO_IR 6', [0x41], 'A'],
    ['ISO_IR 100', [0xe9, 0xdf], 'éß'],
    ['ISO_IR 101', [0xa3, 0xb1], 'Łą'],
    ['ISO_IR 109', [0xa1], 'Ħ'],
    ['ISO_IR 110', [0xa2], 'ĸ'],
    ['ISO_IR 126', [0xc4], 'Δ'],
    ['ISO_IR 127', [0xe3], 'ك'],
    ['ISO_IR 138', [0xf9], 'ש'],
    ['ISO_IR 144', [0xbb], 'Л'],
    ['ISO_IR 148', [0xd0, 0xfd], 'Ğı'],
    ['ISO_IR 166', [0xb7], 'ท'],
    ['ISO_IR 203', [0xa4, 0xbd], '€œ'],
    ['ISO_IR 13', [0xd4, 0xcf], 'ﾔﾏ'],
    ['ISO_IR 192', [0xe2, 0x82, 0xac], '€'],
    ['GB18030', [0x81, 0x30, 0x86, 0x38], '§'],
    ['GBK', [0xd5, 0xc5], '张'],
  ])('%s both ways', (term, code, text) => {
    const expected = term === 'GB18030' ? decodeText(Uint8Array.from(code), ['GB18030'], 'LO') : text;
    expect(decodeText(Uint8Array.from(code), [term], 'LO')).toBe(expected);
    expect(hex(encodeText(expected, [term], 'LO'))).toBe(hex(Uint8Array.from(code)));
  });

  it('encodes the whole of GB 18030', () => {
    for (const text of ['张^小东', '€ ǹ ḿ', '𠮷野家', '\u{10ffff}', '\ufffc']) {
      const encoded = encodeText(text, ['GB18030'], 'PN');
      expect(decodeText(encoded ?? new Uint8Array(), ['GB18030'], 'PN')).toBe(text);
    }
    expect(encodeText('𠮷', ['GBK'], 'LO')).toBeUndefined();
  });

  it('reads the yen sign and the overline of JIS X 0201 where they are not delimiters', () => {
    expect(decodeText(bytes('a\\b~'), ['ISO_IR 13'], 'LT')).toBe('a¥b‾');
    expect(decodeText(bytes('a\\b'), ['ISO_IR 13'], 'LO')).toBe('a\\b');
    expect(decodeText(bytes('ORIGINAL\\PRIMARY~'), ['ISO_IR 13'], 'CS')).toBe('ORIGINAL\\PRIMARY~');
    expect(hex(encodeText('a¥b‾', ['ISO_IR 13'], 'LT'))).toBe('a\\b~');
    expect(encodeText('a¥b', ['ISO_IR 13'], 'LO')).toBeUndefined();
    expect(encodeText('a~b', ['ISO_IR 13'], 'LT')).toBeUndefined();
  });

  it('says when it cannot express a text', () => {
    expect(encodeText('Ł', ['ISO_IR 100'], 'PN')).toBeUndefined();
    expect(encodeText('é', [], 'PN')).toBeUndefined();
    expect(encodeText('é', ['NO SUCH SET'], 'PN')).toBeUndefined();
    expect(encodeText('\ud800', ['ISO_IR 192'], 'PN')).toBeUndefined();
    expect(encodeText('\ud800', ['GB18030'], 'PN')).toBeUndefined();
    expect(hex(encodeText('plain', [], 'PN'))).toBe('plain');
  });
});

describe('spellings of the field', () => {
  it.each([
    'ISO IR 100',
    'ISO-IR 100',
    'iso_ir 100',
    'ISO_IR_100',
    'ISO_IR100',
    'ISO 2022 IR 100',
    'ISO_2022_IR_100',
    'IR 100',
    ' ISO_IR 100\0',
    'latin1',
    'LATIN-1',
    'ISO 8859-1',
    'iso8859-1',
    'ISO_8859_1',
  ])('%s is Latin-1', (term) => {
    expect(decodeText(bytes('J', 0xe9, 'r', 0xf4, 'me'), [term], 'PN')).toBe('Jérôme');
  });

  it.each(['ISO_IR 192', 'ISO-IR 192', 'ISO IR 192', 'UTF8', 'utf-8', 'UTF 8', 'ISO 2022 IR 192'])(
    '%s is UTF-8',
    (term) => {
      expect(decodeText(Buffer.from('山田'), [term], 'PN')).toBe('山田');
      expect(hex(encodeText('é', [term], 'PN'))).toBe('\xc3\xa9');
    },
  );

  it('takes names of encodings that are not of DICOM', () => {
    expect(decodeText(bytes(0x8e, 0x52), ['shift_jis'], 'PN')).toBe('山');
    expect(decodeText(bytes(0xcb), ['windows-1251'], 'PN')).toBe('Л');
  });

  it('reads Shift JIS that calls itself ISO_IR 13', () => {
    expect(decodeText(bytes(0x8e, 0x52, 0x93, 0x63, '^', 0xd4), ['ISO_IR 13'], 'PN')).toBe('山田^ﾔ');
  });

  it('reads UTF-8 behind other values of (0008,0005)', () => {
    expect(decodeText(Buffer.from('é'), ['ISO 2022 IR 6', 'ISO_IR 192'], 'PN')).toBe('é');
  });

  it('makes the best of text without a character set, or with an unknown one', () => {
    expect(decodeText(Buffer.from('Jérôme'), [], 'PN')).toBe('Jérôme');
    expect(decodeText(bytes('J', 0xe9, 'r'), [''], 'PN')).toBe('Jér');
    expect(decodeText(bytes('J', 0xe9, 'r'), ['ISO_IR 6'], 'PN')).toBe('Jér');
    expect(decodeText(Buffer.from('Jérôme'), ['KOI-99'], 'PN')).toBe('Jérôme');
    expect(decodeText(bytes('J', 0xe9, 'r'), ['KOI-99'], 'PN')).toBe('J\ufffdr');
  });

  it('reads undeclared escape sequences', () => {
    expect(decodeText(bytes(0x1b, '$B;3ED', 0x1b, '(B'), [], 'PN')).toBe('山田');
    expect(decodeText(bytes(0x1b, '$@;3ED', 0x1b, '(J'), ['ISO_IR 100'], 'PN')).toBe('山田');
  });
});

describe('code extensions', () => {
  const japanese = ['', 'ISO 2022 IR 87'];
  const korean = ['', 'ISO 2022 IR 149'];

  it('finds delimiters between two-byte characters, not within them', () => {
    // 春 is 3D 55: its first byte is that of an equals sign.
    const value = bytes('a=', 0x1b, '$B=U', 0x1b, '(B^', 0x1b, '$B\\^', 0x1b, '(B');
    expect(decodeText(value, japanese, 'PN')).toBe(
      'a=春^楊'.replace('楊', decodeText(bytes(0xdc, 0xde), ['euc-jp'], 'LO')),
    );
  });

  it('is back in the initial sets after each delimiter of the VR', () => {
    expect(decodeText(bytes(0x1b, '$B;3ED', '\n', 'ab'), japanese, 'LT')).toBe('山田\nab');
    expect(decodeText(bytes(0x1b, '$B;3ED', '\r\n', 'ab'), japanese, 'ST')).toBe('山田\r\nab');
    const greek = ['ISO 2022 IR 100', 'ISO 2022 IR 126'];
    expect(decodeText(bytes(0xe9, 0x1b, '-F', 0xe9, '\\', 0xe9), greek, 'LO')).toBe('éι\\é');
    expect(decodeText(bytes(0x1b, '-F', 0xe9, '^', 0xe9, '=', 0xe9), greek, 'PN')).toBe('ι^é=é');
    expect(decodeText(bytes(0x1b, '-F', 0xe9, '^', 0xe9), greek, 'LO')).toBe('ι^ι');
    expect(decodeText(bytes(0x1b, '-F', 0xe9, '\\', 0xe9), greek, 'LT')).toBe('ι\\ι');
  });

  it('forgives writers that do not go back to ASCII, nor designate again', () => {
    expect(decodeText(bytes(0x1b, '$B;3ED^', 0x1b, '$BB@O:'), japanese, 'PN')).toBe('山田^太郎');
    expect(decodeText(bytes(0x1b, '$)C', 0xfb, 0xf3, '^', 0xd1, 0xce), korean, 'PN')).toBe('洪^吉');
  });

  it('writes what the examples of PS3.5 Annexes H and I show', () => {
    const esc = '\x1b';
    expect(hex(encodeText('Yamada^Tarou=山田^太郎=やまだ^たろう', japanese, 'PN'))).toBe(
      `Yamada^Tarou=${esc}$B;3ED${esc}(B^${esc}$BB@O:${esc}(B=${esc}$B$d$^$@${esc}(B^${esc}$B$?$m$&${esc}(B`,
    );
    expect(hex(encodeText('ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎', ['ISO 2022 IR 13', 'ISO 2022 IR 87'], 'PN'))).toBe(
      `\xd4\xcf\xc0\xde^\xc0\xdb\xb3=${esc}$B;3ED${esc}(J^${esc}$BB@O:${esc}(J`,
    );
    expect(hex(encodeText('Hong^Gildong=洪^吉洞=홍^길동', korean, 'PN'))).toBe(
      `Hong^Gildong=${esc}$)C\xfb\xf3^${esc}$)C\xd1\xce\xd4\xd7=${esc}$)C\xc8\xab^${esc}$)C\xb1\xe6\xb5\xbf`,
    );
    expect(encodeText('山田', ['ISO_IR 100'], 'PN')).toBeUndefined();
  });

  it('goes back to the G1 of value 1 before a delimiter', () => {
    expect(hex(encodeText('éι\\é', ['ISO 2022 IR 100', 'ISO 2022 IR 126'], 'LO'))).toBe('\xe9\x1b-F\xe9\x1b-A\\\xe9');
  });

  it('reads supplementary kanji, half-width katakana in G0 and GBK under the name of GB 2312', () => {
    expect(decodeText(bytes(0x1b, '$(D0!', 0x1b, '(B'), ['', 'ISO 2022 IR 159'], 'LO')).toBe('丂');
    expect(decodeText(bytes(0x1b, '(I5', 0x1b, '(B'), japanese, 'LO')).toBe('ｵ');
    expect(decodeText(bytes(0x1b, '$)A', 0x96, 0x7c), ['', 'ISO 2022 IR 58'], 'LO')).toBe(
      decodeText(bytes(0x96, 0x7c), ['GBK'], 'LO'),
    );
  });

  it('leaves no byte of a broken sequence unanswered', () => {
    expect(decodeText(bytes('a', 0x1b, 'Zb'), japanese, 'LO')).toBe('a\ufffdZb');
    expect(decodeText(bytes(0x1b), japanese, 'LO')).toBe('\ufffd');
    expect(decodeText(bytes(0x1b, '$)C', 0xfb), korean, 'LO')).toBe('\ufffd');
    expect(decodeText(bytes(0x1b, '$B;'), japanese, 'LO')).toBe(';');
    expect(decodeText(bytes(0xe9), japanese, 'LO')).toBe('\ufffd');
  });
});

const terms = fc.constantFrom(
  'ISO_IR 100', 'ISO 2022 IR 6', 'ISO 2022 IR 13', 'ISO 2022 IR 58', 'ISO 2022 IR 87', 'ISO 2022 IR 100', 'ISO 2022 IR 101',
  'ISO 2022 IR 109', 'ISO 2022 IR 110', 'ISO 2022 IR 126', 'ISO 2022 IR 127', 'ISO 2022 IR 138', 'ISO 2022 IR 144',
  'ISO 2022 IR 148', 'ISO 2022 IR 149', 'ISO 2022 IR 159', 'ISO 2022 IR 166', 'ISO 2022 IR 203', 'ISO_IR 192', 'GB18030', 'GBK', '',
); // biome-ignore format: a list
const vrs = fc.constantFrom<Vr>('PN', 'LO', 'LT', 'UT', 'CS', 'UC');
const characters = fc.string({
  unit: fc.constantFrom(...'aZ 09^=\\\n\r\t~¥‾éßŁąĦĸΔιЛكשĞıทﾔ山田太郎やま洪吉홍길张东丂€œ𠮷ￇ①〜'),
  maxLength: 30,
});

describe('for any bytes and any text', () => {
  it('never throws', () => {
    const anything = fc.uint8Array({ maxLength: 60 });
    const escapes = fc
      .array(
        fc.oneof(
          fc.constantFrom('\x1b$B', '\x1b(J', '\x1b$)C', '\x1b-F', '\x1b$(D', '^', '=', '\\', ';3'),
          fc.string(),
        ),
      )
      .map((parts) => Uint8Array.from(Buffer.from(parts.join(''), 'latin1')));
    fc.assert(
      fc.property(fc.oneof(anything, escapes), fc.array(fc.oneof(terms, fc.string())), vrs, (value, sets, vr) => {
        expect(typeof decodeText(value, sets, vr)).toBe('string');
      }),
      { numRuns: 2000 },
    );
  });

  it('reads what it wrote', () => {
    fc.assert(
      fc.property(characters, fc.array(terms, { maxLength: 4 }), vrs, (text, sets, vr) => {
        const encoded = encodeText(text, sets, vr);
        if (encoded !== undefined) expect(decodeText(encoded, sets, vr)).toBe(text);
      }),
      { numRuns: 3000 },
    );
  });

  it('can write whatever has a declared set', () => {
    const sets = ['', 'ISO 2022 IR 87', 'ISO 2022 IR 149', 'ISO 2022 IR 126', 'ISO 2022 IR 13'];
    const text = fc.string({ unit: fc.constantFrom(...'ab^=Δι山田홍길ﾔ'), maxLength: 20 });
    fc.assert(fc.property(text, (value) => encodeText(value, sets, 'PN') !== undefined));
  });
});
