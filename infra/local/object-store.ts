/**
 * The local stand-in of what S3 is to a gateway: PUT of one object through a presigned URL, create-only, verified before
 * it answers; and the event that S3 would send to the queue. The event is queued BEFORE the answer: who got 200 or 412
 * may forget about the pack. And GET of one object, whole or a range, through another.
 */
import type { PackArrived } from '#functions/ingest/step.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { entityTag, rangeHeaders, rangeOf } from '#shared/dicomweb/conditional.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { problemResponse } from '#shared/problem.ts';
import type { PartStore } from './part-store.ts';
import type { SignedUrls } from './signed-urls.ts';

export interface ObjectStoreOptions {
  readonly packs: PackStore;
  readonly urls: SignedUrls;
  /** Absent: objects come whole. */
  readonly parts?: Pick<PartStore, 'put'>;
  readonly arrived: (message: PackArrived) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Logger;
}

export function createObjectStore({
  packs,
  urls,
  parts,
  arrived,
  nowMs,
  log,
}: ObjectStoreOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      if (request.method === 'GET')
        return await give(packs, request, urls.verifyGet(new URL(request.url), nowMs()).key);
      if (request.method !== 'PUT')
        throw new ArchiveError('method-not-allowed', 'Only PUT and GET with a grant are possible here.', {
          allow: 'GET, PUT',
        });
      const { key, lengthBytes, sha256 } = urls.verifyPut(new URL(request.url), request.headers, nowMs());
      if (await parts?.put(key, request.body, { lengthBytes, sha256 })) return new Response(null, { status: 200 });
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
      log.info({ code: error.code }, 'a request for an object was answered without fulfilling it');
      return problemResponse(error, log);
    }
  };
}

/** All of an object or one range of it (RFC 9110 §14.2). Errors: `not-found`, `range-not-satisfiable`. */
async function give(packs: PackStore, request: Request, key: string): Promise<Response> {
  const found = await packs.head(key);
  if (found === undefined) throw new ArchiveError('not-found', 'There is no object under this key.');
  // Objects never change: their key is all that an entity tag need tell apart.
  const etag = entityTag(key);
  const range = rangeOf(request, found.lengthBytes, etag);
  return new Response(await packs.stream(key, range), {
    status: range === undefined ? 200 : 206,
    headers: { 'content-type': 'application/octet-stream', etag, ...rangeHeaders(range, found.lengthBytes) },
  });
}
