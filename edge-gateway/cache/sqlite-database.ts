/**
 * One SQLite file: opening and migrating it, transactions that say whether they carry a promise, and SQLite's errors as
 * ArchiveErrors. Write-ahead logging: readers never wait for writers. What the tables mean is the index's and the queue's.
 */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { ArchiveError } from '#shared/errors.ts';

export interface Database {
  /** Compiled once and kept: for texts from a fixed set. */
  statement(sql: string): StatementSync;
  /** Compiled anew: for texts that a query puts together. */
  prepare(sql: string): StatementSync;
  /**
   * Runs `work` and commits, or rolls back and throws. `durable`: it is on stable storage when this returns, and with it
   * everything that was committed before; else a power cut (not a crash) may take the last commits, in order.
   */
  transaction<T>(durable: boolean, work: () => T): T;
  /** Runs `work` with SQLite's errors translated, outside of any transaction of ours. */
  guard<T>(work: () => T): T;
  close(): void;
}

export interface DatabaseOptions {
  readonly file: string;
  /**
   * Each brings the file from the version that is its position to the next. Never changed once released, only added to, and
   * each only adds: tables, and columns that may be empty, so that an earlier version goes on with the file.
   */
  readonly migrations: readonly string[];
  /** Only reads, from a file that another connection of this process has migrated. */
  readonly readOnly?: boolean;
  /** How long to wait for a lock that another connection holds. */
  readonly busyTimeoutMs?: number;
}

const CACHE_KIBIBYTES = 32 * 1024;
const LOG_LIMIT_BYTES = 64 * 1024 * 1024;

/** Errors: `unavailable` (busy, or cannot be opened), `damaged` (no SQLite database, or a broken one). */
export function openDatabase({ file, migrations, readOnly = false, busyTimeoutMs = 2_000 }: DatabaseOptions): Database {
  const sqlite = translated(() => {
    if (!readOnly) mkdirSync(dirname(file), { recursive: true });
    return new DatabaseSync(file, { timeout: busyTimeoutMs, readOnly });
  });
  try {
    translated(() => {
      sqlite.exec(`PRAGMA cache_size = -${CACHE_KIBIBYTES}; PRAGMA temp_store = MEMORY`);
      if (readOnly) return;
      sqlite.exec(
        `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${LOG_LIMIT_BYTES}`,
      );
      migrate(sqlite, migrations);
    });
  } catch (error) {
    sqlite.close();
    throw error;
  }
  return databaseOf(sqlite);
}

function migrate(sqlite: DatabaseSync, migrations: readonly string[]): void {
  sqlite.exec('BEGIN IMMEDIATE');
  try {
    const version = Number(sqlite.prepare('PRAGMA user_version').get()?.user_version);
    // More than these: a later version has added what this one need not know; were it otherwise, the folder's format would
    // have a higher number (folder-format.ts).
    for (const migration of migrations.slice(version)) sqlite.exec(migration);
    if (version < migrations.length) sqlite.exec(`PRAGMA user_version = ${migrations.length}`);
    sqlite.exec('COMMIT');
  } catch (error) {
    if (sqlite.isTransaction) sqlite.exec('ROLLBACK');
    throw error;
  }
}

function databaseOf(sqlite: DatabaseSync): Database {
  const statements = new Map<string, StatementSync>();
  let synchronous: 'FULL' | 'NORMAL' = 'FULL';
  /** After a failed sync nobody knows what the disk holds of the log's last pages: only a new start may look. */
  let fence: ArchiveError | undefined;

  const guard = <T>(work: () => T): T => {
    if (!sqlite.isOpen) throw closed();
    if (fence !== undefined) throw fence;
    return translated(work);
  };

  return {
    statement(sql) {
      let statement = statements.get(sql);
      if (statement === undefined) {
        statement = sqlite.prepare(sql);
        statements.set(sql, statement);
      }
      return statement;
    },
    prepare: (sql) => sqlite.prepare(sql),
    guard,
    transaction: (durable, work) =>
      guard(() => {
        const wanted = durable ? 'FULL' : 'NORMAL';
        if (wanted !== synchronous) {
          sqlite.exec(`PRAGMA synchronous = ${wanted}`);
          synchronous = wanted;
        }
        sqlite.exec('BEGIN IMMEDIATE');
        try {
          const result = work();
          sqlite.exec('COMMIT');
          return result;
        } catch (error) {
          if (primaryCode(error) === SQLITE_IOERR) fence = translate(error) as ArchiveError;
          if (sqlite.isTransaction) rollBack(sqlite);
          throw error;
        }
      }),
    close() {
      statements.clear();
      if (sqlite.isOpen) sqlite.close();
    },
  };
}

function rollBack(sqlite: DatabaseSync): void {
  try {
    sqlite.exec('ROLLBACK');
  } catch {
    // SQLite has rolled back by itself, or cannot: the error that led here says why.
  }
}

const closed = (): ArchiveError => new ArchiveError('unavailable', 'The database is closed; open it again to go on.');

function translated<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw translate(error);
  }
}

const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

/** The primary result code; extended ones keep more in the higher bits. */
function primaryCode(error: unknown): number | undefined {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined;
  return typeof code === 'number' ? code & 0xff : undefined;
}

/** What the machine or another process causes, as ArchiveError; anything else (a statement of ours that is wrong) as it is. */
function translate(error: unknown): unknown {
  switch (primaryCode(error)) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return new ArchiveError(
        'unavailable',
        'The database is locked by another process; only one may work on a data folder.',
        {},
        error,
      );
    case SQLITE_FULL:
      return new ArchiveError('out-of-resources', 'The disk of the database is full; make room on it.', {}, error);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return new ArchiveError('damaged', 'The database file is damaged; restore it, or move it away.', {}, error);
    case SQLITE_READONLY:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return new ArchiveError(
        'unavailable',
        'The database file cannot be read or written; check its folder and its disk, then start again.',
        {},
        error,
      );
    default:
      return error;
  }
}
