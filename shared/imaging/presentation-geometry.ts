/**
 * Where a presentation state puts an image (PS3.3 §C.10.4 Displayed Area, §C.10.6 Spatial Transformation): the part of it that is
 * shown, turned clockwise, then mirrored, its pixels made square, and scaled; and the way of a point from the image to the picture,
 * along which graphics are drawn. Reading the attributes is presentation-state.ts.
 */
import { cannotRender } from './decoded-frame.ts';
import { fitViewport, type Picture, resize, type Viewport } from './resample.ts';

export interface Placement {
  /** The Specified Displayed Area in pixels of the image as it is stored, from 0; it may reach beyond the image. */
  readonly area: { readonly left: number; readonly top: number; readonly width: number; readonly height: number };
  /** Clockwise, in degrees, before the image is mirrored. */
  readonly rotation: 0 | 90 | 180 | 270;
  /** Left becomes right, after the rotation. */
  readonly flip: boolean;
  /** Height of a stored pixel, its width being 1. */
  readonly pixelAspect: number;
  /** Pixels of the picture to one of the area (MAGNIFY); undefined: as many as fit. */
  readonly magnification: number | undefined;
}

/** From image coordinates (0,0 the top left corner of the first pixel) to picture coordinates: x' = a x + b y + c, y' = d x + e y + f. */
export interface Affine {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly e: number;
  readonly f: number;
}

export interface PlacedPicture {
  readonly picture: Picture;
  readonly fromImage: Affine;
  /** From fractions of the Specified Displayed Area as it is displayed (units DISPLAY). */
  readonly fromDisplay: Affine;
}

/** An area larger than any image is a way to take memory. */
const MAX_PIXELS = 64 * 1024 * 1024;

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Of the whole displayed area, before a viewport: what the source region of a viewport is counted in. */
export function presentedSize(placement: Placement): Size {
  const { area, rotation, pixelAspect, magnification = 1 } = placement;
  const wide = pixelAspect < 1 ? area.width / pixelAspect : area.width;
  const high = pixelAspect > 1 ? area.height * pixelAspect : area.height;
  const upright = {
    width: Math.max(1, Math.round(wide * magnification)),
    height: Math.max(1, Math.round(high * magnification)),
  };
  return isSideways(rotation) ? { width: upright.height, height: upright.width } : upright;
}

/** Upper estimate of what placing takes at a time. */
export function placingNeedsBytes(placement: Placement, channels: number): number {
  const { area } = placement;
  const size = presentedSize(placement);
  const staged = area.width * area.height;
  const presented = size.width * size.height;
  return (staged + presented) * channels + (presented === staged ? 0 : Math.max(staged, presented) * channels * 4);
}

/** @throws ArchiveError `cannot-render` for an area beyond what is drawn here, `bad-request` as fitViewport */
export function placePicture(image: Picture, placement: Placement, viewport: Viewport | undefined): PlacedPicture {
  const size = presentedSize(placement);
  const { area, magnification } = placement;
  if (area.width * area.height > MAX_PIXELS || size.width * size.height > MAX_PIXELS) {
    throw cannotRender(
      `The displayed area of the presentation state is larger than ${MAX_PIXELS} pixels; ask for the image without it`,
      { columns: size.width, rows: size.height },
    );
  }
  const presented = resize(stage(image, placement), size.width, size.height);
  const toPresented = affineOf(placement, size);
  const display: Affine = { a: size.width, b: 0, c: 0, d: 0, e: size.height, f: 0 };
  // PS3.18: what is magnified is cut to the viewport, everything else is scaled to it.
  const shown =
    magnification !== undefined && viewport !== undefined && viewport.source === undefined
      ? middleOf(size, viewport)
      : viewport;
  if (shown === undefined) return { picture: presented, fromImage: toPresented, fromDisplay: display };
  const picture = fitViewport(presented, shown);
  const further = viewportAffine(size, shown, picture);
  return { picture, fromImage: chain(toPresented, further), fromDisplay: chain(display, further) };
}

const isSideways = (rotation: Placement['rotation']): boolean => rotation === 90 || rotation === 270;

/** A viewport that shows the middle of a picture of this size, as much as fits, at its own scale. */
function middleOf({ width, height }: Size, viewport: Viewport): Viewport {
  const shown = { width: Math.min(width, viewport.width), height: Math.min(height, viewport.height) };
  const x = Math.floor((width - shown.width) / 2);
  const y = Math.floor((height - shown.height) / 2);
  return { ...shown, source: { x, y, ...shown } };
}

/** The area cut out, turned and mirrored, pixel by pixel: nothing is interpolated. What lies beyond the image is black. */
function stage(image: Picture, { area, rotation, flip }: Placement): Picture {
  const { channels } = image;
  const isWhole = area.left === 0 && area.top === 0 && area.width === image.width && area.height === image.height;
  if (isWhole && rotation === 0 && !flip) return image;
  const sideways = isSideways(rotation);
  const width = sideways ? area.height : area.width;
  const height = sideways ? area.width : area.height;
  const pixels = new Uint8Array(width * height * channels);
  // A step to the right in the result is this step in the image, one down that one.
  const across = stepOf(rotation, flip);
  const down = stepOf(((rotation + 270) % 360) as Placement['rotation'], false);
  const startColumn = across.column < 0 || down.column < 0 ? area.left + area.width - 1 : area.left;
  const startRow = across.row < 0 || down.row < 0 ? area.top + area.height - 1 : area.top;
  for (let y = 0; y < height; y++) {
    let column = startColumn + y * down.column;
    let row = startRow + y * down.row;
    let to = y * width * channels;
    for (let x = 0; x < width; x++) {
      if (column >= 0 && column < image.width && row >= 0 && row < image.height) {
        const from = (row * image.width + column) * channels;
        pixels[to] = image.pixels[from]!;
        if (channels === 3) {
          pixels[to + 1] = image.pixels[from + 1]!;
          pixels[to + 2] = image.pixels[from + 2]!;
        }
      }
      column += across.column;
      row += across.row;
      to += channels;
    }
  }
  return { width, height, channels, pixels };
}

/** One pixel to the right in what was turned clockwise, seen in the image; mirrored, one to the left. */
function stepOf(rotation: Placement['rotation'], flip: boolean): { column: number; row: number } {
  const sign = flip ? -1 : 1;
  if (rotation === 0) return { column: sign, row: 0 };
  if (rotation === 90) return { column: 0, row: -sign };
  if (rotation === 180) return { column: -sign, row: 0 };
  return { column: 0, row: sign };
}

function affineOf(placement: Placement, size: Size): Affine {
  const { area, rotation, flip } = placement;
  const { width: w, height: h } = area;
  const shift: Affine = { a: 1, b: 0, c: -area.left, d: 0, e: 1, f: -area.top };
  const turned: Record<Placement['rotation'], Affine> = {
    0: { a: 1, b: 0, c: 0, d: 0, e: 1, f: 0 },
    90: { a: 0, b: -1, c: h, d: 1, e: 0, f: 0 },
    180: { a: -1, b: 0, c: w, d: 0, e: -1, f: h },
    270: { a: 0, b: 1, c: 0, d: -1, e: 0, f: w },
  };
  const across = isSideways(rotation) ? h : w;
  const down = isSideways(rotation) ? w : h;
  const mirror: Affine = { a: flip ? -1 : 1, b: 0, c: flip ? across : 0, d: 0, e: 1, f: 0 };
  const scale: Affine = { a: size.width / across, b: 0, c: 0, d: 0, e: size.height / down, f: 0 };
  return chain(chain(chain(shift, turned[rotation]), mirror), scale);
}

function viewportAffine(size: Size, { source }: Viewport, picture: Size): Affine {
  const region = source ?? { x: 0, y: 0, ...size };
  const across = picture.width / Math.abs(region.width);
  const down = picture.height / Math.abs(region.height);
  return {
    a: region.width < 0 ? -across : across,
    b: 0,
    c: region.width < 0 ? (region.x + Math.abs(region.width)) * across : -region.x * across,
    d: 0,
    e: region.height < 0 ? -down : down,
    f: region.height < 0 ? (region.y + Math.abs(region.height)) * down : -region.y * down,
  };
}

/** First one, then the other. */
export function chain(first: Affine, then: Affine): Affine {
  return {
    a: then.a * first.a + then.b * first.d,
    b: then.a * first.b + then.b * first.e,
    c: then.a * first.c + then.b * first.f + then.c,
    d: then.d * first.a + then.e * first.d,
    e: then.d * first.b + then.e * first.e,
    f: then.d * first.c + then.e * first.f + then.f,
  };
}

/** @throws ArchiveError `cannot-render` for one that maps everything onto a line */
export function inverse({ a, b, c, d, e, f }: Affine): Affine {
  const determinant = a * e - b * d;
  if (!Number.isFinite(determinant) || determinant === 0) {
    throw cannotRender('The geometry of the picture has no area');
  }
  const scale = 1 / determinant;
  return {
    a: e * scale,
    b: -b * scale,
    c: (b * f - e * c) * scale,
    d: -d * scale,
    e: a * scale,
    f: (d * c - a * f) * scale,
  };
}
