/** The SQLite queue keeps the contract of Queue, in this thread and in one of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSqliteQueue } from '#edge-gateway/cache/sqlite-queue.ts';
import { queueContract } from './queue.ts';

for (const inWorker of [false, true]) {
  queueContract(`the SQLite queue (in a worker: ${inWorker})`, async (maxReceiveCount) => {
    const folder = await mkdtemp(join(tmpdir(), 'archipel-queue-'));
    let nowMs = 1_700_000_000_000;
    const open = () =>
      createSqliteQueue({ file: join(folder, 'queue.sqlite'), inWorker, maxReceiveCount, nowMs: () => nowMs });
    const queue = open();
    return {
      queue,
      isExact: true,
      async pass(ms) {
        nowMs += ms;
      },
      async reopen() {
        await queue.close();
        return open();
      },
      remove: () => rm(folder, { recursive: true, force: true }),
    };
  });
}
