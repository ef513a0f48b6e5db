/**
 * Writing multipart/related bodies (RFC 2387) as streams: a part's bytes are pulled when the client
 * takes them, nothing is gathered. Reading multipart is the business of whoever takes uploads.
 */
import { randomBytes } from 'node:crypto';

export interface Part {
  /** Content-Type, Content-Location …: written as they are. */
  readonly headers: Readonly<Record<string, string>>;
  /** Consumed once, before the next part is asked for. */
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

const encoder = new TextEncoder();

/**
 * A multipart/related body with a part for each of `parts` and the Content-Type that goes with it. `type` is the media type
 * of the parts. The boundary is random, so that no stored object can be made to contain it.
 */
export function multipartRelated(
  type: string,
  parts: AsyncIterable<Part> | Iterable<Part>,
): { contentType: string; body: AsyncGenerator<Uint8Array> } {
  const boundary = randomBytes(18).toString('hex');
  return { contentType: `multipart/related; type="${type}"; boundary=${boundary}`, body: write(boundary, parts) };
}

async function* write(
  boundary: string,
  parts: AsyncIterable<Part> | Iterable<Part>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let lead = '';
  for await (const part of parts) {
    const headers = Object.entries(part.headers).map(([name, value]) => `${name}: ${value}\r\n`);
    yield encoder.encode(`${lead}--${boundary}\r\n${headers.join('')}\r\n`);
    if (part.body instanceof Uint8Array) yield part.body;
    else yield* part.body;
    lead = '\r\n';
  }
  yield encoder.encode(`${lead}--${boundary}--\r\n`);
}
