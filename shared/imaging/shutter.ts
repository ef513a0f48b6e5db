/**
 * Display shutters (PS3.3 §C.7.6.11) and bitmap display shutters (§C.7.6.15): which parts of an image are hidden, and hiding them.
 * The same of an image and of a presentation state, whose attributes are the same. Of several shapes only what lies within all is shown.
 */
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { rgbOfLab } from './cie-lab.ts';
import { numbers } from './image-attributes.ts';
import { type OverlayPlane, overlayBits } from './overlay.ts';
import { crossingsAt, type Point, type Rgb } from './raster.ts';
import type { Picture } from './resample.ts';

/** Positions are pixels of the image, the centre of its first one being 1,1; what lies on an edge is shown. */
export interface Shutter {
  readonly rectangle?: {
    readonly left: number;
    readonly right: number;
    readonly upper: number;
    readonly lower: number;
  };
  /** An ellipse where pixels are not square: its radius counts along a row. */
  readonly circle?: {
    readonly x: number;
    readonly y: number;
    readonly radiusAcross: number;
    readonly radiusDown: number;
  };
  readonly polygon?: readonly Point[];
  /** Its bits of 1 hide. */
  readonly bitmap?: OverlayPlane;
  /** In place of what is hidden: of a gray picture, 0 black to 255. */
  readonly gray: number;
  /** Of a picture in colour; `gray` where there is none. */
  readonly color?: Rgb;
}

const MAX_VERTICES = 4096;

/**
 * The shutter that a data set asks for, undefined without one. A shape whose attributes are missing, make no shape, or would hide the
 * whole image is left out with a sentence in `warnings`: fields that nobody filled in must not black an image out.
 * @param overlays of the same data set, among which a bitmap shutter is sought
 */
export function shutterOf(
  metadata: DicomJson,
  { rows, columns }: { readonly rows: number; readonly columns: number },
  overlays: readonly OverlayPlane[] = [],
): { readonly shutter: Shutter | undefined; readonly warnings: readonly string[] } {
  const shapes = (metadata['00181600']?.Value ?? []).map((shape) => String(shape).trim().toUpperCase());
  const candidates = {
    rectangle: shapes.includes('RECTANGULAR') ? (rectangleOf(metadata, rows, columns) ?? 'bad') : undefined,
    circle: shapes.includes('CIRCULAR') ? (circleOf(metadata) ?? 'bad') : undefined,
    polygon: shapes.includes('POLYGONAL') ? (polygonOf(metadata) ?? 'bad') : undefined,
    bitmap: shapes.includes('BITMAP') ? (bitmapOf(metadata, overlays) ?? 'bad') : undefined,
  };
  const usable = Object.fromEntries(
    Object.entries(candidates).filter(([, shape]) => shape !== undefined && shape !== 'bad'),
  ) as Partial<Pick<Shutter, keyof typeof candidates>>;
  const warnings = Object.entries(candidates).flatMap(([name, shape]) =>
    shape === 'bad' ? [`The ${name} of the display shutter makes no shape and is not applied.`] : [],
  );
  if (Object.keys(usable).length === 0) return { shutter: undefined, warnings };
  const [value = 0] = numbers(metadata['00181622']);
  const [lightness, a, b] = numbers(metadata['00181624']);
  const color = lightness === undefined || a === undefined || b === undefined ? undefined : rgbOfLab([lightness, a, b]);
  return { shutter: { ...usable, gray: grayOf(value), ...(color && { color }) }, warnings };
}

/** A P-value of 16 bits. */
const grayOf = (value: number): number => (value >= 0 && value <= 65535 ? Math.round(value / 257) : 0);

function rectangleOf(metadata: DicomJson, rows: number, columns: number): Shutter['rectangle'] {
  const edge = (tag: string): number => numbers(metadata[tag])[0] ?? Number.NaN;
  const [left, right, upper, lower] = [edge('00181602'), edge('00181604'), edge('00181606'), edge('00181608')];
  const showsAny = right >= left && lower >= upper && right >= 1 && left <= columns && lower >= 1 && upper <= rows;
  return showsAny ? { left, right, upper, lower } : undefined;
}

function circleOf(metadata: DicomJson): Shutter['circle'] {
  const [y = Number.NaN, x = Number.NaN] = numbers(metadata['00181610']);
  const [radius = Number.NaN] = numbers(metadata['00181612']);
  if (!(Number.isFinite(x) && Number.isFinite(y) && radius > 0)) return undefined;
  return { x, y, radiusAcross: radius, radiusDown: radius / pixelAspectOf(metadata) };
}

/** Height of a pixel divided by its width (PS3.3 §C.7.6.3.1.7: vertical first, as spacings are). */
function pixelAspectOf(metadata: DicomJson): number {
  for (const tag of ['00280034', '00280030', '00181164']) {
    const [down, across] = numbers(metadata[tag]);
    if (down !== undefined && across !== undefined && down > 0 && across > 0) return down / across;
  }
  return 1;
}

function polygonOf(metadata: DicomJson): readonly Point[] | undefined {
  const values = numbers(metadata['00181620']);
  const count = values.length / 2;
  if (count < 3 || count > MAX_VERTICES || !Number.isInteger(count) || !values.every(Number.isFinite)) return undefined;
  return Array.from({ length: count }, (_, i) => ({ x: values[2 * i + 1]!, y: values[2 * i]! }));
}

function bitmapOf(metadata: DicomJson, overlays: readonly OverlayPlane[]): OverlayPlane | undefined {
  const [group] = numbers(metadata['00181623']);
  return overlays.find((overlay) => overlay.group === group && overlay.source.kind === 'data');
}

/**
 * Hides parts of a picture of the whole image, which is changed; the picture may have fewer pixels than the image.
 * A pixel is hidden when its centre is.
 */
export function applyShutter(
  picture: Picture,
  shutter: Shutter,
  image: { readonly rows: number; readonly columns: number },
): void {
  const { width, height } = picture;
  const across = image.columns / width;
  const down = image.rows / height;
  for (let row = 0; row < height; row++) {
    let at = 0;
    for (const [from, to] of shownSpans(shutter, (row + 0.5) * down + 0.5)) {
      const first = Math.max(at, Math.ceil((from - 0.5) / across - 0.5 - TOLERANCE));
      const end = Math.min(width, Math.floor((to - 0.5) / across - 0.5 + TOLERANCE) + 1);
      if (end <= first) continue;
      hide(picture, shutter, row, at, first);
      at = end;
    }
    hide(picture, shutter, row, at, width);
  }
  if (shutter.bitmap !== undefined) hideBitmap(picture, shutter, shutter.bitmap, across, down);
}

/** Of a pixel: positions are whole or decimal numbers, and a centre on an edge is inside. */
const TOLERANCE = 1e-5;
const BESIDE = 1e-10;

type Span = readonly [from: number, to: number];

/** What is shown of the row at `y`, from left to right. */
function shownSpans({ rectangle, circle, polygon }: Shutter, y: number): readonly Span[] {
  let from = Number.NEGATIVE_INFINITY;
  let to = Number.POSITIVE_INFINITY;
  if (rectangle !== undefined) {
    if (y < rectangle.upper - TOLERANCE || y > rectangle.lower + TOLERANCE) return [];
    from = rectangle.left;
    to = rectangle.right;
  }
  if (circle !== undefined) {
    const part = (y - circle.y) / circle.radiusDown;
    if (Math.abs(part) > 1) return [];
    const half = circle.radiusAcross * Math.sqrt(1 - part * part);
    from = Math.max(from, circle.x - half);
    to = Math.min(to, circle.x + half);
  }
  if (polygon === undefined) return [[from, to]];
  return polygonSpans(polygon, y).map(([left, right]) => [Math.max(from, left), Math.min(to, right)] as const);
}

/** Just above, just below, and edges that run along the row: all of them belong to the polygon, whichever side they bound. */
function polygonSpans(polygon: readonly Point[], y: number): Span[] {
  const spans: Span[] = [];
  for (const side of [-BESIDE, BESIDE]) {
    const crossings = crossingsAt(polygon, y + side);
    for (let i = 0; i + 1 < crossings.length; i += 2) spans.push([crossings[i]!, crossings[i + 1]!]);
  }
  polygon.forEach((point, i) => {
    const next = polygon[(i + 1) % polygon.length]!;
    if (Math.abs(point.y - y) < TOLERANCE && point.y === next.y) {
      spans.push([Math.min(point.x, next.x), Math.max(point.x, next.x)]);
    }
  });
  spans.sort((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [from, to] of spans) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  return joined;
}

function hide({ width, channels, pixels }: Picture, shutter: Shutter, row: number, from: number, to: number): void {
  if (to <= from) return;
  const { gray, color = [gray, gray, gray] } = shutter;
  const start = (row * width + from) * channels;
  const end = (row * width + to) * channels;
  if (channels === 1) {
    pixels.fill(gray, start, end);
    return;
  }
  for (let at = start; at < end; at += 3) {
    pixels[at] = color[0];
    pixels[at + 1] = color[1];
    pixels[at + 2] = color[2];
  }
}

function hideBitmap(picture: Picture, shutter: Shutter, bitmap: OverlayPlane, across: number, down: number): void {
  const bits = overlayBits(bitmap);
  for (let row = 0; row < picture.height; row++) {
    const y = Math.floor((row + 0.5) * down) - bitmap.top;
    if (y < 0 || y >= bitmap.rows) continue;
    for (let column = 0; column < picture.width; column++) {
      const x = Math.floor((column + 0.5) * across) - bitmap.left;
      if (x >= 0 && x < bitmap.columns && bits[y * bitmap.columns + x] === 1)
        hide(picture, shutter, row, column, column + 1);
    }
  }
}
