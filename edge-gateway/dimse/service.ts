/**
 * What a DIMSE service class is to an association: something that begins an operation for a request, takes its data set
 * as it streams in, and says what to answer. Associations know no service, services know no PDU.
 */
import type { Logger } from '#shared/log.ts';
import type { InstanceToStore } from './client.ts';
import type { CommandSet } from './command-set.ts';
import type { DimseEvent, Peer } from './events.ts';
import type { AcceptedContext } from './negotiation.ts';
import type { Rights } from './peers.ts';
import type { StatusAnswer } from './status.ts';

/** Who asks, and over what. */
export interface RequestScope {
  readonly callingAeTitle: string;
  readonly peer: Peer;
  /** What the caller may do; contexts that it may not use are refused in the negotiation already. */
  readonly rights: Rights;
  readonly context: AcceptedContext;
  readonly log: Logger;
  /** Tells what became of the request. */
  readonly report: (event: DimseEvent) => void;
}

interface Intake {
  /** The next bytes of the data set; a promise means: wait before the next ones. */
  write(bytes: Uint8Array): void | Promise<void>;
  /** The association ended before the data set did. */
  abort(): void;
}

/** One request being worked on that has one answer. Exactly one of `complete` and `abort` ends it. */
export interface Operation extends Intake {
  /** Request and data set are here; resolves with the response when that may be sent. A rejection is answered 0110H. */
  complete(): Promise<StatusAnswer>;
}

/** One request that is answered over time, while the peer is listened to. Exactly one of `converse` and `abort` ends it. */
export interface Conversation extends Intake {
  /** Request and identifier are here; resolves with the last response. A rejection is answered 0110H. */
  converse(exchange: Exchange): Promise<Answer>;
}

export type Service = (request: CommandSet, scope: RequestScope) => Operation | Conversation;

/** Of C-GET and C-MOVE (PS3.7 §9.1.3.1, §9.1.4.1): what has become of the sub-operations. */
export interface SubOperationCounts {
  /** Absent in a final response, unless it was cancelled. */
  readonly remaining?: number;
  readonly completed: number;
  readonly failed: number;
  readonly warning: number;
}

export interface Answer extends StatusAnswer {
  /** Encoded in the transfer syntax of the context. */
  readonly identifier?: Uint8Array;
  readonly subOperations?: SubOperationCounts;
}

/** What a conversation can do with the peer while it lasts. */
export interface Exchange {
  /** Aborted by C-CANCEL, and when the association is over: nothing is heard or wanted any more then. */
  readonly cancelled: AbortSignal;
  /** Contexts on which the requestor takes instances: it proposed to be their SCP (PS3.7 Annex D.3.3.4). */
  readonly receiving: readonly AcceptedContext[];
  /** Sends a pending response; a promise means: wait before the next one, the peer has not read the last ones. */
  respond(answer: Answer): void | Promise<void>;
  /**
   * A C-STORE sub-operation on the same association; `context` is one of `receiving`. Error `unavailable`: the association is over. A
   * data set that fails within ends the association, since a message cannot be taken back.
   */
  store(context: AcceptedContext, instance: InstanceToStore): Promise<StatusAnswer>;
}

/** An operation that lets a data set pass and answers what was clear from the start. */
export function answerWith(answer: StatusAnswer): Operation {
  return { write: () => undefined, complete: async () => answer, abort: () => {} };
}
