/**
 * DIMSE status codes (PS3.7 Annex C; for C-STORE PS3.4 §B.2.3) that we send or must know, and what an Outcome or an
 * error is answered with. The codes of errors are in shared/errors.ts.
 */
import type { Outcome } from '#shared/archive/outcome.ts';
import { dimseStatusOf, isArchiveError } from '#shared/errors.ts';

export const Status = {
  Success: 0x0000,
  ProcessingFailure: 0x0110,
  SopClassNotSupported: 0x0122,
  NotAuthorized: 0x0124,
  UnrecognizedOperation: 0x0211,
  CannotUnderstand: 0xc000,
} as const;

/** What a response says beyond echoing the request. */
export interface StatusAnswer {
  readonly status: number;
  /** For (0000,0902): cut to what it can hold when it is encoded. */
  readonly comment?: string;
  /** For (0000,0901): tags that the failure is about. */
  readonly offendingElements?: readonly number[];
}

export const success: StatusAnswer = { status: Status.Success };

/** Warnings (PS3.7 §C.4): the instance is stored all the same. */
export function isWarning(status: number): boolean {
  return status === 0x0001 || status === 0x0107 || status === 0x0116 || status >> 12 === 0xb;
}

/**
 * A conflict is answered Success: the instance is kept beside the first, and a modality that hears of a failure would
 * send it for ever.
 */
export function statusOfOutcome(outcome: Outcome): StatusAnswer {
  if (outcome.kind !== 'refused') return success;
  const answer: StatusAnswer = { status: dimseStatusOf[outcome.code], comment: outcome.reason };
  return outcome.offendingElements === undefined ? answer : { ...answer, offendingElements: outcome.offendingElements };
}

/** What is not an ArchiveError is a bug: 0110H, and nothing of it outward. */
export function statusOfError(error: unknown): StatusAnswer {
  if (isArchiveError(error)) return { status: dimseStatusOf[error.code], comment: error.message };
  return { status: Status.ProcessingFailure, comment: 'the archive failed to process this message' };
}
