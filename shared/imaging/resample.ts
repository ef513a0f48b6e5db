/**
 * Scaling of pictures to a viewport, and the viewport's arithmetic (PS3.18 §8.3.5.1.3): fit inside, keep the aspect ratio, mirror where
 * asked. Each direction on its own: area average down, in whole numbers and so exact; bicubic (Catmull-Rom) up, where no value leaves the
 * range of the samples that it is made of. So edges have no halo, and what is black or white by the window stays so up to its edge.
 * It is display values that are scaled: within a window that is the same as scaling stored ones, and beyond it neither padding nor a value
 * far outside the window can bleed into what is seen.
 */
import { ArchiveError } from '../errors.ts';

export interface Raster<Samples extends Uint8Array | Uint16Array> {
  readonly width: number;
  readonly height: number;
  /** 1 gray, 3 RGB; interleaved. */
  readonly channels: 1 | 3;
  readonly pixels: Samples;
}

export type Picture = Raster<Uint8Array>;
/** Gray from 0 to 65535, for screens and programs that take more than 8 bits. */
export type DeepPicture = Raster<Uint16Array>;

export interface Viewport {
  /** Of the picture to fit inside; a whole number from 1 to 65535. */
  readonly width: number;
  readonly height: number;
  /** The region of the frame to show, in pixels; a negative width or height mirrors. Default: the whole frame. */
  readonly source?: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
  /** Height of the frame's pixels divided by their width; those of the picture are square. Default: 1. */
  readonly pixelAspect?: number;
}

const MAX_VIEWPORT_PIXELS = 64 * 1024 * 1024;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** @throws ArchiveError `bad-request` for a viewport without area, too large, or a region outside the frame */
export function fitViewport<Samples extends Uint8Array | Uint16Array>(
  picture: Raster<Samples>,
  viewport: Viewport,
): Raster<Samples> {
  checkViewport(viewport, picture);
  const region = viewport.source === undefined ? picture : cutRegion(picture, viewport.source);
  const { width, height } = targetSize(region, viewport);
  return resize(region, width, height);
}

/** Errors as of fitViewport. */
export function checkViewport(viewport: Viewport, frame: Size): void {
  const { width, height, source } = viewport;
  if (![width, height].every((side) => Number.isInteger(side) && side >= 1 && side <= 65535)) {
    throw new ArchiveError('bad-request', 'A viewport has a whole width and height from 1 to 65535');
  }
  if (source !== undefined && !isPartOf(source, frame)) {
    throw new ArchiveError('bad-request', 'The source region of the viewport is not a part of the frame', {
      columns: frame.width,
      rows: frame.height,
    });
  }
  const target = targetSize(source ?? frame, viewport);
  if (target.width * target.height > MAX_VIEWPORT_PIXELS) {
    throw new ArchiveError('bad-request', `A viewport may hold ${MAX_VIEWPORT_PIXELS} pixels at most`);
  }
}

function isPartOf({ x, y, ...source }: NonNullable<Viewport['source']>, frame: Size): boolean {
  const width = Math.abs(source.width);
  const height = Math.abs(source.height);
  return (
    [x, y, width, height].every(Number.isInteger) &&
    width > 0 &&
    height > 0 &&
    x >= 0 &&
    y >= 0 &&
    x + width <= frame.width &&
    y + height <= frame.height
  );
}

/** As large as fits into the viewport at the aspect ratio of what is shown, to a whole pixel. */
export function targetSize(source: Size, viewport: Viewport): Size {
  const width = Math.abs(source.width);
  const height = Math.abs(source.height) * (viewport.pixelAspect ?? 1);
  const scale = Math.min(viewport.width / width, viewport.height / height);
  return {
    width: Math.max(1, Math.min(viewport.width, Math.round(width * scale))),
    height: Math.max(1, Math.min(viewport.height, Math.round(height * scale))),
  };
}

/**
 * Line by line: between the two directions there is never more than a line. The same picture where it has that size.
 * @param region the part to show, whose edges may lie within pixels and beyond the picture, where its edge goes on; default: all of it
 */
export function resize<Samples extends Uint8Array | Uint16Array>(
  picture: Raster<Samples>,
  width: number,
  height: number,
  region: Size & { readonly x: number; readonly y: number } = { x: 0, y: 0, ...sizeOf(picture) },
): Raster<Samples> {
  const { channels, pixels } = picture;
  const isWhole = region.x === 0 && region.y === 0 && region.width === width && region.height === height;
  if (isWhole && picture.width === width && picture.height === height) return picture;
  const scaled = emptyLike(pixels, width * height * channels);
  const down = rowMixer(pixels, picture.width * channels, {
    count: picture.height,
    start: region.y,
    length: region.height,
    to: height,
  });
  const across = columnMixer(channels, { count: picture.width, start: region.x, length: region.width, to: width });
  const total = down.total * across.total;
  for (let row = 0; row < height; row++) {
    const line = across.mix(down.mix(row));
    if (scaled instanceof Uint8Array) storeBytes(line, total, scaled, row * line.length);
    else storeWords(line, total, scaled, row * line.length);
  }
  return { width, height, channels, pixels: scaled };
}

// One to a kind of array. No display value is negative, nor is a mix of some: what is cut off after adding a half is rounded.
function storeBytes(line: Float64Array, total: number, pixels: Uint8Array, at: number): void {
  for (let i = 0, to = at; i < line.length; i++, to++) pixels[to] = line[i]! / total + 0.5;
}

function storeWords(line: Float64Array, total: number, pixels: Uint16Array, at: number): void {
  for (let i = 0, to = at; i < line.length; i++, to++) pixels[to] = line[i]! / total + 0.5;
}

const sizeOf = ({ width, height }: Size): Size => ({ width, height });

/** Of the same kind. */
function emptyLike<Samples extends Uint8Array | Uint16Array>(samples: Samples, length: number): Samples {
  return (samples instanceof Uint8Array ? new Uint8Array(length) : new Uint16Array(length)) as Samples;
}

function cutRegion<Samples extends Uint8Array | Uint16Array>(
  picture: Raster<Samples>,
  source: NonNullable<Viewport['source']>,
): Raster<Samples> {
  const { channels } = picture;
  const width = Math.abs(source.width);
  const height = Math.abs(source.height);
  const { x, y } = source;
  const pixels = emptyLike(picture.pixels, width * height * channels);
  for (let row = 0; row < height; row++) {
    const from = ((source.height < 0 ? y + height - 1 - row : y + row) * picture.width + x) * channels;
    const line = picture.pixels.subarray(from, from + width * channels);
    const to = row * width * channels;
    if (source.width >= 0) pixels.set(line, to);
    else {
      for (let column = 0; column < width; column++) {
        const mirrored = (width - 1 - column) * channels;
        for (let c = 0; c < channels; c++) pixels[to + column * channels + c] = line[mirrored + c]!;
      }
    }
  }
  return { width, height, channels, pixels };
}

/** One direction: `length` of `count` samples from `start` on become `to`. */
interface Way {
  readonly count: number;
  readonly start: number;
  readonly length: number;
  readonly to: number;
}

/**
 * Which samples an average is of: from `first` to `last`, the first counting `head`, the last (where it is another) `tail`, those between
 * `full`; all of them together `total`. Of a whole picture these are whole numbers, so that sums of them are exact.
 */
interface Average {
  readonly first: Int32Array;
  readonly last: Int32Array;
  readonly head: Float64Array;
  readonly tail: Float64Array;
  readonly full: number;
  readonly total: number;
}

function averageOf({ count, start, length, to }: Way): Average {
  // In parts of which a source sample has `full` and a target sample `total`.
  const common = Number.isInteger(length) ? greatestCommonDivisor(length, to) : to;
  const full = to / common;
  const total = length / common;
  const first = new Int32Array(to);
  const last = new Int32Array(to);
  const head = new Float64Array(to);
  const tail = new Float64Array(to);
  for (let target = 0; target < to; target++) {
    const begin = start * full + target * total;
    const end = begin + total;
    const from = Math.max(0, Math.min(Math.floor(begin / full), count - 1));
    const until = Math.max(from, Math.min(Math.ceil(end / full) - 1, count - 1));
    first[target] = from;
    last[target] = until;
    head[target] = (from === until ? end : (from + 1) * full) - begin;
    tail[target] = from === until ? 0 : end - until * full;
  }
  return { first, last, head, tail, full, total };
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Four samples to a target sample, and how much of each; what lies outside counts for the edge. */
interface Curve {
  readonly taps: Int32Array;
  readonly weights: Float64Array;
}

function curveOf({ count, start, length, to }: Way): Curve {
  const taps = new Int32Array(4 * to);
  const weights = new Float64Array(4 * to);
  const step = 2 * to;
  for (let target = 0; target < to; target++) {
    // Where its middle lies, from the middle of the first sample on, in parts of which a sample has `step`: of a whole picture whole
    // numbers, so that both ends are treated alike.
    const center = start * step + (2 * target + 1) * length - to;
    const before = Math.floor(center / step);
    const beyond = (center - before * step) / step;
    const until = ((before + 1) * step - center) / step;
    for (let tap = 0; tap < 4; tap++) taps[4 * target + tap] = Math.max(0, Math.min(count - 1, before - 1 + tap));
    weights[4 * target] = catmullRom(1 + beyond);
    weights[4 * target + 1] = catmullRom(beyond);
    weights[4 * target + 2] = catmullRom(until);
    weights[4 * target + 3] = catmullRom(1 + until);
  }
  return { taps, weights };
}

/** From 0 to 2. */
function catmullRom(x: number): number {
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

interface Mixer<From> {
  /** Into the same memory each time; `total` times what it is. */
  mix(from: From): Float64Array;
  readonly total: number;
}

/** By the number of a row of the target, that row at the width of the source. */
function rowMixer(pixels: Uint8Array | Uint16Array, length: number, way: Way): Mixer<number> {
  return way.to > way.length ? curvedRows(pixels, length, curveOf(way)) : averagedRows(pixels, length, averageOf(way));
}

function averagedRows(pixels: Uint8Array | Uint16Array, length: number, average: Average): Mixer<number> {
  const { first, last, head, tail, full, total } = average;
  const line = new Float64Array(length);
  const deep = new Float64Array(pixels instanceof Uint16Array ? length : 0);
  const starts = new Int32Array(4);
  const weights = new Float64Array(4);
  const mix = (row: number): Float64Array => {
    line.fill(0);
    const begin = first[row]!;
    const end = last[row]!;
    const weightOf = (at: number): number =>
      at === begin ? head[row]! : at < end ? full : at === end ? tail[row]! : 0;
    if (pixels instanceof Uint16Array) {
      for (let at = begin; at <= end; at++) {
        deep.set(pixels.subarray(at * length, (at + 1) * length));
        addDeepRow(line, deep, weightOf(at));
      }
      return line;
    }
    for (let at = begin, left = end - begin + 1; left > 0; at += 4, left -= 4) {
      for (let i = 0; i < 4; i++) {
        // What lies behind the last counts nothing: any row will do.
        starts[i] = Math.min(at + i, end) * length;
        weights[i] = weightOf(at + i);
      }
      if (left > 2) addFourRows(line, pixels, starts, weights);
      else addTwoRows(line, pixels, starts, weights);
    }
    return line;
  };
  return { mix, total };
}

/** The loop over all of a large picture, for one kind of array: for several it would run at a quarter. Four rows at a time take half. */
function addFourRows(line: Float64Array, pixels: Uint8Array, starts: Int32Array, weights: Float64Array): void {
  const a = starts[0]!;
  const b = starts[1]!;
  const c = starts[2]!;
  const d = starts[3]!;
  const ofA = weights[0]!;
  const ofB = weights[1]!;
  const ofC = weights[2]!;
  const ofD = weights[3]!;
  for (let i = 0; i < line.length; i++) {
    line[i] = line[i]! + ofA * pixels[a + i]! + ofB * pixels[b + i]! + ofC * pixels[c + i]! + ofD * pixels[d + i]!;
  }
}

function addTwoRows(line: Float64Array, pixels: Uint8Array, starts: Int32Array, weights: Float64Array): void {
  const a = starts[0]!;
  const b = starts[1]!;
  const ofA = weights[0]!;
  const ofB = weights[1]!;
  for (let i = 0; i < line.length; i++) line[i] = line[i]! + ofA * pixels[a + i]! + ofB * pixels[b + i]!;
}

function addDeepRow(line: Float64Array, row: Float64Array, weight: number): void {
  for (let i = 0; i < line.length; i++) line[i] = line[i]! + weight * row[i]!;
}

function curvedRows(pixels: Uint8Array | Uint16Array, length: number, { taps, weights }: Curve): Mixer<number> {
  const line = new Float64Array(length);
  // The rows that were used last, by their number modulo 4: the next row of the target needs most of them again.
  const rows = Array.from({ length: 4 }, () => new Float64Array(length));
  const held = [-1, -1, -1, -1];
  const rowAt = (row: number): Float64Array => {
    const slot = row & 3;
    if (held[slot] !== row) rows[slot]!.set(pixels.subarray(row * length, (row + 1) * length));
    held[slot] = row;
    return rows[slot]!;
  };
  const mix = (row: number): Float64Array => {
    const at = 4 * row;
    const [a, b, c, d] = [rowAt(taps[at]!), rowAt(taps[at + 1]!), rowAt(taps[at + 2]!), rowAt(taps[at + 3]!)];
    for (let i = 0; i < length; i++) line[i] = curved(a[i]!, b[i]!, c[i]!, d[i]!, weights, at);
    return line;
  };
  return { mix, total: 1 };
}

/** Four samples by their weights, within their own range; the same for their mirror image. */
function curved(a: number, b: number, c: number, d: number, weights: Float64Array, at: number): number {
  const value = weights[at]! * a + weights[at + 3]! * d + (weights[at + 1]! * b + weights[at + 2]! * c);
  // Nearly all lie between the two in the middle.
  const least = b < c ? b : c;
  const most = b < c ? c : b;
  if (value >= least && value <= most) return value;
  return Math.max(Math.min(a, least, d), Math.min(Math.max(a, most, d), value));
}

/** A row of the source's width at that of the target. */
function columnMixer(channels: number, way: Way): Mixer<Float64Array> {
  return way.to > way.length
    ? curvedColumns(channels, curveOf(way), way.to)
    : averagedColumns(channels, averageOf(way), way.to);
}

function averagedColumns(channels: number, average: Average, to: number): Mixer<Float64Array> {
  const { first, last, head, tail, full, total } = average;
  const mixed = new Float64Array(to * channels);
  const isShort = total <= 2 * full;
  const mix = (line: Float64Array): Float64Array => {
    if (channels === 1 && isShort) {
      averageThrees(line, average, mixed);
      return mixed;
    }
    for (let c = 0; c < channels; c++) {
      for (let column = 0; column < to; column++) {
        const start = first[column]! * channels + c;
        const end = last[column]! * channels + c;
        let between = 0;
        for (let i = start + channels; i < end; i += channels) between += line[i]!;
        mixed[column * channels + c] = head[column]! * line[start]! + full * between + tail[column]! * line[end]!;
      }
    }
    return mixed;
  };
  return { mix, total };
}

/** Of gray, where an average is of up to three samples: twice as fast without a loop for each. */
function averageThrees(line: Float64Array, average: Average, mixed: Float64Array): void {
  const { first, last, head, tail, full } = average;
  for (let column = 0; column < mixed.length; column++) {
    const start = first[column]!;
    const end = last[column]!;
    const between = end - start > 1 ? line[start + 1]! : 0;
    mixed[column] = head[column]! * line[start]! + full * between + tail[column]! * line[end]!;
  }
}

function curvedColumns(channels: number, { taps, weights }: Curve, to: number): Mixer<Float64Array> {
  const mixed = new Float64Array(to * channels);
  const mix = (line: Float64Array): Float64Array => {
    for (let c = 0; c < channels; c++) {
      for (let column = 0; column < to; column++) {
        const at = 4 * column;
        const a = line[taps[at]! * channels + c]!;
        const b = line[taps[at + 1]! * channels + c]!;
        const d = line[taps[at + 2]! * channels + c]!;
        const e = line[taps[at + 3]! * channels + c]!;
        mixed[column * channels + c] = curved(a, b, d, e, weights, at);
      }
    }
    return mixed;
  };
  return { mix, total: 1 };
}
