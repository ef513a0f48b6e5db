/**
 * Calls to an engine on SQLite, in this thread or in a worker: an Executor takes one request and promises its answer.
 * Requests of one turn of the event loop travel together. Errors cross as data and arrive as the ArchiveErrors they were.
 */
import { Worker } from 'node:worker_threads';
import { ArchiveError } from '#shared/errors.ts';
import { openEngine } from './sqlite-engines.ts';
import type { Request } from './sqlite-runner.ts';
import { type EngineSpec, errorOf, type WireAnswers, type WireRequests } from './sqlite-wire.ts';
import { workerModule } from './worker-module.ts';

export interface Executor {
  /** Errors: those of the engine; `unavailable` when it is closed or its thread has died. */
  call(method: string, ...args: readonly unknown[]): Promise<unknown>;
  /** What was called before is answered first. Closing twice is one close. */
  close(): Promise<void>;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

const closedError = (): ArchiveError =>
  new ArchiveError('unavailable', 'The database is closed; open it again to go on.');

/** Opens the engine in this thread; requests made in one go run together. Errors: those of opening. */
export async function createLocalExecutor(spec: EngineSpec): Promise<Executor> {
  const { run, close } = await openEngine(spec);
  let waiting: (Request & Pending)[] = [];
  let closed: Promise<void> | undefined;

  function flush(): void {
    const batch = waiting;
    waiting = [];
    const answers = run(batch);
    batch.forEach((request, i) => {
      const answer = answers[i];
      if (answer === undefined || 'error' in answer) request.reject(answer?.error);
      else request.resolve(answer.value);
    });
  }

  return {
    call: (method, ...args) =>
      new Promise((resolve, reject) => {
        if (closed !== undefined) return reject(closedError());
        waiting.push({ method, args, resolve, reject });
        if (waiting.length === 1) queueMicrotask(flush);
      }),
    close() {
      closed ??= Promise.resolve().then(() => {
        if (waiting.length > 0) flush();
        close();
      });
      return closed;
    },
  };
}

/** The thread of an engine. */
export function startWorker(spec: EngineSpec): Worker {
  return new Worker(workerModule('sqlite-worker', import.meta.url), { workerData: spec });
}

/** Calls to the engine in a thread; resolves when it is open there. Errors: those of opening. */
export async function createWorkerExecutor(spec: EngineSpec, worker = startWorker(spec)): Promise<Executor> {
  const pending = new Map<number, Pending>();
  let waiting: Request[] = [];
  let nextId = 0;
  let firstWaitingId = 0;
  let dead: ArchiveError | undefined;
  let closing: Promise<void> | undefined;
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));

  function fail(cause: unknown): void {
    dead ??= new ArchiveError('unavailable', 'The thread of the database has died; start again.', {}, cause);
    for (const { reject } of pending.values()) reject(dead);
    pending.clear();
  }
  worker.on('error', fail);
  worker.on('messageerror', fail);
  worker.on('exit', () => fail(undefined));
  worker.on('message', ({ firstId, answers }: WireAnswers) => {
    answers.forEach((answer, i) => {
      const id = firstId + i;
      const caller = pending.get(id);
      pending.delete(id);
      if ('error' in answer) caller?.reject(errorOf(answer.error));
      else caller?.resolve(answer.value);
    });
    // A process that only waits for nothing may end, as with any idle database.
    if (pending.size === 0 && closing === undefined) worker.unref();
  });

  function post(message: WireRequests): void {
    worker.ref();
    worker.postMessage(message);
  }
  function flush(): void {
    if (waiting.length === 0 || dead !== undefined) return;
    const requests = waiting;
    waiting = [];
    try {
      post({ firstId: firstWaitingId, requests });
    } catch (error) {
      // A request that cannot be cloned is a bug of the caller's; it must not leave the others without an answer.
      for (let i = 0; i < requests.length; i++) {
        pending.get(firstWaitingId + i)?.reject(error);
        pending.delete(firstWaitingId + i);
      }
    }
  }

  const opened = new Promise<unknown>((resolve, reject) => pending.set(-1, { resolve, reject }));
  try {
    await opened;
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return {
    call: (method, ...args) =>
      new Promise((resolve, reject) => {
        if (closing !== undefined) return reject(closedError());
        if (dead !== undefined) return reject(dead);
        const id = nextId++;
        pending.set(id, { resolve, reject });
        if (waiting.length === 0) {
          firstWaitingId = id;
          setImmediate(flush);
        }
        waiting.push({ method, args });
      }),
    close() {
      closing ??= (async () => {
        flush();
        if (dead === undefined) post({ firstId: nextId, requests: undefined });
        await exited;
      })();
      return closing;
    },
  };
}

/** Opens on the first call; a failed opening is tried again on the next. */
export function createLazyExecutor(open: () => Promise<Executor>): Executor {
  let opened: Promise<Executor> | undefined;
  let closing: Promise<void> | undefined;
  return {
    async call(method, ...args) {
      if (closing !== undefined) throw closedError();
      opened ??= open().catch((error: unknown) => {
        opened = undefined;
        throw error;
      });
      return (await opened).call(method, ...args);
    },
    close() {
      closing ??= (async () => (await opened?.catch(() => undefined))?.close())();
      return closing;
    },
  };
}
