/**
 * What is done to the frames of an image beyond the parameters that every picture takes: a presentation state, or segments laid over.
 * The shapes that pictures.ts and those two share, and opening an image for them; which treatment it is decides treatments.ts.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { type BulkReader, bulkNeededForRendering, type ImageAttributes } from '../imaging/image-attributes.ts';
import type { RenderRequest } from '../imaging/render.ts';
import { bulkPathOf, readBulk } from './bulkdata.ts';
import type { ByteBudget } from './byte-budget.ts';
import { type FrameSource, openFrames } from './frame-source.ts';
import type { ParseMetadata } from './parsed-metadata.ts';

/** An image, read as far as its frames need it to be rendered. */
export interface OpenImage {
  readonly metadata: DicomJson;
  readonly frames: FrameSource;
  /** Has the LUTs, palettes and overlays. */
  readonly bulk: BulkReader;
}

export interface TreatedFrame {
  readonly attributes: ImageAttributes;
  /** What the source region of a viewport counts in. */
  readonly size: { readonly rows: number; readonly columns: number };
  /** Height of what a pixel of that size shows divided by its width. */
  readonly pixelAspect: number;
  /** In place of the frame's own bytes, as they lie in the archive. */
  readonly source?: {
    readonly heldBytes: number;
    readonly transferSyntaxUid: string;
    readonly read: () => Promise<Uint8Array>;
  };
  /** Of what `drawn` reads. */
  readonly heldBytes: number;
  /** In place of the image's own shutter and overlays. */
  readonly drawn: () => Promise<Pick<RenderRequest, 'segments' | 'presentation' | 'shutter' | 'overlays'>>;
}

export interface Treatment {
  /** Of what the pictures of these frames depend on beside the image and the parameters. */
  readonly identityOf: (frameNumbers: readonly number[]) => Promise<readonly string[]>;
  readonly frame: (image: OpenImage, frameNumber: number) => Promise<TreatedFrame>;
  /** Sentences about what is not shown as it was meant. */
  readonly warnings: (image: OpenImage, frameNumber: number) => Promise<readonly string[]>;
}

/** Of all LUTs and overlays of an image, with all of their frames. */
const longestBulkBytes = 64 * 1024 * 1024;
/** Of those of an image that lies under segments, or is one of several that are held. */
const besideBulkBytes = 2 * 1024 * 1024;

export interface ImageReader {
  readonly packs: PackStore;
  readonly parseMetadata: ParseMetadata;
}

/** An image whose LUTs and overlays are read for each use, and held within a budget: they may be longer than its frames. */
export interface UsableImage extends Pick<OpenImage, 'metadata' | 'frames'> {
  use<T>(work: (image: OpenImage) => Promise<T>): Promise<T>;
}

/** Errors: `not-found` without frames; those of reading, and of the budget. */
export function usableImage(
  { bulkBudget, ...reader }: ImageReader & { readonly bulkBudget: ByteBudget },
  record: EntryRecord,
  entry: ManifestEntry,
): UsableImage {
  const frames = openFrames(reader.packs, record, entry);
  const metadata = reader.parseMetadata(entry);
  const needed = bulkNeeded(metadata, entry, longestBulkBytes);
  // What is drawn of an overlay is a copy.
  const heldBytes = 2 * needed.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const open = async () => ({ metadata, frames, bulk: await readNeeded(reader.packs, record, entry, needed) });
  return {
    metadata,
    frames,
    use: async (work) =>
      heldBytes === 0 ? work(await open()) : bulkBudget.hold(heldBytes, async () => work(await open())),
  };
}

/** One that is held beside others, without what is long of its LUTs and overlays. Errors: `not-found` without frames; those of reading. */
export async function openImage(
  { packs, parseMetadata }: ImageReader,
  record: EntryRecord,
  entry: ManifestEntry,
): Promise<OpenImage> {
  const frames = openFrames(packs, record, entry);
  const metadata = parseMetadata(entry);
  const needed = bulkNeeded(metadata, entry, besideBulkBytes);
  return { metadata, frames, bulk: await readNeeded(packs, record, entry, needed) };
}

interface NeededBulk {
  readonly uri: string;
  readonly path: string;
  readonly lengthBytes: number;
}

/** As far as there is room: an overlay without its data is left out with a warning; a LUT or palette as long as this is none. */
function bulkNeeded(metadata: DicomJson, entry: ManifestEntry, mostBytes: number): NeededBulk[] {
  let room = mostBytes;
  return bulkNeededForRendering(metadata).flatMap((uri) => {
    const path = bulkPathOf(uri);
    const lengthBytes = entry.bulk[path]?.lengthBytes ?? 0;
    if (lengthBytes > room) return [];
    room -= lengthBytes;
    return [{ uri, path, lengthBytes }];
  });
}

async function readNeeded(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  needed: readonly NeededBulk[],
): Promise<BulkReader> {
  const bulk = new Map<string, Uint8Array>();
  for (const { uri, path } of needed) bulk.set(uri, await readBulk(packs, record, entry, path));
  return (uri) => bulk.get(uri);
}
