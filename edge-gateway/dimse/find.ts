/**
 * Query as SCP (PS3.4 §C.4.1): C-FIND of Patient Root and Study Root over the archive's index. Answers leave as they are found,
 * page by page and no faster than the peer reads; C-CANCEL ends them at once. What the identifier means is find-query.ts.
 */
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { isArchiveError } from '#shared/errors.ts';
import { NO_DATA_SET } from './command-set.ts';
import { encodeAnswer } from './find-answer.ts';
import { findQueryOf, patientCounts } from './find-query.ts';
import { conversationWith, type Identifier, QueryStatus, statusOfQueryError } from './identifier.ts';
import { combinesDateTime, type InformationModel, informationModels } from './information-model.ts';
import { matchesOf, patientsOf } from './match-pages.ts';
import { type Answer, answerWith, type Exchange, type RequestScope, type Service } from './service.ts';
import { Status, success } from './status.ts';

export interface FindOptions {
  readonly index: ArchiveIndex;
  readonly tenant: string;
  /** Ours. */
  readonly aeTitle: string;
  /** Beyond it the query ends with A700H. */
  readonly maxResults: number;
}

/** Answers between two turns of the event loop: about 2 ms of work. */
const ANSWERS_PER_TURN = 32;

export function createFindService(options: FindOptions): Service {
  return (request, scope) => {
    const model = informationModels.get(scope.context.abstractSyntax);
    if (model?.operation !== 'find')
      return answerWith({ status: Status.SopClassNotSupported, comment: 'C-FIND needs a context of a FIND SOP class' });
    if (request.dataSetType === NO_DATA_SET)
      return answerWith({ status: QueryStatus.IdentifierDoesNotMatch, comment: 'C-FIND needs an identifier' });
    return conversationWith(scope.context.transferSyntaxUid, model, async (identifier, exchange) => {
      const startedAtMs = performance.now();
      const { last, matches } = await find(options, model, identifier, scope, exchange);
      const durationMs = performance.now() - startedAtMs;
      const { level } = identifier;
      scope.report({ kind: 'find', peer: scope.peer, level, matches, durationMs, status: last.status });
      return last;
    });
  };
}

async function find(
  options: FindOptions,
  model: InformationModel,
  identifier: Identifier,
  scope: RequestScope,
  exchange: Exchange,
): Promise<{ readonly last: Answer; readonly matches: number }> {
  const { index, tenant, aeTitle, maxResults } = options;
  const { level } = identifier;
  let answers = 0;
  let incomplete: string | undefined;
  const onIncomplete = (sentence: string): void => {
    incomplete = sentence;
  };
  try {
    const query = findQueryOf(identifier, combinesDateTime(scope.context.extendedNegotiation));
    const asked: ReadonlySet<number> = new Set(query.returned);
    const matches =
      level === 'PATIENT'
        ? patientsOf(
            index,
            tenant,
            query.keys,
            Object.values(patientCounts).some((tag) => asked.has(tag)),
            onIncomplete,
          )
        : matchesOf(index, tenant, { level: query.searched, keys: query.keys }, onIncomplete);
    const answering = {
      query,
      root: model.root,
      aeTitle,
      transferSyntax: transferSyntaxOf(scope.context.transferSyntaxUid),
      characterSets: identifier.characterSets,
    };
    const status = query.hasUnsupportedKeys ? QueryStatus.PendingWithUnsupportedKeys : QueryStatus.Pending;
    for await (const match of matches) {
      if (exchange.cancelled.aborted) break;
      if (answers === maxResults) {
        const comment = `more than ${maxResults} matches; narrow the query`;
        return { last: { status: QueryStatus.OutOfResources, comment }, matches: answers };
      }
      const waiting = exchange.respond({ status, identifier: encodeAnswer(match, answering) });
      answers++;
      if (waiting !== undefined) await waiting;
      else if (answers % ANSWERS_PER_TURN === 0) await nextTurn();
    }
    const cancelled = exchange.cancelled.aborted;
    // Success has no Error Comment (PS3.4 Table C.4-1): that answers may be missing can be said to the log alone.
    if (incomplete !== undefined) scope.log.warn({ level, answers, incomplete }, 'query answered from the cache alone');
    else scope.log.info({ level, answers, cancelled }, 'query answered');
    return { last: exchange.cancelled.aborted ? { status: QueryStatus.Cancelled } : success, matches: answers };
  } catch (error) {
    const fields = { level, answers, err: error };
    if (isArchiveError(error)) scope.log.warn(fields, 'a query could not be answered');
    else scope.log.error(fields, 'a query failed unexpectedly');
    return { last: statusOfQueryError(error), matches: answers };
  }
}
