/**
 * Creating objects of S3, once: under If-None-Match, with the SHA-256 that S3 checks before it keeps anything, and checked here before
 * that. Up to 100 MB a body is held in memory and goes in one PUT, which can be sent again; what is longer goes in parts, of which nothing
 * is left when they turn out to be other bytes. An upload whose abort fails too is removed by the bucket's lifecycle rule.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { type Announcement, announcedBytes } from '#shared/archive/announced-body.ts';
import { ArchiveError } from '#shared/errors.ts';
import { codeOf, headOf, isPreconditionFailed, type S3Calls, toBase64 } from './s3-calls.ts';

type Body = Uint8Array | ReadableStream<Uint8Array>;

export interface PartsOptions {
  /** What is longer goes in parts: so much of each body is held in memory. */
  readonly aboveBytes: number;
  /** At least; three of them are held in memory. S3 takes none below 5 MiB but the last. */
  readonly partBytes: number;
}

export const defaultParts: PartsOptions = { aboveBytes: 100 * 1000 * 1000, partBytes: 16 * 1024 * 1024 };
const MAX_PARTS = 10_000;
const PARTS_AT_ONCE = 3;
/** Hashed in one go: a few milliseconds, then others have their turn. */
const HASH_BYTES = 4 * 1024 * 1024;

export function createWrites(calls: S3Calls, { aboveBytes, partBytes: leastPartBytes }: PartsOptions) {
  const { bucket, client } = calls;

  /** Whether what lies there was made by this call, its answer lost: nobody else has this word. */
  const isOurs = async (key: string, writer: string): Promise<boolean> => (await headOf(calls, key))?.writer === writer;

  function putWhole(key: string, bytes: Uint8Array, sha256: string): Promise<'created' | 'exists'> {
    const writer = newWriter();
    return calls.retried(async (isUnsure) => {
      const command = new PutObjectCommand({
        Bucket: bucket,
        Key: key,
        Body: bytes,
        ContentLength: bytes.length,
        ChecksumSHA256: toBase64(sha256),
        IfNoneMatch: '*',
        Metadata: { writer },
      });
      command.middlewareStack.add(signHash(sha256), beforeSigning);
      try {
        await client.send(command, calls.options(bytes.length));
        return 'created';
      } catch (error) {
        if (!isPreconditionFailed(error)) throw error;
        return isUnsure && (await isOurs(key, writer)) ? 'created' : 'exists';
      }
    });
  }

  async function putInParts(key: string, body: Body, expected: Announcement): Promise<'created' | 'exists'> {
    const writer = newWriter();
    const begun = await calls.retried(() =>
      client.send(
        new CreateMultipartUploadCommand({
          Bucket: bucket,
          Key: key,
          ChecksumAlgorithm: 'SHA256',
          ChecksumType: 'COMPOSITE',
          Metadata: { writer },
        }),
        calls.options(),
      ),
    );
    const upload = { Bucket: bucket, Key: key, UploadId: begun.UploadId };
    const parts: CompletedPart[] = [];
    const sending = new Set<Promise<void>>();
    let failure: { readonly error: unknown } | undefined;

    async function send(PartNumber: number, bytes: Uint8Array): Promise<void> {
      const sha256 = await sha256Of(bytes);
      const ChecksumSHA256 = toBase64(sha256);
      const { ETag } = await calls.retried(() => {
        const command = new UploadPartCommand({
          ...upload,
          PartNumber,
          Body: bytes,
          ContentLength: bytes.length,
          ChecksumSHA256,
        });
        command.middlewareStack.add(signHash(sha256), beforeSigning);
        return client.send(command, calls.options(bytes.length));
      });
      parts[PartNumber - 1] = { PartNumber, ETag, ChecksumSHA256 };
    }

    try {
      const partBytes = Math.max(leastPartBytes, Math.ceil(expected.lengthBytes / MAX_PARTS));
      let count = 0;
      for await (const bytes of piecesOf(announcedBytes(chunksOf(body), expected), partBytes)) {
        const one = send(++count, bytes)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => sending.delete(one));
        sending.add(one);
        if (sending.size >= PARTS_AT_ONCE) await Promise.race(sending);
        if (failure !== undefined) break;
      }
      await Promise.all(sending);
      if (failure !== undefined) throw failure.error;
      const result = await complete(upload, parts, writer);
      if (result === 'exists') await abort(upload);
      return result;
    } catch (error) {
      await Promise.all(sending);
      await abort(upload);
      if (codeOf(error) !== 'NoSuchUpload') throw error;
      // A gateway that begins to send the same pack ends what others have begun.
      throw new ArchiveError('unavailable', 'The upload was ended by somebody else; try again.', {}, error);
    }
  }

  type Upload = { readonly Bucket: string; readonly Key: string; readonly UploadId: string | undefined };

  function complete(upload: Upload, Parts: CompletedPart[], writer: string): Promise<'created' | 'exists'> {
    return calls.retried(async (isUnsure) => {
      try {
        await client.send(
          new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts }, IfNoneMatch: '*' }),
          calls.options(),
        );
        return 'created';
      } catch (error) {
        const isOver = codeOf(error) === 'NoSuchUpload' && isUnsure;
        if (!isPreconditionFailed(error) && !isOver) throw error;
        if (isUnsure && (await isOurs(upload.Key, writer))) return 'created';
        if (isOver) throw error;
        return 'exists';
      }
    });
  }

  /** What cannot be removed now is removed by the lifecycle rule; why the upload failed is what its sender must hear. */
  async function abort(upload: Upload): Promise<void> {
    await calls.retried(() => client.send(new AbortMultipartUploadCommand(upload), calls.options())).catch(() => {});
  }

  return async (key: string, body: Body, expected: Announcement): Promise<'created' | 'exists'> => {
    const isLong = expected.lengthBytes > aboveBytes;
    // Looking first spares the bytes of what is there; If-None-Match decides all the same.
    if ((isLong || !(body instanceof Uint8Array)) && (await calls.retried(() => headOf(calls, key))) !== undefined) {
      if (!(body instanceof Uint8Array)) await body.cancel();
      return 'exists';
    }
    if (isLong) return putInParts(key, body, expected);
    let bytes: Uint8Array;
    if (body instanceof Uint8Array) {
      for await (const _ of announcedBytes(chunksOf(body), expected));
      bytes = body;
    } else {
      bytes = Buffer.allocUnsafeSlow(expected.lengthBytes);
      let at = 0;
      for await (const chunk of announcedBytes(chunksOf(body), expected)) {
        bytes.set(chunk, at);
        at += chunk.length;
      }
    }
    return putWhole(key, bytes, expected.sha256);
  };
}

const newWriter = (): string => randomBytes(12).toString('base64url');

/** The signature covers the body by this hash: the SDK would work it out a second time. */
const signHash =
  (sha256: string) =>
  <Args extends { request: unknown }, Result>(next: (args: Args) => Promise<Result>) =>
  (args: Args): Promise<Result> => {
    (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = sha256;
    return next(args);
  };
const beforeSigning = { step: 'build', name: 'signHash' } as const;

async function sha256Of(bytes: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    if (at > 0) await turn();
    hash.update(bytes.subarray(at, at + HASH_BYTES));
  }
  return hash.digest('hex');
}

/** A sender that goes away is the sender's failure, not the store's. */
async function* chunksOf(body: Body): AsyncGenerator<Uint8Array, void, void> {
  if (body instanceof Uint8Array) {
    for (let at = 0; at < body.length; at += HASH_BYTES) {
      if (at > 0) await turn();
      yield body.subarray(at, at + HASH_BYTES);
    }
    return;
  }
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch((cause: unknown) => {
        if (cause instanceof ArchiveError) throw cause;
        throw new ArchiveError('checksum-mismatch', 'The body broke off before its end; send it again.', {}, cause);
      });
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await chunks.return?.().catch(() => {});
  }
}

/** The same bytes in pieces of this length, the last one shorter; each in memory of its own. */
async function* piecesOf(
  chunks: AsyncIterable<Uint8Array>,
  pieceBytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  let piece = Buffer.allocUnsafeSlow(pieceBytes);
  let filled = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; ) {
      const some = chunk.subarray(at, at + pieceBytes - filled);
      piece.set(some, filled);
      at += some.length;
      filled += some.length;
      if (filled < pieceBytes) continue;
      yield piece;
      piece = Buffer.allocUnsafeSlow(pieceBytes);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}
