/**
 * The gateway's way of an instance by itself, for c-store.ts to measure in a process of its own: DIMSE server, receiver,
 * open packs on disk, index in its worker. No uploader and no pages.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createReceiver } from '#edge-gateway/cache/receiver.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createDimseServer } from '#edge-gateway/dimse/server.ts';
import { createLogger } from '#shared/log.ts';

/** Serves until the process is told to end. */
export async function serve(folder: string, port: number): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const log = createLogger('warn', (line) => process.stderr.write(line));
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: true });
  const packs = createDiskPackStore({ root: join(folder, 'packs') });
  const receiver = await createReceiver({
    folder,
    tenant: 'bench',
    index,
    packs,
    log,
    clock: Date.now,
    limits: {},
    onSealed: () => {},
  });
  const server = await createDimseServer({ host: '127.0.0.1', port, aeTitle: 'ARCHIPEL', receiver, log });
  process.once('SIGTERM', async () => {
    await server.close();
    await receiver.close();
    await index.close();
    process.exit(0);
  });
}
