/**
 * The Query/Retrieve information models (PS3.4 §C.6): their SOP classes, levels and unique keys, in which transfer syntax
 * identifiers go, and what an extended negotiation for one of them is answered with (PS3.4 §C.5.1.1, §C.5.2.1, §C.5.3.1).
 */
import {
  EXPLICIT_VR_BIG_ENDIAN,
  EXPLICIT_VR_LITTLE_ENDIAN,
  IMPLICIT_VR_LITTLE_ENDIAN,
} from '#shared/dicom/transfer-syntax.ts';

/** Values of Query/Retrieve Level (0008,0052), from the top. */
export const queryLevels = ['PATIENT', 'STUDY', 'SERIES', 'IMAGE'] as const;
export type QueryLevel = (typeof queryLevels)[number];

export interface InformationModel {
  readonly root: 'PATIENT' | 'STUDY';
  readonly operation: 'find' | 'move' | 'get';
}

const patientRoot = '1.2.840.10008.5.1.4.1.2.1.';
const studyRoot = '1.2.840.10008.5.1.4.1.2.2.';

/** By SOP Class UID. */
export const informationModels: ReadonlyMap<string, InformationModel> = new Map([
  [`${patientRoot}1`, { root: 'PATIENT', operation: 'find' }],
  [`${patientRoot}2`, { root: 'PATIENT', operation: 'move' }],
  [`${patientRoot}3`, { root: 'PATIENT', operation: 'get' }],
  [`${studyRoot}1`, { root: 'STUDY', operation: 'find' }],
  [`${studyRoot}2`, { root: 'STUDY', operation: 'move' }],
  [`${studyRoot}3`, { root: 'STUDY', operation: 'get' }],
]);

/** The unique key of each level (PS3.4 §C.6.1.1, §C.6.2.1). */
export const uniqueKeyOf: Readonly<Record<QueryLevel, number>> = {
  PATIENT: 0x00100020,
  STUDY: 0x0020000d,
  SERIES: 0x0020000e,
  IMAGE: 0x00080018,
};

/** From the root of the model down to a level. */
export function levelsDownTo(root: InformationModel['root'], level: QueryLevel): readonly QueryLevel[] {
  return queryLevels.slice(queryLevels.indexOf(root), queryLevels.indexOf(level) + 1);
}

const identifierSyntaxes: ReadonlySet<string> = new Set([IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN]);

/** For identifiers: the first that is proposed of the two little endian ones; the retired big endian one when there is no other. */
export function identifierSyntaxOf(proposed: readonly string[]): string | undefined {
  return proposed.find((uid) => identifierSyntaxes.has(uid)) ?? proposed.find((uid) => uid === EXPLICIT_VR_BIG_ENDIAN);
}

/** Bytes of the service-class-application-information: what we answer to a 1 that is proposed there. */
const offered: Readonly<Record<InformationModel['operation'], readonly number[]>> = {
  // Relational queries, combined date-time matching; not: fuzzy names, adjustment of time zones, enhanced multi-frame conversion.
  find: [1, 1, 0, 0, 0],
  // Relational retrieval; not: enhanced multi-frame conversion.
  move: [1, 0],
  get: [1, 0],
};

/** As many bytes as were proposed, as far as we know what they mean. */
export function answerExtendedNegotiation(model: InformationModel, proposed: Uint8Array): Uint8Array {
  return Uint8Array.from(
    offered[model.operation].slice(0, proposed.length),
    (ours, i) => ours & (proposed[i] === 1 ? 1 : 0),
  );
}

/** Whether byte 2 of the answer says that ranges of a date and its time are one range (PS3.4 §C.5.1.1). */
export const combinesDateTime = (agreed: Uint8Array | undefined): boolean => agreed?.[1] === 1;
