/**
 * A large instance on its way to disk: streamed as it arrives into a file `<name>.part`, which becomes a pack of its own when
 * the instance is complete. The local header is written last, in the place left free for it, and the name is given after the
 * sync: whatever a crash leaves of it before that was never acknowledged and is recognised by its name.
 */
import { join } from 'node:path';
import { encodeLocalHeader, type PackEntry, RESERVED_HEADER_BYTES } from '#shared/archive/pack.ts';
import type { SeriesRef } from '#shared/archive/records.ts';
import type { OpenFile } from './files.ts';
import { type NewEntry, OpenPack, type PackGround } from './open-pack.ts';
import { SyncGroup } from './sync-group.ts';

export const PART_SUFFIX = '.part';

/** Dirty pages are written back this often, so that the sync at the end does not wait for gigabytes. */
const SYNC_EVERY_BYTES = 64 * 1024 * 1024;

export class OwnPack {
  readonly #ground: PackGround;
  readonly #path: string;
  readonly #sync: SyncGroup;
  #file: OpenFile | undefined;
  #lengthBytes = RESERVED_HEADER_BYTES;
  #unsyncedBytes = 0;
  #tail: Promise<void>;
  #dropped = false;

  /** @param name free in the folder of open packs */
  constructor(ground: PackGround, name: string) {
    this.#ground = ground;
    this.#path = join(ground.folder, name + PART_SUFFIX);
    this.#sync = new SyncGroup(() => this.#datasync());
    this.#tail = ground.files.create(this.#path).then(
      (file) => {
        this.#file = file;
      },
      (error: unknown) => {
        throw ground.volume.writeFailed(error, 'making a pack');
      },
    );
    this.#tail.catch(() => {});
  }

  /** Appends the next bytes of the Part 10 file; resolves when they are written. Error: `out-of-resources`. */
  write(buffers: readonly Uint8Array[], lengthBytes: number): Promise<void> {
    this.#tail = this.#tail.then(async () => {
      const { volume } = this.#ground;
      const written = await volume.claim(lengthBytes);
      try {
        await this.#opened().write(buffers, this.#lengthBytes);
      } catch (error) {
        throw volume.writeFailed(error, 'storing an instance');
      } finally {
        written();
      }
      this.#lengthBytes += lengthBytes;
      this.#unsyncedBytes += lengthBytes;
      if (this.#unsyncedBytes < SYNC_EVERY_BYTES) return;
      this.#unsyncedBytes = 0;
      // Not waited for: if it fails, the volume is fenced, and the next write or the end will say so.
      this.#sync.synced().catch(() => {});
    });
    this.#tail.catch(() => {});
    return this.#tail;
  }

  /** The instance is complete: header, sync, name. Resolves when it is on stable storage as a pack. Error: `out-of-resources`. */
  async complete(
    identity: { packId: string; series: SeriesRef; createdAtMs: number },
    entry: NewEntry,
  ): Promise<{ pack: OpenPack; entry: PackEntry }> {
    const { files, volume, crashPoint, folderSync } = this.#ground;
    await this.#tail;
    const file = this.#opened();
    try {
      await file.write([encodeLocalHeader(entry, { reserved: true })], 0);
    } catch (error) {
      throw volume.writeFailed(error, 'storing an instance');
    }
    crashPoint('after-write');
    await this.#sync.synced();
    const complete = { ...entry, headerOffsetBytes: 0, offsetBytes: RESERVED_HEADER_BYTES };
    const pack = new OpenPack(this.#ground, identity, { file, entries: [complete] });
    try {
      await files.rename(this.#path, pack.path);
    } catch (error) {
      throw volume.writeFailed(error, 'naming a pack');
    }
    // From here on the file is the pack's: if the folder's sync fails, a restart will judge it.
    this.#file = undefined;
    await folderSync.synced();
    crashPoint('after-sync');
    return { pack, entry: complete };
  }

  /** The instance is not wanted, or could not be written: nothing is left of it. Never rejects. */
  async drop(): Promise<void> {
    if (this.#dropped) return;
    this.#dropped = true;
    await this.#tail.catch(() => {});
    await this.#sync.idle();
    const file = this.#file;
    this.#file = undefined;
    if (file === undefined) return;
    await file.close().catch(() => {});
    await this.#ground.files.remove(this.#path).catch(() => {});
  }

  async #datasync(): Promise<void> {
    const { volume, crashPoint } = this.#ground;
    volume.assertWritable();
    crashPoint('before-sync');
    const file = this.#opened();
    try {
      await file.datasync();
    } catch (error) {
      volume.raiseFence(error, 'syncing a pack');
    }
    await volume.assertSynced();
  }

  #opened(): OpenFile {
    if (this.#file === undefined) throw new Error('the file of an instance is not open');
    return this.#file;
  }
}
