/**
 * The URI service (WADO-URI), PS3.18 chapter 9: one instance, named by query parameters, as DICOM or rendered. Its parameters become those
 * of the other transactions, which answer it. De-identification is refused: silently leaving it out would show more than was asked for.
 */
import type { InstanceRef } from '../archive/records.ts';
import { isUid } from '../dicom/uid.ts';
import { ArchiveError } from '../errors.ts';
import { canDecode } from '../imaging/codecs.ts';
import { type MediaRange, negotiate, type Offer, parseAccept } from './accept.ts';
import type { Context } from './context.ts';
import { goneIfDeleted } from './erase.ts';
import type { RenderOptions } from './pictures.ts';
import {
  charsetWarning,
  decimal,
  isSide,
  parseAnnotation,
  parsePresentation,
  parseQuality,
  type RenderParameters,
  type RequestedViewport,
} from './render-parameters.ts';
import { pictureTypesFor, renderInstance } from './rendered.ts';
import { contentOf, mediaTypesOf } from './renditions.ts';
import { addWarning } from './search.ts';
import { getCurrent, type StoredInstance, storedInstance } from './stored-instances.ts';

const dicom = 'application/dicom';

const known = [
  'requestType',
  'studyUID',
  'seriesUID',
  'objectUID',
  'contentType',
  'charset',
  'anonymize',
  'annotation',
  'rows',
  'columns',
  'region',
  'windowCenter',
  'windowWidth',
  'frameNumber',
  'imageQuality',
  'presentationUID',
  'presentationSeriesUID',
  'transferSyntax',
];

/** Gives the instance itself, as the WADO-RS resource of it would; wado-uri does not know how. */
export type RetrieveInstance = (context: Context, ref: InstanceRef) => Promise<Response>;

/** Errors: `bad-request`, `not-found`, `not-acceptable`, and those of the transaction that answers. */
export async function retrieveByUri(
  options: RenderOptions,
  context: Context,
  retrieveInstance: RetrieveInstance,
): Promise<Response> {
  const query = plainQuery(context.query);
  if (query.get('requestType') !== 'WADO') {
    throw badRequest('The parameter requestType is WADO: /wado?requestType=WADO&studyUID=…&seriesUID=…&objectUID=…');
  }
  const ref = referenceOf(query);
  refuseWhatIsNotApplied(query);
  const ranges = rangesOf(context, query);
  const parameters = parametersOf(query);
  const frameNumber = frameNumberOf(query);
  const { index } = options.archive;
  const record = await getCurrent(index, context.tenant, ref).catch(async (error: unknown) => {
    throw await goneIfDeleted(index, context.tenant, ref, error);
  });
  const instance = storedInstance(record, undefined);
  const chosen = negotiate(ranges, offersOf(instance, ranges)).value;
  if (chosen !== dicom) {
    // Decided already; what is negotiated again must come to the same.
    const range: MediaRange = { type: chosen, form: 'single', transferSyntax: undefined, quality: 1 };
    const frameNumbers = frameNumber === undefined ? undefined : [frameNumber];
    return renderInstance(options, context, { instance, frameNumbers, ranges: [range], parameters });
  }
  const response = await retrieveInstance(asInstanceRequest(context, query), ref);
  for (const text of parameters.warnings) addWarning(response.headers, context.baseUrl, text);
  return response;
}

/** Each parameter once: the first counts. An empty one is none. */
function plainQuery(query: URLSearchParams): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [name, value] of query) if (!values.has(name) && value.trim() !== '') values.set(name, value.trim());
  return values;
}

function referenceOf(query: ReadonlyMap<string, string>): InstanceRef {
  const uid = (name: string): string => {
    const value = query.get(name);
    if (value !== undefined && value.length <= 256) return value;
    throw badRequest(`The parameter ${name} is missing: studyUID, seriesUID and objectUID name the instance.`);
  };
  return { studyInstanceUid: uid('studyUID'), seriesInstanceUid: uid('seriesUID'), sopInstanceUid: uid('objectUID') };
}

function refuseWhatIsNotApplied(query: ReadonlyMap<string, string>): void {
  const anonymize = query.get('anonymize')?.toLowerCase();
  if (anonymize !== undefined && anonymize !== 'yes' && anonymize !== 'no') {
    throw badRequest('The parameter anonymize is yes, or left out.');
  }
  if (anonymize === 'yes') {
    throw new ArchiveError(
      'not-acceptable',
      'Instances are not de-identified here, so nothing is given for anonymize=yes; leave it out, or de-identify what you retrieve.',
    );
  }
}

/** `contentType` where it is given, else the header field Accept; a '+' that URL decoding made a space is put back. */
function rangesOf({ request }: Context, query: ReadonlyMap<string, string>): readonly MediaRange[] {
  const contentType = query.get('contentType')?.replaceAll(/([a-z]) ([a-z])/gi, '$1+$2');
  const ranges = parseAccept(contentType ?? request.headers.get('accept'));
  if (ranges.length === 0) throw badRequest('The parameter contentType is a list of media types, such as image/jpeg.');
  return ranges.map((range) => ({ ...range, transferSyntax: undefined }));
}

function offersOf(instance: StoredInstance, ranges: readonly MediaRange[]): Offer<string>[] {
  const content = contentOf(instance);
  const isPicture = content === 'picture' ? canDecode(instance.transferSyntaxUid) : content === 'presentation';
  const rendered = isPicture ? pictureTypesFor(ranges) : mediaTypesOf(instance);
  return [...rendered, dicom].map((type) => ({ type, form: 'single', value: type }));
}

function parametersOf(query: ReadonlyMap<string, string>): RenderParameters {
  const center = query.get('windowCenter');
  const width = query.get('windowWidth');
  const viewport = viewportOf(query);
  const quality = query.get('imageQuality');
  const annotation = query.get('annotation');
  const charset = query.get('charset');
  const others = [...query.keys()].filter((name) => !known.includes(name) && /^[\w.-]{1,40}$/.test(name)).slice(0, 10);
  return {
    ...((center !== undefined || width !== undefined) && { window: windowOf(center, width) }),
    ...(viewport && { viewport }),
    ...(quality !== undefined && { quality: parseQuality(quality) }),
    ...(annotation !== undefined && { annotation: parseAnnotation(annotation) }),
    ...presentationOf(query),
    warnings: [
      ...(charset === undefined ? [] : charsetWarning(charset)),
      ...(others.length === 0
        ? []
        : [`The following parameters are not supported here and have been ignored: ${others.join(', ')}.`]),
    ],
  };
}

/** §9: a region goes with no presentation state, whose displayed area it would be part of, or of the image: it is not said. */
function presentationOf(query: ReadonlyMap<string, string>): Pick<RenderParameters, 'presentation'> {
  const found = parsePresentation(query.get('presentationUID') ?? null, query.get('presentationSeriesUID') ?? null);
  if (found.presentation !== undefined && query.has('region')) {
    throw badRequest('The parameter region does not go with presentationUID, whose displayed area is shown.');
  }
  return found;
}

/** Both or none; in modality units, LINEAR. */
function windowOf(center: string | undefined, width: string | undefined): NonNullable<RenderParameters['window']> {
  const window = { center: decimal(center), width: decimal(width), function: 'LINEAR' as const };
  if (!Number.isNaN(window.center) && window.width >= 1) return window;
  throw badRequest('windowCenter and windowWidth are decimal numbers, go together, and the width is at least 1.');
}

/** `rows` and `columns` to fit inside; `region` is left,top,right,bottom of the frame, each from 0 to 1. */
function viewportOf(query: ReadonlyMap<string, string>): RequestedViewport | undefined {
  const side = (name: string): number | undefined => {
    const text = query.get(name);
    if (text === undefined) return undefined;
    const value = /^[0-9]{1,5}$/.test(text) ? Number(text) : Number.NaN;
    if (isSide(value)) return value;
    throw badRequest(`The parameter ${name} is a whole number from 1 to 8192.`);
  };
  const height = side('rows');
  const width = side('columns');
  const text = query.get('region');
  if (text === undefined) return height === undefined && width === undefined ? undefined : { width, height };
  const [left = Number.NaN, top = Number.NaN, right = Number.NaN, bottom = Number.NaN, ...more] = text
    .split(',')
    .map((piece) => decimal(piece.trim()));
  const isPart = left >= 0 && top >= 0 && left < right && top < bottom && right <= 1 && bottom <= 1;
  if (!isPart || more.length > 0) {
    throw badRequest(
      'The parameter region is left,top,right,bottom, each from 0 to 1, such as region=0.25,0.25,0.75,0.75.',
    );
  }
  return { width, height, region: { left, top, right, bottom } };
}

function frameNumberOf(query: ReadonlyMap<string, string>): number | undefined {
  const text = query.get('frameNumber');
  if (text === undefined) return undefined;
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text);
  throw badRequest('The parameter frameNumber is a whole number from 1.');
}

/** The same request as one for the instance's own resource, in the transfer syntax asked for. */
function asInstanceRequest(context: Context, query: ReadonlyMap<string, string>): Context {
  const syntax = query.get('transferSyntax');
  if (syntax !== undefined && syntax !== '*' && !isUid(syntax)) {
    throw badRequest('The parameter transferSyntax is the UID of a transfer syntax, or *.');
  }
  const headers = new Headers(context.request.headers);
  // Without one the default, and where that cannot be made, as it is stored: the client has to say nothing to get an instance.
  const otherwise = `${dicom}, ${dicom}; transfer-syntax=*; q=0.5`;
  headers.set('accept', syntax === undefined ? otherwise : `${dicom}; transfer-syntax=${syntax}`);
  const request = new Request(context.request.url, { method: context.request.method, headers });
  return { ...context, request, query: new URLSearchParams() };
}

const badRequest = (message: string): ArchiveError => new ArchiveError('bad-request', message);
