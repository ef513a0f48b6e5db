/**
 * The batches in which an engine's functions run: writes that arrive together share one transaction, so that one sync
 * serves them all, and are answered after it. Each write is conditional on its own item and independent of its neighbours.
 */
import type { Database } from './sqlite-database.ts';

/** `promise`: others act on it (a pack is sent, or evicted), so that it must outlive a power cut. `derived`: the packs would tell it again. */
export type OperationKind = 'read' | 'derived' | 'promise';

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
