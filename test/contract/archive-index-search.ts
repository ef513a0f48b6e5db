/**
 * What every ArchiveIndex must find, in which order, and what it must say of it: PS3.4 §C.4.1 and PS3.18 §10.6 over the
 * records of one small archive. A property at the end compares any search with looking at everything.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Query } from '#shared/archive/query.ts';
import type { InstanceRecord, Level } from '#shared/archive/records.ts';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { combineDateTime, compileMatch, type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import {
  CT,
  instanceRecord,
  instanceUid,
  json,
  MR,
  otherTenant,
  seriesUid,
  studyUid,
  tenant,
} from '../support/archive-records.ts';

type Asked = readonly [tag: number | readonly number[], vr: Vr, text: string];

const keyOf = ([tag, vr, text]: Asked): MatchKey => matchKey(typeof tag === 'number' ? [tag] : tag, vr, text);
const uidTags: Record<Level, string> = { study: '0020000D', series: '0020000E', instance: '00080018' };

const uidsOf = (level: Level, matches: readonly DicomJson[]): unknown[] =>
  matches.map((match) => match[uidTags[level]]?.Value?.[0]);

export function searchContract(index: () => ArchiveIndex): void {
  const search = (level: Level, asked: readonly Asked[], page: Partial<Query> = {}) =>
    index().search(tenant(), { level, keys: asked.map(keyOf), limit: 100, offset: 0, ...page });
  const found = async (level: Level, ...asked: Asked[]) => uidsOf(level, (await search(level, asked)).matches);
  const studies = (...numbers: number[]) => numbers.map(studyUid);

  /** Four studies: 1 Müller 2024-01, CT and MR; 2 山田 2023-06, CT; 3 Muller 2024-03, CT; 4 nameless, undated, MR. */
  const fill = () =>
    indexInstances(index(), [
      ...[1, 2, 3].map((instance) =>
        instanceRecord({
          instance,
          attributes: {
            '00100010': json('PN', { Alphabetic: 'Müller^Jürgen' }),
            '00080030': json('TM', '101500'),
            '00400275': json('SQ', { '00401001': json('SH', 'REQ-1'), '00400009': json('SH', 'STEP-1') }),
          },
        }),
      ),
      instanceRecord({ series: 2, sopClassUid: MR, transferSyntaxUid: '1.2.840.10008.1.2.4.50', pack: 2 }),
      instanceRecord({
        study: 2,
        attributes: {
          '00080020': json('DA', '20230601'),
          '00100010': json('PN', { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' }),
          '00080050': json('SH', 'ACC-77'),
        },
      }),
      instanceRecord({
        study: 3,
        attributes: { '00080020': json('DA', '2024.03.10'), '00100010': json('PN', { Alphabetic: 'MULLER^ANNA' }) },
      }),
      instanceRecord({
        study: 4,
        sopClassUid: MR,
        attributes: {
          '00080020': json('DA'),
          '00100010': undefined,
          '00080050': undefined,
          '00100020': json('LO', 'P1'),
        },
      }),
      instanceRecord({ tenant: otherTenant(), study: 9 }),
    ]);

  describe('searching', () => {
    it('finds nothing in an empty index', async () => {
      for (const level of ['study', 'series', 'instance'] as const) {
        expect(await search(level, [])).toEqual({ matches: [], more: false });
      }
    });

    it('answers studies, newest first, and those without a date last', async () => {
      await fill();
      expect(await found('study')).toEqual(studies(3, 1, 2, 4));
      expect(await found('study', [0x00100020, 'LO', ''], [0x00100010, 'PN', '*'])).toEqual(studies(3, 1, 2, 4));
    });

    it('answers series and instances by their UIDs', async () => {
      await fill();
      const series = [seriesUid(1, 1), seriesUid(1, 2), seriesUid(2, 1), seriesUid(3, 1), seriesUid(4, 1)];
      expect(await found('series')).toEqual(series);
      expect((await found('instance')).slice(0, 4)).toEqual([
        instanceUid(1, 1, 1),
        instanceUid(1, 1, 2),
        instanceUid(1, 1, 3),
        instanceUid(1, 2, 1),
      ]);
    });

    it('says everything that is known of a study', async () => {
      await fill();
      const { matches } = await search('study', [[0x0020000d, 'UI', studyUid(1)]]);
      expect(matches).toHaveLength(1);
      expect(matches[0]).toEqual({
        '00080020': json('DA', '20240115'),
        '00080030': json('TM', '101500'),
        '00080050': json('SH', 'A1'),
        '00080056': json('CS', 'ONLINE'),
        '00080061': json('CS', 'CT', 'MR'),
        '00080062': json('UI', CT, MR),
        '00100010': json('PN', { Alphabetic: 'Müller^Jürgen' }),
        '00100020': json('LO', 'P1'),
        '0020000D': json('UI', studyUid(1)),
        '00201206': json('IS', 2),
        '00201208': json('IS', 4),
      });
    });

    it('says of series and instances what is known at their level and above, in the order of the tags', async () => {
      await fill();
      const series = (await search('series', [[0x0020000e, 'UI', seriesUid(1, 2)]])).matches;
      expect(series).toHaveLength(1);
      expect(series[0]).toMatchObject({
        '00080056': json('CS', 'ONLINE'),
        '00080060': json('CS', 'MR'),
        '00080061': json('CS', 'CT', 'MR'),
        '0008103E': json('LO', 'Series 2'),
        // As the study says it, not the series' own instance.
        '00100010': json('PN', { Alphabetic: 'Müller^Jürgen' }),
        '0020000D': json('UI', studyUid(1)),
        '0020000E': json('UI', seriesUid(1, 2)),
        '00201208': json('IS', 4),
        '00201209': json('IS', 1),
      });
      expect(series[0]).not.toHaveProperty('00080018');
      const instances = (await search('instance', [[0x00080018, 'UI', instanceUid(1, 2, 1)]])).matches;
      expect(instances).toHaveLength(1);
      expect(instances[0]).toMatchObject({
        '00080016': json('UI', MR),
        '00080018': json('UI', instanceUid(1, 2, 1)),
        '00083002': json('UI', '1.2.840.10008.1.2.4.50'),
        '00100010': json('PN', { Alphabetic: 'Müller^Jürgen' }),
        '00200013': json('IS', 1),
        '00201209': json('IS', 1),
      });
      for (const match of [...series, ...instances]) expect(Object.keys(match)).toEqual(Object.keys(match).toSorted());
    });

    it('matches single values and lists', async () => {
      await fill();
      expect(await found('study', [0x00100020, 'LO', 'P1'])).toEqual(studies(1, 4));
      expect(await found('study', [0x00100020, 'LO', 'p1'])).toEqual([]);
      expect(await found('study', [0x00080050, 'SH', 'ACC-77'])).toEqual(studies(2));
      expect(await found('study', [0x0020000d, 'UI', `${studyUid(2)}\\${studyUid(3)}\\9.9`])).toEqual(studies(3, 2));
      expect(await found('study', [0x00080050, 'SH', '""'])).toEqual(studies(4));
    });

    it('matches names without case and accents, in every component group', async () => {
      await fill();
      expect(await found('study', [0x00100010, 'PN', 'MULLER^JURGEN'])).toEqual(studies(1));
      expect(await found('study', [0x00100010, 'PN', 'müller*'])).toEqual(studies(3, 1));
      expect(await found('study', [0x00100010, 'PN', '*ÜRG*'])).toEqual(studies(1));
      expect(await found('study', [0x00100010, 'PN', '山田*'])).toEqual(studies(2));
      expect(await found('study', [0x00100010, 'PN', 'm?ller^a*'])).toEqual(studies(3));
    });

    it('matches wild cards and ranges', async () => {
      await fill();
      expect(await found('study', [0x00100020, 'LO', 'P*'])).toEqual(studies(3, 1, 2, 4));
      expect(await found('study', [0x00080050, 'SH', '?CC*7'])).toEqual(studies(2));
      expect(await found('study', [0x00080020, 'DA', '20240101-20240131'])).toEqual(studies(1));
      expect(await found('study', [0x00080020, 'DA', '20240101-'])).toEqual(studies(3, 1));
      expect(await found('study', [0x00080020, 'DA', '-20240115'])).toEqual(studies(1, 2));
      expect(await found('study', [0x00080020, 'DA', '20240310'])).toEqual(studies(3));
      expect(await found('series', [0x00080020, 'DA', '20240101-'], [0x00080060, 'CS', 'CT'])).toEqual([
        seriesUid(1, 1),
        seriesUid(3, 1),
      ]);
    });

    it('matches what is derived: any of the modalities or SOP classes of the study', async () => {
      await fill();
      expect(await found('study', [0x00080061, 'CS', 'MR'])).toEqual(studies(1, 4));
      expect(await found('study', [0x00080061, 'CS', 'MR\\CT'])).toEqual(studies(3, 1, 2, 4));
      expect(await found('study', [0x00080061, 'CS', 'M*'])).toEqual(studies(1, 4));
      expect(await found('study', [0x00080062, 'UI', MR])).toEqual(studies(1, 4));
      expect(await found('study', [0x00201208, 'IS', '4'])).toEqual(studies(1));
      expect(await found('series', [0x00080061, 'CS', 'MR'], [0x00080060, 'CS', 'CT'])).toEqual([seriesUid(1, 1)]);
    });

    it('matches keys of higher levels, and in sequences', async () => {
      await fill();
      expect(await found('instance', [0x00100020, 'LO', 'P2'])).toEqual([instanceUid(2, 1, 1)]);
      expect(await found('instance', [0x0008103e, 'LO', '*2'], [0x00100010, 'PN', 'mul*'])).toEqual([
        instanceUid(1, 2, 1),
      ]);
      expect(await found('instance', [0x00200013, 'IS', '2'])).toEqual([instanceUid(1, 1, 2)]);
      expect(await found('series', [[0x00400275, 0x00401001], 'SH', 'REQ-1'])).toEqual([seriesUid(1, 1)]);
      expect(await found('series', [[0x00400275, 0x00401001], 'SH', 'REQ-2'])).toEqual([]);
      expect(await found('instance', [0x00080016, 'UI', MR], [0x0020000d, 'UI', studyUid(4)])).toEqual([
        instanceUid(4, 1, 1),
      ]);
    });

    it('pages through everything once', async () => {
      await fill();
      for (const [level, asked] of [
        ['study', []],
        ['series', []],
        ['instance', []],
        ['instance', [[0x00100010, 'PN', 'mul*'] as Asked]],
        ['series', [[0x00080060, 'CS', 'CT'] as Asked]],
      ] as const) {
        const whole = (await search(level, asked)).matches;
        for (const limit of [1, 2, 3, whole.length]) {
          const pages: DicomJson[] = [];
          for (let offset = 0, more = true; more; offset += limit) {
            const page = await search(level, asked, { limit, offset });
            expect(page.more).toBe(offset + limit < whole.length);
            pages.push(...page.matches);
            more = page.more;
          }
          expect(pages).toEqual(whole);
        }
        expect(await search(level, asked, { offset: whole.length })).toEqual({ matches: [], more: false });
      }
    });

    it('does not find conflicts, nor what is another tenant’s', async () => {
      await fill();
      await indexInstances(index(), [instanceRecord({ bytes: 'other', pack: 8, sopClassUid: MR })]);
      expect((await index().listConflicts(tenant(), 1)).count).toBe(1);
      expect(await found('instance', [0x00080018, 'UI', instanceUid(1, 1, 1)], [0x00080016, 'UI', MR])).toEqual([]);
      expect(await found('instance', [0x00080018, 'UI', instanceUid(9, 1, 1)])).toEqual([]);
      expect(await found('series', [0x0020000e, 'UI', seriesUid(9, 1)])).toEqual([]);
    });

    it('refuses keys of lower levels, attributes that are not indexed, and pages that are none', async () => {
      for (const [level, asked] of [
        ['study', [0x00080060, 'CS', 'CT']],
        ['series', [0x00080018, 'UI', '1.2']],
        ['instance', [0x00189999, 'LO', 'x']],
      ] as const) {
        await expect(search(level, [asked])).rejects.toMatchObject({ code: 'bad-request' });
        expect(await search(level, [[asked[0], asked[1], '']])).toEqual({ matches: [], more: false });
      }
      await expect(search('study', [], { limit: 0 })).rejects.toMatchObject({ code: 'bad-request' });
      await expect(search('study', [], { offset: -1 })).rejects.toMatchObject({ code: 'bad-request' });
    });

    it('finds by any pattern what looking at everything would find', async () => {
      const texts = wordsOf(['a', 'b', '^'], 3);
      await indexInstances(
        index(),
        texts.map((text, study) =>
          instanceRecord({
            study,
            attributes: { '00100010': json('PN', { Alphabetic: text }), '00100020': json('LO', text) },
          }),
        ),
      );
      const everything = (await search('study', [], { limit: 1_000 })).matches;
      expect(everything).toHaveLength(texts.length);
      for (const text of wordsOf(['a', 'b', '^', '*', '?'], 3)) {
        for (const [tag, vr] of [
          [0x00100010, 'PN'],
          [0x00100020, 'LO'],
        ] as const) {
          const expected = everything.filter(compileMatch([keyOf([tag, vr, text])]));
          expect(await found('study', [tag, vr, text]), `${vr} ${text}`).toEqual(uidsOf('study', expected));
        }
      }
    });

    it('finds what looking at everything would find', async () => {
      const records = fc.sample(anyInstance, { numRuns: 150, seed: 20_241 });
      await indexInstances(index(), records);
      const everything: Record<Level, readonly DicomJson[]> = { study: [], series: [], instance: [] };
      for (const level of ['study', 'series', 'instance'] as const) {
        everything[level] = (await search(level, [], { limit: 1_000 })).matches;
      }
      await fc.assert(
        fc.asyncProperty(anyQuery, async ({ level, asked, limit, offset }) => {
          const keys = combineDateTime(asked.map(keyOf));
          const expected = uidsOf(level, everything[level].filter(compileMatch(keys)));
          const page = await index().search(tenant(), { level, keys, limit, offset });
          expect(uidsOf(level, page.matches)).toEqual(expected.slice(offset, offset + limit));
          expect(page.more).toBe(expected.length > offset + limit);
        }),
        { numRuns: 300 },
      );
    });
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

const word = fc.constantFrom('a', 'A', 'ab', 'ä', 'b', 'ba', 'Ba', '山', 'a b', 'a[b]', '%', '_');
const names = fc
  .array(fc.array(fc.oneof(word, fc.constant('')), { maxLength: 3 }), { minLength: 1, maxLength: 3 })
  .map((groups) => groups.map((components) => components.join('^')));
const dates = fc.constantFrom('20240101', '20240102', '2024.01.03', '20231231', '', 'today', '20240230', ' 20240104 ');
const texts = (vr: Vr) =>
  fc.array(word, { maxLength: 2 }).map((values): DicomJson[string] => json(vr, ...values.map((value) => ` ${value} `)));

const anyInstance: fc.Arbitrary<InstanceRecord> = fc
  .record({
    study: fc.integer({ min: 1, max: 40 }),
    series: fc.integer({ min: 1, max: 3 }),
    instance: fc.integer({ min: 1, max: 3 }),
    pack: fc.integer({ min: 1, max: 99 }),
    sopClassUid: fc.constantFrom(CT, MR, '1.2.9'),
    name: fc.array(names, { maxLength: 2 }),
    patient: texts('LO'),
    accession: texts('SH'),
    modality: fc.constantFrom(json('CS', 'CT'), json('CS', 'MR'), json('CS', 'CT', 'XA'), json('CS'), undefined),
    date: fc.array(dates, { maxLength: 2 }),
    time: fc.constantFrom('', '10', '1130', '235959.5'),
  })
  .map(({ name, patient, accession, modality, date, time, ...wish }) =>
    instanceRecord({
      ...wish,
      attributes: {
        '00080020': json('DA', ...date),
        '00080030': json('TM', time),
        '00080050': accession,
        '00080060': modality,
        '00100010': json(
          'PN',
          ...name.map(([Alphabetic = '', Ideographic = '', Phonetic = '']) => ({ Alphabetic, Ideographic, Phonetic })),
        ),
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
  pattern.map((text): Asked => [0x00100020, 'LO', text]),
  pattern.map((text): Asked => [0x00080050, 'SH', text]),
  range.map((text): Asked => [0x00080020, 'DA', text]),
  fc.constantFrom<Asked>([0x00080030, 'TM', '1000-1200'], [0x00080030, 'TM', '11'], [0x00100020, 'LO', '""']),
  fc.constantFrom('CT', 'MR\\XA', 'C*', 'US').map((text): Asked => [0x00080061, 'CS', text]),
  fc.constantFrom(MR, `1.2.9\\${CT}`).map((text): Asked => [0x00080062, 'UI', text]),
  fc
    .array(fc.integer({ min: 1, max: 45 }).map(studyUid), { minLength: 1, maxLength: 5 })
    .map((uids): Asked => [0x0020000d, 'UI', uids.join('\\')]),
);
const seriesKey: fc.Arbitrary<Asked> = fc.oneof(
  fc.constantFrom<Asked>([0x00080060, 'CS', 'CT'], [0x00080060, 'CS', 'XA\\MR'], [0x0008103e, 'LO', '*2']),
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

const anyQuery = fc
  .record({
    level: fc.constantFrom<Level>('study', 'series', 'instance'),
    study: fc.uniqueArray(studyKey, { maxLength: 3, selector: ([tag]) => tag }),
    series: fc.uniqueArray(seriesKey, { maxLength: 2, selector: ([tag]) => tag }),
    instance: fc.uniqueArray(instanceKey, { maxLength: 2, selector: ([tag]) => tag }),
    limit: fc.integer({ min: 1, max: 30 }),
    offset: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 })),
  })
  .map(({ study, series, instance, ...rest }) => ({
    ...rest,
    asked: [
      ...study,
      ...(rest.level === 'study' || study.length > 1 ? [] : series),
      ...(rest.level === 'instance' ? instance.slice(series.length) : []),
    ] as Asked[],
  }));
