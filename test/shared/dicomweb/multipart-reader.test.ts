/**
 * The multipart reader against a model: parts that are known, encoded in every way the field has, cut into any chunks. And what
 * hostile bodies cost.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { multipartRelated } from '#shared/dicomweb/multipart.ts';
import { readParts } from '#shared/dicomweb/multipart-reader.ts';
import { ArchiveError } from '#shared/errors.ts';

interface Part {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

async function* chunksOf(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length] ?? bytes.length;
    yield bytes.subarray(at, at + size);
    at += size;
  }
}

async function read(
  bytes: Uint8Array | string,
  boundary = 'b',
  sizes: readonly number[] = [1 << 20],
  maximumParts = 100,
): Promise<Part[]> {
  const parts: Part[] = [];
  const source = chunksOf(typeof bytes === 'string' ? latin1(bytes) : bytes, sizes);
  for await (const { headers, body } of readParts(source, boundary, maximumParts)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    parts.push({ headers: Object.fromEntries(headers), body: Buffer.concat(pieces).toString('latin1') });
  }
  return parts;
}

const bodies = async (...input: Parameters<typeof read>): Promise<string[]> =>
  (await read(...input)).map(({ body }) => body);

describe('readParts', () => {
  const boundary = fc.stringMatching(/^[0-9a-zA-Z'()+_,./:=?-]{1,69}[0-9a-zA-Z]$/);
  const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 400 })), { minLength: 1 });

  it('gives the parts that were written, however they are cut and whatever is in them', async () => {
    await fc.assert(
      fc.asyncProperty(
        boundary,
        sizes,
        fc.boolean(),
        fc.array(
          fc.array(fc.oneof(fc.constant('\r'), fc.constant('\n'), fc.constant('-'), fc.constant(''), fc.string())),
          {
            maxLength: 5,
          },
        ),
        fc.constantFrom('', 'a preamble\r\n', '\r\n'),
        fc.constantFrom('--', '--\r\n', '--\r\nan epilogue', ''),
        async (boundary, sizes, lineFeeds, contents, preamble, end) => {
          const newLine = lineFeeds ? '\n' : '\r\n';
          // Everything that is nearly a delimiter, and nothing that is one.
          const near = [
            '',
            `${newLine}--${boundary.slice(0, -1)}`,
            `--${boundary}`,
            `${newLine}--${boundary}x`,
            newLine,
          ];
          const parts = contents.map((pieces, i) =>
            latin1(pieces.map((piece, j) => piece + near[(i + j) % near.length]).join('')).toString('latin1'),
          );
          fc.pre(
            parts.every((part) => !new RegExp(`${newLine}--${escaped(boundary)}(--|[ \t]*\r?\n)`).test(part + newLine)),
          );
          const text = parts.map((part) => `--${boundary}${newLine}A: b${newLine}${newLine}${part}${newLine}`).join('');
          const whole = latin1(`${preamble}${text}--${boundary}${end}`);
          expect(await bodies(whole, boundary, sizes)).toEqual(parts);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('gives back what our own writer wrote, whatever the parts and however they are cut', async () => {
    const name = fc.stringMatching(/^[A-Z][A-Za-z-]{0,20}$/);
    const value = fc.stringMatching(/^[!-9;-~]([ -~]{0,40}[!-~])?$/);
    const headers = fc.uniqueArray(fc.tuple(name, value), { maxLength: 5, selector: ([key]) => key.toLowerCase() });
    const lookAlike = fc.constantFrom('--', '\r\n--', '\n--', '\r', '\n', '\r\n\r\n', '--\r\n', '');
    const body = fc.array(fc.oneof(lookAlike, fc.string({ unit: 'binary' })), { maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(headers, body), { minLength: 1, maxLength: 5 }),
        sizes,
        async (made, sizes) => {
          const parts = made.map(([fields, pieces]) => ({
            headers: Object.fromEntries(fields),
            body: pieces.map((piece) => Buffer.from(piece)),
          }));
          const { contentType, body } = multipartRelated(
            'application/dicom',
            parts.map(({ headers, body }) => ({ headers, body: ReadableStream.from(body) })),
          );
          const written: Uint8Array[] = [];
          for await (const piece of body) written.push(piece);
          expect(await read(Buffer.concat(written), /boundary=(\w+)/.exec(contentType)?.[1], sizes)).toEqual(
            parts.map(({ headers, body }) => ({
              headers: Object.fromEntries(Object.entries(headers).map(([key, text]) => [key.toLowerCase(), text])),
              body: Buffer.concat(body).toString('latin1'),
            })),
          );
        },
      ),
      { numRuns: 60 },
    );
  });

  it('reads any bytes the same however they are cut, or refuses them the same', async () => {
    const piece = fc.constantFrom(
      ...['--b', '--b--', '--bb', '\r\n', '\n', '\r', '\r\n--b\r\n', '\n--b\n', '\r\n\r\n', 'A: b', ' ', '\t', '-', 'x', ':'],
    ); // biome-ignore format: a list
    const outcome = async (text: string, sizes: readonly number[]): Promise<unknown> => {
      try {
        return await read(text, 'b', sizes);
      } catch (error) {
        expect(error).toBeInstanceOf(ArchiveError);
        return (error as ArchiveError).code;
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), sizes, async (pieces, sizes) => {
        const text = pieces.join('');
        expect(await outcome(text, sizes)).toEqual(await outcome(text, [1 << 20]));
      }),
      { numRuns: 500 },
    );
  });

  it('reads what our own writer writes', async () => {
    const { contentType, body } = multipartRelated('application/dicom', [
      { headers: { 'Content-Type': 'application/dicom', 'Content-Location': 'x' }, body: latin1('one') },
      { headers: {}, body: latin1('') },
    ]);
    const pieces: Uint8Array[] = [];
    for await (const piece of body) pieces.push(piece);
    expect(await read(Buffer.concat(pieces), /boundary=(\w+)/.exec(contentType)?.[1], [7])).toEqual([
      { headers: { 'content-type': 'application/dicom', 'content-location': 'x' }, body: 'one' },
      { headers: {}, body: '' },
    ]);
  });

  it('passes over what nobody took', async () => {
    const source = chunksOf(latin1(`--b\r\n\r\n${'x'.repeat(1000)}\r\n--b\r\n\r\nsecond\r\n--b--`), [10]);
    const lengths: number[] = [];
    for await (const { body } of readParts(source, 'b', 10)) {
      for await (const piece of body) {
        lengths.push(piece.length);
        break;
      }
    }
    expect(lengths.length).toBe(2);
  });

  it.each([
    ['spaces behind a delimiter', '--b  \r\n\r\none\r\n--b \t\r\n\r\ntwo\r\n--b--  '],
    ['folded header fields', '--b\r\nA: b\r\n c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--'],
    ['a delimiter at the very end', '--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b'],
    ['a line end behind the last delimiter', '--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b\r\n'],
  ])('takes %s', async (_, text) => {
    for (const size of [1, 2, 1000]) expect(await bodies(text, 'b', [size])).toEqual(['one', 'two']);
  });

  it('takes a boundary of 73 characters, as Orthanc sends it', async () => {
    const uuid = '8926d6aa-8562-49d0-b73b-694974eee1a1';
    const boundary = `${uuid}-${uuid}`;
    expect(await bodies(`\r\n--${boundary}\r\n\r\none\r\n--${boundary}--\r\n`, boundary)).toEqual(['one']);
  });

  it('finds no parts in nothing, nor where the first delimiter is the last', async () => {
    expect(await bodies('')).toEqual([]);
    expect(await bodies('--b--\r\n')).toEqual([]);
  });

  it('joins the lines of a folded field and lets the first of a name count', async () => {
    expect(await read('--b\r\nX-Y: one\r\n\ttwo\r\nx-y: three\r\nno field\r\n\r\n\r\n--b--')).toEqual([
      { headers: { 'x-y': 'one two' }, body: '' },
    ]);
  });

  it('keeps a carriage return that bodies of bare line feeds end with', async () => {
    expect(await bodies('--b\n\none\r\n--b--')).toEqual(['one\r']);
  });
});

describe('a hostile body', () => {
  it.each<[string, string, string, string]>([
    ['without the boundary', 'x'.repeat(100), 'b', 'bad-request'],
    ['with a boundary that is a word of another', '--bb\r\n\r\n', 'b', 'bad-request'],
    ['without a named boundary', '--\r\n', '', 'bad-request'],
    ['with a boundary of 257 characters', `--${'b'.repeat(257)}--`, 'b'.repeat(257), 'limit-exceeded'],
    ['that ends within a part', '--b\r\n\r\nhalf', 'b', 'bad-request'],
    ['that ends within header fields', '--b\r\nContent-', 'b', 'bad-request'],
    ['with an endless header field', `--b\r\n${'x'.repeat(20_000)}`, 'b', 'limit-exceeded'],
    ['with endlessly many header fields', `--b\r\n${'a: b\r\n'.repeat(4000)}`, 'b', 'limit-exceeded'],
  ])('%s is refused', async (_, text, boundary, code) => {
    for (const size of [3, 1 << 20]) await expect(read(text, boundary, [size])).rejects.toMatchObject({ code });
  });

  it('of a million tiny parts ends at the bound, and gives those before', async () => {
    let sent = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; sent < 1_000_000; sent++) yield latin1('--b\r\n\r\nx\r\n');
    }
    let parts = 0;
    const reading = async (): Promise<void> => {
      for await (const _ of readParts(endless(), 'b', 10_000)) parts++;
    };
    await expect(reading()).rejects.toMatchObject({ code: 'limit-exceeded', details: { maximumParts: 10_000 } });
    expect(parts).toBe(10_000);
    expect(sent).toBeLessThan(10_010);
  });

  it('within a part is bytes of that part', async () => {
    const inner = '--inner\r\n\r\nx\r\n--inner--';
    expect(await bodies(`--b\r\nContent-Type: multipart/mixed\r\n\r\n${inner}\r\n--b--`)).toEqual([inner]);
  });

  it('of nearly delimiters alone is read in one go', async () => {
    const near = '\r\n--bx'.repeat(200_000);
    expect((await bodies(`--b\r\n\r\n${near}\r\n--b--`, 'b', [65_536]))[0]).toHaveLength(near.length);
  });

  it('without an end keeps nothing of what was taken', async () => {
    const piece = Buffer.alloc(64 * 1024, '\r\n--');
    async function* gibibyte(): AsyncGenerator<Uint8Array> {
      yield latin1('--b\r\n\r\n');
      for (let i = 0; i < 4096; i++) yield piece;
    }
    const before = process.memoryUsage().arrayBuffers;
    let lengthBytes = 0;
    const reading = async (): Promise<void> => {
      for await (const { body } of readParts(gibibyte(), 'b', 1))
        for await (const bytes of body) lengthBytes += bytes.length;
    };
    await expect(reading()).rejects.toMatchObject({ code: 'bad-request' });
    expect(lengthBytes).toBeGreaterThan(4095 * piece.length);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
  });
});

const escaped = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
