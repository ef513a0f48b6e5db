/**
 * The worker thread of render-pool.ts: takes one request at a time, for a picture or for a frame in another transfer syntax, answers with bytes or
 * with an error's code and sentence, and hands buffers over instead of copying them.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { ArchiveError, type ErrorCode } from '../errors.ts';
import { cannotRender } from './decoded-frame.ts';
import { type RenderRequest, renderFrame, renderingNeedsBytes } from './render.ts';
import { type TranscodedFrame, type TranscodeRequest, transcodeFrame, transcodingNeedsBytes } from './transcode.ts';
import { limitWasmMemory } from './wasm-memory.ts';

export type WorkerRequest = RenderRequest | TranscodeRequest;

export interface WorkerSettings {
  /** What one frame may take. */
  readonly memoryBytes: number;
}

export type WorkerAnswer =
  | { readonly kind: 'rendered'; readonly bytes: Uint8Array<ArrayBuffer> }
  | ({ readonly kind: 'transcoded' } & TranscodedFrame)
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'failed'; readonly stack: string };

/** What a codec takes beside what its frame needs: the code itself, its stack, the compressed bytes twice. */
const CODEC_BYTES = 64 * 1024 * 1024;

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
    // Estimates are for what encoders make; hostile frames have tiles and layers without number.
    limitWasmMemory(Math.min(memoryBytes, CODEC_BYTES + 2 * request.frame.length + 2 * neededBytes));
    if (isPicture) return { kind: 'rendered', bytes: await renderFrame(request) };
    return { kind: 'transcoded', ...(await transcodeFrame(request)) };
  } catch (error) {
    if (error instanceof ArchiveError) {
      return { kind: 'refused', code: error.code, message: error.message, details: { ...error.details } };
    }
    return { kind: 'failed', stack: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

if (parentPort !== null) serve(parentPort, workerData as WorkerSettings);
