/**
 * Retrieve Transaction for instances (WADO-RS), PS3.18 §10.4: a study, a series or an instance as application/dicom parts, as
 * one Part 10 file or as a ZIP file. Stored bytes go out as they lie and are always labelled with their true transfer syntax;
 * CONFORMANCE.md says how that meets the default of Table 8.7.3-2.
 */
import type { Archive } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { begunStreamOf, streamOf } from './body.ts';
import { entityTag, isUnchanged, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import type { Manifests } from './manifests.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { PackBytes } from './pack-bytes.ts';
import { partialStatus, reachOf } from './reach.ts';
import { type AnyRef, fileNameOf, refPath } from './references.ts';
import {
  getCurrent,
  inPackOrder,
  keyOf,
  listStored,
  readStored,
  type StoredInstance,
  storedInstance,
} from './stored-instances.ts';
import { zipResponse } from './zip.ts';

export interface RetrieveOptions {
  readonly archive: Archive;
  readonly manifests: Manifests;
}

type Form = 'multipart' | 'single' | 'zip';

/**
 * Errors: `not-found`, `not-acceptable` (also when a transfer syntax is asked for in which not every instance is stored).
 * `?digest=` on an instance gives one of its versions, an extension for looking at conflicts.
 */
export async function retrieveInstances(options: RetrieveOptions, context: Context, ref: AnyRef): Promise<Response> {
  const { archive } = options;
  const ranges = acceptOf(context.request, context.query);
  const instances = await instancesOf(archive, context, ref);
  const form = negotiate(ranges, offersFor(instances)).value;
  if (form === 'zip') return zipResponse(options, context, ref, instances);
  const tag = entityTag(
    form,
    context.baseUrl,
    ...instances.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]),
  );
  if (isUnchanged(context.request, tag)) return notModified(tag);
  if (form === 'single') return singlePart(archive, context, instances[0]!, tag);
  const reach = await reachOf(archive.packs, instances, context);
  const { contentType, body } = multipartRelated(
    'application/dicom',
    parts(archive, context, inPackOrder(reach.reachable)),
  );
  const headers = new Headers({ 'content-type': contentType, etag: tag });
  const status = partialStatus(headers, reach, instances.length, context);
  return new Response(await begunStreamOf(body, context), { status, headers });
}

async function instancesOf(archive: Archive, context: Context, ref: AnyRef): Promise<readonly StoredInstance[]> {
  const digest = context.query.get('digest');
  if (digest === null) return listStored(archive.index, context.tenant, ref);
  if (!('sopInstanceUid' in ref) || !/^[0-9a-f]{64}$/i.test(digest)) {
    throw new ArchiveError('bad-request', 'The parameter digest is 64 hexadecimal digits and goes with one instance.');
  }
  return [storedInstance(await getCurrent(archive.index, context.tenant, ref, digest), undefined)];
}

function offersFor(instances: readonly StoredInstance[]): Offer<Form>[] {
  const syntaxes = new Set(instances.map((instance) => instance.transferSyntaxUid));
  // Named syntaxes are served where everything is stored so; without one, whatever is stored.
  const transferSyntax = { uids: syntaxes.size === 1 ? [...syntaxes] : ['*'], whenUnsaid: true };
  const multipart: Offer<Form> = { type: 'application/dicom', form: 'multipart', transferSyntax, value: 'multipart' };
  const single: Offer<Form> = { type: 'application/dicom', form: 'single', transferSyntax, value: 'single' };
  const zip: Offer<Form> = { type: 'application/zip', form: 'single', transferSyntax, value: 'zip' };
  return instances.length === 1 ? [multipart, single, zip] : [multipart, zip];
}

const mediaTypeOf = (instance: StoredInstance): string =>
  `application/dicom; transfer-syntax=${instance.transferSyntaxUid}`;

async function* parts(
  archive: Archive,
  context: Context,
  instances: readonly StoredInstance[],
): AsyncGenerator<Part, void, undefined> {
  for await (const { instance, body } of readStored(archive.packs, instances)) {
    yield {
      headers: {
        'Content-Type': mediaTypeOf(instance),
        'Content-Length': String(instance.lengthBytes),
        'Content-Location': `${context.baseUrl}/${refPath(instance)}`,
      },
      body,
    };
  }
}

async function singlePart(
  archive: Archive,
  context: Context,
  instance: StoredInstance,
  tag: string,
): Promise<Response> {
  const range = rangeOf(context.request, instance.lengthBytes, tag);
  const bytes = await PackBytes.open(archive.packs, keyOf(instance), {
    offsetBytes: instance.offsetBytes + (range?.offsetBytes ?? 0),
    lengthBytes: range?.lengthBytes ?? instance.lengthBytes,
  });
  return new Response(streamOf(bytes, context.log), {
    status: range === undefined ? 200 : 206,
    headers: {
      ...rangeHeaders(range, instance.lengthBytes),
      'content-type': mediaTypeOf(instance),
      'content-location': `${context.baseUrl}/${refPath(instance)}`,
      'content-disposition': `attachment; filename="${fileNameOf(instance)}.dcm"`,
      etag: tag,
    },
  });
}
