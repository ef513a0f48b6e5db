/**
 * A volume in shared memory: one cell to a voxel, filled slice by slice from decoded frames, by any thread. How its cells
 * are chosen, so that every slice's own rescale holds (PS3.3 §C.11.1; PET has one for each slice), and what becomes of
 * padding. Where the voxels lie is volume-geometry.ts.
 */
import { ArchiveError } from '../errors.ts';
import { cannotRender, type DecodedFrame, type PixelValues } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';
import { modalityValue } from './lut.ts';
import type { VolumeGeometry } from './volume-geometry.ts';

export interface ValueRange {
  readonly low: number;
  readonly high: number;
}

/** Two kinds only, so that the loops over voxels are compiled for each. */
export type VolumeCells = Int16Array<SharedArrayBuffer> | Float32Array<SharedArrayBuffer>;

export interface Volume {
  readonly geometry: VolumeGeometry;
  /** Column by column, then row by row, then slice by slice. */
  readonly values: VolumeCells;
  /** From a cell to a modality value. */
  readonly modality: { readonly slope: number; readonly intercept: number };
  /** The cell that stands for "no value": in a Float32Array it is NaN; undefined when every voxel has a value. */
  readonly missing: number | undefined;
  /** Of all modality values; undefined when no voxel has one. */
  readonly range: ValueRange | undefined;
}

/** What reslicing gives: modality values row by row, NaN where the plane lies outside of the volume or of its image. */
export interface Cut {
  readonly width: number;
  readonly height: number;
  readonly values: Float32Array;
}

/** How the cells of a volume are made of stored values. */
export interface CellPlan {
  /**
   * `int16`: the stored value less `offset`, of slices that share one linear rescale. `float32`: modality values, where slices differ
   * in their rescale, have a Modality LUT, or hold more than 16 bits.
   */
  readonly kind: 'int16' | 'float32';
  readonly offset: number;
  readonly modality: { readonly slope: number; readonly intercept: number };
  readonly missing: number | undefined;
}

const BYTES_PER_CELL = { int16: 2, float32: 4 } as const;
export const DEFAULT_VOLUME_LIMIT_BYTES = 1024 * 1024 * 1024;

/**
 * @param slices of each slice of the volume, before any is decoded
 * Errors: `cannot-render` for colour, or slices of which some are inverse and some are not.
 */
export function planCells(slices: readonly ImageAttributes[]): CellPlan {
  const [first] = slices;
  if (first === undefined) throw cannotRender('A volume needs at least two slices');
  for (const { samplesPerPixel, photometricInterpretation, supplemental, inverse } of slices) {
    const isGray = samplesPerPixel === 1 && photometricInterpretation !== 'PALETTE COLOR' && supplemental === undefined;
    if (!isGray) {
      throw cannotRender(
        'The slices are in colour, or some of their values are; planes are cut through volumes of gray values only',
        {
          photometricInterpretation,
        },
      );
    }
    if (inverse !== first.inverse) {
      throw cannotRender('In some slices the largest value is black and in others white, so they make no volume');
    }
  }
  const low = Math.min(...unique(slices, lowestStored));
  const high = Math.max(...unique(slices, highestStored));
  const { modality, padding } = first;
  const alike =
    modality.kind === 'linear' &&
    slices.every(
      (one) =>
        one.pixelKind === 'integer' &&
        one.modality.kind === 'linear' &&
        one.modality.slope === modality.slope &&
        one.modality.intercept === modality.intercept &&
        one.padding?.low === padding?.low &&
        one.padding?.high === padding?.high,
    );
  if (!alike || high - low > 65535) {
    return { kind: 'float32', offset: 0, modality: { slope: 1, intercept: 0 }, missing: Number.NaN };
  }
  const offset = low < -32768 || high > 32767 ? low + 32768 : 0;
  const { slope, intercept } = modality;
  return {
    kind: 'int16',
    offset,
    modality: { slope, intercept: intercept + slope * offset },
    missing: padding === undefined ? undefined : Math.max(low, padding.low) - offset,
  };
}

/** Few differ, and as arguments of Math.min thousands would be too many. */
const unique = (slices: readonly ImageAttributes[], of: (slice: ImageAttributes) => number) => new Set(slices.map(of));

const lowestStored = ({ signed, bitsStored }: ImageAttributes): number => (signed ? -(2 ** (bitsStored - 1)) : 0);

const highestStored = ({ signed, bitsStored }: ImageAttributes): number =>
  2 ** (signed ? bitsStored - 1 : bitsStored) - 1;

export function volumeBytes({ columns, rows, slices }: VolumeGeometry, kind: CellPlan['kind']): number {
  return columns * rows * slices * BYTES_PER_CELL[kind];
}

/** Cells that nothing has filled yet. Errors: `too-large` beyond the limit, `out-of-resources` when there is no memory. */
export function allocateCells(
  geometry: VolumeGeometry,
  { kind }: CellPlan,
  limitBytes = DEFAULT_VOLUME_LIMIT_BYTES,
): VolumeCells {
  const neededBytes = volumeBytes(geometry, kind);
  if (neededBytes > limitBytes) {
    throw new ArchiveError(
      'too-large',
      `The volume takes ${neededBytes} bytes, and ${limitBytes} at most are held; ask for a series, or a part of one, with fewer slices`,
      { neededBytes, limitBytes },
    );
  }
  try {
    const memory = new SharedArrayBuffer(neededBytes);
    return kind === 'int16' ? new Int16Array(memory) : new Float32Array(memory);
  } catch (error) {
    throw new ArchiveError(
      'out-of-resources',
      'There is no memory for the volume; ask again later',
      { neededBytes },
      error,
    );
  }
}

/**
 * Puts a decoded frame into its slice.
 * @returns the range of its modality values; undefined when it holds padding only
 * Errors: `cannot-render` when the frame is not what the volume was made for.
 */
export function fillSlice(
  cells: VolumeCells,
  plan: CellPlan,
  slice: number,
  frame: DecodedFrame,
  attributes: ImageAttributes,
): ValueRange | undefined {
  const { values } = frame;
  const from = slice * values.length;
  if (frame.meaning !== 'GRAY' || values.length !== frame.rows * frame.columns || from + values.length > cells.length) {
    throw cannotRender('A frame does not have the size and kind of the volume that it belongs to', { slice });
  }
  if (cells instanceof Int16Array)
    return fillInt16(cells.subarray(from, from + values.length), plan, values, attributes);
  return fillFloat32(cells.subarray(from, from + values.length), values, attributes);
}

function fillInt16(
  target: Int16Array,
  { offset, modality, missing }: CellPlan,
  values: PixelValues,
  { padding }: ImageAttributes,
): ValueRange | undefined {
  if (values.BYTES_PER_ELEMENT > 2 || offset !== 0) copyShifted(target, values, offset);
  else target.set(values as Uint8Array | Int16Array);
  if (padding !== undefined && missing !== undefined) {
    const low = Math.max(-32768, padding.low - offset);
    const high = Math.min(32767, padding.high - offset);
    for (let i = 0; i < target.length; i++) {
      const value = target[i]!;
      if (value >= low && value <= high) target[i] = missing;
    }
  }
  let low = 32767;
  let high = -32768;
  for (let i = 0; i < target.length; i++) {
    const value = target[i]!;
    if (value === missing) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return undefined;
  const ends = [low, high].map((end) => end * modality.slope + modality.intercept);
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

function copyShifted(target: Int16Array, values: PixelValues, offset: number): void {
  for (let i = 0; i < target.length; i++) target[i] = values[i]! - offset;
}

/** Modality values; what is padding or no finite number is NaN. */
function fillFloat32(
  target: Float32Array,
  values: PixelValues,
  { modality, padding }: ImageAttributes,
): ValueRange | undefined {
  const paddingLow = padding?.low ?? Number.POSITIVE_INFINITY;
  const paddingHigh = padding?.high ?? Number.NEGATIVE_INFINITY;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < target.length; i++) {
    const stored = values[i]!;
    const value = Math.fround(modalityValue(modality, stored));
    if ((stored >= paddingLow && stored <= paddingHigh) || !Number.isFinite(value)) {
      target[i] = Number.NaN;
      continue;
    }
    target[i] = value;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? undefined : { low, high };
}
