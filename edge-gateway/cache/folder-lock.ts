/**
 * One process, one data folder. The lock is a write lock on a small SQLite file: the system lets it go when the process
 * ends, however it ends, so that no stale lock ever needs a hand.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { StartRefusal } from '../start-refusal.ts';

/** @throws StartRefusal when another process works on this folder */
export function lockFolder(folder: string): { release(): void } {
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(join(folder, 'lock.sqlite'), { timeout: 0 });
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (cause) {
    database.close();
    const message = `Another process works on ${folder}; stop it first, or give this one a folder of its own.`;
    throw new StartRefusal('folderInUse', message, cause);
  }
  return { release: () => database.close() };
}
