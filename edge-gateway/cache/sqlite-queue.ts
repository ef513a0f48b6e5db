/**
 * The queue of one machine, on SQLite: what SQS is to the cloud. The messages are sqlite-messages.ts; threads and batches are
 * the index's (sqlite-rpc.ts): what is sent in one turn of the event loop shares one sync.
 */
import { encodeMessage, type Queue } from '#shared/archive/queue.ts';
import type { QueueEngine } from './sqlite-messages.ts';
import { createLazyExecutor, createLocalExecutor, createWorkerExecutor } from './sqlite-rpc.ts';
import type { EngineSpec } from './sqlite-wire.ts';

export interface SqliteQueueOptions {
  /** Made, with its folder, if it is not there. */
  readonly file: string;
  /** Whether SQLite works in a thread of its own (true): where sockets are served, a sync must hold up nobody. */
  readonly inWorker?: boolean;
  /** After so many deliveries without success (5) a message is a dead letter. */
  readonly maxReceiveCount?: number;
  /** Wall clock: a message's time goes on while nothing runs. */
  readonly nowMs?: () => number;
}

/** The file opens with the first call, which has the errors of opening: `unavailable`, `damaged`. */
export function createSqliteQueue<T>(options: SqliteQueueOptions): Queue<T> {
  const { file, inWorker = true, maxReceiveCount = 5, nowMs = Date.now } = options;
  const spec: EngineSpec = { engine: 'queue', file, maxReceiveCount };
  const executor = createLazyExecutor(() => (inWorker ? createWorkerExecutor(spec) : createLocalExecutor(spec)));
  const call = <M extends keyof QueueEngine>(method: M, ...args: Parameters<QueueEngine[M]>) =>
    executor.call(method, ...args) as Promise<ReturnType<QueueEngine[M]>>;

  const sendAll: Queue<T>['sendAll'] = async (messages, { delayMs = 0 } = {}) => {
    if (messages.length > 0) await call('send', messages.map(encodeMessage), delayMs, nowMs());
  };
  const decode = <R extends { readonly body: string }>(row: R) => ({ ...row, body: JSON.parse(row.body) as T });

  return {
    sendAll,
    send: (message, sendOptions) => sendAll([message], sendOptions),
    receive: async (max, visibilityMs) => (await call('receive', max, visibilityMs, nowMs())).map(decode),
    async delete(ids) {
      if (ids.length > 0) await call('delete', ids);
    },
    async extend(ids, visibilityMs) {
      if (ids.length > 0) await call('extend', ids, visibilityMs, nowMs());
    },
    retry: (id, { reason, delayMs }) => call('retry', id, reason, delayMs, nowMs()),
    counts: () => call('counts', nowMs()),
    deadLetters: async (limit) => (await call('deadLetters', limit)).map(decode),
    redrive: (ids) => call('redrive', ids, nowMs()),
    close: () => executor.close(),
  };
}
