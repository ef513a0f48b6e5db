/**
 * Draws the graphics of a presentation state into a picture (PS3.3 §C.10.5): shapes along the way from the image to the picture, at
 * the picture's own resolution, and texts upright whichever way the image was turned. What they are is presentation-graphics.ts.
 */
import { GLYPH_BOTTOM, GLYPH_COLUMNS, GLYPH_TOP, type GlyphRow, glyphsOf } from './glyphs.ts';
import { type OverlayPlane, outlineOf, overlayBits } from './overlay.ts';
import { type Affine, inverse, type PlacedPicture } from './presentation-geometry.ts';
import type { GraphicMark, MarkUnits, TextMark } from './presentation-graphics.ts';
import {
  cover,
  createMask,
  fillPolygon,
  type Mask,
  type Point,
  paint,
  type Rgb,
  strokeLine,
  strokeLines,
} from './raster.ts';
import type { Picture } from './resample.ts';

export type Mark = GraphicMark | TextMark | BitmapMark;

/** An overlay plane that a layer shows (§C.11.7). */
export interface BitmapMark {
  readonly kind: 'bitmap';
  readonly plane: OverlayPlane;
  readonly color: Rgb;
}

const ADVANCE = GLYPH_COLUMNS + 1;
const LINE_HEIGHT = GLYPH_BOTTOM - GLYPH_TOP + 2;
const MAX_LINES = 60;
const MAX_LINE_LENGTH = 300;
/** Of the shorter side of a picture: at 512 pixels a capital letter is 14 high and a line 1.5 wide. */
const PIXELS_TO_A_SCALE = 256;
const PIXELS_TO_A_LINE = 340;

/** The picture with the marks in it, in their order. Colour where a mark has one; the given picture is not changed. */
export function drawMarks(placed: PlacedPicture, marks: readonly Mark[]): Picture {
  if (marks.length === 0) return placed.picture;
  const isColored = marks.some((mark) => isColor(mark.color) || (mark.kind === 'graphic' && isColor(mark.fill)));
  const picture = isColored ? inColor(placed.picture) : { ...placed.picture, pixels: placed.picture.pixels.slice() };
  const { width, height } = picture;
  const canvas: Canvas = {
    picture,
    mask: createMask(width, height),
    lineWidth: Math.max(1, Math.min(width, height) / PIXELS_TO_A_LINE),
    textScale: Math.max(1, Math.round(Math.min(width, height) / PIXELS_TO_A_SCALE)),
    to: { image: placed.fromImage, display: placed.fromDisplay },
  };
  for (const mark of marks) {
    if (mark.kind === 'graphic') drawGraphic(canvas, mark);
    else if (mark.kind === 'text') drawTextMark(canvas, mark);
    else drawBitmap(canvas, mark);
  }
  return picture;
}

interface Canvas {
  readonly picture: Picture;
  readonly mask: Mask;
  readonly lineWidth: number;
  readonly textScale: number;
  readonly to: Readonly<Record<MarkUnits, Affine>>;
}

const isColor = (color: Rgb | undefined): boolean =>
  color !== undefined && (color[0] !== color[1] || color[1] !== color[2]);

export function inColor(picture: Picture): Picture {
  const { width, height, channels, pixels } = picture;
  if (channels === 3) return { ...picture, pixels: pixels.slice() };
  const colored = new Uint8Array(width * height * 3);
  for (let i = 0, to = 0; i < pixels.length; i++, to += 3) {
    const gray = pixels[i]!;
    colored[to] = gray;
    colored[to + 1] = gray;
    colored[to + 2] = gray;
  }
  return { width, height, channels: 3, pixels: colored };
}

const along = ({ a, b, c, d, e, f }: Affine, { x, y }: Point): Point => ({
  x: a * x + b * y + c,
  y: d * x + e * y + f,
});

function drawGraphic(canvas: Canvas, mark: GraphicMark): void {
  const { picture, mask, lineWidth } = canvas;
  const to = canvas.to[mark.units];
  if (mark.type === 'POINT') {
    for (const point of mark.points) {
      const at = along(to, point);
      strokeLine(mask, at, at, 4 * lineWidth);
    }
    paint(picture, mask, mark.color);
    return;
  }
  const outline = outlinePoints(mark, to);
  if (mark.fill !== undefined) {
    fillPolygon(mask, outline);
    paint(picture, mask, mark.fill);
  }
  strokeLines(mask, outline, lineWidth);
  paint(picture, mask, mark.color);
}

function outlinePoints({ type, units, points }: GraphicMark, to: Affine): Point[] {
  const placed = points.map((point) => along(to, point));
  if (type === 'POLYLINE') return placed;
  if (type === 'INTERPOLATED') return smooth(placed);
  const [p, q, r, s] = placed as [Point, Point, Point, Point];
  if (type === 'ELLIPSE') {
    const center = { x: (p.x + q.x) / 2, y: (p.y + q.y) / 2 };
    return ellipse(center, { x: (q.x - p.x) / 2, y: (q.y - p.y) / 2 }, { x: (s.x - r.x) / 2, y: (s.y - r.y) / 2 });
  }
  const radius = { x: q.x - p.x, y: q.y - p.y };
  // Fractions of the area are no lengths: a circle among them is one of the picture.
  if (units === 'display') return ellipse(p, radius, { x: -radius.y, y: radius.x });
  const [center, edge] = points as [Point, Point];
  const turned = { x: center.x - (edge.y - center.y), y: center.y + (edge.x - center.x) };
  const across = along(to, turned);
  return ellipse(p, radius, { x: across.x - p.x, y: across.y - p.y });
}

function ellipse(center: Point, u: Point, v: Point): Point[] {
  const largest = Math.max(Math.hypot(u.x, u.y), Math.hypot(v.x, v.y));
  const count = Math.max(16, Math.min(720, Math.ceil(2 * largest) || 16));
  return Array.from({ length: count + 1 }, (_, i) => {
    const angle = (2 * Math.PI * (i % count)) / count;
    const cos = Math.cos(angle);
    const sin = Math.sin(angle);
    return { x: center.x + u.x * cos + v.x * sin, y: center.y + u.y * cos + v.y * sin };
  });
}

const STEPS = 12;

/** A curve through all points (Catmull-Rom); closed where the last point is the first. */
function smooth(points: readonly Point[]): Point[] {
  const last = points.length - 1;
  const isClosed = last > 1 && points[0]!.x === points[last]!.x && points[0]!.y === points[last]!.y;
  const at = (i: number): Point => {
    if (isClosed) return points[((i % last) + last) % last]!;
    return points[Math.max(0, Math.min(last, i))]!;
  };
  const curve: Point[] = [];
  for (let i = 0; i < last; i++) {
    for (let step = 0; step < STEPS; step++) curve.push(between(at(i - 1), at(i), at(i + 1), at(i + 2), step / STEPS));
  }
  curve.push(at(last));
  return curve;
}

function between(p0: Point, p1: Point, p2: Point, p3: Point, t: number): Point {
  const mix = (a: number, b: number, c: number, d: number): number =>
    b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  return { x: mix(p0.x, p1.x, p2.x, p3.x), y: mix(p0.y, p1.y, p2.y, p3.y) };
}

function drawTextMark(canvas: Canvas, mark: TextMark): void {
  const { picture, mask, lineWidth } = canvas;
  const lines = mark.lines.slice(0, MAX_LINES).map((line) => glyphsOf(line.trimEnd().slice(0, MAX_LINE_LENGTH)));
  const longest = Math.max(0, ...lines.map((glyphs) => glyphs.length));
  const anchor = mark.anchor && along(canvas.to[mark.anchor.units], mark.anchor.at);
  const corners = mark.box?.corners.map((corner) => along(canvas.to[mark.box!.units], corner));
  const box = corners && boxOf(corners[0]!, corners[1]!);
  if (anchor !== undefined && mark.anchor?.isVisible) {
    const arm = 3 * lineWidth;
    strokeLine(mask, { x: anchor.x - arm, y: anchor.y }, { x: anchor.x + arm, y: anchor.y }, lineWidth);
    strokeLine(mask, { x: anchor.x, y: anchor.y - arm }, { x: anchor.x, y: anchor.y + arm }, lineWidth);
    if (box !== undefined) {
      const near = {
        x: Math.max(box.left, Math.min(anchor.x, box.right)),
        y: Math.max(box.top, Math.min(anchor.y, box.bottom)),
      };
      strokeLine(mask, near, anchor, lineWidth);
    }
    paint(picture, mask, mark.color);
  }
  if (longest === 0) return;
  const scale = textScaleOf(canvas, box, longest, lines.length);
  const height = lines.length * LINE_HEIGHT * scale;
  const start =
    box === undefined
      ? withinPicture(
          picture,
          { x: anchor!.x + 4 * scale, y: anchor!.y - height / 2 },
          longest * ADVANCE * scale,
          height,
        )
      : { x: box.left, y: box.top };
  const room = box === undefined ? longest * ADVANCE * scale : box.right - box.left;
  const justification = mark.box?.justification ?? 'LEFT';
  const left = (glyphs: readonly GlyphRow[][]): number => {
    const spare = room - glyphs.length * ADVANCE * scale;
    return Math.round(start.x + (justification === 'LEFT' ? 0 : justification === 'RIGHT' ? spare : spare / 2));
  };
  const rim = Math.max(1, Math.floor(scale / 2));
  for (const ink of ['rim', 'letter'] as const) {
    for (const [i, glyphs] of lines.entries()) {
      const top = Math.round(start.y) + (i * LINE_HEIGHT - GLYPH_TOP) * scale;
      coverGlyphs(mask, glyphs, { x: left(glyphs), y: top }, scale, ink === 'rim' ? rim : 0);
    }
    // Read on any ground: a rim of the other end of the scale.
    paint(picture, mask, ink === 'letter' ? mark.color : brightness(mark.color) > 127 ? [0, 0, 0] : [255, 255, 255]);
  }
}

const brightness = ([red, green, blue]: Rgb): number => 0.299 * red + 0.587 * green + 0.114 * blue;

interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Upright, whichever corners they have become. */
const boxOf = (a: Point, b: Point): Box => ({
  left: Math.min(a.x, b.x),
  right: Math.max(a.x, b.x),
  top: Math.min(a.y, b.y),
  bottom: Math.max(a.y, b.y),
});

/** Of the usual size, smaller to fit into its box, never too small to be drawn: a box too small is exceeded, as §C.10.5 allows. */
function textScaleOf(canvas: Canvas, box: Box | undefined, longest: number, lines: number): number {
  if (box === undefined) return canvas.textScale;
  const across = (box.right - box.left) / (longest * ADVANCE);
  const down = (box.bottom - box.top) / (lines * LINE_HEIGHT);
  return Math.max(1, Math.min(canvas.textScale, Math.floor(Math.min(across, down)) || 1));
}

function withinPicture({ width, height }: Picture, at: Point, textWidth: number, textHeight: number): Point {
  return {
    x: Math.max(0, Math.min(at.x, width - textWidth)),
    y: Math.max(0, Math.min(at.y, height - textHeight)),
  };
}

function coverGlyphs(mask: Mask, glyphs: readonly GlyphRow[][], at: Point, scale: number, rim: number): void {
  for (const [position, glyph] of glyphs.entries()) {
    for (const { row, bits } of glyph) {
      for (let column = 0; column < GLYPH_COLUMNS; column++) {
        if ((bits & (0x10 >> column)) === 0) continue;
        const x = at.x + (position * ADVANCE + column) * scale;
        coverSquare(mask, x - rim, at.y + row * scale - rim, scale + 2 * rim);
      }
    }
  }
}

function coverSquare(mask: Mask, left: number, top: number, side: number): void {
  const right = Math.min(mask.width, left + side);
  const bottom = Math.min(mask.height, top + side);
  for (let y = Math.max(0, top); y < bottom; y++) for (let x = Math.max(0, left); x < right; x++) cover(mask, x, y, 1);
}

/** Each pixel of the picture takes as much of the colour as set bits lie under it. */
function drawBitmap(canvas: Canvas, { plane, color }: BitmapMark): void {
  const { picture, mask } = canvas;
  const { left, top, rows, columns } = plane;
  const set = overlayBits(plane);
  const bits = plane.type === 'region' ? outlineOf(set, plane) : set;
  const back = inverse(canvas.to.image);
  const perPixel = Math.max(Math.abs(back.a) + Math.abs(back.b), Math.abs(back.d) + Math.abs(back.e));
  const samples = Math.max(1, Math.min(4, Math.ceil(perPixel)));
  const share = 1 / (samples * samples);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      let covered = 0;
      for (let sample = 0; sample < samples * samples; sample++) {
        const px = x + ((sample % samples) + 0.5) / samples;
        const py = y + (Math.floor(sample / samples) + 0.5) / samples;
        const column = Math.floor(back.a * px + back.b * py + back.c) - left;
        const row = Math.floor(back.d * px + back.e * py + back.f) - top;
        if (column < 0 || row < 0 || column >= columns || row >= rows) continue;
        covered += bits[row * columns + column]!;
      }
      if (covered > 0) cover(mask, x, y, covered * share);
    }
  }
  paint(picture, mask, color);
}
