/**
 * One HTTP request with exactly the headers that are given, a Content-Length and a Host: as somebody sends it who holds a presigned URL.
 */
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';

export async function exchange(
  method: string,
  url: string,
  headers: Readonly<Record<string, string>>,
  body?: Uint8Array,
): Promise<{ readonly status: number; readonly bytes: Buffer }> {
  const length = body === undefined ? {} : { 'content-length': String(body.length) };
  const sent = request(url, { method, headers: { ...length, ...headers }, agent: false });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { status: response.statusCode ?? 0, bytes: Buffer.concat(chunks) };
}
