/**
 * What bulk bytes go through on their way to application/octet-stream, which is little endian (PS3.18 §8.7.3.3): bytes of
 * big-endian objects are turned round, one-bit frames moved to a byte of their own.
 */
import type { Vr } from '../dicom/data-set.ts';
import type { TransferSyntax } from '../dicom/transfer-syntax.ts';

const wordBytes: Partial<Record<Vr, number>> = {
  AT: 2, OW: 2, US: 2, SS: 2,
  FL: 4, OF: 4, OL: 4, SL: 4, UL: 4,
  FD: 8, OD: 8, OV: 8, SV: 8, UV: 8,
}; // biome-ignore format: a table reads better

/** GE's private syntax: a little endian data set whose Pixel Data is big endian. */
const bigEndianPixelsOnly = '1.2.840.113619.5.2';

export const hasBigEndianPixels = (syntax: TransferSyntax): boolean =>
  !syntax.littleEndian || syntax.uid === bigEndianPixelsOnly;

/** Of one word of a value; 1 where the order of bytes means nothing. */
export const wordBytesOf = (vr: Vr): number => wordBytes[vr] ?? 1;

/** A copy with each word's bytes the other way round; a torn word at the end stays as it is. */
export function swapBytes(bytes: Uint8Array, wordLengthBytes: number): Uint8Array {
  const copy = Buffer.from(bytes);
  const whole = copy.subarray(0, copy.length - (copy.length % wordLengthBytes));
  if (wordLengthBytes === 2) whole.swap16();
  else if (wordLengthBytes === 4) whole.swap32();
  else if (wordLengthBytes === 8) whole.swap64();
  return copy;
}

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
