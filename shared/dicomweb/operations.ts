/**
 * What each resource of the table of routes takes and answers, in words and media types: parameters, bodies, statuses. From here and from
 * the table come the capabilities (PS3.18 §8.9) and the OpenAPI document; tests hold what is said here against what is answered.
 */
import { indexedAttributes, type Level } from '../archive/records.ts';
import { knownTransferSyntaxes } from '../dicom/transfer-syntax.ts';
import type { Answer, Content, Operation, Parameter } from './operation.ts';
import {
  accept,
  ifNoneMatch,
  ifRange,
  mprParameters,
  query,
  range,
  renderParameters,
  treatmentParameters,
  uriParameters,
  viewport,
  volumeParameters,
} from './operation-parameters.ts';
import type { Method, Resource, Route } from './routes.ts';

/** How deep into the hierarchy a path goes. */
export type Depth = 'all' | 'study' | 'series' | 'instance' | 'frames';

export const depthOf = ({ path }: Route): Depth =>
  (['frames', 'instance', 'series', 'study'] as const).find((name) => path.includes(`{${name}}`)) ?? 'all';

const isOfImage = (route: Route): boolean => ['instance', 'frames'].includes(depthOf(route));

/** What a search path finds: its last word. */
export const levelOf = ({ path }: Route): Level =>
  path.endsWith('/studies') ? 'study' : path.endsWith('/series') ? 'series' : 'instance';

/** A function of what exists at a path; undefined where the route does not have the method. */
export function operationOf(route: Route, method: Method): Operation | undefined {
  const kind = route[method];
  return kind && describe[kind](route);
}

export const related = (type: string): string => `multipart/related; type="${type}"`;

const dicomJson = 'application/dicom+json';
const dicomXml = related('application/dicom+xml');
const octetStream = 'application/octet-stream';

/** (0008,0061) and (0008,0062): derived, so that they are no indexed attributes of their own. */
const derivedKeys = [
  { tag: 0x00080061, keyword: 'ModalitiesInStudy', vr: 'CS', level: 'study' },
  { tag: 0x00080062, keyword: 'SOPClassesInStudy', vr: 'UI', level: 'study' },
] as const;

const levels: readonly Level[] = ['study', 'series', 'instance'];

/** The attributes that a search at this level matches; sequences are matched by paths through them. */
export const searchableAt = (level: Level): readonly { tag: number; keyword: string; vr: string; level: Level }[] =>
  [...indexedAttributes, ...derivedKeys].filter((one) => levels.indexOf(one.level) <= levels.indexOf(level));

const searchParameters: readonly Parameter[] = [
  query('limit', 'Results to return at most.', { type: 'integer', minimum: 0 }, 100),
  query('offset', 'Results to skip.', { type: 'integer', minimum: 0 }, 0),
  query(
    'includefield',
    'Attributes to return beside the usual ones: keywords or tags, repeated or with commas, or `all`.',
    { type: 'string' },
    'StudyDescription,00081060',
  ),
  query(
    'fuzzymatching',
    'Whether names match by their words in any order, as they begin or as they sound.',
    { type: 'boolean' },
    false,
  ),
  accept,
];

/** In which retrieving can fail: what is asked for, what is there, what the archive can do now. */
const retrieveProblems = [400, 404, 406, 410, 500, 503];
/** Decoding and encoding pixels may take too long. */
const pixelProblems = [...retrieveProblems, 504];
const unchanged: Answer = { description: 'The client holds it already.', content: {}, headers: ['ETag'] };
const asDataSets = { [dicomJson]: 'data-sets', 'application/json': 'data-sets', [dicomXml]: 'bytes' } as const;
const asBytes = (...types: readonly string[]): Record<string, Content> =>
  Object.fromEntries(types.map((type) => [type, 'bytes']));

const asStored = {
  [dicomJson]: 'store-response',
  'application/json': 'store-response',
  'application/dicom+xml': 'text',
  [dicomXml]: 'bytes',
} as const;
const pictures = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];
const asPictures = asBytes(...pictures);
const renderedTypes = [
  ...pictures,
  'video/mpeg',
  'video/mp4',
  'text/html',
  'text/plain',
  'application/pdf',
  'text/xml',
];
const asRendered = asBytes(...renderedTypes, ...renderedTypes.map(related));
const dicomdir = query(
  'dicomdir',
  'Whether a ZIP file is a DICOM file-set with a DICOMDIR (PS3.10).',
  { type: 'boolean' },
  true,
);

/** Pixel Data under the names of their codecs. */
const frameTypes: readonly string[] = [
  octetStream,
  ...new Set(knownTransferSyntaxes.map(({ mediaType }) => mediaType).filter((type) => type !== octetStream)),
];

const ofIts: Readonly<Record<Depth, string>> = {
  all: '',
  study: ' of a study',
  series: ' of a series',
  instance: ' of an instance',
  frames: ' of frames',
};
const plural: Readonly<Record<Level, string>> = { study: 'studies', series: 'series', instance: 'instances' };
const capital = (word: string): string => word.slice(0, 1).toUpperCase() + word.slice(1);
const idOf = (verb: string, depth: Depth): string => (depth === 'all' ? verb : `${verb}Of${capital(depth)}`);

const describe: { readonly [Kind in Resource['kind']]: (route: Route) => Operation } = {
  capabilities: () => ({
    id: 'capabilities',
    group: 'Capabilities',
    summary: 'What this service does, as WADL or as an OpenAPI document',
    clause: '§8.9',
    parameters: [accept],
    answers: {
      200: {
        description: 'The resources with their methods, parameters and media types.',
        content: { 'application/vnd.sun.wadl+xml': 'text', 'application/json': 'text' },
      },
    },
    problems: [406],
  }),
  openapi: () => ({
    id: 'openapi',
    group: 'Capabilities',
    summary: 'This OpenAPI document',
    clause: '§8.9',
    parameters: [],
    answers: { 200: { description: 'OpenAPI 3.1.', content: { 'application/json': 'text' } } },
    problems: [406],
  }),
  search: (route) => {
    const depth = depthOf(route);
    const level = levelOf(route);
    return {
      id: idOf(`search${capital(plural[level])}`, depth),
      group: 'Search',
      summary: `Search for ${plural[level]}${ofIts[depth]}`,
      clause: '§10.6',
      parameters: searchParameters,
      answers: {
        200: {
          description: 'The matches; an empty array when nothing matches. Warning says what was left undone.',
          content: asDataSets,
          headers: ['Warning', 'Content-Encoding'],
        },
        204: { description: 'Nothing matches, and XML was asked for.', content: {}, headers: ['Warning'] },
      },
      problems: [400, 406, 413, 500, 503],
    };
  },
  store: (route) => ({
    id: idOf('store', depthOf(route)),
    group: 'Store',
    summary: depthOf(route) === 'all' ? 'Store instances' : 'Store instances of one study',
    clause: '§10.5',
    parameters: [accept],
    body: [
      related('application/dicom'),
      'application/dicom',
      related('application/dicom+json'),
      dicomJson,
      dicomXml,
      'application/dicom+xml',
    ],
    answers: {
      200: { description: 'Every instance is stored, now or before.', content: asStored, headers: ['Warning'] },
      202: { description: 'Some are, or with warnings.', content: asStored, headers: ['Warning'] },
      409: { description: 'None is; each says why.', content: asStored, headers: ['Warning'] },
    },
    problems: [400, 413, 415, 500, 503],
  }),
  instances: (route) => {
    const depth = depthOf(route);
    const single = depth === 'instance' ? ['application/dicom'] : [];
    return {
      id: idOf('retrieve', depth),
      group: 'Retrieve',
      summary: `Retrieve ${depth === 'instance' ? 'an instance' : `the instances${ofIts[depth]}`}`,
      clause: '§10.4',
      parameters: [accept, dicomdir, ifNoneMatch, range, ifRange],
      answers: {
        200: {
          description: 'Part 10 files.',
          content: asBytes(related('application/dicom'), ...single, 'application/zip'),
          headers: ['ETag', 'Content-Location', 'Accept-Ranges', 'Content-Disposition'],
        },
        206: {
          description: 'A range of one file; or, with a Warning, those of several instances that can be had now.',
          content: asBytes(related('application/dicom'), ...single, 'application/zip'),
          headers: ['Content-Range', 'Warning'],
        },
        304: unchanged,
      },
      problems: [...pixelProblems, 416],
    };
  },
  erase: (route) => ({
    id: idOf('delete', depthOf(route)),
    group: 'Delete',
    summary: `Delete ${depthOf(route) === 'instance' ? 'an instance' : `a ${depthOf(route)}`}`,
    clause: 'an extension',
    parameters: [],
    answers: { 204: { description: 'It is deleted, now or before.', content: {} } },
    problems: [400, 404, 500, 503],
  }),
  metadata: (route) => ({
    id: idOf('metadata', depthOf(route)),
    group: 'Retrieve',
    summary: `Retrieve the metadata${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, ifNoneMatch],
    answers: {
      200: {
        description: 'Data sets without bulk data, which BulkDataURI names.',
        content: {
          ...asDataSets,
          ...(depthOf(route) === 'instance' ? { 'application/dicom+xml': 'text' as const } : {}),
        },
        headers: ['ETag', 'Content-Encoding'],
      },
      304: unchanged,
    },
    problems: retrieveProblems,
  }),
  bulkdata: () => ({
    id: 'bulkdata',
    group: 'Retrieve',
    summary: 'Retrieve one value that metadata name by BulkDataURI',
    clause: '§10.4',
    parameters: [accept, ifNoneMatch, range, ifRange],
    answers: {
      200: {
        description: 'The value, little endian.',
        content: asBytes(octetStream, related(octetStream), 'application/pdf'),
        headers: ['ETag', 'Content-Location', 'Accept-Ranges'],
      },
      206: {
        description: 'A range of it.',
        content: asBytes(octetStream, 'application/pdf'),
        headers: ['Content-Range'],
      },
      304: unchanged,
    },
    problems: [...retrieveProblems, 416],
  }),
  'all-bulkdata': (route) => ({
    id: idOf('allBulkdata', depthOf(route)),
    group: 'Retrieve',
    summary: `Retrieve all bulk data${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, ifNoneMatch],
    answers: {
      200: {
        description: 'A part for each value, under its BulkDataURI; compressed Pixel Data frame by frame.',
        content: asBytes(related(octetStream)),
        headers: ['ETag'],
      },
      206: {
        description: 'Those of the instances that can be had now.',
        content: asBytes(related(octetStream)),
        headers: ['Warning'],
      },
      304: unchanged,
    },
    problems: retrieveProblems,
  }),
  pixeldata: (route) => ({
    id: idOf('pixeldata', depthOf(route)),
    group: 'Retrieve',
    summary: `Retrieve all frames${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, ifNoneMatch],
    answers: {
      200: {
        description: 'A part for each frame, native or compressed, as negotiated.',
        content: asBytes(...frameTypes.map(related)),
        headers: ['ETag'],
      },
      206: {
        description: 'Those that can be had now, and as they are asked for.',
        content: asBytes(...frameTypes.map(related)),
        headers: ['Warning'],
      },
      304: unchanged,
    },
    problems: pixelProblems,
  }),
  frames: () => ({
    id: 'frames',
    group: 'Retrieve',
    summary: 'Retrieve frames',
    clause: '§10.4',
    parameters: [accept, ifNoneMatch],
    answers: {
      200: {
        description: 'Pixel Data of the frames, a part for each; one frame also as a single part.',
        content: asBytes(...frameTypes.map(related), ...frameTypes),
        headers: ['ETag', 'Content-Location'],
      },
      304: unchanged,
    },
    problems: pixelProblems,
  }),
  rendered: (route) => ({
    id: idOf('rendered', depthOf(route)),
    group: 'Render',
    summary: `Retrieve pictures, text or documents${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, ...renderParameters, ...(isOfImage(route) ? treatmentParameters : []), ifNoneMatch],
    answers: {
      200: { description: 'What it looks like or says.', content: asRendered, headers: ['ETag', 'Warning'] },
      206: { description: 'A range of a document; or what of several can be had now.', content: asRendered },
      304: unchanged,
    },
    problems: [...pixelProblems, 416],
  }),
  'wado-uri': () => ({
    id: 'wadoUri',
    group: 'Render',
    summary: 'Retrieve one instance by query parameters (WADO-URI)',
    clause: '§9',
    parameters: [...uriParameters, ifNoneMatch],
    answers: {
      200: {
        description: 'It, as asked for.',
        content: asBytes(...renderedTypes, 'application/dicom'),
        headers: ['ETag', 'Warning'],
      },
      206: { description: 'A range of it.', content: asBytes(...renderedTypes, 'application/dicom') },
      304: unchanged,
    },
    problems: [...pixelProblems, 416],
  }),
  thumbnail: (route) => ({
    id: idOf('thumbnail', depthOf(route)),
    group: 'Render',
    summary: `Retrieve a small picture${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, viewport, ifNoneMatch],
    answers: { 200: { description: 'A picture.', content: asPictures, headers: ['ETag'] }, 304: unchanged },
    problems: pixelProblems,
  }),
  renderedmpr: (route) =>
    volumeOperation('renderedMpr', 'Retrieve planes and slabs through the volume', mprParameters, route),
  rendered3d: (route) =>
    volumeOperation('rendered3d', 'Retrieve projections of the whole volume', volumeParameters, route),
};

function volumeOperation(verb: string, what: string, parameters: readonly Parameter[], route: Route): Operation {
  return {
    id: idOf(verb, depthOf(route)),
    group: 'Render',
    summary: `${what}${ofIts[depthOf(route)]}`,
    clause: '§10.4',
    parameters: [accept, ...parameters, ...renderParameters, ifNoneMatch],
    answers: {
      200: {
        description: 'A picture; an animation or its pictures; or in words what would be rendered.',
        content: {
          ...asPictures,
          ...asBytes(...pictures.map(related)),
          [dicomJson]: 'text',
          'application/json': 'text',
        },
        headers: ['ETag', 'Warning', 'Content-Location'],
      },
      304: unchanged,
    },
    problems: [...pixelProblems, 413],
  };
}
