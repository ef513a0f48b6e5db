/**
 * Where the voxels of a volume lie: the frames' Image Plane attributes (PS3.3 §C.7.6.2) or their functional groups
 * (§C.7.6.16.2), arranged into one lattice. The lattice is affine, so slices of a tilted gantry need no resampling. What
 * makes no lattice is refused with its reason. Reading one frame's attributes is volume-slice.ts. No pixels here.
 */
import { cannotRender } from './decoded-frame.ts';
import type { SlicePosition } from './volume-slice.ts';
import { add, cross, dot, length, normalized, scale, subtract } from './volume-vectors.ts';

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

export interface SliceArrangement {
  readonly geometry: VolumeGeometry;
  /** For each slice of the volume the index, in what was given, of the frame that fills it. */
  readonly order: readonly number[];
  /** Sentences for the reader of the pictures. */
  readonly warnings: readonly string[];
}

/** Directions are written with few digits; over 512 pixels this is less than half a pixel. */
const DIRECTION_TOLERANCE = 5e-4;
const SPACING_TOLERANCE = 1e-4;
/** Of the distance between slices: closer ones are at one position. */
const SAME_POSITION = 0.1;
/**
 * How far a slice may lie from its place in the lattice: along the normal a tenth of the distance between slices and half a
 * pixel, sideways a quarter of a pixel. Rounded positions stay below; from a hundredth on it is said.
 */
const ALONG_TOLERANCE = 0.1;
const SIDEWAYS_TOLERANCE = 0.25;
const WORTH_SAYING = 0.01;
const TILT_WORTH_SAYING_DEGREES = 0.05;
/** No gantry tilts further; slices that are further aside are no stack. */
const LARGEST_TILT_DEGREES = 45;

/**
 * Frames in any order, sorted by where they lie (never by Instance Number), as one lattice.
 * Errors: `cannot-render` for fewer than two positions, several matrices, spacings, orientations or Frames of Reference, several frames at
 * one position, slices missing, slices at irregular distances or shifted sideways beyond what rounding and a tilt explain.
 */
export function arrangeSlices(positions: readonly SlicePosition[]): SliceArrangement {
  const [first] = positions;
  if (first === undefined || positions.length < 2) {
    throw cannotRender('A volume needs at least two slices', { slices: positions.length });
  }
  for (const one of positions) checkLikeness(first, one);
  const normal = normalized(cross(first.columnDirection, first.rowDirection));
  const along = positions.map(({ origin }) => dot(subtract(origin, first.origin), normal));
  const order = positions.map((_, index) => index).sort((a, b) => along[a]! - along[b]!);
  const sorted = order.map((index) => positions[index]!);
  const heights = order.map((index) => along[index]!);
  checkDistances(heights, sorted);

  const last = sorted.length - 1;
  const origin = sorted[0]!.origin;
  const sliceStep = scale(subtract(sorted[last]!.origin, origin), 1 / last);
  const warnings = [
    ...checkPlaces(sorted, origin, sliceStep, normal),
    ...checkTilt(sliceStep, normal),
    ...alternating(sorted),
    ...(first.frameOfReferenceUid === undefined
      ? ['The slices name no Frame of Reference; that their positions belong together is assumed.']
      : []),
  ];
  const geometry: VolumeGeometry = {
    columns: first.columns,
    rows: first.rows,
    slices: sorted.length,
    origin,
    columnStep: scale(first.columnDirection, first.columnSpacingMm),
    rowStep: scale(first.rowDirection, first.rowSpacingMm),
    sliceStep,
    frameOfReferenceUid: first.frameOfReferenceUid,
  };
  return { geometry, order, warnings };
}

export interface SliceGroup {
  /** The traits that tell this group from the others, by keyword. */
  readonly traits: Readonly<Record<string, string>>;
  /** Indices into what was given, in its order. */
  readonly members: readonly number[];
}

/**
 * Frames that lie at the same positions, apart by what differs among those of one position (echo, phase, b-value …): each group may
 * be a volume. One group when nothing lies twice, or nothing tells apart what does. In order of first appearance.
 */
export function groupSlices(positions: readonly SlicePosition[]): readonly SliceGroup[] {
  const keywords = [...new Set(coincident(positions).flatMap(differing))].sort();
  const groups = new Map<string, { traits: Record<string, string>; members: number[] }>();
  for (const [index, { traits }] of positions.entries()) {
    const own = Object.fromEntries(keywords.map((keyword) => [keyword, traits[keyword] ?? '']));
    const key = JSON.stringify(own);
    const group = groups.get(key) ?? { traits: own, members: [] };
    group.members.push(index);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** The corners of the volume, outer faces of its outermost voxels. */
export function cornersOf({ origin, columns, rows, slices, columnStep, rowStep, sliceStep }: VolumeGeometry): Vec3[] {
  return [-0.5, columns - 0.5].flatMap((column) =>
    [-0.5, rows - 0.5].flatMap((row) =>
      [-0.5, slices - 0.5].map((slice) =>
        add(add(add(origin, scale(columnStep, column)), scale(rowStep, row)), scale(sliceStep, slice)),
      ),
    ),
  );
}

export function centerOf({ origin, columns, rows, slices, columnStep, rowStep, sliceStep }: VolumeGeometry): Vec3 {
  const inSlice = add(scale(columnStep, (columns - 1) / 2), scale(rowStep, (rows - 1) / 2));
  return add(origin, add(inSlice, scale(sliceStep, (slices - 1) / 2)));
}

function checkLikeness(first: SlicePosition, other: SlicePosition): void {
  if (other.columns !== first.columns || other.rows !== first.rows) {
    throw cannotRender('The slices do not all have the same number of rows and columns, so they make no volume', {
      sizes: [first, other].map(({ columns, rows }) => `${columns} x ${rows}`),
    });
  }
  if (other.frameOfReferenceUid !== first.frameOfReferenceUid) {
    throw cannotRender('The slices belong to several Frames of Reference, so their positions cannot be compared', {
      frameOfReferenceUids: [first.frameOfReferenceUid ?? 'none', other.frameOfReferenceUid ?? 'none'],
    });
  }
  const apart = Math.max(
    length(subtract(other.columnDirection, first.columnDirection)),
    length(subtract(other.rowDirection, first.rowDirection)),
  );
  if (!(apart <= DIRECTION_TOLERANCE)) {
    throw cannotRender(
      'The slices do not all have the same orientation (localizers among them?), so they make no volume; choose those of one orientation',
    );
  }
  const ratios = [other.columnSpacingMm / first.columnSpacingMm, other.rowSpacingMm / first.rowSpacingMm];
  if (!ratios.every((ratio) => Math.abs(ratio - 1) <= SPACING_TOLERANCE)) {
    throw cannotRender('The slices do not all have the same Pixel Spacing, so they make no volume');
  }
}

/** @param heights along the normal, ascending */
function checkDistances(heights: readonly number[], sorted: readonly SlicePosition[]): void {
  const gaps = heights.slice(1).map((height, i) => height - heights[i]!);
  const usual = usualGap(gaps);
  if (usual === undefined) {
    throw cannotRender(
      `All ${sorted.length} slices lie in one plane${told(sorted)}; a volume needs at least two planes`,
      {
        slices: sorted.length,
      },
    );
  }
  const runs = coincident(sorted, heights);
  if (runs.length > 0) {
    const keywords = [...new Set(runs.flatMap(differing))].sort();
    throw cannotRender(
      `${sorted.length} slices lie at ${sorted.length - gaps.filter((gap) => gap < SAME_POSITION * usual).length} positions only${told(...runs)}; choose those of one volume`,
      { slices: sorted.length, differing: keywords },
    );
  }
  const steps = gaps.map((gap) => gap / usual);
  const missing = steps.reduce((sum, step) => sum + Math.max(0, Math.round(step) - 1), 0);
  if (missing > 0 && steps.every((step) => Math.abs(step - Math.round(step)) <= ALONG_TOLERANCE * 2)) {
    throw cannotRender(
      `${missing} of ${sorted.length + missing} slices are missing between the first and the last, so they make no volume`,
      { missing, slices: sorted.length, sliceDistanceMm: rounded(usual) },
    );
  }
}

/** The median of distances between planes that are not the same one. */
function usualGap(gaps: readonly number[]): number | undefined {
  const largest = gaps.reduce((most, gap) => Math.max(most, gap), 0);
  const between = gaps.filter((gap) => gap > 1e-4 && gap > largest * 1e-3).sort((a, b) => a - b);
  return between[between.length >> 1];
}

/** Frames that share a position, in runs of two and more. */
function coincident(positions: readonly SlicePosition[], known?: readonly number[]): SlicePosition[][] {
  const [first] = positions;
  if (first === undefined) return [];
  const normal = cross(first.columnDirection, first.rowDirection);
  const heightOf = ({ origin }: SlicePosition): number => dot(subtract(origin, first.origin), normal);
  const sorted =
    known === undefined
      ? positions.map((one) => ({ one, height: heightOf(one) })).sort((a, b) => a.height - b.height)
      : positions.map((one, i) => ({ one, height: known[i]! }));
  const usual =
    usualGap(sorted.slice(1).map(({ height }, i) => height - sorted[i]!.height)) ?? Number.POSITIVE_INFINITY;
  const runs: SlicePosition[][] = [];
  for (const [i, { one, height }] of sorted.entries()) {
    const run = runs.at(-1);
    if (run !== undefined && i > 0 && height - sorted[i - 1]!.height < SAME_POSITION * usual) run.push(one);
    else runs.push([one]);
  }
  return runs.filter((run) => run.length > 1);
}

/** Keywords of the traits that are not the same in all of them. */
function differing(run: readonly SlicePosition[]): string[] {
  const keywords = new Set(run.flatMap(({ traits }) => Object.keys(traits)));
  return [...keywords].filter((keyword) => new Set(run.map(({ traits }) => traits[keyword])).size > 1);
}

function told(...runs: readonly (readonly SlicePosition[])[]): string {
  const keywords = [...new Set(runs.flatMap(differing))].sort();
  return keywords.length === 0 ? '' : ` and differ in ${keywords.join(', ')}`;
}

/** Each slice against its place in the lattice. */
function checkPlaces(sorted: readonly SlicePosition[], origin: Vec3, sliceStep: Vec3, normal: Vec3): string[] {
  const { columnSpacingMm, rowSpacingMm } = sorted[0]!;
  const pixelMm = Math.min(columnSpacingMm, rowSpacingMm);
  const distanceMm = dot(sliceStep, normal);
  let alongMm = 0;
  let sidewaysMm = 0;
  for (const [slice, one] of sorted.entries()) {
    const off = subtract(one.origin, add(origin, scale(sliceStep, slice)));
    const height = dot(off, normal);
    alongMm = Math.max(alongMm, Math.abs(height));
    sidewaysMm = Math.max(sidewaysMm, length(subtract(off, scale(normal, height))));
  }
  if (!(alongMm <= Math.min(ALONG_TOLERANCE * distanceMm, pixelMm / 2))) {
    throw cannotRender(
      `The slices lie at irregular distances: up to ${rounded(alongMm)} mm beside their places, at ${rounded(distanceMm)} mm from one to the next`,
      { slices: sorted.length, sliceDistanceMm: rounded(distanceMm), deviationMm: rounded(alongMm) },
    );
  }
  if (!(sidewaysMm <= SIDEWAYS_TOLERANCE * pixelMm)) {
    throw cannotRender(
      `The slices are shifted sideways against each other, by up to ${rounded(sidewaysMm)} mm, and not evenly as those of a tilted gantry are`,
      { slices: sorted.length, deviationMm: rounded(sidewaysMm) },
    );
  }
  const worst = Math.max(alongMm, sidewaysMm);
  if (alongMm <= WORTH_SAYING * distanceMm && sidewaysMm <= WORTH_SAYING * pixelMm) return [];
  return [`The slices lie up to ${rounded(worst)} mm beside the places of a regular volume and are taken as regular.`];
}

function checkTilt(sliceStep: Vec3, normal: Vec3): string[] {
  const degrees = (Math.acos(Math.min(1, dot(normalized(sliceStep), normal))) * 180) / Math.PI;
  if (!(degrees <= LARGEST_TILT_DEGREES)) {
    throw cannotRender('The slices lie beside each other rather than in a stack, so they make no volume', {
      tiltDegrees: rounded(degrees),
    });
  }
  if (degrees < TILT_WORTH_SAYING_DEGREES) return [];
  return [
    `The slices are tilted by ${degrees.toFixed(1)} degrees against the direction in which they follow each other (gantry tilt); planes are cut at their true positions.`,
  ];
}

/** Which differ from slice to slice of one scan, too. */
const TIMES = ['TriggerTime', 'FrameReferenceTime', 'NominalCardiacTriggerDelayTime'];

/**
 * Two scans, as of two phases, whose slices lie between each other's make a lattice, and a picture of both. So do the halves of one scan that was
 * interleaved: it is said and not refused.
 */
function alternating(sorted: readonly SlicePosition[]): string[] {
  const keywords = differing(sorted).filter((keyword) => {
    const values = sorted.map(({ traits }) => traits[keyword]);
    const kinds = new Set(values).size;
    const changes = values.filter((value, i) => i > 0 && value !== values[i - 1]).length;
    return !TIMES.includes(keyword) && kinds <= sorted.length / 2 && changes >= sorted.length / 2 && changes >= kinds;
  });
  if (keywords.length === 0) return [];
  return [
    `The slices alternate in ${keywords.sort().join(', ')}, as those of two scans do whose slices lie between each other's; they are taken as one volume.`,
  ];
}

const rounded = (value: number): number => Number(value.toPrecision(3));
