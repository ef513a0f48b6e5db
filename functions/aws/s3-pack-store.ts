/**
 * PackStore on S3: what is where, and removing it; reading is s3-pack-store-reads.ts, creating s3-pack-store-writes.ts. Whether S3's
 * answer got lost or the request did is found out before anything is said.
 */
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { isStoreKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { ArchiveError } from '#shared/errors.ts';
import { asleep, createS3Calls, headOf, type S3Options } from './s3-calls.ts';
import { createReads } from './s3-pack-store-reads.ts';
import { createWrites, defaultParts, type PartsOptions } from './s3-pack-store-writes.ts';

export interface S3PackStore extends PackStore {
  /** Ends idle connections; what is under way fails. */
  close(): void;
}

/** Every method throws `bad-request` for a key that keys.ts could not have made. */
export function createS3PackStore(options: S3Options & { readonly parts?: PartsOptions }): S3PackStore {
  const calls = createS3Calls(options);
  const { bucket, client } = calls;
  const head = (key: string) => calls.retried(() => headOf(calls, key));
  const reads = createReads(calls, head);
  const create = createWrites(calls, options.parts ?? defaultParts);

  return {
    async head(key) {
      checkKey(key);
      const found = await head(key);
      if (found?.asleepIn !== undefined) throw asleep(key, found.asleepIn);
      return found && { lengthBytes: found.lengthBytes };
    },
    async read(key, range) {
      checkKey(key);
      return reads.read(key, range);
    },
    async stream(key, range) {
      checkKey(key);
      return reads.stream(key, range);
    },
    async create(key, body, expected) {
      checkKey(key);
      return create(key, body, expected);
    },
    async delete(key) {
      checkKey(key);
      await calls.retried(() => client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), calls.options()));
    },
    close: calls.close,
  };
}

function checkKey(key: string): void {
  if (!isStoreKey(key)) throw new ArchiveError('bad-request', 'This is not the key of a pack or a manifest.');
}
