/**
 * S3's multipart uploads on this machine's disk: parts are written into their place in one file, so that a complete upload
 * becomes an object by a rename; a part counts when its bytes are durable, its SHA-256 was right, and its marker is there.
 *
 *     <folder>/<uploadId>/upload.json   which object, how long, in what parts
 *     <folder>/<uploadId>/data          the bytes; nothing is believed of them but what a marker says
 *     <folder>/<uploadId>/parts/<n>-<sha256>
 */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { diskError, diskFiles, errorCode, makeFolderDurably } from '#edge-gateway/cache/files.ts';
import type { MultipartUploads } from '#functions/gateway/parts.ts';
import type { PackArrived } from '#functions/ingest/step.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { SignedUrls } from './signed-urls.ts';

export interface PartStoreOptions {
  /** On the volume of `packs`. */
  readonly folder: string;
  readonly packs: DiskPackStore;
  readonly urls: SignedUrls;
  readonly arrived: (message: PackArrived) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Logger;
}

export interface PartStore extends MultipartUploads {
  /** Takes the bytes of one part; false: this key is none of a part. Errors: `checksum-mismatch`, `conflict`, `not-found`. */
  put(
    key: string,
    body: ReadableStream<Uint8Array> | null,
    expected: { lengthBytes: number; sha256: string },
  ): Promise<boolean>;
  /** Tells ingest of what was completed just before a crash, and removes uploads that nobody has gone on with for a week. */
  sweep(): Promise<void>;
}

interface Upload {
  readonly key: string;
  readonly lengthBytes: number;
  readonly partBytes: number;
}

const WRITE_BYTES = 512 * 1024;
/** As the lifecycle rule of the bucket says. */
const ABANDONED_MS = 7 * 24 * 60 * 60 * 1000;
const partKey = /^uploads\/([0-9a-f]{32})\/([1-9]\d{0,4})$/;
const marker = /^([1-9]\d{0,4})-([0-9a-f]{64})$/;

export function createPartStore({ folder, packs, urls, arrived, nowMs, log }: PartStoreOptions): PartStore {
  /** Who writes a part right now: the newest is believed to be alive, the one before is cut off. */
  const writing = new Map<string, { cut(): void; readonly ended: Promise<unknown> }>();

  const folderOf = (uploadId: string): string => join(folder, uploadId);
  const partsOf = (uploadId: string): string => join(folder, uploadId, 'parts');

  async function read(uploadId: string): Promise<Upload> {
    try {
      if (!/^[0-9a-f]{32}$/.test(uploadId)) throw noUpload();
      return JSON.parse(await readFile(join(folderOf(uploadId), 'upload.json'), 'utf8')) as Upload;
    } catch (error) {
      if (errorCode(error) === 'ENOENT') throw noUpload();
      throw diskError(error, 'looking for an upload');
    }
  }

  /** Whoever announced one object has no say in the upload of another: its name can be worked out from the key. */
  async function readOf(key: string, uploadId: string): Promise<Upload> {
    const upload = await read(uploadId);
    if (upload.key !== key) throw noUpload();
    return upload;
  }

  async function begin(key: string, wanted: { lengthBytes: number; partBytes: number }) {
    if ((await packs.head(key)) !== undefined) {
      await arrived({ key });
      return 'exists' as const;
    }
    // One upload to a key: its name says which, so that asking twice is asking once.
    const uploadId = createHash('sha256').update(key).digest('hex').slice(0, 32);
    const known = await read(uploadId).catch(() => undefined);
    if (known !== undefined) return { uploadId, partBytes: known.partBytes };
    const making = join(folderOf(uploadId), 'upload.json.new');
    await mkdir(partsOf(uploadId), { recursive: true });
    await writeFile(join(folderOf(uploadId), 'data'), '', { flag: 'a' });
    await writeFile(making, JSON.stringify({ key, ...wanted } satisfies Upload), { flush: true });
    await rename(making, join(folderOf(uploadId), 'upload.json'));
    await makeFolderDurably(diskFiles, partsOf(uploadId), folder);
    return { uploadId, partBytes: wanted.partBytes };
  }

  async function markersOf(uploadId: string): Promise<Map<number, string>> {
    const found = new Map<number, string>();
    for (const name of await readdir(partsOf(uploadId))) {
      const [, number, sha256] = marker.exec(name) ?? [];
      if (sha256 !== undefined) found.set(Number(number), sha256);
    }
    return found;
  }

  async function write(
    uploadId: string,
    partNumber: number,
    reader: ReadableStreamDefaultReader<Uint8Array>,
    expected: { lengthBytes: number; sha256: string },
  ): Promise<void> {
    const { partBytes, lengthBytes } = await read(uploadId);
    const offsetBytes = (partNumber - 1) * partBytes;
    if (expected.lengthBytes !== Math.min(partBytes, lengthBytes - offsetBytes))
      throw new ArchiveError('conflict', 'The part has not the length of its place in the object.');
    const known = (await markersOf(uploadId)).get(partNumber);
    if (known === expected.sha256) return;
    if (known !== undefined) throw new ArchiveError('conflict', 'This part is there already with other bytes.');
    const file = await diskFiles.open(join(folderOf(uploadId), 'data'), 'change');
    try {
      const hash = createHash('sha256');
      let held: Uint8Array[] = [];
      let [heldBytes, writtenBytes] = [0, 0];
      const flush = async (): Promise<void> => {
        await file.write(held, offsetBytes + writtenBytes);
        writtenBytes += heldBytes;
        [held, heldBytes] = [[], 0];
      };
      for (let next = await nextOf(reader); !next.done; next = await nextOf(reader)) {
        hash.update(next.value);
        held.push(next.value);
        heldBytes += next.value.length;
        if (writtenBytes + heldBytes > expected.lengthBytes) throw mismatch();
        if (heldBytes >= WRITE_BYTES) await flush();
      }
      await flush();
      if (writtenBytes !== expected.lengthBytes || hash.digest('hex') !== expected.sha256) throw mismatch();
      await file.datasync();
    } finally {
      await file.close();
    }
    await (await diskFiles.create(join(partsOf(uploadId), `${partNumber}-${expected.sha256}`))).close();
    await diskFiles.syncFolder(partsOf(uploadId));
  }

  async function end(uploadId: string): Promise<void> {
    await rm(folderOf(uploadId), { recursive: true, force: true });
  }

  return {
    begin,

    async list(key, uploadId) {
      await readOf(key, uploadId);
      return markersOf(uploadId);
    },

    async grantPart(key, uploadId, partNumber, expected) {
      await readOf(key, uploadId);
      return urls.signPut(`uploads/${uploadId}/${partNumber}`, expected);
    },

    async put(key, body, expected) {
      const [, uploadId, number] = partKey.exec(key) ?? [];
      if (uploadId === undefined) return false;
      const before = writing.get(key);
      before?.cut();
      const reader = (body ?? new Blob([]).stream()).getReader() as ReadableStreamDefaultReader<Uint8Array>;
      const cut = (): void => void reader.cancel().catch(() => {});
      const work = (async () => {
        await before?.ended;
        await write(uploadId, Number(number), reader, expected);
      })();
      const mine = { cut, ended: work.catch(() => {}) };
      writing.set(key, mine);
      try {
        await work;
      } catch (error) {
        throw diskError(error, 'storing a part');
      } finally {
        cut();
        if (writing.get(key) === mine) writing.delete(key);
      }
      return true;
    },

    async complete(key, uploadId) {
      const { lengthBytes } = await readOf(key, uploadId);
      const path = join(folderOf(uploadId), 'data');
      if ((await diskFiles.stat(path))?.lengthBytes !== lengthBytes)
        throw new ArchiveError('conflict', 'The parts do not make up the object; announce the pack again.');
      const result = await packs.adopt(key, path);
      await arrived({ key });
      await end(uploadId);
      return result;
    },

    async sweep() {
      for (const uploadId of await readdir(folder).catch(() => [])) {
        const upload = await read(uploadId).catch(() => undefined);
        const path = join(folderOf(uploadId), 'data');
        if (upload !== undefined && (await packs.head(upload.key)) !== undefined) {
          await arrived({ key: upload.key });
          await end(uploadId);
          continue;
        }
        const touchedAtMs = (await stat(partsOf(uploadId)).catch(() => stat(folderOf(uploadId)))).mtimeMs;
        if (nowMs() - touchedAtMs < ABANDONED_MS) continue;
        log.info({ uploadId, bytes: (await diskFiles.stat(path))?.lengthBytes }, 'an abandoned upload was removed');
        await end(uploadId);
      }
    },
  };
}

const noUpload = (): ArchiveError => new ArchiveError('not-found', 'There is no such upload; announce the pack again.');

const mismatch = (): ArchiveError =>
  new ArchiveError('checksum-mismatch', 'The bytes of the part are not those that were announced; send them again.');

/** A body that breaks off is the sender's failure, not the disk's. */
async function nextOf(reader: ReadableStreamDefaultReader<Uint8Array>) {
  try {
    return await reader.read();
  } catch (cause) {
    throw new ArchiveError('checksum-mismatch', 'The body broke off before its end; send it again.', {}, cause);
  }
}
