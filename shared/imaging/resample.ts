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
}

const MAX_VIEWPORT_PIXELS = 64 * 1024 * 1024;

/** @throws ArchiveError `bad-request` for a viewport without area, too large, or a region outside the frame */
export function fitViewport<Samples extends Uint8Array | Uint16Array>(
  picture: Raster<Samples>,
  viewport: Viewport,
): Raster<Samples> {
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

/** Line by line: of what lies between the two directions, no more than a line is held. */
export function resize<Samples extends Uint8Array | Uint16Array>(
  picture: Raster<Samples>,
  width: number,
  height: number,
): Raster<Samples> {
  if (picture.width === width && picture.height === height) return picture;
  const { channels, pixels } = picture;
  const down = mixFor(picture.height, height);
  const across = mixFor(picture.width, width);
  const scaled = emptyLike(pixels, width * height * channels);
  const line = new Float64Array(picture.width * channels);
  const mixed = new Float64Array(width * channels);
  const white = pixels instanceof Uint8Array ? 255 : 65535;
  const divisor = down.divisor * across.divisor;
  for (let row = 0; row < height; row++) {
    if (pixels instanceof Uint8Array) mixRows8(pixels, down, row, line);
    else mixRows16(pixels, down, row, line);
    if (down.kind === 'bicubic') limitRows(pixels, down, row, line);
    mixColumns(line, across, channels, mixed);
    const target = scaled.subarray(row * mixed.length, (row + 1) * mixed.length);
    if (target instanceof Uint8Array) store8(mixed, divisor, target);
    else store16(mixed, divisor, white, target);
  }
  return { width, height, channels, pixels: scaled };
}
