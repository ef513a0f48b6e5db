/**
 * References to studies, series and instances as URLs, file names, log lines and errors show them. Senders' UIDs are not all valid
 * (PS3.5 §9.1), and what was stored must come back under the UID it has: escaped in URLs, hashed where a name is made of it.
 */
import { keyPartOf } from '../archive/keys.ts';
import type { InstanceRef, Level, SeriesRef, StudyRef } from '../archive/records.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError } from '../errors.ts';

export type AnyRef = StudyRef | SeriesRef | InstanceRef;

/** `studies/…[/series/…[/instances/…]]`, to go behind a base URL. */
export function refPath(ref: AnyRef): string {
  const study = `studies/${encodeURIComponent(ref.studyInstanceUid)}`;
  if (!('seriesInstanceUid' in ref)) return study;
  const series = `${study}/series/${encodeURIComponent(ref.seriesInstanceUid)}`;
  return 'sopInstanceUid' in ref ? `${series}/instances/${encodeURIComponent(ref.sopInstanceUid)}` : series;
}

/** A name for a file of it, without extension; safe in a header field and on any file system. */
export function fileNameOf(ref: AnyRef): string {
  if ('sopInstanceUid' in ref) return keyPartOf(ref.sopInstanceUid);
  return keyPartOf('seriesInstanceUid' in ref ? ref.seriesInstanceUid : ref.studyInstanceUid);
}

/** For a log line: what is no UID could be anything, a name too, and is hashed. */
export function logFieldsOf(ref: AnyRef): Readonly<Record<string, string>> {
  return Object.fromEntries(uidsOf(ref).map(([name, uid]) => [name, keyPartOf(uid)]));
}

export function levelNameOf(ref: AnyRef): Level {
  return 'sopInstanceUid' in ref ? 'instance' : 'seriesInstanceUid' in ref ? 'series' : 'study';
}

/** What a request for something that is not there gets: `bad-request` when its reference could hardly name anything, else `not-found`. */
export function unknownReference(ref: AnyRef): ArchiveError {
  const malformed = malformedReference(ref);
  if (malformed !== undefined) return malformed;
  return new ArchiveError('not-found', `The archive has no such ${levelNameOf(ref)}.`, { ...ref });
}

export function malformedReference(ref: AnyRef): ArchiveError | undefined {
  const malformed = uidsOf(ref).find(([, uid]) => !isUid(uid));
  if (malformed === undefined) return undefined;
  return new ArchiveError(
    'bad-request',
    `The ${malformed[0]} in the path is not a UID: at most 64 digits and dots, such as 1.2.840.10008.1.`,
  );
}

const uidsOf = (ref: AnyRef): [string, string][] =>
  Object.entries({
    studyInstanceUid: ref.studyInstanceUid,
    ...('seriesInstanceUid' in ref ? { seriesInstanceUid: ref.seriesInstanceUid } : {}),
    ...('sopInstanceUid' in ref ? { sopInstanceUid: ref.sopInstanceUid } : {}),
  });
