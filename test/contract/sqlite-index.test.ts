/** The SQLite index keeps the contract of ArchiveIndex, in this thread and in threads of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { archiveIndexContract } from './archive-index.ts';

for (const inWorker of [false, true]) {
  archiveIndexContract(`the SQLite index (in a worker: ${inWorker})`, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'archipel-index-'));
    const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker });
    return { index, remove: () => rm(folder, { recursive: true }) };
  });
}
