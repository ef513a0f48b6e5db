/**
 * The requests of one association that are answered over time (C-FIND, C-GET, C-MOVE): each is told of its C-CANCEL
 * (PS3.7 §9.3.2.3), and the C-STORE sub-operations that they make on the association are brought together with their answers.
 */
import { isStorageAbstractSyntax } from '#shared/dicom/sop-class.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { InstanceToStore } from './client.ts';
import { CommandField, type CommandSet } from './command-set.ts';
import type { AcceptedContext } from './negotiation.ts';
import type { OutgoingMessages } from './outgoing-messages.ts';
import { Status, type StatusAnswer } from './status.ts';

interface Unanswered {
  readonly resolve: (answer: StatusAnswer) => void;
  readonly reject: (error: Error) => void;
}

export class Conversations {
  readonly #messages: OutgoingMessages;
  readonly #running = new Map<number, { cancel: AbortController; ended: Promise<void> }>();
  readonly #unanswered = new Map<number, Unanswered>();
  #lastMessageId = 0;
  #isOver = false;

  constructor(messages: OutgoingMessages) {
    this.#messages = messages;
  }

  get count(): number {
    return this.#running.size;
  }

  /** It is the peer's turn: something was stored to it, and nothing else goes on. */
  get isAwaitingPeer(): boolean {
    return this.#unanswered.size > 0 && this.#unanswered.size >= this.#running.size;
  }

  /** Runs one until its last response is written. False: there is one with this Message ID already. */
  start(messageId: number, run: (cancelled: AbortSignal) => Promise<void>): boolean {
    if (this.#running.has(messageId)) return false;
    const cancel = new AbortController();
    const ended = run(cancel.signal).finally(() => this.#running.delete(messageId));
    this.#running.set(messageId, { cancel, ended });
    return true;
  }

  cancel(messageId: number | undefined): void {
    this.#running.get(messageId ?? -1)?.cancel.abort();
  }

  /** Resolves when all that are running have ended. */
  async ended(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  /** Error `unavailable`: the association is over, or `endAll` was called. Errors of the data set leave a torn message behind. */
  async store(context: AcceptedContext, instance: InstanceToStore): Promise<StatusAnswer> {
    if (this.#isOver) throw over();
    if (!isStorageAbstractSyntax(context.abstractSyntax)) throw new Error('C-STORE needs a storage context');
    const messageId = this.#nextMessageId();
    const answer = new Promise<StatusAnswer>((resolve, reject) => {
      this.#unanswered.set(messageId, { resolve, reject });
    });
    // It may fail while the data set is still being sent, when nobody waits for it yet.
    answer.catch(() => {});
    const command = {
      affectedSopClassUid: instance.sopClassUid,
      commandField: CommandField.CStoreRequest,
      messageId,
      priority: 0,
      dataSetType: 1,
      affectedSopInstanceUid: instance.sopInstanceUid,
    };
    try {
      await this.#messages.stream(context.id, command, instance.dataSet);
    } catch (error) {
      this.#unanswered.delete(messageId);
      throw error;
    }
    return await answer;
  }

  #nextMessageId(): number {
    do this.#lastMessageId = (this.#lastMessageId % 0xffff) + 1;
    while (this.#unanswered.has(this.#lastMessageId));
    return this.#lastMessageId;
  }

  /** A response has come; false: to nothing that we asked. */
  answered(response: CommandSet): boolean {
    const messageId = response.messageIdBeingRespondedTo ?? -1;
    const unanswered = this.#unanswered.get(messageId);
    if (unanswered === undefined) return false;
    this.#unanswered.delete(messageId);
    unanswered.resolve({
      status: response.status ?? Status.ProcessingFailure,
      ...(response.errorComment === undefined ? {} : { comment: response.errorComment }),
    });
    return true;
  }

  /** The association is over: nothing more is heard or said. */
  endAll(): void {
    this.#isOver = true;
    for (const { cancel } of this.#running.values()) cancel.abort();
    for (const unanswered of this.#unanswered.values()) unanswered.reject(over());
    this.#unanswered.clear();
  }
}

const over = (): ArchiveError => new ArchiveError('unavailable', 'the association is over');
