/**
 * What an archive's index holds: Study, Series, Instance and Pack records, the references that name them, and the ONE
 * list of indexed attributes that both indexes, QIDO-RS and C-FIND use.
 */
import type { Vr } from '../dicom/data-set.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { tagKey } from '../dicom/tags.ts';

export interface StudyRef {
  readonly studyInstanceUid: string;
}
export interface SeriesRef extends StudyRef {
  readonly seriesInstanceUid: string;
}
export interface InstanceRef extends SeriesRef {
  readonly sopInstanceUid: string;
}
export interface FrameRef extends InstanceRef {
  /** From 1. */
  readonly frameNumber: number;
}
export interface PackRef extends SeriesRef {
  /** UUIDv7, lower case: sorts by the time of its making. */
  readonly packId: string;
}

export interface ByteRange {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/**
 * One SOP Instance. The order of arrival is (packId, offsetBytes): derivable from the packs alone, and the same for
 * everybody, in whatever order events come. Among instances of one reference the first in that order is `current`.
 */
export interface InstanceRecord extends InstanceRef {
  readonly tenant: string;
  readonly sopClassUid: string;
  readonly transferSyntaxUid: string;
  /** SHA-256 of the data set bytes (what follows File Meta), lower-case hex. */
  readonly digest: string;
  readonly packId: string;
  /** Of the entry's data (the complete Part 10 file) in its pack. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** From the first byte of the Part 10 file to the first byte of the data set. */
  readonly dataSetOffsetBytes: number;
  /** `conflict`: same UID, other bytes, came later; kept and shown, never served as the instance unless asked for by digest. */
  readonly state: 'current' | 'conflict';
  /** The indexed attributes of all three levels (see indexedAttributes), as far as the instance has them. */
  readonly attributes: DicomJson;
}

/**
 * `deleted`: shown no more, and can be restored. `restored`: its bytes count again. `purging`: its pack is being written anew without it, or is
 * about to go. `purged`: the bytes are gone.
 */
export type TombstoneState = 'deleted' | 'restored' | 'purging' | 'purged';

/**
 * One instance's bytes in ONE pack, which somebody has deleted: the same instance in a pack that is archived later is another matter
 * (deletion.ts). It is the record that the instance had; once purged its `attributes` are empty, and no patient data is left.
 */
export interface Tombstone extends Omit<InstanceRecord, 'state'> {
  readonly state: TombstoneState;
  readonly deletedAtMs: number;
  /** When it came into its state. */
  readonly changedAtMs: number;
}

/** Derived from the series' current instances: `attributes` are the series' ones (attributesOf) of the first in order of arrival. */
export interface SeriesRecord extends SeriesRef {
  readonly tenant: string;
  readonly attributes: DicomJson;
  readonly instanceCount: number;
}

/** Derived from the study's series: `attributes` are the study's ones of the first instance of the whole study; lists are sorted. */
export interface StudyRecord extends StudyRef {
  readonly tenant: string;
  readonly attributes: DicomJson;
  readonly modalities: readonly string[];
  readonly sopClassUids: readonly string[];
  readonly seriesCount: number;
  readonly instanceCount: number;
}

export type PackState = 'open' | 'sealed' | 'sent' | 'archived' | 'rejected';

/** In which order packs are uploaded: `stat` first and at any hour, then `routine`, then `low`. */
export type UploadPriority = 'stat' | 'routine' | 'low';

export interface PackRecord extends PackRef {
  readonly tenant: string;
  readonly state: PackState;
  readonly instanceCount: number;
  /** Of the whole ZIP file once sealed; what is in it so far while open. */
  readonly lengthBytes: number;
  /** Of the whole ZIP file, lower-case hex; from `sealed` on. */
  readonly sha256?: string;
  readonly createdAtMs: number;
  readonly sealedAtMs?: number;
  readonly sentAtMs?: number;
  readonly archivedAtMs?: number;
  /** Why it is rejected, or the last error while sending: a sentence without patient data. */
  readonly reason?: string;
  /** Absent: `routine`. */
  readonly priority?: UploadPriority;
  /** Calling AE titles of those who sent what is in it, in order of their first instance; absent in the cloud. */
  readonly sourceAeTitles?: readonly string[];
  /** Since when its bytes are no longer on this disk; the state stays `archived`. Absent: they are here. */
  readonly evictedAtMs?: number;
  /** When somebody last read from it, to a few minutes; absent: never since it was sealed. */
  readonly accessedAtMs?: number;
  /** Since when no instance is looked for in it, because of deletions: its bytes go. The record stays, so that it is never taken again. */
  readonly purgedAtMs?: number;
}

/** New values for fields of a pack's record; undefined removes a field. */
export type PackChange = { readonly [Field in keyof PackRecord]?: PackRecord[Field] | undefined };

export type Level = 'study' | 'series' | 'instance';

export interface IndexedAttribute {
  readonly tag: number;
  readonly keyword: string;
  readonly vr: Vr;
  readonly level: Level;
}

/** Every attribute that can be searched and that search returns, in the standard's order within its level. Sequences are kept whole. */
export const indexedAttributes: readonly IndexedAttribute[] = [
  { tag: 0x00080020, keyword: 'StudyDate', vr: 'DA', level: 'study' },
  { tag: 0x00080030, keyword: 'StudyTime', vr: 'TM', level: 'study' },
  { tag: 0x00080050, keyword: 'AccessionNumber', vr: 'SH', level: 'study' },
  { tag: 0x00080051, keyword: 'IssuerOfAccessionNumberSequence', vr: 'SQ', level: 'study' },
  { tag: 0x00080080, keyword: 'InstitutionName', vr: 'LO', level: 'series' },
  { tag: 0x00080090, keyword: 'ReferringPhysicianName', vr: 'PN', level: 'study' },
  { tag: 0x00080201, keyword: 'TimezoneOffsetFromUTC', vr: 'SH', level: 'study' },
  { tag: 0x00081030, keyword: 'StudyDescription', vr: 'LO', level: 'study' },
  { tag: 0x00081032, keyword: 'ProcedureCodeSequence', vr: 'SQ', level: 'study' },
  { tag: 0x00081060, keyword: 'NameOfPhysiciansReadingStudy', vr: 'PN', level: 'study' },
  { tag: 0x00100010, keyword: 'PatientName', vr: 'PN', level: 'study' },
  { tag: 0x00100020, keyword: 'PatientID', vr: 'LO', level: 'study' },
  { tag: 0x00100021, keyword: 'IssuerOfPatientID', vr: 'LO', level: 'study' },
  { tag: 0x00100030, keyword: 'PatientBirthDate', vr: 'DA', level: 'study' },
  { tag: 0x00100040, keyword: 'PatientSex', vr: 'CS', level: 'study' },
  { tag: 0x00101010, keyword: 'PatientAge', vr: 'AS', level: 'study' },
  { tag: 0x0020000d, keyword: 'StudyInstanceUID', vr: 'UI', level: 'study' },
  { tag: 0x00200010, keyword: 'StudyID', vr: 'SH', level: 'study' },
  { tag: 0x00080021, keyword: 'SeriesDate', vr: 'DA', level: 'series' },
  { tag: 0x00080031, keyword: 'SeriesTime', vr: 'TM', level: 'series' },
  { tag: 0x00080060, keyword: 'Modality', vr: 'CS', level: 'series' },
  { tag: 0x00080070, keyword: 'Manufacturer', vr: 'LO', level: 'series' },
  { tag: 0x00081010, keyword: 'StationName', vr: 'SH', level: 'series' },
  { tag: 0x0008103e, keyword: 'SeriesDescription', vr: 'LO', level: 'series' },
  { tag: 0x00081050, keyword: 'PerformingPhysicianName', vr: 'PN', level: 'series' },
  { tag: 0x00081070, keyword: 'OperatorsName', vr: 'PN', level: 'series' },
  { tag: 0x00180015, keyword: 'BodyPartExamined', vr: 'CS', level: 'series' },
  { tag: 0x00181030, keyword: 'ProtocolName', vr: 'LO', level: 'series' },
  { tag: 0x0020000e, keyword: 'SeriesInstanceUID', vr: 'UI', level: 'series' },
  { tag: 0x00200011, keyword: 'SeriesNumber', vr: 'IS', level: 'series' },
  { tag: 0x00200052, keyword: 'FrameOfReferenceUID', vr: 'UI', level: 'series' },
  { tag: 0x00200060, keyword: 'Laterality', vr: 'CS', level: 'series' },
  { tag: 0x00400244, keyword: 'PerformedProcedureStepStartDate', vr: 'DA', level: 'series' },
  { tag: 0x00400245, keyword: 'PerformedProcedureStepStartTime', vr: 'TM', level: 'series' },
  { tag: 0x00400275, keyword: 'RequestAttributesSequence', vr: 'SQ', level: 'series' },
  { tag: 0x00080016, keyword: 'SOPClassUID', vr: 'UI', level: 'instance' },
  { tag: 0x00080018, keyword: 'SOPInstanceUID', vr: 'UI', level: 'instance' },
  { tag: 0x00080008, keyword: 'ImageType', vr: 'CS', level: 'instance' },
  { tag: 0x00080022, keyword: 'AcquisitionDate', vr: 'DA', level: 'instance' },
  { tag: 0x00080023, keyword: 'ContentDate', vr: 'DA', level: 'instance' },
  { tag: 0x00080032, keyword: 'AcquisitionTime', vr: 'TM', level: 'instance' },
  { tag: 0x00080033, keyword: 'ContentTime', vr: 'TM', level: 'instance' },
  { tag: 0x00200012, keyword: 'AcquisitionNumber', vr: 'IS', level: 'instance' },
  { tag: 0x00200013, keyword: 'InstanceNumber', vr: 'IS', level: 'instance' },
  { tag: 0x00280008, keyword: 'NumberOfFrames', vr: 'IS', level: 'instance' },
  { tag: 0x00280010, keyword: 'Rows', vr: 'US', level: 'instance' },
  { tag: 0x00280011, keyword: 'Columns', vr: 'US', level: 'instance' },
  { tag: 0x00280100, keyword: 'BitsAllocated', vr: 'US', level: 'instance' },
  { tag: 0x0040a043, keyword: 'ConceptNameCodeSequence', vr: 'SQ', level: 'instance' },
  { tag: 0x0040a491, keyword: 'CompletionFlag', vr: 'CS', level: 'instance' },
  { tag: 0x0040a493, keyword: 'VerificationFlag', vr: 'CS', level: 'instance' },
  { tag: 0x00700080, keyword: 'ContentLabel', vr: 'CS', level: 'instance' },
];

const keysOfLevel: Readonly<Record<Level, readonly string[]>> = {
  study: keysOf('study'),
  series: keysOf('series'),
  instance: keysOf('instance'),
};

function keysOf(level: Level): string[] {
  return indexedAttributes
    .filter((attribute) => attribute.level === level)
    .map(({ tag }) => tagKey(tag))
    .sort();
}

/** The indexed attributes of one level alone, in ascending order: what a Study or Series record keeps of its first instance. */
export function attributesOf(level: Level, attributes: DicomJson): DicomJson {
  const found: DicomJson = {};
  for (const key of keysOfLevel[level]) {
    const element = attributes[key];
    if (element !== undefined) found[key] = element;
  }
  return found;
}

/** (0008,0060) as the index keeps it. */
export function modalityOf({ attributes }: Pick<InstanceRecord, 'attributes'>): string | undefined {
  const value = attributes['00080060']?.Value?.[0];
  return typeof value === 'string' ? value : undefined;
}

/** Whether `a` arrived before `b`: the order of (packId, offsetBytes), the same for everybody. */
export function arrivedBefore(
  a: { readonly packId: string; readonly offsetBytes: number },
  b: { readonly packId: string; readonly offsetBytes: number },
): boolean {
  return a.packId < b.packId || (a.packId === b.packId && a.offsetBytes < b.offsetBytes);
}
