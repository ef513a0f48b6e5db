/**
 * Fuzzy matching of names: what is found beside what is written alike, and what is not.
 */
import { doubleMetaphone } from 'double-metaphone';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PersonName } from '#shared/dicom/dicom-json-model.ts';
import { MAXIMUM_NAME_WORDS, nameWords, soundsOf } from '#shared/dicom/fuzzy-name.ts';
import { compileMatch, fuzzyNameKey, matchKey } from '#shared/dicom/matching.ts';

const TAG = 0x00100010;
const attributesOf = (name: string | PersonName) => ({
  '00100010': { vr: 'PN' as const, Value: [typeof name === 'string' ? { Alphabetic: name } : name] },
});
const finds = (key: string, name: string | PersonName): boolean =>
  compileMatch([fuzzyNameKey([TAG], key)])(attributesOf(name));

describe('fuzzy matching of names', () => {
  it.each([
    ['Smith', 'Smyth^John'],
    ['Smyth', 'Schmidt^Hans'],
    ['Meyer', 'Maier^Anna'],
    ['Meier^Ana', 'Mayer^Anna'],
    ['Mueller', 'Müller^Jürgen'],
    ['Müller', 'MULLER'],
    ['Jon', 'Smith^John'],
    ['Stephen', 'King^Steven'],
    ['Catherine', 'Katharina^K'],
    ['Goethe', 'Göthe^J'],
  ])('finds by its sound: %s in %s', (key, name) => expect(finds(key, name)).toBe(true));

  it.each([
    ['John Smith', 'Smith^John'],
    ['Smith, John', 'Smith^John'],
    ['John^Smith', 'Smith^John'],
    ['anna meier', 'Meier-Schulz^Eva Anna'],
    ['Schulz', 'Meier-Schulz^Eva'],
    ['太郎 山田', { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎' }],
    ['tarou 山田', { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎' }],
  ])('does not mind the order of words: %s', (key, name) => expect(finds(key, name)).toBe(true));

  it.each([
    ['Sm', 'Smith^John'],
    ['joh smi', 'Smith^John'],
    ['Łuk', 'Lukasiewicz'],
    ['Люк', 'Люкceмбypг'],
    ['قبا', 'قباني^لنزار'],
    ['김', '김희중'],
  ])('finds words by their beginnings: %s', (key, name) => expect(finds(key, name)).toBe(true));

  it.each([
    ["O'Brien", 'OBrien^Pat'],
    ['OBrien', "O'Brien^Pat"],
    ['Brien', 'O’Brien^Pat'],
    ['obrian', "O'Brien^Pat"],
    ['dangelo', 'D’Angelo^Rita'],
  ])('takes apostrophes as they come: %s', (key, name) => expect(finds(key, name)).toBe(true));

  it.each([
    ['*mit*', 'Smith^John'],
    ['*ohn smi*', 'Smith^John'],
    ['sm?th', 'Smith^John'],
    ['*smit*', 'Schmidt^Hans'],
  ])('takes wild cards: %s', (key, name) => expect(finds(key, name)).toBe(true));

  it.each([
    ['Smith', 'Jones^John'],
    ['Smith Eva', 'Smith^John'],
    ['John Smith Jones', 'Smith^John'],
    ['mith', 'Smith^John'],
    ['S', 'Zimmer^John'],
    ['山本', { Ideographic: '山田^太郎' }],
    ['Smith', ''],
    ["'", 'Smith^John'],
    ['-', 'Smith^John'],
  ])('does not find everything: %s', (key, name) => expect(finds(key, name)).toBe(false));

  it('is what its definition says: every word of the key begins, or sounds like, some word of the name', () => {
    const word = fc.constantFrom(
      'smith',
      'smyth',
      'schmidt',
      'jon',
      'john',
      'jo',
      'anna',
      'ana',
      'meier',
      'mayer',
      'xu',
      'o',
      'kim',
    );
    const words = fc.array(word, { minLength: 1, maxLength: 4 });
    const delimiter = fc.constantFrom('^', ' ', '-', ', ', '=');
    fc.assert(
      fc.property(words, words, delimiter, delimiter, (key, name, between, within) => {
        const sounds = (one: string): string[] => (one.length < 2 ? [] : doubleMetaphone(one));
        const expected = key.every((wanted) =>
          name.some((own) => own.startsWith(wanted) || sounds(wanted).some((sound) => sounds(own).includes(sound))),
        );
        expect(finds(key.join(between).toUpperCase(), name.join(within === '=' ? ' ' : within))).toBe(expected);
      }),
      { numRuns: 2000 },
    );
  });

  it('finds whatever is found literally', () => {
    const piece = fc.constantFrom('a', 'b', 'Ä', 'sch', "'", '-', '^', '=', ' ', '*', '?', '山', '\\');
    const text = fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join(''));
    const name = fc.array(fc.constantFrom('a', 'b', 'Ä', 'sch', "'", '-', '^', ' ', '山'), { maxLength: 6 });
    fc.assert(
      fc.property(text, name, name, (key, alphabetic, ideographic) => {
        const value = attributesOf({ Alphabetic: alphabetic.join(''), Ideographic: ideographic.join('') });
        if (compileMatch([matchKey([TAG], 'PN', key)])(value))
          expect(compileMatch([fuzzyNameKey([TAG], key)])(value)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });

  it('is bounded, whatever names and keys are made of', () => {
    const { words, isWhole } = nameWords([Array.from({ length: 10_000 }, (_, i) => `w${i}`).join(' ')]);
    expect([words.length, isWhole]).toEqual([MAXIMUM_NAME_WORDS, false]);
    expect(soundsOf('a'.repeat(100))).toEqual([]);
    expect(() => fuzzyNameKey([TAG], 'a '.repeat(100))).toThrow(/more than 32 words/);
    expect(() => fuzzyNameKey([TAG], 'a'.repeat(2000))).toThrow(/1024 characters/);
  });
});
