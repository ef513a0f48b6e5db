/**
 * Trilinear samples of a volume along a straight row of points in voxel numbers. A voxel reaches half its size to all
 * sides; what lies outside of all is NaN. Voxels without a value are not mixed in: they are left out, and a point that is
 * nearer to them than to others is NaN. One loop to a kind of cells: a loop that meets several is compiled for none.
 */
import type { Volume, VolumeCells } from './volume.ts';
import type { Vec3 } from './volume-geometry.ts';

/** A volume as the loops want it. */
export interface Grid {
  readonly values: VolumeCells;
  readonly columns: number;
  readonly rows: number;
  readonly slices: number;
  readonly missing: number | undefined;
}

export function gridOf({ values, missing, geometry: { columns, rows, slices } }: Volume): Grid {
  return { values, columns, rows, slices, missing };
}

/**
 * Samples at start, start + step, … as cells (not modality values), as many as `out` is long.
 * @param start, step in voxel numbers: (column, row, slice)
 */
export function sampleRow(grid: Grid, start: Vec3, step: Vec3, out: Float32Array): void {
  const { values, columns, rows, slices } = grid;
  const inside: Span = { from: 0, to: out.length };
  narrow(inside, start[0], step[0], -0.5, columns - 0.5);
  narrow(inside, start[1], step[1], -0.5, rows - 0.5);
  narrow(inside, start[2], step[2], -0.5, slices - 0.5);
  out.fill(Number.NaN, 0, inside.from);
  out.fill(Number.NaN, inside.to);
  // Between centres of voxels on all sides, where no index needs to be held back.
  const between: Span = { ...inside };
  if (Math.min(columns, rows, slices) < 2) between.to = between.from;
  narrow(between, start[0], step[0], 0, columns - 1);
  narrow(between, start[1], step[1], 0, rows - 1);
  narrow(between, start[2], step[2], 0, slices - 1);
  alone(grid, start, step, out, inside.from, between.from);
  alone(grid, start, step, out, between.to, inside.to);
  if (between.from === between.to) return;
  if (values instanceof Float32Array) inFloat32(values, grid, start, step, out, between);
  else if (!alongVoxels(values, grid, start, step, out, between)) inInt16(values, grid, start, step, out, between);
}

/** No cell of 16 bits is this. */
const NEVER = 0x10000;

interface Span {
  from: number;
  to: number;
}

/** Keeps those i of the span for which start + i * step is from low to high, both included. */
function narrow(span: Span, start: number, step: number, low: number, high: number): void {
  if (step === 0) {
    if (!(start >= low && start <= high)) span.to = span.from;
    return;
  }
  const ends = [(low - start) / step, (high - start) / step];
  span.from = Math.max(span.from, Math.min(span.to, Math.ceil(Math.min(ends[0]!, ends[1]!)) - 1));
  span.to = Math.min(span.to, Math.max(span.from, Math.floor(Math.max(ends[0]!, ends[1]!)) + 2));
  // The division rounds; what the loops will compute decides.
  const outside = (i: number): boolean => !(start + i * step >= low && start + i * step <= high);
  while (span.from < span.to && outside(span.from)) span.from++;
  while (span.to > span.from && outside(span.to - 1)) span.to--;
}

/**
 * Rows that go from voxel to voxel lie equally between their neighbours all the way: the same lines of cells are mixed, with the same
 * weights. Planes along the axes of the volume need one to four of them instead of eight.
 * @returns false when it is not such a row
 */
function alongVoxels(
  v: Int16Array,
  grid: Grid,
  start: Vec3,
  step: Vec3,
  out: Float32Array,
  { from, to }: Span,
): boolean {
  if (!(Number.isInteger(step[0]) && Number.isInteger(step[1]) && Number.isInteger(step[2]))) return false;
  const { columns, rows, slices } = grid;
  const strides = [1, columns, columns * rows];
  const last = [columns - 2, rows - 2, slices - 2];
  const lines = [0];
  const weights = [1];
  let stride = 0;
  for (let axis = 0; axis < 3; axis++) {
    const first = start[axis]! + from * step[axis]!;
    const fraction = start[axis]! - Math.floor(start[axis]!);
    // On a voxel there is no neighbour to mix with, also where one has been reached from the other side.
    const cell = fraction === 0 ? first : Math.min(Math.floor(first), last[axis]!);
    stride += step[axis]! * strides[axis]!;
    for (let line = 0, count = lines.length; line < count; line++) {
      lines[line]! += cell * strides[axis]!;
      if (fraction === 0) continue;
      lines.push(lines[line]! + strides[axis]!);
      weights.push(weights[line]! * fraction);
      weights[line]! *= 1 - fraction;
    }
  }
  if (lines.length > 4) return false;
  const missing = grid.missing ?? NEVER;
  const apart = (i: number): number =>
    sampleAt(grid, start[0] + i * step[0], start[1] + i * step[1], start[2] + i * step[2]);
  const [first, second = first!, third = first!, fourth = first!] = lines as [number, ...number[]];
  const [wa, wb = 0, wc = 0, wd = 0] = weights as [number, ...number[]];
  if (lines.length === 1) {
    for (let i = from, at = first; i < to; i++, at += stride) {
      const a = v[at]!;
      out[i] = a === missing ? Number.NaN : a;
    }
  } else if (lines.length === 2) {
    for (let i = from, at = 0; i < to; i++, at += stride) {
      const a = v[first + at]!;
      const b = v[second + at]!;
      out[i] = a === missing || b === missing ? apart(i) : a * wa + b * wb;
    }
  } else {
    for (let i = from, at = 0; i < to; i++, at += stride) {
      const a = v[first + at]!;
      const b = v[second + at]!;
      const c = v[third + at]!;
      const d = v[fourth + at]!;
      const gap = a === missing || b === missing || c === missing || d === missing;
      out[i] = gap ? apart(i) : a * wa + b * wb + c * wc + d * wd;
    }
  }
  return true;
}

function inInt16(v: Int16Array, grid: Grid, start: Vec3, step: Vec3, out: Float32Array, { from, to }: Span): void {
  const { columns, rows, slices } = grid;
  const missing = grid.missing ?? NEVER;
  const layer = columns * rows;
  const [x0, y0, z0] = start;
  const [dx, dy, dz] = step;
  const lastX = columns - 2;
  const lastY = rows - 2;
  const lastZ = slices - 2;
  let x = x0 + from * dx;
  let y = y0 + from * dy;
  let z = z0 + from * dz;
  // Added up, which is a fifth faster than multiplied and wrong by less than a thousand-millionth of a voxel.
  for (let i = from; i < to; i++, x += dx, y += dy, z += dz) {
    let cx = x | 0;
    let cy = y | 0;
    let cz = z | 0;
    if (cx > lastX) cx = lastX;
    if (cy > lastY) cy = lastY;
    if (cz > lastZ) cz = lastZ;
    const fx = x - cx;
    const fy = y - cy;
    const at = cz * layer + cy * columns + cx;
    const lower = at + columns;
    const next = at + layer;
    const nextLower = next + columns;
    const a = v[at]!;
    const b = v[lower]!;
    const c = v[next]!;
    const d = v[nextLower]!;
    const e = v[at + 1]!;
    const f = v[lower + 1]!;
    const g = v[next + 1]!;
    const h = v[nextLower + 1]!;
    if (
      a === missing ||
      b === missing ||
      c === missing ||
      d === missing ||
      e === missing ||
      f === missing ||
      g === missing ||
      h === missing
    ) {
      out[i] = sampleAt(grid, x, y, z);
      continue;
    }
    const ab = a + (e - a) * fx;
    const cd = c + (g - c) * fx;
    const near = ab + (b + (f - b) * fx - ab) * fy;
    const far = cd + (d + (h - d) * fx - cd) * fy;
    out[i] = near + (far - near) * (z - cz);
  }
}

function inFloat32(v: Float32Array, grid: Grid, start: Vec3, step: Vec3, out: Float32Array, { from, to }: Span): void {
  const { columns, rows, slices } = grid;
  const layer = columns * rows;
  const [x0, y0, z0] = start;
  const [dx, dy, dz] = step;
  const lastX = columns - 2;
  const lastY = rows - 2;
  const lastZ = slices - 2;
  let x = x0 + from * dx;
  let y = y0 + from * dy;
  let z = z0 + from * dz;
  // Added up, which is a fifth faster than multiplied and wrong by less than a thousand-millionth of a voxel.
  for (let i = from; i < to; i++, x += dx, y += dy, z += dz) {
    let cx = x | 0;
    let cy = y | 0;
    let cz = z | 0;
    if (cx > lastX) cx = lastX;
    if (cy > lastY) cy = lastY;
    if (cz > lastZ) cz = lastZ;
    const fx = x - cx;
    const fy = y - cy;
    const at = cz * layer + cy * columns + cx;
    const lower = at + columns;
    const next = at + layer;
    const nextLower = next + columns;
    const a = v[at]!;
    const b = v[lower]!;
    const c = v[next]!;
    const d = v[nextLower]!;
    const ab = a + (v[at + 1]! - a) * fx;
    const cd = c + (v[next + 1]! - c) * fx;
    const near = ab + (b + (v[lower + 1]! - b) * fx - ab) * fy;
    const far = cd + (d + (v[nextLower + 1]! - d) * fx - cd) * fy;
    const sample = near + (far - near) * (z - cz);
    // A voxel without a value is NaN and makes its neighbourhood so.
    out[i] = Number.isNaN(sample) ? sampleAt(grid, x, y, z) : sample;
  }
}

/** One by one: near the faces of the volume and beside voxels without a value. */
function alone(grid: Grid, start: Vec3, step: Vec3, out: Float32Array, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    out[i] = sampleAt(grid, start[0] + i * step[0], start[1] + i * step[1], start[2] + i * step[2]);
  }
}

function sampleAt({ values, columns, rows, slices, missing }: Grid, x: number, y: number, z: number): number {
  let sum = 0;
  let total = 0;
  // Beyond the centres of the outermost voxels their value holds.
  const px = Math.max(0, Math.min(columns - 1, x));
  const py = Math.max(0, Math.min(rows - 1, y));
  const pz = Math.max(0, Math.min(slices - 1, z));
  for (let corner = 0; corner < 8; corner++) {
    const cx = Math.floor(px) + (corner & 1);
    const cy = Math.floor(py) + ((corner >> 1) & 1);
    const cz = Math.floor(pz) + (corner >> 2);
    const weight = (1 - Math.abs(px - cx)) * (1 - Math.abs(py - cy)) * (1 - Math.abs(pz - cz));
    if (weight === 0) continue;
    const value = values[(cz * rows + cy) * columns + cx]!;
    if (value === missing || Number.isNaN(value)) continue;
    sum += value * weight;
    total += weight;
  }
  return total >= 0.5 ? sum / total : Number.NaN;
}
