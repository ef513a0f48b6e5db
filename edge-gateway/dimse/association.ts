/**
 * One association that somebody else opened, from A-ASSOCIATE-RQ to its end: the acceptor's part of the state table
 * (PS3.8 §9.2), messages put together from fragments (PS3.7 §6.3), requests handed to services, answers sent in the
 * order of the requests. Whatever is out of place ends it with A-ABORT; it is never left open in doubt.
 */
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { type AssociateRequest, decodeAssociateRequest, encodeAssociateAccept } from './associate-pdu.ts';
import { CommandField, type CommandSet, NO_DATA_SET, RESPONSE } from './command-set.ts';
import { Conversations } from './conversations.ts';
import type { DimseEvent, Peer } from './events.ts';
import { IncomingCommand } from './incoming-command.ts';
import type { AssociationLimits } from './limits.ts';
import { type AcceptedContext, type NegotiationPolicy, negotiate } from './negotiation.ts';
import { OutgoingMessages } from './outgoing-messages.ts';
import {
  AbortReason,
  AbortSource,
  decodeAbort,
  encodeAssociateReject,
  encodeReleaseResponse,
  fragmentLimit,
  messageViolation,
  PDV_COMMAND,
  PDV_LAST,
  PduType,
  pduViolation,
  type Reject,
} from './pdu.ts';
import { type Admission, allRights } from './peers.ts';
import { responseTo } from './response.ts';
import { type Answer, answerWith, type Conversation, type Operation, type Service } from './service.ts';
import { Status, statusOfError } from './status.ts';
import { UpperLayer, type UpperLayerHandler } from './upper-layer.ts';

/** How an association ended: by A-RELEASE, by our or the peer's A-ABORT, by A-ASSOCIATE-RJ, or by a lost connection. */
export type AssociationEnd = 'released' | 'aborted' | 'aborted-by-peer' | 'rejected' | 'lost';

export interface AssociationOptions {
  readonly policy: NegotiationPolicy;
  readonly limits: AssociationLimits;
  readonly services: ReadonlyMap<number, Service>;
  readonly log: Logger;
  readonly address: string;
  readonly isSecure: boolean;
  /** Whether this request may become an association now, and what for. */
  readonly admit: (request: AssociateRequest) => Admission;
  readonly report: (event: DimseEvent) => void;
}

/** One after the other: nobody needs any, and they would keep a message going for ever. */
const MAX_EMPTY_FRAGMENTS = 1_000;

/** A request whose data set has not ended. */
interface Message {
  readonly request: CommandSet;
  readonly context: AcceptedContext;
  readonly operation: Operation | Conversation;
}

export class Association implements UpperLayerHandler {
  readonly #layer: UpperLayer;
  readonly #messages: OutgoingMessages;
  readonly #conversations: Conversations;
  readonly #options: AssociationOptions;
  #log: Logger;
  #request: AssociateRequest | undefined;
  #rights = allRights;
  #contexts: ReadonlyMap<number, AcceptedContext> = new Map();
  #receiving: readonly AcceptedContext[] = [];
  #operations = 1;
  readonly #command = new IncomingCommand();
  #message: Message | undefined;
  /** Requests being worked on, oldest first; each is settled when its answer is written. */
  readonly #answers: Promise<void>[] = [];
  #answered = 0;
  #emptyFragments = 0;
  #isShuttingDown = false;
  #end: AssociationEnd = 'lost';
  #progress = -1;
  readonly #openedAtMs = performance.now();
  #progressAtMs = this.#openedAtMs;

  constructor(socket: Socket, options: AssociationOptions) {
    this.#options = options;
    this.#log = options.log.child({ peer: `${socket.remoteAddress}:${socket.remotePort}` });
    this.#layer = new UpperLayer(socket, this, {
      maxPduBytes: options.policy.maxPduBytes,
      lingerMs: options.limits.lingerMs,
    });
    this.#messages = new OutgoingMessages(this.#layer, () => this.#request?.userInformation.maxPduBytes ?? 0);
    this.#conversations = new Conversations(this.#messages);
  }

  get #peer(): Peer {
    const { address, isSecure } = this.#options;
    const { callingAeTitle = '', calledAeTitle = '' } = this.#request ?? {};
    return { callingAeTitle, calledAeTitle, address, isSecure };
  }

  /** Its last PDU is sent, or its connection gone. */
  get isOver(): boolean {
    return this.#layer.isEnding;
  }

  pduBegins(type: number): void {
    if (this.#request === undefined) {
      if (type === PduType.AssociateRequest || type === PduType.Abort) return;
      throw new ArchiveError('protocol-violation', 'the first PDU of a connection must be an A-ASSOCIATE-RQ', {
        pduType: type,
        // Sta2 of PS3.8 §9.2.2 aborts as the service user (AA-1), later states as the provider (AA-8).
        abortSource: AbortSource.ServiceUser,
        abortReason: AbortReason.NotSpecified,
      });
    }
    if (type === PduType.Data || type === PduType.ReleaseRequest || type === PduType.Abort) return;
    throw pduViolation('a PDU came that has no place in an open association', AbortReason.UnexpectedPdu, {
      pduType: type,
    });
  }

  pdu(type: number, body: Uint8Array): void | Promise<void> {
    if (type === PduType.AssociateRequest) return this.#open(decodeAssociateRequest(body));
    if (type === PduType.Abort) {
      this.#end = 'aborted-by-peer';
      this.#log.info({ ...decodeAbort(body) }, 'association aborted by the peer');
      this.#layer.destroy();
      return undefined;
    }
    return this.#release();
  }

  #open(request: AssociateRequest): void | Promise<void> {
    this.#request = request;
    const { policy, admit, report } = this.#options;
    const peer = request.userInformation;
    this.#log = this.#log.child({ callingAeTitle: request.callingAeTitle, calledAeTitle: request.calledAeTitle });
    const admission = admit(request);
    if (admission.kind === 'rejected') return this.#reject(admission.reject, admission.why);
    const negotiated = negotiate(request, policy, admission.rights);
    if (negotiated.kind === 'rejected') return this.#reject(negotiated.reject, negotiated.why);
    if (fragmentLimit(peer.maxPduBytes) === 0) {
      throw pduViolation('the peer takes PDUs too small for any message', AbortReason.InvalidPduParameterValue, {
        maxPduBytes: peer.maxPduBytes,
      });
    }
    this.#rights = admission.rights;
    this.#contexts = negotiated.contexts;
    this.#receiving = negotiated.receiving;
    this.#operations = negotiated.operations;
    this.#log.info(
      {
        implementationClassUid: peer.implementationClassUid,
        implementationVersionName: peer.implementationVersionName,
        maxPduBytes: peer.maxPduBytes,
        proposedContexts: request.contexts.length,
        acceptedContexts: negotiated.contexts.size,
        operations: negotiated.operations,
      },
      'association accepted',
    );
    report({ kind: 'association-accepted', peer: this.#peer });
    return this.#layer.write([encodeAssociateAccept(negotiated.accept)]);
  }

  #reject(reject: Reject, why: string): void {
    this.#end = 'rejected';
    this.#log.warn({ ...reject }, `association rejected: ${why}`);
    this.#options.report({ kind: 'association-rejected', peer: this.#peer, reject, why });
    this.#layer.end(encodeAssociateReject(reject));
  }

  /** Every request before it is answered first. */
  async #release(): Promise<void> {
    if (this.#message !== undefined || this.#command.isGathering || this.#conversations.isAwaitingPeer)
      throw pduViolation('an A-RELEASE-RQ came within a message or before an answer', AbortReason.UnexpectedPdu);
    await Promise.all(this.#answers);
    await this.#conversations.ended();
    this.#end = 'released';
    this.#log.info({ answered: this.#answered }, 'association released');
    this.#layer.end(encodeReleaseResponse());
  }

  piece(contextId: number, control: number, bytes: Uint8Array, isEnd: boolean): void | Promise<void> {
    if (bytes.length > 0 || (control & PDV_LAST) !== 0) this.#emptyFragments = 0;
    else if (++this.#emptyFragments > MAX_EMPTY_FRAGMENTS)
      throw messageViolation('fragments without content come without end');
    const context = this.#contexts.get(contextId);
    if (context === undefined)
      throw messageViolation('a message came on a presentation context that was not accepted', {
        presentationContextId: contextId,
      });
    const isComplete = isEnd && (control & PDV_LAST) !== 0;
    return (control & PDV_COMMAND) === 0
      ? this.#data(context, bytes, isComplete)
      : this.#commandPiece(context, bytes, isComplete);
  }

  #commandPiece(context: AcceptedContext, bytes: Uint8Array, isComplete: boolean): void | Promise<void> {
    if (this.#message !== undefined)
      throw messageViolation('a command came before the data set of the last one was complete');
    const command = this.#command.take(context.id, bytes, isComplete);
    return command === undefined ? undefined : this.#begin(command, context);
  }

  #begin(request: CommandSet, context: AcceptedContext): void | Promise<void> {
    if (request.commandField === CommandField.CCancelRequest) {
      this.#conversations.cancel(request.messageIdBeingRespondedTo);
      return undefined;
    }
    if ((request.commandField & RESPONSE) !== 0) {
      if (request.dataSetType === NO_DATA_SET && this.#conversations.answered(request)) return undefined;
      throw messageViolation('a response came, though nothing was asked', { commandField: request.commandField });
    }
    if (request.messageId === undefined) throw messageViolation('a request has no Message ID (0000,0110)');
    const message = { request, context, operation: this.#operationFor(request, context) };
    if (request.dataSetType === NO_DATA_SET) return this.#complete(message);
    this.#message = message;
    return undefined;
  }

  #operationFor(request: CommandSet, context: AcceptedContext): Operation | Conversation {
    const service = this.#options.services.get(request.commandField);
    if (service === undefined) {
      this.#log.warn({ commandField: request.commandField }, 'a request that we have no service for');
      return answerWith({ status: Status.UnrecognizedOperation, comment: 'this operation is not supported' });
    }
    return service(request, {
      callingAeTitle: this.#request?.callingAeTitle ?? '',
      peer: this.#peer,
      rights: this.#rights,
      context,
      log: this.#log,
      report: this.#options.report,
    });
  }

  #data(context: AcceptedContext, bytes: Uint8Array, isComplete: boolean): void | Promise<void> {
    const message = this.#message;
    if (message === undefined) throw messageViolation('a data set came that no command announced');
    if (message.context.id !== context.id)
      throw messageViolation('a data set came on another presentation context than its command');
    const waiting = bytes.length === 0 ? undefined : message.operation.write(bytes);
    if (!isComplete) return waiting;
    this.#message = undefined;
    return waiting === undefined ? this.#complete(message) : waiting.then(() => this.#complete(message));
  }

  /** Works on what has come whole. The promise: as many requests are unanswered as were agreed. */
  #complete(message: Message): void | Promise<void> {
    const { operation } = message;
    if (
      this.#answers.length + this.#conversations.count >=
      Math.max(this.#operations, this.#options.policy.maxOperations)
    )
      throw messageViolation('more requests are unanswered than were agreed');
    if ('converse' in operation) return this.#converse(message, operation);
    const done = this.#answer(message, operation.complete(), this.#answers.at(-1)).catch((error) => this.failed(error));
    this.#answers.push(done);
    // A conversation may wait for what the peer says next.
    if (this.#answers.length < this.#operations || this.#conversations.count > 0) return undefined;
    return this.#answers[0];
  }

  async #answer(message: Message, answering: Promise<Answer>, previous: Promise<void> | undefined): Promise<void> {
    const answer = await this.#settled(message, answering);
    if (previous !== undefined) await previous;
    await this.#messages.write(message.context.id, responseTo(message.request, answer));
    this.#answers.shift();
    this.#ended();
  }

  /** Its answers come when they come, among those to other requests. */
  #converse(message: Message, conversation: Conversation): void {
    const { request, context } = message;
    const isNew = this.#conversations.start(request.messageId as number, async (cancelled) => {
      const respond = (answer: Answer) =>
        this.#messages.write(context.id, responseTo(request, answer), answer.identifier);
      const conversing = conversation.converse({
        cancelled,
        receiving: this.#receiving,
        respond,
        store: (on, instance) =>
          this.#conversations.store(on, instance).catch((error: unknown) => {
            // What was begun cannot be taken back: the peer waits for the rest of a message.
            this.failed(error);
            throw error;
          }),
      });
      try {
        await respond(await this.#settled(message, conversing));
      } catch (error) {
        this.failed(error);
      }
      setImmediate(() => this.#ended());
    });
    if (!isNew) throw messageViolation('two requests with one Message ID are unanswered');
  }

  async #settled(message: Message, answering: Promise<Answer>): Promise<Answer> {
    try {
      return await answering;
    } catch (error) {
      this.#log.error({ err: error, commandField: message.request.commandField }, 'a request failed unexpectedly');
      return statusOfError(error);
    }
  }

  #ended(): void {
    this.#answered++;
    if (this.#isShuttingDown) this.#endWhenIdle();
  }

  failed(error: unknown): void {
    if (this.#layer.isEnding) return;
    this.#end = 'aborted';
    if (error instanceof ArchiveError) this.#log.warn({ ...error.details }, `association aborted: ${error.message}`);
    else this.#log.error({ err: error }, 'association aborted: it failed unexpectedly');
    this.#dropMessage();
    this.#conversations.endAll();
    this.#layer.abort(error);
  }

  closed(): void {
    this.#dropMessage();
    this.#conversations.endAll();
    if (this.#end === 'lost' && this.#request !== undefined)
      this.#log.warn({}, 'association lost: the connection closed');
    const durationMs = performance.now() - this.#openedAtMs;
    this.#options.report({ kind: 'association-ended', peer: this.#peer, end: this.#end, durationMs });
  }

  #dropMessage(): void {
    const message = this.#message;
    this.#message = undefined;
    message?.operation.abort();
  }

  /** Called now and then: cuts what makes no progress. `nowMs` is of performance.now(). */
  checkTime(nowMs: number): void {
    if (this.#layer.isEnding) return;
    const { artimMs, idleTimeoutMs, stallTimeoutMs } = this.#options.limits;
    if (this.#request === undefined) {
      // Sta2 ends without a word (AA-2).
      if (nowMs - this.#progressAtMs > artimMs) {
        this.#log.warn({}, 'no complete association request within the time for it');
        this.#layer.destroy();
      }
      return;
    }
    const { reader } = this.#layer;
    const conversations = this.#conversations;
    const progress = reader.pduCount + this.#answered + this.#layer.drainCount;
    const isWorking = this.#answers.length > 0 || (conversations.count > 0 && !conversations.isAwaitingPeer);
    const isOurTurn = (reader.isWaiting || isWorking) && !this.#layer.isClogged;
    if (progress !== this.#progress || isOurTurn) {
      this.#progress = progress;
      this.#progressAtMs = nowMs;
      return;
    }
    const isMidMessage = reader.isMidPdu || this.#message !== undefined || this.#command.isGathering;
    const isWithin = isMidMessage || conversations.isAwaitingPeer;
    const limitMs = isWithin || this.#layer.isClogged ? stallTimeoutMs : idleTimeoutMs;
    if (nowMs - this.#progressAtMs > limitMs)
      this.failed(pduViolation('nothing came for too long', AbortReason.NotSpecified, { limitMs }));
  }

  /** No new message is waited for: ends it now, or after the answers to what is being worked on. */
  shutDown(): void {
    this.#isShuttingDown = true;
    this.#endWhenIdle();
  }

  #endWhenIdle(): void {
    if (this.#message !== undefined || this.#answers.length > 0 || this.#conversations.count > 0) return;
    this.abort('the gateway is closing');
  }

  /** Ends it now, whatever is under way; `why` goes to the log. */
  abort(why: string): void {
    if (this.#request === undefined) this.#layer.destroy();
    else this.failed(messageViolation(why));
  }
}
