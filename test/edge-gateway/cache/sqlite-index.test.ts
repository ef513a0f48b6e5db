/** What the SQLite index does beyond the contract of every index: files, threads, bounds. */
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '#edge-gateway/cache/sqlite-database.ts';
import { createIndexEngine } from '#edge-gateway/cache/sqlite-engine.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createLocalExecutor, createWorkerExecutor, startWorker } from '#edge-gateway/cache/sqlite-rpc.ts';
import { indexMigrations } from '#edge-gateway/cache/sqlite-schema.ts';
import { studyLookupMigration } from '#edge-gateway/cache/sqlite-study-lookup.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Level } from '#shared/archive/records.ts';
import { fuzzyNameKey, type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { instanceRecord, json, packRecord, tenant } from '../../support/archive-records.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-index-'));
  file = join(folder, 'index.sqlite');
});
afterEach(() => rm(folder, { recursive: true }));

const query = (level: 'study' | 'instance', ...keys: ReturnType<typeof matchKey>[]) => ({
  level,
  keys,
  limit: 10,
  offset: 0,
});

describe('the SQLite index', () => {
  for (const inWorker of [false, true]) {
    it(`keeps everything when it is closed and opened again (in a worker: ${inWorker})`, async () => {
      const first = await createSqliteIndex({ file, inWorker });
      const record = instanceRecord();
      await indexInstances(first, [record]);
      await first.createPack(packRecord());
      await first.close();
      const second = await createSqliteIndex({ file, inWorker });
      expect(await second.getInstance(tenant(), record)).toEqual(record);
      expect(await second.getPack(tenant(), packRecord())).toEqual(packRecord());
      expect((await second.search(tenant(), query('study'))).matches).toHaveLength(1);
      await second.close();
    });

    it(`says why it cannot be opened (in a worker: ${inWorker})`, async () => {
      writeFileSync(file, 'This is not a database. '.repeat(100));
      await expect(createSqliteIndex({ file, inWorker })).rejects.toMatchObject({
        name: 'ArchiveError',
        code: 'damaged',
        message: expect.stringContaining('damaged'),
      });
    });
  }

  it('finds at once what was written a moment ago, from its other thread', async () => {
    const index = await createSqliteIndex({ file, inWorker: true });
    for (let study = 1; study <= 20; study++) {
      await indexInstances(index, [instanceRecord({ study })]);
      const { matches } = await index.search(tenant(), query('study', matchKey([0x00100020], 'LO', `P${study}`)));
      expect(matches).toHaveLength(1);
    }
    await index.close();
  });

  it('gives records that can be copied, whole', async () => {
    const index = await createSqliteIndex({ file, inWorker: false });
    const record = instanceRecord({ attributes: { '00081030': json('LO', 'Thorax') } });
    await index.createInstances([record]);
    const found = await index.getInstance(tenant(), record);
    expect({ ...found }).toEqual(record);
    expect(structuredClone(found)).toEqual(record);
    expect(JSON.parse(JSON.stringify(found))).toEqual(record);
    await index.close();
  });

  it('finds in a file of an earlier version by what that did not look up', async () => {
    const before = indexMigrations.slice(0, indexMigrations.indexOf(studyLookupMigration));
    const older = openDatabase({ file, migrations: before });
    const attributes = { '00100010': json('PN', { Alphabetic: 'Meyer^Ann' }), '00200010': json('SH', 'S7') };
    older
      .prepare(`INSERT INTO study (tenant, study_uid, instance_count, series_count, attributes, names)
        VALUES (?, '1.2.3', 1, 1, ?, char(10) || 'meyer^ann' || char(10))`)
      .run(tenant(), JSON.stringify(attributes));
    older.close();
    const index = await createSqliteIndex({ file, inWorker: true });
    for (const key of [fuzzyNameKey([0x00100010], 'ann maier'), matchKey([0x00200010], 'SH', 'S?')])
      expect((await index.search(tenant(), query('study', key))).matches).toHaveLength(1);
    await index.close();
  });

  it('finds at once, and looks up again, what a version that knows nothing of lookups has changed', async () => {
    const first = await createSqliteIndex({ file, inWorker: false });
    await indexInstances(first, [instanceRecord(), instanceRecord({ study: 2 })]);
    await first.close();
    const older = new DatabaseSync(file);
    const changed = { '00100010': json('PN', { Alphabetic: 'Schmidt^Eva' }), '00200010': json('SH', 'NEW') };
    older
      .prepare('UPDATE study SET attributes = ?, names = ? WHERE id = 1')
      .run(JSON.stringify(changed), '\nschmidt^eva\n');
    older.prepare('DELETE FROM study_name WHERE study_id = 1').run();
    older.prepare('INSERT INTO study_name VALUES (?, ?, 1)').run(tenant(), 'schmidt^eva');
    older.prepare('UPDATE series SET attributes = ? WHERE id = 1').run(JSON.stringify({ '00200011': json('IS', 42) }));
    const isStale = () =>
      ['study_lookup', 'series_lookup'].map((table) => older.prepare(`SELECT sum(stale) AS n FROM ${table}`).get()?.n);
    expect(isStale()).toEqual([1, 1]);

    const count = async (index: Pick<ArchiveIndex, 'search'>, level: Level, ...keys: MatchKey[]) =>
      (await index.search(tenant(), { level, keys, limit: 10, offset: 0 })).matches.length;
    const found = async (index: Pick<ArchiveIndex, 'search'>) => [
      await count(index, 'study', fuzzyNameKey([0x00100010], 'smith')),
      await count(index, 'study', fuzzyNameKey([0x00100010], 'example')),
      await count(index, 'study', matchKey([0x00200010], 'SH', 'NEW')),
      await count(index, 'series', matchKey([0x00200011], 'IS', '42')),
    ];
    // Before anything is looked up again: a reader of its own.
    const database = openDatabase({ file, migrations: [], readOnly: true });
    const engine = createIndexEngine(database);
    expect(
      await found({
        search: async (...asked) => ({
          ...engine.search(...asked),
          matches: engine.search(...asked).matches.map((text) => JSON.parse(text)),
        }),
      }),
    ).toEqual([1, 1, 1, 1]);
    database.close();

    const second = await createSqliteIndex({ file, inWorker: false });
    while (isStale().some((n) => n !== 0)) await new Promise((resolve) => setImmediate(resolve));
    expect(await found(second)).toEqual([1, 1, 1, 1]);
    const words = older.prepare("SELECT count(*) AS n FROM study_word WHERE study_id = 1 AND word = 'example'").get();
    expect(words?.n).toBe(0);
    older.close();
    await second.close();
  });

  it('refuses a search that would look at too much', async () => {
    const index = await createSqliteIndex({ file, inWorker: false });
    const record = instanceRecord();
    await indexInstances(index, [record]);
    const other = new DatabaseSync(file);
    // More instances than a search may compare, without the time that storing them takes.
    other.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50010)
      INSERT INTO instance (series_id, instance_uid, conflict, sop_class_uid, transfer_syntax_uid, digest, pack_id,
        offset_bytes, length_bytes, data_set_offset_bytes, attributes)
      SELECT 1, '9.' || i, '', '1', '1', 'd', 'p', i, 1, 1, '{}' FROM n`);
    other.close();
    const search = index.search(tenant(), query('instance', matchKey([0x00200013], 'IS', '77')));
    await expect(search).rejects.toMatchObject({ code: 'too-large', message: expect.stringContaining('narrow') });
    await index.close();
  });
});

describe('an executor', () => {
  const specs = { engine: 'index', file: '' } as const;

  it('answers a batch in order, each with its own result or error', async () => {
    for (const create of [createLocalExecutor, createWorkerExecutor]) {
      const executor = await create({ ...specs, file: join(folder, `${create.name}.sqlite`) });
      const pack = packRecord();
      const answers = await Promise.allSettled([
        executor.call('createPack', pack),
        executor.call('createPack', { ...pack, packId: null }),
        executor.call('listInstances', tenant(), pack, { limit: 1, after: 'nonsense' }),
        executor.call('getPack', tenant(), pack),
        executor.call('noSuchThing'),
        executor.call('createPack', packRecord({ pack: 2 })),
        executor.call('packsInState', tenant(), 'open', { limit: 10 }),
      ]);
      expect(answers.map(({ status }) => status)).toEqual([
        'fulfilled',
        'rejected',
        'rejected',
        'fulfilled',
        'rejected',
        'fulfilled',
        'fulfilled',
      ]);
      expect(answers[2]).toMatchObject({ reason: { name: 'ArchiveError', code: 'bad-request' } });
      expect(answers[3]).toMatchObject({ value: pack });
      expect(answers[4]).toMatchObject({ reason: { message: expect.stringContaining('noSuchThing') } });
      expect(answers[6]).toMatchObject({ value: { items: [pack, packRecord({ pack: 2 })] } });
      await executor.close();
    }
  });

  it('fails what waits, and whatever comes, when its thread dies', async () => {
    const worker = startWorker({ ...specs, file });
    const executor = await createWorkerExecutor({ ...specs, file }, worker);
    const waiting = [executor.call('getPack', tenant(), packRecord()), executor.call('packTotals', tenant())];
    const ended = Promise.allSettled(waiting);
    await worker.terminate();
    for (const result of await ended) expect(result).toMatchObject({ reason: { code: 'unavailable' } });
    await expect(executor.call('packTotals', tenant())).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('died'),
    });
    await executor.close();
  });

  it('does not fail others for a request that cannot be sent', async () => {
    const executor = await createWorkerExecutor({ ...specs, file });
    await expect(executor.call('getPack', () => {})).rejects.toThrow();
    expect(await executor.call('packTotals', tenant())).toBeDefined();
    await executor.close();
  });
});
