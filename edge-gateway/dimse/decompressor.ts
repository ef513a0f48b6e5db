/**
 * Decompressing for receivers that take native pixels only: worker threads of their own under limits of time and memory, so that
 * rendering does not wait for deliveries, nor they for it; and one budget for the frames of all associations together.
 */
import { createFrameTranscoder, type FrameTranscoder } from '#shared/dicomweb/frame-transcoder.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';

export interface Decompressor extends FrameTranscoder {
  /** Ends the threads. */
  close(): Promise<void>;
}

export interface DecompressorOptions {
  /** Started with the first frame. Default 2. */
  readonly threads?: number;
  /** For one frame, default 30 s: beyond it somebody waits in vain. */
  readonly timeoutMs?: number;
  /** For all frames on their way. Default 256 MiB; a larger one goes alone. */
  readonly budgetBytes?: number;
}

/** What one frame may take while it is decoded. */
const FRAME_MEMORY_MB = 1024;

export function createDecompressor({
  threads = 2,
  timeoutMs = 30_000,
  budgetBytes,
}: DecompressorOptions = {}): Decompressor {
  const pool = createRenderPool({ threads, timeoutMs, memoryMb: FRAME_MEMORY_MB });
  const transcoder = createFrameTranscoder({
    transcode: pool.transcode,
    ...(budgetBytes === undefined ? {} : { budgetBytes }),
  });
  return {
    begin: transcoder.begin,
    gather: transcoder.gather,
    get isRoomy() {
      return transcoder.isRoomy;
    },
    close: () => pool.close(),
  };
}
