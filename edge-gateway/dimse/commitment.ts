/**
 * Storage Commitment Push Model as SCP (PS3.4 §J.3.2): an N-ACTION asks that instances be kept, and is answered Success only when
 * the request itself is kept durably. What becomes of it is the intake's; its result goes out by commitment-report.ts.
 */
import { NO_DATA_SET } from './command-set.ts';
import {
  MAX_REQUEST_BYTES,
  NormalizedStatus,
  REQUEST_STORAGE_COMMITMENT,
  STORAGE_COMMITMENT_INSTANCE,
  tooManyReferences,
} from './commitment-data-set.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { STORAGE_COMMITMENT_PUSH_MODEL } from './negotiation.ts';
import { answerWith, type Operation, type RequestScope, type Service } from './service.ts';
import { Status, type StatusAnswer } from './status.ts';

export interface CommitmentIntake {
  /** Whether it is known where to report to this AE. */
  knows(aeTitle: string): boolean;
  /** Resolves when the request is durable, or with why it is refused. Errors: those of the store. */
  accept(request: {
    readonly requestor: string;
    readonly transferSyntaxUid: string;
    readonly bytes: Uint8Array;
  }): Promise<AcceptedCommitment>;
}

export interface AcceptedCommitment {
  readonly answer: StatusAnswer;
  /** Undefined: it could not be read. */
  readonly transactionUid: string | undefined;
  readonly references: number;
}

/** Of requests that are arriving, on all associations together. */
const MAX_BYTES_IN_ALL = 64 * 1024 * 1024;

export function createCommitmentService(intake: CommitmentIntake): Service {
  let heldBytes = 0;

  function gather(scope: RequestScope): Operation {
    const { callingAeTitle, context, log } = scope;
    const gathered = new GrowingBuffer();
    let counted = 0;
    let refusal: StatusAnswer | undefined;
    const release = (): void => {
      heldBytes -= counted;
      counted = 0;
    };
    const refuse = (answer: StatusAnswer): void => {
      refusal = answer;
      gathered.take();
      release();
    };
    return {
      write(piece) {
        if (refusal !== undefined) return;
        if (gathered.length + piece.length > MAX_REQUEST_BYTES) refuse(tooManyReferences);
        else if (heldBytes + piece.length > MAX_BYTES_IN_ALL) refuse(tooManyAtOnce);
        else {
          heldBytes += piece.length;
          counted += piece.length;
          gathered.append(piece);
        }
      },
      abort: release,
      async complete() {
        try {
          if (refusal !== undefined) {
            log.warn({ status: refusal.status }, `storage commitment refused: ${refusal.comment}`);
            return answered(scope, { answer: refusal, transactionUid: undefined, references: 0 });
          }
          const { transferSyntaxUid } = context;
          const bytes = gathered.take();
          return answered(scope, await intake.accept({ requestor: callingAeTitle, transferSyntaxUid, bytes }));
        } catch (error) {
          log.error({ err: error }, 'a storage commitment request could not be kept');
          return answered(scope, { answer: cannotKeep, transactionUid: undefined, references: 0 });
        } finally {
          release();
        }
      },
    };
  }

  return (request, scope) => {
    const refuse = (status: number, comment: string, offendingElements?: readonly number[]): Operation => {
      scope.log.warn({ status }, `storage commitment refused: ${comment}`);
      const answer = { status, comment, ...(offendingElements === undefined ? {} : { offendingElements }) };
      return answerWith(answered(scope, { answer, transactionUid: undefined, references: 0 }));
    };
    if (scope.context.abstractSyntax !== STORAGE_COMMITMENT_PUSH_MODEL)
      return refuse(Status.SopClassNotSupported, 'N-ACTION needs a context of Storage Commitment');
    if (request.requestedSopClassUid !== STORAGE_COMMITMENT_PUSH_MODEL)
      return refuse(NormalizedStatus.NoSuchClass, 'the class must be the Storage Commitment Push Model');
    if (request.requestedSopInstanceUid !== STORAGE_COMMITMENT_INSTANCE)
      return refuse(NormalizedStatus.NoSuchInstance, 'the instance must be 1.2.840.10008.1.20.1.1');
    if (request.actionTypeId !== REQUEST_STORAGE_COMMITMENT)
      return refuse(NormalizedStatus.NoSuchAction, 'the only action is 1, Request Storage Commitment');
    if (request.dataSetType === NO_DATA_SET)
      return refuse(NormalizedStatus.MissingAttribute, 'the action information is missing', [0x00081195, 0x00081199]);
    if (!intake.knows(scope.callingAeTitle))
      return refuse(NormalizedStatus.NotAuthorized, 'the calling AE is not in the AE table: nowhere to report');
    return gather(scope);
  };
}

/** Tells whoever listens, and answers. */
function answered(scope: RequestScope, { answer, transactionUid, references }: AcceptedCommitment): StatusAnswer {
  const { status } = answer;
  scope.report({ kind: 'commitment-requested', peer: scope.peer, transactionUid, instances: references, status });
  return answer;
}

const cannotKeep: StatusAnswer = {
  status: NormalizedStatus.ResourceLimitation,
  comment: 'the request cannot be kept; ask again later',
};

const tooManyAtOnce: StatusAnswer = {
  status: NormalizedStatus.ResourceLimitation,
  comment: 'too many requests are arriving; ask again later',
};
