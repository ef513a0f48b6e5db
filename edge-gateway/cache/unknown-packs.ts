/**
 * Sealed packs that lie on this disk and that the index does not know: it was lost and made anew, or comes from an older backup.
 * What is in them was acknowledged and may be nowhere else, so they are read, indexed and queued for upload again, in the
 * background after each start. The cloud says `archived` at once of what it has. Nothing on the disk is changed.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { indexInstances } from '#shared/archive/ingest.ts';
import { inspectPack, isFinalInspectionError } from '#shared/archive/inspect.ts';
import { packIdTimeMs, packKey, parsePackKey } from '#shared/archive/keys.ts';
import type { ArchiveIndex, PackStore } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import { errorCode } from './files.ts';

export interface UnknownPacksOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly packs: PackStore;
  /** Of `packs`. */
  readonly root: string;
  /** Whether senders need the machine at this moment. */
  readonly isBusy: () => boolean;
  /** A pack is in the index now, and waits to be uploaded. */
  readonly found: (pack: PackRecord) => void;
  readonly log: Logger;
}

export interface UnknownPacks {
  /** Resolves when everything was looked at, or `close` was called; never rejects. */
  readonly done: Promise<void>;
  close(): Promise<void>;
}

const BUSY_PAUSE_MS = 250;
const MAX_BUSY_MS = 10_000;
/** Looks once, at its own pace. */
export function findUnknownPacks(options: UnknownPacksOptions): UnknownPacks {
  const { tenant, index, packs, root, isBusy, found, log } = options;
  const stop = new AbortController();
  const { signal } = stop;
  /** Large ones take a while: `close` does not wait for their end. */
  const reads: PackStore = {
    ...packs,
    stream: async (key, range) => (await packs.stream(key, range)).pipeThrough(new TransformStream(), { signal }),
  };

  async function look(): Promise<void> {
    let taken = 0;
    for (const studyInstanceUid of await namesIn(join(root, tenant))) {
      const refs: PackRef[] = [];
      for (const seriesInstanceUid of await namesIn(join(root, tenant, studyInstanceUid)))
        for (const name of await namesIn(join(root, tenant, studyInstanceUid, seriesInstanceUid))) {
          const parts = parsePackKey(`${tenant}/${studyInstanceUid}/${seriesInstanceUid}/${name}`);
          if (parts !== undefined) refs.push(parts.ref);
        }
      if (signal.aborted) return;
      // A pack has a record before its file is in its place: what has none now is nobody's.
      const known = new Set((await index.listPacks(tenant, { studyInstanceUid })).map(({ packId }) => packId));
      for (const ref of refs) if (!known.has(ref.packId) && (await take(ref))) taken++;
    }
    if (taken > 0) log.warn({ packs: taken }, 'packs on the disk that the index did not know were taken up again');
  }

  async function take(ref: PackRef): Promise<boolean> {
    for (let waited = 0; isBusy() && waited < MAX_BUSY_MS; waited += BUSY_PAUSE_MS)
      await pause(BUSY_PAUSE_MS, undefined, { signal });
    if (signal.aborted) return false;
    const { packId } = ref;
    const createdAtMs = packIdTimeMs(packId);
    // Not now: it is as old as it is for eviction, and nothing new to route.
    const facts = { ...ref, tenant, createdAtMs, sealedAtMs: createdAtMs };
    try {
      const { manifest, instances } = await inspectPack(reads, packKey(tenant, ref), { tenant, ref });
      const { lengthBytes, sha256 } = manifest;
      const record: PackRecord = { ...facts, state: 'sealed', instanceCount: instances.length, lengthBytes, sha256 };
      await indexInstances(index, instances);
      if ((await index.createPack(record)) !== undefined) return false;
      found(record);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      log.error({ packId, err: error }, 'a pack on the disk that the index does not know cannot be taken up again');
      if (!isFinalInspectionError(error)) return false;
      const lengthBytes = (await packs.head(packKey(tenant, ref)))?.lengthBytes ?? 0;
      const reason = `The index did not know this pack, and it cannot be read again: ${error.message}`;
      // So that whoever looks at the status page knows of it.
      await index.createPack({ ...facts, state: 'rejected', instanceCount: 0, lengthBytes, reason });
      return false;
    }
  }

  const done = look().catch((error: unknown) => {
    if (!signal.aborted)
      log.warn({ err: error }, 'the disk could not be searched for packs that the index does not know');
  });
  return {
    done,
    close() {
      stop.abort();
      return done;
    },
  };
}

/** In ascending order; none where there is no such folder. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errorCode(error) ?? '')) return [];
    throw error;
  }
}
