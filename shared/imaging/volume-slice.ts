/**
 * One frame in space, out of its instance's DICOM JSON: Image Plane and Frame of Reference (PS3.3 §C.7.6.2, §C.7.4.1) or
 * the functional groups of enhanced objects and tomosynthesis (§C.7.6.16.2), shared or per frame. And what tells frames apart
 * that lie at one position. Arranging frames to a volume is volume-geometry.ts.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { cannotRender } from './decoded-frame.ts';
import { firstWith, functionalGroups, items, numbers } from './image-attributes.ts';
import type { Vec3 } from './volume-geometry.ts';
import { cross, dot, length, normalized } from './volume-vectors.ts';

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

/** Further from the origin of its coordinates is no patient; wider is no pixel. */
const LARGEST_COORDINATE_MM = 1e6;
const LARGEST_PIXEL_MM = 1000;
/** Direction cosines are written with two digits and more. */
const COSINE_TOLERANCE = 0.01;

/** Keyword, tag, and the functional group macros in which enhanced objects keep it. */
const traitHomes: readonly (readonly [keyword: string, tag: string, macros: readonly string[]])[] = [
  ['SeriesInstanceUID', '0020000E', []],
  ['ImageType', '00080008', []],
  ['FrameType', '00089007', ['00189226', '00189329', '00189751', '00189504', '00409092']],
  ['AcquisitionNumber', '00200012', []],
  ['FrameAcquisitionNumber', '00209156', ['00209111']],
  ['TemporalPositionIdentifier', '00200100', []],
  ['TemporalPositionIndex', '00209128', ['00209111']],
  ['StackID', '00209056', ['00209111']],
  ['EchoTime', '00180081', []],
  ['EffectiveEchoTime', '00189082', ['00189114']],
  ['EchoNumbers', '00180086', []],
  ['InversionTime', '00180082', []],
  ['DiffusionBValue', '00189087', ['00189117']],
  ['TriggerTime', '00181060', []],
  ['NominalCardiacTriggerDelayTime', '00209153', ['00189118']],
  ['NominalPercentageOfCardiacPhase', '00209241', ['00189118']],
  ['FrameReferenceTime', '00541300', []],
  ['ConvolutionKernel', '00181210', []],
  ['ReferencedSegmentNumber', '0062000B', ['0062000A']],
];

/**
 * @param frameNumber from 1
 * Errors: `cannot-render` where the frame has no place in space (projections, photographs), or one that cannot be.
 */
export function sliceGeometryOf(metadata: DicomJson, frameNumber: number): SlicePosition {
  const groups = functionalGroups(metadata, frameNumber);
  const columns = count(metadata['00280011'], 'Columns');
  const rows = count(metadata['00280010'], 'Rows');
  const position = firstWith(groups, '00209113', ['00200032']);
  const origin = vectorOf(numbers(position['00200032']), 0, 'Image Position (Patient)');
  if (position === metadata && (numbers(metadata['00280008'])[0] ?? 1) > 1) {
    throw cannotRender('The frames of the instance have one common position, so they make no volume');
  }
  const cosines = numbers(firstWith(groups, '00209116', ['00200037'])['00200037']);
  const columnDirection = vectorOf(cosines, 0, 'Image Orientation (Patient)');
  const rowDirection = vectorOf(cosines, 3, 'Image Orientation (Patient)');
  checkDirections(columnDirection, rowDirection);
  // Pixel Spacing is the distance between rows first (PS3.3 §10.7.1.1).
  const [rowSpacingMm, columnSpacingMm] = spacingOf(firstWith(groups, '00289110', ['00280030'])['00280030']);
  return {
    columns,
    rows,
    frameOfReferenceUid: textOf(metadata['00200052']) || undefined,
    origin,
    columnDirection: normalized(columnDirection),
    rowDirection: normalized(rowDirection),
    columnSpacingMm,
    rowSpacingMm,
    traits: traitsOf(metadata, groups),
  };
}

function vectorOf(values: readonly number[], from: number, name: string): Vec3 {
  const [x, y, z] = values.slice(from, from + 3);
  if (x === undefined || y === undefined || z === undefined) {
    throw cannotRender(`A frame has no ${name}, so it has no place in a volume`, { attribute: name });
  }
  if (![x, y, z].every((value) => Math.abs(value) <= LARGEST_COORDINATE_MM)) {
    throw cannotRender(`${name} of a frame is not a position in space`, { attribute: name });
  }
  return [x, y, z];
}

function checkDirections(a: Vec3, b: Vec3): void {
  const off = Math.max(Math.abs(length(a) - 1), Math.abs(length(b) - 1), Math.abs(dot(a, b)));
  if (!(off <= COSINE_TOLERANCE && length(cross(a, b)) > 0)) {
    throw cannotRender('Image Orientation (Patient) of a frame is not two perpendicular unit vectors', {
      attribute: 'Image Orientation (Patient)',
    });
  }
}

function spacingOf(element: JsonElement | undefined): readonly [number, number] {
  const [between, along] = numbers(element);
  if (between === undefined || along === undefined) {
    throw cannotRender('A frame has no Pixel Spacing, so it has no place in a volume', { attribute: 'Pixel Spacing' });
  }
  if (![between, along].every((value) => value > 0 && value <= LARGEST_PIXEL_MM)) {
    throw cannotRender('Pixel Spacing of a frame is not two positive numbers', { attribute: 'Pixel Spacing' });
  }
  return [between, along];
}

function count(element: JsonElement | undefined, name: string): number {
  const value = numbers(element)[0];
  if (value === undefined || !Number.isInteger(value) || value < 1 || value > 65535) {
    throw cannotRender(`A frame has no ${name} from 1 to 65535`, { attribute: name });
  }
  return value;
}

function traitsOf(metadata: DicomJson, groups: readonly DicomJson[]): Record<string, string> {
  const traits: Record<string, string> = {};
  for (const [keyword, tag, macros] of traitHomes) {
    const value = textOf(valueIn(metadata, groups, tag, macros));
    if (value !== '') traits[keyword] = value;
  }
  return traits;
}

function valueIn(metadata: DicomJson, groups: readonly DicomJson[], tag: string, macros: readonly string[]) {
  for (const group of groups) {
    for (const macro of macros) {
      const found = items(group[macro])[0]?.[tag];
      if (found !== undefined) return found;
    }
  }
  return metadata[tag];
}

const textOf = (element: JsonElement | undefined): string =>
  (element?.Value ?? []).filter((value) => typeof value === 'string' || typeof value === 'number').join('\\');
