/**
 * What leads to a study: items that say a value (a patient ID, a word of a name …) and where among studies the study stands, so that an
 * index has them newest first. A search may find too many studies by them, but never too few: what cannot be said is found by every
 * value (UNSAID). They are never changed. Each attempt to derive a study writes its own, before the study, and names them by
 * the version that it wants to bring about; who has succeeded removes those of versions up to his own.
 */
import { orderDate, UNSURE_DATE } from '#shared/archive/query.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import { nameWords, soundsOf } from '#shared/dicom/fuzzy-name.ts';
import { trim } from '#shared/dicom/match-condition.ts';
import { nameGroups } from '#shared/dicom/person-name.ts';
import { escaped, firstBytes, type ItemKey, LAST, partOf, SEPARATOR, tenantPartition } from './dynamo-keys.ts';

/** What a value is: whole texts, whole component groups of names (normalised), words of them, and how these sound. */
export type LookupKind = 'patient' | 'accession' | 'study' | 'name' | 'word' | 'sound' | 'refWord' | 'refSound';

export const textLookups = [
  { tag: 0x00100020, key: '00100020', kind: 'patient' },
  { tag: 0x00080050, key: '00080050', kind: 'accession' },
  { tag: 0x00200010, key: '00200010', kind: 'study' },
] as const satisfies readonly { tag: number; key: string; kind: LookupKind }[];

export const nameLookups = [
  { tag: 0x00100010, key: '00100010', group: 'name', word: 'word', sound: 'sound' },
  { tag: 0x00080090, key: '00080090', group: undefined, word: 'refWord', sound: 'refSound' },
] as const satisfies readonly {
  tag: number;
  key: string;
  group: LookupKind | undefined;
  word: LookupKind;
  sound: LookupKind;
}[];

export interface Lookup {
  readonly kind: LookupKind;
  /** UNSAID: whatever the value, the study has to be looked at. */
  readonly value: string;
}

export const UNSAID = '';

/** Of one attribute. No study has as many patient IDs; a name as many groups neither. */
const MAXIMUM_VALUES = 32;
/** Of a value, in a key: what is behind is looked at in the study. */
const VALUE_BYTES = 200;

export function lookupsOf(attributes: DicomJson): Lookup[] {
  const texts = textLookups.flatMap(({ key, kind }) => textsOf(attributes[key], kind));
  const names = nameLookups.flatMap(({ key, group, word, sound }) => {
    const groups = (attributes[key]?.Value ?? []).flatMap((value) =>
      typeof value === 'string' || (typeof value === 'object' && value !== null)
        ? nameGroups(value as Parameters<typeof nameGroups>[0])
        : [],
    );
    const { words, isWhole } = nameWords(groups);
    const sounds = words.flatMap(soundsOf);
    return [
      ...(group === undefined ? [] : bounded(group, groups)),
      ...words.map((value): Lookup => ({ kind: word, value })),
      ...sounds.map((value): Lookup => ({ kind: sound, value })),
      ...(isWhole ? [] : [{ kind: word, value: UNSAID }]),
    ];
  });
  return [...new Map([...texts, ...names].map((one) => [`${one.kind}\n${one.value}`, one])).values()];
}

function textsOf(element: JsonElement | undefined, kind: LookupKind): Lookup[] {
  const values = (element?.Value ?? []).filter((value) => value !== null);
  if (values.some((value) => typeof value !== 'string')) return [{ kind, value: UNSAID }];
  return bounded(
    kind,
    (values as string[]).map(trim).filter((value) => value !== ''),
  );
}

const bounded = (kind: LookupKind, values: readonly string[]): Lookup[] =>
  values.length > MAXIMUM_VALUES ? [{ kind, value: UNSAID }] : values.map((value) => ({ kind, value }));

/** As keys have it: the beginning of a long one. */
export const lookupValue = (value: string): string => firstBytes(escaped(value), VALUE_BYTES);
export const isWholeValue = (value: string): boolean => lookupValue(value) === escaped(value);

/** The partition in which values are that begin like this one: UNSAID has its own. */
export function lookupPartition(tenant: string, kind: LookupKind, value: string): string {
  const [first = ''] = lookupValue(value);
  return `${tenant}#${kind}#${first}`;
}

/** All studies of a tenant, by UID. */
export const studyList = (tenant: string): string => `${tenant}#studies`;

/** Its place there: never empty, which no key may be. */
export const listedStudy = (uidPart: string): string => SEPARATOR + uidPart;

/** Where studies stand among each other: newest first, those without a date last, then by UID. */
export const dayOf = (date: string, uidPart: string): string => `${dayPart(date)}${SEPARATOR}${uidPart}`;

/** A date (orderDate) so that later ones sort before earlier ones. */
export function dayPart(date: string): string {
  if (date === '') return UNDATED;
  return date === UNSURE_DATE ? UNSURE : date.replace(/\d/g, (digit) => String(9 - Number(digit)));
}

const UNSURE = '00000000';
const UNDATED = 'zzzzzzzz';

/** A partition's worth of days: a month. Months, too, sort the latest first. */
export const monthOf = (day: string): string => day.slice(0, 6);
export const unsureMonth = monthOf(UNSURE);
export const monthKey = (tenant: string, month: string): ItemKey => ({
  pk: tenantPartition(tenant),
  sk: `MONTH#${month}`,
});
export const monthPartition = (tenant: string, month: string): string => `${tenant}#${month}`;

export const studyDay = (attributes: DicomJson, studyInstanceUid: string): string =>
  dayOf(orderDate(attributes['00080020']), partOf(studyInstanceUid));

const revisionPart = (version: number): string => String(version).padStart(12, '0');

export type LookupItem = ItemKey & { readonly lookup: string; readonly found: string };

/** The items by which one attempt says what leads to a study. */
export function lookupItems(
  tenant: string,
  pk: string,
  attempt: { readonly version: number; readonly writer: string; readonly day: string },
  lookups: readonly Lookup[],
): LookupItem[] {
  return lookups.map(({ kind, value }, i) => ({
    pk,
    sk: `${attemptPrefix(attempt)}${i}`,
    lookup: lookupPartition(tenant, kind, value),
    found: `${lookupValue(value)}${SEPARATOR}${attempt.day}`,
  }));
}

export const attemptPrefix = ({ version, writer }: { readonly version: number; readonly writer: string }): string =>
  `LOOKUP#${revisionPart(version)}#${writer}#`;

/** Those of all attempts at versions up to this one. */
export const lookupsUpTo = (version: number) => ({ from: 'LOOKUP#', to: `LOOKUP#${revisionPart(version)}#${LAST}` });
