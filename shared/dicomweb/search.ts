/**
 * Search Transaction (QIDO-RS), PS3.18 §10.6: studies, series and instances with the required return attributes of
 * Tables 10.6.3-3 to 10.6.3-5. Stored attributes come from the index; availability and retrieve URLs are added here.
 */
import type { Archive } from '../archive/ports.ts';
import type { Level, SeriesRef, StudyRef } from '../archive/records.ts';
import { dicomJsonText } from '../dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { combineDateTime, type MatchKey, matchKey } from '../dicom/matching.ts';
import { dictionaryVr, tagKey } from '../dicom/tags.ts';
import { acceptOf, negotiate } from './accept.ts';
import { chooseCoding, encodeBody } from './content-coding.ts';
import type { Context } from './context.ts';
import { malformedReference, refPath } from './references.ts';
import { type PageLimits, parseSearch, type SearchParameters } from './search-parameters.ts';

/** Across studies a client pages; within one study clients expect everything at once, so the bound is only a guard. */
const acrossStudies: PageLimits = { defaultLimit: 100, maximumLimit: 1000 };
const withinStudy: PageLimits = { defaultLimit: 10_000, maximumLimit: 10_000 };

/** Required and customary return attributes. `always`: present even without a value, as attributes of type 2 are. */
const returned: Readonly<Record<Level, { always: readonly number[]; whenKnown: readonly number[] }>> = {
  study: {
    always: [
      0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00080090, 0x00100010, 0x00100020, 0x00100030, 0x00100040,
      0x0020000d, 0x00200010, 0x00201206, 0x00201208,
    ],
    whenKnown: [0x00080056, 0x00080201, 0x00081030],
  },
  series: {
    always: [0x00080060, 0x0020000e, 0x00200011, 0x00201209],
    whenKnown: [0x00080056, 0x00080201, 0x0008103e, 0x00400244, 0x00400245, 0x00400275],
  },
  instance: {
    always: [0x00080016, 0x00080018, 0x00200013],
    whenKnown: [0x00080056, 0x00080201, 0x00083002, 0x00280008, 0x00280010, 0x00280011, 0x00280100],
  },
};

/** A page of a study list; below it compressing costs more than it saves. */
const smallestCompressedLength = 16 * 1024;

const levels: readonly Level[] = ['study', 'series', 'instance'];

export interface SearchTarget {
  readonly level: Level;
  readonly within: StudyRef | SeriesRef | undefined;
}

/** 200 with a JSON array, empty when nothing matches. Errors: `bad-request`, `not-acceptable`. */
export async function search(archive: Archive, context: Context, target: SearchTarget): Promise<Response> {
  const { value: contentType } = negotiate(acceptOf(context.request, context.query), [
    { type: 'application/dicom+json', form: 'single', value: 'application/dicom+json' },
    { type: 'application/json', form: 'single', value: 'application/json' },
  ]);
  const parameters = parseSearch(context.query, target.level, target.within ? withinStudy : acrossStudies);
  // A range of dates with one of times is one range of moments (PS3.4 §C.2.2.2.5).
  const keys = combineDateTime([...scopeKeys(target.within), ...parameters.keys]);
  const headers = new Headers({ 'content-type': contentType });
  for (const text of parameters.warnings) addWarning(headers, context.baseUrl, text);
  if (parameters.limit === 0) return new Response('[]', { headers });
  const { level } = target;
  const { limit, offset } = parameters;
  const page = await archive.index.search(context.tenant, { level, keys, limit, offset });
  const malformed = target.within && malformedReference(target.within);
  if (malformed !== undefined && page.matches.length === 0) throw malformed;
  if (page.more) addWarning(headers, context.baseUrl, 'There are additional results that can be requested');
  if (page.incomplete !== undefined) addWarning(headers, context.baseUrl, page.incomplete);
  const answers = page.matches.map((match) => answer(match, target, parameters, context.baseUrl));
  const text = `[${answers.map(dicomJsonText).join(',')}]`;
  const coding =
    text.length < smallestCompressedLength ? undefined : chooseCoding(context.request.headers.get('accept-encoding'));
  if (coding === undefined) return new Response(text, { headers });
  headers.set('content-encoding', coding);
  return new Response(encodeBody(new Blob([text]).stream(), coding), { headers });
}

/** Warning 299 (RFC 7234 §5.5); the agent is the service's own URL. A header field holds ASCII only. */
export function addWarning(headers: Headers, baseUrl: string, text: string): void {
  const quotable = text.replaceAll('"', "'").replaceAll(/[^ -~]/g, '?');
  headers.append('warning', `299 ${baseUrl}: "${quotable}"`);
}

function scopeKeys(within: StudyRef | SeriesRef | undefined): MatchKey[] {
  if (within === undefined) return [];
  const study = matchKey([0x0020000d], 'UI', within.studyInstanceUid);
  return 'seriesInstanceUid' in within ? [study, matchKey([0x0020000e], 'UI', within.seriesInstanceUid)] : [study];
}

function answer(match: DicomJson, target: SearchTarget, parameters: SearchParameters, baseUrl: string): DicomJson {
  const found: DicomJson = parameters.includeAll ? { ...match } : {};
  for (const level of answeredLevels(target)) {
    for (const tag of returned[level].always) copy(match, found, tag, true);
    for (const tag of returned[level].whenKnown) copy(match, found, tag, false);
  }
  // A client that goes on to retrieve needs the whole reference, whatever it searched within.
  for (const tag of [0x0020000d, 0x0020000e]) copy(match, found, tag, false);
  for (const tag of parameters.included) copy(match, found, tag, false);
  found['00080005'] = { vr: 'CS', Value: ['ISO_IR 192'] };
  found['00081190'] = { vr: 'UR', Value: [retrieveUrl(match, target.level, baseUrl)] };
  return found;
}

/** The level itself and, for relational queries, those above it that the path does not fix (PS3.18 §10.6.3.3). */
function answeredLevels({ level, within }: SearchTarget): readonly Level[] {
  const fixed = within === undefined ? 0 : 'seriesInstanceUid' in within ? 2 : 1;
  return levels.slice(Math.min(fixed, levels.indexOf(level)), levels.indexOf(level) + 1);
}

function copy(from: DicomJson, to: DicomJson, tag: number, evenIfEmpty: boolean): void {
  const key = tagKey(tag);
  const element = from[key];
  if (element !== undefined) to[key] = element;
  else if (evenIfEmpty) to[key] = { vr: dictionaryVr(tag) ?? 'UN' };
}

function retrieveUrl(match: DicomJson, level: Level, baseUrl: string): string {
  const studyInstanceUid = uidOf(match['0020000D']);
  if (level === 'study') return `${baseUrl}/${refPath({ studyInstanceUid })}`;
  const series = { studyInstanceUid, seriesInstanceUid: uidOf(match['0020000E']) };
  if (level === 'series') return `${baseUrl}/${refPath(series)}`;
  return `${baseUrl}/${refPath({ ...series, sopInstanceUid: uidOf(match['00080018']) })}`;
}

const uidOf = (element: JsonElement | undefined): string => String(element?.Value?.[0] ?? '');
