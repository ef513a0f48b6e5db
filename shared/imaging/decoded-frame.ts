/**
 * A frame after its codec: stored values, one per sample, interleaved (R G B R G B …), with the bits above High Bit
 * removed and the sign extended (PS3.5 §8.1.1). Also the two checks that every codec makes before it decodes a byte:
 * the size limit, and the codestream's own header against the data set. Nothing of LUTs or colour here.
 */
import { ArchiveError } from '../errors.ts';
import type { ImageAttributes } from './image-attributes.ts';

export type PixelValues =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array;

/** What the samples mean now, after decoding; YBR_FULL_422 is still two samples to a pixel: Y Y Cb Cr. */
export type SampleMeaning = 'GRAY' | 'PALETTE' | 'RGB' | 'YBR_FULL' | 'YBR_FULL_422' | 'YBR_PARTIAL_422';

export interface DecodedFrame {
  readonly rows: number;
  readonly columns: number;
  /** By how many levels it is lower than the full resolution; not given: by none. */
  readonly reduction?: number;
  readonly meaning: SampleMeaning;
  readonly bitsStored: number;
  readonly signed: boolean;
  readonly values: PixelValues;
}

/** What a compressed frame says about itself, before it is decoded. */
export interface CodestreamHeader {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  readonly precision: number;
  readonly signed: boolean;
  readonly lossy: boolean;
}

export const MAX_FRAME_PIXELS = 256 * 1024 * 1024;

export function cannotRender(
  message: string,
  details: Readonly<Record<string, unknown>> = {},
  cause?: unknown,
): ArchiveError {
  return new ArchiveError('cannot-render', message, details, cause);
}

/** @throws ArchiveError `cannot-render` for a matrix that is larger than any real frame and would exhaust memory. */
export function checkFrameSize(rows: number, columns: number): void {
  if (rows * columns > MAX_FRAME_PIXELS) {
    throw cannotRender(`A frame of ${columns} x ${rows} pixels exceeds the limit of ${MAX_FRAME_PIXELS} pixels`, {
      rows,
      columns,
    });
  }
}

/**
 * Compares what a codestream says with what the data set says, so that no decoder ever allocates what a hostile header
 * asks for. @throws ArchiveError `cannot-render`
 */
export function checkCodestream(header: CodestreamHeader, attributes: ImageAttributes): void {
  const { rows, columns, samplesPerPixel, bitsAllocated } = attributes;
  if (header.rows !== rows || header.columns !== columns || header.samplesPerPixel !== samplesPerPixel) {
    throw cannotRender(
      `The compressed frame is ${header.columns} x ${header.rows} with ${header.samplesPerPixel} samples per pixel, but the data set says ${columns} x ${rows} with ${samplesPerPixel}`,
      { codestream: header, rows, columns, samplesPerPixel },
    );
  }
  if (header.precision < 1 || header.precision > Math.max(8, bitsAllocated)) {
    throw cannotRender(
      `The compressed frame has ${header.precision} bits per sample, but the data set allocates ${bitsAllocated}`,
      { precision: header.precision, bitsAllocated },
    );
  }
  checkFrameSize(header.rows, header.columns);
}

type Cells = Uint8Array | Uint16Array | Uint32Array;

interface CellLayout {
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
}

/**
 * Cells as they lie in Bits Allocated become stored values: shifted down when High Bit is not Bits Stored - 1, masked
 * to Bits Stored and, for Pixel Representation 1, sign-extended. Works in place and returns a view of the same memory.
 */
export function storedValues(cells: Cells, layout: CellLayout): PixelValues {
  const { bitsStored, highBit, signed } = layout;
  const full = bitsStored === cells.BYTES_PER_ELEMENT * 8;
  if (signed) {
    const values = signedView(cells);
    if (!full) {
      const left = 31 - highBit;
      const right = 32 - bitsStored;
      for (let i = 0; i < values.length; i++) values[i] = (values[i]! << left) >> right;
    }
    return values;
  }
  if (!full) {
    const down = highBit + 1 - bitsStored;
    const mask = bitsStored === 32 ? 0xffffffff : 2 ** bitsStored - 1;
    for (let i = 0; i < cells.length; i++) cells[i] = (cells[i]! >>> down) & mask;
  }
  return cells;
}

/**
 * A view of the cells as stored values, where they are that already, as most are: above Bits Stored there are zeros, or the sign.
 * Looking, several bytes at a time, takes a fraction of what copying and masking takes. Undefined where something would have to be changed.
 */
export function viewAsStored(cells: Cells, { bitsStored, highBit, signed }: CellLayout): PixelValues | undefined {
  const cellBits = cells.BYTES_PER_ELEMENT * 8;
  if (bitsStored < cellBits) {
    if (highBit !== bitsStored - 1 || (cells.byteOffset | cells.byteLength) % 4 !== 0) return undefined;
    let above = 0;
    for (let bit = bitsStored; bit < 32; bit++) if (bit % cellBits >= bitsStored) above |= 1 << bit;
    const words = new Int32Array(cells.buffer, cells.byteOffset, cells.byteLength >> 2);
    if (((signed ? changesIn(words) : bitsIn(words)) & above) !== 0) return undefined;
  }
  return signed ? signedView(cells) : cells;
}

/** The bits that are set in any of the words; four at a time, which counts until it is compiled. */
function bitsIn(words: Int32Array): number {
  let bits = 0;
  const last = words.length & ~3;
  for (let i = 0; i < last; i += 4) bits |= words[i]! | words[i + 1]! | words[i + 2]! | words[i + 3]!;
  for (let i = last; i < words.length; i++) bits |= words[i]!;
  return bits;
}

/** The bits that are unlike the one below them in any of the words: where a sign goes on to the top, there are none. */
function changesIn(words: Int32Array): number {
  let bits = 0;
  for (let i = 0; i < words.length; i++) bits |= words[i]! ^ (words[i]! << 1);
  return bits;
}

/**
 * Samples of a codestream become stored values. A lossless codestream is taken bit for bit; a lossy one may overshoot
 * Bits Stored by its own error, and is clamped: wrapping would draw the brightest pixel black.
 */
export function codestreamValues(
  samples: Uint8Array | Uint16Array,
  header: CodestreamHeader,
  attributes: ImageAttributes,
): PixelValues {
  const { precision } = header;
  const { signed, bitsStored } = attributes;
  // Unsigned samples narrower than Bits Stored are what they are: their top bit is no sign.
  if (!header.signed && precision < bitsStored) return samples;
  const highBit = Math.max(bitsStored - 1, Math.min(attributes.highBit, precision - 1));
  const cellBits = samples.BYTES_PER_ELEMENT * 8;
  if (!header.lossy) {
    if (!signed && !header.signed && precision === bitsStored) return samples;
    // Above the bits of the codestream there are only signs: of no meaning where the data set knows of none.
    if (!signed && precision < bitsStored)
      return storedValues(samples, { bitsStored: precision, highBit: precision - 1, signed });
    if (bitsStored > cellBits) return storedValues(samples, { bitsStored: cellBits, highBit: cellBits - 1, signed });
    return storedValues(samples, { bitsStored, highBit, signed });
  }
  const sampleBits = header.signed ? cellBits : precision;
  const values = storedValues(samples, { bitsStored: sampleBits, highBit: sampleBits - 1, signed });
  if (precision <= bitsStored) return values;
  const down = highBit + 1 - bitsStored;
  const low = signed ? -(2 ** (bitsStored - 1)) : 0;
  const high = signed ? 2 ** (bitsStored - 1) - 1 : 2 ** bitsStored - 1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]! >> down;
    values[i] = Math.max(low, Math.min(high, value));
  }
  return values;
}

function signedView(cells: Uint8Array | Uint16Array | Uint32Array): Int8Array | Int16Array | Int32Array {
  if (cells instanceof Uint8Array) return new Int8Array(cells.buffer, cells.byteOffset, cells.length);
  if (cells instanceof Uint16Array) return new Int16Array(cells.buffer, cells.byteOffset, cells.length);
  return new Int32Array(cells.buffer, cells.byteOffset, cells.length);
}

/** The meaning of samples that nothing has converted: Photometric Interpretation as the data set gives it. */
export function meaningOf(attributes: ImageAttributes): SampleMeaning {
  const { samplesPerPixel, photometricInterpretation } = attributes;
  if (samplesPerPixel === 1) return photometricInterpretation === 'PALETTE COLOR' ? 'PALETTE' : 'GRAY';
  switch (photometricInterpretation) {
    case 'YBR_FULL':
    case 'YBR_FULL_422':
      return 'YBR_FULL';
    case 'YBR_PARTIAL_422':
      return 'YBR_PARTIAL_422';
    default:
      return 'RGB';
  }
}
