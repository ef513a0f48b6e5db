/** Paging behind the last match answers what one page of everything answers: the same studies, each once, in the same order. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { matchesOf } from '#edge-gateway/dimse/match-pages.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { instanceRecord, json } from '#test/support/archive-records.ts';

const dates: fc.Arbitrary<DicomJson[string] | undefined> = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 1, max: 9 }).map((day) => json('DA', `2024010${day}`)) },
  { weight: 1, arbitrary: fc.constant(undefined) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(json('DA'), json('DA', '2024'), json('DA', 'unknown'), json('DA', '20240230')),
  },
  { weight: 1, arbitrary: fc.constantFrom(json('DA', '20240105', '20240102'), json('DA', '2024.01.05')) },
);

let index: ArchiveIndex;
let tenants = 0;
beforeAll(async () => {
  index = await createSqliteIndex({ file: ':memory:', inWorker: false });
});
afterAll(() => index?.close());

const uidOf = (match: DicomJson): unknown => match['0020000D']?.Value?.[0];

async function store(tenant: string, list: readonly (DicomJson[string] | undefined)[], from = 0): Promise<void> {
  const records = list.map((date, i) =>
    instanceRecord({ tenant, study: from + i, pack: from + i, attributes: { '00080020': date } }),
  );
  await indexInstances(index, records);
}

const pages = (tenant: string, keys: readonly MatchKey[], next: number) =>
  matchesOf(index, tenant, { level: 'study', keys }, () => {}, { first: 2, next });

async function all(tenant: string, keys: readonly MatchKey[], next: number) {
  const found: unknown[] = [];
  for await (const match of pages(tenant, keys, next)) found.push(uidOf(match));
  return found;
}

describe('studies, page by page', () => {
  it('are those of one page, in its order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(dates, { maxLength: 40 }),
        fc.integer({ min: 1, max: 7 }),
        fc.constantFrom('', '20240103-20240107', '-20240105', '20240102-'),
        async (list, next, range) => {
          const tenant = `t${tenants++}`;
          await store(tenant, list);
          const keys = range === '' ? [] : [matchKey([0x00080020], 'DA', range)];
          const whole = await index.search(tenant, { level: 'study', keys, limit: 1_000, offset: 0 });
          expect(await all(tenant, keys, next)).toEqual(whole.matches.map(uidOf));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are each once while others are stored', async () => {
    const tenant = `t${tenants++}`;
    const days = Array.from({ length: 60 }, (_, i) => json('DA', `202401${String(1 + (i % 28)).padStart(2, '0')}`));
    await store(tenant, [...days, undefined, undefined]);
    const found: unknown[] = [];
    let stored = 1_000;
    for await (const match of pages(tenant, [], 5)) {
      found.push(uidOf(match));
      if (found.length % 7 === 0) await store(tenant, [json('DA', '20250101')], stored++);
    }
    expect(new Set(found).size).toBe(found.length);
    expect(found.filter((uid) => Number(String(uid).split('.').at(-1)) < 1_000)).toHaveLength(62);
  });
});
