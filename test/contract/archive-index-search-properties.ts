/**
 * Properties of every search: it finds what comparing every record with the keys would find, in the same order, whatever
 * way a planner takes. The data are made to be awkward: several values, odd dates, wild cards' neighbours.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { placeOf } from '#shared/archive/query.ts';
import type { InstanceRecord, Level } from '#shared/archive/records.ts';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, PersonName } from '#shared/dicom/dicom-json-model.ts';
import { combineDateTime, compileMatch, fuzzyNameKey, type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { CT, instanceRecord, instanceUid, json, MR, seriesUid, studyUid, tenant } from '../support/archive-records.ts';

/** `fuzzy`: of a name, fuzzily. */
export type Asked = readonly [tag: number | readonly number[], vr: Vr | 'fuzzy', text: string];

export function keyOf([tag, vr, text]: Asked): MatchKey {
  const path = typeof tag === 'number' ? [tag] : tag;
  return vr === 'fuzzy' ? fuzzyNameKey(path, text) : matchKey(path, vr, text);
}
const uidTags: Record<Level, string> = { study: '0020000D', series: '0020000E', instance: '00080018' };

export const uidsOf = (level: Level, matches: readonly DicomJson[]): unknown[] =>
  matches.map((match) => match[uidTags[level]]?.Value?.[0]);

/** @param share of all searches: what is left out is another part each time */
export function searchProperties(index: () => ArchiveIndex, share: number): void {
  const search = (level: Level, asked: readonly Asked[]) =>
    index().search(tenant(), { level, keys: asked.map(keyOf), limit: 1_000, offset: 0 });

  it('finds by any pattern what looking at everything would find', async () => {
    const texts = wordsOf(['a', 'b', '^'], 3);
    // A quotation mark is another character in JSON than in the value.
    const quoted = (text: string) => text.replaceAll('^', '"');
    await indexInstances(
      index(),
      texts.map((text, study) =>
        instanceRecord({
          study,
          attributes: {
            '00080090': json('PN', { Alphabetic: text }),
            '00081030': json('LO', quoted(text)),
            '00100010': json('PN', { Alphabetic: text }),
            '00100020': json('LO', text),
          },
        }),
      ),
    );
    const everything = (await search('study', [])).matches;
    expect(everything).toHaveLength(texts.length);
    const patterns = [...wordsOf(['a', 'b', '^', '*', '?'], 3), 'a\\b', 'a\\^b', 'a*\\?b'];
    for (const text of share === 1 ? patterns : patterns.filter(() => Math.random() < share)) {
      for (const asked of [
        [0x00100010, 'PN', text],
        [0x00100010, 'fuzzy', text],
        [0x00100020, 'LO', text],
        [0x00081030, 'LO', quoted(text)],
      ] as const) {
        const expected = everything.filter(compileMatch([keyOf(asked)]));
        const { matches } = await search('study', [asked]);
        expect(uidsOf('study', matches), asked.join(' ')).toEqual(uidsOf('study', expected));
      }
    }
  });

  it('finds what looking at everything would find', async () => {
    const records = fc.sample(anyInstance, { numRuns: Math.ceil(150 * Math.sqrt(share)), seed: 20_241 });
    await indexInstances(index(), records);
    const everything: Record<Level, readonly DicomJson[]> = { study: [], series: [], instance: [] };
    for (const level of ['study', 'series', 'instance'] as const) {
      everything[level] = (await search(level, [])).matches;
    }
    await fc.assert(
      fc.asyncProperty(anyQuery, async ({ level, asked, limit, offset, zone }) => {
        const keys = combineDateTime(asked.map(keyOf), zone);
        const expected = uidsOf(level, everything[level].filter(compileMatch(keys)));
        const page = await index().search(tenant(), { level, keys, limit, offset });
        expect(uidsOf(level, page.matches)).toEqual(expected.slice(offset, offset + limit));
        expect(page.more).toBe(expected.length > offset + limit);
        if (page.remaining !== undefined) expect(page.remaining).toBe(expected.length - offset - limit);
        // Behind any match come those that stand behind it, each once.
        const last = page.matches.at(-1);
        if (last === undefined) return;
        const rest = await index().search(tenant(), { level, keys, limit, offset: 0, after: placeOf(level, last) });
        const from = offset + page.matches.length;
        expect(uidsOf(level, rest.matches)).toEqual(expected.slice(from, from + limit));
        expect(rest.more).toBe(expected.length > from + limit);
        const further = await index().search(tenant(), { level, keys, limit, offset: 2, after: placeOf(level, last) });
        expect(uidsOf(level, further.matches)).toEqual(expected.slice(from + 2, from + 2 + limit));
      }),
      { numRuns: Math.ceil(200 * share) },
    );
  });
}

/** All words of 1 to `length` letters. */
function wordsOf(letters: readonly string[], length: number): string[] {
  if (length === 0) return [];
  const shorter = wordsOf(letters, length - 1);
  return [...letters, ...shorter.flatMap((word) => letters.map((letter) => word + letter))].filter(
    (word, i, words) => words.indexOf(word) === i,
  );
}

const word = fc.constantFrom('a', 'A', 'ab', 'ä', 'b', 'ba', 'Ba', '山', 'a b', 'a[b]', '"a', '_', "b'a", 'pa', 'a-b');
const names = fc
  .array(fc.array(fc.oneof(word, fc.constant('')), { maxLength: 3 }), { minLength: 1, maxLength: 3 })
  .map((groups) => groups.map((components) => components.join('^')));
const dates = fc.constantFrom('20240101', '20240102', '2024.01.03', '20231231', '', 'today', '20240230', ' 20240104 ');
const texts = (vr: Vr) =>
  fc.array(word, { maxLength: 2 }).map((values): DicomJson[string] => json(vr, ...values.map((value) => ` ${value} `)));

const nameOf = ([Alphabetic = '', Ideographic = '', Phonetic = '']: readonly string[]): PersonName => ({
  Alphabetic,
  Ideographic,
  Phonetic,
});

export const anyInstance: fc.Arbitrary<InstanceRecord> = fc
  .record({
    study: fc.integer({ min: 1, max: 40 }),
    series: fc.integer({ min: 1, max: 3 }),
    instance: fc.integer({ min: 1, max: 3 }),
    pack: fc.integer({ min: 1, max: 99 }),
    sopClassUid: fc.constantFrom(CT, MR, '1.2.9'),
    name: fc.array(names, { maxLength: 2 }),
    referring: fc.array(names, { maxLength: 2 }),
    patient: texts('LO'),
    accession: texts('SH'),
    description: texts('LO'),
    modality: fc.constantFrom(json('CS', 'CT'), json('CS', 'MR'), json('CS', 'CT', 'XA'), json('CS'), undefined),
    date: fc.array(dates, { maxLength: 2 }),
    time: fc.constantFrom('', '10', '1130', '235959.5'),
    zone: fc.constantFrom('+0000', '+1400', '-1200', 'CET'),
    number: fc.constantFrom(json('IS', 1), json('IS', 2), json('IS', 1, 2), json('IS', '007'), json('IS'), undefined),
  })
  .map(({ zone, number, name, referring, patient, accession, description, modality, date, time, ...wish }) =>
    instanceRecord({
      ...wish,
      attributes: {
        '00080020': json('DA', ...date),
        '00080030': json('TM', time),
        '00080201': json('SH', zone),
        '00080050': accession,
        '00080060': modality,
        '00081030': description,
        '00200011': number,
        '00400244': json('DA', ...date),
        '00400245': json('TM', time),
        '00400275': json('SQ', { '00401001': description }, { '00400009': accession, '00401001': patient }),
        '00080090': json('PN', ...referring.map(nameOf)),
        '00100010': json('PN', ...name.map(nameOf)),
        '00100030': json('DA', ...date.toReversed()),
        '00200010': accession,
        '00100020': patient,
      },
    }),
  );

/** Half of them with a chance to fit one of the names and texts above. */
const pattern = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('', '*', '?', 'a^'),
      word,
      fc.constantFrom('', '*', '?', '^', '^*', '*^', '^?', '^*b', '*\\b', '=*'),
    )
    .map((parts) => parts.join('')),
  fc
    .array(fc.oneof(word, fc.constantFrom('*', '?', '^', '=', '\\', '*')), { minLength: 1, maxLength: 5 })
    .map((parts) => parts.join('')),
);
const range = fc
  .tuple(fc.constantFrom('', '20231231', '20240101', '20240103'), fc.constantFrom('', '-', '-20240101', '-20240104'))
  .map(([from, to]) => (from === '' && to === '-' ? '' : from + to));

const studyKey: fc.Arbitrary<Asked> = fc.oneof(
  pattern.map((text): Asked => [0x00100010, 'PN', text]),
  pattern.map((text): Asked => [0x00100010, 'fuzzy', text]),
  pattern.map((text): Asked => [0x00080090, 'PN', text]),
  pattern.map((text): Asked => [0x00080090, 'fuzzy', text]),
  pattern.map((text): Asked => [0x00200010, 'SH', text]),
  range.map((text): Asked => [0x00100030, 'DA', text]),
  pattern.map((text): Asked => [0x00100020, 'LO', text]),
  pattern.map((text): Asked => [0x00080050, 'SH', text]),
  pattern.map((text): Asked => [0x00081030, 'LO', text]),
  range.map((text): Asked => [0x00080020, 'DA', text]),
  fc.constantFrom<Asked>([0x00080030, 'TM', '1000-1200'], [0x00080030, 'TM', '11'], [0x00100020, 'LO', '""']),
  fc.constantFrom('CT', 'MR\\XA', 'C*', 'US').map((text): Asked => [0x00080061, 'CS', text]),
  fc.constantFrom('1', '2\\3').map((text): Asked => [0x00201206, 'IS', text]),
  fc.constantFrom(MR, `1.2.9\\${CT}`).map((text): Asked => [0x00080062, 'UI', text]),
  fc
    .array(fc.integer({ min: 1, max: 45 }).map(studyUid), { minLength: 1, maxLength: 5 })
    .map((uids): Asked => [0x0020000d, 'UI', uids.join('\\')]),
);
const seriesKey: fc.Arbitrary<Asked> = fc.oneof(
  fc.constantFrom<Asked>([0x00080060, 'CS', 'CT'], [0x00080060, 'CS', 'XA\\MR'], [0x0008103e, 'LO', '*2']),
  pattern.map((text): Asked => [[0x00400275, 0x00401001], 'LO', text]),
  pattern.map((text): Asked => [[0x00400275, 0x00400009], 'SH', text]),
  range.map((text): Asked => [0x00400244, 'DA', text]),
  fc.constantFrom('10-12', '-10', '1130').map((text): Asked => [0x00400245, 'TM', text]),
  fc.constantFrom('1', '2,3', '7', '99').map((text): Asked => [0x00200011, 'IS', text]),
  fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 3 }))
    .map(([study, series]): Asked => [0x0020000e, 'UI', seriesUid(study, series)]),
);
const instanceKey: fc.Arbitrary<Asked> = fc.oneof(
  fc.constantFrom<Asked>([0x00080016, 'UI', MR], [0x00200013, 'IS', '2'], [0x00080016, 'UI', '1.2.9']),
  fc
    .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 3 }))
    .map(([study, series]): Asked => [0x00080018, 'UI', instanceUid(study, series, 1)]),
);

export const anyQuery = fc
  .record({
    level: fc.constantFrom<Level>('study', 'series', 'instance'),
    study: fc.uniqueArray(studyKey, { maxLength: 3, selector: ([tag]) => String(tag) }),
    series: fc.uniqueArray(seriesKey, { maxLength: 2, selector: ([tag]) => String(tag) }),
    instance: fc.uniqueArray(instanceKey, { maxLength: 2, selector: ([tag]) => String(tag) }),
    limit: fc.integer({ min: 1, max: 30 }),
    offset: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 })),
    zone: fc.constantFrom(undefined, undefined, 0, 540, -720),
  })
  .map(({ study, series, instance, ...rest }) => ({
    ...rest,
    asked: [
      ...study,
      ...(rest.level === 'study' || study.length > 1 ? [] : series),
      ...(rest.level === 'instance' ? instance.slice(series.length) : []),
    ] as Asked[],
  }));
