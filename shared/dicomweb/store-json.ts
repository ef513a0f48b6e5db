/**
 * Instances that come as metadata, DICOM JSON or XML, with their bulk data in parts of their own (PS3.18 §8.6.3, §10.5.1): read whole,
 * within a limit, and handed on one by one. Reading metadata is metadata-part.ts, their bytes are json-instance.ts.
 */
import type { InstanceReceiver, InstanceSink } from '../archive/outcome.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { Tag } from '../dicom/tags.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { type BulkPart, type BulkParts, encodeInstance, uidIn } from './json-instance.ts';
import { parseMediaType } from './media-type.ts';
import { parseJsonMetadata, readXmlMetadata } from './metadata-part.ts';
import type { IncomingPart } from './multipart-reader.ts';
import { refused, type StoreReport } from './store-file.ts';
import { codingProblem } from './store-request.ts';

/** As objects metadata take many times their length. */
const maximumMetadataBytes = 8 * 1024 * 1024;
/** Brackets, braces and commas of the metadata: what they cost to parse and to encode, which nothing else can be done meanwhile. */
const maximumMetadataMarks = 1_000_000;
/** As objects, of metadata that are nothing but marks. */
const bytesOfMark = 64;
/** An XML element is at least a mark for itself and one for its end or its value. */
const marksOfElement = 2;
/** Of all requests together. What is larger is sent as application/dicom, which is not held. */
const maximumHeldBytes = 128 * 1024 * 1024;
/** What the instances of a request may name of it together; more is some bytes named again and again. */
const maximumNamedBytes = 4 * maximumHeldBytes;
/** So much is handed on at once. */
const pieceBytes = 64 * 1024;

const COMMA = 0x2c;
const BRACE = 0x7b;
const BRACKET = 0x5b;

/** What requests hold while they are read: one for all of a service. */
export class HeldBodies {
  #bytes = 0;

  /** Error `too-large` for what never fits, `unavailable` for what does not now. */
  take(lengthBytes: number, ownBytes: number): void {
    if (ownBytes + lengthBytes > maximumHeldBytes) {
      throw new ArchiveError(
        'too-large',
        `Metadata and bulk data of a request may have ${maximumHeldBytes} bytes; send such instances as application/dicom.`,
      );
    }
    if (this.#bytes + lengthBytes > maximumHeldBytes) {
      throw new ArchiveError('unavailable', 'Too many bulk data are being stored; send again in a minute.');
    }
    this.#bytes += lengthBytes;
  }

  give(lengthBytes: number): void {
    this.#bytes -= lengthBytes;
  }
}

export interface MetadataOptions {
  /** Against which a BulkDataURI or a Content-Location that is a path is read. */
  readonly baseUrl: string;
  readonly held: HeldBodies;
  readonly maximumInstances: number;
}

/**
 * Reads all parts, then hands on the instances one by one. Errors: `bad-request` for what is no metadata, `too-large`, `unavailable`,
 * `unsupported-media-type`, and those of the parts: nothing is stored then.
 */
export async function* receiveMetadata(
  receiver: InstanceReceiver,
  studyInstanceUid: string | undefined,
  parts: AsyncIterable<IncomingPart>,
  { baseUrl, held, maximumInstances }: MetadataOptions,
): AsyncGenerator<{ report: Promise<StoreReport> }, void, undefined> {
  const body = new HeldBody(held, baseUrl);
  try {
    for await (const part of parts) {
      await body.add(part);
      if ((body.metadata?.length ?? 0) > maximumInstances) {
        throw new ArchiveError(
          'limit-exceeded',
          `The metadata are of more than ${maximumInstances} instances; send the rest in another request.`,
          { maximumInstances },
        );
      }
    }
    for (const json of body.metadata ?? []) {
      yield await handOn(receiver, studyInstanceUid, json, body.bulkOfOne());
    }
  } finally {
    body.letGo();
  }
}

/** The parts of one request, in memory. */
class HeldBody {
  /** Undefined until the first part has come. */
  metadata: DicomJson[] | undefined;
  readonly #held: HeldBodies;
  readonly #baseUrl: string;
  readonly #bulk = new Map<string, BulkPart[]>();
  #bytes = 0;
  #namedBytes = 0;
  #metadataBytes = 0;
  #marks = 0;

  constructor(held: HeldBodies, baseUrl: string) {
    this.#held = held;
    this.#baseUrl = baseUrl;
  }

  async add({ headers, body }: IncomingPart): Promise<void> {
    const unfit = codingProblem(headers);
    if (unfit !== undefined) throw unfit;
    const media = parseMediaType(headers.get('content-type') ?? '');
    const location = headers.get('content-location');
    const isFirst = this.metadata === undefined;
    if (media?.type === 'application/dicom+xml' && (isFirst || location === undefined)) {
      const json = await readXmlMetadata(body, (lengthBytes, elements) => {
        this.#takeMetadata(lengthBytes, elements * marksOfElement);
      });
      this.metadata = [...(this.metadata ?? []), json];
      return;
    }
    if (isFirst) {
      if (media?.type !== 'application/dicom+json' && media?.type !== 'application/json') {
        throw new ArchiveError(
          'bad-request',
          'The first part must be metadata, as application/dicom+json or application/dicom+xml.',
        );
      }
      const bytes = await this.#gather(body, maximumMetadataBytes);
      this.#takeMetadata(0, marksIn(bytes));
      this.metadata = parseJsonMetadata(bytes);
      return;
    }
    if (location === undefined) {
      throw new ArchiveError(
        'bad-request',
        'A part of bulk data has no Content-Location; it is the BulkDataURI of it.',
      );
    }
    const part: BulkPart = {
      type: media?.type ?? '',
      transferSyntaxUid: media?.parameters.get('transfer-syntax'),
      bytes: await this.#gather(body, maximumHeldBytes),
    };
    const href = this.#hrefOf(location);
    const others = this.#bulk.get(href);
    if (others === undefined) this.#bulk.set(href, [part]);
    else others.push(part);
  }

  /** For one instance: each part is the value of one element, so that few bytes cannot become many. */
  bulkOfOne(): BulkParts {
    const named = new Set<BulkPart>();
    return (uri) => {
      const parts = this.#bulkOf(uri);
      for (const part of parts) {
        this.#namedBytes += part.bytes.length;
        if (named.has(part) || this.#namedBytes > maximumNamedBytes) {
          throw new ArchiveError('limit-exceeded', 'The metadata name the same bulk data again and again.');
        }
        named.add(part);
      }
      return parts;
    };
  }

  /** Parts of that name in the order they came, or `…/frames/1` and on. */
  #bulkOf(uri: string): readonly BulkPart[] {
    const href = this.#hrefOf(uri);
    const whole = this.#bulk.get(href);
    if (whole !== undefined) return whole;
    const frames: BulkPart[] = [];
    for (let number = 1; ; number++) {
      const frame = this.#bulk.get(`${href}/frames/${number}`);
      if (frame === undefined) return frames;
      frames.push(...frame);
    }
  }

  letGo(): void {
    this.#held.give(this.#bytes);
    this.#bytes = 0;
    this.#bulk.clear();
  }

  /** One names it as a whole URL, the other as a path. */
  #hrefOf(uri: string): string {
    return URL.canParse(uri, this.#baseUrl) ? new URL(uri, this.#baseUrl).href : uri;
  }

  async #gather(body: AsyncIterable<Uint8Array>, limitBytes: number): Promise<Uint8Array> {
    const pieces = new Pieces();
    let lengthBytes = 0;
    for await (const bytes of body) {
      lengthBytes += bytes.length;
      if (lengthBytes > limitBytes) throw tooLongMetadata();
      this.#take(bytes.length);
      pieces.add(bytes);
    }
    return pieces.joined();
  }

  #takeMetadata(lengthBytes: number, marks: number): void {
    this.#metadataBytes += lengthBytes;
    this.#marks += marks;
    if (this.#metadataBytes > maximumMetadataBytes) throw tooLongMetadata();
    if (this.#marks > maximumMetadataMarks) {
      throw new ArchiveError('too-large', 'The metadata of a request have too many values; send fewer instances.');
    }
    this.#take(lengthBytes + marks * bytesOfMark);
  }

  #take(lengthBytes: number): void {
    this.#held.take(lengthBytes, this.#bytes);
    this.#bytes += lengthBytes;
  }
}

/** Bytes as they come: small ones are put together, since each on its own costs more memory than it has. */
class Pieces {
  readonly #pieces: Uint8Array[] = [];
  #block = Buffer.alloc(0);
  #filledBytes = 0;

  add(bytes: Uint8Array): void {
    if (bytes.length > pieceBytes / 4) {
      this.#endBlock();
      this.#pieces.push(bytes);
      return;
    }
    if (this.#filledBytes + bytes.length > this.#block.length) {
      this.#endBlock();
      this.#block = Buffer.allocUnsafe(pieceBytes);
    }
    this.#block.set(bytes, this.#filledBytes);
    this.#filledBytes += bytes.length;
  }

  joined(): Uint8Array {
    this.#endBlock();
    return Buffer.concat(this.#pieces);
  }

  /** What is left of the block goes on to be filled. */
  #endBlock(): void {
    if (this.#filledBytes > 0) this.#pieces.push(this.#block.subarray(0, this.#filledBytes));
    this.#block = this.#block.subarray(this.#filledBytes);
    this.#filledBytes = 0;
  }
}

const tooLongMetadata = (): ArchiveError =>
  new ArchiveError('too-large', `The metadata of a request may have ${maximumMetadataBytes} bytes at most.`);

/** Also those within strings, which are few. */
function marksIn(bytes: Uint8Array): number {
  let count = 0;
  for (const byte of bytes) if (byte === COMMA || byte === BRACE || byte === BRACKET) count++;
  return count;
}

/** Resolves when the receiver has taken all of it; what becomes of it is known later. */
async function handOn(
  receiver: InstanceReceiver,
  studyInstanceUid: string | undefined,
  json: DicomJson,
  bulkOf: BulkParts,
): Promise<{ report: Promise<StoreReport> }> {
  const who = { sopClassUid: uidIn(json, Tag.SOPClassUID), sopInstanceUid: uidIn(json, Tag.SOPInstanceUID) };
  let sink: InstanceSink | undefined;
  try {
    const { transferSyntaxUid, pieces } = encodeInstance(json, bulkOf);
    sink = receiver.begin({
      ...who,
      transferSyntaxUid,
      sourceAeTitle: undefined,
      ...(studyInstanceUid === undefined ? {} : { studyInstanceUid }),
    });
    for (const piece of pieces) {
      for (let at = 0; at < piece.length; at += pieceBytes) await sink.write(piece.subarray(at, at + pieceBytes));
    }
    return { report: sink.commit().then((outcome) => ({ ...who, outcome })) };
  } catch (error) {
    sink?.abort();
    if (!isArchiveError(error)) throw error;
    return { report: Promise.resolve({ ...who, outcome: refused(error) }) };
  }
}
