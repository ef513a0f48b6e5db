/**
 * Opens each of the engines that work on SQLite, in whatever thread this is called: the index, its second connection that
 * only reads, the queue.
 */
import { openDatabase } from './sqlite-database.ts';
import { createIndexEngine, createRunner, indexOperations, type Runner } from './sqlite-engine.ts';
import type { EngineSpec } from './sqlite-rpc.ts';
import { indexMigrations } from './sqlite-schema.ts';

/** Errors: those of openDatabase. */
export function openEngine({ engine, file }: EngineSpec): { readonly run: Runner; close(): void } {
  const database = openDatabase({ file, migrations: indexMigrations, readOnly: engine === 'index-reader' });
  return {
    run: createRunner(database, createIndexEngine(database), indexOperations),
    close: database.close,
  };
}
