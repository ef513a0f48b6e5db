/**
 * PackStore on a disk: an object is the file `<root>/<key>`, made under a temporary name, synced, and linked into place,
 * so that a key shows a complete object or none. Packs that the receiver still fills can be read here as well, from the
 * folder where they lie open: an instance is readable from its acknowledgement on.
 */
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type Announcement, announcedBytes } from '#shared/archive/announced-body.ts';
import { isStoreKey, parsePackKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import {
  diskError,
  diskFiles,
  errorCode,
  type Files,
  makeFolderDurably,
  moveDurably,
  type OpenFile,
  temporaryFolderOf,
} from './files.ts';

export interface DiskPackStore extends PackStore {
  /**
   * Takes over a file on the same volume that is complete and synced: durably moved to the key's place when it resolves.
   * `exists` when another file is there already; then nothing has changed.
   */
  adopt(key: string, path: string): Promise<'created' | 'exists'>;
  /**
   * Puts these bytes in place of the object, or where none is. What was there stays until they are durable and were found to be
   * those expected, and is readable at every moment; the new ones are when it resolves. Errors: those of `create`.
   */
  replace(
    key: string,
    body: Uint8Array | ReadableStream<Uint8Array>,
    expected: { lengthBytes: number; sha256: string },
  ): Promise<void>;
  /** Where the object of a key lies, or would. */
  pathOf(key: string): string;
}

export interface DiskPackStoreOptions {
  readonly root: string;
  /** Where a receiver keeps its open packs, as `<packId>.zip`: read from while they are not in their place yet. */
  readonly openFolder?: string;
  readonly files?: Files;
}

const WRITE_BYTES = 512 * 1024;
/** Each read of a stream costs a change of threads: in pieces of 64 KiB that was half of the time. */
const READ_BYTES = 256 * 1024;
/** What was read stays in memory until it is collected, and large pieces are collected late: of the longest ranges they are small. */
const LONG_RANGE_BYTES = 128 * 1024 * 1024;
const LONG_RANGE_READ_BYTES = 64 * 1024;
/** What is taken from memory before it is known whether the object has so much. */
const SHORT_RANGE_BYTES = 8 * 1024 * 1024;
const MAX_KNOWN_FOLDERS = 10_000;
const STALE_MS = 60 * 60 * 1000;

/** Makes nothing on disk before the first `create`. Every method throws `bad-request` for a key that keys.ts could not have made. */
export function createDiskPackStore(options: DiskPackStoreOptions): DiskPackStore {
  const { root, openFolder } = options;
  const files = options.files ?? diskFiles;
  const temporaryFolder = temporaryFolderOf(root);
  let prepared: Promise<void> | undefined;
  /** Folders that this process knows to survive a power cut. */
  const durableFolders = new Map<string, Promise<void>>();

  function pathOf(key: string): string {
    if (!isStoreKey(key)) throw new ArchiveError('bad-request', 'This is not the key of a pack or a manifest.');
    return join(root, ...key.split('/'));
  }

  /** Its place, the open folder, and its place again: a pack may be sealed and move between the first two looks. */
  function placesOf(key: string): string[] {
    const path = pathOf(key);
    const packId = openFolder === undefined ? undefined : parsePackKey(key)?.ref.packId;
    return packId === undefined ? [path] : [path, join(openFolder ?? '', `${packId}.zip`), path];
  }

  async function open(key: string): Promise<OpenFile> {
    for (const path of placesOf(key)) {
      try {
        return await files.open(path, 'read');
      } catch (error) {
        if (errorCode(error) !== 'ENOENT' && errorCode(error) !== 'ENOTDIR') throw diskError(error, 'opening a pack');
      }
    }
    throw new ArchiveError('not-found', 'There is no object under this key.', { key });
  }

  /** Settles which bytes are meant. Error `range-not-satisfiable` if they are not there. */
  async function rangeIn(file: OpenFile, key: string, range: ByteRange | undefined): Promise<ByteRange> {
    const objectBytes = await file.lengthBytes();
    const wanted = range ?? { offsetBytes: 0, lengthBytes: objectBytes };
    if (isPlain(wanted) && wanted.offsetBytes + wanted.lengthBytes <= objectBytes) return wanted;
    throw new ArchiveError('range-not-satisfiable', 'The range goes beyond the end of the object.', {
      key,
      objectBytes,
      ...wanted,
    });
  }

  /** Opens the object and settles which bytes are meant; closes it again if they are not there. */
  async function openRange(key: string, range: ByteRange | undefined): Promise<{ file: OpenFile } & ByteRange> {
    const file = await open(key);
    try {
      return { file, ...(await rangeIn(file, key, range)) };
    } catch (error) {
      await file.close();
      throw diskError(error, 'reading a pack');
    }
  }

  /** Folder for temporary names; what older processes left there is swept once. */
  function prepare(): Promise<void> {
    prepared ??= (async () => {
      await files.makeFolder(temporaryFolder);
      for (const name of await files.list(temporaryFolder)) {
        const path = join(temporaryFolder, name);
        const stat = await files.stat(path);
        if (stat !== undefined && isNobodys(name, stat.modifiedAtMs)) await files.remove(path);
      }
    })();
    prepared.catch(() => {
      prepared = undefined;
    });
    return prepared;
  }

  /** Each level once: of a new series in a known study only the series costs a sync. */
  function makeFolder(folder: string): Promise<void> {
    let made = durableFolders.get(folder);
    if (made === undefined) {
      if (durableFolders.size >= MAX_KNOWN_FOLDERS) durableFolders.clear();
      made =
        folder.length <= root.length ? makeFolderDurably(files, root, root) : makeFolderIn(dirname(folder), folder);
      durableFolders.set(folder, made);
      made.catch(() => durableFolders.delete(folder));
    }
    return made;
  }

  async function makeFolderIn(parent: string, folder: string): Promise<void> {
    await makeFolder(parent);
    await files.makeFolder(folder);
    await files.syncFolder(parent);
  }

  async function put(key: string, path: string): Promise<'created' | 'exists'> {
    const place = pathOf(key);
    await makeFolder(dirname(place));
    try {
      await moveDurably(files, path, place);
      return 'created';
    } catch (error) {
      if (errorCode(error) === 'EEXIST') return 'exists';
      throw error;
    }
  }

  return {
    pathOf,

    async head(key) {
      for (const path of placesOf(key)) {
        const stat = await files.stat(path).catch((error: unknown) => {
          throw diskError(error, 'looking for a pack');
        });
        if (stat !== undefined) return { lengthBytes: stat.lengthBytes };
      }
      return undefined;
    },

    async read(key, range) {
      const file = await open(key);
      try {
        // Of a short range the read itself says whether it is there; asking first cost as much again.
        const isShort = range !== undefined && isPlain(range) && range.lengthBytes <= SHORT_RANGE_BYTES;
        const { offsetBytes, lengthBytes } = isShort ? range : await rangeIn(file, key, range);
        const bytes = Buffer.allocUnsafeSlow(lengthBytes);
        const isAll = (await file.read(bytes, offsetBytes)) === lengthBytes;
        if (isShort && (!isAll || lengthBytes === 0)) await rangeIn(file, key, range);
        if (!isAll) throw shorter(key);
        return bytes;
      } catch (error) {
        throw diskError(error, 'reading a pack');
      } finally {
        // Nobody needs to wait for it: what was read has been read.
        file.close().catch(() => {});
      }
    },

    async stream(key, range) {
      const { file, offsetBytes, lengthBytes } = await openRange(key, range);
      let at = offsetBytes;
      const end = offsetBytes + lengthBytes;
      const pieceBytes = lengthBytes > LONG_RANGE_BYTES ? LONG_RANGE_READ_BYTES : READ_BYTES;
      const readNext = async (): Promise<Uint8Array> => {
        const bytes = Buffer.allocUnsafeSlow(Math.min(pieceBytes, end - at));
        if (bytes.length > 0 && (await file.read(bytes, at)) !== bytes.length) throw shorter(key);
        at += bytes.length;
        return bytes;
      };
      /** The next piece comes from the disk while the one before goes to the client. */
      let ahead: Promise<Uint8Array> | undefined;
      return new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            try {
              const bytes = await (ahead ?? readNext());
              ahead = undefined;
              if (bytes.length > 0) controller.enqueue(bytes);
              if (at < end) {
                ahead = readNext();
                ahead.catch(() => {});
                return;
              }
              await file.close();
              controller.close();
            } catch (error) {
              await file.close().catch(() => {});
              throw diskError(error, 'reading a pack');
            }
          },
          cancel: () => file.close(),
        },
        { highWaterMark: 0 },
      );
    },

    async create(key, body, expected) {
      const place = pathOf(key);
      const taken = async (): Promise<boolean> => (await files.stat(place)) !== undefined;
      let path: string | undefined;
      try {
        if (await taken()) {
          if (!(body instanceof Uint8Array)) await body.cancel();
          return 'exists';
        }
        await prepare();
        path = join(temporaryFolder, `${process.pid}-${randomUUID()}`);
        await writeChecked(files, path, body, expected);
        return await put(key, path);
      } catch (error) {
        throw diskError(error, 'storing a pack');
      } finally {
        if (path !== undefined) await files.remove(path).catch(() => {});
      }
    },

    async replace(key, body, expected) {
      const place = pathOf(key);
      let path: string | undefined;
      try {
        await prepare();
        path = join(temporaryFolder, `${process.pid}-${randomUUID()}`);
        await writeChecked(files, path, body, expected);
        await makeFolder(dirname(place));
        await files.rename(path, place);
        await files.syncFolder(dirname(place));
      } catch (error) {
        throw diskError(error, 'replacing a pack');
      } finally {
        if (path !== undefined) await files.remove(path).catch(() => {});
      }
    },

    adopt: (key, path) =>
      put(key, path).catch((error: unknown) => {
        throw diskError(error, 'moving a sealed pack to its place');
      }),

    async delete(key) {
      const place = pathOf(key);
      try {
        if ((await files.stat(place)) === undefined) return;
        await files.remove(place);
        await files.syncFolder(dirname(place));
      } catch (error) {
        throw diskError(error, 'deleting a pack');
      }
    },
  };
}

/**
 * Whether who made this temporary file, by the process id in its name, is gone. Another store in this process or another one
 * may be writing its own right now; in a container every process may have the same id.
 */
function isNobodys(name: string, modifiedAtMs: number): boolean {
  const ageMs = Date.now() - modifiedAtMs;
  if (ageMs > STALE_MS) return true;
  const pid = Number(/^(\d{1,9})-/.exec(name)?.[1] ?? Number.NaN);
  if (Number.isNaN(pid)) return false;
  return pid === process.pid ? ageMs > process.uptime() * 1000 : !isRunning(pid);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== 'ESRCH';
  }
}

/** Writes a new file and syncs it; `checksum-mismatch` as soon as the bytes cannot be those expected. */
async function writeChecked(
  files: Files,
  path: string,
  body: Uint8Array | ReadableStream<Uint8Array>,
  expected: Announcement,
): Promise<void> {
  const file = await files.create(path);
  try {
    let writtenBytes = 0;
    let heldBytes = 0;
    let held: Uint8Array[] = [];
    const write = async (): Promise<void> => {
      await file.write(held, writtenBytes);
      writtenBytes += heldBytes;
      heldBytes = 0;
      held = [];
    };
    for await (const chunk of announcedBytes(body instanceof Uint8Array ? [body] : chunksOf(body), expected)) {
      heldBytes += chunk.length;
      held.push(chunk);
      if (heldBytes >= WRITE_BYTES) await write();
    }
    await write();
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** A sender that goes away is the sender's failure, not the disk's. */
async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    if (cause instanceof ArchiveError) throw cause;
    throw new ArchiveError('checksum-mismatch', 'The body broke off before its end; send it again.', {}, cause);
  }
}

const isPlain = ({ offsetBytes, lengthBytes }: ByteRange): boolean =>
  Number.isSafeInteger(offsetBytes) && Number.isSafeInteger(lengthBytes) && offsetBytes >= 0 && lengthBytes >= 0;

function shorter(key: string): ArchiveError {
  return new ArchiveError('damaged', 'The object is shorter than it was when it was opened.', { key });
}
