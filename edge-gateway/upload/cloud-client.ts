/**
 * The gateway's side of gateway-api.ts: announce sealed packs, send their bytes to the granted URLs, ask what became of
 * them. It knows nothing of when or how often: that is uploader.ts. Every failure is an ArchiveError that says whether
 * the cloud was reached (`unavailable`, `timeout`) or what it answered.
 */
import http from 'node:http';
import https from 'node:https';
import { Readable } from 'node:stream';
import type { z } from 'zod';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import {
  type StatusResponse,
  statusResponse,
  UPLOAD_STATUS_PATH,
  UPLOADS_PATH,
  type UploadAnswer,
  type UploadResponse,
  uploadResponse,
} from '#shared/gateway-api.ts';

const REQUEST_TIMEOUT_MS = 30_000;
/** A PUT may take long, but not go silent for longer than this. */
const STALL_TIMEOUT_MS = 60_000;
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;

export type UploadGrant = Extract<UploadAnswer, { kind: 'put' }>;

export interface CloudClient {
  announce(packs: readonly PackRecord[], signal: AbortSignal): Promise<UploadResponse>;
  status(packs: readonly PackRef[], signal: AbortSignal): Promise<StatusResponse>;
  /** `created`: these bytes made the object; `exists`: it was there already (412). `onBytes` hears of each piece as it is sent. */
  put(
    grant: UploadGrant,
    body: ReadableStream<Uint8Array>,
    lengthBytes: number,
    signal: AbortSignal,
  ): Promise<'created' | 'exists'>;
  close(): void;
}

/** @param cloudUrl origin (and prefix) below which /gateway lies */
export function createCloudClient(cloudUrl: string): CloudClient {
  const agents = {
    http: new http.Agent({ keepAlive: true }),
    https: new https.Agent({ keepAlive: true }),
  };
  const base = cloudUrl.replace(/\/$/, '');

  async function call<T extends z.ZodType>(
    path: string,
    body: unknown,
    schema: T,
    signal: AbortSignal,
  ): Promise<z.infer<T>> {
    const bytes = Buffer.from(JSON.stringify(body));
    const headers = { 'Content-Type': 'application/json', 'Content-Length': String(bytes.length) };
    const answer = await send(`${base}${path}`, 'POST', headers, Readable.from([bytes]), REQUEST_TIMEOUT_MS, signal);
    if (answer.status !== 200) throw refusal(answer);
    const parsed = schema.safeParse(parseJson(answer.body));
    if (!parsed.success)
      throw new ArchiveError('unavailable', 'The cloud answered something that is not in the contract.', { path });
    return parsed.data;
  }

  function send(
    url: string,
    method: string,
    headers: Record<string, string>,
    body: Readable,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const secure = url.startsWith('https:');
      const request = (secure ? https : http).request(url, {
        method,
        headers,
        agent: secure ? agents.https : agents.http,
        signal,
        timeout: timeoutMs,
      });
      // The answer may come before the body has gone (412 spares the upload): it counts, whatever becomes of the body.
      let answered = false;
      const fail = (error: Error): void => {
        if (answered) return;
        reject(
          error instanceof ArchiveError
            ? error
            : new ArchiveError('unavailable', 'The cloud could not be reached.', { reason: reasonOf(error) }, error),
        );
      };
      request.on('timeout', () =>
        request.destroy(new ArchiveError('timeout', `The cloud was silent for ${timeoutMs / 1000} s.`)),
      );
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length <= MAX_ANSWER_BYTES) chunks.push(chunk);
          else request.destroy(new ArchiveError('unavailable', 'The cloud answered more than it may.'));
        });
        response.on('error', fail);
        response.on('end', () => {
          answered = true;
          // An answer before the end of the body: the rest is not wanted. A request that has ended must be left alone, since
          // its connection may serve the next one already.
          if (!request.writableEnded) request.destroy();
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') });
        });
      });
      request.on('error', fail);
      // Not stream.pipeline: that destroys the request when all is over, and with it a connection that serves the next one.
      body.on('error', (error) => request.destroy(error));
      request.on('close', () => body.destroy());
      body.pipe(request);
    });
  }

  return {
    announce(packs, signal) {
      const wanted = packs.map(
        ({ studyInstanceUid, seriesInstanceUid, packId, lengthBytes, sha256, instanceCount }) => {
          return { studyInstanceUid, seriesInstanceUid, packId, lengthBytes, sha256, instanceCount };
        },
      );
      return call(UPLOADS_PATH, { packs: wanted }, uploadResponse, signal);
    },
    status(packs, signal) {
      const refs = packs.map(({ studyInstanceUid, seriesInstanceUid, packId }) => ({
        studyInstanceUid,
        seriesInstanceUid,
        packId,
      }));
      return call(UPLOAD_STATUS_PATH, { packs: refs }, statusResponse, signal);
    },
    async put(grant, body, lengthBytes, signal) {
      const headers = { ...grant.headers, 'Content-Length': String(lengthBytes) };
      const answer = await send(
        grant.url,
        'PUT',
        headers,
        Readable.fromWeb(body as Parameters<typeof Readable.fromWeb>[0]),
        STALL_TIMEOUT_MS,
        signal,
      );
      if (answer.status === 412) return 'exists';
      if (answer.status < 200 || answer.status > 299) throw refusal(answer);
      return 'created';
    },
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** The cloud's own sentence where it gave one (problem details), else its status. */
function refusal({ status, body }: Answer): ArchiveError {
  const json = parseJson(body);
  const detail =
    typeof json === 'object' && json !== null && 'detail' in json && typeof json.detail === 'string'
      ? json.detail.slice(0, 300)
      : undefined;
  const code =
    status === 401 ? 'unauthorized' : status === 403 ? 'forbidden' : status >= 500 ? 'unavailable' : 'bad-request';
  return new ArchiveError(code, `The cloud answered ${status}${detail === undefined ? '.' : `: ${detail}`}`, {
    status,
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** ECONNREFUSED and the like; never a message that could hold a URL with its signature. */
function reasonOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
