/**
 * Opens each of the engines that work on SQLite, in whatever thread this is called: the index, its second connection that
 * only reads, the queue, the storage commitments.
 * Each is loaded only where it is needed: a thread of the queue is up sooner without the index.
 */
import { openDatabase } from './sqlite-database.ts';
import { createRunner, type Runner } from './sqlite-runner.ts';
import type { EngineSpec } from './sqlite-wire.ts';

export interface OpenEngine {
  readonly run: Runner;
  close(): void;
}

/** Errors: those of openDatabase. */
export async function openEngine({ engine, file, maxReceiveCount = 5 }: EngineSpec): Promise<OpenEngine> {
  if (engine === 'queue') {
    const { createQueueEngine, queueMigrations, queueOperations } = await import('./sqlite-messages.ts');
    const database = openDatabase({ file, migrations: queueMigrations });
    const run = createRunner(database, createQueueEngine(database, maxReceiveCount), queueOperations);
    return { run, close: database.close };
  }
  if (engine === 'commitments') {
    const [{ commitmentOperations, createCommitmentEngine }, { commitmentMigrations }] = await Promise.all([
      import('../commitment/sqlite-commitments.ts'),
      import('../commitment/sqlite-schema.ts'),
    ]);
    const database = openDatabase({ file, migrations: commitmentMigrations });
    const run = createRunner(database, createCommitmentEngine(database), commitmentOperations);
    return { run, close: database.close };
  }
  const [{ createIndexEngine, indexOperations }, { indexMigrations }] = await Promise.all([
    import('./sqlite-engine.ts'),
    import('./sqlite-schema.ts'),
  ]);
  const database = openDatabase({ file, migrations: indexMigrations, readOnly: engine === 'index-reader' });
  return { run: createRunner(database, createIndexEngine(database), indexOperations), close: database.close };
}
