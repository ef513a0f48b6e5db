/**
 * Retrieval as SCP by C-MOVE (PS3.4 §C.4.2): what is asked for goes to an AE of the table, all of it over one association. When that
 * breaks, what is left has failed: a move that never ends is worse than one that says what it could not do.
 */
import type { Archive } from '#shared/archive/ports.ts';
import { type CommandSet, NO_DATA_SET } from './command-set.ts';
import { Delivery, type RemoteAe } from './delivery.ts';
import { statusOfRetrieveError } from './get.ts';
import { conversationWith, type Identifier, QueryStatus } from './identifier.ts';
import { informationModels } from './information-model.ts';
import type { OutgoingSource } from './outgoing-data-set.ts';
import { type StoredInstance, selectInstances } from './retrieve-selection.ts';
import { type Answer, answerWith, type Exchange, type RequestScope, type Service } from './service.ts';
import { Status } from './status.ts';
import { reported, runSubOperations, type SubOperationEnd } from './sub-operations.ts';
import type { TlsIdentity } from './tls.ts';

export interface MoveOptions extends Pick<OutgoingSource, 'decompressor'> {
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
  const delivery = new Delivery({
    packs: options.archive.packs,
    decompressor: options.decompressor,
    destination: { ...remote, aeTitle },
    tlsIdentity: options.tlsIdentity,
    instances,
    aeTitle: options.aeTitle,
    originator: { aeTitle: scope.callingAeTitle, messageId: request.messageId ?? 0 },
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
    log: scope.log,
  });
  let comment: string | undefined;
  const store = async (instance: StoredInstance): Promise<SubOperationEnd> => {
    const delivered = await delivery.store(instance);
    if (delivered.kind === 'stored') return 'completed';
    if (delivered.kind === 'warning') return 'warning';
    comment ??= delivered.reason;
    return 'failed';
  };
  try {
    return await runSubOperations({
      instances: delivery.instances,
      exchange,
      transferSyntaxUid: scope.context.transferSyntaxUid,
      log: scope.log,
      store,
      comment: () => comment,
    });
  } finally {
    delivery.end();
  }
}
