/**
 * The port of a durable queue between the parts of an archive: what Amazon SQS is to the cloud, and SQLite to one machine. At
 * least once: a message comes again until it is deleted, so that whoever works on it must bear doing it twice.
 */

export interface QueueMessage<T> {
  /** Of this delivery: another delivery of the same message has another. */
  readonly id: string;
  readonly body: T;
  /** Deliveries so far, this one included. */
  readonly receiveCount: number;
}

export interface DeadLetter<T> {
  readonly id: string;
  readonly body: T;
  readonly receiveCount: number;
  /** What the last worker said when it gave up, or that none said anything. */
  readonly reason: string;
  readonly diedAtMs: number;
}

export interface QueueCounts {
  /** Waiting to be received, those with a delay included. */
  readonly ready: number;
  /** Received and neither deleted nor visible again. */
  readonly inFlight: number;
  readonly dead: number;
}

/** Errors: `unavailable`, `out-of-resources`, `damaged`; `too-large` where said. */
export interface Queue<T> {
  /** Resolves when the message is on stable storage. It shows after `delayMs` (0). Error `too-large` above 256 KiB of JSON. */
  send(message: T, options?: { readonly delayMs?: number }): Promise<void>;
  /** All of them or none. */
  sendAll(messages: readonly T[], options?: { readonly delayMs?: number }): Promise<void>;
  /** Up to `max` messages, longest visible first, at once (also none). They are hidden from others for `visibilityMs`. */
  receive(max: number, visibilityMs: number): Promise<readonly QueueMessage<T>[]>;
  /** The work is done. Ids of earlier deliveries count as well; unknown ones do nothing. */
  delete(ids: readonly string[]): Promise<void>;
  /** Hides them for `visibilityMs` from now. Those that were delivered to somebody else meanwhile stay as they are. */
  extend(ids: readonly string[], visibilityMs: number): Promise<void>;
  /**
   * The work failed: the message shows again after `delayMs`, or is a dead letter at once if it came as often as it may.
   * `reason`: a sentence without patient data, kept with it.
   */
  retry(id: string, options: { readonly reason: string; readonly delayMs: number }): Promise<void>;
  counts(): Promise<QueueCounts>;
  /** Oldest death first. */
  deadLetters(limit: number): Promise<readonly DeadLetter<T>[]>;
  /** Sends dead letters anew, as if they had never been received: the given ones, or all. Resolves with their number. */
  redrive(ids?: readonly string[]): Promise<number>;
  close(): Promise<void>;
}
