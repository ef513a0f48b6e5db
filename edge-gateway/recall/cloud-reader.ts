/**
 * The gateway's side of gateway-read-api.ts: asks, checks every answer against the contract, and opens the bytes of objects behind
 * granted URLs. When to ask, and what to do while the cloud is away, is cloud-line.ts. Every failure is an ArchiveError:
 * `unavailable` where the cloud could not be reached or made no sense, else what it answered.
 */
import type { z } from 'zod';
import type { Query } from '#shared/archive/query.ts';
import type { PackRef, StudyRef } from '#shared/archive/records.ts';
import { ArchiveError, type ErrorCode, isArchiveError } from '#shared/errors.ts';
import {
  DELETIONS_PATH,
  type DeletionsRequest,
  type DeletionsResponse,
  deletionsResponse,
} from '#shared/gateway-deletions-api.ts';
import {
  HOLDINGS_PATH,
  type HoldingsResponse,
  holdingsResponse,
  INSTANCES_PATH,
  type InstancesRequest,
  type InstancesResponse,
  instancesResponse,
  keyToWire,
  READS_PATH,
  type ReadAnswer,
  type ReadGrant,
  readsResponse,
  SEARCH_PATH,
  type SearchResponse,
  searchResponse,
} from '#shared/gateway-read-api.ts';

export interface CloudReader {
  search(query: Query, signal: AbortSignal): Promise<SearchResponse>;
  holdings(study: StudyRef, signal: AbortSignal): Promise<HoldingsResponse>;
  instances(request: InstancesRequest, signal: AbortSignal): Promise<InstancesResponse>;
  reads(pack: PackRef, signal: AbortSignal): Promise<ReadAnswer>;
  deletions(request: DeletionsRequest, signal: AbortSignal): Promise<DeletionsResponse>;
  /**
   * The whole object behind a granted URL, as it comes: cut when nothing came for half a minute. Errors: `not-found`, `unavailable`,
   * also out of the stream.
   */
  open(grant: ReadGrant, signal: AbortSignal): Promise<ReadableStream<Uint8Array>>;
}

/** A page of records of the longest kind fits; more is no answer of ours. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_REFUSAL_BYTES = 64 * 1024;
const STALL_MS = 30_000;

/**
 * @param cloudUrl origin (and prefix) below which /gateway lies
 * @param transport what sends a request; for tests that have the cloud in this process
 */
export function createCloudReader(cloudUrl: string, transport: typeof fetch = fetch): CloudReader {
  const base = cloudUrl.replace(/\/$/, '');

  async function ask<T extends z.ZodType>(
    path: string,
    body: unknown,
    schema: T,
    signal: AbortSignal,
  ): Promise<z.infer<T>> {
    const headers = { 'content-type': 'application/json', 'accept-encoding': 'gzip' };
    const response = await send(transport, `${base}${path}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      signal,
    });
    const parsed = schema.safeParse(parseJson(await textOf(response, MAX_ANSWER_BYTES)));
    if (!parsed.success)
      throw new ArchiveError('unavailable', 'The cloud answered something that is not in the contract.', { path });
    return parsed.data;
  }

  return {
    search: ({ level, keys, limit, offset, after }, signal) =>
      ask(SEARCH_PATH, { level, keys: keys.map(keyToWire), limit, offset, after }, searchResponse, signal),
    holdings: ({ studyInstanceUid }, signal) => ask(HOLDINGS_PATH, { studyInstanceUid }, holdingsResponse, signal),
    instances: (request, signal) => ask(INSTANCES_PATH, request, instancesResponse, signal),
    deletions: (request, signal) => ask(DELETIONS_PATH, request, deletionsResponse, signal),
    async reads({ studyInstanceUid, seriesInstanceUid, packId }, signal) {
      const request = { packs: [{ studyInstanceUid, seriesInstanceUid, packId }] };
      const [answer] = (await ask(READS_PATH, request, readsResponse, signal)).packs;
      if (answer?.packId !== packId)
        throw new ArchiveError('unavailable', 'The cloud answered for another pack than was asked for.');
      return answer;
    },
    async open({ url, headers }, signal) {
      const stalled = new AbortController();
      const response = await send(transport, url, { headers, signal: AbortSignal.any([signal, stalled.signal]) });
      if (response.body === null) throw new ArchiveError('unavailable', 'The cloud gave no bytes.');
      return watched(response.body, stalled);
    },
  };
}

/** An answer of 2xx. Redirects are not followed: a granted URL says where the bytes are. */
async function send(transport: typeof fetch, url: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await transport(url, { ...init, redirect: 'error' });
  } catch (error) {
    throw unreachable(error);
  }
  if (response.ok) return response;
  throw refusalOf(response.status, await textOf(response, MAX_REFUSAL_BYTES).catch(() => ''));
}

async function textOf(response: Response, maxBytes: number): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of response.body ?? []) {
      length += piece.length;
      if (length > maxBytes) throw new ArchiveError('unavailable', 'The cloud answered more than it may.');
      pieces.push(piece);
    }
  } catch (error) {
    throw isArchiveError(error) ? error : unreachable(error);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Passes bytes on as they are wanted; silence, and whatever breaks, are `unavailable`. */
function watched(body: ReadableStream<Uint8Array>, stalled: AbortController): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const timer = setTimeout(() => stalled.abort(), STALL_MS);
        try {
          const { done, value } = await reader.read();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          throw unreachable(error);
        } finally {
          clearTimeout(timer);
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** Never a message of the network's: it could hold a URL with its signature. */
function unreachable(error: unknown): ArchiveError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const reason =
    cause instanceof Error && 'code' in cause && typeof cause.code === 'string'
      ? cause.code
      : cause instanceof Error
        ? cause.name
        : 'unknown';
  return new ArchiveError('unavailable', 'The cloud could not be reached, or broke off.', { reason });
}

const codes: Readonly<Record<number, ErrorCode>> = {
  400: 'bad-request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  413: 'too-large',
  416: 'range-not-satisfiable',
};

/** The cloud's own sentence where it gave one (problem details), else its status. */
function refusalOf(status: number, body: string): ArchiveError {
  const json = parseJson(body);
  const detail =
    typeof json === 'object' && json !== null && 'detail' in json && typeof json.detail === 'string'
      ? json.detail.slice(0, 300)
      : `It answered ${status}.`;
  return new ArchiveError(codes[status] ?? 'unavailable', detail, { status });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
