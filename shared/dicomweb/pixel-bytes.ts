/**
 * What stored pixel bytes go through on their way to application/octet-stream, which is little endian (PS3.18 §8.7.3.3):
 * whether they have to be turned round, and one-bit frames moved to a byte of their own.
 */
import type { TransferSyntax } from '../dicom/transfer-syntax.ts';

/** GE's private syntax: a little endian data set whose Pixel Data is big endian. */
const bigEndianPixelsOnly = '1.2.840.113619.5.2';

export const hasBigEndianPixels = (syntax: TransferSyntax): boolean =>
  !syntax.littleEndian || syntax.uid === bigEndianPixelsOnly;

/** `bitCount` bits from `bitOffset` on (bit 0 is the least significant of the first byte, PS3.5 §8.1.1), from bit 0 on, zeros behind. */
export function realignBits(bytes: Uint8Array, bitOffset: number, bitCount: number): Uint8Array {
  const aligned = new Uint8Array(Math.ceil(bitCount / 8));
  for (let i = 0; i < aligned.length; i++) {
    aligned[i] = (((bytes[i] ?? 0) | ((bytes[i + 1] ?? 0) << 8)) >> bitOffset) & 0xff;
  }
  const spare = aligned.length * 8 - bitCount;
  if (spare > 0) aligned[aligned.length - 1]! &= 0xff >> spare;
  return aligned;
}
