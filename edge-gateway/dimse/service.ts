/**
 * What a DIMSE service class is to an association: something that begins an operation for a request, takes its data set
 * as it streams in, and says what to answer. Associations know no service, services know no PDU.
 */
import type { Logger } from '#shared/log.ts';
import type { CommandSet } from './command-set.ts';
import type { AcceptedContext } from './negotiation.ts';
import type { StatusAnswer } from './status.ts';

/** Who asks, and over what. */
export interface RequestScope {
  readonly callingAeTitle: string;
  readonly context: AcceptedContext;
  readonly log: Logger;
}

/** One request being worked on. Exactly one of `complete` and `abort` ends it. */
export interface Operation {
  /** The next bytes of the data set; a promise means: wait before the next ones. */
  write(bytes: Uint8Array): void | Promise<void>;
  /** Request and data set are here; resolves with the response when that may be sent. A rejection is answered 0110H. */
  complete(): Promise<StatusAnswer>;
  /** The association ended before the data set did. */
  abort(): void;
}

export type Service = (request: CommandSet, scope: RequestScope) => Operation;

/** An operation that lets a data set pass and answers what was clear from the start. */
export function answerWith(answer: StatusAnswer): Operation {
  return { write: () => undefined, complete: async () => answer, abort: () => {} };
}
