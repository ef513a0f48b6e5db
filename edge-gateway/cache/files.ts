/**
 * The file operations that durability rests on, as one small port: the real disk here, a failing or recording one in tests.
 * What "durable" means is said here once: a file's bytes after `datasync`, a name after `syncFolder` of its folder.
 */
import * as fs from 'node:fs';
import { dirname, join } from 'node:path';
import { ArchiveError } from '#shared/errors.ts';

export interface OpenFile {
  /** Writes all bytes one after the other from `positionBytes` on; on failure any part of them may have been written. */
  write(buffers: readonly Uint8Array[], positionBytes: number): Promise<void>;
  /** Fills `into` from `positionBytes` on; answers how many bytes there were (fewer only at the end of the file). */
  read(into: Uint8Array, positionBytes: number): Promise<number>;
  /** When it resolves, all bytes written before the call, and the length, survive a power cut. Never to be tried again. */
  datasync(): Promise<void>;
  truncate(lengthBytes: number): Promise<void>;
  lengthBytes(): Promise<number>;
  close(): Promise<void>;
}

export interface Files {
  /** Makes a new, empty file; EEXIST if there is one. */
  create(path: string): Promise<OpenFile>;
  open(path: string, mode: 'read' | 'change'): Promise<OpenFile>;
  /** Makes the folder and those above it; answers the first that it made, undefined when all were there. */
  makeFolder(path: string): Promise<string | undefined>;
  /** When it resolves, all names made, changed or removed in the folder survive a power cut. */
  syncFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Gives a file a second name; EEXIST if that is taken. */
  link(from: string, to: string): Promise<void>;
  /** Nothing happens when it is not there. */
  remove(path: string): Promise<void>;
  /** Names of the files in a folder, in ascending order. */
  list(folder: string): Promise<readonly string[]>;
  stat(path: string): Promise<{ lengthBytes: number; modifiedAtMs: number; identity: string } | undefined>;
  /** Of the volume that the folder is on: what is left for us, and all of it. No files at all: it does not count them. */
  space(folder: string): Promise<{ freeBytes: number; totalBytes: number; freeFiles: number; totalFiles: number }>;
}

/** The disk of this machine. Errors are Node's own, with their `code`. */
export const diskFiles: Files = {
  create: (path) => openDisk(path, 'wx+'),
  open: (path, mode) => openDisk(path, mode === 'read' ? 'r' : 'r+'),
  makeFolder: (path) => fs.promises.mkdir(path, { recursive: true }),
  async syncFolder(path) {
    // Windows has no such thing: NTFS journals names itself.
    if (process.platform === 'win32') return;
    const handle = await fs.promises.open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  rename: (from, to) => fs.promises.rename(from, to),
  link: (from, to) => fs.promises.link(from, to),
  remove: (path) => fs.promises.rm(path, { force: true }),
  async list(folder) {
    const entries = await fs.promises.readdir(folder, { withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => entry.name)
      .sort();
  },
  async stat(path) {
    try {
      const stat = await fs.promises.stat(path, { bigint: true });
      if (!stat.isFile()) return undefined;
      return {
        lengthBytes: Number(stat.size),
        modifiedAtMs: Number(stat.mtimeMs),
        identity: `${stat.dev}:${stat.ino}`,
      };
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ENOTDIR') return undefined;
      throw error;
    }
  },
  async space(folder) {
    const { bavail, blocks, bsize, ffree, files } = await fs.promises.statfs(folder);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize, freeFiles: ffree, totalFiles: files };
  },
};

async function openDisk(path: string, flags: string): Promise<OpenFile> {
  const fd = await new Promise<number>((resolve, reject) =>
    fs.open(path, flags, 0o640, (error, opened) => (error === null ? resolve(opened) : reject(error))),
  );
  return new DiskFile(fd);
}

/**
 * On the callback functions: a FileHandle costs several times as much for each of our many small calls. The descriptor is
 * guarded instead: after `close` no call reaches it, and closing waits for those under way. A number that was closed
 * twice, or read from after its close, would by then be somebody else's file or socket.
 */
class DiskFile implements OpenFile {
  readonly #fd: number;
  #running = 0;
  #closed: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async write(buffers: readonly Uint8Array[], positionBytes: number): Promise<void> {
    let rest = buffers;
    let position = positionBytes;
    while (rest.length > 0) {
      const written = await this.#call<number>((fd, done) => fs.writev(fd, rest, position, done));
      position += written;
      rest = skip(rest, written);
      if (written === 0 && rest.length > 0) throw Object.assign(new Error('nothing was written'), { code: 'EIO' });
    }
  }

  async read(into: Uint8Array, positionBytes: number): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      const [offset, position] = [filled, positionBytes + filled];
      const count = await this.#call<number>((fd, done) =>
        fs.read(fd, into, offset, into.length - offset, position, done),
      );
      if (count === 0) break;
      filled += count;
    }
    return filled;
  }

  datasync(): Promise<void> {
    return this.#call((fd, done) => fs.fdatasync(fd, done));
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#call((fd, done) => fs.ftruncate(fd, lengthBytes, done));
  }

  async lengthBytes(): Promise<number> {
    return (await this.#call<fs.Stats>((fd, done) => fs.fstat(fd, done))).size;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve;
      });
    }
    await new Promise<void>((resolve, reject) => fs.close(this.#fd, (error) => (error ? reject(error) : resolve())));
  }

  #call<T = void>(begin: (fd: number, done: (error: Error | null, result?: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) {
        reject(Object.assign(new Error('the file is closed'), { code: 'EBADF' }));
        return;
      }
      this.#running++;
      begin(this.#fd, (error, result) => {
        this.#running--;
        if (this.#running === 0) this.#idle?.();
        if (error) reject(error);
        else resolve(result as T);
      });
    });
  }
}

function skip(buffers: readonly Uint8Array[], countBytes: number): readonly Uint8Array[] {
  let left = countBytes;
  for (const [i, buffer] of buffers.entries()) {
    if (left < buffer.length) return [buffer.subarray(left), ...buffers.slice(i + 1)];
    left -= buffer.length;
  }
  return [];
}

/**
 * Makes `path`, which is `root` or below it, so that it survives a power cut. Folders that were there are synced as well: a
 * process that died may have made them and not come to syncing them.
 */
export async function makeFolderDurably(files: Files, path: string, root: string): Promise<void> {
  const first = await files.makeFolder(path);
  const last = first !== undefined && first.length < root.length ? first : root;
  for (let folder = path; folder.length >= last.length && folder !== dirname(folder); folder = dirname(folder)) {
    await files.syncFolder(dirname(folder));
  }
}

/** Moves a finished file to a name that must be free, durably. EEXIST, and nothing has changed, when it is not. Both on one volume. */
export async function moveDurably(files: Files, from: string, to: string): Promise<void> {
  try {
    await files.link(from, to);
  } catch (error) {
    if (errorCode(error) === 'EEXIST') {
      // A crash between link and remove has left both names: that is the same file.
      const [a, b] = await Promise.all([files.stat(from), files.stat(to)]);
      if (a === undefined || a.identity !== b?.identity) throw error;
    } else if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(errorCode(error) ?? '')) {
      // A volume without links: nobody else makes names here, so looking first is enough.
      if ((await files.stat(to)) !== undefined) throw Object.assign(new Error('exists'), { code: 'EEXIST' });
      await files.rename(from, to);
    } else throw error;
  }
  await files.syncFolder(dirname(to));
  await files.remove(from);
  await files.syncFolder(dirname(from));
}

/** Puts a small file in place of the one that is there, if there is one: after a crash at any instant it is the old one or the new. */
export async function replaceDurably(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  await files.remove(temporary);
  const file = await files.create(temporary);
  try {
    await file.write([bytes], 0);
    await file.datasync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
  await files.syncFolder(dirname(path));
}

export function errorCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/**
 * A disk's error in our terms: `out-of-resources` when space, inodes or descriptors ran out or it cannot be written, else
 * `unavailable`: it says nothing about the bytes, which `damaged` would.
 */
export function diskError(error: unknown, doing: string): ArchiveError {
  if (error instanceof ArchiveError) return error;
  const code = errorCode(error);
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG')
    return new ArchiveError(
      'out-of-resources',
      `The disk is full while ${doing}; make room and send again.`,
      { code },
      error,
    );
  if (code === 'EMFILE' || code === 'ENFILE' || code === 'ENOMEM' || code === 'EROFS' || code === 'EACCES')
    return new ArchiveError(
      'out-of-resources',
      `The disk takes nothing (${code}) while ${doing}; send again later.`,
      { code },
      error,
    );
  const message = `The disk failed (${code ?? 'unknown error'}) while ${doing}.`;
  return new ArchiveError('unavailable', message, { code }, error);
}

/** Temporary names live beside what they become, in a folder that no key can name. */
export const temporaryFolderOf = (root: string): string => join(root, '.incoming');
