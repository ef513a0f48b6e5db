/**
 * A segmentation out of the archive, laid over the frames of an image that is asked for with it, or over the images that it was made
 * from when it is asked for itself. What lies where, and in which colour, is imaging's.
 */
import type { InstanceRecord, InstanceRef } from '../archive/records.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { canDecode } from '../imaging/codecs.ts';
import { checkFrameSize } from '../imaging/decoded-frame.ts';
import { type ImageAttributes, imageAttributesOf } from '../imaging/image-attributes.ts';
import { overlaysOf } from '../imaging/overlay.ts';
import { pixelAspectOf } from '../imaging/pixel-aspect.ts';
import {
  colorOf,
  type ImageFrame,
  isSegmentation,
  isSource,
  labelColors,
  type Overlap,
  overlapsOn,
  referencedSeries,
  type Segmentation,
  segmentationOf,
  segmentNumberOf,
  sourcesOf,
} from '../imaging/segmentation.ts';
import type { SegmentFrame } from '../imaging/segmentation-overlay.ts';
import { shutterOf } from '../imaging/shutter.ts';
import type { RenderOptions } from './pictures.ts';
import { type OpenImage, openImage, type TreatedFrame, type Treatment } from './treatment.ts';

export interface LoadedSegmentation {
  readonly record: InstanceRecord | (InstanceRef & Pick<InstanceRecord, 'tenant' | 'digest'>);
  readonly segmentation: Segmentation;
  readonly image: OpenImage;
  /** Those that are asked for; undefined: all. */
  readonly segmentNumbers: readonly number[] | undefined;
}

/** Of anatomy, half of it shows through. */
const opacity = 0.5;
/** Looked through for those that lie on one image. */
const maximumFrames = 50_000;
/** Laid over one picture: more than there are organs. */
const maximumOverlaid = 256;
const maximumOverlaidBytes = 64 * 1024 * 1024;
/** Of the images under the frames of one segmentation, with what they say of themselves: those that are drawn now, no more. */
const keptSources = 16;
/** Tried for one that is here and lies under the segments. */
const maximumSources = 8;

/** Errors: `cannot-render` for what is no segmentation, or one that cannot be read. */
export async function loadSegmentation(
  { archive, manifests, parseMetadata }: RenderOptions,
  record: Parameters<RenderOptions['manifests']['entryOf']>[0] &
    LoadedSegmentation['record'] &
    Pick<InstanceRecord, 'sopClassUid'>,
  segmentNumbers?: readonly number[],
): Promise<LoadedSegmentation> {
  if (!isSegmentation(record.sopClassUid)) {
    throw new ArchiveError('cannot-render', 'What is to be laid over the image is no segmentation.', {
      sopClassUid: record.sopClassUid,
    });
  }
  const entry = await manifests.entryOf(record);
  const image = await openImage({ packs: archive.packs, parseMetadata }, record, entry);
  return { record, image, segmentation: segmentationOf(image.metadata), segmentNumbers };
}

/** The frame of an image with all segments, or those asked for, that lie on it. */
export function overlayTreatment(loaded: LoadedSegmentation, image: InstanceRef): Treatment {
  const { record, segmentation } = loaded;
  if (segmentation.frameCount > maximumFrames) {
    throw new ArchiveError(
      'limit-exceeded',
      `The segmentation has more than ${maximumFrames} frames; ask for its own frames instead.`,
    );
  }
  const found = new Map<number, Promise<Overlaid>>();
  const overlaid = ({ metadata }: OpenImage, frameNumber: number): Promise<Overlaid> => {
    const lying =
      found.get(frameNumber) ?? framesOn(loaded, { metadata, sopInstanceUid: image.sopInstanceUid, frameNumber });
    found.set(frameNumber, lying);
    return lying;
  };
  return {
    identityOf: async () => [record.digest],
    frame: async (open, frameNumber) => {
      const { lying } = await overlaid(open, frameNumber);
      const heldBytes = lying.reduce((sum, one) => sum + loaded.image.frames.heldBytesOf(one.frameNumber), 0);
      if (lying.length > maximumOverlaid || heldBytes > maximumOverlaidBytes) {
        throw new ArchiveError(
          'limit-exceeded',
          `More than ${maximumOverlaid} frames of the segmentation lie on this image; ask for some of its segments by segmentNumbers.`,
        );
      }
      return treated(loaded, open, frameNumber, lying, heldBytes);
    },
    warnings: async (open, frameNumber) => {
      const { lying, ofOthers } = await overlaid(open, frameNumber);
      return [
        ...(lying.length === 0 ? ['No segment of the segmentation lies on this image.'] : []),
        ...(lying.some(({ overlap }) => overlap.fromImage !== undefined) ? [resampled] : []),
        ...(ofOthers > 0
          ? [
              `${ofOthers} frames of the segmentation lie here and were made from other images, as of other phases; they are not shown.`,
            ]
          : []),
      ];
    },
  };
}

const resampled =
  'The segmentation has other pixels than the image; each pixel of the image shows the nearest one of the segmentation.';

interface Found {
  readonly frameNumber: number;
  readonly overlap: Overlap;
}

interface Overlaid {
  readonly lying: readonly Found[];
  /** How many lie in the plane of the image and are left out. */
  readonly ofOthers: number;
}

/** Of so many frames in between, other requests get their turn. */
const framesAtOnce = 2_000;

async function framesOn(
  { image, segmentation, segmentNumbers }: LoadedSegmentation,
  frame: ImageFrame,
): Promise<Overlaid> {
  const found: Found[] = [];
  const overlapOn = overlapsOn(image.metadata, frame);
  for (let frameNumber = 1; frameNumber <= Math.min(segmentation.frameCount, image.frames.count); frameNumber++) {
    if (frameNumber % framesAtOnce === 0) await new Promise((resolve) => setImmediate(resolve));
    if (segmentNumbers !== undefined && segmentation.type !== 'LABELMAP') {
      const number = segmentNumberOf(image.metadata, segmentation, frameNumber);
      if (number === undefined || !segmentNumbers.includes(number)) continue;
    }
    const overlap = overlapOn(frameNumber);
    if (overlap !== undefined) found.push({ frameNumber, overlap });
  }
  const lying = ofOneMoment(found, image.metadata, segmentation, frame);
  return { lying, ofOthers: found.length - lying.length };
}

/**
 * Without those that show another moment of the same place, as the phases of a heart do: beside frames that were made from this very image none
 * from others, and of a segment at one place none where they were made from several images.
 */
function ofOneMoment(
  found: readonly Found[],
  metadata: DicomJson,
  segmentation: Segmentation,
  frame: ImageFrame,
): readonly Found[] {
  const isThis = isSource(frame);
  const known = found.map((one) => ({ one, sources: sourcesOf(metadata, one.frameNumber) }));
  if (known.some(({ sources }) => sources.some(isThis))) {
    return known.filter(({ sources }) => sources.length === 0 || sources.some(isThis)).map(({ one }) => one);
  }
  const places = Map.groupBy(known, ({ one: { frameNumber, overlap } }) =>
    JSON.stringify([segmentNumberOf(metadata, segmentation, frameNumber), overlap]),
  );
  const isOne = (group: typeof known): boolean =>
    new Set(group.map(({ sources }) => JSON.stringify(sources))).size === 1;
  return [...places.values()]
    .filter(isOne)
    .flatMap((group) => group.map(({ one }) => one))
    .toSorted((a, b) => a.frameNumber - b.frameNumber);
}

function treated(
  loaded: LoadedSegmentation,
  { metadata, bulk }: OpenImage,
  frameNumber: number,
  lying: readonly Found[],
  heldBytes: number,
): TreatedFrame {
  const attributes = imageAttributesOf(metadata, frameNumber, bulk);
  const planes = overlaysOf(metadata, frameNumber, bulk).overlays;
  const { shutter } = shutterOf(metadata, attributes, planes);
  const overlays = planes.filter((overlay) => overlay !== shutter?.bitmap);
  return {
    attributes,
    size: attributes,
    pixelAspect: pixelAspectOf(metadata, frameNumber),
    heldBytes,
    drawn: async () => ({
      ...(shutter && { shutter }),
      ...(overlays.length > 0 && { overlays }),
      ...(lying.length > 0 && { segments: { frames: await framesRead(loaded, lying), opacity } }),
    }),
  };
}

async function framesRead(loaded: LoadedSegmentation, lying: readonly Found[]): Promise<SegmentFrame[]> {
  const { frames, metadata } = loaded.image;
  const read: SegmentFrame[] = [];
  for (const { frameNumber, overlap } of lying) {
    read.push({
      frame: await frames.readOne(frameNumber),
      transferSyntaxUid: frames.givenTransferSyntaxUid,
      attributes: imageAttributesOf(metadata, frameNumber, loaded.image.bulk),
      fromImage: overlap.fromImage,
      ink: inkOf(loaded, metadata, frameNumber),
    });
  }
  return read;
}

function inkOf(
  { segmentation, segmentNumbers }: LoadedSegmentation,
  metadata: DicomJson,
  frameNumber: number,
): SegmentFrame['ink'] {
  const { colors, full } = segmentation;
  const number = segmentNumberOf(metadata, segmentation, frameNumber);
  return number === undefined
    ? { kind: 'labels', colors: labelColors(segmentation, segmentNumbers) }
    : { kind: 'one', color: colors.get(number) ?? colorOf(number), full };
}

/** The segmentation's own frames: each over the image that it was made from, else in its colour over black. */
export function ownTreatment(options: RenderOptions, loaded: LoadedSegmentation): Treatment {
  const { record, segmentation, image } = loaded;
  const series = referencedSeries(image.metadata);
  const sources = new Map<number, Promise<Source | undefined>>();
  const sourceOf = (frameNumber: number): Promise<Source | undefined> => {
    const source = sources.get(frameNumber) ?? findSource(options, loaded, series, frameNumber);
    sources.set(frameNumber, source);
    for (const oldest of sources.keys()) {
      if (sources.size <= keptSources) break;
      sources.delete(oldest);
    }
    return source;
  };
  const saysItsSegment = (frameNumber: number): boolean => {
    try {
      segmentNumberOf(image.metadata, segmentation, frameNumber);
      return true;
    } catch (error) {
      if (isArchiveError(error, 'cannot-render')) return false;
      throw error;
    }
  };
  return {
    // Any image may come, be corrected or be deleted by itself, and its picture must not outlive it.
    identityOf: async (frameNumbers) => {
      const identity = [record.digest];
      for (const frameNumber of frameNumbers) {
        const source = saysItsSegment(frameNumber) ? await sourceOf(frameNumber) : undefined;
        identity.push(source === undefined ? 'none' : `${source.digest} ${source.frameNumber}`);
      }
      return identity;
    },
    frame: async (_, frameNumber) => {
      if (!saysItsSegment(frameNumber)) return asStored(image, frameNumber);
      const heldBytes = image.frames.heldBytesOf(frameNumber);
      const source = await sourceOf(frameNumber);
      if (source === undefined) return overBlack(loaded, frameNumber, heldBytes);
      const { frames } = source.image;
      return {
        ...treated(loaded, source.image, source.frameNumber, [{ frameNumber, overlap: source.overlap }], heldBytes),
        source: {
          heldBytes: frames.heldBytesOf(source.frameNumber),
          transferSyntaxUid: frames.givenTransferSyntaxUid,
          read: () => frames.readOne(source.frameNumber),
        },
      };
    },
    warnings: async (_, frameNumber) => {
      if (!saysItsSegment(frameNumber)) {
        return [
          'The frames of the segmentation do not say which segment they show; they are shown as they are stored.',
        ];
      }
      const source = await sourceOf(frameNumber);
      if (source === undefined) {
        return [
          'No image that the segmentation was made from is here, and lies under it; its segments are shown over black.',
        ];
      }
      return source.overlap.fromImage === undefined ? [] : [resampled];
    },
  };
}

interface Source {
  readonly digest: string;
  readonly image: OpenImage;
  readonly frameNumber: number;
  readonly overlap: Overlap;
}

async function findSource(
  { archive, manifests, parseMetadata }: RenderOptions,
  { record, image }: LoadedSegmentation,
  series: ReadonlyMap<string, { study: string | undefined; series: string }>,
  frameNumber: number,
): Promise<Source | undefined> {
  for (const { sopInstanceUid, frameNumbers } of sourcesOf(image.metadata, frameNumber).slice(0, maximumSources)) {
    const place = series.get(sopInstanceUid);
    if (place === undefined) continue;
    const ref = {
      studyInstanceUid: place.study ?? record.studyInstanceUid,
      seriesInstanceUid: place.series,
      sopInstanceUid,
    };
    const found = await archive.index.getInstance(record.tenant, ref);
    if (found === undefined) continue;
    const entry = await manifests.entryOf(found);
    if (entry.frames.kind === 'none' || !canDecode(found.transferSyntaxUid)) continue;
    const open = await openImage({ packs: archive.packs, parseMetadata }, found, entry);
    const under = frameNumbers?.[0] ?? 1;
    if (under > open.frames.count) continue;
    const overlap = overlapsOn(image.metadata, {
      metadata: open.metadata,
      sopInstanceUid,
      frameNumber: under,
    })(frameNumber);
    if (overlap !== undefined) return { digest: found.digest, image: open, frameNumber: under, overlap };
  }
  return undefined;
}

function asStored({ metadata, bulk }: OpenImage, frameNumber: number): TreatedFrame {
  const attributes = imageAttributesOf(metadata, frameNumber, bulk);
  const pixelAspect = pixelAspectOf(metadata, frameNumber);
  return { attributes, size: attributes, pixelAspect, heldBytes: 0, drawn: async () => ({}) };
}

function overBlack(loaded: LoadedSegmentation, frameNumber: number, heldBytes: number): TreatedFrame {
  const { rows, columns } = imageAttributesOf(loaded.image.metadata, frameNumber, loaded.image.bulk);
  checkFrameSize(rows, columns);
  const lying = [{ frameNumber, overlap: { fromImage: undefined } }];
  const attributes = blackAttributes(rows, columns);
  return {
    attributes,
    size: attributes,
    pixelAspect: pixelAspectOf(loaded.image.metadata, frameNumber),
    heldBytes,
    source: {
      heldBytes: rows * columns,
      transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
      read: async () => new Uint8Array(rows * columns),
    },
    drawn: async () => ({ segments: { frames: await framesRead(loaded, lying), opacity: 1 } }),
  };
}

const blackAttributes = (rows: number, columns: number): ImageAttributes =>
  imageAttributesOf(
    {
      '00280004': { vr: 'CS', Value: ['MONOCHROME2'] },
      '00280010': { vr: 'US', Value: [rows] },
      '00280011': { vr: 'US', Value: [columns] },
      '00280100': { vr: 'US', Value: [8] },
      '00281050': { vr: 'DS', Value: [127.5] },
      '00281051': { vr: 'DS', Value: [255] },
      '00281056': { vr: 'CS', Value: ['LINEAR_EXACT'] },
    },
    1,
  );
