/**
 * A volume in shared memory: one cell to a voxel, filled slice by slice from decoded frames, by any thread. How its cells
 * are chosen, so that every slice's own rescale holds (PS3.3 §C.11.1; PET has one for each slice), and what becomes of
 * padding. Where the voxels lie is volume-geometry.ts.
 */
import type { VolumeGeometry } from './volume-geometry.ts';

export interface Volume {
  readonly geometry: VolumeGeometry;
  /** Over a SharedArrayBuffer; column by column, then row by row, then slice by slice. */
  readonly values: Int16Array<SharedArrayBuffer> | Float32Array<SharedArrayBuffer>;
  /** From a cell to a modality value. */
  readonly modality: { readonly slope: number; readonly intercept: number };
  /** The cell that stands for "no value": of Float32Array it is NaN; undefined when every voxel has a value. */
  readonly missing: number | undefined;
  /** Of all modality values; undefined when no voxel has one. */
  readonly range: { readonly low: number; readonly high: number } | undefined;
}

/** What reslicing gives: modality values row by row, NaN where the plane lies outside of the volume or of its image. */
export interface Cut {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}
