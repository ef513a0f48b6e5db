/**
 * A small rasteriser: lines, discs and filled polygons with antialiased edges, drawn as coverage into a mask and then in one colour into
 * a picture, so that a line that meets itself is nowhere denser. Coordinates are pixels, 0,0 the top left corner of the picture.
 */
import type { Picture } from './resample.ts';

export type Rgb = readonly [number, number, number];

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** What one object covers of a picture: 0 nothing to 255 all of a pixel. Only the rows and columns between the bounds are in use. */
export interface Mask {
  readonly width: number;
  readonly height: number;
  readonly coverage: Uint8Array;
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export function createMask(width: number, height: number): Mask {
  const coverage = new Uint8Array(width * height);
  return { width, height, coverage, left: width, top: height, right: 0, bottom: 0 };
}

/** A line with round ends. What lies outside of the picture takes no time, however far away it is. */
export function strokeLine(mask: Mask, from: Point, to: Point, width: number): void {
  const radius = width / 2;
  const reach = radius + 1;
  const farSquared = (radius + 0.5) ** 2;
  const clipped = clipLine(from, to, -reach, -reach, mask.width + reach, mask.height + reach);
  if (clipped === undefined) return;
  const [x1, y1, x2, y2] = clipped;
  const dx = x2 - x1;
  const dy = y2 - y1;
  const lengthSquared = dx * dx + dy * dy;
  const top = Math.max(0, Math.floor(Math.min(y1, y2) - reach));
  const bottom = Math.min(mask.height, Math.ceil(Math.max(y1, y2) + reach));
  for (let y = top; y < bottom; y++) {
    // The part of the line that comes near this row bounds the columns to look at.
    const near = nearRow(y1, y2, y - reach, y + 1 + reach);
    if (near === undefined) continue;
    const xa = x1 + dx * near[0];
    const xb = x1 + dx * near[1];
    const left = Math.max(0, Math.floor(Math.min(xa, xb) - reach));
    const right = Math.min(mask.width, Math.ceil(Math.max(xa, xb) + reach));
    for (let x = left; x < right; x++) {
      const px = x + 0.5 - x1;
      const py = y + 0.5 - y1;
      const along = lengthSquared === 0 ? 0 : Math.max(0, Math.min(1, (px * dx + py * dy) / lengthSquared));
      const across = px - along * dx;
      const down = py - along * dy;
      const squared = across * across + down * down;
      if (squared < farSquared) cover(mask, x, y, radius + 0.5 - Math.sqrt(squared));
    }
  }
}

export function strokeLines(mask: Mask, points: readonly Point[], width: number): void {
  for (let i = 1; i < points.length; i++) strokeLine(mask, points[i - 1]!, points[i]!, width);
}

/** Scan lines to a row: edges are exact across and in quarters down. */
const SCANS = 4;

/** The inside of a closed polygon by the even-odd rule; the last point joins the first. */
export function fillPolygon(mask: Mask, points: readonly Point[]): void {
  if (points.length < 3 || points.some(({ x, y }) => !Number.isFinite(x) || !Number.isFinite(y))) return;
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (const { y } of points) {
    if (y < lowest) lowest = y;
    if (y > highest) highest = y;
  }
  const top = Math.max(0, Math.floor(lowest));
  const bottom = Math.min(mask.height, Math.ceil(highest));
  const row = new Float32Array(mask.width);
  for (let y = top; y < bottom; y++) {
    row.fill(0);
    for (let scan = 0; scan < SCANS; scan++) {
      const crossings = crossingsAt(points, y + (scan + 0.5) / SCANS);
      for (let i = 0; i + 1 < crossings.length; i += 2) addSpan(row, crossings[i]!, crossings[i + 1]!);
    }
    for (let x = 0; x < mask.width; x++) if (row[x]! > 0) cover(mask, x, y, row[x]! / SCANS);
  }
}

/** Marks a whole pixel, or a part of it. */
export function cover(mask: Mask, x: number, y: number, part: number): void {
  if (!(part > 0)) return;
  const value = part >= 1 ? 255 : Math.round(part * 255);
  const at = y * mask.width + x;
  if (mask.coverage[at]! < value) mask.coverage[at] = value;
  if (x < mask.left) mask.left = x;
  if (x >= mask.right) mask.right = x + 1;
  if (y < mask.top) mask.top = y;
  if (y >= mask.bottom) mask.bottom = y + 1;
}

/** Draws what the mask covers in a colour, and empties the mask. The picture is changed; of a gray one the red counts. */
export function paint(picture: Picture, mask: Mask, [red, green, blue]: Rgb, opacity = 1): void {
  const { width, coverage } = mask;
  const { pixels, channels } = picture;
  for (let y = mask.top; y < mask.bottom; y++) {
    for (let x = mask.left; x < mask.right; x++) {
      const covered = coverage[y * width + x]!;
      if (covered === 0) continue;
      const part = (covered / 255) * opacity;
      const at = (y * width + x) * channels;
      pixels[at] = Math.round(pixels[at]! + (red - pixels[at]!) * part);
      if (channels === 3) {
        pixels[at + 1] = Math.round(pixels[at + 1]! + (green - pixels[at + 1]!) * part);
        pixels[at + 2] = Math.round(pixels[at + 2]! + (blue - pixels[at + 2]!) * part);
      }
    }
    coverage.fill(0, y * width + mask.left, y * width + mask.right);
  }
  mask.left = width;
  mask.top = mask.height;
  mask.right = 0;
  mask.bottom = 0;
}

function addSpan(row: Float32Array, from: number, to: number): void {
  const left = Math.max(0, from);
  const right = Math.min(row.length, to);
  for (let x = Math.floor(left); x < right; x++) row[x]! += Math.min(right, x + 1) - Math.max(left, x);
}

/** Where the edges of a closed polygon cross a horizontal line, from left to right. */
export function crossingsAt(points: readonly Point[], y: number): number[] {
  const crossings: number[] = [];
  let before = points.at(-1)!;
  for (const point of points) {
    if (before.y <= y !== point.y <= y) {
      crossings.push(before.x + ((y - before.y) / (point.y - before.y)) * (point.x - before.x));
    }
    before = point;
  }
  return crossings.sort((a, b) => a - b);
}

/** Between which parts (0 to 1) of the way from y1 to y2 a line lies within a band of rows. */
function nearRow(y1: number, y2: number, low: number, high: number): [number, number] | undefined {
  const dy = y2 - y1;
  if (dy === 0) return y1 >= low && y1 <= high ? [0, 1] : undefined;
  const a = (low - y1) / dy;
  const b = (high - y1) / dy;
  const from = Math.max(0, Math.min(a, b));
  const to = Math.min(1, Math.max(a, b));
  return from <= to ? [from, to] : undefined;
}

/** Liang and Barsky: the part of a line within a rectangle; undefined when there is none, or a coordinate is no number. */
function clipLine(
  from: Point,
  to: Point,
  left: number,
  top: number,
  right: number,
  bottom: number,
): [number, number, number, number] | undefined {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  if (!Number.isFinite(dx) || !Number.isFinite(dy)) return undefined;
  let start = 0;
  let end = 1;
  const sides = [
    [-dx, from.x - left],
    [dx, right - from.x],
    [-dy, from.y - top],
    [dy, bottom - from.y],
  ] as const;
  for (const [step, room] of sides) {
    if (step === 0) {
      if (room < 0) return undefined;
      continue;
    }
    const at = room / step;
    if (step < 0) start = Math.max(start, at);
    else end = Math.min(end, at);
  }
  if (start > end) return undefined;
  return [from.x + dx * start, from.y + dy * start, from.x + dx * end, from.y + dy * end];
}
