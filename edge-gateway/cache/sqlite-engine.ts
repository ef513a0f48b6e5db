/**
 * The SQLite index as plain functions on one connection, and the batches in which they run: writes that arrive together
 * share one transaction, so that one sync serves them all, and are answered after it. Each write is conditional on its own
 * item and independent of its neighbours. Threads are sqlite-rpc.ts; the port is sqlite-index.ts.
 */
import type { Query } from '#shared/archive/query.ts';
import { type AggregateTable, createAggregateTable } from './sqlite-aggregates.ts';
import type { Database } from './sqlite-database.ts';
import { createInstanceTable, type InstanceTable } from './sqlite-instances.ts';
import { createPackTable, type PackTable } from './sqlite-packs.ts';
import { type StoredSearchPage, search } from './sqlite-search.ts';

export interface IndexEngine extends InstanceTable, AggregateTable, PackTable {
  search(tenant: string, query: Query): StoredSearchPage;
}

/** `promise`: others act on it (a pack is sent, or evicted), so that it must outlive a power cut. `derived`: the packs would tell it again. */
export type OperationKind = 'read' | 'derived' | 'promise';

export const indexOperations = {
  createInstances: 'derived',
  replaceCurrent: 'derived',
  replaceConflict: 'derived',
  deleteConflict: 'derived',
  getInstance: 'read',
  getVersions: 'read',
  listInstances: 'read',
  listConflicts: 'read',
  recount: 'derived',
  getStudy: 'read',
  getSeries: 'read',
  listSeries: 'read',
  createPack: 'promise',
  getPack: 'read',
  updatePack: 'promise',
  deletePack: 'promise',
  listPacks: 'read',
  packsInState: 'read',
  packTotals: 'read',
  search: 'read',
} as const satisfies Record<keyof IndexEngine, OperationKind>;

export function createIndexEngine(database: Database): IndexEngine {
  return {
    ...createInstanceTable(database),
    ...createAggregateTable(database),
    ...createPackTable(database),
    search: (tenant, query) => search(database, tenant, query),
  };
}

/** A call of one of an engine's functions. */
export interface Request {
  readonly method: string;
  readonly args: readonly unknown[];
}

export type Answer = { readonly value: unknown } | { readonly error: unknown };

/** Runs requests, in their order; answers are in the same order. */
export type Runner = (requests: readonly Request[]) => readonly Answer[];

/** The most that one transaction takes: others wait for its end. */
const BATCH = 256;

/** Runs requests on the functions of `engine`; `operations` says of each what it needs. */
export function createRunner(
  database: Database,
  engine: object,
  operations: Readonly<Record<string, OperationKind>>,
): Runner {
  const call = ({ method, args }: Request): unknown => {
    const operation = (engine as Record<string, (...args: readonly unknown[]) => unknown>)[method];
    if (operation === undefined) throw new TypeError(`the engine has no ${method}`);
    return operation(...args);
  };
  const kindOf = ({ method }: Request): OperationKind => operations[method] ?? 'promise';

  const alone = (request: Request): Answer => {
    const kind = kindOf(request);
    return attempt(() =>
      kind === 'read'
        ? database.guard(() => call(request))
        : database.transaction(kind === 'promise', () => call(request)),
    );
  };

  function together(requests: readonly Request[]): readonly Answer[] {
    const kinds = requests.map(kindOf);
    if (requests.length === 1 || kinds.every((kind) => kind === 'read')) return requests.map(alone);
    const outcome = attempt(() =>
      database.transaction(kinds.includes('promise'), () =>
        requests.map((request, i) => (kinds[i] === 'read' ? attempt(() => call(request)) : { value: call(request) })),
      ),
    );
    // One of them spoilt the transaction for all: each has its own then, so that only that one fails.
    return 'error' in outcome ? requests.map(alone) : (outcome.value as readonly Answer[]);
  }

  return (requests) => {
    if (requests.length <= BATCH) return together(requests);
    const answers: Answer[] = [];
    for (let i = 0; i < requests.length; i += BATCH) answers.push(...together(requests.slice(i, i + BATCH)));
    return answers;
  };
}

function attempt(work: () => unknown): Answer {
  try {
    return { value: work() };
  } catch (error) {
    return { error };
  }
}
