/**
 * Overlay planes of an image, PS3.3 §C.9.2: one-bit bitmaps in groups 6000 to 601E, each in Overlay Data of its own or (retired) in a
 * bit of Pixel Data that no stored value uses. Which of them belong to a frame, and drawing them into its picture: graphics in white
 * as they are; of a region of interest its outline, because what it covers is what is looked at.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import type { PixelValues } from './decoded-frame.ts';
import { type BulkReader, numbers } from './image-attributes.ts';
import type { Picture } from './resample.ts';

export interface OverlayPlane {
  /** 0x6000 to 0x601e, even. */
  readonly group: number;
  readonly type: 'graphics' | 'region';
  readonly rows: number;
  readonly columns: number;
  /** Of its first pixel within the image, from 0; may lie outside. */
  readonly left: number;
  readonly top: number;
  readonly source:
    | {
        readonly kind: 'data';
        /** One bit to a pixel, row by row without gaps, the least significant bit of a byte first (PS3.5 §8.1.1). */
        readonly bits: Uint8Array;
        /** Of the first pixel within the first byte: frames follow each other without padding. */
        readonly bitOffset: number;
      }
    | {
        readonly kind: 'embedded';
        /** Of the cells of Pixel Data, from 0. */
        readonly bitPosition: number;
      };
}

const OVERLAY_GROUPS = Array.from({ length: 16 }, (_, i) => 0x6000 + 2 * i);

/** The tag of an element of an overlay's group, as DICOM JSON has it. */
const tagOf = (group: number, element: string): string => `${group.toString(16).toUpperCase()}${element}`;

/**
 * The overlays of one frame, in the order of their groups. Those without Number of Frames in Overlay and Image Frame Origin are drawn
 * on every frame. What is incomplete is left out with a sentence in `warnings`.
 * @param frameNumber from 1
 */
export function overlaysOf(
  metadata: DicomJson,
  frameNumber: number,
  bulk?: BulkReader,
): { readonly overlays: readonly OverlayPlane[]; readonly warnings: readonly string[] } {
  const overlays: OverlayPlane[] = [];
  const warnings: string[] = [];
  for (const group of OVERLAY_GROUPS) {
    const overlay = overlayOf(metadata, group, frameNumber, bulk);
    if (overlay === 'damaged') warnings.push(`The overlay of group ${group.toString(16)} is damaged and is not shown.`);
    else if (overlay !== undefined) overlays.push(overlay);
  }
  return { overlays, warnings };
}

function overlayOf(
  metadata: DicomJson,
  group: number,
  frameNumber: number,
  bulk: BulkReader | undefined,
): OverlayPlane | 'damaged' | undefined {
  const value = (element: string): number | undefined => numbers(metadata[tagOf(group, element)])[0];
  const rows = value('0010');
  const columns = value('0011');
  const data = metadata[tagOf(group, '3000')];
  // Curves once shared the range of groups (PS3.5 §7.6), and presentation states have attributes in groups of overlays that are not theirs.
  if (rows === undefined && columns === undefined && data === undefined) return undefined;
  if (!isSide(rows) || !isSide(columns)) return 'damaged';
  const [top = 1, left = 1] = numbers(metadata[tagOf(group, '0050')]);
  if (!Number.isInteger(top) || !Number.isInteger(left)) return 'damaged';
  const type = metadata[tagOf(group, '0040')]?.Value?.[0];
  const plane = {
    group,
    type: typeof type === 'string' && type.trim() === 'R' ? ('region' as const) : ('graphics' as const),
    rows,
    columns,
    left: left - 1,
    top: top - 1,
  };
  if (data === undefined) {
    const bitPosition = value('0102');
    // A bit of each cell: its plane has the size of the image.
    const isWhole = numbers(metadata['00280010'])[0] === rows && numbers(metadata['00280011'])[0] === columns;
    if (bitPosition === undefined || !isWhole || !isUnusedBit(metadata, bitPosition)) return 'damaged';
    return { ...plane, source: { kind: 'embedded', bitPosition } };
  }
  const stated = value('0015');
  const origin = value('0051');
  const count = stated ?? 1;
  const index = stated === undefined && origin === undefined ? 0 : frameNumber - (origin ?? 1);
  if (!Number.isInteger(index) || !Number.isInteger(count)) return 'damaged';
  if (index < 0 || index >= count) return undefined;
  const bytes = bytesOf(data, bulk);
  const firstBit = index * rows * columns;
  const end = Math.ceil((firstBit + rows * columns) / 8);
  if (bytes === undefined || bytes.length < end) return 'damaged';
  // Copied: what is sent to a thread takes the whole of its memory along.
  const bits = Uint8Array.prototype.slice.call(bytes, Math.floor(firstBit / 8), end);
  return { ...plane, source: { kind: 'data', bits, bitOffset: firstBit % 8 } };
}

const isSide = (value: number | undefined): value is number =>
  value !== undefined && Number.isInteger(value) && value >= 1 && value <= 65535;

/** Within a cell of Pixel Data, and not a bit of its value. */
function isUnusedBit(metadata: DicomJson, bitPosition: number): boolean {
  const [bitsAllocated = 0] = numbers(metadata['00280100']);
  const [bitsStored = bitsAllocated] = numbers(metadata['00280101']);
  const [highBit = bitsStored - 1] = numbers(metadata['00280102']);
  if (!Number.isInteger(bitPosition) || bitPosition < 0 || bitPosition >= bitsAllocated) return false;
  return bitPosition > highBit || bitPosition <= highBit - bitsStored;
}

function bytesOf(element: JsonElement, bulk: BulkReader | undefined): Uint8Array | undefined {
  if (element.InlineBinary !== undefined) return new Uint8Array(Buffer.from(element.InlineBinary, 'base64'));
  return element.BulkDataURI === undefined ? undefined : bulk?.(element.BulkDataURI);
}

/**
 * The plane as one byte to a pixel, 0 or 1.
 * @param cells of Pixel Data with all their bits, for an embedded overlay; without them it is empty
 */
export function overlayBits({ rows, columns, source }: OverlayPlane, cells?: PixelValues): Uint8Array<ArrayBuffer> {
  const pixels = new Uint8Array(rows * columns);
  if (source.kind === 'data') {
    const { bits } = source;
    for (let i = 0, bit = source.bitOffset; i < pixels.length; i++, bit++) {
      pixels[i] = (bits[bit >>> 3]! >>> (bit & 7)) & 1;
    }
  } else if (cells !== undefined) {
    const count = Math.min(pixels.length, cells.length);
    for (let i = 0; i < count; i++) pixels[i] = (cells[i]! >>> source.bitPosition) & 1;
  }
  return pixels;
}

/**
 * Draws planes into a picture of the whole frame, which is changed. In a picture of fewer pixels than the frame each pixel shows whether
 * any of its own is set: thin lines stay.
 * @param frame the size of the image that the planes lie on
 * @param cells as for `overlayBits`; of this frame at full size
 */
export function drawOverlays(
  picture: Picture,
  overlays: readonly OverlayPlane[],
  frame: { readonly rows: number; readonly columns: number },
  cells?: PixelValues,
): void {
  for (const overlay of overlays) {
    const bits = overlayBits(overlay, cells);
    drawBits(picture, overlay, overlay.type === 'region' ? outlineOf(bits, overlay) : bits, frame);
  }
}

function drawBits(
  { width, height, channels, pixels }: Picture,
  { rows, columns, left, top }: OverlayPlane,
  bits: Uint8Array,
  frame: { readonly rows: number; readonly columns: number },
): void {
  const across = width / frame.columns;
  const down = height / frame.rows;
  const firstRow = Math.max(0, -top);
  const endRow = Math.min(rows, frame.rows - top);
  const firstColumn = Math.max(0, -left);
  const endColumn = Math.min(columns, frame.columns - left);
  for (let row = firstRow; row < endRow; row++) {
    const line = Math.floor((row + top) * down) * width;
    for (let column = firstColumn; column < endColumn; column++) {
      if (bits[row * columns + column] === 0) continue;
      const at = (line + Math.floor((column + left) * across)) * channels;
      pixels[at] = 255;
      if (channels === 3) pixels[at + 1] = pixels[at + 2] = 255;
    }
  }
}

/** The pixels of a region that touch what is not of it, or the edge of the plane. */
export function outlineOf(bits: Uint8Array, { rows, columns }: OverlayPlane): Uint8Array {
  const outline = new Uint8Array(bits.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      if (bits[at] === 0) continue;
      const isInside =
        row > 0 &&
        row < rows - 1 &&
        column > 0 &&
        column < columns - 1 &&
        bits[at - 1] === 1 &&
        bits[at + 1] === 1 &&
        bits[at - columns] === 1 &&
        bits[at + columns] === 1;
      if (!isInside) outline[at] = 1;
    }
  }
  return outline;
}
