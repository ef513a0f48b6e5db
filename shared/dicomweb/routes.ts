/**
 * The resources of PS3.18 that this service has, by their paths below the mount path (§10.4, §10.6), the
 * references they name, and the part of the service (search, retrieve, render) that answers each. Knows no handlers.
 */
import type { InstanceRef, Level, SeriesRef, StudyRef } from '../archive/records.ts';

import { ArchiveError } from '../errors.ts';
import { mountPath } from './base-url.ts';
import type { AnyRef } from './references.ts';

/** The parts a deployment may mount on their own. */
export type ServicePart = 'search' | 'retrieve' | 'render' | 'store';

export type Resource =
  | { readonly kind: 'search'; readonly level: Level; readonly within: StudyRef | SeriesRef | undefined }
  | { readonly kind: 'instances'; readonly ref: AnyRef }
  | { readonly kind: 'store'; readonly within: StudyRef | undefined }
  | { readonly kind: 'metadata'; readonly ref: AnyRef }
  | { readonly kind: 'bulkdata'; readonly ref: InstanceRef; readonly path: string }
  | { readonly kind: 'frames'; readonly ref: InstanceRef; readonly frameNumbers: readonly number[] }
  | {
      readonly kind: 'rendered' | 'thumbnail';
      readonly ref: AnyRef;
      /** Undefined: whatever represents the resource. */
      readonly frameNumbers: readonly number[] | undefined;
    };

const partOf: Readonly<Record<Resource['kind'], ServicePart>> = {
  search: 'search',
  instances: 'retrieve',
  store: 'store',
  metadata: 'retrieve',
  bulkdata: 'retrieve',
  frames: 'retrieve',
  rendered: 'render',
  thumbnail: 'render',
};

/** More frames than any one request needs; a longer list is a mistake or an attack. */
const maximumFrameNumbers = 10_000;

export const servicePartOf = (resource: Resource): ServicePart => partOf[resource.kind];

/** What is stored to by a POST to the resource (§10.5): all studies, or one. Undefined: nothing is. */
export function storeResourceOf(resource: Resource): Extract<Resource, { kind: 'store' }> | undefined {
  if (resource.kind === 'search') return resource.level === 'study' ? { kind: 'store', within: undefined } : undefined;
  if (resource.kind !== 'instances' || 'seriesInstanceUid' in resource.ref) return undefined;
  return { kind: 'store', within: resource.ref };
}

/** Undefined when no resource has this path. Error `bad-request` for a malformed UID, frame list or escape in a known shape. */
export function resourceOf(pathname: string): Resource | undefined {
  if (pathname !== mountPath && !pathname.startsWith(`${mountPath}/`)) return undefined;
  const segments = pathname
    .slice(mountPath.length + 1)
    .replace(/\/$/, '')
    .split('/')
    .map(unescapeSegment);
  const [first, study, second, series, third, instance, ...rest] = segments;
  if (segments.length === 1) {
    const level = levelOf(first);
    return level && { kind: 'search', level, within: undefined };
  }
  if (first !== 'studies') return undefined;
  const studyRef: StudyRef = { studyInstanceUid: uid(study, 'Study') };
  if (second === undefined) return { kind: 'instances', ref: studyRef };
  if (series === undefined) {
    const level = levelOf(second);
    if (level === 'series' || level === 'instance') return { kind: 'search', level, within: studyRef };
    return representation(second, studyRef);
  }
  if (second !== 'series') return undefined;
  const seriesRef: SeriesRef = { ...studyRef, seriesInstanceUid: uid(series, 'Series') };
  if (third === undefined) return { kind: 'instances', ref: seriesRef };
  if (instance === undefined) {
    if (third === 'instances') return { kind: 'search', level: 'instance', within: seriesRef };
    return representation(third, seriesRef);
  }
  if (third !== 'instances') return undefined;
  return instanceResource({ ...seriesRef, sopInstanceUid: uid(instance, 'SOP') }, rest);
}

function instanceResource(ref: InstanceRef, rest: readonly string[]): Resource | undefined {
  const [what, detail, form, ...more] = rest;
  if (what === undefined) return { kind: 'instances', ref };
  if (what === 'bulkdata' && detail !== undefined) return { kind: 'bulkdata', ref, path: rest.slice(1).join('/') };
  if (what === 'frames' && detail !== undefined && more.length === 0) {
    const frameNumbers = frameList(detail);
    if (form === undefined) return { kind: 'frames', ref, frameNumbers };
    return form === 'rendered' || form === 'thumbnail' ? { kind: form, ref, frameNumbers } : undefined;
  }
  return detail === undefined ? representation(what, ref) : undefined;
}

function representation(word: string, ref: AnyRef): Resource | undefined {
  if (word === 'metadata') return { kind: 'metadata', ref };
  if (word === 'thumbnail') return { kind: 'thumbnail', ref, frameNumbers: undefined };
  if (word === 'rendered' && 'sopInstanceUid' in ref) return { kind: 'rendered', ref, frameNumbers: undefined };
  return undefined;
}

function levelOf(word: string | undefined): Level | undefined {
  if (word === 'studies') return 'study';
  return word === 'series' ? 'series' : word === 'instances' ? 'instance' : undefined;
}

/** Whether it is a valid one is settled when nothing is found under it (references.ts). */
function uid(text: string | undefined, what: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (text !== undefined && text.length > 0 && text.length <= 256 && !/[\u0000-\u001f\u007f]/.test(text)) return text;
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
