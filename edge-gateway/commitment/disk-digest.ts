/**
 * The digest of an instance as its bytes lie on the disk now, whether its pack is still being filled or sealed: read and hashed in
 * a thread that has nothing else to do, one after the other.
 */
import { join } from 'node:path';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import { createFileHasher } from '../cache/file-hash.ts';

export interface DiskDigest {
  /** SHA-256 of the data set, lower-case hex; undefined when it cannot be read to its end. Error `unavailable` after `close`. */
  digest(record: InstanceRecord, packKey: string): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface DiskDigestOptions {
  /** Where the object of a key lies. */
  readonly pathOf: (packKey: string) => string;
  /** Where open packs lie, as `<packId>.zip`. */
  readonly openFolder: string;
}

export function createDiskDigest({ pathOf, openFolder }: DiskDigestOptions): DiskDigest {
  const hasher = createFileHasher();
  let isClosed = false;
  return {
    async digest(record, packKey) {
      const place = pathOf(packKey);
      const lengthBytes = record.lengthBytes - record.dataSetOffsetBytes;
      const range = { offsetBytes: record.offsetBytes + record.dataSetOffsetBytes, lengthBytes };
      // Its place twice: a pack may be sealed, and move there, between the first two looks.
      for (const path of [place, join(openFolder, `${record.packId}.zip`), place]) {
        const found = await hasher.hashRange(path, range).catch(() => undefined);
        if (found !== undefined) return found.lengthBytes === lengthBytes ? found.sha256 : undefined;
        // What was broken off says nothing about the disk.
        if (isClosed) throw new ArchiveError('unavailable', 'The disk is not read any more; the gateway is closing.');
      }
      return undefined;
    },
    close() {
      isClosed = true;
      return hasher.close();
    },
  };
}
