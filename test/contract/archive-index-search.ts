/**
 * What every ArchiveIndex must find, in which order, and what it must say of it: PS3.4 §C.4.1 and PS3.18 §10.6 over the
 * records of one small archive. archive-index-search-properties.ts compares any search with looking at everything.
 */
import { describe, expect, it } from 'vitest';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { placeOf, type Query } from '#shared/archive/query.ts';
import type { Level } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
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
import { type Asked, keyOf, searchProperties, uidsOf } from './archive-index-search-properties.ts';

export function searchContract(index: () => ArchiveIndex, share: number): void {
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

    it('matches names fuzzily: as they sound, in any order, as they begin', async () => {
      await fill();
      expect(await found('study', [0x00100010, 'fuzzy', 'Miller'])).toEqual(studies(3, 1));
      expect(await found('study', [0x00100010, 'fuzzy', 'juergen mueller'])).toEqual(studies(1));
      expect(await found('study', [0x00100010, 'fuzzy', 'ann mul'])).toEqual(studies(3));
      expect(await found('study', [0x00100010, 'fuzzy', '太郎'])).toEqual(studies(2));
      expect(await found('study', [0x00100010, 'fuzzy', '*ler*'])).toEqual(studies(3, 1));
      expect(await found('study', [0x00100010, 'fuzzy', 'nobody'])).toEqual([]);
      expect(await found('series', [0x00100010, 'fuzzy', 'Mueller'], [0x00080060, 'CS', 'MR'])).toEqual([
        seriesUid(1, 2),
      ]);
    });

    it('goes on behind a match, whatever is stored before it meanwhile', async () => {
      await fill();
      const first = await search('study', [], { limit: 2 });
      await indexInstances(index(), [instanceRecord({ study: 5, attributes: { '00080020': json('DA', '20240601') } })]);
      const after = placeOf('study', first.matches[1]!);
      const rest = await search('study', [], { after });
      expect(uidsOf('study', [...first.matches, ...rest.matches])).toEqual(studies(3, 1, 2, 4));
      await expect(search('series', [], { after })).rejects.toMatchObject({ code: 'bad-request' });
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

    searchProperties(index, share);
  });
}
