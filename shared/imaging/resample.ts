/**
 * Scaling of 8-bit pictures to a viewport: area average down, bicubic (Catmull-Rom) up, each direction on its own, and
 * the viewport's arithmetic (PS3.18 §8.3.5.1.3): fit inside, keep the aspect ratio, mirror where asked.
 */
import { ArchiveError } from '../errors.ts';

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** 1 gray, 3 RGB; interleaved. */
  readonly channels: 1 | 3;
  readonly pixels: Uint8Array;
}

export interface Viewport {
  /** Of the picture to fit inside; a whole number from 1 to 65535. */
  readonly width: number;
  readonly height: number;
  /** The region of the frame to show, in pixels; a negative width or height mirrors. Default: the whole frame. */
  readonly source?: { readonly x: number; readonly y: number; readonly width: number; readonly height: number };
}

const MAX_VIEWPORT_PIXELS = 64 * 1024 * 1024;

/** @throws ArchiveError `bad-request` for a viewport without area, too large, or a region outside the frame */
export function fitViewport(picture: Picture, viewport: Viewport): Picture {
  const { width, height } = viewport;
  if (![width, height].every((side) => Number.isInteger(side) && side >= 1 && side <= 65535)) {
    throw new ArchiveError('bad-request', 'A viewport has a whole width and height from 1 to 65535');
  }
  const region = viewport.source === undefined ? picture : cutRegion(picture, viewport.source);
  const scale = Math.min(width / region.width, height / region.height);
  const target = {
    width: Math.max(1, Math.min(width, Math.round(region.width * scale))),
    height: Math.max(1, Math.min(height, Math.round(region.height * scale))),
  };
  if (target.width * target.height > MAX_VIEWPORT_PIXELS) {
    throw new ArchiveError('bad-request', `A viewport may hold ${MAX_VIEWPORT_PIXELS} pixels at most`);
  }
  return resize(region, target.width, target.height);
}

export function resize(picture: Picture, width: number, height: number): Picture {
  if (picture.width === width && picture.height === height) return picture;
  const { channels } = picture;
  // Rows first when the picture shrinks that way: the second pass then has less to do.
  const rows = mixRows(picture, height);
  const pixels = mixColumns(rows, picture.width, height, channels, width);
  return { width, height, channels, pixels };
}

function cutRegion(picture: Picture, source: NonNullable<Viewport['source']>): Picture {
  const { channels } = picture;
  const width = Math.abs(source.width);
  const height = Math.abs(source.height);
  const { x, y } = source;
  if (
    ![x, y, width, height].every(Number.isInteger) ||
    width === 0 ||
    height === 0 ||
    x < 0 ||
    y < 0 ||
    x + width > picture.width ||
    y + height > picture.height
  ) {
    throw new ArchiveError('bad-request', 'The source region of the viewport is not a part of the frame', {
      columns: picture.width,
      rows: picture.height,
    });
  }
  const pixels = new Uint8Array(width * height * channels);
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

/** Which source positions make one target position, and how much of each. */
interface Mix {
  readonly first: Int32Array;
  readonly taps: number;
  readonly weights: Float32Array;
}

function mixFor(from: number, to: number): Mix {
  const ratio = from / to;
  const shrinking = to < from;
  const taps = shrinking ? Math.min(from, Math.ceil(ratio) + 1) : Math.min(from, 4);
  const first = new Int32Array(to);
  const weights = new Float32Array(to * taps);
  for (let target = 0; target < to; target++) {
    const start = target * ratio;
    const center = (target + 0.5) * ratio - 0.5;
    const wanted = shrinking ? Math.floor(start) : Math.floor(center) - 1;
    const origin = Math.max(0, Math.min(wanted, from - taps));
    first[target] = origin;
    let total = 0;
    const reach = shrinking ? taps : 4;
    for (let tap = 0; tap < reach; tap++) {
      const position = wanted + tap;
      const weight = shrinking
        ? Math.max(0, Math.min(position + 1, start + ratio) - Math.max(position, start))
        : catmullRom(center - position);
      // What lies outside counts for the edge.
      const slot = Math.max(0, Math.min(position, from - 1)) - origin;
      if (weight === 0 || slot < 0 || slot >= taps) continue;
      weights[target * taps + slot]! += weight;
      total += weight;
    }
    for (let tap = 0; tap < taps; tap++) weights[target * taps + tap]! /= total;
  }
  return { first, taps, weights };
}

function catmullRom(distance: number): number {
  const x = Math.abs(distance);
  if (x >= 2) return 0;
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
}

function mixRows(picture: Picture, height: number): Float32Array {
  const line = picture.width * picture.channels;
  const { first, taps, weights } = mixFor(picture.height, height);
  const rows = new Float32Array(line * height);
  for (let row = 0; row < height; row++) {
    const to = row * line;
    for (let tap = 0; tap < taps; tap++) {
      const weight = weights[row * taps + tap]!;
      if (weight === 0) continue;
      const from = (first[row]! + tap) * line;
      for (let i = 0; i < line; i++) rows[to + i]! += weight * picture.pixels[from + i]!;
    }
  }
  return rows;
}

function mixColumns(
  rows: Float32Array,
  fromWidth: number,
  height: number,
  channels: number,
  width: number,
): Uint8Array<ArrayBuffer> {
  const { first, taps, weights } = mixFor(fromWidth, width);
  const pixels = new Uint8ClampedArray(width * height * channels);
  for (let row = 0; row < height; row++) {
    const line = row * fromWidth * channels;
    for (let column = 0; column < width; column++) {
      const from = line + first[column]! * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let tap = 0; tap < taps; tap++) sum += weights[column * taps + tap]! * rows[from + tap * channels + c]!;
        pixels[(row * width + column) * channels + c] = sum;
      }
    }
  }
  return new Uint8Array(pixels.buffer);
}
