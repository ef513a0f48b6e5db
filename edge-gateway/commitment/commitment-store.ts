/** The engine of sqlite-commitments.ts as promises, in a thread of its own or in this one. */
import { createLazyExecutor, createLocalExecutor, createWorkerExecutor } from '../cache/sqlite-rpc.ts';
import type { EngineSpec } from '../cache/sqlite-wire.ts';
import type { CommitmentEngine } from './sqlite-commitments.ts';

export type CommitmentStore = {
  readonly [M in keyof CommitmentEngine]: (
    ...args: Parameters<CommitmentEngine[M]>
  ) => Promise<ReturnType<CommitmentEngine[M]>>;
} & { close(): Promise<void> };

/**
 * The file, made if it is not there, opens with the first call. Errors of every call: `unavailable`, `damaged`,
 * `out-of-resources`.
 */
export function createCommitmentStore({ file, inWorker }: { file: string; inWorker: boolean }): CommitmentStore {
  const spec: EngineSpec = { engine: 'commitments', file };
  const executor = createLazyExecutor(() => (inWorker ? createWorkerExecutor(spec) : createLocalExecutor(spec)));
  return new Proxy({} as CommitmentStore, {
    get: (_, method: string) =>
      method === 'close' ? () => executor.close() : (...args: readonly unknown[]) => executor.call(method, ...args),
  });
}
