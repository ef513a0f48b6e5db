/**
 * A search over the index, as QIDO-RS (PS3.18 §10.6) and C-FIND (PS3.4 §C.4.1) both mean it: keys to match at a level, a page;
 * which keys a level allows; and what a match consists of. Every index searches by these functions and compileMatch alone.
 */
import { parseDate } from '../dicom/date-time.ts';
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { trim } from '../dicom/match-condition.ts';
import type { MatchKey } from '../dicom/matching.ts';
import { tagKey } from '../dicom/tags.ts';
import { ArchiveError } from '../errors.ts';
import type { InstanceAvailability } from './availability.ts';
import { attributesOf, indexedAttributes, type Level, type SeriesRecord, type StudyRecord } from './records.ts';

export interface Query {
  readonly level: Level;
  /** All must match (PS3.4 §C.2.2.2). Keys of a higher level than `level` are allowed (relational), of a lower one only ModalitiesInStudy and SOPClassesInStudy. */
  readonly keys: readonly MatchKey[];
  /** At least 1. */
  readonly limit: number;
  /** From 0; behind `after`, where that is given. */
  readonly offset: number;
  /** Only what stands behind it. Who reads on from the last match that he has misses nothing and sees nothing twice, whatever is stored meanwhile. */
  readonly after?: Place;
}

/** Where a match stands in the order of its level (ArchiveIndex.search), also when it is no longer there. */
export interface Place {
  /** Of a study, what studies are ordered by: as orderDate gives it. '' at the other levels. */
  readonly date: string;
  /** Of the study, its series, its instance, as far down as the level is. */
  readonly uids: readonly string[];
}

export interface SearchPage {
  /** For each match the indexed attributes of its level and all levels above, and the derived ones (0008,0061), (0008,0062), (0020,1206), (0020,1208), (0020,1209). */
  readonly matches: readonly DicomJson[];
  /** Whether more would match behind this page. */
  readonly more: boolean;
  /** How many would, where that is cheap to know. */
  readonly remaining?: number;
  /** What could not be asked, so that matches may be missing: a sentence for whoever searches. Absent: nothing is missing. */
  readonly incomplete?: string;
}

const levels: readonly Level[] = ['study', 'series', 'instance'];
const uidKeys = ['0020000D', '0020000E', '00080018'] as const;

/** Before all dates in the order: several of them, or what has to be looked at. */
export const UNSURE_DATE = '\\';

/** What a Study Date is ordered by: `YYYYMMDD`, UNSURE_DATE, or '' for none that is a date. */
export function orderDate(element: JsonElement | undefined): string {
  const values = (element?.Value ?? []).filter((value) => value !== null);
  const [value] = values;
  if (value === undefined) return '';
  if (values.length > 1 || typeof value !== 'string' || trim(value).includes('\0')) return UNSURE_DATE;
  return parseDate(trim(value))?.from ?? '';
}

/** Where what a search has found stands. */
export function placeOf(level: Level, match: DicomJson): Place {
  return {
    date: level === 'study' ? orderDate(match['00080020']) : '',
    uids: uidKeys.slice(0, levels.indexOf(level) + 1).map((key) => String(match[key]?.Value?.[0] ?? '')),
  };
}

/** Attributes that no instance has of itself: the index derives them (PS3.4 §C.3.4). */
const derivedAttributes: readonly { readonly tag: number; readonly level: Level }[] = [
  { tag: 0x00080061, level: 'study' },
  { tag: 0x00080062, level: 'study' },
  { tag: 0x00201206, level: 'study' },
  { tag: 0x00201208, level: 'study' },
  { tag: 0x00201209, level: 'series' },
];

const levelOfTag: ReadonlyMap<number, Level> = new Map(
  [...indexedAttributes, ...derivedAttributes].map(({ tag, level }) => [tag, level]),
);

/** The keys of a query by the level whose records decide them; universal ones are left out, since everything meets them. */
export type KeysByLevel = Readonly<Record<Level, readonly MatchKey[]>>;

/**
 * Checks a query and sorts its keys by level. Error `bad-request`: limit, offset or `after` that cannot be, or a key (other than a
 * universal one) for an attribute that is not indexed or is of a lower level than the one searched.
 */
export function checkQuery(query: Query): KeysByLevel {
  const { level, keys, limit, offset, after } = query;
  if (after !== undefined && after.uids.length !== levels.indexOf(level) + 1) {
    throw new ArchiveError('bad-request', `A search cannot go on behind something that is not of the ${level} level.`);
  }
  if (!Number.isSafeInteger(limit) || limit < 1 || !Number.isSafeInteger(offset) || offset < 0) {
    throw new ArchiveError('bad-request', 'A search needs a limit of at least 1 and an offset of at least 0.');
  }
  const sorted: Record<Level, MatchKey[]> = { study: [], series: [], instance: [] };
  for (const key of keys) {
    if (key.condition.kind === 'universal') continue;
    const own = levelOfTag.get(key.path[0] ?? 0);
    if (own === undefined || levels.indexOf(own) > levels.indexOf(level)) {
      const attribute = key.path.map(tagKey).join('.');
      throw new ArchiveError('bad-request', `The attribute ${attribute} cannot be matched at the ${level} level.`, {
        attribute,
        level,
      });
    }
    sorted[own].push(key);
  }
  return sorted;
}

/** What a study answers with, beside its own attributes the derived ones; unordered (see inOrder), without its availability. */
export function studyMatch(study: StudyRecord): DicomJson {
  return {
    ...study.attributes,
    '0020000D': { vr: 'UI', Value: [study.studyInstanceUid] },
    '00080061': valuesOf('CS', study.modalities),
    '00080062': valuesOf('UI', study.sopClassUids),
    '00201206': { vr: 'IS', Value: [study.seriesCount] },
    '00201208': { vr: 'IS', Value: [study.instanceCount] },
  };
}

/** The same for a series; `study` is what studyMatch made of the study above it. */
export function seriesMatch(study: DicomJson, series: SeriesRecord): DicomJson {
  return {
    ...study,
    ...series.attributes,
    '0020000E': { vr: 'UI', Value: [series.seriesInstanceUid] },
    '00201209': { vr: 'IS', Value: [series.instanceCount] },
  };
}

/** The same for an instance. Of study and series it has what their records say, so that all levels agree with each other. */
export function instanceMatch(
  series: DicomJson,
  instance: {
    readonly sopInstanceUid: string;
    readonly sopClassUid: string;
    readonly transferSyntaxUid: string;
    readonly attributes: DicomJson;
  },
): DicomJson {
  return {
    ...series,
    ...attributesOf('instance', instance.attributes),
    '00080016': { vr: 'UI', Value: [instance.sopClassUid] },
    '00080018': { vr: 'UI', Value: [instance.sopInstanceUid] },
    '00083002': { vr: 'UI', Value: [instance.transferSyntaxUid] },
  };
}

/** How soon it can be had: asked for what a page shows alone, since no key matches it. */
export function withAvailability(match: DicomJson, availability: InstanceAvailability): DicomJson {
  return { ...match, '00080056': { vr: 'CS', Value: [availability] } };
}

/** The same attributes in ascending order of their tags, as the DICOM JSON Model has them (PS3.18 §F.2.2). */
export function inOrder(attributes: DicomJson): DicomJson {
  const ordered: DicomJson = {};
  for (const key of Object.keys(attributes).sort()) ordered[key] = attributes[key]!;
  return ordered;
}

const valuesOf = (vr: 'CS' | 'UI', values: readonly string[]): JsonElement =>
  values.length === 0 ? { vr } : { vr, Value: [...values] };
