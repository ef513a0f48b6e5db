/**
 * What became of one instance that somebody wants stored, and the door through which its bytes come in, whether by
 * C-STORE or STOW-RS. Refusing one of many is an Outcome, not an exception.
 */
import { type ErrorCode, isArchiveError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { InstanceRef } from './records.ts';

interface Kept {
  readonly ref: InstanceRef;
  readonly digest: string;
  /** What is wrong with the data set and was let pass: sentences without patient data. */
  readonly tolerated?: readonly string[];
}

export type Outcome =
  | ({ readonly kind: 'stored' } & Kept)
  /** The same bytes are here already: nothing was written. */
  | ({ readonly kind: 'duplicate' } & Kept)
  /** Same UIDs, other bytes: kept beside the first and flagged. */
  | ({ readonly kind: 'conflict' } & Kept)
  /** Nothing was kept; `reason` is a sentence for the sender, without patient data. */
  | {
      readonly kind: 'refused';
      readonly code: ErrorCode;
      readonly reason: string;
      /** Tags of the attributes that the refusal is about, where it is about attributes: (0000,0901) of a C-STORE response. */
      readonly offendingElements?: readonly number[];
    };

/** The outcome with what toleratedOf (instance-reader.ts) says of the instance, if it is kept and there is any. */
export function withTolerated(outcome: Outcome, tolerated: readonly string[]): Outcome {
  return outcome.kind === 'refused' || tolerated.length === 0 ? outcome : { ...outcome, tolerated };
}

export interface IncomingInstance {
  /** As the sender announced it (C-STORE: Affected SOP Class UID); undefined when only the bytes say so. */
  readonly sopClassUid: string | undefined;
  readonly sopInstanceUid: string | undefined;
  readonly transferSyntaxUid: string;
  /** Goes to (0002,0016). */
  readonly sourceAeTitle: string | undefined;
  /** What the sender said with a C-STORE (0000,0700); absent when it said nothing. */
  readonly priority?: 'high' | 'medium' | 'low';
  /** The study it must be of, where the sender stored into one (STOW-RS): of another it is refused, `identity-mismatch`. */
  readonly studyInstanceUid?: string;
}

/** The refusal that an error while storing comes to, and its line in the log. What is no ArchiveError is a bug, and nobody else's matter. */
export function refusalOf(error: unknown, incoming: IncomingInstance, log: Logger): Outcome {
  const { transferSyntaxUid } = incoming;
  const sopInstanceUid = incoming.sopInstanceUid?.slice(0, 64);
  if (!isArchiveError(error)) {
    log.error({ err: error, sopInstanceUid }, 'storing an instance failed unexpectedly');
    const reason = 'The archive failed while storing the instance; its log says more.';
    return { kind: 'refused', code: 'damaged', reason };
  }
  log.warn({ code: error.code, reason: error.message, sopInstanceUid, transferSyntaxUid }, 'instance refused');
  const { offendingElements } = error.details;
  const tags = Array.isArray(offendingElements) ? { offendingElements: offendingElements as readonly number[] } : {};
  return { kind: 'refused', code: error.code, reason: error.message, ...tags };
}

/** One instance on its way in. Exactly one of `commit` and `abort` ends it. */
export interface InstanceSink {
  /**
   * Takes the next data set bytes (without preamble and File Meta); keeps or copies them as it needs: the caller must not
   * write to the buffer afterwards. A promise means: wait for it before the next write (back-pressure: stop reading the socket).
   * After an internal failure it swallows what comes; `commit` then answers `refused`.
   */
  write(bytes: Uint8Array): void | Promise<void>;
  /** The data set is complete. Resolves when the instance is on stable storage (or refused): only then may Success be answered. Never rejects. */
  commit(): Promise<Outcome>;
  /** The sender went away: whatever was written is dropped. */
  abort(): void;
}

export interface InstanceReceiver {
  begin(incoming: IncomingInstance): InstanceSink;
}

/**
 * Instances that come together, one after the other, and go into packs together: the next begins when the one before has been committed
 * or aborted. A commit resolves when its pack is archived, which may be as late as after `end`.
 */
export interface InstanceBatch extends InstanceReceiver {
  /** No more will begin: what has been committed is archived now. */
  end(): void;
}

/** The door of a place where packs do not stay open between requests: one batch for each request to store. */
export interface BatchReceiver {
  batch(tenant: string): InstanceBatch;
}
