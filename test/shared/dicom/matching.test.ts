/**
 * Attribute matching (PS3.4 §C.2.2.2) against its definition: each kind of matching, names, ranges, sequences, the planner's
 * hints, and any keys together.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import {
  compileMatch,
  dateRange,
  exactValues,
  type MatchKey,
  matchKey,
  namePrefix,
  normaliseName,
} from '#shared/dicom/matching.ts';

const TAG = 0x00091001;
/** Whether a key of one attribute is met by these values; undefined: the attribute is absent. */
function meets(vr: Vr, key: string, values: readonly JsonValue[] | undefined): boolean {
  const attributes: DicomJson = values === undefined ? {} : { '00091001': { vr, Value: [...values] } };
  return compileMatch([matchKey([TAG], vr, key)])(attributes);
}
const refuses = (vr: Vr, key: string): void =>
  expect(() => matchKey([TAG], vr, key)).toThrowError(expect.objectContaining({ code: 'bad-request' }));

describe('universal and empty matching', () => {
  it('takes everything, also what is not there', () => {
    for (const vr of ['LO', 'PN', 'DA', 'TM', 'DT', 'UI', 'IS', 'US', 'SQ', 'OB', 'UN', 'AT'] as const) {
      for (const key of ['', '  ', '*', '**']) {
        expect(meets(vr, key, undefined)).toBe(true);
        expect(meets(vr, key, [])).toBe(true);
      }
      expect(meets(vr, '', [null])).toBe(true);
    }
  });

  it('does not take what has no value for anything else', () => {
    for (const [vr, key] of [
      ['LO', 'a'],
      ['LO', 'a*'],
      ['LO', '*a'],
      ['LO', '?*'],
      ['PN', 'a*'],
      ['DA', '20240101-'],
      ['TM', '-12'],
    ] as const) {
      expect(meets(vr, key, undefined)).toBe(false);
      expect(meets(vr, key, [null])).toBe(false);
    }
  });

  it('finds what is empty by two quotation marks', () => {
    for (const vr of ['LO', 'PN', 'DA', 'UI', 'SQ', 'OB'] as const) {
      expect(meets(vr, '""', undefined)).toBe(true);
      expect(meets(vr, '""', [null])).toBe(true);
    }
    expect(meets('LO', '""', ['a'])).toBe(false);
    expect(meets('PN', '""', [{ Alphabetic: 'a' }])).toBe(false);
    expect(meets('PN', '""', [{ Alphabetic: '^^^^' }])).toBe(true);
    expect(meets('SQ', '""', [{}])).toBe(false);
    expect(compileMatch([matchKey([TAG], 'OB', '""')])({ '00091001': { vr: 'OB', InlineBinary: 'AA==' } })).toBe(false);
  });
});

describe('single values and lists', () => {
  it('are compared with case, but without the spaces around them', () => {
    expect(meets('LO', 'Chest', ['Chest'])).toBe(true);
    expect(meets('LO', 'chest', ['Chest'])).toBe(false);
    expect(meets('LO', ' Chest ', ['  Chest'])).toBe(true);
    expect(meets('CS', 'CT', ['MR', 'CT'])).toBe(true);
    expect(meets('LT', 'a\\b', ['a\\b'])).toBe(true);
    expect(meets('LO', 'Doe, John', ['Doe, John'])).toBe(true);
  });

  it('mean any of several values', () => {
    expect(meets('CS', 'CT\\MR', ['MR'])).toBe(true);
    expect(meets('CS', 'CT,MR', ['MR'])).toBe(true);
    expect(meets('LO', 'a\\b*', ['bc'])).toBe(true);
    expect(meets('UI', '1.2\\1.3', ['1.3'])).toBe(true);
    expect(meets('UI', '1.2,1.3', ['1.3'])).toBe(true);
    expect(meets('UI', '1.2, 1.3,', ['1.3'])).toBe(true);
    expect(meets('UI', '1.2,1.3', ['1.33'])).toBe(false);
    expect(exactValues(matchKey([TAG], 'UI', '1.2,1.3'))).toEqual(['1.2', '1.3']);
  });

  it('compare numbers by what they say', () => {
    expect(meets('IS', '7', [7])).toBe(true);
    expect(meets('IS', '+007', [7])).toBe(true);
    expect(meets('IS', '7', ['7'])).toBe(true);
    expect(meets('IS', '1,2', [2])).toBe(true);
    expect(meets('DS', '1.50', [1.5])).toBe(true);
    expect(meets('DS', '1e1', [10])).toBe(true);
    expect(meets('US', '512', [512])).toBe(true);
    expect(meets('US', '512', [51])).toBe(false);
    expect(meets('UV', '9007199254740993', ['9007199254740993'])).toBe(true);
    expect(meets('UV', '9007199254740993', ['9007199254740992'])).toBe(false);
    expect(meets('IS', '7', ['7A'])).toBe(false);
    expect(meets('AT', '(0010,0020)', ['00100020'])).toBe(true);
    expect(meets('AT', '0040a730', ['0040A730'])).toBe(true);
  });

  it('are refused where they cannot be', () => {
    for (const [vr, key] of [
      ['UI', '1.2.*'],
      ['IS', '1?'],
      ['IS', 'seven'],
      ['AS', '0*Y'],
      ['DA', '2024*'],
      ['DA', 'today'],
      ['DA', '20240101\\20240102'],
      ['TM', '25'],
      ['DT', 'x'],
      ['OB', 'AA'],
      ['SQ', 'a'],
      ['UN', 'a'],
      ['DA', `${'1-'.repeat(500)}`],
      ['LO', '*a'.repeat(600)],
      ['PN', '*a'.repeat(600)],
      ['LO', 'a'.repeat(1_048_577)],
    ] as const) {
      refuses(vr, key);
    }
    expect(() => matchKey([], 'LO', 'a')).toThrowError();
  });

  it('are not repeated in errors', () => {
    for (const vr of ['DA', 'IS', 'UI'] as const) {
      expect(() => matchKey([0x00100030], vr, 'Secret*')).toThrowError(/^(?!.*Secret).*00100030/);
    }
  });
});

describe('person names', () => {
  const name = (key: string, value: JsonValue): boolean => meets('PN', key, [value]);
  const rene = { Alphabetic: 'DUPONT^René^^Dr' };
  const yamada = { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' };

  it('match without case and accents', () => {
    expect(name('dupont^rene^^dr', rene)).toBe(true);
    expect(name('Dupont^RENÉ^^Dr', rene)).toBe(true);
    expect(name('dupont*', rene)).toBe(true);
    expect(name('*ren*', rene)).toBe(true);
    expect(name('dupont^r?n?^*', rene)).toBe(true);
    expect(name('dupond*', rene)).toBe(false);
    expect(name('dupont^rene', rene)).toBe(false);
    expect(name('Strauss*', 'Strauß^X')).toBe(true);
  });

  it('match on every component group', () => {
    for (const key of ['yamada*', '山田*', '山田^太郎', '*太郎', 'やまだ^たろう', 'YAMADA^TAROU', '山田', 'やまだ'])
      expect(name(key, yamada)).toBe(true);
    expect(name('=山田*', yamada)).toBe(true);
    expect(name('yamada*=山田*', yamada)).toBe(true);
    expect(name('yamada*=田中*', yamada)).toBe(false);
    expect(name('*=山田*', yamada)).toBe(true);
    expect(name('太郎', yamada)).toBe(false);
  });

  it('take a single component for the family name', () => {
    expect(name('dupont', rene)).toBe(true);
    expect(name('dupon', rene)).toBe(false);
    expect(name('rene', rene)).toBe(false);
  });

  it('ignore empty components at the end, of key and value', () => {
    expect(name('dupont^rene^^', 'Dupont^Rene')).toBe(true);
    expect(name('dupont^rene', 'Dupont^Rene^^^')).toBe(true);
    expect(name('dupont^*', 'Dupont')).toBe(true);
    expect(name('dupont^*^*', 'Dupont')).toBe(true);
    expect(name('dupont^j*', 'Dupont')).toBe(false);
    expect(name('^^^', 'Dupont')).toBe(true);
  });

  it('match any of several values', () => {
    expect(meets('PN', 'b*', [{ Alphabetic: 'a' }, null, { Alphabetic: 'b^c' }])).toBe(true);
    expect(meets('PN', 'x\\b*', [{ Alphabetic: 'b^c' }])).toBe(true);
  });

  it('give a prefix that every match has in one of its groups', () => {
    expect(namePrefix(matchKey([TAG], 'PN', 'Dup*'))).toBe('dup');
    expect(namePrefix(matchKey([TAG], 'PN', 'Dupont^*'))).toBe('dupont');
    expect(namePrefix(matchKey([TAG], 'PN', 'Dupont^R*=ab*'))).toBe('dupont^r');
    expect(namePrefix(matchKey([TAG], 'PN', '*dup'))).toBeUndefined();
    expect(namePrefix(matchKey([TAG], 'PN', 'a*\\b*'))).toBeUndefined();
    const part = fc.string({ unit: fc.constantFrom(...'aáB^*? ='), maxLength: 6 });
    const group = fc.string({ unit: fc.constantFrom(...'aáB^ '), maxLength: 6 });
    fc.assert(
      fc.property(part, group, group, (key, Alphabetic, Ideographic) => {
        const read = matchKey([TAG], 'PN', key);
        const prefix = namePrefix(read);
        const value = { Alphabetic, Ideographic };
        if (prefix === undefined || !compileMatch([read])({ '00091001': { vr: 'PN', Value: [value] } })) return;
        expect([Alphabetic, Ideographic].some((text) => normaliseName(text).startsWith(prefix))).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});

describe('ranges', () => {
  it('include both ends, in whatever form either side is written', () => {
    expect(meets('DA', '20240101-20240131', ['20240101'])).toBe(true);
    expect(meets('DA', '20240101-20240131', ['2024.01.31'])).toBe(true);
    expect(meets('DA', '2024.01.01-', ['20240101'])).toBe(true);
    expect(meets('DA', '-20240131', ['20240201'])).toBe(false);
    expect(meets('DA', '20240131-20240101', ['20240115'])).toBe(false);
    expect(meets('DA', '20240101', ['20240101'])).toBe(true);
    expect(meets('DA', '20240101-', ['not a date'])).toBe(false);
    expect(meets('TM', '10-11', ['115959.9'])).toBe(true);
    expect(meets('TM', '10-11', ['120000'])).toBe(false);
    expect(meets('TM', '1030', ['10:30:15'])).toBe(true);
    expect(meets('TM', '1030', ['103100'])).toBe(false);
    expect(meets('TM', '-1030', ['103059.999'])).toBe(true);
  });

  it('of DT look at the offset from UTC where both sides know it', () => {
    expect(meets('DT', '20240101', ['20240101123000'])).toBe(true);
    expect(meets('DT', '2023-2024', ['20240101123000+0100'])).toBe(true);
    expect(meets('DT', '20240101100000+0000-20240101110000+0000', ['20240101113000+0100'])).toBe(true);
    expect(meets('DT', '20240101100000+0000-20240101110000+0000', ['20240101123000+0100'])).toBe(false);
    const key = matchKey([TAG], 'DT', '20240101100000+0000-20240101110000+0000');
    const local: DicomJson = { '00091001': { vr: 'DT', Value: ['20240101113000'] } };
    expect(compileMatch([key])(local)).toBe(false);
    expect(compileMatch([key])({ ...local, '00080201': { vr: 'SH', Value: ['+0100'] } })).toBe(true);
  });

  it('agree with the order of the calendar', () => {
    const date = fc
      .date({ min: new Date('1990-01-01'), max: new Date('2030-01-01'), noInvalidDate: true })
      .map((d) => d.toISOString().slice(0, 10).replaceAll('-', ''));
    fc.assert(
      fc.property(fc.option(date), fc.option(date), date, (from, to, value) => {
        if (from === null && to === null) return;
        const key = matchKey([TAG], 'DA', `${from ?? ''}-${to ?? ''}`);
        const expected = (from === null || from <= value) && (to === null || value <= to);
        expect(compileMatch([key])({ '00091001': { vr: 'DA', Value: [value] } })).toBe(expected);
        expect(dateRange(key)).toEqual({ ...(from && { from }), ...(to && { to }) });
      }),
    );
  });
});

describe('sequences', () => {
  const REQUEST = 0x00400275;
  const attributes: DicomJson = {
    '00400275': {
      vr: 'SQ',
      Value: [
        { '00400009': { vr: 'SH', Value: ['S1'] }, '00401001': { vr: 'SH', Value: ['R1'] } },
        { '00400009': { vr: 'SH', Value: ['S2'] }, '00401001': { vr: 'SH', Value: ['R2'] } },
      ],
    },
  };
  const request = (step: string, procedure: string, on: DicomJson = attributes): boolean =>
    compileMatch([matchKey([REQUEST, 0x00400009], 'SH', step), matchKey([REQUEST, 0x00401001], 'SH', procedure)])(on);

  it('match when one item meets all keys', () => {
    expect(request('S1', 'R1')).toBe(true);
    expect(request('S2', '')).toBe(true);
    expect(request('S1', 'R2')).toBe(false);
    expect(request('S*', 'R2')).toBe(true);
  });

  it('are universal when nothing in them is asked for', () => {
    expect(request('', '', {})).toBe(true);
    expect(request('*', '')).toBe(true);
    expect(request('S1', '', {})).toBe(false);
    expect(request('S1', '', { '00400275': { vr: 'SQ' } })).toBe(false);
    expect(request('S1', '', { '00400275': { vr: 'SQ', Value: [null, 'junk'] } })).toBe(false);
  });

  it('may lie within one another', () => {
    const key = matchKey([REQUEST, 0x00400008, 0x00080100], 'SH', 'CODE');
    const nested: DicomJson = {
      '00400275': {
        vr: 'SQ',
        Value: [{}, { '00400008': { vr: 'SQ', Value: [{ '00080100': { vr: 'SH', Value: ['CODE'] } }] } }],
      },
    };
    expect(compileMatch([key])(nested)).toBe(true);
    expect(compileMatch([key])(attributes)).toBe(false);
  });
});

describe('any keys', () => {
  const attributes: DicomJson = {
    '00091001': { vr: 'LO', Value: ['ab', null, 'ba'] },
    '00091002': { vr: 'PN', Value: [{ Alphabetic: 'A^b' }] },
    '00091003': { vr: 'DA', Value: ['20240101'] },
    '00091004': { vr: 'SQ', Value: [{ '00091001': { vr: 'LO', Value: ['a'] } }] },
  };
  const text = fc.string({ unit: fc.constantFrom(...'ab*?\\=^-20240101", '), maxLength: 8 });
  const vr = fc.constantFrom<Vr>('LO', 'PN', 'DA', 'TM', 'DT', 'UI', 'IS', 'LT', 'CS', 'AT');
  const path = fc.constantFrom([0x00091001], [0x00091002], [0x00091003], [0x00091004, 0x00091001], [0x00099999]);
  const key = fc.tuple(path, vr, text).map(([tags, valueVr, value]): MatchKey | undefined => {
    try {
      return matchKey(tags, valueVr, value);
    } catch {
      return undefined;
    }
  });

  it('must all be met, and survive the way to another thread', () => {
    fc.assert(
      fc.property(fc.array(key, { maxLength: 4 }), (some) => {
        const keys = some.filter((one) => one !== undefined);
        const all = compileMatch(keys)(attributes);
        expect(compileMatch(structuredClone(keys))(attributes)).toBe(all);
        const nested = keys.filter(({ path: tags }) => tags.length > 1).length > 1;
        if (!nested) expect(all).toBe(keys.every((one) => compileMatch([one])(attributes)));
      }),
      { numRuns: 3000 },
    );
  });
});
