/**
 * The columns by which a search finds candidates before compileMatch decides, and how they are written. A lookup may find
 * too much, but never too little: what one column cannot say (several values, odd characters) is marked, and marked rows are
 * always candidates. Lists are one text, each member between line feeds, so that parts of it can be looked for.
 */
import { orderDate, UNSURE_DATE } from '#shared/archive/query.ts';
import { parseTime } from '#shared/dicom/date-time.ts';
import type { DicomJson, JsonElement, PersonName } from '#shared/dicom/dicom-json-model.ts';
import { trim } from '#shared/dicom/match-condition.ts';
import { nameGroups } from '#shared/dicom/person-name.ts';

/** Stands for "look at the attribute itself"; no value of the VRs here can be a backslash (PS3.5 §6.2). Sorts after all dates. */
export const LOOK = UNSURE_DATE;

/** Between the members of a list, and at both ends. */
export const EDGE = '\n';

export interface LookupColumns {
  /** As orderDate gives it; LOOK is its UNSURE_DATE. */
  readonly studyDate: string;
  readonly patientId: string;
  readonly accession: string;
  /** The normalised component groups of the patient's names. */
  readonly names: string;
  readonly modalities: string;
  readonly sopClasses: string;
}

export function lookupColumns(
  study: DicomJson,
  modalities: readonly string[],
  sopClassUids: readonly string[],
): LookupColumns {
  return {
    studyDate: orderDate(study['00080020']),
    patientId: plainText(study['00100020']),
    accession: plainText(study['00080050']),
    names: namesText(study['00100010']),
    modalities: listOf(modalities),
    sopClasses: listOf(sopClassUids),
  };
}

/** A single value as matching compares it: without spaces around it. */
export function plainText(element: JsonElement | undefined): string {
  const values = (element?.Value ?? []).filter((value) => value !== null);
  const [value] = values;
  if (value === undefined) return '';
  if (values.length > 1 || typeof value !== 'string') return LOOK;
  const text = trim(value);
  return text.includes('\0') ? LOOK : text;
}

/** The normalised component groups of all names, as a list. */
export function namesText(element: JsonElement | undefined): string {
  return listOf((element?.Value ?? []).flatMap(groupsOf));
}

function groupsOf(value: NonNullable<JsonElement['Value']>[number]): string[] {
  return typeof value === 'string' || (typeof value === 'object' && value !== null)
    ? nameGroups(value as PersonName | string)
    : [];
}

/** Empty for no members. */
export function listOf(members: readonly string[]): string {
  if (members.length === 0) return '';
  return `${EDGE}${[...new Set(members.map((member) => member.replaceAll(EDGE, ' ')))].join(EDGE)}${EDGE}`;
}

export const membersOf = (list: string): string[] => (list === '' ? [] : list.slice(1, -1).split(EDGE));

/** `HHMMSS.ffffff`, as matching compares it. */
export function timeText(element: JsonElement | undefined): string {
  const text = plainText(element);
  return text === LOOK ? LOOK : (parseTime(text)?.from ?? '');
}
