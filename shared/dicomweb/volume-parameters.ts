/**
 * The query parameters of Rendered MPR and Rendered 3D Volume Resources, PS3.18 §8.3.5.3: which data the volume is made of, from where it
 * is looked at, how thick, how it moves. Syntax only, and what excludes what; what they mean in space is volume-view.ts, what they choose
 * volume-selection.ts.
 */
import { type MatchKey, matchKey } from '../dicom/matching.ts';
import { dictionaryVr } from '../dicom/tags.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError } from '../errors.ts';
import type { Vec3 } from '../imaging/volume-geometry.ts';
import {
  decimal,
  parseRenderParameters,
  type RenderParameterName,
  type RenderParameters,
} from './render-parameters.ts';
import { attributePath } from './search-parameters.ts';

/** `mpr`: a plane, or a slab about it. `3d`: the whole volume at once. */
export type VolumeKind = 'renderedmpr' | 'rendered3d';

export type ProjectionMethod = 'maximum' | 'minimum' | 'average';

/** Which side of the patient the camera is at (§8.3.5.3.4). */
export type Side = 'a' | 'p' | 'r' | 'l' | 'h' | 'f';

/** What `volumeinputreference` names: a series or an instance by its UID, or a frame of the instance that is the target. */
export type VolumeInput = { readonly uid: string } | { readonly frameNumber: number };

export type Movement =
  /** About the axis through the point looked at that is upright in the picture, half the range to both sides. */
  | { readonly kind: 'swivel'; readonly rangeDegrees: number; readonly stepDegrees: number | undefined }
  /** From the point looked at in a straight line. */
  | { readonly kind: 'line'; readonly to: Vec3; readonly stepMm: number | undefined }
  /** From the near end of the volume to the far one. */
  | { readonly kind: 'stack'; readonly stepMm: number | undefined };

export interface VolumeParameters {
  readonly inputs: readonly VolumeInput[];
  /** All of them must be met, by each frame. */
  readonly matches: readonly MatchKey[];
  readonly method: ProjectionMethod | undefined;
  readonly side: Side | undefined;
  /** Millimetres in the patient's coordinates. */
  readonly viewpointPosition: Vec3 | undefined;
  readonly viewpointLookAt: Vec3 | undefined;
  /** A direction; of any length above 0. */
  readonly viewpointUp: Vec3 | undefined;
  readonly slabMm: number | undefined;
  readonly movement: Movement | undefined;
  /** Pictures a second. */
  readonly animationRate: number | undefined;
  /** Only what is or would be rendered, in words: Annex K. */
  readonly isMetadata: boolean;
  readonly picture: RenderParameters;
  /** Sentences for the header field Warning, those of `picture` among them. */
  readonly warnings: readonly string[];
}

const names = [
  'volumeinputreference',
  'match',
  'renderingmethod',
  'orientation',
  'viewpointposition',
  'viewpointlookat',
  'viewpointup',
  'mprslab',
  'swivelrange',
  'volumetriccurvepoint',
  'animationstepsize',
  'animationrate',
  'renderedvolumetricmetadata',
] as const;
type VolumeParameterName = (typeof names)[number];

/** Of those of rendered resources. Presentation states and segmentations are of slices. */
const pictureNames: readonly RenderParameterName[] = [
  'window',
  'viewport',
  'quality',
  'annotation',
  'iccprofile',
  'charset',
];

const methods: Readonly<Record<string, ProjectionMethod>> = {
  maximum_ip: 'maximum',
  minimum_ip: 'minimum',
  average_ip: 'average',
};

/** The letters are the standard's; the words say how radiologists look at such planes. */
const sides: Readonly<Record<string, Side>> = {
  a: 'a',
  p: 'p',
  r: 'r',
  l: 'l',
  h: 'h',
  f: 'f',
  axial: 'f',
  transverse: 'f',
  coronal: 'a',
  sagittal: 'l',
};

const maximumInputs = 1_000;
/** Further away, or thicker, is no patient. */
const farthestMm = 1e6;
const thickestMm = 1e4;
/** GIF players take no more, and no eye does. */
const fastestRate = 50;

/** Error `bad-request` for a value that cannot be understood, or two that exclude each other. */
export function parseVolumeParameters(query: URLSearchParams, kind: VolumeKind): VolumeParameters {
  const value = (name: VolumeParameterName): string | undefined => query.get(name)?.trim() || undefined;
  const keys = attributeKeys(query);
  const picture = parseRenderParameters(query, pictureNames, [...names, ...keys.map(([name]) => name)]);
  const side = optional(value('orientation'), parseSide);
  const viewpointPosition = optional(value('viewpointposition'), (text) => point(text, 'viewpointposition'));
  const viewpointLookAt = optional(value('viewpointlookat'), (text) => point(text, 'viewpointlookat'));
  const viewpointUp = optional(value('viewpointup'), (text) => point(text, 'viewpointup'));
  if (viewpointUp?.every((coordinate) => coordinate === 0) === true) {
    throw bad(
      'The parameter viewpointup is a direction and not 0,0,0; leave it out for head up, or anterior up where the head is not to be seen.',
    );
  }
  if (side !== undefined && (viewpointPosition !== undefined || viewpointUp !== undefined)) {
    throw bad(
      'The parameter orientation excludes viewpointposition and viewpointup; give it alone or with viewpointlookat, or those without it.',
    );
  }
  const slabMm = optional(value('mprslab'), (text) =>
    positive(text, thickestMm, 'mprslab is the thickness of the slab in mm, such as mprslab=20'),
  );
  const askedRate = optional(value('animationrate'), (text) =>
    positive(text, 1000, 'animationrate is pictures a second, such as animationrate=10'),
  );
  const movement = parseMovement(query, kind, askedRate !== undefined);
  return {
    inputs: parseInputs(query.getAll('volumeinputreference')),
    matches: [...keys, ...namedKeys(query.getAll('match'))].map(([name, text]) => keyOf(name, text)),
    method: optional(value('renderingmethod'), parseMethod),
    side,
    viewpointPosition,
    viewpointLookAt,
    viewpointUp,
    slabMm: kind === 'renderedmpr' ? slabMm : undefined,
    movement,
    animationRate: askedRate === undefined ? undefined : Math.min(askedRate, fastestRate),
    isMetadata: parseFlag(value('renderedvolumetricmetadata')),
    picture,
    warnings: [
      ...picture.warnings,
      ...(slabMm !== undefined && kind === 'rendered3d'
        ? ['The parameter mprslab is for renderedmpr; rendered3d takes the whole volume.']
        : []),
      ...(askedRate !== undefined && askedRate > fastestRate
        ? [`An animation runs at ${fastestRate} pictures a second at most.`]
        : []),
    ],
  };
}

const bad = (sentence: string): ArchiveError => new ArchiveError('bad-request', sentence);

const optional = <T>(text: string | undefined, parse: (text: string) => T): T | undefined =>
  text === undefined ? undefined : parse(text);

/** §8.3.4.1: `{attribute}={value}`, by keyword or tag; what is no attribute is somebody else's. */
function attributeKeys(query: URLSearchParams): [name: string, text: string][] {
  const known: readonly string[] = [...names, ...pictureNames, 'accept'];
  return [...new Set(query.keys())]
    .filter((name) => !known.includes(name) && attributePath(name) !== undefined)
    .map((name) => [name, query.getAll(name).join('\\')]);
}

/** The same under the name that the table of parameters has for it: `match=AcquisitionNumber=2`. */
function namedKeys(values: readonly string[]): [name: string, text: string][] {
  return values
    .filter((text) => text.trim() !== '')
    .map((text) => {
      const at = text.indexOf('=');
      const name = text.slice(0, Math.max(0, at)).trim();
      if (attributePath(name) === undefined) {
        throw bad(
          'The parameter match is an attribute and its value, such as match=AcquisitionNumber=2; or the attribute is the parameter: AcquisitionNumber=2.',
        );
      }
      return [name, text.slice(at + 1)];
    });
}

function keyOf(name: string, text: string): MatchKey {
  const path = attributePath(name)!;
  const vr = dictionaryVr(path.at(-1)!);
  if (vr !== undefined && vr !== 'SQ') return matchKey(path, vr, text);
  throw bad('An attribute to be matched is one of the dictionary that is no sequence, such as AcquisitionNumber=2.');
}

function parseInputs(values: readonly string[]): VolumeInput[] {
  const words = values
    .flatMap((text) => text.split(','))
    .map((word) => word.trim())
    .filter((word) => word !== '');
  if (words.length > maximumInputs)
    throw bad(`The parameter volumeinputreference names at most ${maximumInputs} inputs.`);
  return words.map((word) => {
    if (/^[0-9]{1,6}$/.test(word) && Number(word) > 0) return { frameNumber: Number(word) };
    if (isUid(word)) return { uid: word };
    throw bad(
      'The parameter volumeinputreference is the UID of a series or of an instance, or the number of a frame of the instance in the path; several with commas between.',
    );
  });
}

function parseMethod(text: string): ProjectionMethod {
  const name = text.toLowerCase();
  if (Object.hasOwn(methods, name)) return methods[name]!;
  if (name === 'volume_rendered') {
    throw bad('Volume rendering is not done here; the renderingmethod is maximum_ip, minimum_ip or average_ip.');
  }
  throw bad('The parameter renderingmethod is maximum_ip, minimum_ip or average_ip.');
}

function parseSide(text: string): Side {
  const name = text.toLowerCase();
  if (Object.hasOwn(sides, name)) return sides[name]!;
  throw bad(
    'The parameter orientation is a, p, r, l, h or f: the side of the patient that the camera is at; or axial (f), coronal (a) or sagittal (l).',
  );
}

function parseFlag(text: string | undefined): boolean {
  const flag = text?.toLowerCase() ?? 'no';
  if (flag === 'yes' || flag === 'no') return flag === 'yes';
  throw bad('The parameter renderedvolumetricmetadata is yes, or left out.');
}

function parseMovement(query: URLSearchParams, kind: VolumeKind, hasRate: boolean): Movement | undefined {
  const points = query
    .getAll('volumetriccurvepoint')
    .map((text) => text.trim())
    .filter((text) => text !== '');
  const swivel = query.get('swivelrange')?.trim();
  const step = query.get('animationstepsize')?.trim();
  const stepSize = step
    ? positive(
        step,
        thickestMm,
        'animationstepsize is the distance from picture to picture, in mm or for a swivel in degrees, such as animationstepsize=2',
      )
    : undefined;
  if (swivel) {
    if (points.length > 0) throw bad('The parameters swivelrange and volumetriccurvepoint exclude each other.');
    const rangeDegrees = positive(swivel, 360, 'swivelrange is an angle in degrees up to 360, such as swivelrange=180');
    return { kind: 'swivel', rangeDegrees, stepDegrees: stepSize };
  }
  if (points.length > 1 || (points[0]?.split(',').length ?? 3) > 3) {
    throw bad(
      'One volumetriccurvepoint is taken: the end of a straight line that begins at viewpointlookat. Curved lines and planes are not supported.',
    );
  }
  const isMoving = points.length > 0 || stepSize !== undefined || hasRate;
  if (!isMoving) return undefined;
  if (kind === 'rendered3d')
    throw bad('The whole volume is animated by swivelrange; moving through it is done by renderedmpr.');
  const [to] = points;
  return to === undefined
    ? { kind: 'stack', stepMm: stepSize }
    : { kind: 'line', to: point(to, 'volumetriccurvepoint'), stepMm: stepSize };
}

function point(text: string, name: VolumeParameterName): Vec3 {
  const [x = Number.NaN, y = Number.NaN, z = Number.NaN, ...more] = text
    .split(',')
    .map((piece) => decimal(piece.trim()));
  if (more.length === 0 && [x, y, z].every((coordinate) => Math.abs(coordinate) <= farthestMm)) return [x, y, z];
  throw bad(
    `The parameter ${name} is three numbers, x,y,z in the patient's coordinates in mm: to the left, to the back, to the head; such as ${name}=0,-20,100.`,
  );
}

function positive(text: string, most: number, sentence: string): number {
  const number = decimal(text);
  if (number > 0 && number <= most) return number;
  throw bad(`The parameter ${sentence}; above 0 and at most ${most}.`);
}
