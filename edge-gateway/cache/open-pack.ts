/**
 * One pack while it is open: a file that is only appended to, and therefore its own write-ahead log. Each entry is one write
 * of local header and data; syncs are grouped. A write that fails is cut off again, so that what stands in the file is always
 * entries and at most one torn tail. Which instance belongs in it, and when it is sealed, others decide.
 */
import { join } from 'node:path';
import { encodeDirectory, encodeLocalHeader, type PackEntry } from '#shared/archive/pack.ts';
import type { PackRef, SeriesRef } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { CrashPoint } from './crash-point.ts';
import type { Files, OpenFile } from './files.ts';
import { PackSenders } from './pack-senders.ts';
import { SyncGroup } from './sync-group.ts';
import type { Volume } from './volume.ts';

/** What an open pack stands on. */
export interface PackGround {
  readonly files: Files;
  /** Where open packs lie. */
  readonly folder: string;
  /** Syncs that folder. */
  readonly folderSync: SyncGroup;
  readonly volume: Volume;
  readonly crashPoint: CrashPoint;
}

export type NewEntry = Pick<PackEntry, 'name' | 'crc32' | 'lengthBytes' | 'dosTime'>;

/** A pack that exists already: recovered, or streamed to disk with one large instance. */
export interface ExistingPack {
  readonly file: OpenFile;
  readonly entries: readonly PackEntry[];
}

export class OpenPack {
  readonly packId: string;
  readonly series: SeriesRef;
  readonly path: string;
  readonly createdAtMs: number;
  readonly senders = new PackSenders();
  readonly #ground: PackGround;
  readonly #entries: PackEntry[] = [];
  readonly #names = new Set<string>();
  readonly #sync: SyncGroup;
  readonly #born: Promise<void>;
  #file: OpenFile | undefined;
  #lengthBytes = 0;
  #promisedBytes = 0;
  #synced = { instanceCount: 0, lengthBytes: 0 };
  #tail: Promise<void>;
  #usable = true;

  /** Begins to make the file; whoever appends waits for it. */
  constructor(
    ground: PackGround,
    identity: { packId: string; series: SeriesRef; createdAtMs: number },
    existing?: ExistingPack,
  ) {
    this.packId = identity.packId;
    this.series = identity.series;
    this.createdAtMs = identity.createdAtMs;
    this.path = join(ground.folder, `${identity.packId}.zip`);
    this.#ground = ground;
    this.#sync = new SyncGroup(() => this.#datasync());
    if (existing === undefined) {
      this.#tail = this.#create();
      this.#born = this.#tail.then(() => this.#ground.folderSync.synced());
    } else {
      this.#file = existing.file;
      for (const entry of existing.entries) {
        this.#entries.push(entry);
        this.#names.add(entry.name);
      }
      const last = existing.entries.at(-1);
      this.#lengthBytes = last === undefined ? 0 : last.offsetBytes + last.lengthBytes;
      this.#promisedBytes = this.#lengthBytes;
      this.#synced = { instanceCount: this.#entries.length, lengthBytes: this.#lengthBytes };
      this.#tail = Promise.resolve();
      this.#born = this.#tail;
    }
    this.#tail.catch(() => {});
    this.#born.catch(() => {});
  }

  /** With the UIDs as they are, valid or not. */
  get ref(): PackRef {
    const { studyInstanceUid, seriesInstanceUid } = this.series;
    return { studyInstanceUid, seriesInstanceUid, packId: this.packId };
  }

  /** Complete entries, in their order. */
  get entries(): readonly PackEntry[] {
    return this.#entries;
  }

  /** What is in it, and what is about to be. */
  get promisedBytes(): number {
    return this.#promisedBytes;
  }

  /** What of it is on stable storage. */
  get synced(): { readonly instanceCount: number; readonly lengthBytes: number } {
    return this.#synced;
  }

  /** False after a failure that it cannot recover from: nothing more goes into it. */
  get usable(): boolean {
    return this.#usable;
  }

  /** Whether the entry may be appended: the file is well and has none of that name. */
  takes(name: string): boolean {
    return this.#usable && !this.#names.has(name);
  }

  /**
   * Appends an entry, after those appended before, and syncs it. Resolves when it is on stable storage.
   * @param data its bytes, in parts; not to be changed until this has resolved
   * @throws ArchiveError `out-of-resources`; then the entry is not in the pack
   */
  async append(entry: NewEntry, data: readonly Uint8Array[]): Promise<PackEntry> {
    this.#names.add(entry.name);
    const header = encodeLocalHeader(entry);
    this.#promisedBytes += header.length + entry.lengthBytes;
    const written = this.#tail.then(() => this.#write(entry, header, data));
    this.#tail = written.then(
      () => {},
      () => {},
    );
    let complete: PackEntry;
    try {
      complete = await written;
    } catch (error) {
      this.#names.delete(entry.name);
      this.#promisedBytes -= header.length + entry.lengthBytes;
      throw error;
    }
    this.#ground.crashPoint('after-write');
    await Promise.all([this.#sync.synced(), this.#born]);
    this.#ground.crashPoint('after-sync');
    return complete;
  }

  /** Resolves when nothing is being written. No more may be appended. */
  async settled(): Promise<void> {
    this.#usable = false;
    await this.#tail.catch(() => {});
    await this.#sync.idle();
  }

  /**
   * Ends the file with its directory, syncs and closes it: a complete ZIP file. May be tried again after a failure.
   * @throws ArchiveError `out-of-resources`
   */
  async finish(): Promise<{ lengthBytes: number }> {
    const { volume, crashPoint } = this.#ground;
    const file = this.#opened();
    const directory = encodeDirectory(this.#entries, this.#lengthBytes);
    const lengthBytes = this.#lengthBytes + directory.length;
    try {
      await file.write([directory], this.#lengthBytes);
      await file.truncate(lengthBytes);
    } catch (error) {
      throw volume.writeFailed(error, 'sealing a pack');
    }
    crashPoint('after-central-directory');
    await this.#sync.synced();
    await this.#born;
    crashPoint('after-seal-sync');
    return { lengthBytes };
  }

  /** Lets the file go; removes it if it has no entries, since nothing was acknowledged in it. */
  async close(): Promise<void> {
    this.#usable = false;
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
    if (this.#entries.length === 0) await this.#ground.files.remove(this.path);
  }

  async #create(): Promise<void> {
    try {
      this.#file = await this.#ground.files.create(this.path);
    } catch (error) {
      this.#usable = false;
      throw this.#ground.volume.writeFailed(error, 'making a pack');
    }
  }

  async #write(entry: NewEntry, header: Uint8Array, data: readonly Uint8Array[]): Promise<PackEntry> {
    this.#ground.volume.assertWritable();
    if (this.#file === undefined) throw notMade();
    const file = this.#file;
    const headerOffsetBytes = this.#lengthBytes;
    try {
      await file.write([header, ...data], headerOffsetBytes);
    } catch (error) {
      // What was written of it must not stand in the way of the next. If it cannot be cut off, there is no next one here.
      await file.truncate(headerOffsetBytes).catch(() => {
        this.#usable = false;
      });
      throw this.#ground.volume.writeFailed(error, 'storing an instance');
    }
    const complete: PackEntry = {
      ...entry,
      headerOffsetBytes,
      offsetBytes: headerOffsetBytes + header.length,
    };
    this.#entries.push(complete);
    this.#lengthBytes = complete.offsetBytes + complete.lengthBytes;
    return complete;
  }

  async #datasync(): Promise<void> {
    this.#ground.volume.assertWritable();
    this.#ground.crashPoint('before-sync');
    const covered = { instanceCount: this.#entries.length, lengthBytes: this.#lengthBytes };
    const file = this.#opened();
    try {
      await file.datasync();
    } catch (error) {
      this.#usable = false;
      this.#ground.volume.raiseFence(error, 'syncing a pack');
    }
    await this.#ground.volume.assertSynced();
    this.#synced = covered;
  }

  #opened(): OpenFile {
    if (this.#file === undefined) throw new Error(`the file of pack ${this.packId} is not open`);
    return this.#file;
  }
}

/** For those who queued behind the making of a file that failed. */
function notMade(): ArchiveError {
  return new ArchiveError(
    'out-of-resources',
    'The gateway could not make a file for the instance; send it again later.',
  );
}
