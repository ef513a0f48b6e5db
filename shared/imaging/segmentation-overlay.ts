/**
 * Lays segments over a picture of the image they lie on, each in its colour, as far as a pixel belongs to it (PS3.3 §C.8.20.2). Where the
 * pixels do not lie on each other, each takes the segment's nearest one. What lies where is segmentation.ts.
 */
import { decodeFrame, memoryNeededBytes } from './codecs.ts';
import type { PixelValues } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';
import { inColor } from './presentation-drawing.ts';
import type { Affine } from './presentation-geometry.ts';
import type { Rgb } from './raster.ts';
import type { Picture } from './resample.ts';

/** One frame of a segmentation, as it is stored. */
export interface SegmentFrame {
  readonly frame: Uint8Array;
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
  /** Undefined: pixel lies on pixel. */
  readonly fromImage: Affine | undefined;
  /** Of one segment, with the value that covers a pixel wholly; or of each value, those without a colour being background. */
  readonly ink:
    | { readonly kind: 'one'; readonly color: Rgb; readonly full: number }
    | { readonly kind: 'labels'; readonly colors: ReadonlyMap<number, Rgb> };
}

export interface SegmentOverlay {
  readonly frames: readonly SegmentFrame[];
  /** 0 to 1, of what is covered wholly. */
  readonly opacity: number;
}

/** At a time, beside the picture. */
export const overlayNeedsBytes = ({ frames }: SegmentOverlay): number =>
  Math.max(0, ...frames.map(({ attributes, transferSyntaxUid }) => memoryNeededBytes(attributes, transferSyntaxUid)));

/** In colour; the given picture is not changed. Errors of decoding. */
export async function overlaySegments(picture: Picture, { frames, opacity }: SegmentOverlay): Promise<Picture> {
  const drawn = inColor(picture);
  for (const { frame, transferSyntaxUid, attributes, fromImage, ink } of frames) {
    const { values, columns, rows } = await decodeFrame(frame, transferSyntaxUid, attributes);
    const positions = fromImage === undefined ? undefined : positionsOf(drawn, fromImage, columns, rows);
    if (ink.kind === 'one') blendOne(drawn.pixels, values, positions, ink.color, opacity / ink.full);
    else blendLabels(drawn.pixels, values, positions, ink.colors, opacity);
  }
  return drawn;
}

/** For each pixel of the picture the nearest one of the segmentation; -1 where that has none. */
function positionsOf({ width, height }: Picture, map: Affine, columns: number, rows: number): Int32Array {
  const positions = new Int32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const column = Math.floor(map.a * (x + 0.5) + map.b * (y + 0.5) + map.c);
      const row = Math.floor(map.d * (x + 0.5) + map.e * (y + 0.5) + map.f);
      const isInside = column >= 0 && row >= 0 && column < columns && row < rows;
      positions[i] = isInside ? row * columns + column : -1;
    }
  }
  return positions;
}

function blendOne(
  pixels: Uint8Array,
  values: PixelValues,
  positions: Int32Array | undefined,
  [red, green, blue]: Rgb,
  perValue: number,
): void {
  const count = pixels.length / 3;
  // What a pixel becomes under the value 1, which is the only one of a binary segmentation.
  const [reds, greens, blues] = [red, green, blue].map((over) =>
    Uint8Array.from({ length: 256 }, (_, under) => mixed(under, over, Math.min(1, perValue))),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  for (let i = 0, to = 0; i < count; i++, to += 3) {
    const at = positions === undefined ? i : positions[i]!;
    const value = at < 0 ? 0 : values[at]!;
    if (value <= 0) continue;
    if (value === 1) {
      pixels[to] = reds[pixels[to]!]!;
      pixels[to + 1] = greens[pixels[to + 1]!]!;
      pixels[to + 2] = blues[pixels[to + 2]!]!;
      continue;
    }
    const part = Math.min(1, value * perValue);
    pixels[to] = mixed(pixels[to]!, red, part);
    pixels[to + 1] = mixed(pixels[to + 1]!, green, part);
    pixels[to + 2] = mixed(pixels[to + 2]!, blue, part);
  }
}

function blendLabels(
  pixels: Uint8Array,
  values: PixelValues,
  positions: Int32Array | undefined,
  colors: ReadonlyMap<number, Rgb>,
  opacity: number,
): void {
  const count = pixels.length / 3;
  let label = Number.NaN;
  let color: Rgb | undefined;
  for (let i = 0, to = 0; i < count; i++, to += 3) {
    const at = positions === undefined ? i : positions[i]!;
    const value = at < 0 ? Number.NaN : values[at]!;
    // Labels lie next to their like.
    if (value !== label) {
      label = value;
      color = colors.get(value);
    }
    if (color === undefined) continue;
    pixels[to] = mixed(pixels[to]!, color[0], opacity);
    pixels[to + 1] = mixed(pixels[to + 1]!, color[1], opacity);
    pixels[to + 2] = mixed(pixels[to + 2]!, color[2], opacity);
  }
}

/** Rounded: both are 0 to 255. */
const mixed = (under: number, over: number, part: number): number => (under + (over - under) * part + 0.5) | 0;
