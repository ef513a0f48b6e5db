/**
 * Room on a disk that need survive nothing: instances wait there until their pack is archived. Bounded for all requests together;
 * one file for many instances of one request, one behind the other, so that few files are open. What an earlier process left
 * in the folder was never acknowledged: it is swept at the start.
 */
import { read } from 'node:fs';
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ArchiveError } from '#shared/errors.ts';

/** A file of this length, or of so small a part of all room, gets no further instance: its room is free when the last in it is archived. */
const FILE_BYTES = 64 * 1024 * 1024;
const FILE_PART = 1 / 16;
/** Small: what was read stays in memory until it is collected, and large pieces are collected late. */
export const READ_BYTES = 64 * 1024;

/** Whose instances take room. */
export interface Occupant {
  /** Begins to archive what is complete; false when there is nothing, and nothing is about to be. */
  relieve(): boolean;
}

export class Scratch {
  readonly folder: string;
  readonly limitBytes: number;
  readonly #occupants = new Set<Occupant>();
  readonly #waiting: (() => void)[] = [];
  #usedBytes = 0;
  /** Of the used bytes, those of packs that are being archived: they become free by themselves. */
  #leavingBytes = 0;
  #files = 0;

  private constructor(folder: string, limitBytes: number) {
    this.folder = folder;
    this.limitBytes = limitBytes;
  }

  /** @param folder one process's own: everything in it is removed */
  static async open(folder: string, limitBytes: number): Promise<Scratch> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    return new Scratch(folder, limitBytes);
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Whether somebody waits for room. */
  get isWanted(): boolean {
    return this.#waiting.length > 0;
  }

  newPath(): string {
    this.#files++;
    return join(this.folder, `${this.#files}.part`);
  }

  enter(occupant: Occupant): void {
    this.#occupants.add(occupant);
  }

  leave(occupant: Occupant): void {
    this.#occupants.delete(occupant);
  }

  /**
   * Resolves when there is room. Error `out-of-resources` when there is none and nothing is under way that would make any: all of it
   * is taken by instances that are still arriving.
   */
  async take(lengthBytes: number): Promise<void> {
    let isLastLook = false;
    while (this.#usedBytes + lengthBytes > this.limitBytes) {
      if (this.#leavingBytes > 0 || this.#relieve()) {
        isLastLook = false;
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      } else if (isLastLook) throw noRoom();
      else {
        // What was released in this turn is about to be removed.
        isLastLook = true;
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
    this.#usedBytes += lengthBytes;
  }

  give(lengthBytes: number): void {
    this.#usedBytes -= lengthBytes;
    this.#wake();
  }

  leaving(lengthBytes: number): void {
    this.#leavingBytes += lengthBytes;
  }

  left(lengthBytes: number): void {
    this.#leavingBytes -= lengthBytes;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #relieve(): boolean {
    let any = false;
    for (const occupant of this.#occupants) any = occupant.relieve() || any;
    return any;
  }
}

/** The files of one request: one, where its instances come one after the other. */
export class ScratchFiles {
  readonly #scratch: Scratch;
  /** Nobody writes to it. */
  #free: ScratchFile | undefined;
  #isEnded = false;
  #written: Promise<void> = Promise.resolve();

  constructor(scratch: Scratch) {
    this.#scratch = scratch;
  }

  /** Resolves when all that was given to be written is, or could not be: who begins the next before that piles up memory. */
  get written(): Promise<void> {
    return this.#written;
  }

  /** Room for one instance. */
  begin(): ScratchRange {
    const file = this.#free ?? new ScratchFile(this.#scratch);
    this.#free = undefined;
    return new ScratchRange(file, this);
  }

  /** The next instance begins a file of its own: what is in the one before can go without it. */
  change(): void {
    this.#free?.release();
    this.#free = undefined;
  }

  /** No more will begin: a file goes when the last instance in it is released. */
  end(): void {
    this.#isEnded = true;
    this.change();
  }

  /** Of a range. */
  writing(written: Promise<void>): void {
    this.#written = written.catch(() => {});
  }

  /** Of a range to which nothing more will be written. */
  giveBack(file: ScratchFile): void {
    const isFull = file.lengthBytes >= Math.min(FILE_BYTES, this.#scratch.limitBytes * FILE_PART);
    if (this.#isEnded || this.#free !== undefined || isFull) file.release();
    else this.#free = file;
  }
}

/** The bytes of one instance. */
export class ScratchRange {
  lengthBytes = 0;
  readonly #file: ScratchFile;
  readonly #offsetBytes: number;
  readonly #files: ScratchFiles;
  #written: Promise<void> = Promise.resolve();
  #isEnded = false;
  #isReleased = false;

  constructor(file: ScratchFile, files: ScratchFiles) {
    this.#file = file;
    this.#files = files;
    this.#offsetBytes = file.lengthBytes;
    file.use();
  }

  /** Appends; resolves when they are written. Errors: `out-of-resources`, `too-large`. */
  write(buffers: readonly Uint8Array[], lengthBytes: number): Promise<void> {
    const at = this.#file.lengthBytes;
    this.#file.lengthBytes += lengthBytes;
    this.lengthBytes += lengthBytes;
    const isTooLong = this.lengthBytes > this.#file.limitBytes;
    this.#written = this.#written.then(() => {
      if (isTooLong) throw tooLong(this.#file.limitBytes);
      return this.#file.write(buffers, at, lengthBytes);
    });
    this.#files.writing(this.#written);
    return this.#written;
  }

  /** Nothing more will be written. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#files.giveBack(this.#file);
  }

  /**
   * Its bytes, in pieces; the next is read while one is worked on. Errors: `unavailable`.
   * @param blocks two of READ_BYTES, for who is done with a piece when he asks for the next: pieces lie in them, and cost nothing
   */
  async *read(blocks?: readonly [Buffer, Buffer]): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#written;
    let pieces = 0;
    const next = (at: number): Promise<Uint8Array> => {
      const lengthBytes = Math.min(READ_BYTES, this.lengthBytes - at);
      const into = blocks?.[pieces++ & 1]?.subarray(0, lengthBytes) ?? Buffer.allocUnsafeSlow(lengthBytes);
      const read = this.#file.read(this.#offsetBytes + at, into);
      read.catch(() => {});
      return read;
    };
    let ahead = next(0);
    for (let at = 0; at < this.lengthBytes; ) {
      const bytes = await ahead;
      at += bytes.length;
      if (at < this.lengthBytes) ahead = next(at);
      yield bytes;
    }
  }

  /** The instance is archived, or not wanted: its room is free when that of its file is. */
  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.end();
    void this.#written.catch(() => {}).then(() => this.#file.release());
  }
}

class ScratchFile {
  lengthBytes = 0;
  readonly #scratch: Scratch;
  readonly #path: string;
  readonly #handle: Promise<FileHandle>;
  #takenBytes = 0;
  #users = 1;

  constructor(scratch: Scratch) {
    this.#scratch = scratch;
    this.#path = scratch.newPath();
    this.#handle = open(this.#path, 'wx+', 0o600);
    this.#handle.catch(() => {});
  }

  get limitBytes(): number {
    return this.#scratch.limitBytes;
  }

  use(): void {
    this.#users++;
  }

  release(): void {
    this.#users--;
    if (this.#users === 0) void this.#remove();
  }

  async write(buffers: readonly Uint8Array[], offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#scratch.take(lengthBytes);
    this.#takenBytes += lengthBytes;
    try {
      const handle = await this.#handle;
      let rest = buffers;
      let at = offsetBytes;
      while (rest.length > 0) {
        const { bytesWritten } = await handle.writev(rest, at);
        at += bytesWritten;
        rest = behind(rest, bytesWritten);
      }
    } catch (error) {
      throw takesNothing(error);
    }
  }

  /** Fills it, and answers it. */
  async read(offsetBytes: number, into: Buffer): Promise<Uint8Array> {
    try {
      const { fd } = await this.#handle;
      for (let filled = 0; filled < into.length; ) {
        const from = filled;
        // The callback costs a fraction of what the handle's own method does.
        filled += await new Promise<number>((resolve, reject) =>
          read(fd, into, from, into.length - from, offsetBytes + from, (error, bytesRead) => {
            if (error === null && bytesRead > 0) resolve(bytesRead);
            else reject(error ?? new Error('the file is shorter than what was written to it'));
          }),
        );
      }
    } catch (error) {
      throw givesNothing(error);
    }
    return into;
  }

  async #remove(): Promise<void> {
    this.#scratch.leaving(this.#takenBytes);
    const handle = await this.#handle.catch(() => undefined);
    await handle?.close().catch(() => {});
    await rm(this.#path, { force: true }).catch(() => {});
    this.#scratch.give(this.#takenBytes);
    this.#scratch.left(this.#takenBytes);
  }
}

function behind(buffers: readonly Uint8Array[], countBytes: number): readonly Uint8Array[] {
  let left = countBytes;
  for (const [i, buffer] of buffers.entries()) {
    if (left < buffer.length) return [buffer.subarray(left), ...buffers.slice(i + 1)];
    left -= buffer.length;
  }
  return [];
}

const noRoom = (): ArchiveError =>
  new ArchiveError(
    'out-of-resources',
    'The archive has no room for more that is on its way in; send again in a minute.',
  );

const tooLong = (limitBytes: number): ArchiveError =>
  new ArchiveError('too-large', 'The instance is longer than what is stored here at once; send it through a gateway.', {
    limitBytes,
  });

const takesNothing = (cause: unknown): ArchiveError =>
  new ArchiveError(
    'out-of-resources',
    'The disk for what is on its way in takes nothing; send again later.',
    {},
    cause,
  );

const givesNothing = (cause: unknown): ArchiveError =>
  new ArchiveError('unavailable', 'The disk for what is on its way in failed; send again.', {}, cause);
