/**
 * Retrieval as SCP by C-MOVE (PS3.4 §C.4.2): what is asked for goes to an AE of the table, all of it over one association. When that
 * breaks, what is left has failed: a move that never ends is worse than one that says what it could not do.
 */
import type { Archive } from '#shared/archive/ports.ts';
import { isArchiveError } from '#shared/errors.ts';
import { connect, type RequestorAssociation } from './client.ts';
import { type CommandSet, NO_DATA_SET } from './command-set.ts';
import { statusOfRetrieveError } from './get.ts';
import { conversationWith, type Identifier, QueryStatus } from './identifier.ts';
import { informationModels } from './information-model.ts';
import { type MoveBatch, moveBatches } from './move-contexts.ts';
import { contextFor, type OutgoingDataSet, openDataSet } from './outgoing-data-set.ts';
import { type StoredInstance, selectInstances } from './retrieve-selection.ts';
import { type Answer, answerWith, type Exchange, type RequestScope, type Service } from './service.ts';
import { Status } from './status.ts';
import { endOf, reported, runSubOperations, type SubOperationEnd } from './sub-operations.ts';
import { type TlsIdentity, type TlsRemote, tlsTo } from './tls.ts';

export interface RemoteAe extends TlsRemote {
  readonly host: string;
  readonly port: number;
}

export interface MoveOptions {
  readonly archive: Archive;
  readonly tenant: string;
  /** Ours, with which we call the destination. */
  readonly aeTitle: string;
  /** By AE title. */
  readonly remoteAes: ReadonlyMap<string, RemoteAe>;
  /** With which we call those that want TLS. */
  readonly tlsIdentity?: TlsIdentity;
  /** For the destination to accept, to take what is sent, and to answer each instance. Default 30 s. */
  readonly timeoutMs?: number;
}

export function createMoveService(options: MoveOptions): Service {
  return (request, scope) => {
    const model = informationModels.get(scope.context.abstractSyntax);
    if (model?.operation !== 'move')
      return answerWith({ status: Status.SopClassNotSupported, comment: 'C-MOVE needs a context of a MOVE SOP class' });
    if (request.dataSetType === NO_DATA_SET)
      return answerWith({ status: QueryStatus.IdentifierDoesNotMatch, comment: 'C-MOVE needs an identifier' });
    return conversationWith(scope.context.transferSyntaxUid, model, (identifier, exchange) =>
      reported(
        scope,
        identifier,
        { operation: 'move', destination: request.moveDestination },
        move(options, request, identifier, scope, exchange),
      ),
    );
  };
}

async function move(
  options: MoveOptions,
  request: CommandSet,
  identifier: Identifier,
  scope: RequestScope,
  exchange: Exchange,
): Promise<Answer> {
  const aeTitle = request.moveDestination ?? '';
  const remote = options.remoteAes.get(aeTitle);
  if (remote === undefined) {
    scope.log.warn({ moveDestination: aeTitle }, 'a move to an AE that is not in the table');
    return { status: QueryStatus.MoveDestinationUnknown, comment: 'the move destination is not in the AE table' };
  }
  let instances: readonly StoredInstance[];
  try {
    instances = await selectInstances(options.archive.index, options.tenant, identifier);
  } catch (error) {
    scope.log.warn({ level: identifier.level, err: error }, 'a retrieval could not be answered');
    return statusOfRetrieveError(error);
  }
  const delivery = new Delivery(options, { aeTitle, ...remote }, moveBatches(instances), {
    aeTitle: scope.callingAeTitle,
    messageId: request.messageId ?? 0,
  });
  try {
    return await runSubOperations({
      instances: delivery.instances,
      exchange,
      transferSyntaxUid: scope.context.transferSyntaxUid,
      log: scope.log,
      store: (instance) => delivery.store(instance, scope),
      comment: () => delivery.failure,
    });
  } finally {
    delivery.end();
  }
}

/** Batch after batch to one destination; the next is begun when the one before is done. */
class Delivery {
  /** In the order of the batches: the order in which `store` wants them. */
  readonly instances: readonly StoredInstance[];
  /** Of the first failure, for the requestor. */
  failure: string | undefined;
  readonly #options: MoveOptions;
  readonly #destination: RemoteAe & { readonly aeTitle: string };
  readonly #originator: { readonly aeTitle: string; readonly messageId: number };
  readonly #batchOf = new Map<StoredInstance, MoveBatch>();
  #batch: MoveBatch | undefined;
  #association: RequestorAssociation | undefined;
  #isBroken = false;

  constructor(
    options: MoveOptions,
    destination: RemoteAe & { readonly aeTitle: string },
    batches: readonly MoveBatch[],
    originator: { readonly aeTitle: string; readonly messageId: number },
  ) {
    this.#options = options;
    this.#destination = destination;
    this.#originator = originator;
    this.instances = batches.flatMap((batch) => batch.instances);
    for (const batch of batches) for (const instance of batch.instances) this.#batchOf.set(instance, batch);
  }

  async store(instance: StoredInstance, scope: RequestScope): Promise<SubOperationEnd> {
    if (this.#isBroken) return 'failed';
    const { sopClassUid, sopInstanceUid } = instance;
    let dataSet: OutgoingDataSet | undefined;
    try {
      const association = await this.#associationFor(instance);
      const context = contextFor(instance, association.contexts);
      if (context === undefined) {
        this.failure ??= 'the destination does not take some instances as stored';
        return 'failed';
      }
      const { transferSyntaxUid } = context;
      dataSet = await openDataSet(this.#options.archive.packs, instance, transferSyntaxUid);
      const answer = await association.store({
        sopClassUid,
        sopInstanceUid,
        transferSyntaxUid,
        dataSet: dataSet.bytes,
        moveOriginator: this.#originator,
      });
      return endOf(answer.status);
    } catch (error) {
      // Before a message began it concerns this instance alone; a torn one has ended the association.
      this.#isBroken = this.#association?.isOpen !== true;
      this.failure ??= this.#isBroken ? 'the destination could not be reached, or broke off' : 'unreadable instances';
      const fields = { sopInstanceUid, moveDestination: this.#destination.aeTitle, err: error };
      if (isArchiveError(error)) scope.log.warn(fields, 'an instance could not be sent');
      else scope.log.error(fields, 'sending an instance failed unexpectedly');
      return 'failed';
    } finally {
      await dataSet?.close();
    }
  }

  async #associationFor(instance: StoredInstance): Promise<RequestorAssociation> {
    const batch = this.#batchOf.get(instance) as MoveBatch;
    if (this.#association !== undefined && this.#batch === batch) return this.#association;
    this.end();
    this.#batch = batch;
    const { timeoutMs = 30_000, aeTitle, tlsIdentity } = this.#options;
    const tls = tlsTo(this.#destination, tlsIdentity);
    this.#association = await connect({
      host: this.#destination.host,
      port: this.#destination.port,
      callingAeTitle: aeTitle,
      calledAeTitle: this.#destination.aeTitle,
      contexts: batch.contexts,
      ...(tls === undefined ? {} : { tls }),
      connectTimeoutMs: timeoutMs,
      responseTimeoutMs: timeoutMs,
    });
    return this.#association;
  }

  /** The requestor's answer does not wait for the destination's goodbye. */
  end(): void {
    const association = this.#association;
    this.#association = undefined;
    if (association?.isOpen !== true) return;
    association.release().catch(() => association.abort());
  }
}
