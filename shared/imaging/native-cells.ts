/**
 * A compressed frame as native Pixel Data (PS3.5 §8.1, §8.2): decoded, cells of Bits Allocated in little endian, samples
 * interleaved, colours as the decoder gives them. What the data set must say of it then is the caller's. Pure of archive
 * and network; doing it off the main thread is render-pool.ts.
 */
import { decodeFrame, isLossyFrame } from './codecs.ts';
import { renderColor } from './color.ts';
import { cannotRender, type DecodedFrame, type PixelValues } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';
import type { TranscodedFrame } from './transcode.ts';

export interface NativeRequest {
  /** The bytes of one frame, its fragments joined. */
  readonly frame: Uint8Array;
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
  /** Of the first pixel within the first byte of the answer: one-bit frames follow each other without padding. Default 0. */
  readonly bitOffset?: number;
}

/** @throws ArchiveError `cannot-render`, whatever the bytes hold */
export async function nativeFrame(request: NativeRequest): Promise<TranscodedFrame> {
  const { frame, transferSyntaxUid, attributes, bitOffset = 0 } = request;
  const decoded = asWritten(await decodeFrame(frame, transferSyntaxUid, attributes), attributes);
  return {
    bytes: nativeCells(decoded, attributes, bitOffset),
    photometricInterpretation: photometricOf(decoded, attributes),
    isLossy: isLossyFrame(frame, transferSyntaxUid),
  };
}

/** Cells of Bits Allocated. @param bitOffset of the first pixel within the first byte, where pixels are no whole bytes */
export function nativeCells(
  { values }: DecodedFrame,
  { bitsAllocated }: ImageAttributes,
  bitOffset: number,
): Uint8Array<ArrayBuffer> {
  if (bitsAllocated === 1) return packedBits(values, bitOffset);
  if (bitsAllocated === 12) return packedTwelve(values, bitOffset);
  return cellsOf(values, bitsAllocated / 8);
}

/** Full-resolution YBR_PARTIAL_422 has no native form, and is retired besides: it becomes RGB. */
function asWritten(decoded: DecodedFrame, { bitsAllocated }: ImageAttributes): DecodedFrame {
  const { meaning, values, rows, columns } = decoded;
  if (meaning !== 'YBR_PARTIAL_422' || values.length !== rows * columns * 3) return decoded;
  if (bitsAllocated !== 8) throw cannotRender('YBR_PARTIAL_422 has 8 bits to a sample', { bitsAllocated });
  return { ...decoded, meaning: 'RGB', values: renderColor(decoded, undefined) };
}

function photometricOf({ meaning }: DecodedFrame, { photometricInterpretation }: ImageAttributes): string {
  if (meaning === 'GRAY') return photometricInterpretation;
  return meaning === 'PALETTE' ? 'PALETTE COLOR' : meaning;
}

/** Little endian, as this machine is; a codec's 8-bit samples are widened where Bits Allocated says more. */
export function cellsOf(values: PixelValues, width: number): Uint8Array<ArrayBuffer> {
  const cells =
    values.BYTES_PER_ELEMENT === width
      ? values
      : width === 1
        ? new Uint8Array(values)
        : width === 2
          ? new Uint16Array(values)
          : new Uint32Array(values);
  const bytes = new Uint8Array(cells.buffer, cells.byteOffset, cells.byteLength);
  const isWhole = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
  // Its memory is handed to another thread: neighbours must not go along.
  return isWhole ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();
}

/** PS3.5 §8.1.1: the first pixel is the least significant bit of the first byte. */
function packedBits(values: PixelValues, bitOffset: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil((values.length + bitOffset) / 8));
  for (let i = 0, bit = bitOffset; i < values.length; i++, bit++)
    if (values[i] !== 0) bytes[bit >>> 3] = bytes[bit >>> 3]! | (1 << (bit & 7));
  return bytes;
}

/** Cells of 12 bits one behind the other, the first in the lowest bits. */
function packedTwelve(values: PixelValues, bitOffset: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil((values.length * 12 + bitOffset) / 8));
  for (let i = 0, bit = bitOffset; i < values.length; i++, bit += 12) {
    const cell = (values[i]! & 0xfff) << (bit & 7);
    for (let at = bit >>> 3, rest = cell; rest !== 0; at++, rest >>>= 8) bytes[at] = bytes[at]! | (rest & 0xff);
  }
  return bytes;
}
