/**
 * The main header of a JPEG 2000 or HTJ2K codestream (ISO/IEC 15444-1 Annex A): SIZ, COD, and the way out of a JP2
 * wrapper that DICOM forbids and the field sends. Decodes nothing.
 */
import { type CodestreamHeader, cannotRender } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';

const START_OF_TILE = 0xff90;
const END_OF_CODESTREAM = 0xffd9;

export interface J2kHeader extends CodestreamHeader {
  /** Luma at full size, chroma halved across, or halved both ways. */
  readonly sampling: '444' | '422' | '420';
  /** RCT or ICT: what comes out is RGB, whatever the data set calls it (PS3.5 §8.2.4). */
  readonly colorTransform: boolean;
  /** How many times the image can be halved by leaving wavelet coefficients undecoded. */
  readonly levels: number;
  readonly firstTileOffset: number;
  /** Offset of Ssiz of each component, relative to the codestream. */
  readonly depthOffsets: readonly number[];
}

/** The raw codestream: as it is, or out of the `jp2c` box of a JP2 file. @throws ArchiveError `cannot-render` */
export function unwrapJp2(bytes: Uint8Array): Uint8Array {
  if (bytes[0] === 0xff && bytes[1] === 0x4f) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 8 <= bytes.length) {
    const short = view.getUint32(at);
    const long = short === 1 && at + 16 <= bytes.length;
    const length = long ? view.getUint32(at + 8) * 2 ** 32 + view.getUint32(at + 12) : short;
    const headerBytes = long ? 16 : 8;
    if (view.getUint32(at + 4) === 0x6a703263) {
      return bytes.subarray(at + headerBytes, length === 0 ? bytes.length : at + length);
    }
    if (length < headerBytes) break;
    at += length;
  }
  throw cannotRender('The compressed frame does not begin as JPEG 2000');
}

/** @throws ArchiveError `cannot-render` for a damaged header, and for shapes that no DICOM encoder makes and decoders mistake */
export function readJ2kHeader(bytes: Uint8Array): J2kHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 42 || view.getUint16(0) !== 0xff4f || view.getUint16(2) !== 0xff51) {
    throw cannotRender('The compressed frame does not begin as JPEG 2000');
  }
  const count = view.getUint16(40);
  const sizEnd = 4 + view.getUint16(4);
  if (count > 4) {
    throw cannotRender(`JPEG 2000 with ${count} components, as of several frames in one, cannot be rendered`, {
      count,
    });
  }
  if (count < 1 || sizEnd < 42 + 3 * count || sizEnd > bytes.length) {
    throw cannotRender('The JPEG 2000 image header is damaged', { components: count });
  }
  const [x1, y1, x0, y0] = [8, 12, 16, 20].map((at) => view.getUint32(at)) as [number, number, number, number];
  if (x0 !== 0 || y0 !== 0) throw cannotRender('JPEG 2000 with an image offset cannot be rendered');
  const tiles = Math.ceil(x1 / Math.max(1, view.getUint32(24))) * Math.ceil(y1 / Math.max(1, view.getUint32(28)));
  // Each costs some kilobytes, however small: beyond a number that any size may have, they are 64 pixels to a side at least.
  if (tiles < 1 || tiles > 65535 || tiles > 1024 + (x1 * y1) / 4096) {
    throw cannotRender(`The JPEG 2000 frame of ${x1} x ${y1} pixels has too many tiles`, { tiles });
  }
  const depthOffsets = Array.from({ length: count }, (_, i) => 42 + 3 * i);
  const depth = bytes[42]!;
  if (depthOffsets.some((at) => bytes[at] !== depth)) {
    throw cannotRender('JPEG 2000 with components of different depth cannot be rendered');
  }
  const steps = depthOffsets.map((at) => `${bytes[at + 1]}${bytes[at + 2]}`).join(' ');
  const sampling = /^(11 ?)+$/.test(steps)
    ? '444'
    : steps === '11 21 21'
      ? '422'
      : steps === '11 22 22'
        ? '420'
        : undefined;
  if (sampling === undefined) throw cannotRender('JPEG 2000 with this subsampling cannot be rendered', { steps });
  const coding = codingStyle(bytes, view, sizEnd);
  return {
    rows: y1,
    columns: x1,
    samplesPerPixel: count,
    precision: (depth & 0x7f) + 1,
    signed: (depth & 0x80) !== 0,
    lossy: !coding.reversible,
    sampling,
    colorTransform: coding.colorTransform && count >= 3,
    levels: coding.levels,
    firstTileOffset: coding.firstTileOffset,
    depthOffsets,
  };
}

interface CodingStyle {
  readonly reversible: boolean;
  readonly colorTransform: boolean;
  readonly levels: number;
  readonly firstTileOffset: number;
}

function codingStyle(bytes: Uint8Array, view: DataView, from: number): CodingStyle {
  let at = from;
  let style: Omit<CodingStyle, 'firstTileOffset'> | undefined;
  while (at + 4 <= bytes.length) {
    const marker = view.getUint16(at);
    const length = view.getUint16(at + 2);
    if (marker === START_OF_TILE && style !== undefined) return { ...style, firstTileOffset: at };
    if (marker === START_OF_TILE || marker < 0xff00 || length < 2) break;
    if (marker === 0xff52 && at + 14 <= bytes.length) {
      style = { reversible: bytes[at + 13] === 1, colorTransform: bytes[at + 8] === 1, levels: bytes[at + 9]! };
    }
    if (marker === 0xff74 || marker === 0xff75 || marker === 0xff77) {
      throw cannotRender('JPEG 2000 Part 2 with a transformation of its own across components cannot be rendered');
    }
    // Other levels of some components, or of none: what is common to all of them is nowhere to be read.
    if (marker === 0xff53 && style !== undefined) style = { ...style, levels: 0 };
    at += 2 + length;
  }
  throw cannotRender('The JPEG 2000 frame has no coding style before its first tile');
}

/**
 * Decoders draw what there is of a codestream that was cut, and say nothing: a tile-part that reaches beyond the end is
 * refused here. One that ends with a tile-part is whole, at a lower resolution or quality. @throws ArchiveError `cannot-render`
 */
export function checkTileParts(bytes: Uint8Array, firstTileOffset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = firstTileOffset;
  while (at + 12 <= bytes.length && view.getUint16(at) === START_OF_TILE) {
    const lengthBytes = view.getUint32(at + 6);
    // 0: up to the end of the codestream (A.4.2).
    if (lengthBytes === 0) return;
    at += Math.max(12, lengthBytes);
    if (at > bytes.length) {
      throw cannotRender('The JPEG 2000 frame is cut short', { lengthBytes: bytes.length, neededBytes: at });
    }
  }
}

/** The length of a side so many levels below the full resolution (B.5, from an origin of 0). */
export const reduced = (side: number, reduction: number): number => Math.ceil(side / 2 ** reduction);

/**
 * By how many levels lower than the full resolution a frame can be decoded of which `wanted` levels may be spared. Means of samples are
 * samples only where these are numbers: not where the codestream does not know of their sign, nor where it has more bits than they have. Those
 * may hold an overlay, also one that nothing tells of; the full resolution masks it, and in a mean it is brightness.
 * @throws ArchiveError `cannot-render` for the beginning of a codestream that must be decoded whole
 */
export function reductionOf(bytes: Uint8Array, header: J2kHeader, attributes: ImageAttributes, wanted: number): number {
  const { bitsStored, signed } = attributes;
  const isNumber = header.signed === signed && header.sampling === '444';
  const isAlone = header.precision <= bitsStored;
  // The decoders' packages give no lower resolution of several components of more than 8 bits.
  const isPlain = header.samplesPerPixel === 1 || header.precision <= 8;
  const reduction = isNumber && isAlone && isPlain ? Math.min(wanted, header.levels) : 0;
  if (wanted > 0) checkReaches(bytes, header, reduction);
  return reduction;
}

/** @throws ArchiveError `cannot-render` for the beginning of a codestream that holds no more than a lower resolution than this */
function checkReaches(bytes: Uint8Array, header: J2kHeader, reduction: number): void {
  if (missingTileParts(bytes, header) <= reduction) return;
  throw cannotRender('The JPEG 2000 frame is cut to a lower resolution than can be drawn of it');
}

/** Of the first tile. Where it does not say how many it has (A.4.2), what does not come to its end has one to each resolution. */
function missingTileParts(bytes: Uint8Array, { firstTileOffset, levels }: J2kHeader): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const counted = bytes[firstTileOffset + 11] ?? 0;
  let present = 0;
  let at = firstTileOffset;
  for (; at + 12 <= bytes.length && view.getUint16(at) === START_OF_TILE; present++) {
    const lengthBytes = view.getUint32(at + 6);
    // 0: up to the end, wherever that is.
    at = lengthBytes === 0 ? Number.POSITIVE_INFINITY : at + Math.max(12, lengthBytes);
  }
  const isCut = at === bytes.length && view.getUint16(at - 2) !== END_OF_CODESTREAM;
  return Math.max(0, (counted === 0 && isCut ? levels + 1 : counted) - present);
}
