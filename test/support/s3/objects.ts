/**
 * What is in the stand-in's bucket: objects and uploads under way, with S3's rules about who may become what. Each change is one step: nobody
 * sees half of it.
 */
import { createHash, randomUUID } from 'node:crypto';
import { S3Refusal } from './refusal.ts';

export interface StoredObject {
  readonly bytes: Buffer;
  readonly etag: string;
  /** Base64; of an object in parts the checksum of checksums with their number. */
  readonly checksum: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly modifiedAtMs: number;
  storageClass: string;
  /** As the x-amz-restore header has it. */
  restore: string | undefined;
}

interface Part {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly checksum: string | undefined;
}

export interface Upload {
  readonly key: string;
  readonly uploadId: string;
  readonly isChecked: boolean;
  readonly metadata: Readonly<Record<string, string>>;
  readonly initiatedAtMs: number;
  readonly parts: Map<number, Part>;
}

const MIN_PART_BYTES = 5 * 1024 * 1024;
const MAX_PART_NUMBER = 10_000;

export const sha256Base64 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');
const md5 = (bytes: Uint8Array): Buffer => createHash('md5').update(bytes).digest();

export type Bucket = ReturnType<typeof createBucket>;

export function createBucket(nowMs: () => number) {
  const objects = new Map<string, StoredObject>();
  const uploads = new Map<string, Upload>();

  function checkNew(key: string, ifNoneMatch: string | undefined): void {
    if (ifNoneMatch !== undefined && ifNoneMatch !== '*')
      throw new S3Refusal(
        501,
        'NotImplemented',
        'A header you provided implies functionality that is not implemented.',
      );
    if (ifNoneMatch === '*' && objects.has(key))
      throw new S3Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
        Condition: 'If-None-Match',
      });
  }

  function uploadOf(key: string, uploadId: string): Upload {
    const upload = uploads.get(uploadId);
    if (upload === undefined || upload.key !== key)
      throw new S3Refusal(404, 'NoSuchUpload', 'The specified upload does not exist.');
    return upload;
  }

  function object(bytes: Buffer, etag: string, checksum: string | undefined, metadata: Record<string, string>) {
    return { bytes, etag, checksum, metadata, modifiedAtMs: nowMs(), storageClass: 'STANDARD', restore: undefined };
  }

  return {
    objects,
    uploads,
    uploadOf,

    get(key: string): StoredObject {
      const found = objects.get(key);
      if (found === undefined) throw new S3Refusal(404, 'NoSuchKey', 'The specified key does not exist.', { Key: key });
      return found;
    },

    put(
      key: string,
      bytes: Buffer,
      given: { ifNoneMatch: string | undefined; checksum: string | undefined; metadata: Record<string, string> },
    ): StoredObject {
      checkNew(key, given.ifNoneMatch);
      const made = object(bytes, `"${md5(bytes).toString('hex')}"`, given.checksum, given.metadata);
      objects.set(key, made);
      return made;
    },

    begin(key: string, isChecked: boolean, metadata: Record<string, string>): Upload {
      const uploadId = randomUUID();
      const upload = { key, uploadId, isChecked, metadata, initiatedAtMs: nowMs(), parts: new Map<number, Part>() };
      uploads.set(uploadId, upload);
      return upload;
    },

    putPart(key: string, uploadId: string, number: number, bytes: Buffer, checksum: string | undefined): Part {
      const upload = uploadOf(key, uploadId);
      if (!(Number.isInteger(number) && number >= 1 && number <= MAX_PART_NUMBER))
        throw new S3Refusal(400, 'InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive');
      if (upload.isChecked && checksum === undefined)
        throw new S3Refusal(
          400,
          'InvalidRequest',
          'Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: null',
        );
      const part = { bytes, etag: `"${md5(bytes).toString('hex')}"`, checksum };
      upload.parts.set(number, part);
      return part;
    },

    complete(
      key: string,
      uploadId: string,
      named: readonly { number: number; etag: string; checksum: string | undefined }[],
      ifNoneMatch: string | undefined,
    ): StoredObject {
      const upload = uploadOf(key, uploadId);
      if (named.length === 0) throw new S3Refusal(400, 'MalformedXML', 'The XML you provided was not well-formed');
      if (named.some(({ number }, i) => i > 0 && number <= (named[i - 1]?.number ?? 0)))
        throw new S3Refusal(400, 'InvalidPartOrder', 'The list of parts was not in ascending order.');
      const parts = named.map(({ number, etag, checksum }, i) => {
        const part = upload.parts.get(number);
        const isIt = part !== undefined && part.etag.replaceAll('"', '') === etag.replaceAll('"', '');
        if (!isIt || (upload.isChecked && checksum !== part.checksum))
          throw new S3Refusal(400, 'InvalidPart', 'One or more of the specified parts could not be found.');
        if (i < named.length - 1 && part.bytes.length < MIN_PART_BYTES)
          throw new S3Refusal(400, 'EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size');
        return part;
      });
      checkNew(key, ifNoneMatch);
      const tags = Buffer.concat(parts.map(({ etag }) => Buffer.from(etag.replaceAll('"', ''), 'hex')));
      const sums = Buffer.concat(parts.map(({ checksum }) => Buffer.from(checksum ?? '', 'base64')));
      const checksum = upload.isChecked ? `${sha256Base64(sums)}-${parts.length}` : undefined;
      const bytes = Buffer.concat(parts.map((part) => part.bytes));
      const made = object(bytes, `"${md5(tags).toString('hex')}-${parts.length}"`, checksum, { ...upload.metadata });
      objects.set(key, made);
      uploads.delete(uploadId);
      return made;
    },

    abort(key: string, uploadId: string): void {
      uploads.delete(uploadOf(key, uploadId).uploadId);
    },
  };
}
