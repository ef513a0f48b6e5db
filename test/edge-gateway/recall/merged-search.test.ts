/**
 * Searching here and in the cloud at once equals, whatever is where and however it is paged, what looking at both and putting them
 * together would give; and it costs what is in it.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { indexInstances } from '#shared/archive/ingest.ts';
import { placeOf } from '#shared/archive/query.ts';
import type { InstanceRecord, Level } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { fuzzyNameKey, matchKey } from '#shared/dicom/matching.ts';
import { CT, instanceRecord, json, MR } from '#test/support/archive-records.ts';
import { openSite, type Site, tenant } from './recall-site.ts';

let site: Site;
let round = 0;
beforeAll(async () => {
  site = await openSite({ instances: [], inProcess: true });
});
afterAll(() => site.close());

/** Rounds share the archives: each has a patient of its own. */
const patient = (): string => `ROUND-${round}`;
const inRound = (record: InstanceRecord): InstanceRecord => {
  const uid = (text: string): string => `${text}.${round}`;
  return {
    ...record,
    studyInstanceUid: uid(record.studyInstanceUid),
    seriesInstanceUid: uid(record.seriesInstanceUid),
    sopInstanceUid: uid(record.sopInstanceUid),
    attributes: { ...record.attributes, '00100020': json('LO', patient()) },
  };
};

const wish = fc.record({
  study: fc.integer({ min: 1, max: 12 }),
  series: fc.integer({ min: 1, max: 3 }),
  instance: fc.integer({ min: 1, max: 3 }),
  pack: fc.integer({ min: 1, max: 50 }),
  sopClassUid: fc.constantFrom(CT, MR),
  where: fc.constantFrom('here', 'there', 'both'),
  date: fc.constantFrom('20240101', '20240102', '20240103', '', undefined),
});
type Wish = typeof wish extends fc.Arbitrary<infer T> ? T : never;

const recordOf = ({ date, where: _, ...rest }: Wish): InstanceRecord =>
  inRound(
    instanceRecord({
      ...rest,
      tenant,
      bytes: `${rest.study} ${rest.series} ${rest.instance}`,
      attributes: { '00080020': date === undefined ? undefined : date === '' ? json('DA') : json('DA', date) },
    }),
  );

const uidTags: Record<Level, readonly string[]> = {
  study: ['0020000D'],
  series: ['0020000D', '0020000E'],
  instance: ['0020000D', '0020000E', '00080018'],
};
const textOf = (match: DicomJson, tag: string): string => String(match[tag]?.Value?.[0] ?? '');
const nameOf = (level: Level, match: DicomJson): string => uidTags[level].map((tag) => textOf(match, tag)).join(' ');
const countOf = (level: Level, match: DicomJson): number =>
  level === 'instance' ? 0 : Number(textOf(match, level === 'study' ? '00201208' : '00201209'));

/** By its definition: what is here stands where it is here, the rest where it is there; the larger count answers. */
function union(
  level: Level,
  here: readonly DicomJson[],
  there: readonly DicomJson[],
): { name: string; count: number }[] {
  const names = new Set(here.map((match) => nameOf(level, match)));
  const place = (match: DicomJson): readonly string[] => [
    level === 'study' ? String(99_999_999 - Number(textOf(match, '00080020') || 0)).padStart(8, '0') : '',
    ...uidTags[level].map((tag) => textOf(match, tag)),
  ];
  const before = (a: readonly string[], b: readonly string[]): number => {
    const at = a.findIndex((part, i) => part !== b[i]);
    return at < 0 ? 0 : (a[at] as string) < (b[at] as string) ? -1 : 1;
  };
  return [...here, ...there.filter((match) => !names.has(nameOf(level, match)))]
    .sort((a, b) => before(place(a), place(b)))
    .map((match) => {
      const name = nameOf(level, match);
      const counts = [...here, ...there].filter((other) => nameOf(level, other) === name);
      return { name, count: Math.max(...counts.map((other) => countOf(level, other))) };
    });
}

describe('a search of both', () => {
  it('is the union, in order, on pages of any size', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(wish, { maxLength: 40 }),
        fc.constantFrom<Level>('study', 'series', 'instance'),
        fc.constantFrom(undefined, 'CT', 'MR'),
        fc.constantFrom(undefined, 'eve exampel', 'nobody'),
        fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 0, max: 30 }),
        async (wishes, level, modality, name, limits, jump) => {
          round++;
          const { index: cloud } = site.cloud.archive;
          const of = (side: Wish['where']) =>
            wishes.filter(({ where }) => where === side || where === 'both').map(recordOf);
          await indexInstances(site.index, of('here'));
          await indexInstances(
            cloud,
            of('there').map((record) => ({ ...record, tenant: site.cloud.tenant })),
          );
          const keys = [
            matchKey([0x00100020], 'LO', patient()),
            ...(name === undefined ? [] : [fuzzyNameKey([0x00100010], name)]),
            ...(modality === undefined
              ? []
              : [matchKey([level === 'study' ? 0x00080061 : 0x00080060], 'CS', modality)]),
          ];
          const query = { level, keys, limit: 1_000, offset: 0 };
          const expected = union(
            level,
            (await site.index.search(tenant, query)).matches,
            (await cloud.search(site.cloud.tenant, query)).matches,
          );
          const { index } = site.recall.archive;
          const shown = (matches: readonly DicomJson[]) =>
            matches.map((match) => ({ name: nameOf(level, match), count: countOf(level, match) }));

          const found: DicomJson[] = [];
          for (let more = true, i = 0; more; i++) {
            const page = await index.search(tenant, {
              ...query,
              limit: limits[i % limits.length]!,
              offset: found.length,
            });
            found.push(...page.matches);
            ({ more } = page);
            expect(more).toBe(found.length < expected.length);
            expect(page.incomplete).toBeUndefined();
          }
          expect(shown(found)).toEqual(expected);
          // A page that nobody has read up to.
          const page = await index.search(tenant, { ...query, limit: 3, offset: jump });
          expect(shown(page.matches)).toEqual(expected.slice(jump, jump + 3));
          expect(page.more).toBe(expected.length > jump + 3);
          // Behind a match that somebody has, whoever asks.
          const last = found[jump - 1];
          if (last === undefined) return;
          const rest = await index.search(tenant, { ...query, limit: 3, offset: 0, after: placeOf(level, last) });
          expect(shown(rest.matches)).toEqual(expected.slice(jump, jump + 3));
          expect(rest.more).toBe(expected.length > jump + 3);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('does not read through the cloud when everything it has is here too', async () => {
    round++;
    const records = Array.from({ length: 300 }, (_, study) => inRound(instanceRecord({ tenant, study })));
    await indexInstances(site.index, records);
    await indexInstances(
      site.cloud.archive.index,
      records.map((record) => ({ ...record, tenant: site.cloud.tenant })),
    );
    site.asked.length = 0;
    const keys = [matchKey([0x00100020], 'LO', patient())];
    const { index } = site.recall.archive;
    const first = await index.search(tenant, { level: 'study', keys, limit: 10, offset: 0 });
    expect([first.matches.length, first.more, site.asked.length]).toEqual([10, true, 1]);
    let count = first.matches.length;
    while (count < 300)
      count += (await index.search(tenant, { level: 'study', keys, limit: 10, offset: count })).matches.length;
    // One question for each page, whatever lies before it.
    expect(site.asked.length).toBeLessThanOrEqual(31);
  });

  it('does not read through everything for somebody who begins far behind it', async () => {
    const { index } = site.recall.archive;
    await expect(index.search(tenant, { level: 'study', keys: [], limit: 1, offset: 1e9 })).rejects.toMatchObject({
      code: 'too-large',
    });
  });

  it('goes on with what is here when the cloud goes away in the middle', async () => {
    round++;
    const of = (from: number) =>
      Array.from({ length: 10 }, (_, i) => inRound(instanceRecord({ tenant, study: 2 * i + from })));
    await indexInstances(site.index, of(1));
    await indexInstances(
      site.cloud.archive.index,
      of(2).map((record) => ({ ...record, tenant: site.cloud.tenant })),
    );
    const keys = [matchKey([0x00100020], 'LO', patient())];
    const { index } = site.recall.archive;
    const first = await index.search(tenant, { level: 'study', keys, limit: 4, offset: 0 });
    site.trick = () => Promise.reject(new Error('cut'));
    const rest = await index.search(tenant, { level: 'study', keys, limit: 100, offset: 4 });
    site.trick = undefined;
    const uids = [...first.matches, ...rest.matches].map((match) => textOf(match, '0020000D'));
    expect(new Set(uids).size).toBe(uids.length);
    for (const { studyInstanceUid } of of(1)) expect(uids).toContain(studyInstanceUid);
    expect(rest.incomplete ?? 'everything had been asked').toBeTruthy();
  });
});
