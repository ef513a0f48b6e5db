/**
 * The answer to a STOW-RS request (PS3.18 §10.5.3): its status, and the Store Instances Response Module (Annex I) that says of each
 * instance what became of it. Why an instance was refused is a code in the module; in words it is a Warning header field.
 */
import type { Outcome } from '../archive/outcome.ts';
import type { StudyRef } from '../archive/records.ts';
import { dicomJsonText } from '../dicom/dicom-json.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { dicomXml } from '../dicom/dicom-xml.ts';
import { Tag, tagKey } from '../dicom/tags.ts';
import { type ArchiveError, dimseStatusOf, type ErrorCode, httpStatusOf } from '../errors.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import type { Context } from './context.ts';
import { multipartRelated } from './multipart.ts';
import { refPath } from './references.ts';
import { addWarning } from './search.ts';
import { nobody, refused, type StoreReport } from './store-file.ts';

type Refusal = Extract<Outcome, { kind: 'refused' }>;

/**
 * (0008,1196) of a conflict: this instance is kept, but another one with its UID came first and stays the one that is served. Of the
 * warnings' range (Bxxx); the standard has no code of its own for it.
 */
const OTHER_BYTES_BEFORE = 0xb00e;
/** (0008,1197) of an instance of another study than the URL's: of the range A9xx, as other servers have it. */
const OTHER_STUDY = 0xa901;
const UNSUPPORTED_TRANSFER_SYNTAX = 0xc122;
const CANNOT_UNDERSTAND = 0xc000;

const retryAfterSeconds = 10;
/** Each different sentence once, so many at most. */
const maximumWarnings = 8;

const XML = 'application/dicom+xml';
const formats: readonly Offer<undefined>[] = [
  { type: 'application/dicom+json', form: 'single', value: undefined },
  { type: 'application/json', form: 'single', value: undefined },
  { type: XML, form: 'single', value: undefined },
  { type: XML, form: 'multipart', value: undefined },
];

/**
 * @param trouble why the body could not be read to its end; what was complete before is stored all the same
 */
export function storeResponse(
  context: Context,
  reports: readonly StoreReport[],
  trouble: ArchiveError | undefined,
): Response {
  if (reports.length === 0 && trouble !== undefined) throw trouble;
  const all = trouble === undefined ? reports : [...reports, { ...nobody, outcome: refused(trouble) }];
  const { contentType, body } = represented(responseModule(context.baseUrl, all), formatFor(context));
  const headers = new Headers({ 'content-type': contentType, 'cache-control': 'no-store' });
  const status = statusOf(all);
  if (status === 503) headers.set('retry-after', String(retryAfterSeconds));
  for (const sentence of sentencesOf(all)) addWarning(headers, context.baseUrl, sentence);
  return new Response(body, { status, headers });
}

function represented(
  module: DicomJson,
  { type, form }: Offer<undefined>,
): { contentType: string; body: string | ReadableStream<Uint8Array> } {
  if (type !== XML) return { contentType: type, body: dicomJsonText(module) };
  const xml = dicomXml(module);
  if (form === 'single') return { contentType: type, body: xml };
  const { contentType, body } = multipartRelated(XML, [{ headers: { 'Content-Type': XML }, body: Buffer.from(xml) }]);
  return { contentType, body: ReadableStream.from(body) };
}

/**
 * 200: all are stored, now or before. 202: some are, or one is in conflict with another. Otherwise nothing is: 503 where trying again
 * may help, what all refusals have in common (400, 413, 415), else 409.
 */
function statusOf(reports: readonly StoreReport[]): number {
  const kinds = reports.map(({ outcome }) => outcome.kind);
  if (kinds.some((kind) => kind !== 'refused'))
    return kinds.every((kind) => kind === 'stored' || kind === 'duplicate') ? 200 : 202;
  const statuses = new Set(
    reports.flatMap(({ outcome }) => (outcome.kind === 'refused' ? [failureStatusOf(outcome.code)] : [])),
  );
  if (statuses.has(503)) return 503;
  const [only, ...others] = statuses;
  return only === undefined || others.length > 0 ? 409 : only;
}

/** 406 is about Accept, which has nothing to do with it. */
function failureStatusOf(code: ErrorCode): number {
  const status: number = httpStatusOf[code];
  return status === 406 ? 409 : status;
}

function failureReasonOf({ code, offendingElements }: Refusal): number {
  if (code === 'unsupported-transfer-syntax') return UNSUPPORTED_TRANSFER_SYNTAX;
  if (code === 'unsupported-media-type') return CANNOT_UNDERSTAND;
  if (code === 'identity-mismatch' && offendingElements?.includes(Tag.StudyInstanceUID) === true) return OTHER_STUDY;
  return dimseStatusOf[code];
}

function responseModule(baseUrl: string, reports: readonly StoreReport[]): DicomJson {
  const studies = new Set<string>();
  const stored: DicomJson[] = [];
  const failed: DicomJson[] = [];
  const unknown: DicomJson[] = [];
  for (const { sopClassUid, sopInstanceUid, outcome } of reports) {
    if (outcome.kind === 'refused') {
      const reason = number(Tag.FailureReason, failureReasonOf(outcome));
      const isKnown = sopClassUid !== undefined || sopInstanceUid !== undefined;
      if (isKnown) failed.push({ ...sopUids(sopClassUid, sopInstanceUid), ...reason });
      else unknown.push(reason);
      continue;
    }
    studies.add(outcome.ref.studyInstanceUid);
    stored.push({
      ...sopUids(sopClassUid, outcome.ref.sopInstanceUid),
      ...url(`${baseUrl}/${refPath(outcome.ref)}`),
      ...(outcome.kind === 'conflict' ? number(Tag.WarningReason, OTHER_BYTES_BEFORE) : {}),
    });
  }
  const [study, ...others] = studies;
  const ref: StudyRef | undefined = study === undefined || others.length > 0 ? undefined : { studyInstanceUid: study };
  return {
    ...url(ref && `${baseUrl}/${refPath(ref)}`),
    ...sequence(Tag.FailedSOPSequence, failed),
    ...sequence(Tag.ReferencedSOPSequence, stored),
    ...sequence(Tag.OtherFailuresSequence, unknown),
  };
}

const sopUids = (sopClassUid: string | undefined, sopInstanceUid: string | undefined): DicomJson => ({
  [tagKey(Tag.ReferencedSOPClassUID)]: { vr: 'UI', ...(sopClassUid === undefined ? {} : { Value: [sopClassUid] }) },
  [tagKey(Tag.ReferencedSOPInstanceUID)]: {
    vr: 'UI',
    ...(sopInstanceUid === undefined ? {} : { Value: [sopInstanceUid] }),
  },
});

const number = (tag: number, value: number): DicomJson => ({ [tagKey(tag)]: { vr: 'US', Value: [value] } });

/** Empty where the instances have no study in common, or there are none (Type 2). */
const url = (value: string | undefined): DicomJson => ({
  [tagKey(Tag.RetrieveURL)]: { vr: 'UR', ...(value === undefined ? {} : { Value: [value] }) },
});

/** An empty one is left out: clients take it for failures. */
const sequence = (tag: number, items: DicomJson[]): DicomJson =>
  items.length === 0 ? {} : { [tagKey(tag)]: { vr: 'SQ', Value: items } };

function sentencesOf(reports: readonly StoreReport[]): string[] {
  const sentences = new Set<string>();
  for (const { outcome } of reports) {
    if (outcome.kind === 'refused') sentences.add(outcome.reason);
    else if (outcome.kind === 'conflict')
      sentences.add('An instance with the same SOP Instance UID and other bytes came before; both are kept.');
    // What is stored as it came is no failure, but its maker should know.
    if (outcome.kind !== 'refused')
      for (const what of outcome.tolerated ?? []) sentences.add(`Stored as it is: ${what}.`);
  }
  return [...sentences].slice(0, maximumWarnings);
}

/** What is stored is stored: a client that accepts none of our formats gets ours. */
function formatFor({ request, query }: Context): Offer<undefined> {
  try {
    return negotiate(acceptOf(request, query), formats);
  } catch {
    return formats[0]!;
  }
}
