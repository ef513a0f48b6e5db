/**
 * The value of Pixel Data out of its frames, as a stream: native ones bit behind bit (PS3.5 §8.1.1), compressed ones as one fragment
 * each with a Basic Offset Table before them (PS3.5 §A.4). Which frames, and in which order, the caller says.
 */
import { ArchiveError } from '../errors.ts';
import type { TranscodedFrame } from '../imaging/transcode.ts';

/** Compressed frames are gathered up to this, so that the table before them can say where each is; of more the table is empty. */
export const gatheredBytes = 4 * 1024 * 1024;

const ITEM = 0xfffee000;
const SEQUENCE_DELIMITATION = 0xfffee0dd;

/** @param bitsOf one frame, from its bytes */
export async function* nativeValue(
  frames: AsyncIterable<TranscodedFrame>,
  bitsOf: (frameBytes: number) => number,
): AsyncGenerator<Uint8Array, void, void> {
  const pieces = new FramePieces();
  for await (const { bytes } of frames) yield* pieces.frame(bytes, bitsOf(bytes.length));
  yield* pieces.end();
}

/** Frames of equal length joined bit by bit: the last byte of a one-bit frame may hold the first pixels of the next. */
class FramePieces {
  #frameBits: number | undefined;
  #totalBits = 0;
  /** The last byte so far, where it is not full. */
  #shared: number | undefined;

  *frame(bytes: Uint8Array<ArrayBuffer>, frameBits: number): Generator<Uint8Array<ArrayBuffer>, void, void> {
    this.#frameBits ??= frameBits;
    if (frameBits !== this.#frameBits) {
      throw new ArchiveError(
        'cannot-render',
        'The instance cannot be decompressed: its frames differ in their length.',
      );
    }
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

/** Items behind the head of undefined length, with the delimiter. */
export async function* encapsulatedValue(
  frames: AsyncGenerator<TranscodedFrame, void, void>,
  count: number,
): AsyncGenerator<Uint8Array, void, void> {
  if (count === 1) yield* table([0]);
  else yield* await beginning(frames, count);
  for await (const { bytes } of frames) yield* fragment(bytes);
  yield item(SEQUENCE_DELIMITATION, 0);
}

/** The table and the frames that were gathered for it. */
async function beginning(frames: AsyncGenerator<TranscodedFrame, void, void>, count: number): Promise<Uint8Array[]> {
  const offsets: number[] = [];
  const fragments: Uint8Array[] = [];
  let lengthBytes = 0;
  while (offsets.length < count && lengthBytes <= gatheredBytes) {
    const { value, done } = await frames.next();
    if (done === true) break;
    offsets.push(lengthBytes);
    for (const piece of fragment(value.bytes)) {
      fragments.push(piece);
      lengthBytes += piece.length;
    }
  }
  return [...table(offsets.length === count ? offsets : []), ...fragments];
}

function table(offsets: readonly number[]): Uint8Array[] {
  const bytes = new Uint8Array(offsets.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, offset] of offsets.entries()) view.setUint32(i * 4, offset, true);
  return [item(ITEM, bytes.length), bytes];
}

function fragment(bytes: Uint8Array): Uint8Array[] {
  const padding = bytes.length % 2;
  const head = item(ITEM, bytes.length + padding);
  return padding === 0 ? [head, bytes] : [head, bytes, new Uint8Array(1)];
}

function item(tag: number, lengthBytes: number): Uint8Array {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  view.setUint16(0, tag >>> 16, true);
  view.setUint16(2, tag & 0xffff, true);
  view.setUint32(4, lengthBytes, true);
  return head;
}
