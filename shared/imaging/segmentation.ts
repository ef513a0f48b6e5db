/**
 * Segmentations (PS3.3 §C.8.20) as plain data: segments and their colours, which frame shows which segment of which image, and how the
 * pixels of an image and of a segmentation lie on each other. Binary, fractional and label maps; drawing is segmentation-overlay.ts.
 */
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { rgbOfLab } from './cie-lab.ts';
import { cannotRender } from './decoded-frame.ts';
import { firstWith, functionalGroups, items, numbers } from './image-attributes.ts';
import { type LookupTable, type Palette, paletteOf } from './lookup-table.ts';
import type { Affine } from './presentation-geometry.ts';
import type { Rgb } from './raster.ts';
import { type SlicePosition, sliceGeometryOf } from './volume-slice.ts';
import { cross, dot, length, subtract } from './volume-vectors.ts';

const storage = '1.2.840.10008.5.1.4.1.1.66.';

/** Segmentation Storage and Label Map Segmentation Storage: pictures whose pixels mean segments. */
export const isSegmentation = (sopClassUid: string): boolean =>
  sopClassUid === `${storage}4` || sopClassUid === `${storage}7`;

export type SegmentationType = 'BINARY' | 'FRACTIONAL' | 'LABELMAP';

export interface Segmentation {
  readonly type: SegmentationType;
  readonly frameCount: number;
  /** The stored value that covers a pixel wholly: 1, Maximum Fractional Value; of no meaning for label maps. */
  readonly full: number;
  readonly colors: ReadonlyMap<number, Rgb>;
  /** Of a label map that says itself how its values look. */
  readonly palette: Palette | undefined;
  /** Of a label map: where there is no segment. */
  readonly background: number;
}

/** A picture with more of them is a mistake, or an attack. */
const MAX_SEGMENTS = 65_535;

/** Told apart by eye, also by most who do not see all colours; segment 1 has the first. */
const distinct: readonly Rgb[] = [
  [230, 97, 1],
  [0, 158, 255],
  [0, 200, 83],
  [204, 121, 167],
  [240, 228, 66],
  [86, 220, 233],
  [213, 40, 40],
  [150, 110, 255],
  [153, 204, 50],
  [255, 170, 120],
];

/** @throws ArchiveError `cannot-render` for a type that the standard does not know, or a missing palette */
export function segmentationOf(metadata: DicomJson): Segmentation {
  const type = text(metadata['00620001'])?.toUpperCase();
  if (type !== 'BINARY' && type !== 'FRACTIONAL' && type !== 'LABELMAP') {
    throw cannotRender('Segmentation Type is not BINARY, FRACTIONAL or LABELMAP');
  }
  const segments = items(metadata['00620002']);
  if (segments.length > MAX_SEGMENTS) throw cannotRender(`There are more than ${MAX_SEGMENTS} segments`);
  const colors = new Map<number, Rgb>();
  for (const segment of segments) {
    const number = numbers(segment['00620004'])[0];
    if (number === undefined || !Number.isInteger(number)) continue;
    colors.set(number, labColor(segment['0062000D']) ?? colorOf(number));
  }
  const fullest = type === 'FRACTIONAL' ? (numbers(metadata['0062000E'])[0] ?? 255) : 1;
  const isPalette = text(metadata['00280004']) === 'PALETTE COLOR';
  return {
    type,
    frameCount: Math.max(1, Math.trunc(numbers(metadata['00280008'])[0] ?? 1) || 1),
    full: fullest >= 1 ? fullest : 1,
    colors,
    palette: type === 'LABELMAP' && isPalette ? tryPalette(metadata) : undefined,
    background: numbers(metadata['00280120'])[0] ?? 0,
  };
}

/** Palettes in bulk are not fetched for an overlay: segments then have colours of their own. */
function tryPalette(metadata: DicomJson): Palette | undefined {
  const isInLine = ['00281201', '00281202', '00281203'].every((tag) => metadata[tag]?.BulkDataURI === undefined);
  return isInLine ? paletteOf(metadata, false, undefined) : undefined;
}

export const colorOf = (segmentNumber: number): Rgb => distinct[(Math.max(1, segmentNumber) - 1) % distinct.length]!;

/** Of a label map: those of its palette, where it has one, else of its segments; background has none. */
export function labelColors(
  { colors, palette, background }: Segmentation,
  segmentNumbers: readonly number[] | undefined,
): ReadonlyMap<number, Rgb> {
  const labels = new Map<number, Rgb>();
  for (const [number, color] of colors) {
    if (number === background || number === 0 || segmentNumbers?.includes(number) === false) continue;
    labels.set(number, palette === undefined ? color : paletteColor(palette, number));
  }
  return labels;
}

function paletteColor({ red, green, blue }: Palette, value: number): Rgb {
  const part = ({ entries, firstMapped, bits }: LookupTable): number => {
    const at = Math.max(0, Math.min(entries.length - 1, value - firstMapped));
    return Math.round(((entries[at] ?? 0) * 255) / (2 ** bits - 1));
  };
  return [part(red), part(green), part(blue)];
}

function labColor(element: JsonElement | undefined): Rgb | undefined {
  const [lightness, a, b] = numbers(element);
  if (lightness === undefined || a === undefined || b === undefined) return undefined;
  return [lightness, a, b].every(Number.isFinite) ? rgbOfLab([lightness, a, b]) : undefined;
}

/** Which segment a frame shows; undefined for a label map, which shows all. Error `cannot-render` for a frame that does not say. */
export function segmentNumberOf(metadata: DicomJson, { type }: Segmentation, frameNumber: number): number | undefined {
  if (type === 'LABELMAP') return undefined;
  for (const group of functionalGroups(metadata, frameNumber)) {
    const number = numbers(items(group['0062000A'])[0]?.['0062000B'])[0];
    if (number !== undefined) return number;
  }
  const [only, ...others] = items(metadata['00620002']).map((segment) => numbers(segment['00620004'])[0]);
  if (only !== undefined && others.length === 0) return only;
  // Tiles and frames without functional groups run through all segments in an order that Dimension Organization gives.
  throw cannotRender('A frame of the segmentation does not say which segment it shows');
}

export interface SourceImage {
  readonly sopInstanceUid: string;
  /** Undefined: all of them. */
  readonly frameNumbers: readonly number[] | undefined;
}

/** The images that a frame was made from (Derivation Image, §C.7.6.16.2.6), in the order of the data set. */
export function sourcesOf(metadata: DicomJson, frameNumber: number): SourceImage[] {
  for (const group of functionalGroups(metadata, frameNumber)) {
    const sources = items(group['00089124'])
      .flatMap((derivation) => items(derivation['00082112']))
      .flatMap((item): SourceImage[] => {
        const sopInstanceUid = text(item['00081155']);
        if (sopInstanceUid === undefined) return [];
        const frames = numbers(item['00081160']).filter((number) => Number.isInteger(number) && number >= 1);
        return [{ sopInstanceUid, frameNumbers: frames.length === 0 ? undefined : frames }];
      });
    if (sources.length > 0) return sources;
  }
  return [];
}

/** Series and study of each image that the segmentation refers to (§C.12.4, Common Instance Reference), by SOP Instance UID. */
export function referencedSeries(metadata: DicomJson): Map<string, { study: string | undefined; series: string }> {
  const found = new Map<string, { study: string | undefined; series: string }>();
  const note = (place: DicomJson, study: string | undefined): void => {
    for (const series of items(place['00081115'])) {
      const uid = text(series['0020000E']);
      if (uid === undefined) continue;
      for (const reference of [...items(series['0008114A']), ...items(series['00081140'])]) {
        const sop = text(reference['00081155']);
        if (sop !== undefined) found.set(sop, { study, series: uid });
      }
    }
  };
  note(metadata, undefined);
  for (const other of items(metadata['00081200'])) note(other, text(other['0020000D']));
  return found;
}

export interface ImageFrame {
  readonly metadata: DicomJson;
  readonly sopInstanceUid: string;
  readonly frameNumber: number;
}

/** Whether it is this image. */
export const isSource = ({ sopInstanceUid, frameNumber }: Omit<ImageFrame, 'metadata'>) => {
  return (source: SourceImage): boolean =>
    source.sopInstanceUid === sopInstanceUid && (source.frameNumbers?.includes(frameNumber) ?? true);
};

/** Of the stored positions: rounding, not anatomy. */
const PLANE_TOLERANCE_MM = 0.1;
const PARALLEL = Math.cos((0.5 * Math.PI) / 180);
const PIXEL_TOLERANCE = 0.01;

export interface Overlap {
  /** From the image's coordinates to the segmentation's (0,0 the corner of the first pixel); undefined: pixel lies on pixel. */
  readonly fromImage: Affine | undefined;
}

/**
 * How frames of a segmentation lie on an image: in one plane of one frame of reference by their positions, or, where one of the two has
 * none, pixel on pixel if it was made from that image and has its matrix.
 * @returns undefined of a frame that does not lie on it
 */
export function overlapsOn(segmentation: DicomJson, image: ImageFrame): (frameNumber: number) => Overlap | undefined {
  const plane = planeOf(image.metadata, image.frameNumber);
  return (frameNumber) => {
    // Most frames of most segmentations lie elsewhere, which their position says at once.
    if (plane !== undefined && isElsewhere(segmentation, frameNumber, plane)) return undefined;
    return overlapOf(segmentation, frameNumber, image, plane);
  };
}

/** Positions of two that name no Frame of Reference are not known to be of one (PS3.3 §C.7.4.1). */
const isSameSpace = (one: string | undefined, other: string | undefined): boolean => one !== undefined && one === other;

function isElsewhere(segmentation: DicomJson, frameNumber: number, plane: SlicePosition): boolean {
  if (!isSameSpace(text(segmentation['00200052']), plane.frameOfReferenceUid)) return false;
  const groups = functionalGroups(segmentation, frameNumber);
  const [x, y, z] = numbers(firstWith(groups, '00209113', ['00200032'])['00200032']);
  if (x === undefined || y === undefined || z === undefined) return false;
  const normal = cross(plane.columnDirection, plane.rowDirection);
  // Half a degree, over as much as a slice is wide.
  const tiltMm = (1 - PARALLEL ** 2) ** 0.5 * length(subtract([x, y, z], plane.origin));
  return Math.abs(dot(subtract([x, y, z], plane.origin), normal)) > PLANE_TOLERANCE_MM + tiltMm;
}

function overlapOf(
  segmentation: DicomJson,
  frameNumber: number,
  image: ImageFrame,
  other: SlicePosition | undefined,
): Overlap | undefined {
  const isDerived = sourcesOf(segmentation, frameNumber).some(isSource(image));
  const own = planeOf(segmentation, frameNumber);
  if (own === undefined || other === undefined || !isSameSpace(own.frameOfReferenceUid, other.frameOfReferenceUid)) {
    return isDerived && sameMatrix(segmentation, image.metadata) ? { fromImage: undefined } : undefined;
  }
  const normal = cross(own.columnDirection, own.rowDirection);
  const isParallel = Math.abs(dot(normal, cross(other.columnDirection, other.rowDirection))) >= PARALLEL;
  const apart = Math.abs(dot(subtract(other.origin, own.origin), normal));
  if (!isParallel || apart > PLANE_TOLERANCE_MM) return undefined;
  const map = affineBetween(other, own);
  const isSame =
    sameMatrix(segmentation, image.metadata) && farthest(map, other.columns, other.rows) <= PIXEL_TOLERANCE;
  return { fromImage: isSame ? undefined : map };
}

function planeOf(metadata: DicomJson, frameNumber: number): SlicePosition | undefined {
  try {
    return sliceGeometryOf(metadata, frameNumber);
  } catch {
    return undefined; // No place in space: what lies on what is then said by references alone.
  }
}

const sameMatrix = (a: DicomJson, b: DicomJson): boolean =>
  ['00280010', '00280011'].every((tag) => numbers(a[tag])[0] === numbers(b[tag])[0]);

function affineBetween(from: SlicePosition, to: SlicePosition): Affine {
  const offset = subtract(from.origin, to.origin);
  const row = (direction: SlicePosition['columnDirection'], spacingMm: number) => {
    const x = (from.columnSpacingMm * dot(from.columnDirection, direction)) / spacingMm;
    const y = (from.rowSpacingMm * dot(from.rowDirection, direction)) / spacingMm;
    // Positions are of the centres of pixels, coordinates count from their corners.
    return [x, y, dot(offset, direction) / spacingMm + 0.5 - 0.5 * (x + y)] as const;
  };
  const [a, b, c] = row(to.columnDirection, to.columnSpacingMm);
  const [d, e, f] = row(to.rowDirection, to.rowSpacingMm);
  return { a, b, c, d, e, f };
}

/** How far a map moves the corners of an image, in pixels. */
function farthest({ a, b, c, d, e, f }: Affine, columns: number, rows: number): number {
  const corners = [0, columns].flatMap((x) => [0, rows].map((y) => ({ x, y })));
  return Math.max(...corners.map(({ x, y }) => Math.hypot(a * x + b * y + c - x, d * x + e * y + f - y)));
}

function text(element: JsonElement | undefined): string | undefined {
  const value = element?.Value?.[0];
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : undefined;
}
