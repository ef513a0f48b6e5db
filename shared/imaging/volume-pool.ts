/**
 * Volumes on worker threads: frames decoded side by side into shared memory, planes cut side by side out of it, and
 * pictures made of them, each under a time limit in threads that can be thrown away. Whoever creates a pool closes it.
 */
import { cannotRender } from './decoded-frame.ts';
import type { ImageAttributes } from './image-attributes.ts';
import type { Picture } from './resample.ts';
import { createThreadPool, withOwnFrame, workerBeside } from './thread-pool.ts';
import {
  allocateCells,
  type Cut,
  DEFAULT_VOLUME_LIMIT_BYTES,
  planCells,
  type ValueRange,
  type Volume,
} from './volume.ts';
import type { VolumeGeometry } from './volume-geometry.ts';
import type { VolumeLook } from './volume-look.ts';
import { checkPlane, type Plane, type Slab, slabDepths } from './volume-plane.ts';
import type { VolumeAnswer, VolumeRequest, VolumeWorkerSettings } from './volume-worker.ts';

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

export interface VolumePoolOptions {
  readonly threads?: number;
  /** Of one frame to decode, one band to cut, one picture to make; a thread's start counts. */
  readonly timeoutMs?: number;
  /** What decoding one frame may take in a thread. */
  readonly memoryMb?: number;
  /** What one volume may take. */
  readonly volumeLimitBytes?: number;
  readonly maxWaiting?: number;
  /** The worker's module, where a bundle keeps it elsewhere than beside this one. */
  readonly workerUrl?: URL;
}

export interface VolumePool {
  /**
   * Fills a volume. Frames may come in any order, each slice once; they are taken from `frames` as fast as threads decode them,
   * and no further when one of them fails.
   * Errors: `cannot-render` when the slices do not go together, or one of them cannot be decoded or never comes; `too-large`,
   * `out-of-resources`, `timeout`, `unavailable`; what `frames` throws, and the signal's reason.
   */
  load(
    geometry: VolumeGeometry,
    sources: readonly SliceSource[],
    frames: AsyncIterable<SliceFrame>,
    signal?: AbortSignal,
  ): Promise<Volume>;
  /** As reslice. Errors also `timeout` and `unavailable`. */
  cut(volume: Volume, plane: Plane, slab?: Slab): Promise<Cut>;
  /** The picture before it is encoded, scaled to the viewport, without annotation. */
  paint(volume: Volume, plane: Plane, slab: Slab | undefined, look: VolumeLook): Promise<Picture>;
  picture(volume: Volume, plane: Plane, slab: Slab | undefined, look: VolumeLook): Promise<Uint8Array<ArrayBuffer>>;
  /** Ends the threads; what waits or runs fails with `unavailable`. */
  close(): Promise<void>;
}

/** Rows of a plane that are worth a message to a thread. */
const LEAST_BAND_ROWS = 32;
/** Half a second of a thread: between two bands of a thick slab others have their turn, and none comes near the time limit. */
const LONGEST_BAND_SAMPLES = 32 * 1024 * 1024;

export function createVolumePool(options: VolumePoolOptions = {}): VolumePool {
  const { threads = 2, timeoutMs = 20_000, memoryMb = 1024 } = options;
  const volumeLimitBytes = options.volumeLimitBytes ?? DEFAULT_VOLUME_LIMIT_BYTES;
  const workerData: VolumeWorkerSettings = { memoryBytes: memoryMb * 1024 * 1024 };
  const settings = {
    workerUrl: options.workerUrl ?? workerBeside(import.meta.url, 'volume-worker'),
    workerData,
    threads,
    timeoutMs,
    maxWaiting: options.maxWaiting ?? 64 * threads,
    subject: 'The volume',
  };
  const pool = createThreadPool<VolumeRequest, VolumeAnswer>(settings, (request) =>
    request.kind === 'fill' ? withOwnFrame(request) : { message: request, transfer: [] },
  );

  async function ask<Kind extends VolumeAnswer['kind']>(
    kind: Kind,
    request: VolumeRequest,
  ): Promise<Extract<VolumeAnswer, { kind: Kind }>> {
    const answer = await pool.ask(request);
    if (answer.kind !== kind) throw new Error(`A volume thread answered ${answer.kind} instead of ${kind}`);
    return answer as Extract<VolumeAnswer, { kind: Kind }>;
  }

  async function load(
    geometry: VolumeGeometry,
    sources: readonly SliceSource[],
    frames: AsyncIterable<SliceFrame>,
    signal?: AbortSignal,
  ): Promise<Volume> {
    const plan = planCells(checkedSizes(geometry, sources));
    const values = allocateCells(geometry, plan, volumeLimitBytes);
    const taken = new Set<number>();
    const decoding = new Set<Promise<void>>();
    let failure: { readonly error: unknown } | undefined;
    let range: ValueRange | undefined;
    for await (const { slice, frame, bitOffset = 0 } of frames) {
      signal?.throwIfAborted();
      const source = sources[slice];
      if (source === undefined || taken.has(slice)) throw new Error(`There is no slice ${slice} left to fill`);
      taken.add(slice);
      const request = { kind: 'fill', cells: values, plan, slice, frame, bitOffset, ...source } as const;
      const done = ask('filled', request)
        .then(
          (filled) => {
            range = joined(range, filled.range);
          },
          (error: unknown) => {
            failure ??= { error };
          },
        )
        .finally(() => decoding.delete(done));
      decoding.add(done);
      // One in each thread and one more waiting for it: no thread is idle, and no more frames than that are held.
      while (decoding.size >= 2 * threads && failure === undefined) await Promise.race(decoding);
      if (failure !== undefined) break;
    }
    await Promise.all(decoding);
    if (failure !== undefined) throw failure.error;
    signal?.throwIfAborted();
    if (taken.size < geometry.slices) {
      throw cannotRender(`Of ${geometry.slices} slices of the volume only ${taken.size} could be read`, {
        slices: geometry.slices,
        read: taken.size,
      });
    }
    return { geometry, values, modality: plan.modality, missing: plan.missing, range };
  }

  async function cut(volume: Volume, plane: Plane, slab?: Slab): Promise<Cut> {
    const { width, height } = checkPlane(plane);
    const { depthsMm } = slabDepths(volume.geometry, plane, slab);
    const values = new Float32Array(new SharedArrayBuffer(width * height * 4));
    const long = Math.ceil((width * height * depthsMm.length) / LONGEST_BAND_SAMPLES);
    const count = Math.max(1, Math.min(Math.max(threads, long), Math.floor(height / LEAST_BAND_ROWS)));
    const edge = (band: number): number => Math.round((height * band) / count);
    await Promise.all(
      Array.from({ length: count }, (_, band) =>
        ask('cut', {
          kind: 'cut',
          volume,
          plane,
          slab,
          rows: { from: edge(band), to: edge(band + 1) },
          values,
        }),
      ),
    );
    return { width, height, values };
  }

  return {
    load,
    cut,
    async paint(volume, plane, slab, look) {
      const request = { kind: 'paint', cut: await cut(volume, plane, slab), range: volume.range, look } as const;
      return (await ask('painted', { ...request, encoded: false })).picture;
    },
    async picture(volume, plane, slab, look) {
      const request = { kind: 'paint', cut: await cut(volume, plane, slab), range: volume.range, look } as const;
      return (await ask('encoded', { ...request, encoded: true })).bytes;
    },
    close: () => pool.close(),
  };
}

/** The attributes of all slices, each of which has the size that the geometry says. */
function checkedSizes({ columns, rows, slices }: VolumeGeometry, sources: readonly SliceSource[]): ImageAttributes[] {
  const attributes = sources.map((source) => source.attributes);
  if (attributes.length !== slices || attributes.some((one) => one.columns !== columns || one.rows !== rows)) {
    throw cannotRender('The slices do not have the size of the volume', { slices, sources: sources.length });
  }
  return attributes;
}

function joined(a: ValueRange | undefined, b: ValueRange | undefined): ValueRange | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) };
}
