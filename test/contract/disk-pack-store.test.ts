/**
 * The disk pack store keeps the contract of PackStore. What only it can do is test/edge-gateway/cache/disk-pack-store.test.ts.
 */
/**
 * The contract of pack stores, held by the disk.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { packStoreContract } from './pack-store.ts';

packStoreContract('DiskPackStore', async () => {
  const root = await mkdtemp(join(tmpdir(), 'archipel-packs-'));
  return {
    store: createDiskPackStore({ root: join(root, 'packs') }),
    cleanup: () => rm(root, { recursive: true, force: true }),
  };
});
