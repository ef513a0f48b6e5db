/**
 * What stands between the index and its DynamoDB, or a queue and its SQS, in tests of faults: it hands requests on, or answers as AWS does when it is busy,
 * broken, or done with half of a batch, or lets the answer get lost after all was done.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export type Fault =
  /** 400, nothing done. */
  | 'throttled'
  /** 500, nothing done. */
  | 'broken'
  /** Done, and 500 all the same. */
  | 'done-but-broken'
  /** Done, and the connection ends without an answer. */
  | 'answer-lost'
  /** Of a batch one half is done, and the other half is given back. */
  | 'half'
  /** Of a batch one half is done, and the other half will never be. */
  | 'half-refused'
  /** 400, nothing done. */
  | 'denied';

export interface FaultyWay {
  readonly endpoint: string;
  /** Requests so far, by operation. */
  readonly requests: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

/** @param faultOf for each request in the order in which they come: what goes wrong with it, if anything */
export async function createFaultyWay(
  target: string,
  faultOf: (operation: string) => Fault | undefined,
): Promise<FaultyWay> {
  const requests = new Map<string, number>();

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    const operation = String(request.headers['x-amz-target']).split('.')[1] ?? '';
    requests.set(operation, (requests.get(operation) ?? 0) + 1);
    const fault = faultOf(operation);
    const answer = (status: number, value: object): void => {
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(JSON.stringify(value));
    };
    const forward = async (text: string): Promise<{ status: number; text: string }> => {
      const { host: _, 'content-length': __, connection: ___, ...headers } = request.headers;
      const answered = await fetch(target, { method: 'POST', headers: headers as Record<string, string>, body: text });
      return { status: answered.status, text: await answered.text() };
    };
    if (fault === 'throttled')
      return answer(400, {
        __type: 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException',
        message: 'The level of configured provisioned throughput for the table was exceeded.',
      });
    if (fault === 'broken') return answer(500, { __type: 'com.amazonaws.dynamodb.v20120810#InternalServerError' });
    if (fault === 'denied') return answer(400, { __type: 'AccessDeniedException', message: 'Not for you.' });
    if ((fault === 'half' || fault === 'half-refused') && operation.endsWith('MessageBatch')) {
      const asked = JSON.parse(body) as { Entries: { Id: string }[] };
      const middle = asked.Entries.length >> 1;
      const first = { text: '{}', status: 200 };
      if (middle > 0)
        Object.assign(first, await forward(JSON.stringify({ ...asked, Entries: asked.Entries.slice(0, middle) })));
      const how =
        fault === 'half'
          ? { Code: 'InternalError', SenderFault: false }
          : { Code: 'InvalidParameterValue', SenderFault: true };
      const Failed = asked.Entries.slice(middle).map(({ Id }) => ({ Id, ...how }));
      return answer(first.status, { ...(JSON.parse(first.text) as object), Failed });
    }
    if (fault === 'half' && operation === 'BatchWriteItem') {
      const asked = JSON.parse(body) as { RequestItems: Record<string, unknown[]> };
      const [[table, items]] = Object.entries(asked.RequestItems) as [[string, unknown[]]];
      const middle = items.length >> 1;
      const left = { [table]: items.slice(middle) };
      if (middle > 0) await forward(JSON.stringify({ ...asked, RequestItems: { [table]: items.slice(0, middle) } }));
      return answer(200, { UnprocessedItems: left });
    }
    if (fault === 'half' && operation === 'BatchGetItem') {
      const asked = JSON.parse(body) as { RequestItems: Record<string, { Keys: unknown[] }> };
      const [[table, { Keys }]] = Object.entries(asked.RequestItems) as [[string, { Keys: unknown[] }]];
      const middle = Math.max(1, Keys.length >> 1);
      const left = Keys.slice(middle);
      const first = await forward(
        JSON.stringify({ ...asked, RequestItems: { [table]: { Keys: Keys.slice(0, middle) } } }),
      );
      const UnprocessedKeys = left.length === 0 ? {} : { [table]: { Keys: left } };
      return answer(first.status, { ...(JSON.parse(first.text) as object), UnprocessedKeys });
    }
    const { status, text } = await forward(body);
    if (fault === 'done-but-broken')
      return answer(500, { __type: 'com.amazonaws.dynamodb.v20120810#InternalServerError' });
    if (fault === 'answer-lost') {
      response.destroy();
      return;
    }
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' });
    response.end(text);
  }

  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
