/**
 * The DynamoDB index where its contract does not reach: what goes wrong on the way (threat F14), the same end as SQLite's whatever the order, who
 * is found by what, and what a search may cost.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createDynamoIndex } from '#functions/aws/dynamo-index.ts';
import type { Timing } from '#functions/aws/retry.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { placeOf, type Query } from '#shared/archive/query.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { combineDateTime, matchKey } from '#shared/dicom/matching.ts';
import { anyInstance, anyQuery, keyOf } from '#test/contract/archive-index-search-properties.ts';
import {
  CT,
  type InstanceWish,
  instanceRecord,
  json,
  MR,
  newTenant,
  packRecord,
  seriesUid,
  studyUid,
  tenant,
} from '#test/support/archive-records.ts';
import { createTestTable, type TestTable } from '#test/support/dynamo.ts';
import { createFaultyWay, type Fault } from '#test/support/dynamo-faults.ts';

/** Of random records and searches, each of which is many requests: a few, or as many as others have with ARCHIPEL_ALL_SEARCHES=1. */
const runs = process.env.ARCHIPEL_ALL_SEARCHES === undefined ? 4 : 100;
if (runs > 4) vi.setConfig({ testTimeout: 600_000 });

let table: TestTable;
let index: ArchiveIndex;
beforeAll(async () => {
  table = await createTestTable();
  index = createDynamoIndex(table);
});
beforeEach(newTenant);
afterAll(async () => {
  await index.close();
  await table.remove();
});

/** A clock that goes on only while somebody waits. */
function quickTiming(): Timing & { waitedMs: number } {
  const timing = {
    waitedMs: 0,
    nowMs: () => timing.waitedMs,
    random: () => 0.5,
    sleep: (ms: number) => {
      timing.waitedMs += ms;
      return Promise.resolve();
    },
  };
  return timing;
}

async function withFaults<T>(
  faultOf: (operation: string) => Fault | undefined,
  work: (index: ArchiveIndex, timing: { waitedMs: number }) => Promise<T>,
): Promise<T> {
  const way = await createFaultyWay(String(table.client.endpoint), faultOf);
  const timing = quickTiming();
  const faulty = createDynamoIndex({ ...table, client: { ...table.client, endpoint: way.endpoint }, timing });
  try {
    return await work(faulty, timing);
  } finally {
    await faulty.close();
    await way.close();
  }
}

/** The first request of an operation has this fault, the others have none. */
function onceFor(operation: string, fault: Fault): (asked: string) => Fault | undefined {
  let isDone = false;
  return (asked) => {
    if (asked !== operation || isDone) return undefined;
    isDone = true;
    return fault;
  };
}

describe('what goes wrong on the way', () => {
  it('is tried again, and who has written is told so though his answer was lost', async () => {
    for (const fault of ['throttled', 'broken', 'done-but-broken', 'answer-lost'] as const) {
      newTenant();
      const record = instanceRecord({ pack: 5 });
      await withFaults(onceFor('PutItem', fault), async (faulty) => {
        expect(await faulty.createInstances([record]), fault).toEqual([undefined]);
      });
      const earlier = instanceRecord({ pack: 3, bytes: 'earlier' });
      await withFaults(onceFor('PutItem', fault), async (faulty) => {
        expect(await faulty.replaceCurrent(earlier, record), fault).toBe(true);
        expect(await faulty.replaceCurrent(record, record), fault).toBe(false);
      });
      await withFaults(onceFor('DeleteItem', fault), async (faulty) => {
        expect(await faulty.deleteCurrent(earlier), fault).toBe(true);
        expect(await faulty.deleteCurrent(earlier), fault).toBe(false);
      });
      await index.createPack(packRecord());
      await withFaults(onceFor('UpdateItem', fault), async (faulty) => {
        const change = { state: 'sealed', sealedAtMs: 7 } as const;
        expect(await faulty.updatePack(tenant(), packRecord(), ['open'], change), fault).toMatchObject(change);
        expect(await faulty.updatePack(tenant(), packRecord(), ['open'], change), fault).toBeUndefined();
      });
    }
  });

  it('is waited for with longer and longer pauses, but not for ever', async () => {
    await withFaults(
      () => 'throttled',
      async (faulty, timing) => {
        await expect(faulty.getInstance(tenant(), instanceRecord())).rejects.toMatchObject({
          code: 'unavailable',
          details: { retryAfterSeconds: 60 },
        });
        expect(timing.waitedMs).toBeGreaterThan(10_000);
        expect(timing.waitedMs).toBeLessThan(20_000);
      },
    );
  });

  it('is said of a table that is not there, and of nobody listening', async () => {
    const elsewhere = createDynamoIndex({ ...table, tableName: 'not-deployed' });
    await expect(elsewhere.getPack(tenant(), packRecord())).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('ResourceNotFoundException'),
    });
    await elsewhere.close();
    const client = { ...table.client, endpoint: 'http://127.0.0.1:1' };
    const nobody = createDynamoIndex({ ...table, client, timing: quickTiming() });
    await expect(nobody.getPack(tenant(), packRecord())).rejects.toMatchObject({ code: 'unavailable' });
    await nobody.close();
  });

  it('leaves exact counts behind a storm of throttles, breaks, lost answers and half batches', async () => {
    let seed = 7;
    const next = (): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    const faults: readonly Fault[] = ['throttled', 'broken', 'done-but-broken', 'answer-lost', 'half'];
    const records = Array.from({ length: 24 }, (_, i) =>
      instanceRecord({ series: 1 + (i % 3), instance: i, pack: 1 + (i % 5), sopClassUid: i % 2 === 0 ? CT : MR }),
    );
    await withFaults(
      () => (next() < 0.2 ? faults[Math.floor(next() * faults.length)] : undefined),
      async (faulty) => {
        const batches = [records.slice(0, 16), records.slice(8), records.slice(4, 20)];
        await Promise.all(batches.map((batch) => indexInstances(faulty, batch)));
        const found = await faulty.search(tenant(), { level: 'instance', keys: [], limit: 100, offset: 0 });
        expect(found.matches).toHaveLength(24);
      },
    );
    const before = await stateOf(index, [1]);
    expect(before.studies[0]).toMatchObject({ instanceCount: 24, seriesCount: 3, modalities: ['CT', 'MR'] });
    for (const series of [1, 2, 3])
      await index.recount(tenant(), { studyInstanceUid: studyUid(1), seriesInstanceUid: seriesUid(1, series) });
    expect(await stateOf(index, [1])).toEqual(before);
  });
});

/** What an index says of some studies, in all ways. */
async function stateOf(of: ArchiveIndex, numbers: readonly number[]) {
  const refs = numbers.map((study) => ({ studyInstanceUid: studyUid(study) }));
  const all: Omit<Query, 'level'> = { keys: [], limit: 1_000, offset: 0 };
  return {
    studies: await Promise.all(refs.map((ref) => of.getStudy(tenant(), ref))),
    series: await Promise.all(refs.map((ref) => of.listSeries(tenant(), ref))),
    instances: await Promise.all(refs.map((ref) => of.listInstances(tenant(), ref, { limit: 1_000 }))),
    conflicts: await of.listConflicts(tenant(), 1_000),
    found: [
      await of.search(tenant(), { level: 'study', ...all }),
      await of.search(tenant(), { level: 'series', ...all }),
      await of.search(tenant(), { level: 'instance', ...all }),
    ],
  };
}

describe('records in any order, any number of times, from many at once', () => {
  it('end as in the SQLite index, where they came in order, once', async () => {
    // As in another process: it knows nothing of what the first one is about to write.
    const other = createDynamoIndex(table);
    const wish = fc.record({
      study: fc.integer({ min: 1, max: 2 }),
      series: fc.integer({ min: 1, max: 2 }),
      instance: fc.integer({ min: 1, max: 3 }),
      bytes: fc.constantFrom('a', 'b'),
      pack: fc.integer({ min: 1, max: 4 }),
      sopClassUid: fc.constantFrom(CT, MR),
    });
    const named = (one: InstanceWish & { readonly pack: number }): InstanceRecord =>
      instanceRecord({
        ...one,
        attributes: { '00100010': json('PN', { Alphabetic: `Name^${one.pack}${one.bytes}` }) },
      });
    await withSqlite(async (sqlite) => {
      await fc.assert(
        fc.asyncProperty(
          fc.uniqueArray(wish, {
            minLength: 1,
            maxLength: 8,
            selector: (one) => `${one.study}${one.series}${one.instance}${one.pack}`,
          }),
          fc.array(fc.array(fc.nat(), { minLength: 1, maxLength: 4 }), { maxLength: 3 }),
          async (wishes, picks) => {
            newTenant();
            const records = wishes.map(named);
            await indexInstances(sqlite, records);
            const batches = [
              ...picks.map((some) => some.map((pick) => records[pick % records.length]!)),
              records.toReversed(),
            ];
            await Promise.all(batches.map((batch, i) => indexInstances(i % 2 === 0 ? index : other, batch)));
            expect(await stateOf(index, [1, 2])).toEqual(await stateOf(sqlite, [1, 2]));
          },
        ),
        { numRuns: runs },
      );
    });
    await other.close();
  });
});

async function withSqlite(work: (sqlite: ArchiveIndex) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'archipel-dynamo-'));
  const sqlite = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  try {
    await work(sqlite);
  } finally {
    await sqlite.close();
    await rm(folder, { recursive: true });
  }
}

describe('a search', () => {
  it('answers what the SQLite index answers, in the same order', async () => {
    await withSqlite(async (sqlite) => {
      const records = fc.sample(anyInstance, { numRuns: runs * 8, seed: 7 });
      for (const one of [index, sqlite]) await indexInstances(one, records);
      await fc.assert(
        fc.asyncProperty(anyQuery, async ({ level, asked, limit, offset, zone }) => {
          const query: Query = { level, keys: combineDateTime(asked.map(keyOf), zone), limit, offset };
          const [ours, theirs] = await Promise.all([index.search(tenant(), query), sqlite.search(tenant(), query)]);
          expect(ours.matches).toEqual(theirs.matches);
          expect(ours.more).toBe(theirs.more);
        }),
        { numRuns: runs * 3 },
      );
    });
  });
});

describe('UIDs that are none', () => {
  it('are listed and paged in the order of their bytes, whatever is in them', async () => {
    const uids = [' 1', '#', '$', '1.2', '1.2 ', '1.2#3', '1.2.3', 'Ａ', '😀', 'é'];
    const sorted = uids.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const records = uids.map((seriesInstanceUid) => ({ ...instanceRecord(), seriesInstanceUid }));
    await indexInstances(index, records);
    const study = { studyInstanceUid: studyUid(1) };
    const found: string[] = [];
    for await (const items of pagesOf((from) => index.listInstances(tenant(), study, { limit: 1, ...from })))
      found.push(...items.map(({ seriesInstanceUid }) => seriesInstanceUid));
    expect(found).toEqual(sorted);
    const query: Query = { level: 'instance', keys: [], limit: 4, offset: 0 };
    const shown: unknown[] = [];
    let page = await index.search(tenant(), query);
    for (;;) {
      shown.push(...page.matches.map((match) => match['0020000E']?.Value?.[0]));
      if (!page.more) break;
      page = await index.search(tenant(), { ...query, after: placeOf('instance', page.matches.at(-1)!) });
    }
    expect(shown).toEqual(sorted);
  });
});

describe('what leads to a study', () => {
  const ask = async (tag: number, vr: 'LO' | 'PN', text: string) => {
    const { matches } = await index.search(tenant(), {
      level: 'study',
      keys: [matchKey([tag], vr, text)],
      limit: 9,
      offset: 0,
    });
    return matches.map((match) => match['0020000D']?.Value?.[0]);
  };
  const named = (name: string, patientId: string, pack: number) =>
    instanceRecord({
      pack,
      instance: pack,
      attributes: { '00100010': json('PN', { Alphabetic: name }), '00100020': json('LO', patientId) },
    });

  it('follows what it says: an earlier arrival brings another name, a deletion none', async () => {
    const late = named('Later^Name', 'L1', 5);
    const early = named('Earlier^Name', 'E1', 3);
    await indexInstances(index, [late]);
    expect(await ask(0x00100010, 'PN', 'later*')).toEqual([studyUid(1)]);
    await indexInstances(index, [early]);
    expect(await ask(0x00100010, 'PN', 'later*')).toEqual([]);
    expect(await ask(0x00100020, 'LO', 'L1')).toEqual([]);
    expect(await ask(0x00100010, 'PN', 'earlier*')).toEqual([studyUid(1)]);
    for (const record of [early, late]) await index.deleteCurrent(record);
    await index.recount(tenant(), early);
    expect(await ask(0x00100020, 'LO', 'E1')).toEqual([]);
  });

  it('is found whatever is asked for where there is too much to say', async () => {
    const ids = Array.from({ length: 40 }, (_, i) => `ID${i}`);
    const words = Array.from({ length: 40 }, (_, i) => `Word${String.fromCodePoint(97 + i)}x`).join(' ');
    const record = instanceRecord({
      attributes: { '00100010': json('PN', { Alphabetic: words }), '00100020': json('LO', ...ids) },
    });
    await indexInstances(index, [record]);
    expect(await ask(0x00100020, 'LO', 'ID39')).toEqual([studyUid(1)]);
    expect(await ask(0x00100020, 'LO', 'ID3*')).toEqual([studyUid(1)]);
    expect(await ask(0x00100020, 'LO', 'ID99')).toEqual([]);
    expect(await ask(0x00100010, 'PN', `${words.slice(0, 20)}*`)).toEqual([studyUid(1)]);
  });

  it('is cut short in keys alone: longer names and IDs, and UIDs that are none, are told apart', async () => {
    const long = 'Y'.repeat(1_500);
    const odd: InstanceRecord = { ...named(`${long}A`, `${long}1`, 1), studyInstanceUid: `${'1'.repeat(400)} #$` };
    const other: InstanceRecord = { ...named(`${long}B`, `${long}2`, 1), studyInstanceUid: `${'1'.repeat(400)} #%` };
    await indexInstances(index, [odd, other]);
    expect(await ask(0x00100020, 'LO', `${long.slice(0, 1_000)}*`)).toHaveLength(2);
    expect(await ask(0x00100020, 'LO', `${long}1`)).toEqual([odd.studyInstanceUid]);
    expect(await ask(0x00100010, 'PN', `*YB`)).toEqual([other.studyInstanceUid]);
    expect(await index.getStudy(tenant(), odd)).toMatchObject({ studyInstanceUid: odd.studyInstanceUid });
    const { matches } = await index.search(tenant(), { level: 'series', keys: [], limit: 9, offset: 0 });
    expect(matches).toHaveLength(2);
  });
});

describe('what a search costs', () => {
  it('is bounded, page by page, and a page of the list is one query', async () => {
    const units: { operation: string; units: number }[] = [];
    const counted = createDynamoIndex({ ...table, observe: (call) => units.push(call) });
    await indexInstances(
      index,
      Array.from({ length: 24 }, (_, study) =>
        instanceRecord({ study, attributes: { '00080020': json('DA', '20240115') } }),
      ),
    );
    const query: Query = { level: 'study', keys: [], limit: 10, offset: 0 };
    const first = await counted.search(tenant(), query);
    expect(units.map(({ operation }) => operation)).toEqual(['QueryCommand', 'QueryCommand']);
    expect(units.reduce((sum, call) => sum + call.units, 0)).toBeLessThan(6);
    units.length = 0;
    const second = await counted.search(tenant(), { ...query, after: placeOf('study', first.matches.at(-1)!) });
    expect(units.reduce((sum, call) => sum + call.units, 0)).toBeLessThan(6);
    const uids = [...first.matches, ...second.matches].map((match) => match['0020000D']?.Value?.[0]);
    expect(new Set(uids).size).toBe(20);
    await counted.close();
  });
});
