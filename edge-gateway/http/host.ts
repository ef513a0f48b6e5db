/**
 * A Service on a socket: the thin adapter between node:http and web-standard Request and Response. Limits live here:
 * header size, header time, idle time, bodies that trickle. What a Service throws is a bug and answers 500 with generic text.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';
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
  const fetch = async (request: Request, environment: { readonly incoming: unknown }): Promise<Response> => {
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
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
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
