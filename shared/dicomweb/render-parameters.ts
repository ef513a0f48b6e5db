/**
 * The query parameters of rendered resources, PS3.18 §8.3.5: window, viewport, quality, annotation, iccprofile. Syntax only; what
 * they mean for pixels is imaging's. Those that a resource does not take are named in a warning instead of being passed over.
 */
import { ArchiveError } from '../errors.ts';
import type { ColorSpace } from '../imaging/icc-profile.ts';
import type { Window, WindowFunction } from '../imaging/image-attributes.ts';
import type { Viewport } from '../imaging/resample.ts';

export type AnnotationKind = 'patient' | 'technique';

export interface RenderParameters {
  readonly window?: Window;
  readonly viewport?: RequestedViewport;
  /** 1 to 100. */
  readonly quality?: number;
  /** Of gray in a PNG (an extension). */
  readonly bitDepth?: 16;
  /** What is burnt in; in the order asked for, each once. */
  readonly annotation?: readonly AnnotationKind[];
  /** `yes`: the colours as they are, with the profile that describes them. */
  readonly profile?: 'yes' | ColorSpace;
  /** The presentation state to apply, in the study of the image (§9, presentationUID; of other resources an extension). */
  readonly presentation?: NamedInstance;
  /** The segmentation to lay over the image, in its study (an extension); of its segments those, or all. */
  readonly segmentation?: { readonly ref: NamedInstance; readonly segmentNumbers: readonly number[] | undefined };
  /** Sentences for the header field Warning. */
  readonly warnings: readonly string[];
}

export interface NamedInstance {
  readonly seriesInstanceUid: string;
  readonly sopInstanceUid: string;
}

/** What the client left out is undefined: of a size as the aspect ratio wants, of a source to the far edge of the frame. */
export interface RequestedViewport {
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** In pixels; a negative width or height mirrors. */
  readonly source?: {
    readonly x: number;
    readonly y: number;
    readonly width: number | undefined;
    readonly height: number | undefined;
  };
  /** Instead of a source: its edges as parts of the frame, 0 to 1 (§9, region). */
  readonly region?: { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number };
}

/** No screen is larger, and a picture of this size is still rendered within memory and time. */
export const maximumViewport = 8192;

export type RenderParameterName =
  | 'window'
  | 'viewport'
  | 'quality'
  | 'bitdepth'
  | 'annotation'
  | 'iccprofile'
  | 'charset'
  | TreatmentParameterName;
/** What is applied to images one by one. */
export type TreatmentParameterName =
  | 'presentationUID'
  | 'presentationSeriesUID'
  | 'segmentationUID'
  | 'segmentationSeriesUID'
  | 'segmentNumbers';
export const renderParameterNames: readonly RenderParameterName[] = [
  'window',
  'viewport',
  'quality',
  'bitdepth',
  'annotation',
  'iccprofile',
  'charset',
  'presentationUID',
  'presentationSeriesUID',
  'segmentationUID',
  'segmentationSeriesUID',
  'segmentNumbers',
];

const functions: Readonly<Record<string, WindowFunction>> = {
  linear: 'LINEAR',
  'linear-exact': 'LINEAR_EXACT',
  linear_exact: 'LINEAR_EXACT',
  sigmoid: 'SIGMOID',
};

/**
 * @param taken the parameters that the resource has; others are warned about
 * @param others what the resource reads by itself
 * Error `bad-request` for a value that cannot be understood.
 */
export function parseRenderParameters(
  query: URLSearchParams,
  taken: readonly RenderParameterName[] = renderParameterNames,
  others: readonly string[] = [],
): RenderParameters {
  const value = (name: RenderParameterName): string | null => (taken.includes(name) ? query.get(name) : null);
  const window = value('window');
  const viewport = value('viewport');
  const quality = value('quality');
  const bitDepth = value('bitdepth');
  const annotation = value('annotation');
  const profile = value('iccprofile');
  const charset = value('charset');
  return {
    ...(window !== null && { window: parseWindow(window) }),
    ...(viewport !== null && { viewport: parseViewport(viewport) }),
    ...(quality !== null && { quality: parseQuality(quality) }),
    ...(bitDepth !== null && parseBitDepth(bitDepth)),
    ...(annotation !== null && { annotation: parseAnnotation(annotation) }),
    ...(profile !== null && parseProfile(profile)),
    ...parsePresentation(value('presentationUID'), value('presentationSeriesUID')),
    ...parseSegmentation(value('segmentationUID'), value('segmentationSeriesUID'), value('segmentNumbers')),
    warnings: [
      ...notTaken(query, [...taken, ...others, 'accept']),
      ...(charset === null ? [] : charsetWarning(charset)),
    ],
  };
}

/** Names come from outside: those that are no words are not repeated. */
function notTaken(query: URLSearchParams, taken: readonly string[]): string[] {
  const others = [...new Set(query.keys())].filter((name) => !taken.includes(name) && /^[\w.-]{1,40}$/.test(name));
  if (others.length === 0) return [];
  return [`The following parameters are not supported here and have been ignored: ${others.slice(0, 10).join(', ')}.`];
}

/** Answers in text are always UTF-8. */
export function charsetWarning(charset: string): string[] {
  const asked = charset.split(',').map((name) => name.trim().toLowerCase().split(';')[0]);
  if (asked.some((name) => name === 'utf-8' || name === 'utf8' || name === '*')) return [];
  return ['The charset parameter is not supported. Text is in UTF-8.'];
}

/** `window`: center,width,function. The function may be left out, as many clients do. */
function parseWindow(text: string): Window {
  const [center, width, name = 'linear', ...more] = text.split(',').map((piece) => piece.trim());
  const windowFunction = Object.hasOwn(functions, name.toLowerCase()) ? functions[name.toLowerCase()] : undefined;
  const parsed = { center: decimal(center), width: decimal(width) };
  const minimum = windowFunction === 'LINEAR' ? 1 : Number.MIN_VALUE;
  if (more.length > 0 || windowFunction === undefined || !(parsed.width >= minimum) || Number.isNaN(parsed.center)) {
    throw new ArchiveError(
      'bad-request',
      'The parameter window is center,width,function, such as window=40,400,linear; the function is linear, linear-exact or sigmoid, the width positive (linear: at least 1).',
    );
  }
  return { ...parsed, function: windowFunction };
}

/** §8.3.5.1.3, `viewport`: vw,vh and, all or none, sx,sy,sw,sh, each of which may be empty; a negative sw or sh mirrors. */
function parseViewport(text: string): RequestedViewport {
  const pieces = text.split(',').map((piece) => piece.trim());
  const [width, height] = pieces.slice(0, 2).map((piece) => (piece === '' ? undefined : whole(piece)));
  const rest = pieces.slice(2);
  const [x, y, sourceWidth, sourceHeight] = rest.map((piece) =>
    piece === '' ? undefined : Math.round(decimal(piece)),
  );
  const numbers = [x, y, sourceWidth, sourceHeight].filter((number) => number !== undefined);
  const validSource = rest.length === 0 || (rest.length === 4 && numbers.every((number) => !Number.isNaN(number)));
  const validSize = pieces.length >= 2 && isSide(width) && isSide(height);
  if (!validSize || !validSource || sourceWidth === 0 || sourceHeight === 0 || (x ?? 0) < 0 || (y ?? 0) < 0) {
    throw new ArchiveError(
      'bad-request',
      `The parameter viewport is width,height, each from 1 to ${maximumViewport}, and optionally x,y,width,height of the part of the frame to show, such as viewport=512,512,0,0,256,256; a negative width or height mirrors.`,
    );
  }
  if (rest.length === 0) return { width, height };
  return { width, height, source: { x: x ?? 0, y: y ?? 0, width: sourceWidth, height: sourceHeight } };
}

export const isSide = (side: number | undefined): boolean =>
  side === undefined || (side >= 1 && side <= maximumViewport);

interface FrameSize {
  readonly rows: number;
  readonly columns: number;
}

/**
 * The viewport for a frame of this size.
 * @param pixelAspect height of its pixels divided by their width
 * Error `bad-request` for a source that is no part of it.
 */
export function viewportFor(viewport: RequestedViewport, frame: FrameSize, pixelAspect = 1): Viewport {
  const source = sourceOf(viewport, frame);
  const region = {
    width: Math.abs(source?.width ?? frame.columns),
    height: Math.abs(source?.height ?? frame.rows) * pixelAspect,
  };
  const { width, height } = viewport;
  const along = (other: number | undefined, own: number, across: number): number =>
    other === undefined ? own : Math.max(1, Math.min(maximumViewport, Math.ceil((other * own) / across)));
  return {
    width: width ?? along(height, region.width, region.height),
    height: height ?? along(width, region.height, region.width),
    ...(source && { source }),
    ...(pixelAspect !== 1 && { pixelAspect }),
  };
}

function sourceOf({ source, region }: RequestedViewport, frame: FrameSize): Viewport['source'] {
  if (region !== undefined) {
    const x = Math.min(frame.columns - 1, Math.round(region.left * frame.columns));
    const y = Math.min(frame.rows - 1, Math.round(region.top * frame.rows));
    const width = Math.max(1, Math.round(region.right * frame.columns) - x);
    return { x, y, width, height: Math.max(1, Math.round(region.bottom * frame.rows) - y) };
  }
  if (source === undefined) return undefined;
  const { x, y, width = frame.columns - x, height = frame.rows - y } = source;
  if (width === 0 || height === 0) {
    throw new ArchiveError('bad-request', 'The source region of the viewport is not a part of the frame', { ...frame });
  }
  return { x, y, width, height };
}

export function parseQuality(text: string): number {
  const quality = /^[0-9]{1,3}$/.test(text.trim()) ? Number(text) : 0;
  if (quality >= 1 && quality <= 100) return quality;
  throw new ArchiveError('bad-request', 'The quality is a whole number from 1 to 100.');
}

function parseBitDepth(text: string): Pick<RenderParameters, 'bitDepth'> {
  if (text.trim() === '8') return {};
  if (text.trim() === '16') return { bitDepth: 16 };
  throw new ArchiveError('bad-request', 'The parameter bitdepth is 8, or 16 for gray images as PNG.');
}

export function parseAnnotation(text: string): readonly AnnotationKind[] {
  const kinds = new Set(text.split(',').map((kind) => kind.trim().toLowerCase()));
  const isKnown = (kind: string): kind is AnnotationKind => kind === 'patient' || kind === 'technique';
  const known = [...kinds].filter(isKnown);
  if (known.length === kinds.size) return known;
  throw new ArchiveError(
    'bad-request',
    'The parameter annotation is patient, technique, or both with a comma between.',
  );
}

export function parsePresentation(
  sopInstanceUid: string | null,
  seriesInstanceUid: string | null,
): Pick<RenderParameters, 'presentation'> {
  const presentation = namedInstance(sopInstanceUid, seriesInstanceUid, 'presentation');
  return presentation === undefined ? {} : { presentation };
}

function parseSegmentation(
  sopInstanceUid: string | null,
  seriesInstanceUid: string | null,
  segments: string | null,
): Pick<RenderParameters, 'segmentation'> {
  const ref = namedInstance(sopInstanceUid, seriesInstanceUid, 'segmentation');
  const segmentNumbers = segments?.split(',').map((piece) => whole(piece.trim()));
  const isList = segmentNumbers?.every((number) => number >= 1 && number <= 65535) ?? true;
  if (!isList || (ref === undefined && segmentNumbers !== undefined)) {
    throw new ArchiveError(
      'bad-request',
      'The parameter segmentNumbers is numbers from 1 with commas between, and goes with segmentationUID.',
    );
  }
  return ref === undefined ? {} : { segmentation: { ref, segmentNumbers } };
}

function namedInstance(
  sopInstanceUid: string | null,
  seriesInstanceUid: string | null,
  what: 'presentation' | 'segmentation',
): NamedInstance | undefined {
  if (sopInstanceUid === null && seriesInstanceUid === null) return undefined;
  const [sop, series] = [sopInstanceUid, seriesInstanceUid].map((uid) => uid?.trim() ?? '');
  if (sop && series && sop.length <= 256 && series.length <= 256) {
    return { sopInstanceUid: sop, seriesInstanceUid: series };
  }
  throw new ArchiveError(
    'bad-request',
    `The parameters ${what}UID and ${what}SeriesUID go together: the SOP Instance UID and the Series Instance UID of the ${what}, in the study of the image.`,
  );
}

/** §8.3.5.1.5. */
function parseProfile(text: string): Pick<RenderParameters, 'profile'> {
  const profile = text.trim().toLowerCase();
  if (profile === 'no') return {};
  if (profile === 'yes' || profile === 'srgb' || profile === 'adobergb' || profile === 'rommrgb') return { profile };
  throw new ArchiveError('bad-request', 'The parameter iccprofile is no, yes, srgb, adobergb or rommrgb.');
}

const whole = (text: string): number => (/^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN);

/** NaN for what is no decimal number. */
export const decimal = (text: string | undefined): number =>
  text !== undefined && /^[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:e[+-]?[0-9]{1,2})?$/i.test(text)
    ? Number(text)
    : Number.NaN;
