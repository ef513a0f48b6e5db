/**
 * One frame to one picture (PS3.18 §8.3.5, §8.7.6), in this order: decode; modality, VOI and presentation LUT, or colour; shutter,
 * overlays and segments; presentation state and viewport; annotation; encode. Each step is a file of its own, and this one is their order.
 * Pure of archive and network. Doing it off the main thread is render-pool.ts.
 */
import { ArchiveError } from '../errors.ts';
import { type Annotation, annotate } from './annotation.ts';
import { decodedReduction, decodeFrame, isLossyFrame, memoryNeededBytes } from './codecs.ts';
import { checkPhotometric, renderColor, renderSupplemental } from './color.ts';
import type { DecodedFrame, PixelValues } from './decoded-frame.ts';
import { type ColorProfile, encodeDeepPng, encodePicture, type RenderedMediaType } from './encode.ts';
import type { ImageAttributes, Window } from './image-attributes.ts';
import { renderGray, renderGrayWide } from './lut.ts';
import { drawOverlays, type OverlayPlane } from './overlay.ts';
import { inPseudoColors, type Presentation, presentingNeedsBytes, presentPicture } from './presentation.ts';
import { type DeepPicture, fitViewport, type Picture, targetSize, type Viewport } from './resample.ts';
import { fitReduced, reductionFor } from './resolution.ts';
import { overlayNeedsBytes, overlaySegments, type SegmentOverlay } from './segmentation-overlay.ts';
import { applyShutter, type Shutter } from './shutter.ts';

export interface RenderRequest {
  /** The bytes of one frame, its fragments joined. */
  readonly frame: Uint8Array;
  /** Nobody else needs what lies around the frame in its memory: all of that may be handed to another thread. */
  readonly isOwnMemory?: boolean;
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
  /** Of a native one-bit frame's first pixel within its first byte. */
  readonly bitOffset?: number;
  /** Instead of the frame's own; no meaning for colour. */
  readonly window?: Window;
  /** What hides parts of the image: its own, or that of a presentation state. */
  readonly shutter?: Shutter;
  /** Drawn over the image and its shutter, in white: its own. */
  readonly overlays?: readonly OverlayPlane[];
  readonly viewport?: Viewport;
  /** Segments to lay over the image. */
  readonly segments?: SegmentOverlay;
  /** What a presentation state makes of the image; its tables are in the attributes. */
  readonly presentation?: Presentation;
  /** Of a JPEG (90 when not given) or WebP (lossless when not given): 1 to 100. */
  readonly quality?: number;
  readonly mediaType: RenderedMediaType;
  /** 65536 levels of gray, of a PNG without a profile, segments or a presentation state; colour has 8 bits all the same. */
  readonly bitDepth?: 16;
  /** Text to burn in, after scaling. */
  readonly annotation?: Annotation;
  /** Of any but GIF: the ICC profile to put in. */
  readonly profile?: ColorProfile;
}

/** @throws ArchiveError `cannot-render`, or `bad-request` for a window, viewport or quality that cannot be */
export async function renderFrame(request: RenderRequest): Promise<Uint8Array<ArrayBuffer>> {
  const deep = request.bitDepth === 16 ? await renderDeep(request) : undefined;
  if (deep !== undefined) return encodeDeepPng(deep);
  const picture = await renderPicture(request);
  const { annotation, mediaType, quality, profile } = request;
  const finished = annotation === undefined ? picture : annotate(picture, annotation);
  return encodePicture(finished, mediaType, quality, profile);
}

/** Upper estimate of what the whole way takes: decoding and drawing the frame, then scaling it, and what is done with the result. */
export function renderingNeedsBytes(request: RenderRequest): number {
  const { attributes, transferSyntaxUid, viewport, annotation, profile, mediaType, overlays = [] } = request;
  const { rows, columns, samplesPerPixel, photometricInterpretation } = attributes;
  const isGray = photometricInterpretation !== 'PALETTE COLOR' && attributes.supplemental === undefined;
  const channels = samplesPerPixel === 1 && isGray ? 1 : 3;
  const source = viewport?.source ?? { width: columns, height: rows };
  const across = Math.abs(source.width);
  const down = Math.abs(source.height);
  const target = viewport === undefined ? { width: across, height: down } : targetSize(source, viewport);
  const pixels = target.width * target.height;
  const scaling = viewport === undefined ? 0 : pixels * channels;
  const copies = (annotation === undefined ? 0 : 1) + (mediaType === 'image/gif' ? 3 : 0);
  const reduction = decodedReduction(request.frame, transferSyntaxUid, attributes, reductionFor(request));
  const decoding = memoryNeededBytes(attributes, transferSyntaxUid, reduction);
  // One is drawn at a time: its bits and its outline.
  const largest = overlays.reduce((most, overlay) => Math.max(most, overlay.rows * overlay.columns), 0);
  const isEmbedded = overlays.some(({ source }) => source.kind === 'embedded');
  return (
    decoding +
    (isEmbedded ? decoding : 0) +
    2 * largest +
    scaling +
    pixels * channels * copies +
    (request.segments === undefined ? 0 : overlayNeedsBytes(request.segments) + rows * columns * 7) +
    (request.presentation === undefined ? 0 : presentingNeedsBytes(request.presentation, viewport)) +
    (profile === undefined ? 0 : pixels * 3 * 4) +
    (request.bitDepth === undefined ? 0 : rows * columns * 4 + pixels * 4)
  );
}

/** What of a request makes the picture, before annotation and encoding. */
export type PictureRequest = Omit<RenderRequest, 'mediaType' | 'quality' | 'annotation' | 'profile'>;

/** The picture before it is annotated and encoded. Errors as for renderFrame. */
export async function renderPicture(request: PictureRequest): Promise<Picture> {
  const { attributes, window, shutter, overlays = [], segments, presentation, viewport } = request;
  if (window !== undefined) checkWindow(window);
  checkPhotometric(attributes);
  const decoded = await decodeFrame(request.frame, request.transferSyntaxUid, attributes, {
    ...layoutOf(request),
    reduction: reductionFor(request),
  });
  const plain = pictureOf(decoded, attributes, window);
  const picture = presentation === undefined ? plain : inPseudoColors(plain, presentation);
  if (shutter !== undefined) applyShutter(picture, shutter, attributes);
  if (overlays.length > 0) drawOverlays(picture, overlays, attributes, await embeddedCells(request));
  const image = segments === undefined ? picture : await overlaySegments(picture, segments);
  if (presentation !== undefined) return presentPicture(image, presentation, viewport);
  if (viewport === undefined) return image;
  const { reduction = 0 } = decoded;
  return reduction > 0 ? fitReduced(image, attributes, reduction, viewport) : fitViewport(image, viewport);
}

/**
 * Gray of 16 bits, from the same steps; undefined for colour. What is drawn over the image is drawn in 8 bits, and taken from there: those
 * are levels that the 16 bits have, too.
 */
async function renderDeep(request: RenderRequest): Promise<DeepPicture | undefined> {
  const { attributes, window, shutter, overlays = [], viewport, annotation } = request;
  if (window !== undefined) checkWindow(window);
  checkPhotometric(attributes);
  const decoded = await decodeFrame(request.frame, request.transferSyntaxUid, attributes, layoutOf(request));
  if (decoded.meaning !== 'GRAY' || attributes.supplemental !== undefined) return undefined;
  const size = { width: decoded.columns, height: decoded.rows, channels: 1 as const };
  const image = { ...size, pixels: renderGrayWide(decoded, attributes, window).pixels };
  if (shutter !== undefined || overlays.length > 0) {
    const cells = overlays.length > 0 ? await embeddedCells(request) : undefined;
    // Drawn on black and on white: where both are one, nothing of the image is to be seen, its lowest bits neither.
    const [onBlack, onWhite] = [0, 255].map((level): Picture => {
      const drawn: Picture = { ...size, pixels: new Uint8Array(image.pixels.length).fill(level) };
      if (shutter !== undefined) applyShutter(drawn, shutter, attributes);
      if (overlays.length > 0) drawOverlays(drawn, overlays, attributes, cells);
      return drawn;
    });
    takeCommon(image, onBlack!, onWhite!);
  }
  const shown = viewport === undefined ? image : fitViewport(image, viewport);
  if (annotation !== undefined) {
    const plain = shallow(shown);
    takeOver(shown, plain, annotate(plain, annotation));
  }
  return shown;
}

function shallow({ pixels, ...size }: DeepPicture): Picture {
  const bytes = new Uint8Array(pixels.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = pixels[i]! >> 8;
  return { ...size, pixels: bytes };
}

/** The pixels that are the same in both. */
function takeCommon({ pixels }: DeepPicture, one: Picture, other: Picture): void {
  for (let i = 0; i < pixels.length; i++) if (one.pixels[i] === other.pixels[i]) pixels[i] = one.pixels[i]! * 257;
}

/** The pixels in which the second differs from the first. */
function takeOver({ pixels }: DeepPicture, plain: Picture, drawn: Picture): void {
  for (let i = 0; i < pixels.length; i++) {
    const level = drawn.pixels[i]!;
    if (level !== plain.pixels[i]) pixels[i] = level * 257;
  }
}

const layoutOf = ({ bitOffset = 0 }: PictureRequest) => ({ bitOffset, asView: true });

/** Stored values to what is seen of them: gray through its LUTs, or colour. The picture's memory is its own. */
function pictureOf(decoded: DecodedFrame, attributes: ImageAttributes, window: Window | undefined): Picture {
  const size = { width: decoded.columns, height: decoded.rows };
  if (decoded.meaning !== 'GRAY') return { ...size, channels: 3, pixels: renderColor(decoded, attributes.palette) };
  const { pixels } = renderGray(decoded, attributes, window);
  const { supplemental } = attributes;
  if (supplemental === undefined) return { ...size, channels: 1, pixels };
  return { ...size, channels: 3, pixels: renderSupplemental(decoded, pixels, supplemental) };
}

/**
 * The cells with the bits that decoding takes off, where an overlay lies in those: decoded once more, as if every bit were of the
 * value, whatever the transfer syntax. Lossy compression leaves nothing of single bits.
 */
async function embeddedCells(request: PictureRequest): Promise<PixelValues | undefined> {
  const { frame, transferSyntaxUid, attributes, overlays = [] } = request;
  const { bitsAllocated } = attributes;
  const isEmbedded = overlays.some(({ source }) => source.kind === 'embedded');
  if (!isEmbedded || isLossyFrame(frame, transferSyntaxUid)) return undefined;
  const whole = { ...attributes, bitsStored: bitsAllocated, highBit: bitsAllocated - 1, signed: false };
  return (await decodeFrame(frame, transferSyntaxUid, whole, layoutOf(request))).values;
}

/** PS3.3 §C.11.2.1.2: Window Width is at least 1 for LINEAR, and greater than 0 for the others. */
export function checkWindow({ center, width, function: voiFunction }: Window): void {
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
