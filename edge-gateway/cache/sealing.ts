/**
 * From an open pack to a sealed one, in an order that survives a crash at any instant: instances indexed, directory written
 * and synced, SHA-256 taken, record durable, file moved into its place, record marked `sealed`. Each step may be repeated;
 * recovery enters at whichever was the last.
 */
import { dirname } from 'node:path';
import { packKey, packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import type { CrashPoint } from './crash-point.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import type { FileHasher } from './file-hash.ts';
import type { Files } from './files.ts';
import type { IndexFeeder } from './index-feeder.ts';
import type { OpenPack } from './open-pack.ts';
import type { Volume } from './volume.ts';

export interface SealingOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly packs: DiskPackStore;
  readonly feeder: IndexFeeder;
  readonly hasher: FileHasher;
  readonly volume: Volume;
  readonly files: Files;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly crashPoint: CrashPoint;
  readonly onSealed: (record: PackRecord) => void;
}

/** What need not be done again after a failure. */
interface Progress {
  file: { readonly sha256: string; readonly lengthBytes: number } | undefined;
  placed: boolean;
}

/** The syncs of more would hold up those that senders wait for. */
const AT_ONCE = 4;
const FIRST_RETRY_MS = 200;
const LAST_RETRY_MS = 5000;

export class Sealing {
  readonly #options: SealingOptions;
  readonly #running = new Map<OpenPack, Promise<void>>();
  readonly #pauses = new Set<() => void>();
  readonly #queue: (() => void)[] = [];
  #busy = 0;
  #stopped = false;

  constructor(options: SealingOptions) {
    this.#options = options;
  }

  /** Packs on their way. */
  get size(): number {
    return this.#running.size;
  }

  /** Seals a pack that nobody appends to any more, trying again until it is done or the gateway stops. Calling it twice is once. */
  seal(pack: OpenPack): void {
    if (this.#running.has(pack)) return;
    const run = this.#untilDone(pack).finally(() => this.#running.delete(pack));
    this.#running.set(pack, run);
  }

  /** Resolves when none is on its way: done, or left to recovery because the volume is fenced or the gateway stops. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  /** What waits to be tried again is left to recovery; what runs may end. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const wake of this.#pauses) wake();
    await this.idle();
  }

  async #untilDone(pack: OpenPack): Promise<void> {
    const { volume, log } = this.#options;
    const progress: Progress = { file: undefined, placed: false };
    for (let failures = 0; ; failures++) {
      try {
        await this.#free();
        try {
          await this.#goOn(pack, progress);
        } finally {
          this.#busy--;
          this.#queue.shift()?.();
        }
        return;
      } catch (error) {
        if (volume.fence === undefined && !this.#stopped) {
          log.warn({ err: error, packId: pack.packId }, 'sealing a pack failed; it will be tried again');
          await this.#pause(Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures));
        }
        if (volume.fence === undefined && !this.#stopped) continue;
        await pack.close().catch(() => {});
        return;
      }
    }
  }

  /** Resolves when it is this caller's turn. */
  async #free(): Promise<void> {
    while (this.#busy >= AT_ONCE) await new Promise<void>((resolve) => this.#queue.push(resolve));
    this.#busy++;
  }

  async #goOn(pack: OpenPack, progress: Progress): Promise<void> {
    const { tenant, index, packs, feeder, hasher, volume, log, nowMs, crashPoint, onSealed } = this.#options;
    await pack.settled();
    volume.assertWritable();
    await feeder.indexed(pack);
    crashPoint('before-seal');
    if (pack.entries.length === 0) {
      feeder.forget(pack);
      await pack.close();
      return;
    }
    const ref = packRefOf(pack.ref);
    if (progress.file === undefined) {
      const { lengthBytes } = await pack.finish();
      const file = await hasher.hash(pack.path);
      if (file.lengthBytes !== lengthBytes) throw new Error(`pack ${pack.packId} has another length than was written`);
      progress.file = file;
    }
    if (!progress.placed) {
      if ((await packs.adopt(packKey(tenant, ref), pack.path)) === 'exists')
        await this.#dropCopy(pack, packs.pathOf(packKey(tenant, ref)), progress.file.sha256);
      progress.placed = true;
      crashPoint('after-rename');
    }
    const record = await markSealed(index, tenant, ref, {
      ...progress.file,
      instanceCount: pack.entries.length,
      createdAtMs: pack.createdAtMs,
      sealedAtMs: nowMs(),
      ...pack.senders.facts,
    });
    crashPoint('after-sealed-mark');
    feeder.forget(pack);
    await pack.close();
    log.info({ ...ref, tenant, instances: record.instanceCount, bytes: record.lengthBytes }, 'pack sealed');
    onSealed(record);
  }

  /**
   * A crash while the file had both its names, and then a copy of the folder that knows no links (a restored backup), leave
   * two files: one is enough. Two different packs of one id cannot be; if they are, both stay where they are.
   */
  async #dropCopy(pack: OpenPack, place: string, sha256: string): Promise<void> {
    const { hasher, files } = this.#options;
    if ((await hasher.hash(place)).sha256 !== sha256)
      throw new Error(`another pack ${pack.packId} is in its place already`);
    const file = await files.open(place, 'change');
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
    await files.syncFolder(dirname(place));
    await files.remove(pack.path);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#pauses.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#pauses.add(wake);
    });
  }
}

/** Marks the record of a pack that is in its place; whatever state beyond `open` it may have by now stays. */
export async function markSealed(
  index: ArchiveIndex,
  tenant: string,
  ref: PackRef,
  facts: Required<Pick<PackRecord, 'sha256' | 'lengthBytes' | 'instanceCount' | 'createdAtMs' | 'sealedAtMs'>> &
    Pick<PackRecord, 'priority' | 'sourceAeTitles'>,
): Promise<PackRecord> {
  const { createdAtMs: _, ...change } = facts;
  const marked = await index.updatePack(tenant, ref, ['open'], { ...change, state: 'sealed' });
  if (marked !== undefined) return marked;
  const record: PackRecord = { ...ref, ...facts, tenant, state: 'sealed' };
  return (await index.createPack(record)) ?? record;
}
