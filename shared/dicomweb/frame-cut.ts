/**
 * A frame cut out of what was read of Pixel Data: fragments joined, native cells in little endian, one-bit frames from a byte of their
 * own on (PS3.5 §8.1, §A.4; PS3.18 §8.7.3.3). It says what to read; who reads it is frame-source.ts and transcoded-data-set.ts.
 */
import { swapBytes } from '../dicom/byte-order.ts';
import { type FrameLocation, type FrameTable, frameRange, joinFragments } from '../dicom/frame-ranges.ts';
import type { TransferSyntax } from '../dicom/transfer-syntax.ts';
import { hasBigEndianPixels, realignBits } from './pixel-bytes.ts';

export type FrameRange = FrameLocation & { readonly bitOffset: number };

export interface FrameCut {
  /** The bytes to read for a frame: some more than its own where words reach over its borders. Error `not-found`. */
  locate(frameNumber: number): FrameRange;
  /** The frame, out of the bytes of its range. */
  finish(bytes: Uint8Array, frameNumber: number): Uint8Array;
  /** Whether the bytes of the range are the frame as they are. */
  isPlain(range: FrameRange): boolean;
}

/** @param cells how they are encoded; asked for only where the pixels are big endian */
export function frameCut(
  table: FrameTable,
  stored: TransferSyntax,
  cells: () => { readonly vr: string | undefined; readonly bitsAllocated: number },
): FrameCut {
  const order = table.kind !== 'encapsulated' && hasBigEndianPixels(stored) ? wordOrder(cells()) : undefined;
  // Pairs of 8-bit samples in big-endian OW reach over the borders of odd frames (PS3.5 §8.1.2).
  const paired = order?.paired === true && table.kind === 'native' ? table.offsetBytes : undefined;
  const locate = (frameNumber: number): FrameRange => {
    const range = frameRange(table, frameNumber);
    return paired === undefined ? range : evenRange(range, paired);
  };
  return {
    locate,
    finish(bytes, frameNumber) {
      const range = frameRange(table, frameNumber);
      if (table.kind === 'encapsulated') return range.fragments > 1 ? joinFragments(bytes) : bytes;
      const swapped = order === undefined ? bytes : swapBytes(bytes, order.wordLengthBytes);
      const skipBytes = range.offsetBytes - locate(frameNumber).offsetBytes;
      const own =
        skipBytes === 0 && swapped.length === range.lengthBytes
          ? swapped
          : swapped.subarray(skipBytes, skipBytes + range.lengthBytes);
      return 'frameBits' in table && table.frameBits % 8 !== 0
        ? realignBits(own, range.bitOffset, table.frameBits)
        : own;
    },
    isPlain: (range) =>
      table.kind === 'encapsulated'
        ? range.fragments === 1
        : order === undefined && 'frameBits' in table && table.frameBits % 8 === 0,
  };
}

function evenRange(range: FrameRange, base: number): FrameRange {
  const start = base + ((range.offsetBytes - base) & ~1);
  const end = base + Math.ceil((range.offsetBytes + range.lengthBytes - base) / 2) * 2;
  return { ...range, offsetBytes: start, lengthBytes: end - start };
}

function wordOrder({
  vr,
  bitsAllocated,
}: {
  readonly vr: string | undefined;
  readonly bitsAllocated: number;
}): { wordLengthBytes: number; paired: boolean } | undefined {
  // OW is words of 16 bits, however wide the pixels are (PS3.5 §7.3).
  if (vr === 'OW') return { wordLengthBytes: 2, paired: bitsAllocated <= 8 };
  return bitsAllocated > 8 ? { wordLengthBytes: bitsAllocated / 8, paired: false } : undefined;
}
