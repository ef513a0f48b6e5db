/**
 * A compressed data set as a native one (PS3.5 §A.4 to §A.1, §A.2), as a stream: its attributes re-encoded, those that described
 * the compression corrected (PS3.3 §C.7.6.3, §C.7.6.1.1.5), frame after frame decoded, the next one while one is being
 * sent. Never more than two frames held; the whole length is known before the first is sent. The SOP Instance UID stays.
 */
import type { DataSet, Element } from '#shared/dicom/data-set.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import { type FrameTable, frameRange, joinFragments, locateFrames } from '#shared/dicom/frame-ranges.ts';
import { type ByteRangeLike, type Header, readHeaderRanged } from '#shared/dicom/part10.ts';
import { RangedSource } from '#shared/dicom/ranged-source.ts';
import { type Change, ReEncoder } from '#shared/dicom/re-encoder.ts';
import { Tag } from '#shared/dicom/tags.ts';
import type { TransferSyntax } from '#shared/dicom/transfer-syntax.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type ImageAttributes, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { nativeFrameBytes } from '#shared/imaging/native-frame.ts';
import type { Decompressor, FrameOnItsWay } from './decompressor.ts';

/** Bytes of a stored data set, counted from its first one. */
export interface StoredBytes {
  readonly lengthBytes: number;
  /** Fewer only where it ends. */
  read(range: ByteRangeLike): Promise<Uint8Array>;
  /** For ranges that need not fit in memory. */
  stream(range: ByteRangeLike): AsyncIterable<Uint8Array>;
}

export interface DecompressedDataSet {
  /** Of the native pixels. */
  readonly pixelBytes: number;
  /** To be read, or returned: it holds what was decoded. */
  readonly bytes: AsyncGenerator<Uint8Array, void, void>;
}

const PALETTE_COLOR = 'PALETTE COLOR';
const LOSSY_IMAGE_COMPRESSION = 0x00282110;
const ENCAPSULATED_PIXEL_DATA_VALUE_TOTAL_LENGTH = 0x7fe00003;
const ITEM_TAG = Buffer.from('feff00e0', 'hex');
/** What decoding one frame asks of a data set. */
const pixelTags: ReadonlySet<number> = new Set([
  0x00280002, 0x00280004, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103,
]); // biome-ignore format: a list
/** Tag, VR of two letters, two reserved bytes, undefined length (PS3.5 §7.1.2). */
const PIXEL_DATA_HEAD_BYTES = 12;
const MAX_VALUE_BYTES = 0xffff_fffe;

/**
 * The first frame is decoded when it resolves; what fails later comes out of the iteration. Errors: `bad-dicom` for what cannot be
 * followed, `cannot-render` for what cannot be decoded, `limit-exceeded`, `timeout`, `unavailable`, those of `source`.
 * @param stored an encapsulated transfer syntax with a decoder
 * @param to Explicit or Implicit VR Little Endian
 */
export async function decompressedDataSet(
  source: StoredBytes,
  stored: TransferSyntax,
  to: TransferSyntax,
  decompressor: Decompressor,
): Promise<DecompressedDataSet> {
  const read = (range: ByteRangeLike) => source.read(range);
  const header = await readHeaderRanged(read, source.lengthBytes, { transferSyntaxUid: stored.uid });
  const { pixelData } = header;
  const encapsulated = pixelData !== undefined && pixelData.lengthBytes === undefined ? pixelData : undefined;
  if (encapsulated === undefined) return { pixelBytes: 0, bytes: reEncoded(source, new ReEncoder(stored, to)) };
  if (encapsulated.tag !== Tag.PixelData) throw cannotDecompress('its pixels are floating point numbers');
  const { table } = await locateFrames(header, source.lengthBytes, read);
  const frames = new NativeFrames(source, header, table, decompressor);
  const first = frames.begin(1);
  try {
    const native = await first.native;
    const changes = changesOf(header.dataSet, frames.attributes, native);
    const valueBytes = frames.valueBytesOf(native.bytes.length);
    const endBytes = await endOfFragments(source, table);
    const encoder = new ReEncoder(stored, to, changes, new Set(compressedIcons(header.dataSet)));
    const vr = frames.attributes.bitsAllocated > 8 ? 'OW' : 'OB';
    async function* bytes(): AsyncGenerator<Uint8Array, void, void> {
      try {
        const headBytes = (encapsulated?.offsetBytes ?? 0) - PIXEL_DATA_HEAD_BYTES;
        for await (const piece of source.stream({ offsetBytes: 0, lengthBytes: headBytes })) yield* encoder.push(piece);
        yield* encoder.insert(Tag.PixelData, vr, valueBytes);
        yield* frames.all(first, native.photometricInterpretation);
      } finally {
        first.release();
      }
      const tail = { offsetBytes: endBytes, lengthBytes: source.lengthBytes - endBytes };
      if (tail.lengthBytes > 0) for await (const piece of source.stream(tail)) yield* encoder.push(piece);
      yield* encoder.end();
    }
    return { pixelBytes: valueBytes, bytes: bytes() };
  } catch (error) {
    first.release();
    throw error;
  }
}

async function* reEncoded(source: StoredBytes, encoder: ReEncoder): AsyncGenerator<Uint8Array, void, void> {
  const whole = { offsetBytes: 0, lengthBytes: source.lengthBytes };
  for await (const piece of source.stream(whole)) yield* encoder.push(piece);
  yield* encoder.end();
}

/** The frames of one instance, decoded one after the other. */
class NativeFrames {
  readonly attributes: ImageAttributes;
  readonly #source: StoredBytes;
  readonly #transferSyntaxUid: string;
  readonly #table: FrameTable;
  readonly #decompressor: Decompressor;
  readonly #count: number;

  constructor(source: StoredBytes, header: Header, table: FrameTable, decompressor: Decompressor) {
    this.attributes = pixelAttributesOf(header.dataSet);
    this.#source = source;
    this.#transferSyntaxUid = header.transferSyntax.uid;
    this.#table = table;
    this.#decompressor = decompressor;
    this.#count = Math.max(1, Math.floor(header.dataSet.number(Tag.NumberOfFrames) ?? 1));
    const found = table.kind === 'encapsulated' ? table.frames.length : 0;
    if (found < this.#count) throw cannotDecompress(`of ${this.#count} frames there are ${found}`);
  }

  /** Of one frame in bits: all but one-bit ones are whole bytes. */
  #frameBits(frameBytes: number): number {
    const { bitsAllocated, rows, columns, samplesPerPixel } = this.attributes;
    return bitsAllocated === 1 ? rows * columns * samplesPerPixel : frameBytes * 8;
  }

  /** Of all frames, padded to even length. @param frameBytes of the first */
  valueBytesOf(frameBytes: number): number {
    const lengthBytes = Math.ceil((this.#frameBits(frameBytes) * this.#count) / 8);
    if (lengthBytes > MAX_VALUE_BYTES) throw cannotDecompress('its native pixels would be longer than 4 GiB');
    return lengthBytes + (lengthBytes % 2);
  }

  begin(frameNumber: number): FrameOnItsWay {
    const { offsetBytes, lengthBytes, fragments } = frameRange(this.#table, frameNumber);
    const { attributes } = this;
    return this.#decompressor.begin(lengthBytes + nativeFrameBytes(attributes), async () => {
      const bytes = await this.#source.read({ offsetBytes, lengthBytes });
      if (bytes.length < lengthBytes) throw cannotDecompress('a frame is cut short');
      const bitOffset = attributes.bitsAllocated === 1 ? ((frameNumber - 1) * this.#frameBits(0)) % 8 : 0;
      return {
        frame: fragments > 1 ? joinFragments(bytes) : bytes,
        transferSyntaxUid: this.#transferSyntaxUid,
        attributes,
        bitOffset,
      };
    });
  }

  /** The value of Pixel Data. @param photometricInterpretation of the first frame, which all others must have */
  async *all(
    first: FrameOnItsWay,
    photometricInterpretation: string,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
    const value = new FramePieces();
    let next: FrameOnItsWay | undefined = first;
    let onItsWay: FrameOnItsWay | undefined;
    try {
      for (let frameNumber = 1; frameNumber <= this.#count; frameNumber++) {
        onItsWay = next;
        next = frameNumber < this.#count ? this.begin(frameNumber + 1) : undefined;
        if (onItsWay === undefined) return;
        const native = await onItsWay.native;
        if (native.photometricInterpretation !== photometricInterpretation)
          throw cannotDecompress('its frames differ in their colours');
        yield* value.frame(native.bytes, this.#frameBits(native.bytes.length));
        onItsWay.release();
      }
      yield* value.end();
    } finally {
      onItsWay?.release();
      next?.release();
    }
  }
}

/** Without palettes: indices stay what they are. */
function pixelAttributesOf(dataSet: DataSet): ImageAttributes {
  const json = toDicomJson(dataSet, { only: pixelTags });
  const photometric = '00280004';
  if (dataSet.ascii(Tag.PhotometricInterpretation) !== PALETTE_COLOR) return imageAttributesOf(json, 1);
  const { [photometric]: _, ...others } = json;
  return { ...imageAttributesOf(others, 1), photometricInterpretation: PALETTE_COLOR };
}

/** Frames of equal length joined bit by bit: the last byte of a one-bit frame may hold the first pixels of the next. */
class FramePieces {
  #frameBits: number | undefined;
  #totalBits = 0;
  /** The last byte so far, where it is not full. */
  #shared: number | undefined;

  *frame(bytes: Uint8Array<ArrayBuffer>, frameBits: number): Generator<Uint8Array<ArrayBuffer>, void, void> {
    this.#frameBits ??= frameBits;
    if (frameBits !== this.#frameBits) throw cannotDecompress('its frames differ in their length');
    if (this.#shared !== undefined) bytes[0] = (bytes[0] ?? 0) | this.#shared;
    this.#totalBits += frameBits;
    const isShared = this.#totalBits % 8 !== 0;
    this.#shared = isShared ? bytes.at(-1) : undefined;
    yield isShared ? bytes.subarray(0, -1) : bytes;
  }

  *end(): Generator<Uint8Array<ArrayBuffer>, void, void> {
    if (this.#shared !== undefined) yield Uint8Array.of(this.#shared);
    if (Math.ceil(this.#totalBits / 8) % 2 !== 0) yield new Uint8Array(1);
  }
}

/** Source offset of what follows the delimiter of Pixel Data; of the end where it has none. */
async function endOfFragments(stored: StoredBytes, table: FrameTable): Promise<number> {
  const last = table.kind === 'encapsulated' ? table.frames.at(-1) : undefined;
  const source = new RangedSource((range) => stored.read(range), stored.lengthBytes);
  let at = last === undefined ? stored.lengthBytes : last.offsetBytes + last.lengthBytes;
  while ((await source.fetch(at, 8)) === 8) {
    // The padding of a fragment whose odd length was written as it is.
    if (source.tag(at) !== Tag.Item && source.tag(at) !== Tag.SequenceDelimitationItem) {
      at++;
      if ((await source.fetch(at, 8)) < 8) break;
    }
    const tag = source.tag(at);
    if (tag === Tag.SequenceDelimitationItem) return at + 8;
    if (tag !== Tag.Item) break;
    at += 8 + source.uint32(at + 4);
  }
  return stored.lengthBytes;
}

function changesOf(
  dataSet: DataSet,
  { samplesPerPixel, bitsStored }: ImageAttributes,
  native: { readonly photometricInterpretation: string; readonly isLossy: boolean },
): Map<number, Change> {
  const changes = new Map<number, Change>([
    [Tag.ExtendedOffsetTable, 'removed'],
    [Tag.ExtendedOffsetTableLengths, 'removed'],
    [ENCAPSULATED_PIXEL_DATA_VALUE_TOTAL_LENGTH, 'removed'],
    [Tag.PhotometricInterpretation, { vr: 'CS', value: codeString(native.photometricInterpretation) }],
    [Tag.HighBit, { vr: 'US', value: unsignedShort(bitsStored - 1) }],
  ]);
  if (samplesPerPixel > 1) changes.set(Tag.PlanarConfiguration, { vr: 'US', value: unsignedShort(0) });
  // PS3.3 §C.7.6.1.1.5: once lossy, for ever lossy.
  if (native.isLossy && dataSet.ascii(LOSSY_IMAGE_COMPRESSION) !== '01')
    changes.set(LOSSY_IMAGE_COMPRESSION, { vr: 'CS', value: codeString('01') });
  return changes;
}

/** Offsets of sequences in whose items there are compressed pixels (PS3.5 §A.4): icons, standard or private, at whatever depth. */
function* compressedIcons(dataSet: DataSet): Generator<number, void, void> {
  for (const { items = [], offsetBytes } of dataSet.ascending()) {
    if (items.some((item) => isCompressed(item.get(Tag.PixelData)))) yield offsetBytes;
    else for (const item of items) yield* compressedIcons(item);
  }
}

const isCompressed = (pixels: Element | undefined): boolean =>
  pixels !== undefined &&
  (pixels.value === undefined || Buffer.from(pixels.value.subarray(0, ITEM_TAG.length)).equals(ITEM_TAG));

const codeString = (text: string): Uint8Array => Buffer.from(text.length % 2 === 0 ? text : `${text} `, 'latin1');
const unsignedShort = (number: number): Uint8Array => Uint8Array.of(number & 0xff, number >> 8);

function cannotDecompress(why: string): ArchiveError {
  return new ArchiveError('cannot-render', `The instance cannot be decompressed: ${why}.`);
}
