/**
 * Retrieval as SCP by C-GET (PS3.4 §C.4.3): what is asked for comes back by C-STORE on the same association, on the storage contexts
 * of which the requestor is SCP, in the stored transfer syntax where that was accepted, else converted to what was.
 */
import type { Archive } from '#shared/archive/ports.ts';
import { NO_DATA_SET } from './command-set.ts';
import { reasonUnsendable } from './delivery.ts';
import { conversationWith, type Identifier, QueryStatus, statusOfQueryError } from './identifier.ts';
import { informationModels } from './information-model.ts';
import { contextFor, type OutgoingDataSet, type OutgoingSource } from './outgoing-data-set.ts';
import { ReadAhead } from './read-ahead.ts';
import { type StoredInstance, selectInstances } from './retrieve-selection.ts';
import { type Answer, answerWith, type Exchange, type RequestScope, type Service } from './service.ts';
import { Status } from './status.ts';
import { endOf, reported, runSubOperations, type SubOperationEnd } from './sub-operations.ts';

export interface GetOptions extends Pick<OutgoingSource, 'decompressor'> {
  readonly archive: Archive;
  readonly tenant: string;
}

export function createGetService(options: GetOptions): Service {
  return (request, scope) => {
    const model = informationModels.get(scope.context.abstractSyntax);
    if (model?.operation !== 'get')
      return answerWith({ status: Status.SopClassNotSupported, comment: 'C-GET needs a context of a GET SOP class' });
    if (request.dataSetType === NO_DATA_SET)
      return answerWith({ status: QueryStatus.IdentifierDoesNotMatch, comment: 'C-GET needs an identifier' });
    return conversationWith(scope.context.transferSyntaxUid, model, (identifier, exchange) =>
      reported(scope, identifier, { operation: 'get' }, get(options, identifier, scope, exchange)),
    );
  };
}

async function get(
  { archive, tenant, decompressor }: GetOptions,
  identifier: Identifier,
  scope: RequestScope,
  exchange: Exchange,
): Promise<Answer> {
  let instances: readonly StoredInstance[];
  try {
    instances = await selectInstances(archive.index, tenant, identifier);
  } catch (error) {
    scope.log.warn({ level: identifier.level, err: error }, 'a retrieval could not be answered');
    return statusOfRetrieveError(error);
  }
  const dataSets = new ReadAhead({ packs: archive.packs, decompressor }, instances);
  let comment: string | undefined;
  const store = async (instance: StoredInstance): Promise<SubOperationEnd> => {
    const { sopClassUid, sopInstanceUid } = instance;
    const context = contextFor(instance, exchange.receiving);
    if (context === undefined) {
      comment ??= 'some instances need contexts that were not proposed';
      return 'failed';
    }
    let dataSet: OutgoingDataSet | undefined;
    try {
      dataSet = await dataSets.open(instance, context.transferSyntaxUid, exchange.receiving);
      const { transferSyntaxUid } = context;
      const answer = await exchange.store(context, {
        sopClassUid,
        sopInstanceUid,
        transferSyntaxUid,
        dataSet: dataSet.bytes,
      });
      return endOf(answer.status);
    } catch (error) {
      scope.log.warn({ sopInstanceUid, err: error }, 'an instance could not be sent');
      comment ??= reasonUnsendable(error);
      return 'failed';
    } finally {
      await dataSet?.close();
    }
  };
  return runSubOperations({
    instances,
    exchange,
    transferSyntaxUid: scope.context.transferSyntaxUid,
    log: scope.log,
    store,
    comment: () => comment,
  });
}

/** Too many matches are A701H here, where a query has A700H (PS3.4 §C.4.2.1.5, §C.4.3.1.4). */
export function statusOfRetrieveError(error: unknown): Answer {
  const answer = statusOfQueryError(error);
  return answer.status === QueryStatus.OutOfResources
    ? { ...answer, status: QueryStatus.UnableToCalculateMatches }
    : answer;
}
