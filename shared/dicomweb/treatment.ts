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

/** Of a LUT or of all frames of an overlay. */
const longestBulkBytes = 64 * 1024 * 1024;

/** Errors: `not-found` without frames; those of reading. */
export async function openImage(
  { packs, parseMetadata }: { readonly packs: PackStore; readonly parseMetadata: ParseMetadata },
  record: EntryRecord,
  entry: ManifestEntry,
): Promise<OpenImage> {
  const frames = openFrames(packs, record, entry);
  const metadata = parseMetadata(entry);
  const bulk = new Map<string, Uint8Array>();
  for (const uri of bulkNeededForRendering(metadata)) {
    const path = bulkPathOf(uri);
    // An overlay without its data is left out with a warning; a LUT or palette as long as this is none.
    if ((entry.bulk[path]?.lengthBytes ?? 0) > longestBulkBytes) continue;
    bulk.set(uri, await readBulk(packs, record, entry, path));
  }
  return { metadata, frames, bulk: (uri) => bulk.get(uri) };
}
