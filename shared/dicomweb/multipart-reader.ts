/**
 * Reading multipart bodies (RFC 2046 §5.1.1) as streams: part by part, a part's bytes as they come, nothing gathered but what may
 * be the beginning of a delimiter. Lenient where it costs no certainty: bodies with bare line feeds, text before the first
 * delimiter, folded or missing header fields, an end without the last two hyphens. Writing is multipart.ts.
 */
import { ArchiveError } from '../errors.ts';

export interface IncomingPart {
  /** Names in lower case; the first of a name counts. Values are latin1. */
  readonly headers: ReadonlyMap<string, string>;
  /**
   * Chunks are views on what came. What is not taken of it is passed over when the next part is asked for. Errors: `bad-request` when
   * the source ends before the part does, and those of the source.
   */
  readonly body: AsyncIterable<Uint8Array>;
}

/** RFC 2046 §5.1.1 allows 70 characters; Orthanc's DICOMweb plugin sends 73. */
export const maximumBoundaryLength = 256;
export const maximumHeaderBytes = 16 * 1024;
const maximumPreambleBytes = 16 * 1024;
/** RFC 2046 allows spaces behind a delimiter. */
const maximumPaddingBytes = 64;
const maximumEpilogueBytes = 64 * 1024;

const LF = 0x0a;
const CR = 0x0d;
const HYPHEN = 0x2d;

/**
 * The parts of a body, each to be taken before the next. The source is never cancelled: to cancel the body of a request is
 * to hang up, and there is an answer to give. Errors: `bad-request` for what is no multipart body, `limit-exceeded` for more parts
 * than `maximumParts`, longer header fields than 16 KiB, or a boundary of more than 256 characters.
 */
export async function* readParts(
  source: AsyncIterable<Uint8Array>,
  boundary: string,
  maximumParts: number,
): AsyncGenerator<IncomingPart, void, undefined> {
  if (boundary === '') {
    throw new ArchiveError('bad-request', 'The Content-Type names no boundary; without it no part can be told.');
  }
  if (boundary.length > maximumBoundaryLength) {
    throw new ArchiveError('limit-exceeded', `The boundary is longer than ${maximumBoundaryLength} characters.`);
  }
  const reader = new PartReader(source, boundary);
  await reader.findFirst();
  for (let number = 1; !reader.closed; number++) {
    if (number > maximumParts) {
      throw new ArchiveError(
        'limit-exceeded',
        `The body has more than ${maximumParts} parts; send the rest in another request.`,
        { maximumParts },
      );
    }
    yield { headers: await reader.readHeaders(), body: reader.readBody() };
    await reader.skipBody();
  }
  await reader.readEpilogue();
}

/** Where a delimiter's line ends: behind it, and whether it was the last one. */
interface DelimiterEnd {
  readonly next: number;
  readonly closes: boolean;
  readonly lineFeedOnly: boolean;
}

class PartReader {
  /** No delimiter will come any more. */
  closed = false;
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #dashBoundary: Buffer;
  /** Line end and dash boundary: the line end belongs to the delimiter. The first delimiter shows which kind the body has. */
  #delimiter: Buffer;
  #buffer: Buffer = Buffer.alloc(0);
  #ended = false;
  #inBody = false;

  constructor(source: AsyncIterable<Uint8Array>, boundary: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#dashBoundary = Buffer.from(`--${boundary}`, 'latin1');
    this.#delimiter = Buffer.concat([Buffer.from('\r\n'), this.#dashBoundary]);
  }

  /** Goes behind the first delimiter. A body without any byte has no parts. */
  async findFirst(): Promise<void> {
    for (let from = 0; ; ) {
      const at = this.#buffer.indexOf(this.#dashBoundary, from);
      const startsLine = at === 0 || (at > 0 && this.#buffer[at - 1] === LF);
      const end = startsLine ? this.#delimiterEnd(at + this.#dashBoundary.length) : 'none';
      if (at >= 0 && end === 'none') {
        from = at + 1;
        continue;
      }
      if (at >= 0 && end !== 'none' && end !== 'unsure') {
        if (end.lineFeedOnly) this.#delimiter = Buffer.concat([Buffer.from('\n'), this.#dashBoundary]);
        this.#leave(end);
        return;
      }
      if (this.#buffer.length > maximumPreambleBytes + this.#delimiter.length) throw noDelimiter();
      if (!(await this.#more())) {
        if (this.#buffer.length > 0) throw noDelimiter();
        this.closed = true;
        return;
      }
    }
  }

  async readHeaders(): Promise<Map<string, string>> {
    const lines: string[] = [];
    for (let at = 0; ; ) {
      const end = this.#buffer.indexOf(LF, at);
      if (end > maximumHeaderBytes || (end < 0 && this.#buffer.length > maximumHeaderBytes)) {
        throw new ArchiveError(
          'limit-exceeded',
          `The header fields of a part are longer than ${maximumHeaderBytes} bytes.`,
        );
      }
      if (end < 0) {
        if (!(await this.#more())) throw brokenOff();
        continue;
      }
      const line = this.#buffer.toString('latin1', at, end).replace(/\r$/, '');
      at = end + 1;
      if (line === '') {
        this.#buffer = this.#buffer.subarray(at);
        this.#inBody = true;
        return fieldsOf(lines);
      }
      if (/^[ \t]/.test(line) && lines.length > 0) lines.push(`${lines.pop()} ${line.trim()}`);
      else lines.push(line);
    }
  }

  /** What is left of the part's body. Whoever stops taking it may go on with another one of these. */
  async *readBody(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let from = 0; this.#inBody; ) {
      const at = this.#buffer.indexOf(this.#delimiter, from);
      const end = at < 0 ? 'none' : this.#delimiterEnd(at + this.#delimiter.length);
      if (end === 'none' && at >= 0) {
        from = at + 1;
        continue;
      }
      if (end !== 'none' && end !== 'unsure') {
        const last = this.#buffer.subarray(0, at);
        this.#inBody = false;
        this.#leave(end);
        if (last.length > 0) yield last;
        return;
      }
      const certain = end === 'unsure' ? at : this.#buffer.length - this.#possibleDelimiterBytes();
      const bytes = this.#buffer.subarray(0, certain);
      this.#buffer = this.#buffer.subarray(certain);
      from = 0;
      if (bytes.length > 0) yield bytes;
      if (!(await this.#more())) throw brokenOff();
    }
  }

  async skipBody(): Promise<void> {
    for await (const _ of this.readBody());
  }

  /** Lets the sender finish; what stands here counts for nothing. */
  async readEpilogue(): Promise<void> {
    for (let passedBytes = 0; passedBytes <= maximumEpilogueBytes && !this.#ended; ) {
      passedBytes += this.#buffer.length;
      this.#buffer = this.#buffer.subarray(this.#buffer.length);
      await this.#more().catch(() => {
        this.#ended = true;
      });
    }
  }

  #leave(end: DelimiterEnd): void {
    this.#buffer = this.#buffer.subarray(end.next);
    this.closed = end.closes;
  }

  /** Whether what stands at `at` makes the dash boundary before it a delimiter: a longer word than the boundary does not. */
  #delimiterEnd(at: number): DelimiterEnd | 'none' | 'unsure' {
    const bytes = this.#buffer;
    const atEnd = this.#ended ? 'none' : 'unsure';
    if (bytes[at] === HYPHEN) {
      if (at + 1 >= bytes.length) return atEnd;
      return bytes[at + 1] === HYPHEN ? { next: at + 2, closes: true, lineFeedOnly: false } : 'none';
    }
    let next = at;
    while ((bytes[next] === 0x20 || bytes[next] === 0x09) && next - at < maximumPaddingBytes) next++;
    // All parts are complete where the body ends behind a delimiter, though two hyphens are missing.
    if (next >= bytes.length) return this.#ended ? { next, closes: true, lineFeedOnly: false } : 'unsure';
    if (bytes[next] === LF) return this.#opens(next + 1, true);
    if (bytes[next] !== CR) return 'none';
    if (next + 1 >= bytes.length) return atEnd;
    return bytes[next + 1] === LF ? this.#opens(next + 2, false) : 'none';
  }

  #opens(next: number, lineFeedOnly: boolean): DelimiterEnd | 'unsure' {
    if (next < this.#buffer.length) return { next, closes: false, lineFeedOnly };
    return this.#ended ? { next, closes: true, lineFeedOnly } : 'unsure';
  }

  /** How many bytes at the end may be the beginning of a delimiter. */
  #possibleDelimiterBytes(): number {
    const { length } = this.#buffer;
    for (let at = Math.max(0, length - this.#delimiter.length + 1); at < length; at++) {
      if (this.#buffer[at] !== this.#delimiter[0]) continue;
      if (this.#buffer.compare(this.#delimiter, 0, length - at, at) === 0) return length - at;
    }
    return 0;
  }

  /** Waits for the next bytes. True: look again, also once when there are none any more, since what was unsure is certain then. */
  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#source.next();
    if (done === true) {
      this.#ended = true;
      return true;
    }
    const chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    this.#buffer = this.#buffer.length === 0 ? chunk : Buffer.concat([this.#buffer, chunk]);
    return true;
  }
}

function fieldsOf(lines: readonly string[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon > 0 && !fields.has(name)) fields.set(name, line.slice(colon + 1).trim());
  }
  return fields;
}

function noDelimiter(): ArchiveError {
  return new ArchiveError(
    'bad-request',
    'The body does not begin with the boundary that its Content-Type names; send multipart/related with CRLF line ends.',
  );
}

function brokenOff(): ArchiveError {
  return new ArchiveError(
    'bad-request',
    'The body ends within a part: there is no boundary behind its last one. Send that instance again.',
  );
}
