/**
 * What a C-FIND identifier asks for (PS3.4 §C.2.2, §C.4.1.2): which keys match, which attributes come back, which are not
 * supported. Lenient: unique keys of higher levels may be missing or stand beside others, as in a relational query, and keys of series
 * and instances are taken for their sums at the level of studies. Matching itself is matching.ts.
 */
import { indexedAttributes, type Level } from '#shared/archive/records.ts';
import type { Vr } from '#shared/dicom/data-set.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import { combineDateTime, type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { dictionaryVr, Tag, tagKey } from '#shared/dicom/tags.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type Identifier, keyText } from './identifier.ts';
import type { QueryLevel } from './information-model.ts';

export interface FindQuery {
  readonly level: QueryLevel;
  /** Of the index that is searched: patients are looked for among their studies. */
  readonly searched: Level;
  readonly keys: readonly MatchKey[];
  /** Supported attributes that were asked for, ascending. */
  readonly returned: readonly number[];
  readonly hasUnsupportedKeys: boolean;
}

const searchedLevels: Readonly<Record<QueryLevel, Level>> = {
  PATIENT: 'study',
  STUDY: 'study',
  SERIES: 'series',
  IMAGE: 'instance',
};

/** Sums over a patient's studies (PS3.4 §C.3.4): counted when they are asked for. */
export const patientCounts = { studies: 0x00201200, series: 0x00201202, instances: 0x00201204 } as const;

/** What counts as the patient's own of a study's attributes. */
const patientAttributes: ReadonlySet<number> = new Set([
  Tag.PatientName,
  Tag.PatientID,
  0x00100021,
  Tag.PatientBirthDate,
  Tag.PatientSex,
  ...Object.values(patientCounts),
]);

const depths: readonly Level[] = ['study', 'series', 'instance'];

/** Attributes that the answers of a level can have, beside those that every answer has. */
const derived: readonly { readonly tag: number; readonly level: Level }[] = [
  { tag: Tag.ModalitiesInStudy, level: 'study' },
  { tag: Tag.SOPClassesInStudy, level: 'study' },
  { tag: Tag.NumberOfStudyRelatedSeries, level: 'study' },
  { tag: Tag.NumberOfStudyRelatedInstances, level: 'study' },
  { tag: Tag.NumberOfSeriesRelatedInstances, level: 'series' },
  // Available Transfer Syntax UID (0008,3002).
  { tag: 0x00083002, level: 'instance' },
];
const levelOf: ReadonlyMap<number, Level> = new Map(
  [...indexedAttributes, ...derived].map(({ tag, level }) => [tag, level]),
);
/** Returned, but not matched. */
const returnedOnly: ReadonlySet<number> = new Set([0x00083002, ...Object.values(patientCounts)]);

/** Part of every identifier, and no keys. */
const notKeys: ReadonlySet<number> = new Set([
  Tag.SpecificCharacterSet,
  Tag.QueryRetrieveLevel,
  // Query/Retrieve View (0008,0053).
  0x00080053,
  Tag.RetrieveAETitle,
  Tag.InstanceAvailability,
  Tag.TimezoneOffsetFromUTC,
]);

/** A key of one level lower, asked for at the level of studies, means any of them in the study. */
const sumOf: ReadonlyMap<number, number> = new Map([
  [Tag.Modality, Tag.ModalitiesInStudy],
  [Tag.SOPClassUID, Tag.SOPClassesInStudy],
]);

/** Error `bad-request` with the offending element: a value that its key cannot have. */
export function findQueryOf(identifier: Identifier, combinesDateTime: boolean): FindQuery {
  const { level } = identifier;
  const searched = searchedLevels[level];
  const keys: MatchKey[] = [];
  const returned: number[] = [];
  let hasUnsupportedKeys = false;
  for (const [name, element] of Object.entries(identifier.keys)) {
    const tag = Number.parseInt(name, 16);
    if (notKeys.has(tag)) continue;
    if (isSupported(tag, level, searched)) {
      returned.push(tag);
      if (!returnedOnly.has(tag)) keys.push(...keysOf([tag], element));
      continue;
    }
    hasUnsupportedKeys = true;
    const sum = level === 'STUDY' ? sumOf.get(tag) : undefined;
    if (sum !== undefined) keys.push(...keysOf([sum], { ...element, vr: dictionaryVr(sum) ?? element.vr }));
  }
  return {
    level,
    searched,
    keys: combinesDateTime ? combineDateTime(keys) : keys,
    returned: returned.sort((a, b) => a - b),
    hasUnsupportedKeys,
  };
}

function isSupported(tag: number, level: QueryLevel, searched: Level): boolean {
  if (level === 'PATIENT') return patientAttributes.has(tag);
  const own = levelOf.get(tag);
  return own !== undefined && depths.indexOf(own) <= depths.indexOf(searched);
}

/** A sequence's keys are those of its first item; another has no meaning in a query (PS3.4 §C.2.2.2.6). */
function keysOf(path: readonly number[], element: JsonElement): MatchKey[] {
  const tag = path.at(-1) as number;
  const vr = dictionaryVr(tag) ?? element.vr;
  if (vr === 'SQ' || element.vr === 'SQ') {
    const item = element.Value?.[0];
    if (typeof item !== 'object' || item === null) return [];
    return Object.entries(item as DicomJson).flatMap(([name, inner]) =>
      keysOf([...path, Number.parseInt(name, 16)], inner),
    );
  }
  const text = keyText(element);
  return text === '' ? [] : [keyOf(path, vr, text)];
}

function keyOf(path: readonly number[], vr: Vr, text: string): MatchKey {
  try {
    return matchKey(path, vr, text);
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    const key = path.map(tagKey).join('.');
    throw new ArchiveError('bad-request', `the key ${key} has a value that its VR ${vr} cannot have`, {
      offendingElements: [path[0]],
    });
  }
}
