/**
 * Worker threads for what is hostile until decoded: one request at a time in each, under a time limit, in threads that can be
 * thrown away. They start with the first requests; one that hangs or dies fails its own request only and is replaced by the
 * next. The queue is bounded. What the requests are is up to the pool that is built on this one.
 */
import { Worker } from 'node:worker_threads';
import { ArchiveError, type ErrorCode } from '../errors.ts';

export interface ThreadPoolOptions {
  readonly workerUrl: URL;
  readonly workerData: unknown;
  /** Worker threads at most. */
  readonly threads: number;
  /** From the moment a thread takes the request; a thread's start counts. */
  readonly timeoutMs: number;
  /** Requests that may wait for a thread. */
  readonly maxWaiting: number;
  /** What is worked on, for sentences: `The frame`. */
  readonly subject: string;
}

/** What a worker answers instead of a result. */
export type ThreadFailure =
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: 'failed'; readonly stack: string };

export interface ThreadPool<Request, Answer> {
  /**
   * Errors: what the worker refused with, `timeout`, `cannot-render` when the thread ended, `unavailable` (too many are waiting, or the pool is
   * closed). Anything else is a bug of the worker's.
   */
  ask(request: Request): Promise<Exclude<Answer, ThreadFailure>>;
  /** Ends the threads; what waits or runs fails with `unavailable`. */
  close(): Promise<void>;
}

interface Job<Request, Done> {
  readonly request: Request;
  readonly resolve: (answer: Done) => void;
  readonly reject: (error: Error) => void;
}

interface Thread<Request, Done> {
  readonly worker: Worker;
  job: Job<Request, Done> | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** Of JavaScript objects in a thread: pixels lie outside of the heap, so little is needed whatever the frame. */
const HEAP_MB = 256;

const closed = () => new ArchiveError('unavailable', 'The renderer is closing; ask again later');

/** A request as it is sent, and the buffers in it that go to the thread and are gone here. */
export interface HandedOver<Request> {
  readonly message: Request;
  readonly transfer: readonly ArrayBuffer[];
}

/** @param handOver asked when a thread takes the request, so that nothing is copied for one that waits */
export function createThreadPool<Request, Answer>(
  options: ThreadPoolOptions,
  handOver: (request: Request) => HandedOver<Request>,
): ThreadPool<Request, Answer> {
  type Done = Exclude<Answer, ThreadFailure>;
  const { workerUrl, workerData, threads: maxThreads, timeoutMs, maxWaiting, subject } = options;
  const threads = new Set<Thread<Request, Done>>();
  const ending = new Set<Promise<unknown>>();
  const waiting: Job<Request, Done>[] = [];
  let open = true;

  function start(): Thread<Request, Done> {
    const worker = new Worker(workerUrl, { workerData, resourceLimits: { maxOldGenerationSizeMb: HEAP_MB } });
    const thread: Thread<Request, Done> = { worker, job: undefined, timer: undefined };
    worker.on('message', (answer: Done | ThreadFailure) => {
      settle(thread, answer);
      next(thread);
    });
    worker.on('messageerror', (error) => discard(thread, asError(error)));
    worker.on('error', (error) => discard(thread, asError(error)));
    worker.on('exit', (exitCode) => discard(thread, new Error(`The thread ended with code ${exitCode}`)));
    threads.add(thread);
    return thread;
  }

  function settle(thread: Thread<Request, Done>, answer: Done | ThreadFailure): void {
    const job = release(thread);
    if (isRefusal(answer)) job?.reject(new ArchiveError(answer.code, answer.message, answer.details));
    else if (isFault(answer)) job?.reject(new Error(`The render thread failed: ${answer.stack}`));
    else job?.resolve(answer);
  }

  function release(thread: Thread<Request, Done>): Job<Request, Done> | undefined {
    clearTimeout(thread.timer);
    const { job } = thread;
    thread.job = undefined;
    thread.timer = undefined;
    return job;
  }

  /** A thread that is not to be trusted any more: its request fails, and the next request gets a new one. */
  function discard(thread: Thread<Request, Done>, reason: Error): void {
    if (!threads.delete(thread)) return;
    release(thread)?.reject(
      reason instanceof ArchiveError
        ? reason
        : new ArchiveError('cannot-render', `${subject} cannot be rendered: its decoder ended`, {}, reason),
    );
    const ended = thread.worker.terminate().catch(() => undefined);
    ending.add(ended);
    void ended.finally(() => ending.delete(ended));
    const job = waiting.shift();
    if (job !== undefined) run(start(), job);
  }

  function next(thread: Thread<Request, Done>): void {
    if (!threads.has(thread)) return;
    const job = waiting.shift();
    if (job !== undefined) run(thread, job);
  }

  function run(thread: Thread<Request, Done>, job: Job<Request, Done>): void {
    thread.job = job;
    thread.timer = setTimeout(() => {
      discard(thread, new ArchiveError('timeout', `${subject} could not be rendered within ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      const { message, transfer } = handOver(job.request);
      thread.worker.postMessage(message, transfer);
    } catch (error) {
      // What cannot be cloned is the caller's mistake and does the thread no harm.
      release(thread)?.reject(asError(error));
      next(thread);
    }
  }

  return {
    ask(request) {
      return new Promise((resolve, reject) => {
        if (!open) return reject(closed());
        const job = { request, resolve, reject };
        const idle = [...threads].find((thread) => thread.job === undefined);
        if (idle !== undefined) run(idle, job);
        else if (threads.size < maxThreads) run(start(), job);
        else if (waiting.length < maxWaiting) waiting.push(job);
        else reject(new ArchiveError('unavailable', 'Too many pictures are waiting to be rendered; ask again later'));
      });
    },
    async close() {
      open = false;
      for (const job of waiting.splice(0)) job.reject(closed());
      for (const thread of [...threads]) discard(thread, closed());
      await Promise.all(ending);
    },
  };
}

const kindOf = (answer: unknown): unknown =>
  typeof answer === 'object' && answer !== null && 'kind' in answer ? answer.kind : undefined;
const isRefusal = (answer: unknown): answer is Extract<ThreadFailure, { kind: 'refused' }> =>
  kindOf(answer) === 'refused';
const isFault = (answer: unknown): answer is Extract<ThreadFailure, { kind: 'failed' }> => kindOf(answer) === 'failed';

/** In a worker: what went wrong, as it can be sent. */
export function failureOf(error: unknown): ThreadFailure {
  if (error instanceof ArchiveError) {
    return { kind: 'refused', code: error.code, message: error.message, details: { ...error.details } };
  }
  return { kind: 'failed', stack: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}

/** A worker's module lies beside the one at `moduleUrl`, under the ending that both have: sources run as they are, bundles as JavaScript. */
export function workerBeside(moduleUrl: string, name: string): URL {
  const ending = moduleUrl.slice(moduleUrl.lastIndexOf('.'));
  return new URL(`./${name}${ending}`, moduleUrl);
}

/**
 * A request with its frame's memory. A view into a larger buffer (Node pools small ones) is copied: transferring would take its neighbours
 * along. That is what `isOwnMemory` allows, where there is less of them than of the frame.
 */
export function withOwnFrame<Request extends { readonly frame: Uint8Array; readonly isOwnMemory?: boolean }>(
  request: Request,
): HandedOver<Request> {
  const frame = ownMemory(request.frame, request.isOwnMemory === true);
  return { message: { ...request, frame }, transfer: [frame.buffer] };
}

function ownMemory(frame: Uint8Array, isOwn: boolean): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = frame;
  const goes = byteLength === buffer.byteLength || (isOwn && 2 * byteLength > buffer.byteLength);
  return goes && buffer instanceof ArrayBuffer ? new Uint8Array(buffer, byteOffset, byteLength) : new Uint8Array(frame);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
