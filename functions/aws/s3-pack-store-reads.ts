/**
 * Reading objects of S3: ranges in memory, long ones in pieces side by side, and streams that go on where a connection broke off. Not one
 * byte more or less than asked for: an answer that is not the range it was asked for is no answer.
 */
import { Readable } from 'node:stream';
import { GetObjectCommand } from '@aws-sdk/client-s3';
import type { ByteRange } from '#shared/archive/records.ts';
import { inParallel } from '#shared/archive/walk.ts';
import { ArchiveError } from '#shared/errors.ts';
import { asleep, codeOf, isMissing, isPreconditionFailed, missing, type ObjectHead, type S3Calls } from './s3-calls.ts';

/** One connection to S3 brings about 80 MB/s: what is longer comes over several. */
const PIECE_BYTES = 8 * 1024 * 1024;

/** A GET whose answer has begun. */
interface Answer {
  readonly body: Readable;
  readonly lengthBytes: number;
  readonly objectBytes: number;
  readonly etag: string | undefined;
}

export function createReads(calls: S3Calls, head: (key: string) => Promise<ObjectHead | undefined>) {
  const { bucket, client, silenceMs } = calls;

  /** @param span first byte and the one behind the last; absent: the whole object */
  async function get(
    key: string,
    span: { readonly from: number; readonly to: number } | undefined,
    etag?: string,
    signal?: AbortSignal,
  ): Promise<Answer> {
    const command = new GetObjectCommand({
      Bucket: bucket,
      Key: key,
      ...(span && { Range: `bytes=${span.from}-${span.to - 1}` }),
      ...(etag !== undefined && { IfMatch: etag }),
    });
    try {
      const answer = await client.send(command, { ...calls.options(), ...(signal && { abortSignal: signal }) });
      const body = answer.Body;
      if (!(body instanceof Readable)) throw new TypeError('the body of an answer is no stream of Node');
      // Whoever lets go of it early must not bring the process down.
      body.on('error', () => {});
      const lengthBytes = answer.ContentLength ?? Number.NaN;
      const [, from, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.ContentRange ?? '') ?? [];
      const objectBytes = span === undefined ? lengthBytes : Number(total);
      const isRight =
        span === undefined
          ? Number.isSafeInteger(lengthBytes)
          : Number(from) === span.from &&
            Number(last) === Math.min(span.to, objectBytes) - 1 &&
            lengthBytes === Number(last) + 1 - span.from;
      if (!isRight) {
        body.destroy();
        throw new BrokenAnswer('the answer is not the range that was asked for');
      }
      return { body, lengthBytes, objectBytes, etag: answer.ETag };
    } catch (error) {
      if (isMissing(error)) throw missing(key);
      if (codeOf(error) === 'InvalidRange') throw beyond(key, span);
      if (codeOf(error) === 'InvalidObjectState') throw asleep(key, coldClassOf(error), error);
      if (isPreconditionFailed(error))
        throw new ArchiveError('damaged', 'The object was replaced while it was being read.', { key }, error);
      throw error;
    }
  }

  /** Bytes of an answer as they come. Breaks off with an error when S3 falls silent, or ends before its end. */
  async function* chunksOf({ body, lengthBytes }: Answer): AsyncGenerator<Uint8Array, void, void> {
    let silence: NodeJS.Timeout | undefined;
    let left = lengthBytes;
    const chunks = body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    try {
      for (;;) {
        silence = setTimeout(() => body.destroy(new BrokenAnswer('the answer stands still')), silenceMs);
        const next = await chunks.next();
        clearTimeout(silence);
        if (next.done === true) break;
        left -= next.value.length;
        if (left < 0) throw new BrokenAnswer('the answer is longer than it said');
        yield next.value;
      }
      if (left > 0) throw new BrokenAnswer('the answer ended before its end');
    } finally {
      clearTimeout(silence);
      body.destroy();
    }
  }

  async function fill(target: Uint8Array, answer: Answer): Promise<void> {
    let at = 0;
    for await (const chunk of chunksOf(answer)) {
      target.set(chunk, at);
      at += chunk.length;
    }
  }

  /** What needs no bytes needs no GET; there is no range of none in HTTP. */
  async function checkEmpty(key: string, { offsetBytes, lengthBytes }: ByteRange): Promise<void> {
    const found = await head(key);
    if (found === undefined) throw missing(key);
    if (offsetBytes > found.lengthBytes) throw beyond(key, { from: offsetBytes, to: offsetBytes + lengthBytes });
  }

  return {
    async read(key: string, range: ByteRange | undefined): Promise<Uint8Array> {
      if (range !== undefined) checkRange(key, range);
      if (range?.lengthBytes === 0) {
        await checkEmpty(key, range);
        return new Uint8Array();
      }
      const from = range?.offsetBytes ?? 0;
      const firstEnd = from + Math.min(PIECE_BYTES, range?.lengthBytes ?? PIECE_BYTES);
      const { bytes, etag } = await calls.retried(async () => {
        const first = await get(key, { from, to: firstEnd }).catch((error: unknown) => {
          // Of an empty object no byte can be asked for.
          if (range === undefined && error instanceof ArchiveError && error.code === 'range-not-satisfiable')
            return undefined;
          throw error;
        });
        if (first === undefined) return { bytes: new Uint8Array(), etag: undefined };
        const to = range === undefined ? first.objectBytes : from + range.lengthBytes;
        if (to > first.objectBytes) {
          first.body.destroy();
          throw beyond(key, { from, to }, first.objectBytes);
        }
        const bytes = Buffer.allocUnsafeSlow(to - from);
        await fill(bytes, first);
        return { bytes, etag: first.etag };
      });
      const rest: number[] = [];
      for (let at = PIECE_BYTES; at < bytes.length; at += PIECE_BYTES) rest.push(at);
      await inParallel(rest, (at) => {
        const piece = bytes.subarray(at, at + PIECE_BYTES);
        return calls.retried(async () =>
          fill(piece, await get(key, { from: from + at, to: from + at + piece.length }, etag)),
        );
      });
      return bytes;
    },

    async stream(key: string, range: ByteRange | undefined): Promise<ReadableStream<Uint8Array>> {
      if (range !== undefined) checkRange(key, range);
      if (range?.lengthBytes === 0) {
        await checkEmpty(key, range);
        return new Blob([]).stream();
      }
      const cancelled = new AbortController();
      const span = range && { from: range.offsetBytes, to: range.offsetBytes + range.lengthBytes };
      const first = await calls.retried(() => get(key, span));
      const end = span?.to ?? first.objectBytes;
      if (end > first.objectBytes) {
        first.body.destroy();
        throw beyond(key, span, first.objectBytes);
      }
      let at = span?.from ?? 0;
      let body: Readable | undefined = first.body;
      let chunks: AsyncGenerator<Uint8Array, void, void> | undefined = chunksOf(first);

      /** The next bytes, over another connection where this one broke. */
      const next = (): Promise<Uint8Array | undefined> =>
        calls.retried(async () => {
          if (chunks === undefined) {
            const answer = await get(key, { from: at, to: end }, first.etag, cancelled.signal);
            body = answer.body;
            chunks = chunksOf(answer);
          }
          try {
            const { done, value } = await chunks.next();
            return done === true ? undefined : value;
          } catch (error) {
            chunks = undefined;
            if (cancelled.signal.aborted) throw new ArchiveError('unavailable', 'Nobody reads this stream any more.');
            throw error;
          }
        });
      return new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const chunk = at < end ? await next() : undefined;
            if (chunk !== undefined) {
              controller.enqueue(chunk);
              at += chunk.length;
            }
            if (at < end) return;
            // Reading on to the end of the answer gives its connection back.
            await chunks?.next().catch(() => {});
            controller.close();
          },
          cancel() {
            cancelled.abort();
            body?.destroy();
          },
        },
        { highWaterMark: 0 },
      );
    },
  };
}

/** Of an answer that did not come whole: it is asked for again. */
class BrokenAnswer extends Error {
  readonly code = 'ECONNRESET';
}

const coldClassOf = (error: unknown): string | undefined => {
  const { StorageClass, AccessTier } = error as { StorageClass?: string; AccessTier?: string };
  return AccessTier ?? StorageClass;
};

function checkRange(key: string, { offsetBytes, lengthBytes }: ByteRange): void {
  const span = { from: offsetBytes, to: offsetBytes + lengthBytes };
  if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(lengthBytes)) throw beyond(key, span);
  if (offsetBytes < 0 || lengthBytes < 0) throw beyond(key, span);
}

function beyond(
  key: string,
  span: { readonly from: number; readonly to: number } | undefined,
  objectBytes?: number,
): ArchiveError {
  return new ArchiveError('range-not-satisfiable', 'The range goes beyond the end of the object.', {
    key,
    offsetBytes: span?.from,
    lengthBytes: span && span.to - span.from,
    objectBytes,
  });
}
