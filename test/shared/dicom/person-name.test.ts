/**
 * Component groups of names and the normal form under which they are compared.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nameGroups, normaliseName, personNameOf, personNameText } from '#shared/dicom/person-name.ts';

describe('the normal form of names', () => {
  it.each([
    ['DUPONT^Jean', 'dupont^jean'],
    ['Müller^Jürgen^^^', 'muller^jurgen'],
    ['Łukasiewicz^Żółć', 'lukasiewicz^zolc'],
    ['Çağlar^İğşü ı', 'caglar^igsu i'],
    ['Strauß^Ægir^Þór', 'strauss^aegir^thor'],
    ['  de  la   Cruz ^ Ana ', 'de la cruz^ana'],
    ['Ｙａｍａｄａ^Ｔａｒｏｕ', 'yamada^tarou'],
    ['A=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ', 'a=山田^太郎=ヤマダ^タロウ'],
    ['Διονύσιος', 'διονυσιοσ'],
    ['Люкceмбypг', 'люкceмбypг'],
    ['山田　太郎', '山田 太郎'],
    ['==', ''],
    ['A==', 'a'],
    ['=X', '=x'],
    ['^^Anna', '^^anna'],
    ['a＝b', 'a b'],
    ['홍^길동', '홍^길동'],
    ['dup*^?', 'dup*^?'],
  ])('%s is %s', (name, expected) => {
    expect(normaliseName(name)).toBe(expected);
  });

  it('keeps voicing marks, which make another syllable', () => {
    expect(normaliseName('か')).not.toBe(normaliseName('が'));
  });

  it('is its own normal form', () => {
    const names = fc.string({ unit: fc.constantFrom(...'aÉ ^=ßﾔﾞが山İıΣς⩵＝ \u0301\u00a0'), maxLength: 12 });
    fc.assert(
      fc.property(names, (name) => {
        expect(normaliseName(normaliseName(name))).toBe(normaliseName(name));
      }),
      { numRuns: 2000 },
    );
  });

  it('is the same for both forms of a name', () => {
    expect(nameGroups({ Alphabetic: 'A^B^', Phonetic: 'C' })).toEqual(['a^b', 'c']);
    expect(nameGroups('A^B^==C')).toEqual(['a^b', 'c']);
    expect(nameGroups({})).toEqual([]);
  });
});

describe('component groups', () => {
  it('survive the way through JSON', () => {
    const group = fc.string({ unit: fc.constantFrom(...'ab^ '), maxLength: 4 });
    fc.assert(
      fc.property(group, group, group, (...groups) => {
        const text = groups.join('=').replace(/=+$/, '');
        expect(personNameText(personNameOf(text))).toBe(text);
      }),
    );
  });
});
