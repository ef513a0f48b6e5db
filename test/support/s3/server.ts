/**
 * A strict S3 on this machine for tests: one bucket in memory behind node:http, that refuses what S3 refuses (signatures, clocks, lengths,
 * checksums, conditions) and goes wrong as S3 and the way there do, when it is told to. What it does not know it answers with 501, never with
 * a guess. Path style only. Not known: bodies in signed chunks, checksums but SHA-256, versions, copies.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { type Bucket, createBucket } from './objects.ts';
import { type Call, operations } from './operations.ts';
import { elements, S3Refusal } from './refusal.ts';
import { type Keys, queryOf, verifySignature } from './sigv4.ts';

export type Fault =
  /** 503, nothing done. */
  | 'slow-down'
  /** 500, nothing done. */
  | 'broken'
  /** 409: somebody else writes there right now. */
  | 'conflict'
  /** Done, and 500 all the same. */
  | 'done-but-broken'
  /** Nothing done, and 200 with an error in its body: as S3 answers when it had to begin its answer early. */
  | 'error-in-200'
  /** Done, and the connection ends without an answer. */
  | 'answer-lost'
  /** Nothing done, and no answer at all. */
  | 'silent'
  /** Done, and no answer at all. */
  | 'done-but-silent'
  /** The connection ends in the middle of the body: of the request where it has one, else of the answer. */
  | 'reset'
  /** One bit of the body of the request is another one when it arrives. */
  | 'flipped'
  /** Half of the range that was asked for, in an answer that is whole in itself. */
  | 'short'
  /** The answer stands still in the middle of its body. */
  | 'stalled';

export interface TestS3 {
  readonly endpoint: string;
  readonly bucketName: string;
  readonly keys: Keys;
  /** For a client of the SDK. */
  readonly client: S3ClientConfig;
  readonly bucket: Bucket;
  /** Requests so far, as `operation` (`PutObject` …) and how they were answered; 0: not at all. */
  readonly requests: { readonly operation: string; readonly key: string; status: number }[];
  /** Connections that are open right now. */
  connections(): Promise<number>;
  close(): Promise<void>;
}

export interface TestS3Options {
  readonly nowMs?: () => number;
  /** For each request in the order in which they come: what goes wrong with it, if anything. */
  readonly faultOf?: (operation: string, key: string) => Fault | undefined;
}

export async function startTestS3({
  nowMs = Date.now,
  faultOf = () => undefined,
}: TestS3Options = {}): Promise<TestS3> {
  const bucketName = 'archipel-test';
  const keys = { accessKeyId: 'AKIATESTTESTTESTTEST', secretAccessKey: 'test/secret+key', region: 'eu-central-1' };
  const bucket = createBucket(nowMs);
  const requests: TestS3['requests'] = [];

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = request.url ?? '/';
    const headers = request.headers as Record<string, string | undefined>;
    const method = request.method ?? '';
    const query = new Map(queryOf(target));
    const [, name = '', ...rest] = (target.split('?')[0] ?? '').split('/').map(decodeURIComponent);
    const key = rest.join('/');
    const operation = operationOf(method, key, query);
    const noted = { operation, key, status: 0 };
    requests.push(noted);
    const fault = faultOf(operation, key);

    if (fault === 'reset' && Number(headers['content-length'] ?? 0) > 0) {
      await once(request, 'data');
      request.socket.destroy();
      return;
    }
    try {
      const payloadSha256 = verifySignature({ method, target, headers }, keys, nowMs());
      const known = operations[operation];
      if (known === undefined)
        throw new S3Refusal(501, 'NotImplemented', `This is not known here: ${method} ${target}`);
      if (name !== bucketName) throw new S3Refusal(404, 'NoSuchBucket', 'The specified bucket does not exist');
      if ((method === 'PUT' || method === 'POST') && headers['transfer-encoding'] !== undefined)
        throw new S3Refusal(411, 'MissingContentLength', 'You must provide the Content-Length HTTP header.');
      if (method === 'PUT' && headers['content-length'] === undefined)
        throw new S3Refusal(411, 'MissingContentLength', 'You must provide the Content-Length HTTP header.');
      const body = await bodyOf(request);
      if (fault === 'flipped' && body.length > 0) body[body.length >> 1]! ^= 1;
      if (fault === 'slow-down') throw new S3Refusal(503, 'SlowDown', 'Please reduce your request rate.');
      if (fault === 'broken') throw new S3Refusal(500, 'InternalError', 'We encountered an internal error.');
      if (fault === 'conflict')
        throw new S3Refusal(409, 'ConditionalRequestConflict', 'A conflicting operation occurred.');
      if (fault === 'silent') return;
      if (fault === 'error-in-200') throw new S3Refusal(200, 'InternalError', 'We encountered an internal error.');
      const call: Call = { bucket, bucketName, key, query, headers, body, payloadSha256, isShort: fault === 'short' };
      const answer = known(call);
      if (fault === 'done-but-broken') throw new S3Refusal(500, 'InternalError', 'We encountered an internal error.');
      if (fault === 'done-but-silent') return;
      if (fault === 'answer-lost') return void request.socket.destroy();
      noted.status = answer.status;
      response.writeHead(answer.status, { 'x-amz-request-id': String(requests.length), ...answer.headers });
      if (fault === 'reset' || fault === 'stalled') {
        response.write(answer.body.subarray(0, answer.body.length >> 1), () => {
          if (fault === 'reset') request.socket.destroy();
        });
        return;
      }
      if (method === 'HEAD') response.end();
      else response.end(answer.body);
    } catch (error) {
      if (!(error instanceof S3Refusal)) throw error;
      noted.status = error.status;
      const xml = `<?xml version="1.0" encoding="UTF-8"?><Error>${elements({
        Code: error.code,
        Message: error.message,
        ...error.more,
        RequestId: requests.length,
      })}</Error>`;
      // What is left of a body that is not wanted would be taken for the next request.
      const more = request.complete ? {} : { connection: 'close' };
      response.writeHead(error.status, {
        'content-type': 'application/xml',
        date: new Date(nowMs()).toUTCString(),
        ...more,
      });
      response.end(method === 'HEAD' ? undefined : xml);
      request.resume();
    }
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => request.socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { region, ...credentials } = keys;
  return {
    endpoint,
    bucketName,
    keys,
    client: { endpoint, region, credentials, forcePathStyle: true },
    bucket,
    requests,
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
      }),
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function operationOf(method: string, key: string, query: ReadonlyMap<string, string>): string {
  const has = (name: string): boolean => query.has(name);
  if (key === '') {
    if (method === 'GET' && has('uploads')) return 'ListMultipartUploads';
    return method === 'GET' && query.get('list-type') === '2' ? 'ListObjectsV2' : 'unknown';
  }
  if (method === 'POST')
    return has('uploads') ? 'CreateMultipartUpload' : has('uploadId') ? 'CompleteMultipartUpload' : 'unknown';
  if (method === 'PUT') return has('uploadId') && has('partNumber') ? 'UploadPart' : 'PutObject';
  if (method === 'GET') return has('uploadId') ? 'ListParts' : 'GetObject';
  if (method === 'HEAD') return 'HeadObject';
  if (method === 'DELETE') return has('uploadId') ? 'AbortMultipartUpload' : 'DeleteObject';
  return 'unknown';
}
