/**
 * Search Transaction (QIDO-RS), PS3.18 §10.6: studies, series and instances with the required return attributes of
 * Tables 10.6.3-3 to 10.6.3-5. Stored attributes come from the index; availability and retrieve URLs are added here.
 */
import type { Archive } from '../archive/ports.ts';
import { placeOf } from '../archive/query.ts';
import type { Level, SeriesRef, StudyRef } from '../archive/records.ts';
import { dicomJsonText } from '../dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '../dicom/dicom-json-model.ts';
import { dicomXml } from '../dicom/dicom-xml.ts';
import { type MatchKey, matchKey } from '../dicom/matching.ts';
import { dictionaryVr, tagKey } from '../dicom/tags.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { streamOf } from './body.ts';
import { chooseCoding, encodeBody } from './content-coding.ts';
import type { Context } from './context.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { malformedReference, refPath } from './references.ts';
import { type PageLimits, parseSearch, type SearchParameters } from './search-parameters.ts';
import { createSearchPlaces, listOf } from './search-places.ts';

/** Across studies a client pages; within one study clients expect everything at once, so the bound is only a guard. */
export const acrossStudies: PageLimits = { defaultLimit: 100, maximumLimit: 1000 };
export const withinStudy: PageLimits = { defaultLimit: 10_000, maximumLimit: 10_000 };

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

export type Search = (context: Context, target: SearchTarget) => Promise<Response>;

/** Remembers where the pages ended that were read: see search-places.ts. */
export function createSearch(archive: Archive): Search {
  const places = createSearchPlaces();
  return async (context, target) => {
    const form = negotiate(acceptOf(context.request, context.query), offers).value;
    const { level, within } = target;
    const parameters = parseSearch(context.query, level, within ? withinStudy : acrossStudies);
    const { limit, offset } = parameters;
    const keys = [...scopeKeys(within), ...parameters.keys];
    const headers = new Headers();
    for (const text of parameters.warnings) addWarning(headers, context.baseUrl, text);
    if (limit === 0) return response(form, [], context, headers);
    const list = listOf(context.request, [context.tenant, level, keys]);
    const query = { level, keys, limit, ...places.pageAt(list, offset) };
    const page = await archive.index.search(context.tenant, query);
    const malformed = within && malformedReference(within);
    if (malformed !== undefined && page.matches.length === 0) throw malformed;
    // Who has a full page asks for the next, also where nothing was behind it yet.
    const isFull = page.matches.length === limit;
    places.remember(list, offset, isFull ? page.matches.map((match) => placeOf(level, match)) : []);
    if (page.more) addWarning(headers, context.baseUrl, moreSentence(page.remaining));
    if (page.incomplete !== undefined) addWarning(headers, context.baseUrl, page.incomplete);
    const answers = page.matches.map((match) => answer(match, target, parameters, context.baseUrl));
    return response(form, answers, context, headers);
  };
}

/** Of a number where it is known, as the standard has it. */
const moreSentence = (remaining: number | undefined): string =>
  `There are ${remaining === undefined ? '' : `${remaining} `}additional results that can be requested`;

type Form = 'application/dicom+json' | 'application/json' | 'xml';

const offers: readonly Offer<Form>[] = [
  { type: 'application/dicom+json', form: 'single', value: 'application/dicom+json' },
  { type: 'application/json', form: 'single', value: 'application/json' },
  { type: 'application/dicom+xml', form: 'multipart', value: 'xml' },
];

/** One array, or a part for each match; a multipart body cannot be without parts, so that of nothing in XML there is no content. */
function response(form: Form, answers: readonly DicomJson[], context: Context, headers: Headers): Response {
  if (form === 'xml') {
    if (answers.length === 0) return new Response(null, { status: 204, headers });
    const { contentType, body } = multipartRelated('application/dicom+xml', xmlParts(answers));
    headers.set('content-type', contentType);
    return encoded(streamOf(body, context.log), context, headers);
  }
  const text = `[${answers.map(dicomJsonText).join(',')}]`;
  headers.set('content-type', form);
  if (text.length < smallestCompressedLength) return new Response(text, { headers });
  return encoded(new Blob([text]).stream(), context, headers);
}

function encoded(body: ReadableStream<Uint8Array>, { request }: Context, headers: Headers): Response {
  const coding = chooseCoding(request.headers.get('accept-encoding'));
  if (coding === undefined) return new Response(body, { headers });
  headers.set('content-encoding', coding);
  return new Response(encodeBody(body, coding), { headers });
}

function* xmlParts(answers: readonly DicomJson[]): Generator<Part> {
  const encoder = new TextEncoder();
  for (const found of answers) {
    yield { headers: { 'Content-Type': 'application/dicom+xml' }, body: encoder.encode(dicomXml(found)) };
  }
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
  // Of a study without any it is left out: OHIF shows no study at all when one of them has it empty.
  if (found['00080061']?.Value === undefined) delete found['00080061'];
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
