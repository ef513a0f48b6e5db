/**
 * A stored data set in another transfer syntax (PS3.5 Annex A), as a stream: its attributes re-encoded, those that describe the
 * compression corrected (transcoded-attributes.ts), frame after frame decoded or compressed, the next ones while one is being sent. A few
 * frames are held at most. The SOP Instance UID stays. The one way for C-GET, C-MOVE, routing and WADO-RS.
 */
import { toDicomJson } from '../dicom/dicom-json.ts';
import { type FrameTable, frameRange, locateFrames } from '../dicom/frame-ranges.ts';
import { type ByteRangeLike, type Header, type PixelDataLocation, readHeaderRanged } from '../dicom/part10.ts';
import { RangedSource } from '../dicom/ranged-source.ts';
import { ReEncoder } from '../dicom/re-encoder.ts';
import { Tag } from '../dicom/tags.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, type TransferSyntax } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { canDecode } from '../imaging/codecs.ts';
import type { ImageAttributes } from '../imaging/image-attributes.ts';
import { nativeFrameBytes } from '../imaging/native-frame.ts';
import type { TranscodedFrame } from '../imaging/transcode.ts';
import { inflated } from './deflated-stream.ts';
import { encapsulatedValue, gatheredBytes, nativeValue } from './encoded-frames.ts';
import { type FrameCut, frameCut } from './frame-cut.ts';
import type { FrameOnItsWay, FrameTranscoder, Room } from './frame-transcoder.ts';
import {
  changesOf,
  compressedIcons,
  hasOverlayInPixels,
  pixelAttributesOf,
  pixelTags,
} from './transcoded-attributes.ts';

/** Bytes of a stored data set, counted from its first one. */
export interface StoredBytes {
  readonly lengthBytes: number;
  /** Fewer only where it ends. */
  read(range: ByteRangeLike): Promise<Uint8Array>;
  /** For ranges that need not fit in memory. */
  stream(range: ByteRangeLike): AsyncIterable<Uint8Array>;
}

export interface TranscodedDataSet {
  /** Of native pixels that were compressed; undefined where the length is not known. */
  readonly pixelBytes: number | undefined;
  /** Of frames that are transcoded: 1 is all begun when it is opened. */
  readonly frameCount: number;
  readonly bytes: AsyncGenerator<Uint8Array, void, void>;
  /** To be called in the end, whether it was read or not: it holds what was transcoded. */
  close(): Promise<void>;
}

const MAX_VALUE_BYTES = 0xffff_fffe;
const UNDEFINED_LENGTH = 0xffff_ffff;
/** Begun while one is being sent: there are two threads to a pool. */
const FRAMES_AHEAD = 2;

/**
 * The first frame is transcoded when it resolves; what fails later comes out of the iteration. Errors: `bad-dicom` for what cannot be
 * followed or ends too soon, `cannot-render` for what cannot be decoded, `not-acceptable` for what the target cannot hold,
 * `limit-exceeded`, `timeout`, `unavailable`, those of `source`.
 * @param stored another transfer syntax than `to`, native or with a decoder
 * @param to uncompressed and not deflated, or one with an encoder
 */
export async function transcodedDataSet(
  source: StoredBytes,
  stored: TransferSyntax,
  to: TransferSyntax,
  transcoder: FrameTranscoder,
): Promise<TranscodedDataSet> {
  const whole = { offsetBytes: 0, lengthBytes: source.lengthBytes };
  if (stored.deflated) {
    if (to.encapsulated)
      throw new ArchiveError('not-acceptable', 'What is deflated is not compressed another way here.');
    return withoutFrames(reEncoded(inflated(source.stream(whole)), new ReEncoder(stored, to)));
  }
  const read = (range: ByteRangeLike) => source.read(range);
  const header = await readHeaderRanged(read, source.lengthBytes, { transferSyntaxUid: stored.uid });
  const { pixelData } = header;
  const isNative = pixelData?.lengthBytes !== undefined;
  checkComplete(header, source.lengthBytes);
  if (pixelData === undefined || (isNative && !to.encapsulated))
    return withoutFrames(reEncoded(source.stream(whole), new ReEncoder(stored, to)));
  if (!isNative && !canDecode(stored.uid)) throw cannotTranscode(`nobody here decodes ${stored.name}`);
  if (!isNative && !stored.encapsulated)
    throw cannotTranscode('its pixels are not encoded as its transfer syntax says');
  if (pixelData.tag !== Tag.PixelData) throw cannotTranscode('its pixels are floating point numbers');
  if (isNative && hasOverlayInPixels(header.dataSet))
    throw new ArchiveError('not-acceptable', 'Overlays in the unused bits of pixels would be lost by compression.');
  const { table } = await locateFrames(header, source.lengthBytes, read);
  const frames = new Frames(source, header, pixelData, table, stored, to, transcoder);
  const room = to.encapsulated && frames.count > 1 ? transcoder.gather(gatheredBytes) : undefined;
  try {
    await room?.granted;
  } catch (error) {
    room?.release();
    throw error;
  }
  return opened(source, header, frames, room);
}

async function opened(
  source: StoredBytes,
  header: Header,
  frames: Frames,
  room: Room | undefined,
): Promise<TranscodedDataSet> {
  const { stored, to, attributes, pixelData } = frames;
  const first = frames.begin(1);
  const close = (): void => {
    first.release();
    room?.release();
  };
  try {
    const frame = await first.frame;
    const valueBytes = to.encapsulated ? UNDEFINED_LENGTH : frames.nativeBytesOf(frame.bytes.length);
    const headBytes = pixelData.offsetBytes - headBytesOf(pixelData, stored);
    const endBytes = await frames.endBytes();
    const sizes = { nativeBytes: nativeFrameBytes(attributes), storedBytes: frames.storedBytesOf(1) };
    const changes = changesOf(header.dataSet, attributes, frame, sizes, stored, to);
    const encoder = new ReEncoder(stored, to, changes, new Set(compressedIcons(header.dataSet)));
    const vr = to.encapsulated || attributes.bitsAllocated <= 8 ? 'OB' : 'OW';
    async function* bytes(): AsyncGenerator<Uint8Array, void, void> {
      try {
        for await (const piece of source.stream({ offsetBytes: 0, lengthBytes: headBytes })) yield* encoder.push(piece);
        yield* encoder.insert(Tag.PixelData, vr, valueBytes);
        const all = frames.all(first, frame.photometricInterpretation);
        if (to.encapsulated) yield* encapsulatedValue(all, frames.count);
        else yield* nativeValue(all, (frameBytes) => frames.bitsOf(frameBytes));
      } finally {
        close();
      }
      const tail = { offsetBytes: endBytes, lengthBytes: source.lengthBytes - endBytes };
      if (tail.lengthBytes > 0) for await (const piece of source.stream(tail)) yield* encoder.push(piece);
      yield* encoder.end();
    }
    const stream = bytes();
    return {
      pixelBytes: to.encapsulated ? undefined : valueBytes,
      frameCount: frames.count,
      bytes: stream,
      async close() {
        await stream.return();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

function withoutFrames(bytes: AsyncGenerator<Uint8Array, void, void>): TranscodedDataSet {
  return { pixelBytes: undefined, frameCount: 0, bytes, close: async () => void (await bytes.return()) };
}

async function* reEncoded(
  source: AsyncIterable<Uint8Array>,
  encoder: ReEncoder,
): AsyncGenerator<Uint8Array, void, void> {
  for await (const piece of source) yield* encoder.push(piece);
  yield* encoder.end();
}

/** Before anything is sent, not when the end is reached. */
function checkComplete({ isCut, pixelData }: Header, lengthBytes: number): void {
  const endBytes = (pixelData?.offsetBytes ?? 0) + (pixelData?.lengthBytes ?? 0);
  if (isCut || endBytes > lengthBytes)
    throw new ArchiveError('bad-dicom', 'The data set ends within an element and cannot be converted.', {
      lengthBytes,
    });
}

/** Tag, VR of two letters, two reserved bytes and a length of four (PS3.5 §7.1.2); without VR tag and length (§7.1.3). */
const headBytesOf = ({ lengthBytes }: PixelDataLocation, { explicitVr }: TransferSyntax): number =>
  explicitVr || lengthBytes === undefined ? 12 : 8;

/** The frames of one instance, transcoded one after the other. */
class Frames {
  readonly attributes: ImageAttributes;
  readonly count: number;
  readonly pixelData: PixelDataLocation;
  readonly stored: TransferSyntax;
  readonly to: TransferSyntax;
  readonly #source: StoredBytes;
  readonly #table: FrameTable;
  readonly #cut: FrameCut;
  readonly #transcoder: FrameTranscoder;

  constructor(
    source: StoredBytes,
    { dataSet }: Header,
    pixelData: PixelDataLocation,
    table: FrameTable,
    stored: TransferSyntax,
    to: TransferSyntax,
    transcoder: FrameTranscoder,
  ) {
    this.attributes = pixelAttributesOf(toDicomJson(dataSet, { only: pixelTags }));
    this.pixelData = pixelData;
    this.stored = stored;
    this.to = to;
    this.#source = source;
    this.#table = table;
    this.#transcoder = transcoder;
    const { bitsAllocated } = this.attributes;
    this.#cut = frameCut(table, stored, () => ({ vr: pixelData.vr, bitsAllocated }));
    this.count = Math.max(1, Math.floor(dataSet.number(Tag.NumberOfFrames) ?? 1));
    const found = table.kind === 'encapsulated' ? table.frames.length : table.kind === 'native' ? table.count : 0;
    if (found < this.count) throw cannotTranscode(`of ${this.count} frames there are ${found}`);
  }

  /** Of one native frame: all but those of one-bit and 12-bit cells are whole bytes. */
  bitsOf(frameBytes: number): number {
    const { bitsAllocated, rows, columns, samplesPerPixel } = this.attributes;
    return bitsAllocated % 8 === 0 ? frameBytes * 8 : rows * columns * samplesPerPixel * bitsAllocated;
  }

  /** Of all native frames, padded to even length. @param frameBytes of the first */
  nativeBytesOf(frameBytes: number): number {
    const lengthBytes = Math.ceil((this.bitsOf(frameBytes) * this.count) / 8);
    if (lengthBytes > MAX_VALUE_BYTES) throw cannotTranscode('its native pixels would be longer than 4 GiB');
    return lengthBytes + (lengthBytes % 2);
  }

  storedBytesOf(frameNumber: number): number {
    return frameRange(this.#table, frameNumber).lengthBytes;
  }

  begin(frameNumber: number): FrameOnItsWay {
    const { attributes, to } = this;
    const { offsetBytes, lengthBytes } = this.#cut.locate(frameNumber);
    return this.#transcoder.begin(lengthBytes + nativeFrameBytes(attributes), async () => {
      const bytes = await this.#source.read({ offsetBytes, lengthBytes });
      if (bytes.length < lengthBytes) throw cannotTranscode('a frame is cut short');
      return {
        frame: this.#cut.finish(bytes, frameNumber),
        // What was cut is in little endian; values that were compressed are in no byte order.
        fromTransferSyntaxUid: this.#table.kind === 'encapsulated' ? this.stored.uid : EXPLICIT_VR_LITTLE_ENDIAN,
        toTransferSyntaxUid: to.uid,
        attributes,
        bitOffset: attributes.bitsAllocated % 8 === 0 ? 0 : ((frameNumber - 1) * this.bitsOf(0)) % 8,
      };
    });
  }

  /** Each is let go when the next is asked for. @param photometricInterpretation of the first frame, which all others must have */
  async *all(first: FrameOnItsWay, photometricInterpretation: string): AsyncGenerator<TranscodedFrame, void, void> {
    const onTheirWay: FrameOnItsWay[] = [first];
    try {
      for (let frameNumber = 1, begun = 1; frameNumber <= this.count; frameNumber++) {
        const most = this.#transcoder.isRoomy ? 1 + FRAMES_AHEAD : 1;
        while (begun < this.count && onTheirWay.length < most) onTheirWay.push(this.begin(++begun));
        const [next] = onTheirWay as [FrameOnItsWay];
        const frame = await next.frame;
        if (frame.photometricInterpretation !== photometricInterpretation)
          throw cannotTranscode('its frames differ in their colours');
        yield frame;
        next.release();
        onTheirWay.shift();
      }
    } finally {
      for (const one of onTheirWay) one.release();
    }
  }

  /** Source offset of what follows Pixel Data; of the end where their fragments have no delimiter. */
  async endBytes(): Promise<number> {
    const { offsetBytes, lengthBytes } = this.pixelData;
    if (lengthBytes !== undefined) return offsetBytes + lengthBytes;
    const last = this.#table.kind === 'encapsulated' ? this.#table.frames.at(-1) : undefined;
    const source = new RangedSource((range) => this.#source.read(range), this.#source.lengthBytes);
    let at = last === undefined ? source.lengthBytes : last.offsetBytes + last.lengthBytes;
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
    return source.lengthBytes;
  }
}

function cannotTranscode(why: string): ArchiveError {
  return new ArchiveError('cannot-render', `The instance cannot be had in another transfer syntax: ${why}.`);
}
