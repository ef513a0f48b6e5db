/**
 * Opens each of the engines that work on SQLite, in whatever thread this is called: the index, its second connection that
 * only reads, the queue.
 */
import { openDatabase } from './sqlite-database.ts';
import { createIndexEngine, createRunner, indexOperations, type Runner } from './sqlite-engine.ts';
import { createQueueEngine, queueMigrations, queueOperations } from './sqlite-messages.ts';
import type { EngineSpec } from './sqlite-rpc.ts';
import { indexMigrations } from './sqlite-schema.ts';

export interface OpenEngine {
  readonly run: Runner;
  close(): void;
}

/** Errors: those of openDatabase. */
export function openEngine({ engine, file, maxReceiveCount = 5 }: EngineSpec): OpenEngine {
  if (engine === 'queue') {
    const database = openDatabase({ file, migrations: queueMigrations });
    const run = createRunner(database, createQueueEngine(database, maxReceiveCount), queueOperations);
    return { run, close: database.close };
  }
  const database = openDatabase({ file, migrations: indexMigrations, readOnly: engine === 'index-reader' });
  return { run: createRunner(database, createIndexEngine(database), indexOperations), close: database.close };
}
