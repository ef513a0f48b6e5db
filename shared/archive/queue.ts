/**
 * The port of a durable queue between the parts of an archive: Amazon SQS in the cloud, SQLite on one machine. At least once, in
 * any order: a message comes again until it is deleted, and perhaps once more, so that whoever works on it must bear doing it twice.
 * Times count in whole seconds, upwards, where the queue counts so (SQS).
 */
import { ArchiveError } from '../errors.ts';

export interface QueueMessage<T> {
  /** Of this delivery: another delivery of the same message has another. */
  readonly id: string;
  readonly body: T;
  /** Deliveries so far, this one included. */
  readonly receiveCount: number;
}

export interface DeadLetter {
  readonly id: string;
  /** As it was sent: perhaps what no worker understands. */
  readonly body: unknown;
  /** What the last worker said when it gave up, or that none said anything; absent where the queue keeps no reasons: logs have them. */
  readonly reason?: string;
  /** Absent where the queue does not tell. */
  readonly diedAtMs?: number;
}

/** Approximate while others work on the queue. */
export interface QueueCounts {
  /** Waiting to be received, those with a delay included. */
  readonly ready: number;
  /** Received and neither deleted nor visible again; where the queue cannot tell them, also those that failed and wait for their delay. */
  readonly inFlight: number;
  readonly dead: number;
}

/** Delays: up to 15 minutes. Visibility: up to 12 hours. Errors: `unavailable`, `out-of-resources`, `damaged`; `too-large` where said. */
export interface Queue<T> {
  /** Resolves when the message is on stable storage. It shows after `delayMs` (0). Error `too-large` above 256 KiB of JSON. */
  send(message: T, options?: { readonly delayMs?: number }): Promise<void>;
  /** Resolves when all are; none is sent when one is too large. After another error some of them may have been sent. */
  sendAll(messages: readonly T[], options?: { readonly delayMs?: number }): Promise<void>;
  /**
   * Up to `max` messages, about in the order in which they became visible; perhaps none while some are there. They are hidden from others
   * for `visibilityMs`.
   */
  receive(max: number, visibilityMs: number): Promise<readonly QueueMessage<T>[]>;
  /** The work is done. Ids of earlier deliveries count as well where the queue knows them; unknown ones do nothing. */
  delete(ids: readonly string[]): Promise<void>;
  /** Hides them for `visibilityMs` from now. Those that were delivered to somebody else meanwhile stay as they are. */
  extend(ids: readonly string[], visibilityMs: number): Promise<void>;
  /**
   * The work failed: the message shows again after `delayMs`, or is a dead letter, at the latest then, if it came as often as it may.
   * `reason`: a sentence without patient data, kept with it where the queue can.
   */
  retry(id: string, options: { readonly reason: string; readonly delayMs: number }): Promise<void>;
  counts(): Promise<QueueCounts>;
  /** Oldest first. They stay where they are. */
  deadLetters(limit: number): Promise<readonly DeadLetter[]>;
  /** Sends dead letters anew, as if they had never been received: the given ones, or all. Resolves with their number. */
  redrive(ids?: readonly string[]): Promise<number>;
  close(): Promise<void>;
}

const MAXIMUM_BODY_BYTES = 256 * 1024;

/** A message as its JSON, in characters of 16 bits that XML 1.0 may hold: SQS takes no others than XML's. Error: `too-large`. */
export function encodeMessage(message: unknown): string {
  const json = JSON.stringify(message);
  if (json === undefined) throw new TypeError('a message must be something that JSON can say');
  const body = json.replace(
    /[\uD800-\uDFFF\uFFFE\uFFFF]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16)}`,
  );
  if (Buffer.byteLength(body) > MAXIMUM_BODY_BYTES) {
    throw new ArchiveError('too-large', `A message has at most ${MAXIMUM_BODY_BYTES} bytes of JSON; send a reference.`);
  }
  return body;
}
