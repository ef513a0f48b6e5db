/**
 * The loops over stored values of 8 and 16 bits that the grayscale pipeline spends its time in: looking each up in a table, and finding
 * which occur. Tables are indexed by a value's own bits. Several pixels go through one 32-bit word of memory where alignment
 * allows: it is twice as fast, and words of this machine are little endian as all of its typed arrays are.
 */
import type { PixelValues } from './decoded-frame.ts';

/** @param table of 2^8 or 2^16 entries, as wide as the values */
export function lookUp(values: PixelValues, table: Uint8Array): Uint8Array<ArrayBuffer> {
  const pixels = new Uint8Array(values.length);
  if (values.BYTES_PER_ELEMENT === 1) lookUpBytes(bytesOf(values), table, pixels);
  else lookUpWords(wordsOf(values), table, pixels);
  return pixels;
}

/** As lookUp, to 16 bits. */
export function lookUpWide(values: PixelValues, table: Uint16Array): Uint16Array<ArrayBuffer> {
  const pixels = new Uint16Array(values.length);
  if (values.BYTES_PER_ELEMENT === 1) {
    const bytes = bytesOf(values);
    for (let i = 0; i < bytes.length; i++) pixels[i] = table[bytes[i]!]!;
  } else {
    const words = wordsOf(values);
    for (let i = 0; i < words.length; i++) pixels[i] = table[words[i]!]!;
  }
  return pixels;
}

/** The values that occur, each once, unsigned in ascending order or negative ones after the others. */
export function usedValues(values: PixelValues): number[] {
  const seen = new Uint8Array(2 ** (8 * values.BYTES_PER_ELEMENT));
  if (values.BYTES_PER_ELEMENT === 1) markBytes(bytesOf(values), seen);
  else markWords(wordsOf(values), seen);
  const isSigned = values instanceof Int16Array || values instanceof Int8Array;
  const used: number[] = [];
  for (let bits = seen.indexOf(1); bits >= 0; bits = seen.indexOf(1, bits + 1)) {
    used.push(isSigned && bits >= seen.length / 2 ? bits - seen.length : bits);
  }
  return used;
}

const bytesOf = ({ buffer, byteOffset, length }: PixelValues) => new Uint8Array(buffer, byteOffset, length);

const wordsOf = ({ buffer, byteOffset, length }: PixelValues) => new Uint16Array(buffer, byteOffset, length);

/** The part that can be read four bytes at a time: nothing where memory does not begin at such a boundary. */
function packedOf({ buffer, byteOffset, byteLength }: Uint8Array | Uint16Array): Uint32Array {
  return byteOffset % 4 === 0 ? new Uint32Array(buffer, byteOffset, byteLength >> 2) : new Uint32Array(0);
}

// One loop to a kind of array: a loop that meets several kinds is compiled for none of them, and runs at a quarter.
function lookUpBytes(bytes: Uint8Array, table: Uint8Array, pixels: Uint8Array): void {
  const packed = packedOf(bytes);
  const quads = new Uint32Array(pixels.buffer, 0, pixels.length >> 2);
  for (let i = 0; i < packed.length; i++) {
    const four = packed[i]!;
    quads[i] =
      table[four & 0xff]! |
      (table[(four >>> 8) & 0xff]! << 8) |
      (table[(four >>> 16) & 0xff]! << 16) |
      (table[four >>> 24]! << 24);
  }
  for (let i = packed.length * 4; i < bytes.length; i++) pixels[i] = table[bytes[i]!]!;
}

function lookUpWords(words: Uint16Array, table: Uint8Array, pixels: Uint8Array): void {
  const packed = packedOf(words);
  const quads = new Uint32Array(pixels.buffer, 0, packed.length >> 1);
  for (let i = 0, pair = 0; i < quads.length; i++, pair += 2) {
    const two = packed[pair]!;
    const next = packed[pair + 1]!;
    quads[i] =
      table[two & 0xffff]! | (table[two >>> 16]! << 8) | (table[next & 0xffff]! << 16) | (table[next >>> 16]! << 24);
  }
  for (let i = quads.length * 4; i < words.length; i++) pixels[i] = table[words[i]!]!;
}

function markBytes(bytes: Uint8Array, seen: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) seen[bytes[i]!] = 1;
}

function markWords(words: Uint16Array, seen: Uint8Array): void {
  const packed = packedOf(words);
  for (let i = 0; i < packed.length; i++) {
    const two = packed[i]!;
    seen[two & 0xffff] = 1;
    seen[two >>> 16] = 1;
  }
  for (let i = packed.length * 2; i < words.length; i++) seen[words[i]!] = 1;
}
