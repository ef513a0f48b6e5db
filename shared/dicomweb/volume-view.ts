/**
 * How a volume is looked at (PS3.18 §8.3.5.3.4 to .11): from the parameters and where the voxels lie to the planes that are cut, one for a
 * picture, one after the other for an animation; and the description of all that, the Rendered Volume Response Module (Annex K). What is
 * left out is decided here: the middle of the volume, seen as an axial slice is, a pixel as wide as the smallest voxel.
 */
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import type { Window } from '../imaging/image-attributes.ts';
import { centerOf, cornersOf, type Vec3, type VolumeGeometry } from '../imaging/volume-geometry.ts';
import type { Plane, Slab } from '../imaging/volume-plane.ts';
import { add, cross, dot, length, normalized, rotated, scale, subtract } from '../imaging/volume-vectors.ts';
import { type RequestedViewport, viewportFor } from './render-parameters.ts';
import type { Movement, ProjectionMethod, Side, VolumeKind, VolumeParameters } from './volume-parameters.ts';

export interface VolumeView {
  /** One, or the pictures of the animation in their order. All of one size. */
  readonly planes: readonly Plane[];
  readonly slab: Slab | undefined;
  /** To scale the cut to; undefined where it is cut in the size that is wanted. */
  readonly fit: { readonly width: number; readonly height: number } | undefined;
  readonly rateHz: number | undefined;
  /** Without the window, which the data may have to say. */
  readonly described: DescribedView;
}

export interface DescribedView {
  readonly kind: VolumeKind;
  readonly method: ProjectionMethod;
  readonly position: Vec3;
  readonly lookAt: Vec3;
  readonly up: Vec3;
  readonly slabMm: number | undefined;
  readonly swivelDegrees: number | undefined;
  /** Degrees of a swivel, else mm. */
  readonly step: number | undefined;
  readonly rateHz: number | undefined;
}

export const maximumVolumePictures = 1_000;
/** Of a cut, which is 4 bytes to a pixel, and of one of its sides unless a viewport asks for more. */
const maximumCutPixels = 4096 * 4096;
const maximumOwnSide = 4096;
/** Of a picture that stands still, some seconds of two threads; of one that moves a quarter. */
const maximumSamples = 128 * 1024 * 1024;
/** Of the pictures of an animation that no viewport was asked for. */
const animationSide = 1024;
const defaultSwivelStepDegrees = 6;
const defaultRateHz = 10;
/** Below this sine two directions are one. */
const parallel = 1e-6;

const [left, back, head]: readonly Vec3[] = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];
const opposite = (direction: Vec3): Vec3 => scale(direction, -1);

/** From the camera on, and what is up in the picture. */
const views: Readonly<Record<Side, { readonly look: Vec3; readonly up: Vec3 }>> = {
  a: { look: back!, up: head! },
  p: { look: opposite(back!), up: head! },
  r: { look: left!, up: head! },
  l: { look: opposite(left!), up: head! },
  h: { look: opposite(head!), up: opposite(back!) },
  f: { look: head!, up: opposite(back!) },
};

interface Camera {
  readonly lookAt: Vec3;
  /** Unit vectors, perpendicular to each other. */
  readonly look: Vec3;
  readonly right: Vec3;
  readonly down: Vec3;
}

/** Error `bad-request` for a view that cannot be, a viewport that is no part of it, or an animation that is too long. */
export function viewOf(geometry: VolumeGeometry, parameters: VolumeParameters, kind: VolumeKind): VolumeView {
  const { movement, animationRate, slabMm } = parameters;
  const camera = cameraOf(geometry, parameters);
  const isTurning = movement?.kind === 'swivel';
  const frame = frameOf(geometry, camera, isTurning);
  const requested = parameters.picture.viewport ?? animationViewport(frame, movement);
  const thicknessMm = kind === 'rendered3d' ? wholeThickness(geometry, camera, isTurning) : slabMm;
  const { width, height, spacingMm, offset, mirror, fit } = placed(frame, requested, {
    isProjection: kind === 'rendered3d',
    depths: Math.ceil((thicknessMm ?? 0) / frame.spacingMm) + 1,
    mostSamples: movement === undefined ? maximumSamples : maximumSamples / 4,
  });
  const planeOf = ({ lookAt, right, down }: Camera): Plane => ({
    center: add(lookAt, add(scale(right, offset.x), scale(down, offset.y))),
    right: mirror.x ? opposite(right) : right,
    down: mirror.y ? opposite(down) : down,
    spacingMm,
    width,
    height,
  });
  const { cameras, step } =
    movement === undefined ? { cameras: [camera], step: undefined } : moved(geometry, camera, movement, slabMm);
  const method = parameters.method ?? (kind === 'rendered3d' ? 'maximum' : 'average');
  const rateHz = movement === undefined ? undefined : (animationRate ?? defaultRateHz);
  return {
    planes: cameras.map(planeOf),
    slab: thicknessMm === undefined ? undefined : { thicknessMm, method },
    fit,
    rateHz,
    described: {
      kind,
      method,
      position: subtract(camera.lookAt, camera.look),
      lookAt: camera.lookAt,
      up: opposite(camera.down),
      slabMm,
      swivelDegrees: isTurning ? movement.rangeDegrees : undefined,
      step,
      rateHz,
    },
  };
}

function cameraOf(geometry: VolumeGeometry, parameters: VolumeParameters): Camera {
  const { side, viewpointPosition, viewpointUp } = parameters;
  const lookAt = parameters.viewpointLookAt ?? centerOf(geometry);
  const named = views[side ?? 'f'];
  const towards = viewpointPosition === undefined ? named.look : subtract(lookAt, viewpointPosition);
  if (!(length(towards) > parallel)) {
    throw new ArchiveError(
      'bad-request',
      'The parameters viewpointposition and viewpointlookat are one point; where the camera looks is not known.',
    );
  }
  const look = normalized(towards);
  const isUsual = side !== undefined || viewpointPosition === undefined;
  const up = viewpointUp ?? (isUsual ? named.up : usualUp(look));
  const across = cross(look, normalized(up));
  if (!(length(across) > parallel)) {
    throw new ArchiveError(
      'bad-request',
      'The parameter viewpointup points where the camera looks; what is up in the picture is not known.',
    );
  }
  const right = normalized(across);
  return { lookAt, look, right, down: normalized(cross(look, right)) };
}

/** The head, unless the camera looks at it or at the feet. */
const usualUp = (look: Vec3): Vec3 => (Math.abs(dot(look, head!)) > 0.9 ? opposite(back!) : head!);

interface Frame {
  readonly columns: number;
  readonly rows: number;
  readonly spacingMm: number;
}

/** The size in which the volume is just covered, with its middle in the middle, at a pixel as wide as the smallest voxel. */
function frameOf(geometry: VolumeGeometry, { right, look, down }: Camera, isTurning: boolean): Frame {
  const center = centerOf(geometry);
  const corners = cornersOf(geometry).map((corner) => subtract(corner, center));
  const acrossOf = (corner: Vec3): number =>
    isTurning ? Math.hypot(dot(corner, right), dot(corner, look)) : Math.abs(dot(corner, right));
  const acrossMm = 2 * Math.max(...corners.map(acrossOf));
  const downMm = 2 * Math.max(...corners.map((corner) => Math.abs(dot(corner, down))));
  const finestMm = Math.min(length(geometry.columnStep), length(geometry.rowStep), length(geometry.sliceStep));
  const spacingMm = Math.max(finestMm, acrossMm / maximumOwnSide, downMm / maximumOwnSide);
  // What is a hair more than a whole number of pixels is rounding.
  const pixels = (sideMm: number): number =>
    Math.max(1, Math.min(maximumOwnSide, Math.ceil(sideMm / spacingMm - 1e-3)));
  return { columns: pixels(acrossMm), rows: pixels(downMm), spacingMm };
}

function animationViewport({ columns, rows }: Frame, movement: Movement | undefined): RequestedViewport | undefined {
  if (movement === undefined || Math.max(columns, rows) <= animationSide) return undefined;
  return { width: animationSide, height: animationSide };
}

interface Placed {
  readonly width: number;
  readonly height: number;
  readonly spacingMm: number;
  /** Of the middle of the picture from the point looked at, in mm to the right and down. */
  readonly offset: { readonly x: number; readonly y: number };
  readonly mirror: { readonly x: boolean; readonly y: boolean };
  readonly fit: VolumeView['fit'];
}

interface Effort {
  /** Of the whole volume. */
  readonly isProjection: boolean;
  /** About so many samples make a pixel, one for each layer of voxels. */
  readonly depths: number;
  /** Of a picture. */
  readonly mostSamples: number;
}

/**
 * Smaller than its own size a plane or slab is cut in full and averaged; larger it is cut that fine: voxels are interpolated once. A projection
 * is as fine as it is shown, but has a ray for every other voxel at least. No picture takes more samples than it may: it is cut less fine then,
 * and scaled.
 */
function placed(frame: Frame, requested: RequestedViewport | undefined, effort: Effort): Placed {
  const viewport = requested && viewportFor(requested, frame);
  const source = viewport?.source ?? { x: 0, y: 0, width: frame.columns, height: frame.rows };
  const [across, down] = [Math.abs(source.width), Math.abs(source.height)];
  if (source.x + across > frame.columns || source.y + down > frame.rows) {
    throw new ArchiveError(
      'bad-request',
      `The source region of the viewport is not a part of the view, which is ${frame.columns} pixels wide and ${frame.rows} high.`,
    );
  }
  const shown = viewport === undefined ? 1 : Math.min(viewport.width / across, viewport.height / down);
  if (across * down * shown * shown > maximumCutPixels) {
    throw new ArchiveError(
      'bad-request',
      `A view of a volume has at most ${maximumCutPixels} pixels; ask for a smaller viewport.`,
    );
  }
  const affordable = Math.sqrt(effort.mostSamples / (across * down * effort.depths));
  const cut = Math.min(affordable, Math.max(shown, effort.isProjection ? 0.5 : 1));
  const [width, height] = [across, down].map((side) => Math.max(1, Math.round(side * cut))) as [number, number];
  return {
    width,
    height,
    spacingMm: frame.spacingMm / cut,
    offset: {
      x: (source.x + across / 2 - frame.columns / 2) * frame.spacingMm,
      y: (source.y + down / 2 - frame.rows / 2) * frame.spacingMm,
    },
    mirror: { x: source.width < 0, y: source.height < 0 },
    fit: cut === shown ? undefined : { width: viewport?.width ?? across, height: viewport?.height ?? down },
  };
}

/** A slab reaches as far to both sides: to the corner that is farthest away, wherever a swivel turns it. */
function wholeThickness(geometry: VolumeGeometry, { lookAt, look, right }: Camera, isTurning: boolean): number {
  const depths = cornersOf(geometry).map((corner) => {
    const way = subtract(corner, lookAt);
    return isTurning ? Math.hypot(dot(way, look), dot(way, right)) : Math.abs(dot(way, look));
  });
  return 2 * Math.max(...depths);
}

function moved(
  geometry: VolumeGeometry,
  camera: Camera,
  movement: Movement,
  slabMm: number | undefined,
): { cameras: Camera[]; step: number } {
  const to = (lookAt: Vec3): Camera => ({ ...camera, lookAt });
  switch (movement.kind) {
    case 'swivel': {
      const { rangeDegrees, stepDegrees: step = Math.min(defaultSwivelStepDegrees, rangeDegrees) } = movement;
      const count = counted(Math.round(rangeDegrees / step));
      const axis = opposite(camera.down);
      const turned = (degrees: number): Camera => {
        const radians = (degrees * Math.PI) / 180;
        return { ...camera, look: rotated(camera.look, axis, radians), right: rotated(camera.right, axis, radians) };
      };
      return { cameras: Array.from({ length: count }, (_, i) => turned((i - (count - 1) / 2) * step)), step };
    }
    case 'line': {
      const way = subtract(movement.to, camera.lookAt);
      const distanceMm = length(way);
      if (!(distanceMm > parallel)) {
        throw new ArchiveError(
          'bad-request',
          'The parameter volumetriccurvepoint is the point that is looked at; there is no way between them.',
        );
      }
      const step = movement.stepMm ?? slabMm ?? Math.min(distanceMm, stepAlong(geometry, scale(way, 1 / distanceMm)));
      const count = counted(Math.floor(distanceMm / step + 1e-6) + 1);
      return {
        cameras: Array.from({ length: count }, (_, i) => to(add(camera.lookAt, scale(way, (i * step) / distanceMm)))),
        step,
      };
    }
    case 'stack': {
      const step = movement.stepMm ?? slabMm ?? stepAlong(geometry, camera.look);
      const center = centerOf(geometry);
      const depths = cornersOf(geometry).map((corner) => dot(subtract(corner, center), camera.look));
      // From the middle of the first layer of voxels to that of the last.
      const depthMm = Math.max(0, 2 * Math.max(...depths) - stepAlong(geometry, camera.look));
      const count = counted(Math.floor(depthMm / step + 1e-6) + 1);
      const middle = add(camera.lookAt, scale(camera.look, dot(subtract(center, camera.lookAt), camera.look)));
      return {
        cameras: Array.from({ length: count }, (_, i) =>
          to(add(middle, scale(camera.look, (i - (count - 1) / 2) * step))),
        ),
        step,
      };
    }
  }
}

/** From one layer of voxels to the next along a direction: that of the axis which goes most its way. */
function stepAlong({ columnStep, rowStep, sliceStep }: VolumeGeometry, direction: Vec3): number {
  return Math.max(...[columnStep, rowStep, sliceStep].map((step) => Math.abs(dot(step, direction))));
}

function counted(count: number): number {
  if (count <= maximumVolumePictures) return Math.max(1, count);
  throw new ArchiveError(
    'bad-request',
    `The animation would have ${count} pictures, and at most ${maximumVolumePictures} are made; ask for a larger animationstepsize.`,
  );
}

const methodTerms: Readonly<Record<ProjectionMethod, string>> = {
  maximum: 'MAXIMUM_IP',
  minimum: 'MINIMUM_IP',
  average: 'AVERAGE_IP',
};

/** Annex K: what was rendered, in the words of a request for the same. `window` undefined: a VOI LUT Sequence of the data. */
export function responseModule(view: DescribedView, window: Window | undefined): DicomJson {
  const doubles = (values: readonly number[]) => ({ vr: 'FD' as const, Value: values.map(tidy) });
  const one = (tag: string, value: number | undefined): DicomJson =>
    value === undefined ? {} : { [tag]: doubles([value]) };
  return {
    ...(window && {
      '00281050': { vr: 'DS', Value: [window.center] },
      '00281051': { vr: 'DS', Value: [window.width] },
      '00281056': { vr: 'CS', Value: [window.function] },
    }),
    '0070120D': { vr: 'CS', Value: [methodTerms[view.method]] },
    ...one('00701503', view.slabMm),
    '00701603': doubles(view.position),
    '00701604': doubles(view.lookAt),
    '00701605': doubles(view.up),
    ...one('00701A03', view.rateHz),
    ...one('00701A05', view.step),
    ...one('00701A06', view.swivelDegrees),
    '00720510': { vr: 'CS', Value: [view.kind === 'rendered3d' ? '3D_RENDERING' : 'MPR'] },
  };
}

/** Without the traces of binary arithmetic, and without a negative zero, which JSON would lose. */
const tidy = (value: number): number => Math.round(value * 1e9) / 1e9 + 0;
