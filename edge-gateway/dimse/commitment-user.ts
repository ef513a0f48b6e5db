/**
 * Storage Commitment Push Model as SCU (PS3.4 §J.3.2, §J.3.3): asks another archive to keep instances, and hears what it says of
 * them, which it may say on an association of its own, hours later. What was asked is known to this process alone: whoever must
 * know over a restart asks again, under a new Transaction UID.
 */
import { randomUUID } from 'node:crypto';
import { newUid } from '#shared/dicom/uid.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type ConnectOptions, connect } from './client.ts';
import { CommandField, NO_DATA_SET } from './command-set.ts';
import {
  CommitmentEvent,
  type CommitmentResult,
  encodeCommitmentRequest,
  MAX_REQUEST_BYTES,
  NormalizedStatus,
  REQUEST_STORAGE_COMMITMENT,
  type ReferencedInstance,
  readCommitmentResult,
  STORAGE_COMMITMENT_INSTANCE,
} from './commitment-data-set.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT_PUSH_MODEL } from './negotiation.ts';
import { answerWith, type RequestScope, type Service } from './service.ts';
import { Status, type StatusAnswer, success } from './status.ts';

export interface CommitmentUser {
  /**
   * Asks, and resolves with the provider's report. Errors: those of connect; `forbidden` (it does not offer Storage Commitment, or
   * refuses the request: details say the status), `timeout` (no report within `waitMs`), `unavailable` (closed).
   */
  requestCommitment(
    provider: Pick<ConnectOptions, 'host' | 'port' | 'tls' | 'callingAeTitle' | 'calledAeTitle'>,
    references: readonly ReferencedInstance[],
    waitMs: number,
  ): Promise<CommitmentResult>;
  /** For the N-EVENT-REPORTs that come to our own port. */
  readonly service: Service;
  /** What is waited for fails. */
  close(): void;
}

interface Waiting {
  resolve(result: CommitmentResult): void;
  reject(error: ArchiveError): void;
}

export function createCommitmentUser(): CommitmentUser {
  /** By Transaction UID. */
  const waiting = new Map<string, Waiting>();

  const hear = (bytes: Uint8Array, { context, callingAeTitle, log }: RequestScope): StatusAnswer => {
    const result = readCommitmentResult(bytes, context.transferSyntaxUid);
    if ('refusal' in result) return result.refusal;
    const { transactionUid } = result;
    const asked = waiting.get(transactionUid);
    if (asked === undefined) {
      log.warn({ transactionUid, callingAeTitle }, 'a report on a storage commitment that was not asked for');
      return { status: Status.ProcessingFailure, comment: 'this transaction is not known, or no longer' };
    }
    asked.resolve(result);
    return success;
  };

  return {
    async requestCommitment(provider, references, waitMs) {
      const transactionUid = newUid(randomUUID());
      const reported = new Promise<CommitmentResult>((resolve, reject) =>
        waiting.set(transactionUid, { resolve, reject }),
      );
      // It may come, or fail, before somebody waits for it.
      reported.catch(() => {});
      const timer = setTimeout(
        () =>
          waiting.get(transactionUid)?.reject(new ArchiveError('timeout', 'no storage commitment report came in time')),
        waitMs,
      );
      try {
        await ask(provider, { transactionUid, references });
        return await reported;
      } finally {
        clearTimeout(timer);
        waiting.delete(transactionUid);
      }
    },

    service(request, scope) {
      if (scope.context.abstractSyntax !== STORAGE_COMMITMENT_PUSH_MODEL)
        return answerWith({ status: Status.SopClassNotSupported, comment: 'this context has no such event' });
      if (request.affectedSopInstanceUid !== STORAGE_COMMITMENT_INSTANCE)
        return answerWith({ status: NormalizedStatus.NoSuchInstance });
      const { eventTypeId } = request;
      if (eventTypeId !== CommitmentEvent.Successful && eventTypeId !== CommitmentEvent.FailuresExist)
        return answerWith({ status: NormalizedStatus.NoSuchEventType });
      if (request.dataSetType === NO_DATA_SET)
        return answerWith({
          status: NormalizedStatus.InvalidArgumentValue,
          comment: 'the event information is missing',
        });
      const gathered = new GrowingBuffer();
      let isTooLong = false;
      return {
        write(piece) {
          isTooLong ||= waiting.size === 0 || gathered.length + piece.length > MAX_REQUEST_BYTES;
          if (isTooLong) gathered.take();
          else gathered.append(piece);
        },
        abort: () => {},
        complete: async () =>
          isTooLong
            ? { status: NormalizedStatus.ResourceLimitation, comment: 'nothing so long was asked for' }
            : hear(gathered.take(), scope),
      };
    },

    close() {
      for (const { reject } of waiting.values()) reject(new ArchiveError('unavailable', 'the gateway is closing'));
    },
  };
}

async function ask(
  provider: Pick<ConnectOptions, 'host' | 'port' | 'tls' | 'callingAeTitle' | 'calledAeTitle'>,
  request: { readonly transactionUid: string; readonly references: readonly ReferencedInstance[] },
): Promise<void> {
  const association = await connect({
    ...provider,
    contexts: [
      {
        abstractSyntax: STORAGE_COMMITMENT_PUSH_MODEL,
        transferSyntaxes: [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN],
      },
    ],
  });
  let answer: StatusAnswer;
  try {
    const [context] = association.contexts;
    if (context === undefined) throw new ArchiveError('forbidden', 'the peer does not offer Storage Commitment');
    answer = await association.request(
      context,
      {
        requestedSopClassUid: STORAGE_COMMITMENT_PUSH_MODEL,
        commandField: CommandField.NActionRequest,
        dataSetType: 1,
        requestedSopInstanceUid: STORAGE_COMMITMENT_INSTANCE,
        actionTypeId: REQUEST_STORAGE_COMMITMENT,
      },
      encodeCommitmentRequest(request, context.transferSyntaxUid),
    );
  } finally {
    await association.release().catch(() => association.abort());
  }
  const { status, comment } = answer;
  if (status !== Status.Success)
    throw new ArchiveError('forbidden', 'the peer refused the storage commitment request', { status, comment });
}
