/**
 * Rendering and transcoding on worker threads: frames are hostile until decoded, so each is decoded under a time limit and a memory
 * limit in a thread that can be thrown away. Threads start with the first requests; one that hangs or dies fails its own
 * request only and is replaced by the next. The queue is bounded. Whoever creates a pool closes it.
 */
import { Worker } from 'node:worker_threads';
import { ArchiveError } from '../errors.ts';
import type { RenderRequest } from './render.ts';
import type { WorkerAnswer, WorkerRequest, WorkerSettings } from './render-worker.ts';
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

type Done = Extract<WorkerAnswer, { bytes: unknown }>;

interface Job {
  readonly request: WorkerRequest;
  readonly resolve: (answer: Done) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  job: Job | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** Of JavaScript objects in a thread: pixels lie outside of the heap, so little is needed whatever the frame. */
const HEAP_MB = 256;

const closed = () => new ArchiveError('unavailable', 'The renderer is closing; ask again later');

export function createRenderPool(options: RenderPoolOptions = {}): RenderPool {
  const { threads: maxThreads = 2, timeoutMs = 10_000, memoryMb = 1024 } = options;
  const maxWaiting = options.maxWaiting ?? 64 * maxThreads;
  const workerUrl = options.workerUrl ?? besideThisModule();
  const threads = new Set<Thread>();
  const ending = new Set<Promise<unknown>>();
  const waiting: Job[] = [];
  let open = true;

  function start(): Thread {
    const workerData: WorkerSettings = { memoryBytes: memoryMb * 1024 * 1024 };
    const worker = new Worker(workerUrl, { workerData, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
    const thread: Thread = { worker, job: undefined, timer: undefined };
    worker.on('message', (answer: WorkerAnswer) => {
      settle(thread, answer);
      next(thread);
    });
    worker.on('messageerror', (error) => discard(thread, asError(error)));
    worker.on('error', (error) => discard(thread, asError(error)));
    worker.on('exit', (exitCode) => discard(thread, new Error(`The render thread ended with code ${exitCode}`)));
    threads.add(thread);
    return thread;
  }

  function settle(thread: Thread, answer: WorkerAnswer): void {
    const job = release(thread);
    if ('bytes' in answer) job?.resolve(answer);
    else if (answer.kind === 'refused') job?.reject(new ArchiveError(answer.code, answer.message, answer.details));
    else job?.reject(new Error(`The render thread failed: ${answer.stack}`));
  }

  function release(thread: Thread): Job | undefined {
    clearTimeout(thread.timer);
    const { job } = thread;
    thread.job = undefined;
    thread.timer = undefined;
    return job;
  }

  /** A thread that is not to be trusted any more: its request fails, and the next request gets a new one. */
  function discard(thread: Thread, reason: Error): void {
    if (!threads.delete(thread)) return;
    release(thread)?.reject(
      reason instanceof ArchiveError
        ? reason
        : new ArchiveError('cannot-render', 'The frame cannot be rendered: its decoder ended', {}, reason),
    );
    end(thread);
    const job = waiting.shift();
    if (job !== undefined) run(start(), job);
  }

  function end(thread: Thread): void {
    const ended = thread.worker.terminate().catch(() => undefined);
    ending.add(ended);
    void ended.finally(() => ending.delete(ended));
  }

  function next(thread: Thread): void {
    if (!threads.has(thread)) return;
    const job = waiting.shift();
    if (job !== undefined) run(thread, job);
  }

  function run(thread: Thread, job: Job): void {
    thread.job = job;
    thread.timer = setTimeout(() => {
      discard(thread, new ArchiveError('timeout', `The frame could not be rendered within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      const frame = ownMemory(job.request.frame);
      thread.worker.postMessage({ ...job.request, frame }, [frame.buffer]);
    } catch (error) {
      // What cannot be cloned is the caller's mistake and does the thread no harm.
      release(thread)?.reject(asError(error));
      next(thread);
    }
  }

  function ask(request: WorkerRequest): Promise<Done> {
    return new Promise((resolve, reject) => {
      if (!open) return reject(closed());
      const job: Job = { request, resolve, reject };
      const idle = [...threads].find((thread) => thread.job === undefined);
      if (idle !== undefined) run(idle, job);
      else if (threads.size < maxThreads) run(start(), job);
      else if (waiting.length < maxWaiting) waiting.push(job);
      else reject(new ArchiveError('unavailable', 'Too many frames are waiting to be rendered; ask again later'));
    });
  }

  return {
    render: async (request) => (await ask(request)).bytes,
    transcode: async (request) => (await ask(request)) as Extract<Done, TranscodedFrame>,
    async close() {
      open = false;
      for (const job of waiting.splice(0)) job.reject(closed());
      for (const thread of [...threads]) discard(thread, closed());
      await Promise.all(ending);
    },
  };
}

/** The worker's module lies beside this one, under the ending that both have: sources run as they are, bundles as JavaScript. */
function besideThisModule(): URL {
  const ending = import.meta.url.slice(import.meta.url.lastIndexOf('.'));
  return new URL(`./render-worker${ending}`, import.meta.url);
}

/** A view into a larger buffer (Node pools small ones) must be copied: transferring would take its neighbours along. */
function ownMemory(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = frame.byteOffset === 0 && frame.byteLength === frame.buffer.byteLength;
  return whole && frame.buffer instanceof ArrayBuffer ? new Uint8Array(frame.buffer) : new Uint8Array(frame);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
