/**
 * SHA-256 of whole files: large ones in a worker thread, since 64 MiB are 50 ms of a core, which the thread that answers
 * senders must not spend at once, nor for every byte that arrives. Small ones are not worth the thread.
 */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import type { ByteRange } from '#shared/archive/records.ts';
import { workerModule } from './worker-module.ts';

export interface HashRequest {
  readonly id: number;
  readonly path: string;
  readonly range?: ByteRange;
}
export type HashAnswer =
  | { readonly id: number; readonly sha256: string; readonly lengthBytes: number }
  | { readonly id: number; readonly failure: string };

export interface FileHasher {
  /** Of the file as it is now; rejects with an Error if it cannot be read. */
  hash(path: string): Promise<{ sha256: string; lengthBytes: number }>;
  /** The same of a part of it, in the thread however small; shorter where the file ends before. */
  hashRange(path: string, range: ByteRange): Promise<{ sha256: string; lengthBytes: number }>;
  close(): Promise<void>;
}

interface Waiting {
  resolve(answer: { sha256: string; lengthBytes: number }): void;
  reject(error: Error): void;
}

/** Under a millisecond of work. */
const SMALL_BYTES = 1024 * 1024;

/** The thread starts with the first large file, and anew if it died. */
export function createFileHasher(): FileHasher {
  const waiting = new Map<number, Waiting>();
  let worker: Worker | undefined;
  let lastId = 0;

  function start(): Worker {
    const started = new Worker(workerModule('file-hash-worker', import.meta.url));
    started.unref();
    const failAll = (error: Error): void => {
      if (worker !== started) return;
      worker = undefined;
      for (const { reject } of waiting.values()) reject(error);
      waiting.clear();
    };
    started.on('message', (answer: HashAnswer) => {
      const asked = waiting.get(answer.id);
      waiting.delete(answer.id);
      if (waiting.size === 0) started.unref();
      if ('failure' in answer) asked?.reject(new Error(answer.failure));
      else asked?.resolve({ sha256: answer.sha256, lengthBytes: answer.lengthBytes });
    });
    started.on('error', failAll);
    started.on('exit', () => failAll(new Error('the hashing thread ended')));
    return started;
  }

  function ask(what: Omit<HashRequest, 'id'>): Promise<{ sha256: string; lengthBytes: number }> {
    worker ??= start();
    const thread = worker;
    return new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      thread.ref();
      thread.postMessage({ id, ...what } satisfies HashRequest);
    });
  }

  return {
    async hash(path) {
      if ((await stat(path)).size <= SMALL_BYTES) {
        const bytes = await readFile(path);
        return { sha256: createHash('sha256').update(bytes).digest('hex'), lengthBytes: bytes.length };
      }
      return ask({ path });
    },
    hashRange: (path, range) => ask({ path, range }),
    async close() {
      await worker?.terminate();
    },
  };
}
