/**
 * The multipart writer, judged by a reader that knows only the RFC.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { multipartRelated } from '#shared/dicomweb/multipart.ts';
import { readMultipart } from './read-multipart.ts';

async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return Buffer.concat(all);
}

/** The bytes in pieces that end at the given positions. */
async function* inPieces(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const cut of [...cuts.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(from, cut);
    from = cut;
  }
}

describe('multipartRelated', () => {
  it('writes what a strict reader reads, however the bytes are split', async () => {
    const part = fc.record({
      body: fc.uint8Array({ maxLength: 200 }),
      cuts: fc.array(fc.nat(), { maxLength: 5 }),
      streamed: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 5 }), async (parts) => {
        const written = multipartRelated(
          'application/dicom',
          parts.map(({ body, cuts, streamed }, i) => ({
            headers: { 'Content-Type': 'application/dicom', 'Content-Location': `/part/${i}` },
            body: streamed ? inPieces(body, cuts) : body,
          })),
        );
        const bytes = await gather(written.body);
        if (parts.length === 0) return;
        const read = readMultipart(written.contentType, bytes);
        expect(read.map(({ body }) => [...body])).toEqual(parts.map(({ body }) => [...body]));
        expect(read.map(({ headers }) => headers['content-location'])).toEqual(parts.map((_, i) => `/part/${i}`));
      }),
      { numRuns: 100 },
    );
  });

  it('names the media type of the parts in quotes, with CRLF and a closing boundary', async () => {
    const { contentType, body } = multipartRelated('application/dicom', [
      { headers: { 'Content-Type': 'application/dicom' }, body: Buffer.from('abc') },
    ]);
    const boundary = /^multipart\/related; type="application\/dicom"; boundary=([0-9a-f]{36})$/.exec(contentType)?.[1];
    expect((await gather(body)).toString()).toBe(
      `--${boundary}\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--${boundary}--\r\n`,
    );
  });

  it('asks for a part only when the one before has been taken', async () => {
    const events: string[] = [];
    async function* bytes(name: string): AsyncGenerator<Uint8Array> {
      events.push(`${name} read`);
      yield Buffer.from(name);
    }
    async function* parts() {
      for (const name of ['first', 'second']) {
        events.push(`${name} asked for`);
        yield { headers: {}, body: bytes(name) };
      }
    }
    const { body } = multipartRelated('text/plain', parts());
    expect(events).toEqual([]);
    await body.next();
    expect(events).toEqual(['first asked for']);
    await body.next();
    expect(events).toEqual(['first asked for', 'first read']);
    await body.return(undefined);
    expect(events).toEqual(['first asked for', 'first read']);
  });
});
