/**
 * Where the voxels of a volume lie: the frames' Image Plane attributes (PS3.3 §C.7.6.2) or their functional groups
 * (§C.7.6.16.2.1, .3, .4), arranged into one lattice. The lattice is affine, so slices of a tilted gantry need no
 * resampling. What does not make a lattice is refused with its reason. No pixels here.
 */

/** Millimetres in the patient's coordinates: towards left, posterior, head (PS3.3 §C.7.6.2.1.1). */
export type Vec3 = readonly [number, number, number];

/** The centre of voxel (column, row, slice) is origin + column * columnStep + row * rowStep + slice * sliceStep. */
export interface VolumeGeometry {
  readonly columns: number;
  readonly rows: number;
  readonly slices: number;
  /** The centre of the first voxel. */
  readonly origin: Vec3;
  readonly columnStep: Vec3;
  readonly rowStep: Vec3;
  /** From one slice to the next, ascending along columnStep x rowStep; not parallel to that where the gantry was tilted. */
  readonly sliceStep: Vec3;
  /** Undefined where no frame names one. */
  readonly frameOfReferenceUid: string | undefined;
}

/** One frame in space. */
export interface SlicePosition {
  readonly columns: number;
  readonly rows: number;
  readonly frameOfReferenceUid: string | undefined;
  /** The centre of the first pixel. */
  readonly origin: Vec3;
  /** Unit vector in which the column number grows. */
  readonly columnDirection: Vec3;
  /** Unit vector in which the row number grows. */
  readonly rowDirection: Vec3;
  readonly columnSpacingMm: number;
  readonly rowSpacingMm: number;
  /** What may tell frames at one position apart, by PS3.6 keyword: echo, phase, b-value and the like. */
  readonly traits: Readonly<Record<string, string>>;
}

export interface SliceArrangement {
  readonly geometry: VolumeGeometry;
  /** For each slice of the volume the index, in what was given, of the frame that fills it. */
  readonly order: readonly number[];
  /** Sentences for the reader of the pictures. */
  readonly warnings: readonly string[];
}
