/**
 * The data sets of Storage Commitment (PS3.4 §J.3.2, §J.3.3; attributes PS3.3 §C.14): the request as the provider reads it and
 * the user writes it, the result as the provider writes it and the user reads it. Associations are elsewhere.
 */
import type { DataSet } from '#shared/dicom/data-set.ts';
import { encodeDataSet } from '#shared/dicom/data-set-writer.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { Tag, tagKey } from '#shared/dicom/tags.ts';
import { transferSyntaxOf } from '#shared/dicom/transfer-syntax.ts';
import { isUid } from '#shared/dicom/uid.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { StatusAnswer } from './status.ts';

/** The well-known instance of the push model (PS3.4 §J.3.5). */
export const STORAGE_COMMITMENT_INSTANCE = '1.2.840.10008.1.20.1.1';
/** Action Type ID (PS3.4 §J.3.2). */
export const REQUEST_STORAGE_COMMITMENT = 1;
/** Event Type IDs (PS3.4 §J.3.3): all are committed, or some failed. */
export const CommitmentEvent = { Successful: 1, FailuresExist: 2 } as const;

/** Of N-ACTION and N-EVENT-REPORT (PS3.7 §10.1, Annex C). */
export const NormalizedStatus = {
  NoSuchInstance: 0x0112,
  NoSuchEventType: 0x0113,
  InvalidArgumentValue: 0x0115,
  NoSuchClass: 0x0118,
  MissingAttribute: 0x0120,
  MissingAttributeValue: 0x0121,
  NoSuchAction: 0x0123,
  NotAuthorized: 0x0124,
  ResourceLimitation: 0x0213,
} as const;

/** Failure Reason (0008,1197), PS3.3 §C.14.1.1. */
export const FailureReason = {
  ProcessingFailure: 0x0110,
  NoSuchInstance: 0x0112,
  ClassInstanceConflict: 0x0119,
  ResourceLimitation: 0x0213,
} as const;

export interface ReferencedInstance {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
}

export interface FailedInstance extends ReferencedInstance {
  readonly failureReason: number;
}

export interface CommitmentRequest {
  /** At most 64 characters, all digits and dots. */
  readonly transactionUid: string;
  /** At least one; UIDs as they came, of 1 to 64 characters. */
  readonly references: readonly ReferencedInstance[];
}

export interface CommitmentResult {
  readonly transactionUid: string;
  readonly committed: readonly ReferencedInstance[];
  readonly failed: readonly FailedInstance[];
}

const TRANSACTION_UID = 0x00081195;
const FAILURE_REASON = 0x00081197;

/** With its two elements to a reference, what a data set can hold: see header-limits.ts. */
export const MAX_REFERENCES = 99_000;
/** Bytes of a request: more than so many references take. */
export const MAX_REQUEST_BYTES = 20 * 1024 * 1024;

export const tooManyReferences: StatusAnswer = {
  status: NormalizedStatus.ResourceLimitation,
  comment: `more than ${MAX_REFERENCES} references; ask in several requests`,
};

/** What asks for a commitment, or the status that refuses it. Never throws for what the bytes hold. */
export function readCommitmentRequest(
  bytes: Uint8Array,
  transferSyntaxUid: string,
): CommitmentRequest | { readonly refusal: StatusAnswer } {
  const dataSet = dataSetIn(bytes, transferSyntaxUid);
  if (!('get' in dataSet)) return dataSet;
  const transactionUid = transactionIn(dataSet);
  if (typeof transactionUid !== 'string') return transactionUid;
  const items = dataSet.get(Tag.ReferencedSOPSequence)?.items;
  if (items === undefined) return missing(Tag.ReferencedSOPSequence);
  if (items.length === 0) return missing(Tag.ReferencedSOPSequence, NormalizedStatus.MissingAttributeValue);
  if (items.length > MAX_REFERENCES) return { refusal: tooManyReferences };
  const references: ReferencedInstance[] = [];
  for (const item of items) {
    const reference = referenceIn(item);
    if (!('sopClassUid' in reference)) return reference;
    references.push(reference);
  }
  return { transactionUid, references };
}

/** What a provider reports, or the status that says why it cannot be understood. Never throws for what the bytes hold. */
export function readCommitmentResult(
  bytes: Uint8Array,
  transferSyntaxUid: string,
): CommitmentResult | { readonly refusal: StatusAnswer } {
  const dataSet = dataSetIn(bytes, transferSyntaxUid);
  if (!('get' in dataSet)) return dataSet;
  const transactionUid = transactionIn(dataSet);
  if (typeof transactionUid !== 'string') return transactionUid;
  const committed: ReferencedInstance[] = [];
  const failed: FailedInstance[] = [];
  for (const item of dataSet.get(Tag.ReferencedSOPSequence)?.items ?? []) {
    const reference = referenceIn(item);
    if (!('sopClassUid' in reference)) return reference;
    committed.push(reference);
  }
  for (const item of dataSet.get(Tag.FailedSOPSequence)?.items ?? []) {
    const reference = referenceIn(item);
    if (!('sopClassUid' in reference)) return reference;
    failed.push({ ...reference, failureReason: item.number(FAILURE_REASON) ?? FailureReason.ProcessingFailure });
  }
  return { transactionUid, committed, failed };
}

function dataSetIn(bytes: Uint8Array, transferSyntaxUid: string): DataSet | { readonly refusal: StatusAnswer } {
  try {
    const { dataSet, isCut } = readHeader(bytes, { transferSyntaxUid, bulkThresholdBytes: MAX_REQUEST_BYTES });
    return isCut ? unreadable : dataSet;
  } catch (error) {
    if (isArchiveError(error, 'limit-exceeded')) return { refusal: tooManyReferences };
    if (isArchiveError(error)) return unreadable;
    throw error;
  }
}

const unreadable = {
  refusal: { status: NormalizedStatus.InvalidArgumentValue, comment: 'the data set cannot be read' },
};

function transactionIn(dataSet: DataSet): string | { readonly refusal: StatusAnswer } {
  const element = dataSet.get(TRANSACTION_UID);
  if (element === undefined) return missing(TRANSACTION_UID);
  const uid = dataSet.ascii(TRANSACTION_UID);
  if (uid === undefined) return missing(TRANSACTION_UID, NormalizedStatus.MissingAttributeValue);
  return isUid(uid) ? uid : invalid(TRANSACTION_UID, 'the Transaction UID is no UID');
}

function referenceIn(item: DataSet): ReferencedInstance | { readonly refusal: StatusAnswer } {
  for (const tag of [Tag.ReferencedSOPClassUID, Tag.ReferencedSOPInstanceUID]) {
    if (item.get(tag) === undefined) return missing(tag);
    const uid = item.ascii(tag);
    if (uid === undefined) return missing(tag, NormalizedStatus.MissingAttributeValue);
    if (uid.length > 64) return invalid(tag, 'a referenced UID has more than 64 characters');
  }
  return {
    sopClassUid: item.ascii(Tag.ReferencedSOPClassUID) ?? '',
    sopInstanceUid: item.ascii(Tag.ReferencedSOPInstanceUID) ?? '',
  };
}

const missing = (tag: number, status: number = NormalizedStatus.MissingAttribute) => ({
  refusal: {
    status,
    comment: `${tagKey(tag)} is ${status === NormalizedStatus.MissingAttribute ? 'missing' : 'empty'}`,
    offendingElements: [tag],
  },
});

const invalid = (tag: number, comment: string) => ({
  refusal: { status: NormalizedStatus.InvalidArgumentValue, comment, offendingElements: [tag] },
});

/** The information of an N-ACTION. */
export function encodeCommitmentRequest(request: CommitmentRequest, transferSyntaxUid: string): Uint8Array {
  const json: DicomJson = {
    [tagKey(TRANSACTION_UID)]: { vr: 'UI', Value: [request.transactionUid] },
    [tagKey(Tag.ReferencedSOPSequence)]: { vr: 'SQ', Value: request.references.map(itemOf) },
  };
  return encodeDataSet(json, transferSyntaxOf(transferSyntaxUid));
}

/** The information of an N-EVENT-REPORT: a sequence without items is left out (PS3.4 Table J.3-3). `retrieveAeTitle`: who answers C-MOVE and C-GET for them. */
export function encodeCommitmentResult(
  result: CommitmentResult,
  transferSyntaxUid: string,
  retrieveAeTitle: string,
): Uint8Array {
  const { transactionUid, committed, failed } = result;
  const json: DicomJson = {
    [tagKey(TRANSACTION_UID)]: { vr: 'UI', Value: [transactionUid] },
    [tagKey(Tag.RetrieveAETitle)]: { vr: 'AE', Value: [retrieveAeTitle] },
  };
  if (failed.length > 0)
    json[tagKey(Tag.FailedSOPSequence)] = {
      vr: 'SQ',
      Value: failed.map((instance) => ({
        ...itemOf(instance),
        [tagKey(FAILURE_REASON)]: { vr: 'US', Value: [instance.failureReason] },
      })),
    };
  if (committed.length > 0) json[tagKey(Tag.ReferencedSOPSequence)] = { vr: 'SQ', Value: committed.map(itemOf) };
  return encodeDataSet(json, transferSyntaxOf(transferSyntaxUid));
}

const itemOf = ({ sopClassUid, sopInstanceUid }: ReferencedInstance): DicomJson => ({
  [tagKey(Tag.ReferencedSOPClassUID)]: { vr: 'UI', Value: [sopClassUid] },
  [tagKey(Tag.ReferencedSOPInstanceUID)]: { vr: 'UI', Value: [sopInstanceUid] },
});
