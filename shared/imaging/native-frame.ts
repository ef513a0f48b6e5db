/**
 * Native (uncompressed) frames, PS3.5 §8.1: 1, 8, 16 and 32 bits, 12 as retired objects pack them, float and double, both byte orders, OB and OW,
 * colour by pixel and by plane, YBR_FULL_422 left at two samples a pixel. The RLE and deflated frames end here too, as
 * cells in little endian. Where a frame lies in its object is frame-ranges.ts.
 */
import {
  cannotRender,
  checkFrameSize,
  type DecodedFrame,
  meaningOf,
  type PixelValues,
  storedValues,
  viewAsStored,
} from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';

export interface NativeLayout {
  readonly littleEndian: boolean;
  /** Of the first pixel within the first byte (one-bit frames of a multi-frame object follow each other without padding). */
  readonly bitOffset?: number;
  /** RLE gives samples interleaved whatever Planar Configuration says. */
  readonly interleaved?: boolean;
  /** The frame's memory is this decoder's to change: it was decompressed for it. */
  readonly isOwn?: boolean;
  /** Values are looked at only, while the frame stays as it is: where they are its bytes, they may be a view of them. */
  readonly asView?: boolean;
}

/** Bytes of a native frame, the last one possibly shared with the next frame when it is one-bit. */
export function nativeFrameBytes(attributes: ImageAttributes): number {
  const { rows, columns, samplesPerPixel, bitsAllocated } = attributes;
  const samples = isSubsampled(attributes) ? 2 : samplesPerPixel;
  return Math.ceil((rows * columns * samples * bitsAllocated) / 8);
}

/** @throws ArchiveError `cannot-render` when the frame has fewer bytes than its attributes need */
export function decodeNativeFrame(frame: Uint8Array, attributes: ImageAttributes, layout: NativeLayout): DecodedFrame {
  const { rows, columns, samplesPerPixel, bitsAllocated, bitsStored, signed } = attributes;
  checkFrameSize(rows, columns);
  const subsampled = isSubsampled(attributes) && !holdsFullChroma(frame, attributes);
  const cellCount = rows * columns * (subsampled ? 2 : samplesPerPixel);
  const neededBytes = Math.ceil((cellCount * bitsAllocated + (layout.bitOffset ?? 0)) / 8);
  if (frame.length < neededBytes) {
    throw cannotRender(`The frame has ${frame.length} bytes where ${neededBytes} are needed`, {
      lengthBytes: frame.length,
      neededBytes,
    });
  }
  if (bitsAllocated === 12 && !layout.littleEndian) {
    throw cannotRender('Cells of 12 bits across words in big endian cannot be rendered', { bitsAllocated });
  }
  const swapped = !layout.littleEndian && bitsAllocated <= 8 && attributes.pixelDataVr === 'OW';
  const bytes = swapped ? swapWords(frame, neededBytes) : frame;
  let values = cellsOf(bytes, cellCount, attributes, layout);
  if (samplesPerPixel > 1 && !subsampled && attributes.planarConfiguration === 1 && layout.interleaved !== true) {
    values = interleave(values, samplesPerPixel);
  }
  const meaning = subsampled
    ? attributes.photometricInterpretation === 'YBR_PARTIAL_422'
      ? 'YBR_PARTIAL_422'
      : 'YBR_FULL_422'
    : meaningOf(attributes);
  return { rows, columns, meaning, bitsStored, signed, values };
}

function isSubsampled(attributes: ImageAttributes): boolean {
  const { photometricInterpretation: photometric, samplesPerPixel, columns } = attributes;
  return samplesPerPixel === 3 && /^YBR_(FULL|PARTIAL)_422$/.test(photometric) && columns % 2 === 0;
}

/** Objects that were decompressed by others often keep the label YBR_FULL_422 over three full samples. */
function holdsFullChroma(frame: Uint8Array, attributes: ImageAttributes): boolean {
  return frame.length >= (attributes.rows * attributes.columns * 3 * attributes.bitsAllocated) / 8;
}

function cellsOf(bytes: Uint8Array, cellCount: number, attributes: ImageAttributes, layout: NativeLayout): PixelValues {
  const { bitsAllocated, pixelKind } = attributes;
  if (bitsAllocated === 1) return unpackBits(bytes, cellCount, layout.bitOffset ?? 0);
  if (bitsAllocated === 12) return storedValues(unpackTwelve(bytes, cellCount, layout.bitOffset ?? 0), attributes);
  const width = bitsAllocated / 8;
  const isAligned = bytes.byteOffset % 8 === 0;
  if (isAligned && layout.asView === true && layout.littleEndian && pixelKind === 'integer') {
    const values = viewAsStored(integersIn(bytes, cellCount, width), attributes);
    if (values !== undefined) return values;
  }
  const isUsable = isAligned && layout.isOwn === true;
  // Else a copy, since values are masked in place and typed arrays want alignment (Buffer's own slice would not copy).
  const aligned = isUsable ? bytes : Uint8Array.prototype.slice.call(bytes, 0, cellCount * width);
  if (!layout.littleEndian) {
    const buffer = Buffer.from(aligned.buffer, aligned.byteOffset, aligned.byteLength);
    // OF and OD are swapped whole; OW by 16-bit words whatever the cell (PS3.5 §7.3), so that a 32-bit cell comes low word first.
    if (pixelKind === 'double') buffer.swap64();
    else if (pixelKind === 'float') buffer.swap32();
    else if (width > 1) buffer.swap16();
  }
  const { buffer, byteOffset } = aligned;
  if (pixelKind === 'double') return new Float64Array(buffer, byteOffset, cellCount);
  if (pixelKind === 'float') return new Float32Array(buffer, byteOffset, cellCount);
  return storedValues(integersIn(aligned, cellCount, width), attributes);
}

function integersIn(
  { buffer, byteOffset }: Uint8Array,
  count: number,
  width: number,
): Uint8Array | Uint16Array | Uint32Array {
  if (width === 1) return new Uint8Array(buffer, byteOffset, count);
  return width === 2 ? new Uint16Array(buffer, byteOffset, count) : new Uint32Array(buffer, byteOffset, count);
}

/** PS3.5 §8.1.1: the first pixel is the least significant bit of the first byte. */
function unpackBits(bytes: Uint8Array, count: number, bitOffset: number): Uint8Array {
  const values = new Uint8Array(count);
  for (let i = 0, bit = bitOffset; i < count; i++, bit++) values[i] = (bytes[bit >>> 3]! >>> (bit & 7)) & 1;
  return values;
}

/** Two cells in three bytes, the first in the lower bits: one is a byte and half of the next. */
function unpackTwelve(bytes: Uint8Array, count: number, bitOffset: number): Uint16Array {
  const values = new Uint16Array(count);
  for (let i = 0, bit = bitOffset; i < count; i++, bit += 12) {
    const at = bit >>> 3;
    values[i] = ((bytes[at]! | (bytes[at + 1]! << 8) | ((bytes[at + 2] ?? 0) << 16)) >>> (bit & 7)) & 0xfff;
  }
  return values;
}

/** 8-bit samples in OW, big endian: the pairs stand the other way round (PS3.5 §8.1.2). */
function swapWords(bytes: Uint8Array, neededBytes: number): Uint8Array {
  const even = new Uint8Array((neededBytes + 1) & ~1);
  even.set(bytes.subarray(0, even.length));
  if (bytes.length < even.length) {
    throw cannotRender('The frame ends in the middle of a 16-bit word; its last byte lies behind it', {
      lengthBytes: bytes.length,
      neededBytes: even.length,
    });
  }
  Buffer.from(even.buffer).swap16();
  return even;
}

/** Planar Configuration 1 (RRR GGG BBB) to 0 (RGB RGB RGB); PS3.3 §C.7.6.3.1.3. */
export function interleave<T extends PixelValues>(planes: T, samplesPerPixel: number): T {
  const pixels = planes.length / samplesPerPixel;
  const values = planes.slice() as T;
  for (let sample = 0; sample < samplesPerPixel; sample++) {
    let from = sample * pixels;
    for (let to = sample; to < values.length; to += samplesPerPixel) values[to] = planes[from++]!;
  }
  return values;
}
