/**
 * The requests of one association on the side that makes them: how many may be unanswered (PS3.7 Annex D.3.3.3), whose
 * turn it is to send, and who waits for which answer. Messages never mix: one is sent whole before the next.
 */
import type { StatusAnswer } from './status.ts';

interface Unanswered {
  readonly resolve: (answer: StatusAnswer) => void;
  readonly reject: (error: unknown) => void;
}

export class RequestWindow {
  #size = 1;
  #taken = 0;
  readonly #waiting: (() => void)[] = [];
  #turn: Promise<void> = Promise.resolve();
  #lastMessageId = 0;
  readonly #unanswered = new Map<number, Unanswered>();
  readonly #running = new Set<Promise<unknown>>();

  /** Requests that may be unanswered at once. */
  get size(): number {
    return this.#size;
  }

  set size(requests: number) {
    this.#size = requests;
  }

  get unansweredCount(): number {
    return this.#unanswered.size;
  }

  /** Sends a request when there is room and it is its turn; resolves with its answer. Rejects if `send` does, or by `failAll`. */
  run(send: (messageId: number) => Promise<void>): Promise<StatusAnswer> {
    const running = this.#run(send);
    this.#running.add(running);
    const ended = () => this.#running.delete(running);
    running.then(ended, ended);
    return running;
  }

  async #run(send: (messageId: number) => Promise<void>): Promise<StatusAnswer> {
    if (this.#taken < this.#size) this.#taken++;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await (await this.#sent(send)).answer;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#taken--;
      else next();
    }
  }

  /** The answer comes in an object, because the turn ends when the request is sent and not when it is answered. */
  async #sent(send: (messageId: number) => Promise<void>): Promise<{ answer: Promise<StatusAnswer> }> {
    const previous = this.#turn;
    let endTurn = () => {};
    this.#turn = new Promise((resolve) => {
      endTurn = resolve;
    });
    await previous;
    const messageId = this.#nextMessageId();
    const answer = new Promise<StatusAnswer>((resolve, reject) => {
      this.#unanswered.set(messageId, { resolve, reject });
    });
    // It may fail while the request is still being sent, when nobody waits for it yet.
    answer.catch(() => {});
    try {
      await send(messageId);
    } catch (error) {
      this.#unanswered.delete(messageId);
      throw error;
    } finally {
      endTurn();
    }
    return { answer };
  }

  /** IDs of unanswered requests differ. */
  #nextMessageId(): number {
    do this.#lastMessageId = (this.#lastMessageId % 0xffff) + 1;
    while (this.#unanswered.has(this.#lastMessageId));
    return this.#lastMessageId;
  }

  /** The answer to a request has come; false: to none that waits for one. */
  answered(messageId: number | undefined, answer: StatusAnswer): boolean {
    const unanswered = this.#unanswered.get(messageId ?? -1);
    if (unanswered === undefined) return false;
    this.#unanswered.delete(messageId as number);
    unanswered.resolve(answer);
    return true;
  }

  failAll(error: unknown): void {
    for (const unanswered of this.#unanswered.values()) unanswered.reject(error);
    this.#unanswered.clear();
  }

  /** Resolves when every request has ended, however it did. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#running);
  }
}
