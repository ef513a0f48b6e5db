/**
 * Conditional and ranged requests (RFC 9110 §13.1.2, §14.1.2): entity tags, If-None-Match, If-Range and one range of bytes.
 */
import { createHash } from 'node:crypto';
import type { ByteRange } from '../archive/records.ts';
import { ArchiveError } from '../errors.ts';

/**
 * To be counted up with whatever makes other bytes of the same instances: a picture that was wrong, metadata that lacked something. Who
 * holds the old ones must not hear that nothing has changed.
 */
export const representationVersion = 2;

/** A strong entity tag over what identifies the bytes of a representation. */
export function entityTag(...parts: readonly (string | number | undefined)[]): string {
  const hash = createHash('sha256').update(`${representationVersion}\n`);
  for (const part of parts) hash.update(`${part ?? ''}\n`);
  return `"${hash.digest('base64url').slice(0, 27)}"`;
}

/**
 * The tag of the same representation in a content coding: weak, since how it is compressed is nobody's promise, and with the same
 * opaque part, so that whoever holds it in one coding holds it in any.
 */
export const codedTag = (tag: string, coding: string | undefined): string => (coding === undefined ? tag : `W/${tag}`);

/** Whether the client holds this representation already; then 304 is the answer. Compared weakly (RFC 9110 §13.1.2). */
export function isUnchanged(request: Request, tag: string): boolean {
  const asked = request.headers.get('if-none-match');
  if (asked === null) return false;
  const opaque = (text: string): string => text.trim().replace(/^W\//, '');
  return asked.trim() === '*' || asked.split(',').some((one) => opaque(one) === opaque(tag));
}

/** Cache-Control of frames, pictures and bulk data: what their URLs name seldom changes. */
export const keptForAWhile = 'private, max-age=600';

/** @param cacheControl what the whole answer would say (RFC 9110 §15.4.5); default: that of every answer */
export function notModified(tag: string, cacheControl?: string): Response {
  const headers = { etag: tag, ...(cacheControl === undefined ? {} : { 'cache-control': cacheControl }) };
  return new Response(null, { status: 304, headers });
}

/**
 * The range that the client asks for of a representation of `lengthBytes`; undefined for the whole, also when there are
 * several ranges or another unit, as RFC 9110 §14.2 allows. Error `range-not-satisfiable`.
 */
export function rangeOf(request: Request, lengthBytes: number, tag: string): ByteRange | undefined {
  const condition = request.headers.get('if-range');
  // Compared strongly: a weak tag, or a date, promises nothing about single bytes (RFC 9110 §13.1.5).
  if (condition !== null && (condition.trim() !== tag || tag.startsWith('W/'))) return undefined;
  const match = /^bytes=([0-9]{0,15})-([0-9]{0,15})$/i.exec(request.headers.get('range')?.trim() ?? '');
  if (match === null || match[0].endsWith('=-')) return undefined;
  const [, from = '', to = ''] = match;
  const start = from === '' ? Math.max(0, lengthBytes - Number(to)) : Number(from);
  const end = from === '' || to === '' ? lengthBytes : Math.min(lengthBytes, Number(to) + 1);
  if (from !== '' && to !== '' && Number(to) < Number(from)) return undefined;
  if (start >= end) {
    throw new ArchiveError('range-not-satisfiable', `The range lies outside the ${lengthBytes} bytes there are.`, {
      lengthBytes,
    });
  }
  return { offsetBytes: start, lengthBytes: end - start };
}

/** The header fields of an answer that is `range` of `lengthBytes`, or all of them; status 206 or 200 goes with it. */
export function rangeHeaders(range: ByteRange | undefined, lengthBytes: number): Record<string, string> {
  if (range === undefined) return { 'content-length': String(lengthBytes), 'accept-ranges': 'bytes' };
  const last = range.offsetBytes + range.lengthBytes - 1;
  return {
    'content-length': String(range.lengthBytes),
    'content-range': `bytes ${range.offsetBytes}-${last}/${lengthBytes}`,
    'accept-ranges': 'bytes',
  };
}
