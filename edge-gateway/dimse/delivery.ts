/**
 * Delivering stored instances to another AE by C-STORE as SCU (PS3.4 §B.2): over one association, several one after the other
 * only where 128 presentation contexts do not suffice; as stored, or converted to what the destination takes. The one way
 * for C-MOVE and for routing. What a failure means for whoever wanted the delivery, they decide.
 */
import { ArchiveError, type ErrorCode, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { connect, type InstanceToStore, type RequestorAssociation } from './client.ts';
import { type MoveBatch, moveBatches } from './move-contexts.ts';
import { contextFor, type OutgoingDataSet, type OutgoingSource } from './outgoing-data-set.ts';
import { ReadAhead } from './read-ahead.ts';
import type { StoredInstance } from './retrieve-selection.ts';
import { isWarning, Status } from './status.ts';
import { type TlsIdentity, type TlsRemote, tlsTo } from './tls.ts';

/** Where another AE listens. */
export interface RemoteAe extends TlsRemote {
  readonly host: string;
  readonly port: number;
}

export interface DeliveryOptions extends OutgoingSource {
  readonly destination: RemoteAe & { readonly aeTitle: string };
  /** With which we call those that want TLS. */
  readonly tlsIdentity?: TlsIdentity | undefined;
  readonly instances: readonly StoredInstance[];
  /** Ours, with which we call. */
  readonly aeTitle: string;
  /** Whose C-MOVE it is. */
  readonly originator?: NonNullable<InstanceToStore['moveOriginator']>;
  /** For the destination to accept, to take what is sent, and to answer each instance. Default 30 s. */
  readonly timeoutMs?: number;
  readonly log: Logger;
}

/** What became of one instance. Reasons are sentences of up to 64 characters, fit for an Error Comment. */
export type Delivered =
  | { readonly kind: 'stored' }
  | { readonly kind: 'warning' }
  /** By its answer to this instance. */
  | { readonly kind: 'refused'; readonly status: number; readonly reason: string }
  /** It accepted no context for it, in no form in which it can be sent. */
  | { readonly kind: 'not-taken'; readonly reason: string }
  /** It cannot be read, converted or decompressed here: for its own sake, or for now (what it needs is busy or away). */
  | { readonly kind: 'unsendable'; readonly isForNow: boolean; readonly reason: string }
  /** The association could not be had, or broke: all others will end so, too. */
  | { readonly kind: 'unreachable'; readonly reason: string };

/** Of what stands between us and the bytes, not of the instance. */
const passing: ReadonlySet<ErrorCode> = new Set(['unavailable', 'timeout', 'out-of-resources', 'not-found']);

/** Why an instance could not be opened, for an Error Comment. */
export function reasonUnsendable(error: unknown): string {
  if (isArchiveError(error, 'cannot-render')) return 'some instances could not be decompressed';
  if (isArchiveError(error, 'unavailable')) return 'some instances cannot be had now; try again later';
  if (isArchiveError(error, 'out-of-resources')) return 'no room to fetch some instances from the cloud';
  return 'some instances could not be read or converted';
}

export class Delivery {
  /** In the order in which `store` wants them: that given, as far as contexts allow. */
  readonly instances: readonly StoredInstance[];
  readonly #options: DeliveryOptions;
  readonly #dataSets: ReadAhead;
  readonly #batchOf = new Map<StoredInstance, MoveBatch>();
  #batch: MoveBatch | undefined;
  #association: RequestorAssociation | undefined;
  #broken: Extract<Delivered, { kind: 'unreachable' }> | undefined;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    const batches = moveBatches(options.instances);
    this.instances = batches.flatMap((batch) => batch.instances);
    this.#dataSets = new ReadAhead(options, this.instances);
    for (const batch of batches) for (const instance of batch.instances) this.#batchOf.set(instance, batch);
  }

  /** Sends one of `instances` and waits for the answer; never rejects. After the first that is `unreachable` all are. */
  async store(instance: StoredInstance): Promise<Delivered> {
    if (this.#broken !== undefined) return this.#broken;
    let association: RequestorAssociation;
    try {
      association = await this.#associationFor(instance);
    } catch (error) {
      return this.#breakOff(error, reachingReason(error));
    }
    if (this.#broken !== undefined) {
      association.abort();
      return this.#broken;
    }
    const context = contextFor(instance, association.contexts);
    if (context === undefined)
      return { kind: 'not-taken', reason: 'the destination does not take some instances, converted or not' };
    const { sopClassUid, sopInstanceUid } = instance;
    const { transferSyntaxUid } = context;
    const { originator } = this.#options;
    let dataSet: OutgoingDataSet | undefined;
    let ownError: { readonly error: unknown } | undefined;
    const noted = async function* (bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
      try {
        yield* bytes;
      } catch (error) {
        ownError = { error };
        throw error;
      }
    };
    try {
      try {
        dataSet = await this.#dataSets.open(instance, transferSyntaxUid, association.contexts);
      } catch (error) {
        return this.#unsendable(instance, error);
      }
      const { bytes } = dataSet;
      const answer = await association.store({
        sopClassUid,
        sopInstanceUid,
        transferSyntaxUid,
        dataSet: bytes instanceof Uint8Array ? bytes : noted(bytes),
        ...(originator === undefined ? {} : { moveOriginator: originator }),
      });
      return deliveredBy(answer.status);
    } catch (error) {
      // The message is torn and its association with it; the next instance gets another one.
      if (ownError !== undefined) return this.#unsendable(instance, ownError.error);
      if (association.isOpen) return this.#unsendable(instance, error);
      return this.#breakOff(error, 'the destination could not be reached, or broke off');
    } finally {
      await dataSet?.close();
    }
  }

  #unsendable({ sopInstanceUid }: StoredInstance, error: unknown): Delivered {
    this.#log(error, 'an instance could not be sent', { sopInstanceUid });
    const isForNow = isArchiveError(error) && passing.has(error.code);
    return { kind: 'unsendable', isForNow, reason: reasonUnsendable(error) };
  }

  #breakOff(error: unknown, reason: string): Delivered {
    this.#log(error, 'a delivery broke off', {});
    this.#broken ??= { kind: 'unreachable', reason };
    return this.#broken;
  }

  #log(error: unknown, message: string, fields: Readonly<Record<string, unknown>>): void {
    const { log, destination } = this.#options;
    const all = { ...fields, destination: destination.aeTitle, err: error };
    if (isArchiveError(error)) log.warn(all, message);
    else log.error(all, message);
  }

  async #associationFor(instance: StoredInstance): Promise<RequestorAssociation> {
    const batch = this.#batchOf.get(instance);
    if (batch === undefined) throw new RangeError('an instance that is not of this delivery');
    if (this.#association?.isOpen === true && this.#batch === batch) return this.#association;
    this.end();
    this.#batch = batch;
    const { timeoutMs = 30_000, aeTitle, destination, tlsIdentity } = this.#options;
    const tls = tlsTo(destination, tlsIdentity);
    this.#association = await connect({
      host: destination.host,
      port: destination.port,
      ...(tls === undefined ? {} : { tls }),
      callingAeTitle: aeTitle,
      calledAeTitle: destination.aeTitle,
      contexts: batch.contexts,
      connectTimeoutMs: timeoutMs,
      responseTimeoutMs: timeoutMs,
    });
    return this.#association;
  }

  /** Ends what is going on; nothing is sent any more. */
  abort(): void {
    this.#broken ??= { kind: 'unreachable', reason: 'the delivery was broken off by ourselves' };
    this.#association?.abort();
  }

  /** Lets the destination go. Whoever waits for the delivery does not wait for its goodbye. */
  end(): void {
    const association = this.#association;
    this.#association = undefined;
    if (association?.isOpen !== true) return;
    association.release().catch(() => association.abort());
  }
}

/** The destination's own comment is not passed on: it may speak of the patient. */
function deliveredBy(status: number): Delivered {
  if (status === Status.Success) return { kind: 'stored' };
  if (isWarning(status)) return { kind: 'warning' };
  const code = status.toString(16).toUpperCase().padStart(4, '0');
  return { kind: 'refused', status, reason: `the destination refused some instances with ${code}H` };
}

function reachingReason(error: unknown): string {
  return error instanceof ArchiveError && error.code === 'forbidden'
    ? 'the destination rejected the association'
    : 'the destination could not be reached, or broke off';
}
