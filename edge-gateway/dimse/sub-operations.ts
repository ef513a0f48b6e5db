/**
 * The C-STORE sub-operations of a C-GET or C-MOVE (PS3.4 §C.4.2, §C.4.3): one instance after the other, counted, with pending
 * responses while they go on, the end that follows from the counts, and the list of what failed. How one is stored is not known here.
 */
import { performance } from 'node:perf_hooks';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import type { Logger } from '#shared/log.ts';
import { type Identifier, QueryStatus } from './identifier.ts';
import type { StoredInstance } from './retrieve-selection.ts';
import type { Answer, Exchange, RequestScope } from './service.ts';
import { isWarning, Status } from './status.ts';

/** Requestors give up when they hear nothing: they must hear every 2 s. */
const PENDING_AT_LEAST_MS = 1_500;
/** More often would be noise. */
const PENDING_AT_MOST_MS = 250;

export type SubOperationEnd = 'completed' | 'warning' | 'failed';

/** What the answer to a C-STORE means for the counts. */
export function endOf(status: number): SubOperationEnd {
  if (status === Status.Success) return 'completed';
  return isWarning(status) ? 'warning' : 'failed';
}

export interface SubOperationsOptions {
  readonly instances: readonly StoredInstance[];
  readonly exchange: Exchange;
  /** Of the context of the request: for the list of failures. */
  readonly transferSyntaxUid: string;
  readonly log: Logger;
  /** Stores one; must not reject. */
  readonly store: (instance: StoredInstance) => Promise<SubOperationEnd>;
  /** Why things fail, for the requestor; asked in the end. */
  readonly comment?: () => string | undefined;
}

/** Resolves with the final response. */
export async function runSubOperations(options: SubOperationsOptions): Promise<Answer> {
  const { instances, exchange, log } = options;
  const counts = { completed: 0, failed: 0, warning: 0 };
  const failedUids: string[] = [];
  let remaining = instances.length;
  let saidAtMs = Number.NEGATIVE_INFINITY;
  let saying: Promise<void> | undefined;

  const sayPending = async (): Promise<void> => {
    if (saying !== undefined || exchange.cancelled.aborted || remaining === 0) return;
    saidAtMs = performance.now();
    const subOperations = { remaining, ...counts };
    saying = Promise.resolve(exchange.respond({ status: QueryStatus.Pending, subOperations }));
    await saying;
    saying = undefined;
  };
  const clock = setInterval(() => {
    if (performance.now() - saidAtMs >= PENDING_AT_LEAST_MS - PENDING_AT_MOST_MS) void sayPending();
  }, PENDING_AT_LEAST_MS / 4);
  try {
    for (const instance of instances) {
      if (exchange.cancelled.aborted) break;
      const end = await options.store(instance);
      counts[end]++;
      remaining--;
      if (end === 'failed') failedUids.push(instance.sopInstanceUid);
      if (performance.now() - saidAtMs >= PENDING_AT_MOST_MS) await sayPending();
    }
    await saying;
  } finally {
    clearInterval(clock);
  }
  const isCancelled = exchange.cancelled.aborted && remaining > 0;
  log.info({ ...counts, remaining, cancelled: isCancelled }, 'sub-operations ended');
  return {
    ...finalOf(isCancelled, instances.length, counts, options.comment?.()),
    subOperations: isCancelled ? { remaining, ...counts } : counts,
    ...(failedUids.length === 0 ? {} : { identifier: failedList(failedUids, options.transferSyntaxUid) }),
  };
}

/** Tells of a retrieval when it is answered. */
export async function reported(
  scope: RequestScope,
  { level }: Identifier,
  what: { readonly operation: 'get' } | { readonly operation: 'move'; readonly destination: string | undefined },
  answering: Promise<Answer>,
): Promise<Answer> {
  const startedAtMs = performance.now();
  const answer = await answering;
  const counts = answer.subOperations ?? { completed: 0, failed: 0, warning: 0 };
  const durationMs = performance.now() - startedAtMs;
  const { status } = answer;
  const destination = what.operation === 'move' ? what.destination : undefined;
  const { operation } = what;
  scope.report({ kind: 'retrieve', peer: scope.peer, operation, destination, level, counts, durationMs, status });
  return answer;
}

function finalOf(
  isCancelled: boolean,
  total: number,
  { failed, warning }: { failed: number; warning: number },
  comment: string | undefined,
): Answer {
  if (isCancelled) return { status: QueryStatus.Cancelled };
  if (failed + warning === 0) return { status: Status.Success };
  const status = failed === total ? QueryStatus.UnableToPerformSubOperations : QueryStatus.SomeSubOperationsFailed;
  return comment === undefined ? { status } : { status, comment };
}

/** Failed SOP Instance UID List (0008,0058). */
function failedList(uids: readonly string[], transferSyntaxUid: string): Uint8Array {
  return encodeDataSet({ '00080058': { vr: 'UI', Value: [...uids] } }, transferSyntaxOf(transferSyntaxUid));
}
