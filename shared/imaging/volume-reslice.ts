/**
 * Cutting a plane or a slab out of a volume: average, maximum and minimum over the slab's depths, in modality values. Any
 * band of rows can be cut by itself, so that threads share one picture. The samples are volume-sample.ts.
 */
import type { Cut, Volume } from './volume.ts';
import type { Vec3 } from './volume-geometry.ts';
import { checkPlane, indexOf, type Plane, type Slab, slabDepths, viewDirection } from './volume-plane.ts';
import { gridOf, sampleRow } from './volume-sample.ts';
import { add, scale } from './volume-vectors.ts';

/**
 * Modality values of the plane, trilinear, NaN outside. With a slab, of the depths that lie within the volume.
 * Errors: `bad-request` for a plane or a slab that cannot be cut.
 */
export function reslice(volume: Volume, plane: Plane, slab?: Slab): Cut {
  const { width, height } = checkPlane(plane);
  const values = new Float32Array(width * height);
  resliceRows(volume, plane, slab, { from: 0, to: height }, values);
  return { width, height, values };
}

/** @param values of the whole plane, of which the rows from `from` up to `to` are filled. Errors as of reslice. */
export function resliceRows(
  volume: Volume,
  plane: Plane,
  slab: Slab | undefined,
  { from, to }: { readonly from: number; readonly to: number },
  values: Float32Array,
): void {
  const { center, right, down, spacingMm, width, height } = checkPlane(plane);
  const { depthsMm, weights } = slabDepths(volume.geometry, plane, slab);
  const grid = gridOf(volume);
  const index = indexOf(volume.geometry);
  const step = settled(index.direction(scale(right, spacingMm)), 1e-9);
  const rowStep = index.direction(scale(down, spacingMm));
  const depthStep = index.direction(viewDirection(plane));
  const middle = index.position(center);
  const { slope, intercept } = volume.modality;
  // Where the rescale turns values round, the largest of them is the smallest cell.
  const method = slope < 0 && slab !== undefined ? opposite[slab.method] : slab?.method;
  const line = new Float32Array(width);
  const counted = new Float32Array(width);
  for (let row = from; row < to; row++) {
    const target = values.subarray(row * width, (row + 1) * width);
    const inPlane = add(middle, add(scale(step, -(width - 1) / 2), scale(rowStep, row - (height - 1) / 2)));
    const startAt = (depthMm: number): Vec3 => settled(add(inPlane, scale(depthStep, depthMm)), 1e-6);
    if (depthsMm.length === 1 || method === undefined) {
      sampleRow(grid, startAt(depthsMm[0]!), step, target);
    } else {
      begin(target, method);
      counted.fill(0);
      for (const [i, depthMm] of depthsMm.entries()) {
        sampleRow(grid, startAt(depthMm), step, line);
        if (method === 'maximum') keepLargest(target, line);
        else if (method === 'minimum') keepSmallest(target, line);
        else addWeighted(target, counted, line, weights[i]!);
      }
      finish(target, counted, method);
    }
    if (slope !== 1 || intercept !== 0) rescale(target, slope, intercept);
  }
}

const opposite = { maximum: 'minimum', minimum: 'maximum', average: 'average' } as const;

/** Rounding in the lattice's inverse must not make neighbours of what is a voxel: what is as good as a whole number is one. */
function settled([x, y, z]: Vec3, tolerance: number): Vec3 {
  const settle = (value: number): number => {
    const whole = Math.round(value);
    return Math.abs(value - whole) <= tolerance ? whole : value;
  };
  return [settle(x), settle(y), settle(z)];
}

function begin(target: Float32Array, method: Slab['method']): void {
  target.fill(method === 'average' ? 0 : method === 'maximum' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY);
}

function keepLargest(target: Float32Array, line: Float32Array): void {
  for (let i = 0; i < target.length; i++) {
    const value = line[i]!;
    if (value > target[i]!) target[i] = value;
  }
}

function keepSmallest(target: Float32Array, line: Float32Array): void {
  for (let i = 0; i < target.length; i++) {
    const value = line[i]!;
    if (value < target[i]!) target[i] = value;
  }
}

function addWeighted(target: Float32Array, counted: Float32Array, line: Float32Array, weight: number): void {
  for (let i = 0; i < target.length; i++) {
    const value = line[i]!;
    if (Number.isNaN(value)) continue;
    target[i]! += value * weight;
    counted[i]! += weight;
  }
}

function finish(target: Float32Array, counted: Float32Array, method: Slab['method']): void {
  if (method === 'average') for (let i = 0; i < target.length; i++) target[i]! /= counted[i]!;
  else
    for (let i = 0; i < target.length; i++)
      if (Math.abs(target[i]!) === Number.POSITIVE_INFINITY) target[i] = Number.NaN;
}

function rescale(target: Float32Array, slope: number, intercept: number): void {
  for (let i = 0; i < target.length; i++) target[i] = target[i]! * slope + intercept;
}
