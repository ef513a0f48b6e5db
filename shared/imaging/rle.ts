/**
 * RLE Lossless (PS3.5 Annex G), both ways: PackBits segments, one for each byte of each sample, most significant byte first.
 * Takes and gives cells in the order of native Pixel Data, little endian, samples interleaved; masking is decoded-frame.ts.
 */
import { cannotRender } from './decoded-frame.ts';

const HEADER_BYTES = 64;

/**
 * @param cellCount samples in the frame: Rows x Columns x Samples per Pixel (for one-bit frames: packed bytes)
 * @param bytesPerCell Bits Allocated / 8 (for one-bit frames: 1)
 * @returns cellCount x bytesPerCell bytes
 * @throws ArchiveError `cannot-render` for a wrong number of segments, offsets outside the frame, or too few bytes
 */
export function decodeRle(
  frame: Uint8Array,
  cellCount: number,
  samplesPerPixel: number,
  bytesPerCell: number,
): Uint8Array<ArrayBuffer> {
  if (frame.length < HEADER_BYTES) throw cannotRender('The RLE frame is shorter than its header');
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const segments = view.getUint32(0, true);
  if (segments !== samplesPerPixel * bytesPerCell) {
    throw cannotRender(`The RLE frame has ${segments} segments where ${samplesPerPixel * bytesPerCell} are needed`, {
      segments,
    });
  }
  const stride = samplesPerPixel * bytesPerCell;
  const pixels = Math.floor(cellCount / samplesPerPixel);
  const planes: Uint8Array<ArrayBuffer>[] = [];
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const next = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : frame.length;
    if (start < HEADER_BYTES || start > next || next > frame.length) {
      throw cannotRender(`Segment ${segment + 1} of the RLE frame lies outside of it`, { segment, start, next });
    }
    const plane = new Uint8Array(pixels);
    if (!decodeSegment(frame, start, next, plane)) {
      throw cannotRender(`Segment ${segment + 1} of the RLE frame ends before the last pixel`, { segment });
    }
    planes.push(plane);
  }
  const [high, low] = planes as [Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>];
  if (stride === 1) return high;
  if (stride === 2 && bytesPerCell === 2) return joined(high, low);
  const cells = new Uint8Array(cellCount * bytesPerCell);
  for (const [segment, plane] of planes.entries()) {
    // The most significant byte comes first, and lies last.
    const first = segment + bytesPerCell - 1 - 2 * (segment % bytesPerCell);
    for (let from = 0, to = first; from < pixels; from++, to += stride) cells[to] = plane[from]!;
  }
  return cells;
}

function joined(high: Uint8Array, low: Uint8Array): Uint8Array<ArrayBuffer> {
  const cells = new Uint16Array(high.length);
  for (let i = 0; i < cells.length; i++) cells[i] = (high[i]! << 8) | low[i]!;
  return new Uint8Array(cells.buffer);
}

/** From here on a call for many bytes is faster than a loop. */
const LONG_RUN = 24;

/** @returns false where the segment ends too soon; what it holds beyond the last pixel (padding) is left */
function decodeSegment(source: Uint8Array, start: number, end: number, target: Uint8Array): boolean {
  const limit = target.length;
  let from = start;
  let to = 0;
  while (to < limit) {
    if (from >= end) return false;
    const control = source[from++]!;
    if (control === 128) continue;
    if (control < 128) {
      const taken = Math.min(control + 1, end - from, limit - to);
      if (taken < LONG_RUN) for (const stop = to + taken; to < stop; ) target[to++] = source[from++]!;
      else {
        target.set(source.subarray(from, from + taken), to);
        to += taken;
        from += taken;
      }
    } else {
      if (from >= end) return false;
      const value = source[from++]!;
      const stop = Math.min(to + 257 - control, limit);
      if (stop - to < LONG_RUN) while (to < stop) target[to++] = value;
      else {
        target.fill(value, to, stop);
        to = stop;
      }
    }
  }
  return true;
}

/**
 * @param cells as `decodeRle` gives them
 * @returns a frame of even length; each segment ends with an even byte, each row begins a run of its own (§G.3.1)
 */
export function encodeRle(
  cells: Uint8Array,
  columns: number,
  samplesPerPixel: number,
  bytesPerCell: number,
): Uint8Array<ArrayBuffer> {
  const stride = samplesPerPixel * bytesPerCell;
  const pixels = cells.length / stride;
  const rows = Math.ceil(pixels / columns);
  // At worst each 128 bytes of a row cost one more, and each segment a byte of padding.
  const most = HEADER_BYTES + stride * (pixels + rows * Math.ceil(columns / 128) + 1);
  const frame = new Uint8Array(most);
  const view = new DataView(frame.buffer);
  view.setUint32(0, stride, true);
  const row = new Uint8Array(columns);
  let to = HEADER_BYTES;
  for (let segment = 0; segment < stride; segment++) {
    view.setUint32(4 + 4 * segment, to, true);
    const sample = Math.floor(segment / bytesPerCell);
    let from = sample * bytesPerCell + bytesPerCell - 1 - (segment % bytesPerCell);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++, from += stride) row[x] = cells[from] ?? 0;
      to = encodeRow(row, frame, to);
    }
    to += to % 2;
  }
  return frame.slice(0, to);
}

/** Runs of three and more as runs, all else as it is. @returns where the next row goes */
function encodeRow(row: Uint8Array, target: Uint8Array, start: number): number {
  let to = start;
  for (let at = 0; at < row.length; ) {
    let end = at + 1;
    while (end < row.length && end - at < 128 && row[end] === row[at]) end++;
    if (end - at >= 3 || end === row.length) {
      const length = end - at;
      if (length === 1) target[to++] = 0;
      else target[to++] = 257 - length;
      target[to++] = row[at]!;
      at = end;
      continue;
    }
    const literal = at;
    at = end;
    while (at < row.length && at - literal < 128) {
      if (at + 2 < row.length && row[at] === row[at + 1] && row[at] === row[at + 2]) break;
      at++;
    }
    const length = Math.min(at - literal, 128);
    at = literal + length;
    target[to++] = length - 1;
    target.set(row.subarray(literal, at), to);
    to += length;
  }
  return to;
}
