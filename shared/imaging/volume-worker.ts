/**
 * The worker thread of volume-pool.ts: decodes a frame into its slice of shared memory, cuts a band of rows out of a
 * volume, or makes a picture of a cut. One request at a time; results that are large go into shared memory or are handed over.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { annotate } from './annotation.ts';
import { decodeFrame, memoryNeededBytes } from './codecs.ts';
import { cannotRender } from './decoded-frame.ts';
import { encodePicture } from './encode.ts';
import type { ImageAttributes } from './image-attributes.ts';
import { fitViewport, type Picture } from './resample.ts';
import { failureOf, type ThreadFailure } from './thread-pool.ts';
import { type CellPlan, type Cut, fillSlice, type ValueRange, type Volume, type VolumeCells } from './volume.ts';
import { paintCut, type VolumeLook } from './volume-look.ts';
import type { Plane, Slab } from './volume-plane.ts';
import { resliceRows } from './volume-reslice.ts';
import { limitCodecMemory } from './wasm-memory.ts';

export type VolumeRequest =
  | {
      readonly kind: 'fill';
      readonly cells: VolumeCells;
      readonly plan: CellPlan;
      readonly slice: number;
      readonly frame: Uint8Array;
      readonly transferSyntaxUid: string;
      readonly attributes: ImageAttributes;
      readonly bitOffset: number;
    }
  | {
      readonly kind: 'cut';
      readonly volume: Volume;
      readonly plane: Plane;
      readonly slab: Slab | undefined;
      readonly rows: { readonly from: number; readonly to: number };
      /** Of the whole plane, in shared memory. */
      readonly values: Float32Array;
    }
  | {
      readonly kind: 'paint';
      readonly cut: Cut;
      readonly range: ValueRange | undefined;
      readonly look: VolumeLook;
      readonly encoded: boolean;
    };

export type VolumeAnswer =
  | { readonly kind: 'filled'; readonly range: ValueRange | undefined }
  | { readonly kind: 'cut' }
  | { readonly kind: 'painted'; readonly picture: Picture }
  | { readonly kind: 'encoded'; readonly bytes: Uint8Array<ArrayBuffer> }
  | ThreadFailure;

export interface VolumeWorkerSettings {
  /** What decoding one frame may take. */
  readonly memoryBytes: number;
}

/** Answers on the port that the pool gave; called once, at the end of this module, when it runs as a worker. */
function serve(port: NonNullable<typeof parentPort>, settings: VolumeWorkerSettings): void {
  port.on('message', async (request: VolumeRequest) => {
    const answer = await answerTo(request, settings).catch(failureOf);
    port.postMessage(answer, handedOver(answer));
  });
}

async function answerTo(request: VolumeRequest, { memoryBytes }: VolumeWorkerSettings): Promise<VolumeAnswer> {
  if (request.kind === 'fill') return { kind: 'filled', range: await fill(request, memoryBytes) };
  if (request.kind === 'cut') {
    resliceRows(request.volume, request.plane, request.slab, request.rows, request.values);
    return { kind: 'cut' };
  }
  const { cut, range, look, encoded } = request;
  const painted = paintCut(cut, range, look);
  const picture = look.viewport === undefined ? painted : fitViewport(painted, look.viewport);
  if (!encoded) return { kind: 'painted', picture };
  const finished = look.annotation === undefined ? picture : annotate(picture, look.annotation);
  return { kind: 'encoded', bytes: await encodePicture(finished, look.mediaType, look.quality, look.profile) };
}

async function fill(
  { cells, plan, slice, frame, transferSyntaxUid, attributes, bitOffset }: Extract<VolumeRequest, { kind: 'fill' }>,
  memoryBytes: number,
): Promise<ValueRange | undefined> {
  const neededBytes = memoryNeededBytes(attributes, transferSyntaxUid);
  if (neededBytes > memoryBytes) {
    throw cannotRender('A frame of the volume is too large to be decoded here', { neededBytes, memoryBytes });
  }
  limitCodecMemory(frame.length, neededBytes, memoryBytes);
  const decoded = await decodeFrame(frame, transferSyntaxUid, attributes, { bitOffset });
  return fillSlice(cells, plan, slice, decoded, attributes);
}

function handedOver(answer: VolumeAnswer): ArrayBuffer[] {
  if (answer.kind === 'encoded') return [answer.bytes.buffer];
  if (answer.kind !== 'painted') return [];
  const { buffer } = answer.picture.pixels;
  return buffer instanceof ArrayBuffer ? [buffer] : [];
}

if (parentPort !== null) serve(parentPort, workerData as VolumeWorkerSettings);
