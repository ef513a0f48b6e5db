/**
 * The local stand-in of what S3 is to a gateway: PUT of one object through a presigned URL, create-only, verified before
 * it answers; and the event that S3 would send to the queue. The event is queued BEFORE the answer: who got 200 or 412
 * may forget about the pack.
 */
import type { PackArrived } from '#functions/ingest/step.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { ArchiveError, httpStatusOf, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { SignedUrls } from './signed-urls.ts';

export interface ObjectStoreOptions {
  readonly packs: PackStore;
  readonly urls: SignedUrls;
  readonly arrived: (message: PackArrived) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Logger;
}

export function createObjectStore({
  packs,
  urls,
  arrived,
  nowMs,
  log,
}: ObjectStoreOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      if (request.method !== 'PUT')
        throw new ArchiveError('method-not-allowed', 'Only PUT with a grant is possible here.');
      const { key, lengthBytes, sha256 } = urls.verifyPut(new URL(request.url), request.headers, nowMs());
      // Looking first spares the bytes of a pack that is here; create() decides all the same.
      const there = (await packs.head(key)) !== undefined;
      const result = there
        ? 'exists'
        : await packs.create(key, request.body ?? new Uint8Array(), { lengthBytes, sha256 });
      await arrived({ key });
      if (result === 'exists') throw new ArchiveError('already-exists', 'This object exists; it was not replaced.');
      return new Response(null, { status: 200 });
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      log.info({ code: error.code }, 'a PUT was answered without creating an object');
      const status = httpStatusOf[error.code];
      return Response.json(
        { status, title: error.code, detail: error.message },
        { status, headers: { 'Content-Type': 'application/problem+json' } },
      );
    }
  };
}
