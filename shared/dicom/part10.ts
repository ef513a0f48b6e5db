/**
 * Reads what comes before the pixels of a DICOM file (PS3.10 §7) or of a bare data set, out of a stream, ranged reads or
 * bytes at hand: File Meta, the data set up to Pixel Data, and where Pixel Data lies. Never holds pixels; bounded in
 * everything (element-reader.ts). Whatever the bytes are, the answer is a Header or an ArchiveError.
 */
import { ArchiveError } from '../errors.ts';
import { ByteWindow } from './byte-window.ts';
import { DataSet } from './data-set.ts';
import { inflateStart } from './deflated-data-set.ts';
import { ElementReader, type PixelDataHead } from './element-reader.ts';
import { BYTES_TO_JUDGE, confirmEncoding, type DetectedEncoding, detectEncoding } from './encoding-detection.ts';
import { BYTES_TO_FIND_FILE_META, checkGroupLength, findFileMeta, readFileMeta } from './file-meta.ts';
import { DEFAULT_BULK_THRESHOLD_BYTES } from './header-limits.ts';
import { Tag } from './tags.ts';
import { Tolerance } from './tolerance.ts';
import {
  EXPLICIT_VR_BIG_ENDIAN,
  EXPLICIT_VR_LITTLE_ENDIAN,
  IMPLICIT_VR_LITTLE_ENDIAN,
  type TransferSyntax,
  transferSyntaxOf,
} from './transfer-syntax.ts';

export { encodeFileMeta, type FileMeta } from './file-meta.ts';

export interface ByteRangeLike {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * `offsetBytes`: of the value's first byte, from the first byte of the source (deflated: of the inflated data set);
 * encapsulated: of the Basic Offset Table's item tag. `lengthBytes`: as the element claims; undefined when encoded so.
 */
export type PixelDataLocation = PixelDataHead;

export interface Header {
  /** Undefined for bare data sets and files without it. */
  readonly fileMeta: DataSet | undefined;
  /** As File Meta, the option or, failing both, the bytes say. */
  readonly transferSyntax: TransferSyntax;
  readonly dataSetOffsetBytes: number;
  /** Up to Pixel Data, which is not in it. */
  readonly dataSet: DataSet;
  readonly pixelData: PixelDataLocation | undefined;
  /** What the standard forbids and the reader let pass: sentences without attribute values. */
  readonly tolerated: readonly string[];
  /** The data end within an element, item or sequence: what is missing from the data set may have been cut off. */
  readonly isCut: boolean;
}

/** The beginning of a Header, while the rest of it is still on its way. */
export type HeaderStart = Pick<Header, 'fileMeta' | 'transferSyntax' | 'dataSetOffsetBytes'> & {
  readonly dataSet: DataSet | undefined;
};

export interface HeaderOptions {
  /** The bytes are a bare data set in this transfer syntax, without File Meta, as C-STORE sends it. */
  readonly transferSyntaxUid?: string;
  /** Of the whole source, where known: lengths are then held against it. */
  readonly totalLengthBytes?: number;
  /** Top-level OB, OD, OF, OL, OV, OW and UN values longer than this are not held; 1 MiB by default. */
  readonly bulkThresholdBytes?: number;
}

type Phase = 'start' | 'file-meta' | 'data-set-start' | 'data-set' | 'deflated' | 'done';

const FIRST_DEFLATED_BYTES = 16 * 1024;

/** Takes a source chunk by chunk; how it is cut into chunks never changes the result. Errors: `bad-dicom`, `limit-exceeded`. */
export class HeaderReader {
  readonly #tolerance = new Tolerance();
  readonly #window: ByteWindow;
  readonly #reader: ElementReader;
  readonly #bulkThresholdBytes: number;
  #phase: Phase = 'start';
  #failure: unknown;
  #fileMeta: DataSet | undefined;
  #transferSyntax: TransferSyntax | undefined;
  #dataSetOffsetBytes = 0;
  #dataSet: DataSet | undefined;
  #explicitVr = true;
  #pixelData: PixelDataLocation | undefined;
  #deflatedBytes = FIRST_DEFLATED_BYTES;

  constructor(options: HeaderOptions = {}) {
    this.#window = new ByteWindow(options.totalLengthBytes);
    this.#bulkThresholdBytes = options.bulkThresholdBytes ?? DEFAULT_BULK_THRESHOLD_BYTES;
    this.#reader = new ElementReader(this.#window, this.#tolerance, this.#bulkThresholdBytes);
    if (options.transferSyntaxUid !== undefined) {
      this.#transferSyntax = transferSyntaxOf(options.transferSyntaxUid);
      this.#phase = 'data-set-start';
    }
  }

  /**
   * Takes the next bytes and keeps a view on them: do not write to them afterwards. True: the header is complete, further
   * bytes are not needed.
   */
  push(chunk: Uint8Array): boolean {
    if (this.#phase === 'done') return true;
    if (this.#failure !== undefined) throw this.#failure;
    this.#window.append(chunk);
    if (this.#window.received < this.#window.neededBytes && !this.#window.ended) return false;
    return this.#advance();
  }

  /** No more bytes will come: the header is complete with what is there. */
  end(): void {
    if (this.#phase === 'done') return;
    if (this.#failure !== undefined) throw this.#failure;
    this.#window.ended = true;
    this.#advance();
  }

  /** Source offset of the next byte that is of interest: a source that can be read in ranges may leave out what is before it. */
  get nextOffsetBytes(): number {
    return Math.max(this.#window.received, this.#phase === 'deflated' ? 0 : this.#window.position);
  }

  /** Source offset up to which bytes are needed before anything can go on; a hint for the size of a ranged read. */
  get neededBytes(): number {
    return this.#window.neededBytes;
  }

  /** What is kept in memory of the bytes that came: all but bulk values. Of deflated data, before they are inflated. */
  get heldBytes(): number {
    return this.#reader.heldBytes;
  }

  /**
   * What is known once the data set has begun, before the header is complete: where it begins, in which transfer syntax, and those of
   * its elements that have come (none of a deflated one). Undefined before that.
   */
  get start(): HeaderStart | undefined {
    if (this.#transferSyntax === undefined || (this.#dataSet === undefined && this.#phase !== 'deflated'))
      return undefined;
    return {
      fileMeta: this.#fileMeta,
      transferSyntax: this.#transferSyntax,
      dataSetOffsetBytes: this.#dataSetOffsetBytes,
      dataSet: this.#dataSet,
    };
  }

  /** The next chunk will begin at `nextOffsetBytes`. */
  skip(): void {
    if (this.#phase !== 'deflated') this.#window.skip();
  }

  /** Once `push` answered true or `end` was called. */
  get header(): Header {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#phase !== 'done' || this.#dataSet === undefined || this.#transferSyntax === undefined) {
      throw new Error('The header is not complete yet: push more bytes, or call end()');
    }
    return {
      fileMeta: this.#fileMeta,
      transferSyntax: this.#transferSyntax,
      dataSetOffsetBytes: this.#dataSetOffsetBytes,
      dataSet: this.#dataSet,
      pixelData: this.#pixelData,
      tolerated: this.#tolerance.sentences,
      isCut: this.#tolerance.isCut,
    };
  }

  #advance(): boolean {
    try {
      if (this.#phase === 'start' && !this.#start()) return false;
      if (this.#phase === 'file-meta' && !this.#readFileMeta()) return false;
      if (this.#phase === 'data-set-start' && !this.#startDataSet()) return false;
      if (this.#phase === 'data-set' && !this.#readDataSet()) return false;
      if (this.#phase === 'deflated' && !this.#readDeflated()) return false;
      this.#phase = 'done';
      return true;
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }

  /** Whether so many unread bytes are there, or as many as there will ever be. */
  #awaits(lengthBytes: number): boolean {
    const { position, received, ended, totalBytes } = this.#window;
    if (received - position >= lengthBytes || ended) return false;
    this.#window.neededBytes = Math.min(position + lengthBytes, totalBytes);
    return true;
  }

  #start(): boolean {
    if (this.#awaits(BYTES_TO_FIND_FILE_META)) return false;
    const window = this.#window;
    const { offsetBytes, hasFileMeta, hasPrefix } = findFileMeta(window.bytes, window.filled, this.#tolerance);
    window.position = offsetBytes;
    if (hasFileMeta) {
      this.#fileMeta = new DataSet(true);
      this.#phase = 'file-meta';
      return true;
    }
    if (!hasPrefix && detectEncoding(window, offsetBytes - window.base) === undefined) {
      throw new ArchiveError(
        'bad-dicom',
        'These bytes are not DICOM: there is neither the prefix DICM at byte 128 nor anything that looks like a data set',
      );
    }
    if (!hasPrefix) this.#tolerance.note('no-preamble');
    if (!hasPrefix) this.#tolerance.note('no-prefix');
    this.#tolerance.note('no-file-meta');
    this.#phase = 'data-set-start';
    return true;
  }

  #readFileMeta(): boolean {
    const fileMeta = this.#fileMeta as DataSet;
    if (!readFileMeta(this.#reader, fileMeta, this.#tolerance)) return false;
    checkGroupLength(fileMeta, this.#window.position, this.#tolerance);
    const uid = fileMeta.ascii(Tag.TransferSyntaxUID);
    if (uid === undefined) this.#tolerance.note('no-transfer-syntax');
    else this.#transferSyntax = transferSyntaxOf(uid);
    this.#phase = 'data-set-start';
    return true;
  }

  #startDataSet(): boolean {
    this.#dataSetOffsetBytes = this.#window.position;
    if (this.#transferSyntax?.deflated === true) {
      this.#phase = 'deflated';
      return true;
    }
    if (this.#awaits(BYTES_TO_JUDGE)) return false;
    const window = this.#window;
    if (window.received - window.position < 8) throw noDataSet();
    const encoding = this.#encodingAt(window);
    this.#explicitVr = encoding.explicitVr;
    this.#dataSet = new DataSet(encoding.littleEndian);
    this.#phase = 'data-set';
    return true;
  }

  #encodingAt(window: ByteWindow): DetectedEncoding {
    const at = window.position - window.base;
    if (this.#transferSyntax !== undefined) {
      return confirmEncoding(window, at, this.#transferSyntax, this.#tolerance);
    }
    const encoding = detectEncoding(window, at);
    if (encoding === undefined) {
      throw new ArchiveError(
        'bad-dicom',
        'The file does not say its transfer syntax, and its data set cannot be recognised from its first element',
        { offsetBytes: window.position },
      );
    }
    const uid = encoding.explicitVr
      ? encoding.littleEndian
        ? EXPLICIT_VR_LITTLE_ENDIAN
        : EXPLICIT_VR_BIG_ENDIAN
      : IMPLICIT_VR_LITTLE_ENDIAN;
    this.#transferSyntax = transferSyntaxOf(uid);
    return encoding;
  }

  #readDataSet(): boolean {
    const dataSet = this.#dataSet as DataSet;
    if (!this.#reader.read(dataSet, this.#explicitVr)) return false;
    this.#pixelData = this.#reader.pixelData;
    if (dataSet.highestTag < 0 && this.#pixelData === undefined) throw noDataSet();
    return true;
  }

  /** Inflates the first 16 KiB, then twice as many and so on until the header is in what comes out. */
  #readDeflated(): boolean {
    for (;;) {
      if (this.#awaits(this.#deflatedBytes)) return false;
      const window = this.#window;
      const at = window.position - window.base;
      const deflated = window.bytes.subarray(at, Math.min(window.filled, at + this.#deflatedBytes));
      if (deflated.length === 0) throw noDataSet();
      const isAll = window.ended && at + deflated.length === window.filled;
      const start = inflateStart(deflated);
      if (this.#readInflated(start.bytes, isAll || start.ended, start.zlibWrapped)) return true;
      this.#deflatedBytes *= 2;
    }
  }

  #readInflated(bytes: Uint8Array, isAll: boolean, zlibWrapped: boolean): boolean {
    const window = new ByteWindow();
    if (bytes.length > 0) window.append(bytes);
    window.ended = isAll;
    if (!isAll && bytes.length < BYTES_TO_JUDGE) return false;
    if (bytes.length < 8) throw noDataSet();
    if (zlibWrapped) this.#tolerance.note('zlib-wrapped');
    const encoding = confirmEncoding(window, 0, this.#transferSyntax as TransferSyntax, this.#tolerance);
    const reader = new ElementReader(window, this.#tolerance, this.#bulkThresholdBytes);
    const dataSet = new DataSet(encoding.littleEndian);
    if (!reader.read(dataSet, encoding.explicitVr)) return false;
    if (dataSet.highestTag < 0 && reader.pixelData === undefined) throw noDataSet();
    this.#dataSet = dataSet;
    this.#pixelData = reader.pixelData;
    return true;
  }
}

function noDataSet(): ArchiveError {
  return new ArchiveError('bad-dicom', 'There is no data set: the bytes end before its first element');
}

/** The header of a file, or of a data set, that is at hand. Values are views on `bytes`. Errors: `bad-dicom`, `limit-exceeded`. */
export function readHeader(bytes: Uint8Array, options: HeaderOptions = {}): Header {
  const reader = new HeaderReader({ ...options, totalLengthBytes: bytes.length });
  if (!reader.push(bytes)) reader.end();
  return reader.header;
}

const FIRST_READ_BYTES = 64 * 1024;
const LONGEST_READ_BYTES = 4 * 1024 * 1024;

/**
 * The header of a file of `lengthBytes` that is read in ranges: one read for most files, a second one behind each bulk
 * value. `read` gives the bytes of the range, fewer only where the file ends. Errors: `bad-dicom`, `limit-exceeded`, and those of `read`.
 */
export async function readHeaderRanged(
  read: (range: ByteRangeLike) => Promise<Uint8Array>,
  lengthBytes: number,
  options: HeaderOptions = {},
): Promise<Header> {
  const reader = new HeaderReader({ ...options, totalLengthBytes: lengthBytes });
  let size = FIRST_READ_BYTES;
  for (;;) {
    reader.skip();
    const offsetBytes = reader.nextOffsetBytes;
    const wanted = Math.min(lengthBytes - offsetBytes, Math.max(size, reader.neededBytes - offsetBytes));
    const chunk = wanted > 0 ? await read({ offsetBytes, lengthBytes: wanted }) : undefined;
    if (chunk === undefined || chunk.length === 0) {
      reader.end();
      return reader.header;
    }
    if (reader.push(chunk)) return reader.header;
    size = Math.min(size * 2, LONGEST_READ_BYTES);
  }
}
