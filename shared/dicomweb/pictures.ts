/**
 * The pictures of one stored instance, frame by frame: its attributes are read once, its LUTs and profile fetched, each frame's bytes read
 * within a budget of memory, and all of it handed to imaging's pipeline, given as `render`. Resources and their parameters are
 * rendered.ts, thumbnails.ts and wado-uri.ts.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { Archive, PackStore } from '../archive/ports.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { isArchiveError } from '../errors.ts';
import type { ColorProfile, RenderedMediaType } from '../imaging/encode.ts';
import { imageAttributesOf, items, numbers } from '../imaging/image-attributes.ts';
import { overlaysOf } from '../imaging/overlay.ts';
import { pixelAspectOf } from '../imaging/pixel-aspect.ts';
import type { RenderRequest } from '../imaging/render.ts';
import { reductionFor } from '../imaging/resolution.ts';
import { shutterOf } from '../imaging/shutter.ts';
import { type AnimatedMediaType, ahead, animationOf, frameTimeMs } from './animations.ts';
import { annotationOf } from './annotation-text.ts';
import { bulkPathOf, readBulk } from './bulkdata.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { FrameSource } from './frame-source.ts';
import type { Manifests } from './manifests.ts';
import type { ParseMetadata } from './parsed-metadata.ts';
import { type RenderParameters, viewportFor } from './render-parameters.ts';
import { type OpenImage, type TreatedFrame, type Treatment, usableImage } from './treatment.ts';

/** One frame to one picture; RenderPool's `render`. */
export type Render = (request: RenderRequest) => Promise<Uint8Array>;

export interface RenderOptions {
  readonly archive: Archive;
  readonly manifests: Manifests;
  readonly render: Render;
  /** For the frames that are being rendered or wait for it: whatever the queue is, memory is not it. */
  readonly frameBudget: ByteBudget;
  /** For LUTs and overlays that are no part of the metadata, and may be longer than any frame. */
  readonly bulkBudget: ByteBudget;
  /** For answers of many pictures: a few of all of theirs are given to `render` at a time, so that single ones get their turn. */
  readonly pictureTurns: ByteBudget;
  readonly parseMetadata: ParseMetadata;
}

export interface Pictures {
  readonly frames: FrameSource;
  /** (0028,6010) where there is one, else the first. */
  readonly representativeFrameNumber: number;
  /** About what the parameters ask for and this instance, or this media type, cannot have. */
  warningsFor(mediaType: RenderedMediaType): readonly string[];
  one(frameNumber: number, mediaType: RenderedMediaType): Promise<Uint8Array>;
  /** In the order asked for, a few at a time being rendered ahead. */
  several(frameNumbers: readonly number[], mediaType: RenderedMediaType): AsyncGenerator<Uint8Array, void, undefined>;
  /** Runs as the instance says it should. */
  animation(
    frameNumbers: readonly number[],
    mediaType: AnimatedMediaType,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined>;
}

/** Of an animation that no viewport was asked for: beyond it a cine is hundreds of megabytes. */
const animationPixels = 1024;
/**
 * @param treatment what is done to each frame beyond the parameters
 * @param firstFrame that warnings are about; the representative one by default
 * Errors: `cannot-render`, `not-found` without frames; of the treatment.
 */
export async function openPictures(
  { archive, render, frameBudget, bulkBudget, pictureTurns, parseMetadata }: RenderOptions,
  record: EntryRecord,
  entry: ManifestEntry,
  parameters: RenderParameters,
  treatment?: Treatment,
  firstFrame?: number,
): Promise<Pictures> {
  const usable = usableImage({ packs: archive.packs, parseMetadata, bulkBudget }, record, entry);
  const { frames, metadata } = usable;
  const representativeFrameNumber = representativeOf(metadata, frames.count);
  const shown = firstFrame ?? representativeFrameNumber;
  const ownWarnings = await usable.use(async (image) =>
    treatment === undefined ? drawnOver(image, 1).warnings : treatment.warnings(image, shown),
  );
  const profile = parameters.profile && {
    ...(await ownProfile(archive.packs, record, entry, metadata)),
    ...(parameters.profile !== 'yes' && { space: parameters.profile }),
  };
  const { window, quality } = parameters;
  const isDeep = (mediaType: RenderedMediaType): boolean =>
    parameters.bitDepth === 16 && mediaType === 'image/png' && !treatment && !profile && !isColor(metadata);
  const annotation = (frameNumber: number) =>
    parameters.annotation &&
    annotationOf(metadata, parameters.annotation, { number: frameNumber, count: frames.count });

  const one = (
    frameNumber: number,
    mediaType: RenderedMediaType,
    viewport = parameters.viewport,
  ): Promise<Uint8Array> => usable.use((image) => oneOf(image, frameNumber, mediaType, viewport));

  const oneOf = async (
    image: OpenImage,
    frameNumber: number,
    mediaType: RenderedMediaType,
    viewport: RenderParameters['viewport'],
  ): Promise<Uint8Array> => {
    const treated = await treatment?.frame(image, frameNumber);
    const attributes = treated?.attributes ?? imageAttributesOf(metadata, frameNumber, image.bulk);
    const text = annotation(frameNumber);
    const { size, pixelAspect } = treated ?? { size: attributes, pixelAspect: pixelAspectOf(metadata, frameNumber) };
    const { overlays, shutter } = treated === undefined ? drawnOver(image, frameNumber) : nothingDrawn;
    const wanted = {
      transferSyntaxUid: frames.givenTransferSyntaxUid,
      attributes,
      mediaType,
      ...(window && { window }),
      ...(shutter && { shutter }),
      ...(overlays.length > 0 && { overlays }),
      ...(viewport && { viewport: viewportFor(viewport, size, pixelAspect) }),
      ...(quality && { quality }),
      ...(isDeep(mediaType) && { bitDepth: 16 as const }),
      ...(text && { annotation: { topLeft: text.topLeft, bottomLeft: text.bottomLeft } }),
      ...(profile && mediaType !== 'image/gif' && { profile }),
    };
    if (treated !== undefined) {
      const { source = sourceOf(frames, frameNumber), heldBytes, drawn: draw } = treated;
      const { transferSyntaxUid } = source;
      return frameBudget.hold(source.heldBytes + heldBytes, async () =>
        render({ ...wanted, ...(await draw()), transferSyntaxUid, frame: await source.read() }),
      );
    }
    const drawnOf = (reduction: number): Promise<Uint8Array> =>
      frameBudget.hold(frames.heldBytesOf(frameNumber, reduction), async () =>
        render({ ...wanted, frame: await frames.readOne(frameNumber, reduction), isOwnMemory: true }),
      );
    const reduction = isDeep(mediaType) ? 0 : reductionFor(wanted);
    if (frames.heldBytesOf(frameNumber, reduction) === frames.heldBytesOf(frameNumber)) return drawnOf(0);
    try {
      return await drawnOf(reduction);
    } catch (error) {
      // What a lower resolution cannot show rightly, the whole frame may.
      if (!isArchiveError(error, 'cannot-render')) throw error;
      return drawnOf(0);
    }
  };

  return {
    frames,
    representativeFrameNumber,
    one: (frameNumber, mediaType) => one(frameNumber, mediaType),
    several: (frameNumbers, mediaType) =>
      ahead(frameNumbers, pictureTurns, (frameNumber) => one(frameNumber, mediaType)),
    animation: (frameNumbers, mediaType, signal) => {
      const { rows, columns } = sizeOf(metadata);
      const isLarge = Math.max(rows, columns) > animationPixels;
      const viewport =
        parameters.viewport ?? (isLarge ? { width: animationPixels, height: animationPixels } : undefined);
      const pictures = ahead(frameNumbers, pictureTurns, (frameNumber) => one(frameNumber, mediaType, viewport));
      return animationOf(mediaType, pictures, frameTimeMs(metadata), signal);
    },
    warningsFor: (mediaType) => [
      ...parameters.warnings,
      ...ownWarnings,
      ...mediaTypeWarnings(parameters, mediaType),
      ...(parameters.bitDepth !== undefined && !isDeep(mediaType)
        ? ['The bitdepth parameter is for gray images as PNG, without profile, presentation state or segments: 8 bits.']
        : []),
      ...(window && isColor(metadata) ? ['The window parameter has no meaning for colour and was ignored.'] : []),
      ...(annotation(1)?.complete === false
        ? ['The annotation holds characters that cannot be drawn here; each is shown as an empty box.']
        : []),
    ],
  };
}

const nothingDrawn = { overlays: [], shutter: undefined } as const;

const sourceOf = (frames: FrameSource, frameNumber: number): NonNullable<TreatedFrame['source']> => ({
  heldBytes: frames.heldBytesOf(frameNumber),
  transferSyntaxUid: frames.givenTransferSyntaxUid,
  read: () => frames.readOne(frameNumber),
});

/** What hides parts of a frame and what is drawn over it, as the image itself says; an overlay that serves as shutter is not drawn. */
function drawnOver({ metadata, bulk }: OpenImage, frameNumber: number) {
  const { overlays, warnings } = overlaysOf(metadata, frameNumber, bulk);
  const hidden = shutterOf(metadata, sizeOf(metadata), overlays);
  return {
    shutter: hidden.shutter,
    overlays: overlays.filter((overlay) => overlay !== hidden.shutter?.bitmap),
    warnings: [...warnings, ...hidden.warnings],
  };
}

const sizeOf = (metadata: DicomJson): { rows: number; columns: number } => ({
  rows: numbers(metadata['00280010'])[0] ?? 0,
  columns: numbers(metadata['00280011'])[0] ?? 0,
});

/** What is asked for and this media type has not. */
export const mediaTypeWarnings = (
  { quality, profile }: Pick<RenderParameters, 'quality' | 'profile'>,
  mediaType: RenderedMediaType,
): readonly string[] => [
  ...(quality !== undefined && mediaType !== 'image/jpeg' && mediaType !== 'image/webp'
    ? ['The quality parameter is for JPEG and WebP alone.']
    : []),
  ...(profile && mediaType === 'image/gif' ? ['The iccprofile parameter is not supported for GIF.'] : []),
];

function representativeOf(metadata: DicomJson, count: number): number {
  const stated = numbers(metadata['00286010'])[0] ?? 1;
  return Number.isInteger(stated) && stated >= 1 && stated <= count ? stated : 1;
}

const isColor = (metadata: DicomJson): boolean =>
  (numbers(metadata['00280002'])[0] ?? 1) > 1 || metadata['00280004']?.Value?.[0] === 'PALETTE COLOR';

/** (0028,2000), of the image or of its optical path (PS3.3 §C.11.15, §C.8.12.5). */
async function ownProfile(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  metadata: DicomJson,
): Promise<Pick<ColorProfile, 'own'>> {
  const element = metadata['00282000'] ?? items(metadata['00480105'])[0]?.['00282000'];
  if (element?.InlineBinary !== undefined) return { own: new Uint8Array(Buffer.from(element.InlineBinary, 'base64')) };
  if (element?.BulkDataURI === undefined) return {};
  const path = bulkPathOf(element.BulkDataURI);
  // A profile is some hundred kilobytes at most; what is longer is none.
  if ((entry.bulk[path]?.lengthBytes ?? 0) > 4 * 1024 * 1024) return {};
  return { own: await readBulk(packs, record, entry, path) };
}
