/**
 * DELETE of a study, a series or an instance: an extension (PS3.18 has no such transaction). What is deleted is shown no more at once; when its
 * bytes go is the archive's matter. And what is answered to who asks for it afterwards: 410.
 */
import { deleteInstances, isDeleted } from '../archive/deletion.ts';
import type { ArchiveIndex } from '../archive/ports.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { Context } from './context.ts';
import { type AnyRef, levelNameOf, unknownReference } from './references.ts';

/** Deletes what the reference names; false: nothing of it is or ever was there. Idempotent. */
export type Eraser = (tenant: string, ref: AnyRef) => Promise<boolean>;

/** @param nowMs the clock by which packs are marked as archived */
export const createEraser =
  (index: ArchiveIndex, nowMs: () => number): Eraser =>
  (tenant, ref) =>
    deleteInstances(index, tenant, ref, nowMs);

/** 204, also when it was deleted before. Errors: `forbidden` for a page of another origin, `not-found`. */
export async function erase(
  eraser: Eraser,
  context: Context,
  ref: AnyRef,
  allowedOrigins: readonly string[],
): Promise<Response> {
  refuseOtherOrigins(context, allowedOrigins);
  if (!(await eraser(context.tenant, ref))) throw unknownReference(ref);
  context.log.info({}, `a ${levelNameOf(ref)} was deleted`);
  return new Response(null, { status: 204 });
}

/**
 * A page of another origin may not send DELETE before the service has allowed it (the Fetch standard: it is no CORS-safelisted method). This
 * is for browsers and proxies that do not ask, and for pages without an origin of their own. Where any origin may read, a page that deletes
 * has to show that it was given a token.
 */
function refuseOtherOrigins({ request, baseUrl }: Context, allowedOrigins: readonly string[]): void {
  const origin = request.headers.get('origin');
  const isOther = origin !== null && origin !== new URL(baseUrl).origin;
  const isCrossSite = origin === null && request.headers.get('sec-fetch-site') === 'cross-site';
  const hasToken = request.headers.has('authorization');
  const isAllowed = origin !== null && (allowedOrigins.includes(origin) || (allowedOrigins.includes('*') && hasToken));
  if ((isOther && !isAllowed) || isCrossSite)
    throw new ArchiveError('forbidden', 'A page of another origin may not delete anything here.');
}

/** What to answer instead of `error` where nothing was found: `gone` when what was asked for is deleted. */
export async function goneIfDeleted(
  index: ArchiveIndex,
  tenant: string,
  ref: AnyRef,
  error: unknown,
): Promise<unknown> {
  // A UID that is none is a bad request only when nothing was stored under it.
  if (!isArchiveError(error, 'not-found') && !isArchiveError(error, 'bad-request')) return error;
  if (!(await isDeleted(index, tenant, ref))) return error;
  return new ArchiveError('gone', `This ${levelNameOf(ref)} was deleted from the archive.`, { ...ref });
}
