/**
 * A pack in parts, at the cloud: which upload it is, URLs for its next parts, and the end of it. What it holds of an upload
 * is asked of the store each time (S3's ListParts): neither side keeps a list of its own.
 */
import { createHash } from 'node:crypto';
import { packKey } from '#shared/archive/keys.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import {
  type CompleteRequest,
  type CompleteResponse,
  MAX_PARTS,
  MAX_PUT_BYTES,
  MIN_PART_BYTES,
  type PartsRequest,
  type PartsResponse,
} from '#shared/gateway-api.ts';
import type { GatewayServiceOptions, UploadExpectation } from './service.ts';

/** S3's multipart uploads, as far as a gateway needs them. One upload at a time to a key. */
export interface MultipartUploads {
  /** The upload that is under way for this key, or a new one; `exists`: the object is there, and nothing need be sent. */
  begin(
    key: string,
    wanted: { lengthBytes: number; partBytes: number },
  ): Promise<{ uploadId: string; partBytes: number } | 'exists'>;
  /** What is there of it: lower-case hex SHA-256 by part number. Error `not-found`. */
  list(key: string, uploadId: string): Promise<ReadonlyMap<number, string>>;
  /** A URL that lets its holder put this one part, as often as it wants to. */
  grantPart(
    key: string,
    uploadId: string,
    partNumber: number,
    expected: UploadExpectation,
  ): Promise<{ url: string; headers: Record<string, string> }>;
  /** Makes the object of these parts, create-only; the store tells ingest before it answers. Errors: `not-found`, `conflict`. */
  complete(key: string, uploadId: string, partSha256s: readonly string[]): Promise<'created' | 'exists'>;
}

const MIB = 1024 * 1024;
const GRANT_LIFE_MS = 15 * 60 * 1000;

/** The size that was wished for, within what S3 allows for an object of this length. */
export function partBytesFor(lengthBytes: number, wishedBytes: number): number {
  const leastBytes = Math.max(MIN_PART_BYTES, Math.ceil(lengthBytes / MAX_PARTS / MIB) * MIB);
  return Math.max(leastBytes, Math.min(wishedBytes, MAX_PUT_BYTES));
}

/** Errors: `not-found` (the pack, or the upload), `bad-request`. */
export async function grantParts(
  options: GatewayServiceOptions,
  asked: PartsRequest,
  tenant: string,
): Promise<PartsResponse> {
  const { multipart, nowMs } = options;
  const { uploadId, partBytes, parts } = asked;
  const pack = await announced(options, asked, tenant);
  if (multipart === undefined) throw noUpload();
  const key = packKey(tenant, pack);
  const there = await multipart.list(key, uploadId);
  const serverTimeMs = nowMs();
  const expiresAtMs = serverTimeMs + GRANT_LIFE_MS;
  const answers = parts.map(async ({ partNumber, sha256 }): Promise<PartsResponse['parts'][number]> => {
    if (there.get(partNumber) === sha256) return { kind: 'confirmed', partNumber };
    const lengthBytes = Math.min(partBytes, pack.lengthBytes - (partNumber - 1) * partBytes);
    if (lengthBytes < 1) throw new ArchiveError('bad-request', 'The pack ends before this part.', { partNumber });
    const grant = await multipart.grantPart(key, uploadId, partNumber, { lengthBytes, sha256, expiresAtMs });
    return { kind: 'put', partNumber, ...grant, expiresAtMs };
  });
  return { serverTimeMs, parts: await Promise.all(answers) };
}

/** Errors: `not-found`, `conflict`. */
export async function completeParts(
  options: GatewayServiceOptions,
  asked: CompleteRequest,
  tenant: string,
): Promise<CompleteResponse> {
  const { multipart, archive, nowMs } = options;
  const { uploadId, partCount, partsSha256 } = asked;
  const pack = await announced(options, asked, tenant);
  if (multipart === undefined) throw noUpload();
  const key = packKey(tenant, pack);
  // Who asks again did not hear the first answer: the upload is over, the object is there.
  if ((await archive.packs.head(key)) !== undefined) return { serverTimeMs: nowMs(), result: 'exists' };
  const there = await multipart.list(key, uploadId);
  const list = Array.from({ length: partCount }, (_, i) => there.get(i + 1));
  const digest = createHash('sha256');
  for (const sha256 of list) digest.update(Buffer.from(sha256 ?? '', 'hex'));
  if (list.includes(undefined) || digest.digest('hex') !== partsSha256)
    throw new ArchiveError('conflict', 'The cloud does not hold these parts; ask for grants again and send them.');
  return { serverTimeMs: nowMs(), result: await multipart.complete(key, uploadId, list as string[]) };
}

async function announced(
  { archive }: GatewayServiceOptions,
  { studyInstanceUid, seriesInstanceUid, packId }: PartsRequest | CompleteRequest,
  tenant: string,
): Promise<PackRecord> {
  const pack = await archive.index.getPack(tenant, { studyInstanceUid, seriesInstanceUid, packId });
  if (pack === undefined)
    throw new ArchiveError('not-found', 'A pack of this identifier was not announced.', { packId });
  return pack;
}

const noUpload = (): ArchiveError => new ArchiveError('not-found', 'There is no such upload; announce the pack again.');
