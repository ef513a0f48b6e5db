/**
 * The resources of PS3.18 that this service has: ONE table of paths (§10.4 to §10.6), what each method means there, and the part of
 * the service that answers it. Requests are parsed by it; Allow, capabilities and the OpenAPI document are made from it. Knows no handlers.
 */
import type { InstanceRef, Level, SeriesRef, StudyRef } from '../archive/records.ts';

import { ArchiveError } from '../errors.ts';
import { mountPath } from './base-url.ts';
import type { AnyRef } from './references.ts';

/** The parts a deployment may mount on their own. */
export type ServicePart = 'search' | 'retrieve' | 'render' | 'volume' | 'store' | 'erase';

export type Resource =
  /** The root of the service, and its OpenAPI document. */
  | { readonly kind: 'capabilities' | 'openapi' }
  | { readonly kind: 'search'; readonly level: Level; readonly within: StudyRef | SeriesRef | undefined }
  | { readonly kind: 'instances'; readonly ref: AnyRef }
  | { readonly kind: 'store'; readonly within: StudyRef | undefined }
  | { readonly kind: 'erase'; readonly ref: AnyRef }
  | { readonly kind: 'metadata'; readonly ref: AnyRef }
  | { readonly kind: 'bulkdata'; readonly ref: InstanceRef; readonly path: string }
  | { readonly kind: 'all-bulkdata'; readonly ref: AnyRef }
  | { readonly kind: 'pixeldata'; readonly ref: AnyRef }
  | { readonly kind: 'frames'; readonly ref: InstanceRef; readonly frameNumbers: readonly number[] }
  | { readonly kind: 'wado-uri' }
  | PictureResource
  | VolumeResource;

export interface PictureResource {
  readonly kind: 'rendered' | 'thumbnail';
  readonly ref: AnyRef;
  /** Undefined: the resource as a whole. */
  readonly frameNumbers: readonly number[] | undefined;
}

export interface VolumeResource {
  readonly kind: 'renderedmpr' | 'rendered3d';
  readonly ref: AnyRef;
}

const partOf: Readonly<Record<Resource['kind'], ServicePart>> = {
  capabilities: 'search',
  openapi: 'search',
  search: 'search',
  instances: 'retrieve',
  store: 'store',
  erase: 'erase',
  metadata: 'retrieve',
  bulkdata: 'retrieve',
  'all-bulkdata': 'retrieve',
  pixeldata: 'retrieve',
  frames: 'retrieve',
  rendered: 'render',
  'wado-uri': 'render',
  thumbnail: 'render',
  renderedmpr: 'volume',
  rendered3d: 'volume',
};

/** In the order in which Allow names them. HEAD is answered wherever GET is, OPTIONS everywhere. */
const methodNames = ['GET', 'POST', 'DELETE'] as const;
export type Method = (typeof methodNames)[number];

/** A path and what each method acts on there. */
export type Route = { readonly path: string } & { readonly [M in Method]?: Resource['kind'] };

const study = '/studies/{study}';
const series = `${study}/series/{series}`;
const instance = `${series}/instances/{instance}`;
const frames = `${instance}/frames/{frames}`;

/** Below the mount path. `{name}` is one segment, `{+name}` at the end is one or more of them. */
export const routes: readonly Route[] = [
  { path: '/', GET: 'capabilities' },
  { path: '/openapi.json', GET: 'openapi' },
  { path: '/studies', GET: 'search', POST: 'store' },
  { path: '/series', GET: 'search' },
  { path: '/instances', GET: 'search' },
  { path: `${study}/series`, GET: 'search' },
  { path: `${study}/instances`, GET: 'search' },
  { path: `${series}/instances`, GET: 'search' },
  { path: study, GET: 'instances', POST: 'store', DELETE: 'erase' },
  { path: series, GET: 'instances', DELETE: 'erase' },
  { path: instance, GET: 'instances', DELETE: 'erase' },
  { path: `${study}/metadata`, GET: 'metadata' },
  { path: `${series}/metadata`, GET: 'metadata' },
  { path: `${instance}/metadata`, GET: 'metadata' },
  { path: `${study}/bulkdata`, GET: 'all-bulkdata' },
  { path: `${series}/bulkdata`, GET: 'all-bulkdata' },
  { path: `${instance}/bulkdata`, GET: 'all-bulkdata' },
  { path: `${instance}/bulkdata/{+path}`, GET: 'bulkdata' },
  { path: `${study}/pixeldata`, GET: 'pixeldata' },
  { path: `${series}/pixeldata`, GET: 'pixeldata' },
  { path: `${instance}/pixeldata`, GET: 'pixeldata' },
  { path: frames, GET: 'frames' },
  { path: `${study}/rendered`, GET: 'rendered' },
  { path: `${series}/rendered`, GET: 'rendered' },
  { path: `${instance}/rendered`, GET: 'rendered' },
  { path: `${frames}/rendered`, GET: 'rendered' },
  { path: `${study}/thumbnail`, GET: 'thumbnail' },
  { path: `${series}/thumbnail`, GET: 'thumbnail' },
  { path: `${instance}/thumbnail`, GET: 'thumbnail' },
  { path: `${frames}/thumbnail`, GET: 'thumbnail' },
  { path: `${study}/renderedmpr`, GET: 'renderedmpr' },
  { path: `${series}/renderedmpr`, GET: 'renderedmpr' },
  { path: `${instance}/renderedmpr`, GET: 'renderedmpr' },
  { path: `${study}/rendered3d`, GET: 'rendered3d' },
  { path: `${series}/rendered3d`, GET: 'rendered3d' },
  { path: `${instance}/rendered3d`, GET: 'rendered3d' },
  { path: '/wado', GET: 'wado-uri' },
];

const resourceAt: { readonly [Kind in Resource['kind']]: (at: PathValues) => Resource } = {
  capabilities: () => ({ kind: 'capabilities' }),
  openapi: () => ({ kind: 'openapi' }),
  search: (at) => ({ kind: 'search', level: at.level, within: at.within }),
  store: (at) => ({ kind: 'store', within: at.within }),
  instances: (at) => ({ kind: 'instances', ref: at.ref }),
  erase: (at) => ({ kind: 'erase', ref: at.ref }),
  metadata: (at) => ({ kind: 'metadata', ref: at.ref }),
  bulkdata: (at) => ({ kind: 'bulkdata', ref: at.instance, path: at.text('path') }),
  'all-bulkdata': (at) => ({ kind: 'all-bulkdata', ref: at.ref }),
  pixeldata: (at) => ({ kind: 'pixeldata', ref: at.ref }),
  frames: (at) => ({ kind: 'frames', ref: at.instance, frameNumbers: frameList(at.text('frames')) }),
  'wado-uri': () => ({ kind: 'wado-uri' }),
  rendered: (at) => ({ kind: 'rendered', ref: at.ref, frameNumbers: at.frameNumbers }),
  thumbnail: (at) => ({ kind: 'thumbnail', ref: at.ref, frameNumbers: at.frameNumbers }),
  renderedmpr: (at) => ({ kind: 'renderedmpr', ref: at.ref }),
  rendered3d: (at) => ({ kind: 'rendered3d', ref: at.ref }),
};

export const partOfKind = (kind: Resource['kind']): ServicePart => partOf[kind];

/** The methods of a route that the parts of a deployment answer, without HEAD and OPTIONS. */
export const answeredMethods = (route: Route, offered: ReadonlySet<ServicePart>): readonly Method[] =>
  methodNames.filter((method) => {
    const kind = route[method];
    return kind !== undefined && offered.has(partOf[kind]);
  });

/** All of them, in the order in which Allow names them. */
export const methodsOf = (route: Route, offered: ReadonlySet<ServicePart>): readonly string[] => [
  ...answeredMethods(route, offered).flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])),
  'OPTIONS',
];

export interface FoundRoute {
  readonly route: Route;
  /** What a method acts on; undefined when the route does not have it. Error `bad-request` for a malformed UID or frame list. */
  resource(method: string): Resource | undefined;
}

/** The standard writes them in several ways: `/renderedmpr` and `/renderedMPR`, `/rendered3d` and `/rendered3D`. */
const inAnyCase: ReadonlySet<string> = new Set(['renderedmpr', 'rendered3d']);

const compiled = routes.map((route) => ({ route, segments: route.path.slice(1).split('/') }));

/** Undefined when no resource has this path. Error `bad-request` for a malformed escape. */
export function findRoute(pathname: string): FoundRoute | undefined {
  if (pathname !== mountPath && !pathname.startsWith(`${mountPath}/`)) return undefined;
  const given = pathname
    .slice(mountPath.length + 1)
    .replace(/\/$/, '')
    .split('/')
    .map(unescapeSegment);
  for (const { route, segments } of compiled) {
    const values = match(segments, given);
    if (values === undefined) continue;
    const resource = (method: string): Resource | undefined => {
      const name = methodNames.find((one) => one === (method === 'HEAD' ? 'GET' : method));
      const kind = name && route[name];
      return kind && resourceAt[kind](new PathValues(route, values));
    };
    return { route, resource };
  }
  return undefined;
}

function match(segments: readonly string[], given: readonly string[]): ReadonlyMap<string, string> | undefined {
  const values = new Map<string, string>();
  for (const [i, segment] of segments.entries()) {
    const text = given[i];
    if (text === undefined) return undefined;
    if (segment.startsWith('{+')) {
      values.set(segment.slice(2, -1), given.slice(i).join('/'));
      return values;
    }
    if (segment.startsWith('{')) values.set(segment.slice(1, -1), text);
    else if (segment !== text && !(inAnyCase.has(segment) && segment === text.toLowerCase())) return undefined;
  }
  return segments.length === given.length ? values : undefined;
}

/** What the variables of a path stand for. */
class PathValues {
  readonly #route: Route;
  readonly #values: ReadonlyMap<string, string>;

  constructor(route: Route, values: ReadonlyMap<string, string>) {
    this.#route = route;
    this.#values = values;
  }

  text(name: string): string {
    const text = this.#values.get(name);
    if (text === undefined) throw new Error(`the path ${this.#route.path} has no {${name}}`);
    return text;
  }

  get study(): StudyRef {
    return { studyInstanceUid: uid(this.text('study'), 'Study') };
  }

  get series(): SeriesRef {
    return { ...this.study, seriesInstanceUid: uid(this.text('series'), 'Series') };
  }

  get instance(): InstanceRef {
    return { ...this.series, sopInstanceUid: uid(this.text('instance'), 'SOP') };
  }

  /** As deep as the path goes. */
  get ref(): AnyRef {
    if (this.#values.has('instance')) return this.instance;
    return this.#values.has('series') ? this.series : this.study;
  }

  /** The study or the series that a search or a store is about; undefined for all. */
  get within(): StudyRef | SeriesRef | undefined {
    if (this.#values.has('series')) return this.series;
    return this.#values.has('study') ? this.study : undefined;
  }

  /** What a search finds, by the last word of its path. */
  get level(): Level {
    const word = this.#route.path.split('/').at(-1);
    return word === 'studies' ? 'study' : word === 'series' ? 'series' : 'instance';
  }

  /** Undefined where the path names no frames. */
  get frameNumbers(): readonly number[] | undefined {
    return this.#values.has('frames') ? frameList(this.text('frames')) : undefined;
  }
}

/** More frames than any one request needs; a longer list is a mistake or an attack. */
export const maximumFrameNumbers = 10_000;

/** Whether it is a valid one is settled when nothing is found under it (references.ts). */
function uid(text: string, what: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (text.length > 0 && text.length <= 256 && !/[\u0000-\u001f\u007f]/.test(text)) return text;
  throw new ArchiveError(
    'bad-request',
    `The ${what} Instance UID in the path is not a UID: at most 64 digits and dots, such as 1.2.840.10008.1.`,
  );
}

function frameList(text: string): number[] {
  const numbers = text.split(',').map((piece) => (/^[0-9]{1,9}$/.test(piece.trim()) ? Number(piece) : 0));
  if (numbers.includes(0)) {
    throw new ArchiveError(
      'bad-request',
      'A list of frames is numbers from 1 with commas between, such as /frames/1,2,5.',
    );
  }
  if (numbers.length > maximumFrameNumbers) {
    throw new ArchiveError('limit-exceeded', `At most ${maximumFrameNumbers} frames can be asked for at once.`);
  }
  return numbers;
}

function unescapeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new ArchiveError(
      'bad-request',
      'The path holds a percent sign that begins no valid escape; write it as %25.',
    );
  }
}
