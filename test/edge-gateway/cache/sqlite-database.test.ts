/** Opening, migrating, locking and committing one SQLite file, and what its errors become. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '#edge-gateway/cache/sqlite-database.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-database-'));
  file = join(folder, 'below', 'a.sqlite');
});
afterEach(() => rmSync(folder, { recursive: true }));

const migrations = ['CREATE TABLE a (n INTEGER PRIMARY KEY) STRICT', 'ALTER TABLE a ADD COLUMN t TEXT'];
const errorOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

describe('a database', () => {
  it('is made with its folder, and brought to the newest version once', () => {
    openDatabase({ file, migrations: migrations.slice(0, 1) }).close();
    const database = openDatabase({ file, migrations });
    database.transaction(true, () => database.statement('INSERT INTO a (n, t) VALUES (?, ?)').run(1, 'x'));
    database.close();
    const again = openDatabase({ file, migrations });
    expect(again.guard(() => again.statement('SELECT t FROM a').all())).toMatchObject([{ t: 'x' }]);
    again.close();
  });

  it('to which a later version added goes on to serve, and is not taken back', () => {
    openDatabase({ file, migrations }).close();
    const older = openDatabase({ file, migrations: migrations.slice(0, 1) });
    expect(older.prepare('PRAGMA user_version').get()).toMatchObject({ user_version: migrations.length });
    older.close();
    openDatabase({ file, migrations }).close();
  });

  it('keeps the old version when a migration fails', () => {
    openDatabase({ file, migrations }).close();
    expect(
      errorOf(() => openDatabase({ file, migrations: [...migrations, 'CREATE TABLE b (x) STRICT'] })),
    ).toBeInstanceOf(Error);
    openDatabase({ file, migrations }).close();
  });

  it('that is none is damaged', () => {
    const other = join(folder, 'other.sqlite');
    writeFileSync(other, 'This is not a database. '.repeat(100));
    expect(errorOf(() => openDatabase({ file: other, migrations }))).toMatchObject({ code: 'damaged' });
  });

  it('that cannot be made is unavailable', () => {
    expect(errorOf(() => openDatabase({ file: folder, migrations }))).toMatchObject({ code: 'unavailable' });
  });

  it('locked by another is unavailable after a while, not for ever, and works again when the lock is gone', () => {
    const database = openDatabase({ file, migrations, busyTimeoutMs: 20 });
    const other = new DatabaseSync(file);
    other.exec('BEGIN IMMEDIATE');
    const insert = () => database.transaction(false, () => database.statement('INSERT INTO a (n) VALUES (1)').run());
    expect(errorOf(insert)).toMatchObject({ code: 'unavailable', message: expect.stringContaining('locked') });
    expect(errorOf(() => openDatabase({ file, migrations, busyTimeoutMs: 20 }))).toMatchObject({ code: 'unavailable' });
    other.exec('ROLLBACK');
    other.close();
    expect(insert()).toMatchObject({ changes: 1 });
    database.close();
  });

  it('rolls back what fails, and says why', () => {
    const database = openDatabase({ file, migrations });
    const fails = () =>
      database.transaction(true, () => {
        database.statement('INSERT INTO a (n) VALUES (1)').run();
        throw new RangeError('of ours');
      });
    expect(errorOf(fails)).toBeInstanceOf(RangeError);
    expect(database.statement('SELECT count(*) AS n FROM a').get()).toMatchObject({ n: 0 });
    database.close();
    expect(errorOf(() => database.guard(() => 1))).toMatchObject({ code: 'unavailable' });
  });

  it('syncs what carries a promise, and only that, on every commit', () => {
    const database = openDatabase({ file, migrations });
    const synchronous = () => database.prepare('PRAGMA synchronous').get()?.synchronous;
    const seen = [true, false, false, true].map((durable) => {
      database.transaction(durable, () => {});
      return synchronous();
    });
    // FULL is 2, NORMAL is 1.
    expect(seen).toEqual([2, 1, 1, 2]);
    expect(database.prepare('PRAGMA journal_mode').get()).toMatchObject({ journal_mode: 'wal' });
    database.close();
  });

  it('that is full is out of resources', () => {
    const database = openDatabase({ file, migrations });
    database.prepare('PRAGMA max_page_count = 5').get();
    const insert = () =>
      database.transaction(true, () => database.statement('INSERT INTO a (t) VALUES (?)').run('x'.repeat(100_000)));
    expect(errorOf(insert)).toMatchObject({ code: 'out-of-resources' });
    database.close();
  });
});
