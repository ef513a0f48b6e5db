/**
 * Which instances a C-GET or C-MOVE asks for (PS3.4 §C.4.2.2, §C.4.3.2): those below the unique keys of the identifier. Lenient as
 * in a relational retrieval: unique keys of higher levels may be missing. Universal and wild card matching are refused.
 */

import { packKey } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { Tag, tagKey } from '#shared/dicom/tags.ts';
import { isUid } from '#shared/dicom/uid.ts';
import { ArchiveError } from '#shared/errors.ts';
import { badIdentifier, type Identifier, keyText, uidsOf } from './identifier.ts';
import { levelsDownTo, type QueryLevel, uniqueKeyOf } from './information-model.ts';
import { matchesOf } from './match-pages.ts';

/** What sending an instance takes; small, since a patient may have tens of thousands. */
export interface StoredInstance {
  readonly sopClassUid: string;
  readonly sopInstanceUid: string;
  readonly transferSyntaxUid: string;
  readonly packKey: string;
  /** Of the data set, in the pack. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

const MAX_INSTANCES = 200_000;
const PAGE = 1_000;

/**
 * In the order of series and of arrival, so that packs are read forward. Errors: `bad-request` for an identifier without its unique
 * key, `too-large` for more than 200,000 instances, `unavailable` when none was found and not everything could be asked.
 */
export async function selectInstances(
  index: ArchiveIndex,
  tenant: string,
  identifier: Identifier,
): Promise<StoredInstance[]> {
  const { level } = identifier;
  const keys = keysOf(identifier);
  const selected: StoredInstance[] = [];
  let incomplete: string | undefined;
  const onIncomplete = (sentence: string): void => {
    incomplete = sentence;
  };
  const take = (record: InstanceRecord) => {
    if (selected.length === MAX_INSTANCES)
      throw new ArchiveError('too-large', 'too many instances are asked for; retrieve study by study');
    selected.push(storedInstance(record));
  };
  if (level === 'IMAGE') {
    for await (const match of matchesOf(index, tenant, { level: 'instance', keys }, onIncomplete)) {
      const ref = { ...seriesOf(match), sopInstanceUid: uidIn(match, Tag.SOPInstanceUID) };
      const record = await index.getInstance(tenant, ref);
      if (record !== undefined) take(record);
    }
  } else {
    const searched = level === 'SERIES' ? 'series' : 'study';
    for await (const match of matchesOf(index, tenant, { level: searched, keys }, onIncomplete)) {
      const ref = level === 'SERIES' ? seriesOf(match) : { studyInstanceUid: uidIn(match, Tag.StudyInstanceUID) };
      for await (const record of instancesOf(index, tenant, ref)) take(record);
    }
  }
  // Nothing is there to send, or nothing could be found out: the requestor must not take one for the other.
  if (selected.length === 0 && incomplete !== undefined) throw new ArchiveError('unavailable', incomplete);
  const order = (a: StoredInstance, b: StoredInstance) =>
    a.packKey === b.packKey ? a.offsetBytes - b.offsetBytes : a.packKey < b.packKey ? -1 : 1;
  return selected.sort(order);
}

/** Current ones, in the order of the index. */
export async function* instancesOf(
  index: ArchiveIndex,
  tenant: string,
  ref: StudyRef | SeriesRef,
): AsyncGenerator<InstanceRecord, void, void> {
  for await (const items of pagesOf((from) => index.listInstances(tenant, ref, { limit: PAGE, ...from }))) yield* items;
}

export function storedInstance(record: InstanceRecord): StoredInstance {
  const { sopClassUid, sopInstanceUid, transferSyntaxUid, dataSetOffsetBytes } = record;
  return {
    sopClassUid,
    sopInstanceUid,
    transferSyntaxUid,
    packKey: packKey(record.tenant, record),
    offsetBytes: record.offsetBytes + dataSetOffsetBytes,
    lengthBytes: record.lengthBytes - dataSetOffsetBytes,
  };
}

const uidIn = (match: DicomJson, tag: number): string => String(match[tagKey(tag)]?.Value?.[0] ?? '');
const seriesOf = (match: DicomJson): SeriesRef => ({
  studyInstanceUid: uidIn(match, Tag.StudyInstanceUID),
  seriesInstanceUid: uidIn(match, Tag.SeriesInstanceUID),
});

/** The unique key of the level must be there; those above it narrow where they are given. */
function keysOf({ level, keys }: Identifier): MatchKey[] {
  return levelsDownTo('PATIENT', level).flatMap((each): MatchKey[] => {
    const key = each === 'PATIENT' ? patientKey(keys) : uidKey(keys, each);
    if (key === undefined && each === level)
      throw badIdentifier(`the unique key of the ${level} level is missing`, uniqueKeyOf[level]);
    return key === undefined ? [] : [key];
  });
}

function patientKey(keys: DicomJson): MatchKey | undefined {
  const text = keyText(keys[tagKey(Tag.PatientID)]);
  if (text === '') return undefined;
  if (/[*?\\]/.test(text) || text === '""')
    throw badIdentifier('a retrieval needs one whole Patient ID', Tag.PatientID);
  return matchKey([Tag.PatientID], 'LO', text);
}

function uidKey(keys: DicomJson, level: QueryLevel): MatchKey | undefined {
  const tag = uniqueKeyOf[level];
  const uids = uidsOf(keys, tag);
  if (uids.length === 0) return undefined;
  if (!uids.every(isUid)) throw badIdentifier('a retrieval needs whole UIDs', tag);
  return matchKey([tag], 'UI', uids.join('\\'));
}
