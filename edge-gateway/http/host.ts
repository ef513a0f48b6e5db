/**
 * A Service on a socket: the thin adapter between node:http and web-standard Request and Response. Limits live here: header
 * size, header time, idle time, requests ahead of their answers, bodies that trickle, answers that nobody takes. What a Service
 * throws is a bug and answers 500 with generic text.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from '#shared/log.ts';
import { problemResponse } from '#shared/problem.ts';

export interface HttpHost {
  readonly port: number;
  /** Stops accepting, ends idle connections at once and busy ones after `graceMs`. */
  close(graceMs?: number): Promise<void>;
}

export interface HttpHostOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly service: (request: Request) => Promise<Response>;
  readonly log: Logger;
  /** How long a connection may neither send nor take a byte within a request before it is cut. Default 5 minutes. */
  readonly idleTimeoutMs?: number;
  /** Connections at once; what comes beyond is cut. Default 1,024. */
  readonly maxConnections?: number;
  /** How often it is looked whether the bodies of requests come fast enough. Default 60 s. */
  readonly bodyCheckMs?: number;
  /** Of all answers together, made and not taken yet: beyond it those that are taken most slowly are cut. Default 256 MiB. */
  readonly maxPendingBytes?: number;
  /** How often it is looked what is pending. Default 1 s. */
  readonly pendingCheckMs?: number;
}

const HEADERS_TIMEOUT_MS = 15_000;
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
/** Longer than any answer takes to begin; a peer that stopped reading holds a file open until then. */
const IDLE_TIMEOUT_MS = 5 * 60_000;
const MAX_HEADER_BYTES = 32 * 1024;
const BODY_CHECK_MS = 60_000;
/** More than a hospital's viewers open. Each may hold a file open, and DICOM and the disk need some as well. */
const MAX_CONNECTIONS = 1_024;
/** A body may be of any size and take any time; one that comes more slowly than over the worst line keeps a place for nothing. */
const LEAST_BODY_BYTES_PER_SECOND = 1024;
/** Nobody but an attacker sends many requests ahead of their answers (RFC 9112 §9.3.2), and Node begins all of them at once. */
const MAX_UNANSWERED = 8;
const MAX_PENDING_BYTES = 256 * 1024 * 1024;
/** An attacker has the largest answers made one after the other, each in a second or so. */
const PENDING_CHECK_MS = 1_000;

/** For what is not HTTP, or is too long or too slow for it: there is no request that a Service could answer. */
const malformedDetail = JSON.stringify({
  type: 'about:blank',
  title: 'Bad Request',
  status: 400,
  code: 'bad-request',
  detail: 'This is no HTTP request, or its header fields are longer than 32 KiB, or they came too slowly.',
});
const malformedRequest = [
  'HTTP/1.1 400 Bad Request',
  'Content-Type: application/problem+json',
  `Content-Length: ${malformedDetail.length}`,
  'Connection: close',
  '',
  malformedDetail,
].join('\r\n');

/** Rejects with the system's error (EADDRINUSE, EACCES) when it cannot listen. */
export async function serveHttp(options: HttpHostOptions): Promise<HttpHost> {
  const { host, port, service, log } = options;
  const { idleTimeoutMs = IDLE_TIMEOUT_MS, bodyCheckMs = BODY_CHECK_MS, maxConnections = MAX_CONNECTIONS } = options;
  const { maxPendingBytes = MAX_PENDING_BYTES, pendingCheckMs = PENDING_CHECK_MS } = options;
  const unanswered = new UnansweredRequests();
  const fetch = async (request: Request, environment: Environment): Promise<Response> => {
    if (!unanswered.admit(environment)) return new Response(null, { status: 503 });
    try {
      // HTTP/2, which the adapter knows as well, is not served here.
      return await service(withBody(request, environment.incoming as IncomingMessage));
    } catch (error) {
      return problemResponse(error, log.child({ method: request.method }));
    }
  };
  const server = createAdaptorServer({
    fetch,
    overrideGlobalObjects: false,
    serverOptions: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      requestTimeout: 0,
      noDelay: true,
    },
  }) as Server;
  server.setTimeout(idleTimeoutMs);
  server.maxConnections = maxConnections;
  const bodyWatch = cutTricklingBodies(server, bodyCheckMs);
  const pendingWatch = cutStalledReaders(server, maxPendingBytes, pendingCheckMs);
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end(malformedRequest);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  return {
    port: (server.address() as AddressInfo).port,
    async close(graceMs = 2_000) {
      clearInterval(bodyWatch);
      clearInterval(pendingWatch);
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

interface Environment {
  readonly incoming: unknown;
  readonly outgoing: unknown;
}

/** How many requests of each connection are being answered. */
class UnansweredRequests {
  readonly #counts = new WeakMap<Socket, number>();

  /** Ends the connection of one request too many; what had come behind it is not admitted either. */
  admit({ incoming, outgoing }: Environment): boolean {
    const { socket } = incoming as IncomingMessage;
    if (socket.destroyed) return false;
    const count = this.#counts.get(socket) ?? 0;
    if (count >= MAX_UNANSWERED) {
      socket.destroy();
      return false;
    }
    this.#counts.set(socket, count + 1);
    const response = outgoing as ServerResponse;
    response.once('close', () => this.#counts.set(socket, (this.#counts.get(socket) ?? 1) - 1));
    return true;
  }
}

/**
 * Answers wait in memory until their readers take them. When too many bytes do, the connections end that took the least since the
 * last look, if something was waiting for them then: whoever reads at all is served before whoever does not.
 */
function cutStalledReaders(server: Server, maxPendingBytes: number, checkMs: number): NodeJS.Timeout {
  /** How much each had taken at the last look; undefined where nothing was pending. */
  const takenBytes = new Map<Socket, number | undefined>();
  server.on('connection', (socket: Socket) => {
    takenBytes.set(socket, undefined);
    socket.once('close', () => takenBytes.delete(socket));
  });
  return setInterval(() => {
    let pendingBytes = 0;
    const waiting: { socket: Socket; lately: number }[] = [];
    for (const [socket, before] of takenBytes) {
      // Node counts what it holds as written.
      const taken = socket.bytesWritten - socket.writableLength;
      pendingBytes += socket.writableLength;
      takenBytes.set(socket, socket.writableLength > 0 ? taken : undefined);
      if (before !== undefined && socket.writableLength > 0) waiting.push({ socket, lately: taken - before });
    }
    for (const { socket } of waiting.toSorted((a, b) => a.lately - b.lately)) {
      if (pendingBytes <= maxPendingBytes) return;
      pendingBytes -= socket.writableLength;
      socket.destroy();
    }
  }, checkMs).unref();
}

/** With its body as the socket gives it: Node's own adapter copies every chunk, which is a tenth of what storing costs. */
function withBody(request: Request, incoming: IncomingMessage): Request {
  const { method, headers } = incoming;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (!hasBody || method === 'GET' || method === 'HEAD') return request;
  // Whoever leaves a body unread gets no connection cut for it: there is an answer to give.
  const chunks = incoming.iterator({ destroyOnReturn: false });
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        else controller.enqueue(value as Uint8Array);
      },
    },
    { highWaterMark: 0 },
  );
  return new Request(request.url, { method: request.method, headers: request.headers, body, duplex: 'half' });
}

/** Ends connections whose request bodies trickle in, unless it is us who do not take them. */
function cutTricklingBodies(server: Server, checkMs: number): NodeJS.Timeout {
  const leastBytes = (LEAST_BODY_BYTES_PER_SECOND * checkMs) / 1000;
  /** At the last look, if everything that had come was taken then: only a whole interval of waiting for the sender counts. */
  const receivedBytes = new Map<IncomingMessage, number | undefined>();
  server.on('request', (request) => {
    if (request.complete) return;
    receivedBytes.set(request, undefined);
    request.once('close', () => receivedBytes.delete(request));
  });
  return setInterval(() => {
    for (const [request, before] of receivedBytes) {
      const { bytesRead } = request.socket;
      const isTaken = request.readableLength === 0;
      receivedBytes.set(request, isTaken ? bytesRead : undefined);
      if (request.complete) receivedBytes.delete(request);
      else if (isTaken && before !== undefined && bytesRead - before < leastBytes) request.socket.destroy();
    }
  }, checkMs).unref();
}
