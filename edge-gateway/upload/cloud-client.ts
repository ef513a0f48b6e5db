/**
 * The gateway's side of gateway-api.ts: announce sealed packs, send their bytes to the granted URLs, whole or in parts, ask
 * what became of them. It knows nothing of when or how often: that is uploader.ts. Every failure is an ArchiveError that
 * says whether the cloud was reached (`unavailable`, `timeout`) or what it answered.
 */
import { Readable } from 'node:stream';
import type { z } from 'zod';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { ArchiveError, type ErrorCode } from '#shared/errors.ts';
import {
  type CompleteRequest,
  type CompleteResponse,
  completeResponse,
  type PartsRequest,
  type PartsResponse,
  partsResponse,
  type StatusResponse,
  statusResponse,
  UPLOAD_COMPLETE_PATH,
  UPLOAD_PARTS_PATH,
  UPLOAD_STATUS_PATH,
  UPLOADS_PATH,
  type UploadAnswer,
  type UploadRequest,
  type UploadResponse,
  uploadResponse,
} from '#shared/gateway-api.ts';
import { type Answer, createHttpExchanges, type ExchangeLimits } from './http-exchange.ts';
import type { ServerClock } from './server-clock.ts';

const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
const CALL_LIMITS: ExchangeLimits = {
  windowMs: 30_000,
  windowBytes: 1,
  answerMs: 30_000,
  maxAnswerBytes: MAX_ANSWER_BYTES,
};
/** A modem would do; a connection that moves less has died, or somebody plays with us. */
const PUT_LIMITS: ExchangeLimits = {
  windowMs: 60_000,
  windowBytes: 60 * 1024,
  answerMs: 120_000,
  maxAnswerBytes: MAX_ANSWER_BYTES,
};

export type UploadGrant = Extract<UploadAnswer, { kind: 'put' }>;

/** Where bytes are to go, and with what headers. */
export interface PutGrant {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface CloudClient {
  announce(
    packs: readonly PackRecord[],
    multipart: UploadRequest['multipart'],
    signal: AbortSignal,
  ): Promise<UploadResponse>;
  status(packs: readonly PackRef[], signal: AbortSignal): Promise<StatusResponse>;
  grantParts(request: PartsRequest, signal: AbortSignal): Promise<PartsResponse>;
  complete(request: CompleteRequest, signal: AbortSignal): Promise<CompleteResponse>;
  /** `created`: these bytes made the object; `exists`: it was there already (412). */
  put(
    grant: PutGrant,
    body: ReadableStream<Uint8Array>,
    lengthBytes: number,
    signal: AbortSignal,
  ): Promise<'created' | 'exists'>;
  close(): void;
}

export interface CloudClientOptions {
  /** Origin (and prefix) below which /gateway lies. */
  readonly cloudUrl: string;
  /** Learns the cloud's time from its answers. */
  readonly clock: ServerClock;
  readonly putLimits?: Partial<ExchangeLimits>;
  readonly callLimits?: Partial<ExchangeLimits>;
}

export function createCloudClient({ cloudUrl, clock, ...limits }: CloudClientOptions): CloudClient {
  const exchanges = createHttpExchanges();
  const callLimits = { ...CALL_LIMITS, ...limits.callLimits };
  const putLimits = { ...PUT_LIMITS, ...limits.putLimits };
  const base = cloudUrl.replace(/\/$/, '');

  async function call<T extends z.ZodType<{ readonly serverTimeMs: number }>>(
    path: string,
    request: unknown,
    schema: T,
    signal: AbortSignal,
  ): Promise<z.infer<T>> {
    const bytes = Buffer.from(JSON.stringify(request));
    const learn = clock.measure();
    const answer = await exchanges.send({
      url: `${base}${path}`,
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': String(bytes.length) },
      body: Readable.from([bytes]),
      limits: callLimits,
      signal,
    });
    if (answer.status !== 200) throw refusal(answer);
    const parsed = schema.safeParse(parseJson(answer.body));
    if (!parsed.success)
      throw new ArchiveError('unavailable', 'The cloud answered something that is not in the contract.', { path });
    learn(parsed.data.serverTimeMs);
    return parsed.data;
  }

  return {
    announce(packs, multipart, signal) {
      const wanted = packs.map(
        ({ studyInstanceUid, seriesInstanceUid, packId, lengthBytes, sha256, instanceCount }) => {
          return { studyInstanceUid, seriesInstanceUid, packId, lengthBytes, sha256, instanceCount };
        },
      );
      return call(UPLOADS_PATH, { packs: wanted, multipart }, uploadResponse, signal);
    },
    status: (packs, signal) => call(UPLOAD_STATUS_PATH, { packs: packs.map(refOf) }, statusResponse, signal),
    grantParts: (request, signal) => call(UPLOAD_PARTS_PATH, request, partsResponse, signal),
    complete: (request, signal) => call(UPLOAD_COMPLETE_PATH, request, completeResponse, signal),
    async put(grant, body, lengthBytes, signal) {
      const answer = await exchanges.send({
        url: grant.url,
        method: 'PUT',
        headers: { ...grant.headers, 'Content-Length': String(lengthBytes) },
        body: Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]),
        limits: putLimits,
        signal,
      });
      if (answer.status === 412) return 'exists';
      if (answer.status < 200 || answer.status > 299) throw refusal(answer);
      // A store says nothing when all is well. Pages that promise a network after a click say a lot, with 200.
      if (answer.body !== '') throw notTheCloud(answer.status);
      return 'created';
    },
    close: () => exchanges.close(),
  };
}

const refOf = ({ studyInstanceUid, seriesInstanceUid, packId }: PackRef): PackRef => ({
  studyInstanceUid,
  seriesInstanceUid,
  packId,
});

const codeOf: Readonly<Record<number, ErrorCode>> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  408: 'unavailable',
  409: 'conflict',
  429: 'unavailable',
};

/** The cloud's own sentence where it gave one (problem details), else its status. */
function refusal({ status, body }: Answer): ArchiveError {
  if (status < 400) return notTheCloud(status);
  const json = parseJson(body);
  const detail =
    typeof json === 'object' && json !== null && 'detail' in json && typeof json.detail === 'string'
      ? json.detail.slice(0, 300)
      : undefined;
  const code = codeOf[status] ?? (status >= 500 ? 'unavailable' : 'bad-request');
  return new ArchiveError(code, `The cloud answered ${status}${detail === undefined ? '.' : `: ${detail}`}`, {
    status,
  });
}

function notTheCloud(status: number): ArchiveError {
  return new ArchiveError(
    'unavailable',
    'Something between here and the cloud answered in its place; check proxies and sign-in pages of the network.',
    { status },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
