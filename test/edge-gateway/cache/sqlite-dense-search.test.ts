/**
 * Keys that too many studies meet for a list of them: the walk over all finds what looking at everything would find, names that are
 * written with and without apostrophes included.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { compileMatch, fuzzyNameKey, type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { instanceRecord, json } from '#test/support/archive-records.ts';

const tenant = 'dense';
const families = ["O'Brien", 'OBrien', 'O’Brian', 'М’який', 'Smith', 'Smyth', 'Müller-Meier', '山田', 'D Angelo', ''];
let index: SqliteIndex;
let everything: readonly DicomJson[];

beforeAll(async () => {
  index = await createSqliteIndex({ file: ':memory:', inWorker: false });
  const records = Array.from({ length: 2_100 }, (_, study) => {
    const name = `${families[study % families.length]}^${study % 2 === 0 ? 'Anna' : 'Ana'}`;
    return instanceRecord({
      tenant,
      study,
      attributes: {
        '00080030': json('TM', study % 3 === 0 ? '10' : '1130'),
        '00080090': json('PN', { Alphabetic: name }),
        '00100010': json('PN', { Alphabetic: name }),
        '00200010': json('SH', `S${study % 7}`),
      },
    });
  });
  await index.createInstances(records);
  for (const record of records) await index.recount(tenant, record);
  everything = (await index.search(tenant, { level: 'study', keys: [], limit: 3_000, offset: 0 })).matches;
});
afterAll(() => index.close());

const fuzzy = [
  'anna',
  'ana',
  'anna obr',
  'obrien ann',
  "o'bri an",
  'anna мяк',
  'an smi',
  '*nna*',
  '*rien an',
  'a*a',
  'meier anna',
];
const keys: readonly (readonly [string, readonly MatchKey[]])[] = [
  ...fuzzy.flatMap((text) => [
    [`patient ${text}`, [fuzzyNameKey([0x00100010], text)]] as const,
    [`referring ${text}`, [fuzzyNameKey([0x00080090], text)]] as const,
  ]),
  ['study IDs', [matchKey([0x00200010], 'SH', 'S*')]],
  ['half of the study IDs', [matchKey([0x00200010], 'SH', 'S1\\S2\\S3\\S4')]],
  ['times', [matchKey([0x00080030], 'TM', '11-12')]],
  ['times and names', [matchKey([0x00080030], 'TM', '11-12'), fuzzyNameKey([0x00100010], 'anna')]],
];

describe('a search that much fits', () => {
  it.each(keys)('finds everything: %s', async (_, asked) => {
    const expected = everything.filter(compileMatch(asked)).map((match) => match['0020000D']?.Value?.[0]);
    for (const level of ['study', 'series'] as const) {
      const { matches } = await index.search(tenant, { level, keys: asked, limit: 3_000, offset: 0 });
      const found = matches.map((match) => match['0020000D']?.Value?.[0]);
      expect(level === 'study' ? found : found.toSorted()).toEqual(level === 'study' ? expected : expected.toSorted());
    }
  });
});
