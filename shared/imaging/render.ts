/**
 * One frame to one picture: decode, grayscale pipeline or colour, viewport, annotation, encode (PS3.18 §8.3.5, §8.7.6).
 * Pure of archive and network. Doing it off the main thread is render-pool.ts.
 */
import { ArchiveError } from '../errors.ts';
import { type Annotation, annotate } from './annotation.ts';
import { decodeFrame, memoryNeededBytes } from './codecs.ts';
import { renderColor } from './color.ts';
import { type ColorProfile, encodePicture, type RenderedMediaType } from './encode.ts';
import type { ImageAttributes, Window } from './image-attributes.ts';
import { renderGray } from './lut.ts';
import { fitViewport, type Picture, type Viewport } from './resample.ts';

export interface RenderRequest {
  /** The bytes of one frame, its fragments joined. */
  readonly frame: Uint8Array;
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
  /** Of a native one-bit frame's first pixel within its first byte. */
  readonly bitOffset?: number;
  /** Instead of the frame's own; no meaning for colour. */
  readonly window?: Window;
  readonly viewport?: Viewport;
  /** Of a JPEG: 1 to 100, 90 when not given. */
  readonly quality?: number;
  readonly mediaType: RenderedMediaType;
  /** Text to burn in, after scaling. */
  readonly annotation?: Annotation;
  /** Of a JPEG or PNG: the ICC profile to put in. */
  readonly profile?: ColorProfile;
}

/** @throws ArchiveError `cannot-render`, or `bad-request` for a window, viewport or quality that cannot be */
export async function renderFrame(request: RenderRequest): Promise<Uint8Array<ArrayBuffer>> {
  const picture = await renderPicture(request);
  const { annotation, mediaType, quality, profile } = request;
  const finished = annotation === undefined ? picture : annotate(picture, annotation);
  return encodePicture(finished, mediaType, quality, profile);
}

/** Upper estimate of what the whole way takes: decoding and drawing the frame, then scaling it, and what is done with the result. */
export function renderingNeedsBytes(request: RenderRequest): number {
  const { attributes, transferSyntaxUid, viewport, annotation, profile, mediaType } = request;
  const { rows, columns, samplesPerPixel, photometricInterpretation } = attributes;
  const channels = samplesPerPixel === 1 && photometricInterpretation !== 'PALETTE COLOR' ? 1 : 3;
  const source = viewport?.source ?? { width: columns, height: rows };
  const across = Math.abs(source.width);
  const down = Math.abs(source.height);
  const scale = viewport === undefined ? 1 : Math.min(viewport.width / across, viewport.height / down);
  const pixels = across * down * scale * scale;
  // The first pass of scaling is in floating point, as wide as the source and as high as the result.
  const scaling = viewport === undefined ? 0 : across * down * scale * channels * 4 + pixels * channels;
  const copies = (annotation === undefined ? 0 : 1) + (mediaType === 'image/gif' ? 3 : 0);
  return (
    memoryNeededBytes(attributes, transferSyntaxUid) +
    scaling +
    pixels * channels * copies +
    (profile === undefined ? 0 : pixels * 3 * 4)
  );
}

/** The picture before it is encoded. Errors as for renderFrame. */
export async function renderPicture(
  request: Pick<RenderRequest, 'frame' | 'transferSyntaxUid' | 'attributes' | 'bitOffset' | 'window' | 'viewport'>,
): Promise<Picture> {
  const { frame, transferSyntaxUid, attributes, bitOffset, window, viewport } = request;
  if (window !== undefined) checkWindow(window);
  const decoded = await decodeFrame(frame, transferSyntaxUid, attributes, bitOffset === undefined ? {} : { bitOffset });
  const size = { width: decoded.columns, height: decoded.rows };
  const picture: Picture =
    decoded.meaning === 'GRAY'
      ? { ...size, channels: 1, pixels: renderGray(decoded, attributes, window).pixels }
      : { ...size, channels: 3, pixels: renderColor(decoded, attributes.palette) };
  return viewport === undefined ? picture : fitViewport(picture, viewport);
}

/** PS3.3 §C.11.2.1.2: Window Width is at least 1 for LINEAR, and greater than 0 for the others. */
function checkWindow({ center, width, function: voiFunction }: Window): void {
  if (!['LINEAR', 'LINEAR_EXACT', 'SIGMOID'].includes(voiFunction)) {
    throw new ArchiveError('bad-request', 'A window function is LINEAR, LINEAR_EXACT or SIGMOID');
  }
  const enough = voiFunction === 'LINEAR' ? width >= 1 : width > 0;
  if (!Number.isFinite(center) || !Number.isFinite(width) || !enough) {
    throw new ArchiveError(
      'bad-request',
      'A window has a finite center, and a width of at least 1 (LINEAR) or above 0',
    );
  }
}
