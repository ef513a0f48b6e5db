/**
 * Going to a later version and back: the folder's format number keeps out versions that would not understand it, and within
 * one format every change of a table leaves what earlier versions read and write as it was.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimFolderFormat, FOLDER_FORMAT } from '#edge-gateway/cache/folder-format.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { queueMigrations } from '#edge-gateway/cache/sqlite-messages.ts';
import { indexMigrations } from '#edge-gateway/cache/sqlite-schema.ts';
import { exitCodes, StartRefusal } from '#edge-gateway/start-refusal.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { instanceRecord, packRecord, tenant } from '#test/support/archive-records.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-upgrade-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const refusalOf = (claim: () => void): StartRefusal => {
  try {
    claim();
  } catch (error) {
    if (error instanceof StartRefusal) return error;
    throw error;
  }
  throw new Error('the folder was accepted');
};

describe('the format of a data folder', () => {
  const path = (): string => join(folder, 'format.json');

  it('is written into a new folder and known again', () => {
    claimFolderFormat(folder, '1.2.3');
    const first = readFileSync(path(), 'utf8');
    expect(JSON.parse(first)).toEqual({ format: FOLDER_FORMAT, writtenBy: '1.2.3' });
    claimFolderFormat(folder, '1.2.4');
    expect(readFileSync(path(), 'utf8')).toBe(first);
    expect(existsSync(`${path()}.new`)).toBe(false);
  });

  it('keeps out a version that does not know it, with a sentence', () => {
    const later = `{"format":${FOLDER_FORMAT + 1},"writtenBy":"9.0.0"}`;
    writeFileSync(path(), later);
    const refusal = refusalOf(() => claimFolderFormat(folder, '1.2.3'));
    expect(refusal.message).toContain('written by version 9.0.0; this version, 1.2.3, knows formats up to');
    expect(refusal.exitCode).toBe(exitCodes.laterFormat);
    expect(readFileSync(path(), 'utf8')).toBe(later);
  });

  it.each(['', '{', '{"format":"x"}', 'null'])('keeps everybody out of a folder whose number is %j', (text) => {
    writeFileSync(path(), text);
    expect(refusalOf(() => claimFolderFormat(folder, '1.2.3')).message).toContain('restore it');
  });
});

interface Column {
  readonly name: string;
  readonly type: string;
  readonly notnull: number;
  readonly dflt_value: string | null;
  readonly pk: number;
}

describe.each([
  ['index', indexMigrations],
  ['queue', queueMigrations],
])('each change of the tables of the %s', (_name, migrations) => {
  it('only adds what an earlier version need not know', () => {
    const database = new DatabaseSync(':memory:');
    const tables = (): Map<string, Map<string, Column>> => {
      const names = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all() as { name: string }[];
      const columnsOf = (table: string): [string, Column][] =>
        (database.prepare(`PRAGMA table_info(${table})`).all() as unknown as Column[]).map((column) => [
          column.name,
          column,
        ]);
      return new Map(names.map(({ name }) => [name, new Map(columnsOf(name))]));
    };
    const uniques = (): unknown[] =>
      database.prepare("SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND sql LIKE '%UNIQUE%'").all();
    for (const migration of migrations) {
      const before = tables();
      const uniquesBefore = uniques().length;
      database.exec(migration);
      const after = tables();
      for (const [table, columns] of before) {
        for (const [name, column] of columns)
          expect({ ...after.get(table)?.get(name) }).toMatchObject({ ...column, cid: expect.anything() });
        for (const [name, added] of after.get(table) ?? [])
          if (!columns.has(name))
            expect(added.notnull === 0 || added.dflt_value !== null, `${table}.${name}`).toBe(true);
      }
      if (before.size > 0) expect(uniques()).toHaveLength(uniquesBefore);
    }
    database.close();
  });
});

it('an index of the first version is taken up by this one, whole', async () => {
  const file = join(folder, 'index.sqlite');
  const first = new DatabaseSync(file);
  first.exec(indexMigrations[0] ?? '');
  first.exec('PRAGMA user_version = 1');
  const { studyInstanceUid, seriesInstanceUid, packId } = packRecord();
  first
    .prepare(
      "INSERT INTO pack (tenant, study_uid, series_uid, pack_id, state, instance_count, length_bytes, created_at_ms) VALUES (?, ?, ?, ?, 'sealed', 7, 1000, 1)",
    )
    .run(tenant(), studyInstanceUid, seriesInstanceUid, packId);
  first.close();
  const index = await createSqliteIndex({ file, inWorker: false });
  expect(await index.getPack(tenant(), packRecord())).toMatchObject({ state: 'sealed', instanceCount: 7 });
  await indexInstances(index, [instanceRecord()]);
  expect(await index.getInstance(tenant(), instanceRecord())).toEqual(instanceRecord());
  await index.close();
});
