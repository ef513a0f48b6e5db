/**
 * Rendering and transcoding on worker threads: frames are hostile until decoded, so each is decoded under a time limit and a memory
 * limit in a thread that can be thrown away. How threads are kept is thread-pool.ts. Whoever creates a pool closes it.
 */
import type { RenderRequest } from './render.ts';
import type { WorkerAnswer, WorkerRequest, WorkerSettings } from './render-worker.ts';
import { createThreadPool, withOwnFrame, workerBeside } from './thread-pool.ts';
import type { TranscodedFrame, TranscodeRequest } from './transcode.ts';

export interface RenderPoolOptions {
  /** Worker threads at most. */
  readonly threads?: number;
  /** From the moment a thread takes the request; a thread's start counts. */
  readonly timeoutMs?: number;
  /** What one frame may take in a thread: larger ones are refused by an estimate, before anything is decoded. */
  readonly memoryMb?: number;
  /** Requests that may wait for a thread. */
  readonly maxWaiting?: number;
  /** The worker's module, where a bundle keeps it elsewhere than beside this one. */
  readonly workerUrl?: URL;
}

export interface RenderPool {
  /**
   * As renderFrame. The frame's memory is handed to the thread: a caller that gives a whole buffer cannot read it
   * afterwards. @throws ArchiveError also `timeout`, `unavailable` (too many are waiting, or the pool is closed)
   */
  render(request: RenderRequest): Promise<Uint8Array<ArrayBuffer>>;
  /** As transcodeFrame; all else as of `render`. */
  transcode(request: TranscodeRequest): Promise<TranscodedFrame>;
  /** Ends the threads; what waits or runs fails with `unavailable`. */
  close(): Promise<void>;
}

export function createRenderPool(options: RenderPoolOptions = {}): RenderPool {
  const { threads = 2, timeoutMs = 10_000, memoryMb = 1024 } = options;
  const workerData: WorkerSettings = { memoryBytes: memoryMb * 1024 * 1024 };
  const settings = {
    workerUrl: options.workerUrl ?? workerBeside(import.meta.url, 'render-worker'),
    workerData,
    threads,
    timeoutMs,
    maxWaiting: options.maxWaiting ?? 64 * threads,
    subject: 'The frame',
  };
  const pool = createThreadPool<WorkerRequest, WorkerAnswer>(settings, withOwnFrame);

  async function ask<Kind extends WorkerAnswer['kind']>(
    kind: Kind,
    request: WorkerRequest,
  ): Promise<Extract<WorkerAnswer, { kind: Kind }>> {
    const answer = await pool.ask(request);
    if (answer.kind !== kind) throw new Error(`A render thread answered ${answer.kind} instead of ${kind}`);
    return answer as Extract<WorkerAnswer, { kind: Kind }>;
  }

  return {
    render: async (request) => (await ask('rendered', request)).bytes,
    async transcode(request) {
      const { kind: _kind, ...transcoded } = await ask('transcoded', request);
      return transcoded;
    },
    close: () => pool.close(),
  };
}
