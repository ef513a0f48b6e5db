/**
 * A series or a study rendered (PS3.18 §10.4.1.1.3): every frame of every image, every report, document and video in it, each a part of
 * one multipart answer, in viewing order. What cannot be given as asked is counted in a Warning; what fails on the way is a part that says so.
 */
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { RenderedMediaType } from '../imaging/encode.ts';
import { isSegmentation } from '../imaging/segmentation.ts';
import { problemResponse } from '../problem.ts';
import { type MediaRange, negotiate, type Offer } from './accept.ts';
import { isAnimated } from './animations.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { openPictures, type RenderOptions } from './pictures.ts';
import { partialStatus, reachOf } from './reach.ts';
import { refPath } from './references.ts';
import type { RenderParameters } from './render-parameters.ts';
import { maximumPictures, pictureTypes, pictureTypesFor, tooMany } from './rendered.ts';
import { contentOf, mediaTypesOf, renditionOf } from './renditions.ts';
import { addWarning } from './search.ts';
import { inViewingOrder, type StoredInstance } from './stored-instances.ts';
import { treatmentOf } from './treatments.ts';

interface Chosen {
  readonly instance: StoredInstance;
  readonly mediaType: string;
}

/** Errors: `not-acceptable` when nothing can be given as asked, `limit-exceeded`, and what keeps all of it out of reach. */
export async function retrieveRenderedMany(
  options: RenderOptions,
  context: Context,
  instances: readonly StoredInstance[],
  ranges: readonly MediaRange[],
  parameters: RenderParameters,
): Promise<Response> {
  if (parameters.presentation !== undefined || parameters.segmentation !== undefined) {
    throw new ArchiveError(
      'bad-request',
      'The parameters presentationUID and segmentationUID go with one image or its frames, not with a series or a study.',
    );
  }
  const chosen = inViewingOrder(instances).flatMap((instance) => {
    const mediaType = chooseType(ranges, instance);
    return mediaType === undefined ? [] : [{ instance, mediaType }];
  });
  const [first] = chosen;
  if (first === undefined) throw nothingAcceptable(instances);
  const pictures = chosen.reduce((sum, { instance }) => sum + instance.numberOfFrames, 0);
  if (pictures > maximumPictures) throw tooMany(pictures, 'pictures');
  const identity = chosen.flatMap(({ instance, mediaType }) => [instance.sopInstanceUid, instance.digest, mediaType]);
  const tag = entityTag(context.baseUrl, JSON.stringify(parameters), ...identity);
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);

  const wanted = chosen.map(({ instance }) => instance);
  const reach = await reachOf(options.archive.packs, wanted, context);
  const reachable = new Set(reach.reachable);
  const given = chosen.filter(({ instance }) => reachable.has(instance));
  const headers = new Headers({ etag: tag, 'cache-control': keptForAWhile });
  const status = partialStatus(headers, reach, wanted.length, context);
  // Segments are shown over images of other series, which come and go by themselves.
  if (given.some(({ instance }) => isSegmentation(instance.sopClassUid))) {
    headers.delete('etag');
    headers.set('cache-control', 'no-store');
  }
  for (const text of parameters.warnings) addWarning(headers, context.baseUrl, text);
  const left = instances.length - chosen.length;
  if (left > 0) {
    const count = left === 1 ? 'One instance has' : `${left} instances have`;
    addWarning(headers, context.baseUrl, `${count} no rendering of the media types asked for, and no part here.`);
  }
  const parts = partsOf(options, context, given, parameters);
  const { contentType, body } = multipartRelated(given[0]?.mediaType ?? first.mediaType, parts);
  headers.set('content-type', contentType);
  return new Response(await begunStreamOf(body, context), { status, headers });
}

/** The media type that the client likes best of those the instance has; undefined for none. Everything here is a part. */
function chooseType(ranges: readonly MediaRange[], instance: StoredInstance): string | undefined {
  const types = contentOf(instance) === 'picture' ? pictureTypesFor(ranges) : mediaTypesOf(instance);
  const offers = types.map((type): Offer<string> => ({ type, form: 'multipart', value: type }));
  try {
    // The type of one picture stands for parts of it.
    return negotiate(
      ranges.map((range) => ({ ...range, form: 'either' as const })),
      offers,
    ).value;
  } catch (error) {
    if (isArchiveError(error, 'not-acceptable')) return undefined;
    throw error;
  }
}

function nothingAcceptable(instances: readonly StoredInstance[]): ArchiveError {
  const types = new Set(
    instances.flatMap((instance) => (contentOf(instance) === 'picture' ? pictureTypes : mediaTypesOf(instance))),
  );
  if (types.size === 0) {
    return new ArchiveError('cannot-render', 'Nothing here can be rendered: no pictures, no reports, no documents.');
  }
  return new ArchiveError(
    'not-acceptable',
    `None of the media types in Accept can be given here; ask for parts of: ${[...types].join(', ')}`,
  );
}

async function* partsOf(
  options: RenderOptions,
  context: Context,
  chosen: readonly Chosen[],
  parameters: RenderParameters,
): AsyncGenerator<Part, void, undefined> {
  for (const { instance, mediaType } of chosen) {
    const location = `${context.baseUrl}/${refPath(instance)}`;
    try {
      yield* instanceParts(options, context, instance, mediaType, parameters, location);
    } catch (error) {
      // The answer has begun: one instance that fails must neither cut it off nor be passed over in silence.
      if (!isArchiveError(error)) throw error;
      const problem = problemResponse(error, context.log);
      const body = new Uint8Array(await problem.arrayBuffer());
      yield {
        headers: { 'Content-Type': 'application/problem+json', 'Content-Location': `${location}/rendered` },
        body,
      };
    }
  }
}

async function* instanceParts(
  options: RenderOptions,
  context: Context,
  instance: StoredInstance,
  mediaType: string,
  parameters: RenderParameters,
  location: string,
): AsyncGenerator<Part, void, undefined> {
  const entry = await options.manifests.entryOf(instance);
  if (contentOf(instance) !== 'picture') {
    const rendition = await renditionOf(options.archive.packs, instance, entry, mediaType);
    const headers = { 'Content-Type': rendition.contentType, 'Content-Location': `${location}/rendered` };
    yield { headers, body: await rendition.body() };
    return;
  }
  const treatment = await treatmentOf(options, instance.tenant, instance, parameters);
  const pictures = await openPictures(options, instance, entry, parameters, treatment);
  const count = Math.min(pictures.frames.count, maximumPictures);
  const frameNumbers = Array.from({ length: count }, (_, i) => i + 1);
  if (isAnimated(mediaType) && count > 1) {
    const headers = { 'Content-Type': mediaType, 'Content-Location': `${location}/rendered` };
    yield { headers, body: pictures.animation(frameNumbers, mediaType, context.request.signal) };
    return;
  }
  let frameNumber = 0;
  for await (const body of pictures.several(frameNumbers, mediaType as RenderedMediaType)) {
    frameNumber += 1;
    const headers = { 'Content-Type': mediaType, 'Content-Location': `${location}/frames/${frameNumber}/rendered` };
    yield { headers, body };
  }
}
