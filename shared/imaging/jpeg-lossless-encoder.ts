/**
 * Encoder of JPEG lossless with selection value 1 (ISO/IEC 10918-1 Annex H, process 14; PS3.5 §A.4.2): 2 to 16 bits, all components in one
 * scan, a Huffman table made for each frame. What the samples mean and what the data set says of them is transcode.ts.
 */
import { codeLengths, codesOf } from './huffman-code.ts';

/** Unsigned samples below 2 ** precision, interleaved; signed ones as their bits. */
export interface JpegLosslessSamples {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly precision: number;
  readonly values: Uint8Array | Uint16Array;
  /** Named by the letters of their colours: by what decoders know that three components were not transformed. */
  readonly isRgb: boolean;
}

/** Differences of 2 ** 15 have one of their own, without further bits. */
const CATEGORIES = 17;

/** A whole codestream, in memory of its own. */
export function encodeJpegLossless(samples: JpegLosslessSamples): Uint8Array<ArrayBuffer> {
  const differences = differencesOf(samples);
  const counts = new Uint32Array(CATEGORIES);
  for (let i = 0; i < differences.length; i++) {
    const difference = differences[i]!;
    counts[32 - Math.clz32(difference < 0 ? -difference : difference)]!++;
  }
  const lengths = codeLengths(counts);
  const head = headOf(samples, lengths);
  let bits = 0;
  for (let category = 0; category < CATEGORIES; category++)
    bits += counts[category]! * (lengths[category]! + (category & 15));
  // Each byte 0xff is followed by a zero.
  const bytes = new Uint8Array(head.length + 2 * Math.ceil(bits / 8) + 4);
  bytes.set(head);
  const end = writeScan(differences, lengths, bytes, head.length);
  bytes.set([0xff, 0xd9], end);
  return bytes.slice(0, end + 2);
}

/** From the left, in the first column from above (H.1.2.1), modulo 2 ** 16. */
function differencesOf({ rows, columns, samplesPerPixel: step, precision, values }: JpegLosslessSamples): Int16Array {
  const differences = new Int16Array(values.length);
  const rowSamples = columns * step;
  for (let row = 0; row < rows; row++) {
    const start = row * rowSamples;
    for (let i = start; i < start + step; i++)
      differences[i] = values[i]! - (row === 0 ? 2 ** (precision - 1) : values[i - rowSamples]!);
    if (values instanceof Uint8Array) differenceBytes(values, differences, start + step, start + rowSamples, step);
    else differenceWords(values, differences, start + step, start + rowSamples, step);
  }
  return differences;
}

function differenceBytes(values: Uint8Array, to: Int16Array, start: number, end: number, step: number): void {
  for (let i = start; i < end; i++) to[i] = values[i]! - values[i - step]!;
}

function differenceWords(values: Uint16Array, to: Int16Array, start: number, end: number, step: number): void {
  for (let i = start; i < end; i++) to[i] = values[i]! - values[i - step]!;
}

/** @returns where the scan ends, the last byte filled with ones (F.1.2.3) */
function writeScan(differences: Int16Array, lengths: Uint8Array, bytes: Uint8Array, start: number): number {
  const codes = codesOf(lengths);
  let at = start;
  let held = 0;
  let heldBits = 0;
  for (let i = 0; i < differences.length; i++) {
    const difference = differences[i]!;
    const category = 32 - Math.clz32(difference < 0 ? -difference : difference);
    held = (held << lengths[category]!) | codes[category]!;
    heldBits += lengths[category]!;
    while (heldBits >= 8) {
      heldBits -= 8;
      const byte = (held >>> heldBits) & 0xff;
      bytes[at++] = byte;
      if (byte === 0xff) bytes[at++] = 0;
    }
    if (category === 0 || category === 16) continue;
    // T.81 F.1.2.1.1: of a negative one, the low bits of what is one less.
    const extra = (difference < 0 ? difference - 1 : difference) & ((1 << category) - 1);
    held = (held << category) | extra;
    heldBits += category;
    while (heldBits >= 8) {
      heldBits -= 8;
      const byte = (held >>> heldBits) & 0xff;
      bytes[at++] = byte;
      if (byte === 0xff) bytes[at++] = 0;
    }
  }
  if (heldBits > 0) {
    const byte = ((held << (8 - heldBits)) | (0xff >>> heldBits)) & 0xff;
    bytes[at++] = byte;
    if (byte === 0xff) bytes[at++] = 0;
  }
  return at;
}

function headOf(
  { rows, columns, samplesPerPixel, precision, isRgb }: JpegLosslessSamples,
  lengths: Uint8Array,
): number[] {
  const ids = isRgb ? [0x52, 0x47, 0x42] : Array.from({ length: samplesPerPixel }, (_, i) => i + 1);
  const word = (value: number): [number, number] => [value >> 8, value & 0xff];
  const perLength = Array.from({ length: 16 }, (_, i) =>
    lengths.reduce((sum, one) => sum + (one === i + 1 ? 1 : 0), 0),
  );
  const symbols = [...lengths.keys()]
    .filter((symbol) => lengths[symbol]! > 0)
    .toSorted((a, b) => lengths[a]! - lengths[b]! || a - b);
  return [
    ...[0xff, 0xd8],
    ...[0xff, 0xc3, ...word(8 + 3 * ids.length), precision, ...word(rows), ...word(columns), ids.length],
    ...ids.flatMap((id) => [id, 0x11, 0]),
    ...[0xff, 0xc4, ...word(19 + symbols.length), 0, ...perLength, ...symbols],
    ...[0xff, 0xda, ...word(6 + 2 * ids.length), ids.length, ...ids.flatMap((id) => [id, 0]), 1, 0, 0],
  ];
}
