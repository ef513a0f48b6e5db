/**
 * Identifiers of C-FIND, C-GET and C-MOVE (PS3.4 §C.4): gathered as they arrive, read in the transfer syntax and the
 * character sets that they come in, as matching keys in words. What keys mean is the services' own.
 */
import type { Vr } from '#shared/dicom/data-set.ts';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag, tagKey } from '#shared/dicom/tags.ts';
import { textOf } from '#shared/dicom/value-encoding.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { type InformationModel, type QueryLevel, queryLevels } from './information-model.ts';
import type { Answer, Conversation, Exchange } from './service.ts';
import { type StatusAnswer, statusOfError } from './status.ts';

/** Thousands of UIDs fit; more is no query. */
const MAX_IDENTIFIER_BYTES = 4 * 1024 * 1024;

export interface Identifier {
  readonly level: QueryLevel;
  /** Text is Unicode. */
  readonly keys: DicomJson;
  /** Its Specific Character Set: what the requestor can read. */
  readonly characterSets: readonly string[];
}

/** Statuses of PS3.4 §C.4.1.1.4, §C.4.2.1.5 and §C.4.3.1.4. */
export const QueryStatus = {
  OutOfResources: 0xa700,
  UnableToCalculateMatches: 0xa701,
  UnableToPerformSubOperations: 0xa702,
  MoveDestinationUnknown: 0xa801,
  IdentifierDoesNotMatch: 0xa900,
  SomeSubOperationsFailed: 0xb000,
  UnableToProcess: 0xc000,
  Cancelled: 0xfe00,
  Pending: 0xff00,
  PendingWithUnsupportedKeys: 0xff01,
} as const;

/** Gathers the identifier; `converse` is given it once it could be read. */
export function conversationWith(
  transferSyntaxUid: string,
  model: InformationModel,
  converse: (identifier: Identifier, exchange: Exchange) => Promise<Answer>,
): Conversation {
  const bytes = new GrowingBuffer();
  let isTooLong = false;
  return {
    write(piece) {
      isTooLong ||= bytes.length + piece.length > MAX_IDENTIFIER_BYTES;
      if (!isTooLong) bytes.append(piece);
    },
    abort: () => {},
    async converse(exchange) {
      if (isTooLong) return { status: QueryStatus.OutOfResources, comment: 'the identifier is too long' };
      let identifier: Identifier;
      try {
        identifier = readIdentifier(bytes.take(), transferSyntaxUid, model);
      } catch (error) {
        return statusOfQueryError(error);
      }
      return converse(identifier, exchange);
    },
  };
}

/** Errors: `bad-dicom`, `limit-exceeded` for bytes that are no data set; `bad-request` for a level that is none of the model. */
export function readIdentifier(bytes: Uint8Array, transferSyntaxUid: string, model: InformationModel): Identifier {
  const { dataSet } = readHeader(bytes, { transferSyntaxUid });
  const level = queryLevels.find((name) => name === dataSet.ascii(Tag.QueryRetrieveLevel)?.toUpperCase());
  if (level === undefined)
    throw badIdentifier('(0008,0052) must be PATIENT, STUDY, SERIES or IMAGE', Tag.QueryRetrieveLevel);
  if (level === 'PATIENT' && model.root === 'STUDY')
    throw badIdentifier('Study Root has no PATIENT level', Tag.QueryRetrieveLevel);
  return { level, keys: toDicomJson(dataSet), characterSets: dataSet.characterSets };
}

/** A900H, with the offending element. */
export const badIdentifier = (message: string, tag: number): ArchiveError =>
  new ArchiveError('bad-request', message, { offendingElements: [tag] });

/** The key's values as matching has them, with backslashes between; '' when it is empty or no text. */
export function keyText(element: JsonElement | undefined): string {
  if (element === undefined) return '';
  return (element.Value ?? []).map((value) => wordsOf(value, element.vr)).join('\\');
}

function wordsOf(value: JsonValue, vr: Vr): string {
  if (typeof value === 'number') return String(value);
  return textOf(value, vr) ?? (typeof value === 'string' ? value : '');
}

/** Single values or lists of UIDs, without padding and empty ones. */
export const uidsOf = (keys: DicomJson, tag: number): string[] =>
  keyText(keys[tagKey(tag)])
    .split(/[\\,]/)
    .map((uid) => uid.trim())
    .filter((uid) => uid !== '');

/** What is wrong with a request is A900H, what is not is the archive's fault or limit. */
export function statusOfQueryError(error: unknown): StatusAnswer {
  if (!isArchiveError(error))
    return { status: QueryStatus.UnableToProcess, comment: 'the archive failed; see its log' };
  const comment = error.message;
  if (error.code === 'bad-request') {
    const { offendingElements } = error.details;
    return {
      status: QueryStatus.IdentifierDoesNotMatch,
      comment,
      ...(Array.isArray(offendingElements) ? { offendingElements: offendingElements as number[] } : {}),
    };
  }
  if (error.code === 'too-large' || error.code === 'out-of-resources' || error.code === 'unavailable')
    return { status: QueryStatus.OutOfResources, comment };
  if (error.code === 'bad-dicom' || error.code === 'limit-exceeded')
    return { status: QueryStatus.UnableToProcess, comment: `the identifier cannot be read: ${comment}` };
  return { ...statusOfError(error), status: QueryStatus.UnableToProcess };
}
