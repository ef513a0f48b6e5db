/**
 * The thread behind manifests.ts: reads sealed packs back, checks every byte, and stores their manifests beside them. It
 * runs when the machine has nothing better to do.
 */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { type ExpectedPack, inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import { storeManifest } from '#shared/archive/manifest.ts';
import { isArchiveError } from '#shared/errors.ts';
import { createDiskPackStore, type DiskPackStore } from './disk-pack-store.ts';

export interface ManifestWorkerSettings {
  /** Of the disk pack store. */
  readonly root: string;
}

/** Undefined: the manifest is stored, by this thread or another. */
export type ManifestAnswer = { readonly code: string; readonly message: string } | undefined;

const LOWEST_PRIORITY = 19;

async function store(packs: DiskPackStore, pack: ExpectedPack): Promise<ManifestAnswer> {
  try {
    const { manifest } = await inspectPack(packs, packKey(pack.tenant, pack.ref), pack);
    await storeManifest(packs, manifest);
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { code: isArchiveError(error) ? error.code : 'unexpected', message };
  }
}

if (parentPort !== null) {
  const port = parentPort;
  // On Linux a thread has a priority of its own (the threads for the disk are older and keep theirs); elsewhere this
  // would be the whole process.
  if (process.platform === 'linux') setPriority(0, LOWEST_PRIORITY);
  const packs = createDiskPackStore({ root: (workerData as ManifestWorkerSettings).root });
  port.on('message', async (pack: ExpectedPack) => port.postMessage(await store(packs, pack)));
}
