/**
 * Volumes on worker threads: frames decoded side by side into shared memory, planes cut side by side out of it, and
 * pictures made of them, each under a time limit in threads that can be thrown away. Whoever creates a pool closes it.
 */
import type { Annotation } from './annotation.ts';
import type { ColorProfile, RenderedMediaType } from './encode.ts';
import type { ImageAttributes, Window } from './image-attributes.ts';
import type { Picture, Viewport } from './resample.ts';
import type { Cut, Volume } from './volume.ts';
import type { VolumeGeometry } from './volume-geometry.ts';
import type { Plane, Slab } from './volume-plane.ts';

/** A frame for one slice of a volume. */
export interface SliceFrame {
  /** From 0, in the order of the geometry (SliceArrangement.order). */
  readonly slice: number;
  /** The bytes of the frame, its fragments joined; a whole buffer is handed over to a thread. */
  readonly frame: Uint8Array;
  readonly bitOffset?: number;
}

/** What is known of each slice before any frame is read, in the order of the geometry. */
export interface SliceSource {
  readonly transferSyntaxUid: string;
  readonly attributes: ImageAttributes;
}

/** How a cut becomes a picture. */
export interface VolumeLook {
  /** Of a frame of the volume: its windows, VOI LUTs and whether it is inverse count. */
  readonly attributes: ImageAttributes;
  readonly window?: Window;
  readonly viewport?: Viewport;
  readonly annotation?: Annotation;
  readonly mediaType: RenderedMediaType;
  readonly quality?: number;
  readonly profile?: ColorProfile;
}

export interface VolumePool {
  /**
   * Fills a volume. Frames may come in any order, each slice once; they are taken from `frames` as fast as threads decode them.
   * Errors: `cannot-render` when the slices do not go together, or one of them cannot be decoded or never comes; `too-large`; what `frames` throws.
   */
  load(
    geometry: VolumeGeometry,
    sources: readonly SliceSource[],
    frames: AsyncIterable<SliceFrame>,
    signal?: AbortSignal,
  ): Promise<Volume>;
  cut(volume: Volume, plane: Plane, slab?: Slab): Promise<Cut>;
  /** The picture before it is encoded, scaled to the viewport, without annotation. */
  paint(volume: Volume, plane: Plane, slab: Slab | undefined, look: VolumeLook): Promise<Picture>;
  picture(volume: Volume, plane: Plane, slab: Slab | undefined, look: VolumeLook): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}
