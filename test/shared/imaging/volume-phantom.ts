/**
 * Volumes with known contents: any function of the patient's coordinates, sampled on any lattice; and one body that
 * looks different from every side (L, P and H each have a marker of their own size and value, over a ramp).
 */
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { Volume } from '#shared/imaging/volume.ts';
import type { Vec3, VolumeGeometry } from '#shared/imaging/volume-geometry.ts';
import { add, length, normalized, scale, subtract } from '#shared/imaging/volume-vectors.ts';
import { grayImage, jsonOf } from './image-fixture.ts';

export type Field = (point: Vec3) => number;

export const FRAME_OF_REFERENCE = '1.2.3.4';

export function latticeWith(changes: Partial<VolumeGeometry> = {}): VolumeGeometry {
  return {
    columns: 40,
    rows: 36,
    slices: 20,
    origin: [-30, -25, -40],
    columnStep: [1.5, 0, 0],
    rowStep: [0, 1.5, 0],
    sliceStep: [0, 0, 4],
    frameOfReferenceUid: FRAME_OF_REFERENCE,
    ...changes,
  };
}

export function pointOf({ origin, columnStep, rowStep, sliceStep }: VolumeGeometry, voxel: Vec3): Vec3 {
  return add(add(add(origin, scale(columnStep, voxel[0])), scale(rowStep, voxel[1])), scale(sliceStep, voxel[2]));
}

export function cellsOfSlice(geometry: VolumeGeometry, field: Field, slice: number): Float64Array {
  const { columns, rows } = geometry;
  const cells = new Float64Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      cells[row * columns + column] = field(pointOf(geometry, [column, row, slice]));
    }
  }
  return cells;
}

export function volumeOf(
  geometry: VolumeGeometry,
  field: Field,
  kind: 'int16' | 'float32' = 'int16',
  changes: Partial<Volume> = {},
): Volume {
  const { columns, rows, slices } = geometry;
  const count = columns * rows * slices;
  const values =
    kind === 'int16'
      ? new Int16Array(new SharedArrayBuffer(count * 2))
      : new Float32Array(new SharedArrayBuffer(count * 4));
  for (let slice = 0; slice < slices; slice++) {
    const cells = cellsOfSlice(geometry, field, slice);
    for (let i = 0; i < cells.length; i++) {
      values[slice * cells.length + i] = kind === 'int16' ? Math.round(cells[i]!) : cells[i]!;
    }
  }
  const missing = kind === 'int16' ? undefined : Number.NaN;
  return { geometry, values, modality: { slope: 1, intercept: 0 }, missing, range: undefined, ...changes };
}

export interface Marker {
  readonly at: Vec3;
  readonly radiusMm: number;
  readonly value: number;
}

/** To the left, behind, and above the middle, so that no mirrored or turned picture looks like the right one. */
export const markers = {
  left: { at: [18, -4, -6], radiusMm: 7, value: 1500 },
  posterior: { at: [-6, 14, 2], radiusMm: 6, value: 2500 },
  head: { at: [-12, -8, 20], radiusMm: 8, value: 3500 },
} as const satisfies Record<string, Marker>;

/** Markers fall off smoothly, so that their centre of mass is their centre however they are sampled. */
export const body: Field = (point) => {
  let value = 0;
  for (const { at, radiusMm, value: peak } of Object.values(markers)) {
    value += peak * Math.exp(-((length(subtract(point, at)) / radiusMm) ** 2) * 3);
  }
  return value;
};

/** A direction out of two angles, for lattices and planes that follow no axis. */
export function frameOfDirections(a: number, b: number, c: number): { right: Vec3; down: Vec3; normal: Vec3 } {
  const [ca, sa, cb, sb, cc, sc] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b), Math.cos(c), Math.sin(c)];
  const right = normalized([cb * cc, cb * sc, -sb]);
  const down = normalized([sa * sb * cc - ca * sc, sa * sb * sc + ca * cc, sa * cb]);
  const normal = normalized([ca * sb * cc + sa * sc, ca * sb * sc - sa * cc, ca * cb]);
  return { right, down, normal };
}

/** A single-frame instance of the lattice's slice. */
export function sliceJson(geometry: VolumeGeometry, slice: number, more: DicomJson = {}): DicomJson {
  const { columns, rows, columnStep, rowStep } = geometry;
  return {
    ...jsonOf({
      ...grayImage,
      '00200032': ['DS', ...pointOf(geometry, [0, 0, slice])],
      '00200037': ['DS', ...normalized(columnStep), ...normalized(rowStep)],
      '00200052': ['UI', FRAME_OF_REFERENCE],
      '00280010': ['US', rows],
      '00280011': ['US', columns],
      '00280030': ['DS', length(rowStep), length(columnStep)],
    }),
    ...more,
  };
}
