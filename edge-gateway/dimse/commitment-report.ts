/**
 * Reports of storage commitments on their way out (PS3.4 §J.3.3): N-EVENT-REPORT on an association that we open, on which we
 * are SCP (PS3.7 Annex D.3.3.4). When to report, and again, is the caller's.
 */
import { ArchiveError } from '#shared/errors.ts';
import { connect } from './client.ts';
import { CommandField } from './command-set.ts';
import { STORAGE_COMMITMENT_INSTANCE } from './commitment-data-set.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, STORAGE_COMMITMENT_PUSH_MODEL } from './negotiation.ts';
import type { StatusAnswer } from './status.ts';
import type { ClientTls } from './tls.ts';

export interface CommitmentReporter {
  /** In which the event information is to be encoded. */
  readonly transferSyntaxUid: string;
  /** Resolves with the peer's answer, whatever its status. Errors: `timeout`, `unavailable`. */
  report(event: { readonly eventTypeId: number; readonly bytes: Uint8Array }): Promise<StatusAnswer>;
  /** A-RELEASE; never rejects. */
  end(): Promise<void>;
  /** A-ABORT; a report without its answer fails. */
  abort(): void;
}

export interface CommitmentReporterOptions {
  readonly host: string;
  readonly port: number;
  readonly tls?: ClientTls;
  readonly callingAeTitle: string;
  readonly calledAeTitle: string;
  readonly connectTimeoutMs?: number;
  /** For the answer to one report. */
  readonly responseTimeoutMs?: number;
}

/**
 * A peer that says nothing about roles is reported to all the same: many do not know of them. Errors: those of connect;
 * `forbidden` when it takes no reports, or none from us.
 */
export async function openCommitmentReporter(options: CommitmentReporterOptions): Promise<CommitmentReporter> {
  const association = await connect({
    ...options,
    contexts: [
      {
        abstractSyntax: STORAGE_COMMITMENT_PUSH_MODEL,
        transferSyntaxes: [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN],
      },
    ],
    roles: [{ sopClassUid: STORAGE_COMMITMENT_PUSH_MODEL, scu: false, scp: true }],
  });
  const end = (): Promise<void> => association.release().catch(() => association.abort());
  const [context] = association.contexts;
  if (context === undefined || association.roleIn(STORAGE_COMMITMENT_PUSH_MODEL)?.scp === false) {
    await end();
    throw new ArchiveError(
      'forbidden',
      context === undefined
        ? 'the peer does not accept Storage Commitment on an association that we open'
        : 'the peer does not accept us as SCP of Storage Commitment',
    );
  }
  return {
    transferSyntaxUid: context.transferSyntaxUid,
    end,
    abort: () => association.abort(),
    report: ({ eventTypeId, bytes }) =>
      association.request(
        context,
        {
          affectedSopClassUid: STORAGE_COMMITMENT_PUSH_MODEL,
          commandField: CommandField.NEventReportRequest,
          dataSetType: 1,
          affectedSopInstanceUid: STORAGE_COMMITMENT_INSTANCE,
          eventTypeId,
        },
        bytes,
      ),
  };
}
