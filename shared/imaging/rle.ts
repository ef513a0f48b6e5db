/**
 * RLE Lossless (PS3.5 Annex G): PackBits segments, one for each byte of each sample, most significant byte first.
 * Gives cells in the order of native Pixel Data, little endian, samples interleaved; masking is decoded-frame.ts.
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
  const cells = new Uint8Array(cellCount * bytesPerCell);
  const stride = samplesPerPixel * bytesPerCell;
  for (let segment = 0; segment < segments; segment++) {
    const start = view.getUint32(4 + 4 * segment, true);
    const next = segment + 1 < segments ? view.getUint32(8 + 4 * segment, true) : frame.length;
    if (start < HEADER_BYTES || start > next || next > frame.length) {
      throw cannotRender(`Segment ${segment + 1} of the RLE frame lies outside of it`, { segment, start, next });
    }
    const sample = Math.floor(segment / bytesPerCell);
    const byte = bytesPerCell - 1 - (segment % bytesPerCell);
    const first = sample * bytesPerCell + byte;
    if (!decodeSegment(frame, start, next, cells, first, stride)) {
      throw cannotRender(`Segment ${segment + 1} of the RLE frame ends before the last pixel`, { segment });
    }
  }
  return cells;
}

/** Writes every `stride`-th byte from `first`; what a segment holds beyond the last pixel (padding) is left. */
function decodeSegment(
  source: Uint8Array,
  start: number,
  end: number,
  target: Uint8Array,
  first: number,
  stride: number,
): boolean {
  const limit = target.length;
  let from = start;
  let to = first;
  while (to < limit) {
    if (from >= end) return false;
    const control = source[from++]!;
    if (control === 128) continue;
    if (control < 128) {
      const count = control + 1;
      const literalEnd = Math.min(from + count, end);
      if (stride === 1) {
        const taken = Math.min(literalEnd - from, limit - to);
        target.set(source.subarray(from, from + taken), to);
        to += taken;
        from = literalEnd;
      } else {
        while (from < literalEnd && to < limit) {
          target[to] = source[from++]!;
          to += stride;
        }
        from = literalEnd;
      }
    } else {
      if (from >= end) return false;
      const value = source[from++]!;
      const stop = Math.min(to + (257 - control) * stride, limit);
      for (; to < stop; to += stride) target[to] = value;
    }
  }
  return true;
}
