/**
 * Presigned URLs of the local store: what S3's SigV4 does, with one key of this machine. A URL lets its holder do one
 * thing before it expires: PUT one object of one length and one SHA-256, or GET one. Changing any of these voids the signature.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { UploadExpectation } from '#functions/gateway/service.ts';
import { ArchiveError } from '#shared/errors.ts';

/** Below this path of the cloud's origin lie the objects, under their keys. */
export const OBJECTS_PATH = '/objects/';

export interface SignedUrls {
  signPut(key: string, expected: UploadExpectation): { url: string; headers: Record<string, string> };
  /**
   * What the URL of a PUT allows, once its signature, its expiry and the headers that it binds were found right.
   * Errors: `forbidden` with a sentence, `bad-request` for a missing length.
   */
  verifyPut(url: URL, headers: Headers, nowMs: number): { key: string; lengthBytes: number; sha256: string };
  /** Ranges are the holder's choice. */
  signGet(key: string, expiresAtMs: number): { url: string; headers: Record<string, string> };
  /** The key that the URL of a GET gives. Error `forbidden`. */
  verifyGet(url: URL, nowMs: number): { key: string };
}

/** The key that signs lies in the data folder and is made at first start. */
export function createSignedUrls(dataFolder: string, origin: () => string): SignedUrls {
  const secret = readOrMakeSecret(join(dataFolder, 'signing.key'));
  const signatureOf = (key: string, query: URLSearchParams): string => {
    const text = ['PUT', key, query.get('expires'), query.get('length'), query.get('sha256')].join('\n');
    return createHmac('sha256', secret).update(text).digest('hex');
  };
  const readSignatureOf = (key: string, query: URLSearchParams): string =>
    createHmac('sha256', secret)
      .update(['GET', key, query.get('expires')].join('\n'))
      .digest('hex');
  return {
    signGet(key, expiresAtMs) {
      const query = new URLSearchParams({ expires: String(expiresAtMs) });
      query.set('signature', readSignatureOf(key, query));
      return { url: `${origin()}${OBJECTS_PATH}${pathOf(key)}?${query}`, headers: {} };
    },
    verifyGet(url, nowMs) {
      const key = decodeKey(url.pathname.slice(OBJECTS_PATH.length));
      if (!isSame(url.searchParams.get('signature') ?? '', readSignatureOf(key, url.searchParams)))
        throw new ArchiveError(
          'forbidden',
          'The signature does not fit this method, key and expiry; ask for a new grant.',
        );
      if (!(nowMs < Number(url.searchParams.get('expires'))))
        throw new ArchiveError('forbidden', 'The grant has expired; ask for a new one.');
      return { key };
    },
    signPut(key, { lengthBytes, sha256, expiresAtMs }) {
      const query = new URLSearchParams({ expires: String(expiresAtMs), length: String(lengthBytes), sha256 });
      query.set('signature', signatureOf(key, query));
      const path = key.split('/').map(encodeURIComponent).join('/');
      const headers = { 'If-None-Match': '*', 'x-amz-checksum-sha256': Buffer.from(sha256, 'hex').toString('base64') };
      return { url: `${origin()}${OBJECTS_PATH}${path}?${query}`, headers };
    },
    verifyPut(url, headers, nowMs) {
      const key = decodeKey(url.pathname.slice(OBJECTS_PATH.length));
      const query = url.searchParams;
      const given = Buffer.from(query.get('signature') ?? '', 'utf8');
      const right = Buffer.from(signatureOf(key, query), 'utf8');
      if (given.length !== right.length || !timingSafeEqual(given, right)) {
        throw new ArchiveError(
          'forbidden',
          'The signature does not fit this method, key, length, checksum and expiry; ask for a new grant.',
        );
      }
      if (!(nowMs < Number(query.get('expires'))))
        throw new ArchiveError('forbidden', 'The grant has expired; ask for a new one.');
      const lengthBytes = Number(query.get('length'));
      const sha256 = query.get('sha256') ?? '';
      if (headers.get('content-length') === null) throw new ArchiveError('bad-request', 'Send a Content-Length.');
      if (Number(headers.get('content-length')) !== lengthBytes) {
        throw new ArchiveError('forbidden', 'The Content-Length is not the one that was granted.');
      }
      if (headers.get('if-none-match') !== '*')
        throw new ArchiveError('forbidden', 'Send the header If-None-Match: * that was granted.');
      const checksum = headers.get('x-amz-checksum-sha256') ?? '';
      if (Buffer.from(checksum, 'base64').toString('hex') !== sha256) {
        throw new ArchiveError('forbidden', 'Send the header x-amz-checksum-sha256 that was granted.');
      }
      return { key, lengthBytes, sha256 };
    },
  };
}

const pathOf = (key: string): string => key.split('/').map(encodeURIComponent).join('/');

/** In the same time whatever is wrong. */
function isSame(given: string, right: string): boolean {
  const [a, b] = [Buffer.from(given, 'utf8'), Buffer.from(right, 'utf8')];
  return a.length === b.length && timingSafeEqual(a, b);
}

function decodeKey(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (cause) {
    throw new ArchiveError('bad-request', 'The path is not percent-encoded as it should be.', {}, cause);
  }
}

function readOrMakeSecret(file: string): Buffer {
  try {
    const secret = readFileSync(file);
    if (secret.length === 32) return secret;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const secret = randomBytes(32);
  writeFileSync(file, secret, { mode: 0o600 });
  return secret;
}
