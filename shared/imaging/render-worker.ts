/**
 * The worker thread of render-pool.ts: takes one request at a time, for a picture or for a frame in another transfer syntax, answers with bytes or
 * with an error's code and sentence, and hands buffers over instead of copying them.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { cannotRender } from './decoded-frame.ts';
import { type RenderRequest, renderFrame, renderingNeedsBytes } from './render.ts';
import { failureOf, type ThreadFailure } from './thread-pool.ts';
import { type TranscodedFrame, type TranscodeRequest, transcodeFrame, transcodingNeedsBytes } from './transcode.ts';
import { limitCodecMemory } from './wasm-memory.ts';

export type WorkerRequest = RenderRequest | TranscodeRequest;

export interface WorkerSettings {
  /** What one frame may take. */
  readonly memoryBytes: number;
}

export type WorkerAnswer =
  | { readonly kind: 'rendered'; readonly bytes: Uint8Array<ArrayBuffer> }
  | ({ readonly kind: 'transcoded' } & TranscodedFrame)
  | ThreadFailure;

/** Answers on the port that the pool gave; called once, at the end of this module, when it runs as a worker. */
function serve(port: NonNullable<typeof parentPort>, { memoryBytes }: WorkerSettings): void {
  port.on('message', async (request: WorkerRequest) => {
    const answer = await answerTo(request, memoryBytes);
    port.postMessage(answer, 'bytes' in answer ? [answer.bytes.buffer] : []);
  });
}

async function answerTo(request: WorkerRequest, memoryBytes: number): Promise<WorkerAnswer> {
  try {
    const isPicture = 'mediaType' in request;
    const neededBytes = isPicture ? renderingNeedsBytes(request) : transcodingNeedsBytes(request);
    if (neededBytes > memoryBytes) {
      throw cannotRender('The frame is too large to be rendered here; ask for it as it is, or for a smaller viewport', {
        neededBytes,
        memoryBytes,
      });
    }
    limitCodecMemory(request.frame.length, neededBytes, memoryBytes);
    if (isPicture) return { kind: 'rendered', bytes: await renderFrame(request) };
    return { kind: 'transcoded', ...(await transcodeFrame(request)) };
  } catch (error) {
    return failureOf(error);
  }
}

if (parentPort !== null) serve(parentPort, workerData as WorkerSettings);
