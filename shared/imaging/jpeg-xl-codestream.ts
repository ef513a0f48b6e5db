/**
 * The header of a JPEG XL codestream (ISO/IEC 18181-1, SizeHeader and ImageMetadata), bare or in the boxes of its file format
 * (ISO/IEC 18181-2): size, depth, channels, and what decoders would do to the picture unasked. Decodes nothing.
 */
import { type CodestreamHeader, cannotRender } from './decoded-frame.ts';

/** More than any header without preview, animation and extra channels takes. */
const HEADER_BYTES = 256;
const CONTAINER = '0000000c4a584c200d0a870a';
/** Of a box whose length is given in 64 bits, and of an index before a part of the codestream. */
const LONG_LENGTH = 8;
const PART_INDEX = 4;

/**
 * @returns `lossy` for XYB colour and for a JPEG that was recompressed; a frame may have lost something without either
 * @throws ArchiveError `cannot-render` for a damaged header and for what no picture of a data set has: previews, animation, alpha
 */
export function readJpegXlHeader(bytes: Uint8Array): CodestreamHeader {
  const { codestream, holdsJpeg } = unwrapped(bytes);
  if (codestream[0] !== 0xff || codestream[1] !== 0x0a) throw notJpegXl();
  const bits = new LowestFirst(codestream.subarray(2));
  const { rows, columns } = sizeOf(bits);
  const image = metadataOf(bits);
  if (bits.isOverrun) throw cannotRender('The JPEG XL image header is cut short');
  return {
    rows,
    columns,
    samplesPerPixel: image.isGray ? 1 : 3,
    precision: image.precision,
    signed: false,
    lossy: image.isXyb || holdsJpeg,
  };
}

const notJpegXl = () => cannotRender('The compressed frame does not begin as JPEG XL');

/** The beginning of the codestream, out of `jxlc` or `jxlp` boxes where there are boxes. */
function unwrapped(bytes: Uint8Array): { codestream: Uint8Array; holdsJpeg: boolean } {
  if (Buffer.from(bytes.subarray(0, CONTAINER.length / 2)).toString('hex') !== CONTAINER)
    return { codestream: bytes.subarray(0, HEADER_BYTES), holdsJpeg: false };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Uint8Array[] = [];
  let gatheredBytes = 0;
  let holdsJpeg = false;
  for (let at = 0; at + 8 <= bytes.length && gatheredBytes < HEADER_BYTES; ) {
    const short = view.getUint32(at);
    const type = view.getUint32(at + 4);
    let start = at + 8;
    let end = short === 0 ? bytes.length : at + short;
    if (short === 1) {
      if (at + 8 + LONG_LENGTH > bytes.length) break;
      start += LONG_LENGTH;
      end = at + view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12);
    }
    if (end < start) throw cannotRender('A box of the JPEG XL frame is shorter than its own head');
    if (type === 0x6a627264) holdsJpeg = true;
    const isPart = type === 0x6a786c70;
    if (isPart || type === 0x6a786c63) {
      const part = bytes.subarray(start + (isPart ? PART_INDEX : 0), end);
      parts.push(part);
      gatheredBytes += part.length;
    }
    at = end;
  }
  if (parts.length === 0) throw notJpegXl();
  return { codestream: Buffer.concat(parts).subarray(0, HEADER_BYTES), holdsJpeg };
}

/** Width as a fraction of height: numerators and denominators of the ratios 1 to 7. */
const RATIOS = [[1, 1], [12, 10], [4, 3], [3, 2], [16, 9], [5, 4], [2, 1]] as const; // biome-ignore format: a table

function sizeOf(bits: LowestFirst): { rows: number; columns: number } {
  const inEights = bits.take(1) === 1;
  const length = () => (inEights ? 8 * (1 + bits.take(5)) : 1 + bits.take([9, 13, 18, 30][bits.take(2)]!));
  const rows = length();
  const ratio = RATIOS[bits.take(3) - 1];
  return { rows, columns: ratio === undefined ? length() : Math.floor((rows * ratio[0]) / ratio[1]) };
}

interface Metadata {
  readonly precision: number;
  readonly isGray: boolean;
  readonly isXyb: boolean;
}

function metadataOf(bits: LowestFirst): Metadata {
  if (bits.take(1) === 1) return { precision: 8, isGray: false, isXyb: true };
  if (bits.take(1) === 1) {
    if (bits.take(3) !== 0) throw cannotRender('JPEG XL that is to be turned or mirrored cannot be rendered');
    // The size it is meant to be shown in; pixels are what counts here.
    if (bits.take(1) === 1) sizeOf(bits);
    if (bits.take(1) === 1) throw cannotRender('JPEG XL with a preview cannot be rendered');
    if (bits.take(1) === 1) throw cannotRender('JPEG XL with an animation cannot be rendered');
  }
  if (bits.take(1) === 1) throw cannotRender('JPEG XL with floating point samples cannot be rendered');
  const depth = bits.take(2);
  const precision = depth === 3 ? 1 + bits.take(6) : 8 + 2 * depth;
  bits.take(1);
  if (bits.take(2) !== 0) throw cannotRender('JPEG XL with alpha or other extra channels cannot be rendered');
  const isXyb = bits.take(1) === 1;
  const isDefaultColour = bits.take(1) === 1;
  if (isDefaultColour) return { precision, isGray: false, isXyb };
  bits.take(1);
  const space = bits.take(2);
  if (space > 1) throw cannotRender('JPEG XL in a colour space other than gray and RGB cannot be rendered');
  return { precision, isGray: space === 1, isXyb };
}

/** Bits from the least significant one on; zeros beyond the end. */
class LowestFirst {
  readonly #bytes: Uint8Array;
  #bit = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isOverrun(): boolean {
    return this.#bit > this.#bytes.length * 8;
  }

  take(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++, this.#bit++)
      if (((this.#bytes[this.#bit >>> 3] ?? 0) >>> (this.#bit & 7)) & 1) value += 2 ** i;
    return value;
  }
}
