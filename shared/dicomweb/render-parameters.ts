/**
 * The query parameters of rendered resources, PS3.18 §8.3.5: window, viewport, quality, and the ones that are only warned
 * about. Syntax only; what they mean for pixels is imaging's.
 */
import { ArchiveError } from '../errors.ts';
import type { Window, WindowFunction } from '../imaging/image-attributes.ts';
import type { Viewport } from '../imaging/resample.ts';

export interface RenderParameters {
  readonly window?: Window;
  readonly viewport?: RequestedViewport;
  /** 1 to 100. */
  readonly quality?: number;
  readonly warnings: readonly string[];
}

/** As Viewport, but a size of the source that the client left out is undefined: to the far edge of the frame. */
export interface RequestedViewport {
  readonly width: number;
  readonly height: number;
  readonly source?: {
    readonly x: number;
    readonly y: number;
    readonly width: number | undefined;
    readonly height: number | undefined;
  };
}

/** No screen is larger, and a picture of this size is still rendered within memory and time. */
const maximumViewport = 8192;

const functions: Readonly<Record<string, WindowFunction>> = {
  linear: 'LINEAR',
  'linear-exact': 'LINEAR_EXACT',
  linear_exact: 'LINEAR_EXACT',
  sigmoid: 'SIGMOID',
};

/** Error `bad-request` for a value that cannot be understood. */
export function parseRenderParameters(query: URLSearchParams): RenderParameters {
  const window = query.get('window');
  const viewport = query.get('viewport');
  const quality = query.get('quality');
  const warnings: string[] = [];
  if (query.has('annotation')) warnings.push('The annotation parameter is not supported. Nothing has been burnt in.');
  const profile = query.get('iccprofile');
  if (profile !== null && profile.toLowerCase() !== 'no') {
    warnings.push('The iccprofile parameter is not supported. The picture carries no colour profile.');
  }
  return {
    ...(window === null ? {} : { window: parseWindow(window) }),
    ...(viewport === null ? {} : { viewport: parseViewport(viewport) }),
    ...(quality === null ? {} : { quality: parseQuality(quality) }),
    warnings,
  };
}

/** `window`: center,width,function. The function may be left out, as many clients do. */
function parseWindow(text: string): Window {
  const [center, width, name = 'linear', ...more] = text.split(',').map((piece) => piece.trim());
  const windowFunction = functions[name.toLowerCase()];
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
  const [width = 0, height = 0] = pieces.slice(0, 2).map((piece) => (/^[0-9]{1,5}$/.test(piece) ? Number(piece) : 0));
  const validSize = width >= 1 && height >= 1 && width <= maximumViewport && height <= maximumViewport;
  const rest = pieces.slice(2);
  const [x, y, sourceWidth, sourceHeight] = rest.map((piece) => (piece === '' ? undefined : decimal(piece)));
  const numbers = [x, y, sourceWidth, sourceHeight].filter((number) => number !== undefined);
  const validSource = rest.length === 0 || (rest.length === 4 && numbers.every((number) => !Number.isNaN(number)));
  if (!validSize || !validSource || sourceWidth === 0 || sourceHeight === 0 || (x ?? 0) < 0 || (y ?? 0) < 0) {
    throw new ArchiveError(
      'bad-request',
      `The parameter viewport is width,height, each from 1 to ${maximumViewport}, and optionally x,y,width,height of the part of the frame to show, such as viewport=512,512,0,0,256,256.`,
    );
  }
  if (rest.length === 0) return { width, height };
  return { width, height, source: { x: x ?? 0, y: y ?? 0, width: sourceWidth, height: sourceHeight } };
}

/** The viewport for a frame of this size. */
export function viewportFor(
  viewport: RequestedViewport,
  frame: { readonly rows: number; readonly columns: number },
): Viewport {
  const { width, height, source } = viewport;
  if (source === undefined) return { width, height };
  const { x, y } = source;
  return {
    width,
    height,
    source: { x, y, width: source.width ?? frame.columns - x, height: source.height ?? frame.rows - y },
  };
}

function parseQuality(text: string): number {
  const quality = /^[0-9]{1,3}$/.test(text.trim()) ? Number(text) : 0;
  if (quality >= 1 && quality <= 100) return quality;
  throw new ArchiveError('bad-request', 'The parameter quality is a whole number from 1 to 100.');
}

/** NaN for what is no decimal number. */
const decimal = (text: string | undefined): number =>
  text !== undefined && /^[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:e[+-]?[0-9]{1,2})?$/i.test(text)
    ? Number(text)
    : Number.NaN;
