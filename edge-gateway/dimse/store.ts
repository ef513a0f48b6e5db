/**
 * Storage service class as SCP (PS3.4 Annex B): the data set of a C-STORE streams into the receiver as it arrives, and
 * the answer is what became of it. 0000H is said only after `commit` has resolved, which is after the bytes are on
 * stable storage. What the receiver does with them is not known here.
 */
import { performance } from 'node:perf_hooks';
import type { IncomingInstance, InstanceReceiver, InstanceSink, Outcome } from '#shared/archive/outcome.ts';
import { isStorageAbstractSyntax } from '#shared/dicom/sop-class.ts';
import { isArchiveError } from '#shared/errors.ts';
import { type CommandSet, NO_DATA_SET } from './command-set.ts';
import { answerWith, type Operation, type RequestScope, type Service } from './service.ts';
import { Status, type StatusAnswer, statusOfError, statusOfOutcome } from './status.ts';

/** One C-STORE that came to its end, whatever that was. */
export interface StoreReport {
  readonly sopInstanceUid: string | undefined;
  readonly transferSyntaxUid: string;
  /** Of the data set. */
  readonly lengthBytes: number;
  readonly durationMs: number;
  readonly status: number;
  /** `aborted`: the association ended within it. */
  readonly outcome: Outcome['kind'] | 'aborted';
}

/** (0000,0700), PS3.7 §9.3.1.1. */
const priorityNames: Readonly<Record<number, IncomingInstance['priority'] & string>> = {
  0: 'medium',
  1: 'high',
  2: 'low',
};

export function createStoreService(receiver: InstanceReceiver): Service {
  return (request, scope) => {
    if (!isStorageAbstractSyntax(scope.context.abstractSyntax))
      return answerWith({
        status: Status.SopClassNotSupported,
        comment: 'C-STORE needs a storage presentation context',
      });
    if (!scope.rights.mayStore)
      return answerWith({ status: Status.NotAuthorized, comment: 'this AE may not store here' });
    if (request.dataSetType === NO_DATA_SET)
      return answerWith({ status: Status.CannotUnderstand, comment: 'a C-STORE request must have a data set' });
    return new StoreOperation(receiver, request, scope);
  };
}

class StoreOperation implements Operation {
  readonly #request: CommandSet;
  readonly #scope: RequestScope;
  readonly #startedAtMs = performance.now();
  #sink: InstanceSink | undefined;
  #failure: StatusAnswer | undefined;
  #lengthBytes = 0;

  constructor(receiver: InstanceReceiver, request: CommandSet, scope: RequestScope) {
    this.#request = request;
    this.#scope = scope;
    try {
      this.#sink = receiver.begin({
        sopClassUid: request.affectedSopClassUid,
        sopInstanceUid: request.affectedSopInstanceUid,
        transferSyntaxUid: scope.context.transferSyntaxUid,
        sourceAeTitle: scope.callingAeTitle === '' ? undefined : scope.callingAeTitle,
        priority: priorityNames[request.priority ?? 0] ?? 'medium',
      });
    } catch (error) {
      this.#fail(error);
    }
  }

  write(bytes: Uint8Array): void | Promise<void> {
    this.#lengthBytes += bytes.length;
    try {
      return this.#sink?.write(bytes)?.then(undefined, (error: unknown) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
    }
  }

  async complete(): Promise<StatusAnswer> {
    const sink = this.#sink;
    this.#sink = undefined;
    if (sink === undefined) return this.#end(this.#failure ?? statusOfError(undefined), 'refused');
    try {
      const outcome = await sink.commit();
      return this.#end(statusOfOutcome(outcome), outcome.kind);
    } catch (error) {
      this.#fail(error);
      return this.#end(this.#failure ?? statusOfError(error), 'refused');
    }
  }

  abort(): void {
    this.#sink?.abort();
    this.#sink = undefined;
    this.#end({ status: Status.ProcessingFailure }, 'aborted');
  }

  /** The rest of the data set is let pass, and the sender is told in the end. */
  #fail(error: unknown): void {
    this.#failure ??= statusOfError(error);
    const fields = { sopInstanceUid: this.#request.affectedSopInstanceUid, err: error };
    if (isArchiveError(error)) this.#scope.log.warn(fields, 'an instance could not be taken');
    else this.#scope.log.error(fields, 'taking an instance failed unexpectedly');
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.abort();
  }

  #end(answer: StatusAnswer, outcome: StoreReport['outcome']): StatusAnswer {
    this.#scope.report({
      kind: 'store',
      peer: this.#scope.peer,
      sopInstanceUid: this.#request.affectedSopInstanceUid,
      transferSyntaxUid: this.#scope.context.transferSyntaxUid,
      lengthBytes: this.#lengthBytes,
      durationMs: performance.now() - this.#startedAtMs,
      status: answer.status,
      outcome,
    });
    return answer;
  }
}
