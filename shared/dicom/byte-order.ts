/**
 * Byte order of values (PS3.5 §7.3): the width of the words that are turned round, and the turn, which is the same either way.
 */
import type { Vr } from './data-set.ts';

// biome-ignore format: a table reads better
const wordBytes: Partial<Record<Vr, 2 | 4 | 8>> = {
  AT: 2, OW: 2, US: 2, SS: 2,
  FL: 4, OF: 4, OL: 4, SL: 4, UL: 4,
  FD: 8, OD: 8, OV: 8, SV: 8, UV: 8,
};

/** Of one word of a value; 1 where the order of bytes means nothing. */
export const wordBytesOf = (vr: Vr): 1 | 2 | 4 | 8 => wordBytes[vr] ?? 1;

/** A copy with each word's bytes the other way round; a torn word at the end stays as it is. */
export function swapBytes(bytes: Uint8Array, wordLengthBytes: number): Uint8Array {
  const copy = Buffer.from(bytes);
  const whole = copy.subarray(0, copy.length - (copy.length % wordLengthBytes));
  if (wordLengthBytes === 2) whole.swap16();
  else if (wordLengthBytes === 4) whole.swap32();
  else if (wordLengthBytes === 8) whole.swap64();
  return copy;
}

/** The bytes of a value between little endian and the order given. The value itself where nothing has to be turned. */
export function byteOrdered(value: Uint8Array, vr: Vr, littleEndian: boolean): Uint8Array {
  return littleEndian || wordBytesOf(vr) === 1 ? value : swapBytes(value, wordBytesOf(vr));
}
