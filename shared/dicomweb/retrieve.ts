/**
 * Retrieve Transaction for instances (WADO-RS), PS3.18 §10.4: a study, a series or an instance as application/dicom parts, as
 * one Part 10 file or as a ZIP file, in the transfer syntax that was negotiated. Where that is the stored one, the stored bytes go
 * out as they lie. Every part is labelled with the transfer syntax that it has.
 */
import type { Archive } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import { acceptOf, type MediaRange, negotiate } from './accept.ts';
import { begunStreamOf, streamOf } from './body.ts';
import { entityTag, isUnchanged, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import type { FrameTranscoder } from './frame-transcoder.ts';
import type { Manifests } from './manifests.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { PackBytes } from './pack-bytes.ts';
import { partialStatus, reachOf } from './reach.ts';
import { type AnyRef, fileNameOf, refPath } from './references.ts';
import { addWarning } from './search.ts';
import {
  getCurrent,
  inPackOrder,
  keyOf,
  listStored,
  readStored,
  type StoredInstance,
  storedInstance,
} from './stored-instances.ts';
import { isOwnFault, openedInTurn, openTranscoded } from './transcoded-instances.ts';
import { canBeHadIn, type InstanceChoice, instanceOffers } from './transfer-syntax-offers.ts';
import { zipResponse } from './zip.ts';

export interface RetrieveOptions {
  readonly archive: Archive;
  readonly manifests: Manifests;
  readonly transcoder: FrameTranscoder;
}

/**
 * Errors: `not-found`, `not-acceptable` when no instance can be had as it is asked for. Where only some can, they are given with 206.
 * `?digest=` on an instance gives one of its versions, an extension for looking at conflicts.
 */
export async function retrieveInstances(options: RetrieveOptions, context: Context, ref: AnyRef): Promise<Response> {
  const { archive } = options;
  const ranges = acceptOf(context.request, context.query);
  const instances = await instancesOf(archive, context, ref);
  const { form, transferSyntaxUid } = chosenFor(ranges, instances);
  if (form === 'zip') return zipResponse(options, context, ref, instances);
  const tag = entityTag(
    form,
    transferSyntaxUid,
    context.baseUrl,
    ...instances.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]),
  );
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const isStored = (instance: StoredInstance): boolean =>
    transferSyntaxUid === undefined || instance.transferSyntaxUid === transferSyntaxUid;
  const given = instances.filter((one) => isStored(one) || canBeHadIn(one, transferSyntaxUid ?? ''));
  if (form === 'single') {
    const [instance] = instances as [StoredInstance];
    if (transferSyntaxUid === undefined || isStored(instance)) return singlePart(archive, context, instance, tag);
    return transcodedPart(options, context, instance, transferSyntaxUid, tag);
  }
  const reach = await reachOf(archive.packs, given, context);
  const { contentType, body } = multipartRelated(
    'application/dicom',
    parts(options, context, inPackOrder(reach.reachable), transferSyntaxUid),
  );
  const headers = new Headers({ 'content-type': contentType, etag: tag });
  const reachStatus = partialStatus(headers, reach, given.length, context);
  const status = given.length < instances.length ? 206 : reachStatus;
  if (given.length < instances.length) {
    const what = `${instances.length - given.length} of ${instances.length} instances cannot be given in the transfer syntax asked for`;
    addWarning(headers, context.baseUrl, `${what}; ask for transfer-syntax=* to have them as they are stored`);
  }
  return new Response(await begunStreamOf(body, context), { status, headers });
}

/** What all can be given in before what only some can. */
function chosenFor(ranges: readonly MediaRange[], instances: readonly StoredInstance[]): InstanceChoice {
  const forAll = instanceOffers(instances, 'all');
  try {
    return negotiate(ranges, forAll).value;
  } catch (error) {
    try {
      return negotiate(ranges, instanceOffers(instances, 'some')).value;
    } catch {
      throw error;
    }
  }
}

async function instancesOf(archive: Archive, context: Context, ref: AnyRef): Promise<readonly StoredInstance[]> {
  const digest = context.query.get('digest');
  if (digest === null) return listStored(archive.index, context.tenant, ref);
  if (!('sopInstanceUid' in ref) || !/^[0-9a-f]{64}$/i.test(digest)) {
    throw new ArchiveError('bad-request', 'The parameter digest is 64 hexadecimal digits and goes with one instance.');
  }
  return [storedInstance(await getCurrent(archive.index, context.tenant, ref, digest), undefined)];
}

const mediaTypeIn = (transferSyntaxUid: string): string => `application/dicom; transfer-syntax=${transferSyntaxUid}`;

/** In the order given: neighbours that are stored as they are asked for are read together, those that are not together, too. */
async function* parts(
  options: RetrieveOptions,
  context: Context,
  instances: readonly StoredInstance[],
  transferSyntaxUid: string | undefined,
): AsyncGenerator<Part, void, undefined> {
  for (let next = 0; next < instances.length; ) {
    const isStored = (one: StoredInstance | undefined): boolean =>
      transferSyntaxUid === undefined || one?.transferSyntaxUid === transferSyntaxUid;
    const first = next;
    while (next < instances.length && isStored(instances[next]) === isStored(instances[first])) next++;
    const run = instances.slice(first, next);
    if (transferSyntaxUid === undefined || isStored(run[0])) yield* storedParts(options.archive, context, run);
    else yield* transcodedParts(options, context, run, transferSyntaxUid, instances.length === 1);
  }
}

async function* storedParts(
  archive: Archive,
  context: Context,
  instances: readonly StoredInstance[],
): AsyncGenerator<Part, void, undefined> {
  for await (const { instance, body } of readStored(archive.packs, instances)) {
    yield {
      headers: {
        'Content-Type': mediaTypeIn(instance.transferSyntaxUid),
        'Content-Length': String(instance.lengthBytes),
        'Content-Location': `${context.baseUrl}/${refPath(instance)}`,
      },
      body,
    };
  }
}

/**
 * One that cannot be had so although its transfer syntax can, as a damaged one among many, is given as it is stored and labelled so: nothing
 * that was asked for is left out, and the others come.
 */
async function* transcodedParts(
  { archive, transcoder }: RetrieveOptions,
  context: Context,
  instances: readonly StoredInstance[],
  transferSyntaxUid: string,
  isAlone: boolean,
): AsyncGenerator<Part, void, undefined> {
  const opened = openedInTurn({ packs: archive.packs, transcoder }, instances, transferSyntaxUid);
  for await (const { instance, file: opening } of opened) {
    const file = await opening.catch((error: unknown) => {
      if (!isOwnFault(error) || isAlone) throw error;
      const { sopInstanceUid } = instance;
      context.log.warn({ err: error, code: error.code, sopInstanceUid }, 'An instance is given as it is stored');
      return undefined;
    });
    if (file === undefined) {
      yield* storedParts(archive, context, [instance]);
      continue;
    }
    try {
      const location = `${context.baseUrl}/${refPath(instance)}`;
      const headers = { 'Content-Type': mediaTypeIn(transferSyntaxUid), 'Content-Location': location };
      yield { headers, body: file.bytes };
    } finally {
      await file.close();
    }
  }
}

/** Its length is known when it ends, so there is none, and no ranges. */
async function transcodedPart(
  { archive, transcoder }: RetrieveOptions,
  context: Context,
  instance: StoredInstance,
  transferSyntaxUid: string,
  tag: string,
): Promise<Response> {
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    const file = await openTranscoded({ packs: archive.packs, transcoder }, instance, transferSyntaxUid);
    try {
      yield* file.bytes;
    } finally {
      await file.close();
    }
  }
  return new Response(await begunStreamOf(bytes(), context), {
    headers: { ...fileHeaders(context, instance, transferSyntaxUid), 'accept-ranges': 'none', etag: tag },
  });
}

const fileHeaders = (context: Context, instance: StoredInstance, transferSyntaxUid: string) => ({
  'content-type': mediaTypeIn(transferSyntaxUid),
  'content-location': `${context.baseUrl}/${refPath(instance)}`,
  'content-disposition': `attachment; filename="${fileNameOf(instance)}.dcm"`,
});

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
      ...fileHeaders(context, instance, instance.transferSyntaxUid),
      etag: tag,
    },
  });
}
