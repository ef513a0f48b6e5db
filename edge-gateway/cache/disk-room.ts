/**
 * How much room the volume under the data folder has, for everybody who asks: measured at most once a second, what was
 * promised since and is not written yet counted. Three marks: below the first what is archived is evicted, below the
 * second instances are refused, below the third associations are. It only measures: all of them recover by themselves.
 */
import { ArchiveError } from '#shared/errors.ts';
import type { Files } from './files.ts';

export interface Watermarks {
  /** Below it archived packs are evicted. */
  readonly evictBelowBytes: number;
  /** Below it instances are refused (A700H). */
  readonly reserveBytes: number;
  /** Below it associations are rejected. */
  readonly rejectBelowBytes: number;
}

export interface DiskRoomOptions {
  readonly files: Files;
  /** On the volume; may be made later than this. */
  readonly folder: string;
  readonly marks: Watermarks;
  /** Milliseconds that only grow (performance.now). */
  readonly elapsedMs?: () => number;
}

const SPACE_AGE_MS = 1_000;
/** So that what is asked without waiting (takesAssociations) is never older. */
const WATCH_MS = 2_000;
/** A volume can run out of files before it runs out of bytes: below so many, or a tenth of all, packs are evicted. */
const EVICT_BELOW_FILES = 10_000;
/** And below so many, or a hundredth, instances are refused: the index and the manifests need some as well. */
const RESERVE_FILES = 1_000;

export class DiskRoom {
  readonly marks: Watermarks;
  readonly #files: Files;
  readonly #folder: string;
  readonly #elapsedMs: () => number;
  #freeBytes = 0;
  #totalBytes = 0;
  #freeFiles = Number.POSITIVE_INFINITY;
  #totalFiles = 0;
  /** Promised and not written. */
  #claimedBytes = 0;
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  #measuring: Promise<void> | undefined;
  #watch: NodeJS.Timeout | undefined;

  constructor({ files, folder, marks, elapsedMs = () => performance.now() }: DiskRoomOptions) {
    this.marks = marks;
    this.#files = files;
    this.#folder = folder;
    this.#elapsedMs = elapsedMs;
  }

  /** Measures now and every two seconds from now on, until `close`. Error: that of the disk, the first time. */
  async watch(): Promise<void> {
    await this.#measure();
    this.#watch ??= setInterval(() => void this.#measure().catch(() => {}), WATCH_MS).unref();
  }

  close(): void {
    clearInterval(this.#watch);
    this.#watch = undefined;
  }

  /** As of the last measurement, less what was promised since. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  /**
   * Promises so many bytes to somebody who writes them now and calls what this answers when they are written, or will not be.
   * Errors: `out-of-resources` unless the reserve is left; those of the disk as they come.
   */
  async claim(bytes: number): Promise<() => void> {
    await this.#fresh();
    const { reserveBytes } = this.marks;
    if (this.#freeBytes - bytes < reserveBytes || this.#freeFiles < this.#reserveFiles)
      throw new ArchiveError('out-of-resources', 'The disk of the gateway is full; send again when there is room.', {
        freeBytes: this.#freeBytes,
        reserveBytes,
        ...(Number.isFinite(this.#freeFiles) ? { freeFiles: this.#freeFiles } : {}),
      });
    this.#freeBytes -= bytes;
    this.#claimedBytes += bytes;
    let isOpen = true;
    return () => {
      if (isOpen) this.#claimedBytes -= bytes;
      isOpen = false;
    };
  }

  /**
   * Whether so many bytes may be brought here that no sender waits for (a pack that is fetched back): they stay half way
   * above the reserve, which is for senders.
   */
  async hasRoom(bytes: number): Promise<boolean> {
    await this.#fresh();
    const { evictBelowBytes, reserveBytes } = this.marks;
    return this.#freeBytes - bytes >= (evictBelowBytes + reserveBytes) / 2 && this.#freeFiles >= this.#reserveFiles;
  }

  /** Whether new associations may be accepted: cheap, at most two seconds old. True before the first measurement. */
  takesAssociations(): boolean {
    return this.#totalBytes === 0 || this.#freeBytes >= this.marks.rejectBelowBytes;
  }

  /** What has to go until as much is free as shall be; zeros while all is well. */
  async shortage(): Promise<{ readonly bytes: number; readonly files: number }> {
    await this.#fresh();
    return {
      bytes: Math.max(0, this.marks.evictBelowBytes - this.#freeBytes),
      files: Math.max(0, Math.min(EVICT_BELOW_FILES, this.#totalFiles / 10) - this.#freeFiles),
    };
  }

  /** Something was refused for lack of room, or was removed: the next who asks is told what is so then. */
  changed(): void {
    this.#measuredAtMs = Number.NEGATIVE_INFINITY;
  }

  get #reserveFiles(): number {
    return Math.min(RESERVE_FILES, this.#totalFiles / 100);
  }

  async #fresh(): Promise<void> {
    if (this.#elapsedMs() - this.#measuredAtMs > SPACE_AGE_MS) await this.#measure();
  }

  #measure(): Promise<void> {
    this.#measuring ??= this.#files
      .space(this.#folder)
      .then(({ freeBytes, totalBytes, freeFiles, totalFiles }) => {
        this.#freeBytes = freeBytes - this.#claimedBytes;
        this.#totalBytes = totalBytes;
        this.#freeFiles = totalFiles === 0 ? Number.POSITIVE_INFINITY : freeFiles;
        this.#totalFiles = totalFiles;
        this.#measuredAtMs = this.#elapsedMs();
      })
      .finally(() => {
        this.#measuring = undefined;
      });
    return this.#measuring;
  }
}
