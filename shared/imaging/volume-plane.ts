/**
 * Planes through a volume and slabs about them, in the patient's coordinates: how they are placed, turned and made to
 * cover a volume, and at which depths a slab is sampled. Cutting is volume-reslice.ts.
 */
import { ArchiveError } from '../errors.ts';
import { centerOf, cornersOf, type Vec3, type VolumeGeometry } from './volume-geometry.ts';
import { add, cross, dot, length, normalized, rotated, scale, subtract } from './volume-vectors.ts';

export interface Plane {
  /** The middle of the picture: for an even width between its two middle columns. */
  readonly center: Vec3;
  /** Unit vectors, perpendicular to each other. */
  readonly right: Vec3;
  readonly down: Vec3;
  /** Of a pixel, in both directions. */
  readonly spacingMm: number;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
}

/** What lies within half the thickness on both sides of a plane. */
export interface Slab {
  readonly thicknessMm: number;
  readonly method: 'average' | 'maximum' | 'minimum';
}

/** What a plane may measure: as large as the largest matrix of a detector, and no more than a thread does in its time. */
const MAX_PLANE_PIXELS = 16 * 1024 * 1024;
const MAX_SLAB_DEPTHS = 4096;
/** Of one picture, pixels times depths: two threads take some ten seconds for as many. */
const MAX_SAMPLES = 2 ** 30;
const UNIT_TOLERANCE = 1e-6;

/** The way in which one looks: from the eye into the picture. */
export const viewDirection = ({ right, down }: Plane): Vec3 => cross(right, down);

/** A plane turned about an axis through a point, by the right-hand rule; what turns is the plane, the volume stays. */
export function rotatePlane(plane: Plane, point: Vec3, axis: Vec3, degrees: number): Plane {
  if (!Number.isFinite(degrees) || !(length(axis) > 0)) {
    throw new ArchiveError('bad-request', 'A plane turns about an axis with a direction, by a finite angle');
  }
  const radians = (degrees * Math.PI) / 180;
  return {
    ...plane,
    center: add(point, rotated(subtract(plane.center, point), axis, radians)),
    right: normalized(rotated(plane.right, axis, radians)),
    down: normalized(rotated(plane.down, axis, radians)),
  };
}

/**
 * A plane of the given directions that shows all of the volume: its middle is over the middle of the volume at the depth of `through` (default:
 * the volume's middle), its pixels as fine as the finest side of a voxel or `spacingMm`.
 * @param right need not be of unit length, nor need `down` be perpendicular to it: it is made so
 */
export function coveringPlane(
  geometry: VolumeGeometry,
  right: Vec3,
  down: Vec3,
  options: { readonly through?: Vec3; readonly spacingMm?: number } = {},
): Plane {
  const across = normalized(right);
  const downwards = normalized(subtract(down, scale(across, dot(down, across))));
  const middle = centerOf(geometry);
  const depth = normalized(cross(across, downwards));
  const center = add(middle, scale(depth, dot(subtract(options.through ?? middle, middle), depth)));
  const spacingMm = options.spacingMm ?? finestSpacingMm(geometry);
  const corners = cornersOf(geometry);
  const pixels = (direction: Vec3): number => {
    const reachMm = Math.max(...corners.map((corner) => Math.abs(dot(subtract(corner, middle), direction))));
    return Math.max(1, Math.ceil((2 * reachMm) / spacingMm - 1e-6));
  };
  return checkPlane({
    center,
    right: across,
    down: downwards,
    spacingMm,
    width: pixels(across),
    height: pixels(downwards),
  });
}

/** Of the three distances between neighbouring voxels the smallest. */
export function finestSpacingMm({ columnStep, rowStep, sliceStep }: VolumeGeometry): number {
  return Math.min(length(columnStep), length(rowStep), length(sliceStep));
}

/** Errors: `bad-request` for a plane without directions, size or place, or one that is too large. */
export function checkPlane(plane: Plane): Plane {
  const { center, right, down, spacingMm, width, height } = plane;
  const off = Math.max(Math.abs(length(right) - 1), Math.abs(length(down) - 1), Math.abs(dot(right, down)));
  if (!(off <= UNIT_TOLERANCE)) {
    throw new ArchiveError('bad-request', 'A plane has two directions that are perpendicular to each other');
  }
  if (![...center, spacingMm].every(Number.isFinite) || spacingMm <= 0) {
    throw new ArchiveError('bad-request', 'A plane has a finite centre and pixels of a positive size');
  }
  if (![width, height].every((side) => Number.isInteger(side) && side >= 1) || width * height > MAX_PLANE_PIXELS) {
    throw new ArchiveError('bad-request', `A plane has 1 to ${MAX_PLANE_PIXELS} pixels; make them larger`, {
      width,
      height,
    });
  }
  return plane;
}

/** Depths beside the plane, ascending, and what each counts in an average; the weights of a slab's depths add up to 1. */
export interface SlabDepths {
  readonly depthsMm: readonly number[];
  readonly weights: readonly number[];
}

/**
 * Where a slab is sampled so that its maximum, minimum and average are those of the interpolated volume: across voxel layers that
 * are parallel to the plane, on each layer and on both faces, which is exact; otherwise evenly, a voxel at most from one to the next. Averages are by the
 * trapezoidal rule. Errors: `bad-request` for a thickness that is negative, not finite, or takes more samples than one picture may.
 */
export function slabDepths(geometry: VolumeGeometry, plane: Plane, slab: Slab | undefined): SlabDepths {
  const thicknessMm = slab?.thicknessMm ?? 0;
  if (!Number.isFinite(thicknessMm) || thicknessMm < 0) {
    throw new ArchiveError('bad-request', 'A slab has a thickness of 0 mm or more');
  }
  if (thicknessMm === 0) return { depthsMm: [0], weights: [1] };
  const voxels = indexOf(geometry);
  const depth = viewDirection(plane);
  const perMm = voxels.direction(depth);
  const faces = [-thicknessMm / 2, thicknessMm / 2];
  const layered = perMm.findIndex((component, axis) => {
    const others = [plane.right, plane.down].map((side) => voxels.direction(side)[axis]! * plane.spacingMm);
    return Math.abs(component) > 1e-9 && others.every((other) => Math.abs(other) * 65536 < 1e-3);
  });
  const straight = layered >= 0 && perMm.every((component, axis) => axis === layered || Math.abs(component) < 1e-9);
  const depthsMm = straight
    ? layersWithin(voxels.position(plane.center)[layered]!, perMm[layered]!, faces as [number, number])
    : evenly(faces as [number, number], Math.ceil(thicknessMm * length(perMm)) + 1);
  if (depthsMm.length > MAX_SLAB_DEPTHS) throw tooThick();
  if (depthsMm.length * plane.width * plane.height > MAX_SAMPLES) throw tooMuch();
  return { depthsMm, weights: trapezoidal(depthsMm, thicknessMm) };
}

const tooThick = () =>
  new ArchiveError('bad-request', `A slab may reach through ${MAX_SLAB_DEPTHS} layers of voxels; make it thinner`);

const tooMuch = () =>
  new ArchiveError('bad-request', `A slab may take ${MAX_SAMPLES} samples; make it thinner, or its pixels larger`);

/** Both faces, and between them the depths at which the coordinate `start + depth * perMm` is a whole number. */
function layersWithin(start: number, perMm: number, [from, to]: readonly [number, number]): number[] {
  const ends = [start + from * perMm, start + to * perMm].sort((a, b) => a - b);
  const [low, high] = [ends[0]!, ends[1]!];
  if (high - low > MAX_SLAB_DEPTHS) throw tooThick();
  const depths = [from, to];
  for (let layer = Math.ceil(low + 1e-6); layer < high - 1e-6; layer++) depths.push((layer - start) / perMm);
  return depths.sort((a, b) => a - b);
}

function evenly([from, to]: readonly [number, number], count: number): number[] {
  if (count > MAX_SLAB_DEPTHS) throw tooThick();
  const steps = Math.max(1, count - 1);
  return Array.from({ length: steps + 1 }, (_, i) => from + ((to - from) * i) / steps);
}

function trapezoidal(depths: readonly number[], thickness: number): number[] {
  return depths.map((depth, i) => {
    const before = depth - (depths[i - 1] ?? depth);
    const after = (depths[i + 1] ?? depth) - depth;
    return (before + after) / 2 / thickness;
  });
}

/** From millimetres to voxel numbers: (column, row, slice), fractions between centres. */
export interface VoxelIndex {
  position(point: Vec3): Vec3;
  /** How far the numbers go along a vector. */
  direction(vector: Vec3): Vec3;
}

/** The inverse of the lattice, which may be oblique and sheared. */
export function indexOf({ origin, columnStep, rowStep, sliceStep }: VolumeGeometry): VoxelIndex {
  const determinant = dot(cross(columnStep, rowStep), sliceStep);
  const byColumn = scale(cross(rowStep, sliceStep), 1 / determinant);
  const byRow = scale(cross(sliceStep, columnStep), 1 / determinant);
  const bySlice = scale(cross(columnStep, rowStep), 1 / determinant);
  const direction = (vector: Vec3): Vec3 => [dot(byColumn, vector), dot(byRow, vector), dot(bySlice, vector)];
  return { direction, position: (point) => direction(subtract(point, origin)) };
}
