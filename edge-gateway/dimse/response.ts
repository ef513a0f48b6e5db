/** The command set of a response (PS3.7 §9.3, §10.3): what it echoes of its request and what it adds; and what one says. */
import { type CommandSet, NO_DATA_SET, RESPONSE } from './command-set.ts';
import type { Answer, SubOperationCounts } from './service.ts';
import { Status, type StatusAnswer } from './status.ts';

/** Any value of (0000,0800) but NO_DATA_SET. */
const DATA_SET = 0x0001;

/** The command set that answers `request`; with an identifier where `answer` has one. */
export function responseTo(request: CommandSet, answer: Answer): CommandSet {
  return {
    ...echoed('affectedSopClassUid', request.affectedSopClassUid ?? request.requestedSopClassUid),
    commandField: request.commandField | RESPONSE,
    messageIdBeingRespondedTo: request.messageId as number,
    dataSetType: answer.identifier === undefined ? NO_DATA_SET : DATA_SET,
    status: answer.status,
    ...(answer.offendingElements === undefined ? {} : { offendingElements: answer.offendingElements }),
    ...(answer.comment === undefined ? {} : { errorComment: answer.comment }),
    ...(answer.subOperations === undefined ? {} : countsOf(answer.subOperations)),
    ...echoed('affectedSopInstanceUid', request.affectedSopInstanceUid ?? request.requestedSopInstanceUid),
  };
}

/** What a response says. */
export function answerOf({ status, errorComment, offendingElements }: CommandSet): StatusAnswer {
  return {
    status: status ?? Status.ProcessingFailure,
    ...(errorComment === undefined ? {} : { comment: errorComment }),
    ...(offendingElements === undefined ? {} : { offendingElements }),
  };
}

/** Counts have 16 bits: a larger one is as large as can be said. */
function countsOf({ remaining, completed, failed, warning }: SubOperationCounts): Partial<CommandSet> {
  const bounded = (count: number) => Math.min(count, 0xffff);
  return {
    ...(remaining === undefined ? {} : { remainingSuboperations: bounded(remaining) }),
    completedSuboperations: bounded(completed),
    failedSuboperations: bounded(failed),
    warningSuboperations: bounded(warning),
  };
}

/** UIDs go back as they came, if they could be UIDs at all. */
function echoed(
  name: 'affectedSopClassUid' | 'affectedSopInstanceUid',
  uid: string | undefined,
): { [K in typeof name]?: string } {
  return uid === undefined || uid.length > 64 ? {} : { [name]: uid };
}
