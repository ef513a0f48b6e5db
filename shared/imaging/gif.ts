/**
 * Pictures as GIF89a, still and animated. By our own hand, since the usual encoders search a palette for each picture for as long as
 * drawing ten takes: gray needs no search, and of colour a median cut with ordered dither is what a cine wants. A still picture is
 * a whole file; an animation is spliced from such files, one after the other, so that no cine is ever held.
 */
import type { Picture } from './resample.ts';

const HEADER_BYTES = 13;
const TRAILER = 0x3b;
const COLORS = 256;
const CODE_BITS = 8;
const MAX_CODES = 4096;
const HASH_SIZE = 16_384;
/** 5 bits to a channel. */
const BINS = 32_768;

/** The picture as a GIF with a colour table of its own behind the image descriptor. Sides are at most 65535. */
export function encodeGif(picture: Picture): Uint8Array<ArrayBuffer> {
  const { width, height } = picture;
  const { palette, indices } = indexed(picture);
  const head = Buffer.alloc(HEADER_BYTES + 10);
  head.write('GIF89a', 'latin1');
  head.writeUInt16LE(width, 6);
  head.writeUInt16LE(height, 8);
  head[10] = 0x70;
  head[HEADER_BYTES] = 0x2c;
  head.writeUInt16LE(width, HEADER_BYTES + 5);
  head.writeUInt16LE(height, HEADER_BYTES + 7);
  head[HEADER_BYTES + 9] = 0x80 | 7;
  return Uint8Array.from(Buffer.concat([head, palette, compressed(indices), Uint8Array.of(TRAILER)]));
}

/**
 * One animation that runs for ever out of files that encodeGif made, all of one size, in pieces as they come.
 * @param delayMs how long each picture stays; GIF counts in hundredths of a second, and players take less than two of them for ten
 */
export async function* animatedGif(
  pictures: AsyncIterable<Uint8Array>,
  delayMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hundredths = Math.max(2, Math.min(65_535, Math.round(delayMs / 10)));
  const control = Uint8Array.of(0x21, 0xf9, 4, 4, hundredths & 0xff, hundredths >> 8, 0, 0);
  const forEver = Buffer.from('\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00', 'latin1');
  let isFirst = true;
  for await (const gif of pictures) {
    if (isFirst) yield Buffer.concat([gif.subarray(0, HEADER_BYTES), forEver]);
    isFirst = false;
    yield Buffer.concat([control, gif.subarray(HEADER_BYTES, -1)]);
  }
  yield Uint8Array.of(TRAILER);
}

interface Indexed {
  /** 256 times R G B. */
  readonly palette: Uint8Array;
  readonly indices: Uint8Array;
}

function indexed(picture: Picture): Indexed {
  const { channels, pixels } = picture;
  if (channels === 3) return exactColors(pixels) ?? fewerColors(picture);
  return { palette: Uint8Array.from({ length: 3 * COLORS }, (_, i) => (i / 3) | 0), indices: pixels };
}

/** Undefined when there are more colours than a palette has. */
function exactColors(pixels: Uint8Array): Indexed | undefined {
  const known = new Map<number, number>();
  const indices = new Uint8Array(pixels.length / 3);
  let last = -1;
  let lastIndex = 0;
  for (let i = 0, at = 0; at < indices.length; i += 3, at++) {
    const color = (pixels[i]! << 16) | (pixels[i + 1]! << 8) | pixels[i + 2]!;
    if (color !== last) {
      let index = known.get(color);
      if (index === undefined) {
        index = known.size;
        if (index === COLORS) return undefined;
        known.set(color, index);
      }
      last = color;
      lastIndex = index;
    }
    indices[at] = lastIndex;
  }
  const palette = new Uint8Array(3 * COLORS);
  for (const [color, index] of known) palette.set([color >> 16, (color >> 8) & 0xff, color & 0xff], 3 * index);
  return { palette, indices };
}

/** Ordered dither, 4 x 4, of a level of 5 bits: the same in every picture of a cine, so that nothing flickers. */
const dither = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5].map((step) => Math.floor(step / 2 - 3.75));
/** The level of 5 bits of a value, by the value and what dither adds to it, from -4 on. */
const levelOf = Uint8Array.from({ length: 264 }, (_, i) => Math.max(0, Math.min(255, i - 4)) >> 3);

function fewerColors({ width, pixels }: Picture): Indexed {
  const counts = new Uint32Array(BINS);
  const red = new Float64Array(BINS);
  const green = new Float64Array(BINS);
  const blue = new Float64Array(BINS);
  for (let i = 0; i < pixels.length; i += 3) {
    const r = pixels[i]!;
    const g = pixels[i + 1]!;
    const b = pixels[i + 2]!;
    const bin = ((r >> 3) << 10) | ((g >> 3) << 5) | (b >> 3);
    counts[bin]!++;
    red[bin]! += r;
    green[bin]! += g;
    blue[bin]! += b;
  }
  const boxes = medianCut(counts);
  const palette = new Uint8Array(3 * COLORS);
  const nearest = new Int16Array(BINS).fill(-1);
  for (const [index, bins] of boxes.entries()) {
    const sumOf = (values: Uint32Array | Float64Array): number => bins.reduce((sum, bin) => sum + values[bin]!, 0);
    const total = sumOf(counts);
    palette.set(
      [red, green, blue].map((values) => Math.round(sumOf(values) / total)),
      3 * index,
    );
    for (const bin of bins) nearest[bin] = index;
  }
  const indices = new Uint8Array(pixels.length / 3);
  for (let row = 0, at = 0, i = 0; at < indices.length; row++) {
    for (let column = 0; column < width; column++, at++, i += 3) {
      const step = 4 + dither[((row & 3) << 2) | (column & 3)]!;
      const [r, g, b] = [levelOf[pixels[i]! + step]!, levelOf[pixels[i + 1]! + step]!, levelOf[pixels[i + 2]! + step]!];
      const bin = (r << 10) | (g << 5) | b;
      if (nearest[bin]! < 0) nearest[bin] = nearestOf(palette, boxes.length, bin);
      indices[at] = nearest[bin]!;
    }
  }
  return { palette, indices };
}

const channelOf = (bin: number, c: number): number => (bin >> (10 - 5 * c)) & 31;

/** The bins that are used, in as many boxes as there are colours: always the box with the most pixels times its extent is cut. */
function medianCut(counts: Uint32Array): number[][] {
  const used: number[] = [];
  for (let bin = 0; bin < BINS; bin++) if (counts[bin]! > 0) used.push(bin);
  const boxes = [boxOf(used, counts)];
  while (boxes.length < COLORS) {
    let largest = boxes[0]!;
    for (const box of boxes) if (box.worth > largest.worth) largest = box;
    if (largest.worth === 0) break;
    const { bins, longest, total } = largest;
    const levels = new Float64Array(32);
    for (const bin of bins) levels[channelOf(bin, longest)]! += counts[bin]!;
    // The last level that has any goes to the other half, whatever its weight.
    const last = levels.findLastIndex((level) => level > 0);
    let level = 0;
    for (let sum = levels[0]!; level + 1 < last && (sum === 0 || sum < total / 2); sum += levels[level]!) level++;
    const isBelow = (bin: number): boolean => channelOf(bin, longest) <= level;
    const [below, above] = [bins.filter(isBelow), bins.filter((bin) => !isBelow(bin))];
    boxes.splice(boxes.indexOf(largest), 1, boxOf(below, counts), boxOf(above, counts));
  }
  return boxes.map(({ bins }) => bins);
}

function boxOf(bins: number[], counts: Uint32Array): { bins: number[]; longest: number; total: number; worth: number } {
  const low = [31, 31, 31];
  const high = [0, 0, 0];
  let total = 0;
  for (const bin of bins) {
    total += counts[bin]!;
    for (let c = 0; c < 3; c++) {
      low[c] = Math.min(low[c]!, channelOf(bin, c));
      high[c] = Math.max(high[c]!, channelOf(bin, c));
    }
  }
  const extents = high.map((most, c) => most - low[c]!);
  const extent = Math.max(...extents);
  // The root: many pixels of nearly one colour must not take every entry from the rare ones.
  return { bins, longest: extents.indexOf(extent), total, worth: bins.length > 1 ? Math.sqrt(total) * extent : 0 };
}

function nearestOf(palette: Uint8Array, count: number, bin: number): number {
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let index = 0; index < count; index++) {
    let distance = 0;
    for (let c = 0; c < 3; c++) distance += (palette[3 * index + c]! - (channelOf(bin, c) * 8 + 4)) ** 2;
    if (distance < least) {
      least = distance;
      best = index;
    }
  }
  return best;
}

/** LZW of GIF89a Appendix F: the code size, sub-blocks of at most 255 bytes, and the empty one that ends them. */
function compressed(indices: Uint8Array): Uint8Array {
  const codes = new CodeWriter(indices.length);
  const keys = new Int32Array(HASH_SIZE);
  const values = new Int16Array(HASH_SIZE);
  const clear = 1 << CODE_BITS;
  let next = clear + 2;
  let width = CODE_BITS + 1;
  keys.fill(-1);
  codes.write(clear, width);
  let prefix = indices[0] ?? 0;
  for (let i = 1; i < indices.length; i++) {
    const key = (prefix << 8) | indices[i]!;
    let slot = ((key * 0x9e3779b1) >>> 18) & (HASH_SIZE - 1);
    while (keys[slot] !== -1 && keys[slot] !== key) slot = (slot + 1) & (HASH_SIZE - 1);
    if (keys[slot] === key) {
      prefix = values[slot]!;
      continue;
    }
    codes.write(prefix, width);
    prefix = indices[i]!;
    if (next === MAX_CODES) {
      codes.write(clear, width);
      keys.fill(-1);
      next = clear + 2;
      width = CODE_BITS + 1;
      continue;
    }
    keys[slot] = key;
    values[slot] = next;
    // A reader is one entry behind the writer: codes grow when the entry does not fit any more.
    if (next === 1 << width) width++;
    next++;
  }
  codes.write(prefix, width);
  if (next === 1 << width && width < 12) width++;
  codes.write(clear + 1, width);
  return codes.finish();
}

class CodeWriter {
  private bytes: Uint8Array;
  private length = 1;
  /** Where the length of the sub-block that is being written stands. */
  private blockAt = 1;
  private pending = 0;
  private pendingBits = 0;

  constructor(pixels: number) {
    this.bytes = new Uint8Array(1024 + pixels);
    this.bytes[0] = CODE_BITS;
    this.length = 2;
  }

  write(code: number, width: number): void {
    this.pending |= code << this.pendingBits;
    this.pendingBits += width;
    while (this.pendingBits >= 8) {
      this.append(this.pending & 0xff);
      this.pending >>>= 8;
      this.pendingBits -= 8;
    }
  }

  finish(): Uint8Array {
    if (this.pendingBits > 0) this.append(this.pending & 0xff);
    const filled = this.length - this.blockAt - 1;
    this.bytes[this.blockAt] = filled;
    if (filled > 0) this.push(0);
    return this.bytes.subarray(0, this.length);
  }

  private append(byte: number): void {
    this.push(byte);
    if (this.length - this.blockAt - 1 < 255) return;
    this.bytes[this.blockAt] = 255;
    this.blockAt = this.length;
    this.push(0);
  }

  private push(byte: number): void {
    if (this.length === this.bytes.length) {
      const larger = new Uint8Array(this.bytes.length * 2);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes[this.length++] = byte;
  }
}
