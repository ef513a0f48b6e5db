/**
 * What a gateway asks the cloud: grants to upload sealed packs, and what became of them. The announcement is kept as the
 * pack's record (`sealed`, with length and SHA-256), so that ingest knows what has to arrive. Bytes never pass here.
 */

import type { z } from 'zod';
import { packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { chooseCoding, encodeBody } from '#shared/dicomweb/content-coding.ts';
import { ArchiveError } from '#shared/errors.ts';
import {
  type CompleteResponse,
  completeRequest,
  MAX_PUT_BYTES,
  type PartsResponse,
  partsRequest,
  type Receipt,
  type StatusResponse,
  statusRequest,
  UPLOAD_COMPLETE_PATH,
  UPLOAD_PARTS_PATH,
  UPLOAD_STATUS_PATH,
  UPLOADS_PATH,
  type UploadAnswer,
  type UploadRequest,
  type UploadResponse,
  uploadRequest,
} from '#shared/gateway-api.ts';
import type { Logger } from '#shared/log.ts';
import { problemResponse } from '#shared/problem.ts';
import { completeParts, grantParts, type MultipartUploads, partBytesFor } from './parts.ts';
import { type GrantRead, readRoutes } from './reads.ts';

const MAX_BODY_BYTES = 1024 * 1024;
const GRANT_LIFE_MS = 15 * 60 * 1000;
/** Below it compressing an answer costs more than it saves. */
const SMALLEST_COMPRESSED_LENGTH = 16 * 1024;

export interface UploadExpectation {
  readonly lengthBytes: number;
  /** Lower-case hex. */
  readonly sha256: string;
  readonly expiresAtMs: number;
}

/** Makes the one URL that lets its holder create one object: bound to key, method, length, SHA-256 and expiry. */
export type GrantUpload = (
  key: string,
  expected: UploadExpectation,
) => Promise<{ url: string; headers: Record<string, string> }>;

export interface GatewayServiceOptions {
  readonly archive: Archive;
  readonly grantUpload: GrantUpload;
  readonly grantRead: GrantRead;
  /** Absent: packs come in one PUT or not at all. */
  readonly multipart?: MultipartUploads;
  readonly tenantOf: (request: Request) => string;
  readonly nowMs: () => number;
  readonly log: Logger;
}

/** The POST resources of gateway-api.ts and gateway-read-api.ts. Errors: problem details (RFC 9457) with a sentence. */
export function createGatewayService(options: GatewayServiceOptions): (request: Request) => Promise<Response> {
  const reading = Object.fromEntries(
    Object.entries(readRoutes).map(([path, read]) => [
      path,
      (own: GatewayServiceOptions, request: Request, tenant: string) =>
        read(own, (schema) => readBody(request, schema), tenant),
    ]),
  );
  const routes = {
    [UPLOADS_PATH]: announce,
    [UPLOAD_PARTS_PATH]: parts,
    [UPLOAD_COMPLETE_PATH]: complete,
    [UPLOAD_STATUS_PATH]: status,
    ...reading,
  } as const;
  return async (request) => {
    try {
      const route = Object.entries(routes).find(([path]) => new URL(request.url).pathname === path)?.[1];
      if (route === undefined) throw new ArchiveError('not-found', 'There is no such resource below /gateway.');
      if (request.method !== 'POST') throw new ArchiveError('method-not-allowed', 'Use POST.', { allow: 'POST' });
      return answered(request, await route(options, request, options.tenantOf(request)));
    } catch (error) {
      return problemResponse(error, options.log);
    }
  };
}

function answered(request: Request, answer: unknown): Response {
  const text = JSON.stringify(answer);
  const headers = new Headers({ 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  const coding =
    text.length < SMALLEST_COMPRESSED_LENGTH ? undefined : chooseCoding(request.headers.get('accept-encoding'));
  if (coding === undefined) return new Response(text, { headers });
  headers.set('Content-Encoding', coding);
  return new Response(encodeBody(new Blob([text]).stream(), coding), { headers });
}

async function announce(options: GatewayServiceOptions, request: Request, tenant: string): Promise<UploadResponse> {
  const { packs, multipart } = await readBody(request, uploadRequest);
  const answers = await Promise.all(packs.map((pack) => answerFor(options, tenant, pack, multipart)));
  return { serverTimeMs: options.nowMs(), packs: answers };
}

async function answerFor(
  options: GatewayServiceOptions,
  tenant: string,
  pack: UploadRequest['packs'][number],
  wish: UploadRequest['multipart'],
): Promise<UploadAnswer> {
  const { packId, lengthBytes, sha256, instanceCount } = pack;
  const ref: PackRef = { studyInstanceUid: pack.studyInstanceUid, seriesInstanceUid: pack.seriesInstanceUid, packId };
  const nowMs = options.nowMs();
  const announced: PackRecord = {
    ...ref,
    tenant,
    state: 'sealed',
    instanceCount,
    lengthBytes,
    sha256,
    createdAtMs: nowMs,
    sealedAtMs: nowMs,
  };
  const known = await options.archive.index.createPack(announced);
  if (known !== undefined) {
    if (known.sha256 !== sha256 || known.lengthBytes !== lengthBytes) {
      options.log.error({ packId }, 'a pack was announced again with other bytes');
      return {
        kind: 'rejected',
        packId,
        reason: 'A pack of this identifier is known with other bytes; seal the instances into a new pack.',
      };
    }
    const settled = settledAnswer(known);
    if (settled !== undefined) return settled;
  }
  const key = packKey(tenant, ref);
  if (wish !== undefined && options.multipart !== undefined && lengthBytes > Math.min(wish.aboveBytes, MAX_PUT_BYTES)) {
    const partBytes = partBytesFor(lengthBytes, wish.partBytes);
    const upload = await options.multipart.begin(key, { lengthBytes, partBytes });
    return upload === 'exists' ? { kind: 'stored', packId } : { kind: 'parts', packId, ...upload };
  }
  if (lengthBytes > MAX_PUT_BYTES)
    throw new ArchiveError('too-large', 'A pack of this length comes in parts only; both sides must know how.');
  const expiresAtMs = nowMs + GRANT_LIFE_MS;
  const grant = await options.grantUpload(key, { lengthBytes, sha256, expiresAtMs });
  return { kind: 'put', packId, ...grant, expiresAtMs };
}

const parts = async (options: GatewayServiceOptions, request: Request, tenant: string): Promise<PartsResponse> =>
  grantParts(options, await readBody(request, partsRequest), tenant);

const complete = async (options: GatewayServiceOptions, request: Request, tenant: string): Promise<CompleteResponse> =>
  completeParts(options, await readBody(request, completeRequest), tenant);

async function status(options: GatewayServiceOptions, request: Request, tenant: string): Promise<StatusResponse> {
  const { packs } = await readBody(request, statusRequest);
  const answers = await Promise.all(
    packs.map(async (ref) => {
      const record = await options.archive.index.getPack(tenant, ref);
      return (record && settledAnswer(record)) ?? { kind: 'pending' as const, packId: ref.packId };
    }),
  );
  return { serverTimeMs: options.nowMs(), packs: answers };
}

function settledAnswer(
  record: PackRecord,
):
  | { kind: 'archived'; packId: string; receipt: Receipt }
  | { kind: 'rejected'; packId: string; reason: string }
  | undefined {
  const { packId } = record;
  if (record.state === 'rejected')
    return { kind: 'rejected', packId, reason: record.reason ?? 'The pack was rejected.' };
  if (record.state !== 'archived' || record.sha256 === undefined) return undefined;
  return {
    kind: 'archived',
    packId,
    receipt: { sha256: record.sha256, instanceCount: record.instanceCount, archivedAtMs: record.archivedAtMs ?? 0 },
  };
}

async function readBody<T extends z.ZodType>(request: Request, schema: T): Promise<z.infer<T>> {
  // A page of another origin may send what a form can send, unasked; JSON it may not (the Fetch standard's CORS-safelisted types).
  if (!/^application\/json *(;|$)/i.test(request.headers.get('content-type') ?? ''))
    throw new ArchiveError('unsupported-media-type', 'Send the body as Content-Type: application/json.');
  const declared = Number(request.headers.get('content-length') ?? 0);
  if (declared > MAX_BODY_BYTES)
    throw new ArchiveError('too-large', `The body may have ${MAX_BODY_BYTES} bytes at most; name fewer packs.`);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request.body ?? []) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES)
      throw new ArchiveError('too-large', `The body may have ${MAX_BODY_BYTES} bytes at most; name fewer packs.`);
    chunks.push(chunk);
  }
  let json: unknown;
  try {
    json = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new ArchiveError('bad-request', 'The body is not JSON.', {}, cause);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const first = parsed.error.issues[0];
    throw new ArchiveError(
      'bad-request',
      `${first?.path.join('.') ?? 'body'}: ${first?.message ?? 'is not as the contract says'}.`,
    );
  }
  return parsed.data;
}
