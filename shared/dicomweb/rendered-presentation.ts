/**
 * A presentation state rendered (PS3.18 §10.4.1.1.3): the images that it is about as it shows them, one as a picture, several as parts of one
 * answer in its order. Images that are not here are counted in a Warning; if none is, that is an error.
 */
import type { InstanceRecord } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { RenderedMediaType } from '../imaging/encode.ts';
import { type PresentedImage, presentedImages } from '../imaging/presentation-state.ts';
import { problemResponse } from '../problem.ts';
import { type MediaRange, negotiate, type Offer } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { openPictures, type Pictures, type RenderOptions } from './pictures.ts';
import { type LoadedState, loadState, presentationTreatment } from './presented.ts';
import { partialStatus, reachOf } from './reach.ts';
import { refPath } from './references.ts';
import { eitherForm, maximumPictures, pictureTypesFor, tooMany, type WantedRendering } from './rendered.ts';
import { contentOf } from './renditions.ts';
import { addWarning } from './search.ts';
import { type StoredInstance, storedInstance } from './stored-instances.ts';

const lookedUpAtOnce = 8;

interface Shown {
  readonly instance: StoredInstance;
  readonly image: PresentedImage;
  readonly frameNumbers: readonly number[];
}

/** Errors: `not-found` when none of the images is here, `cannot-render`, `not-acceptable`, `limit-exceeded`; those of the pictures. */
export async function renderPresentation(
  options: RenderOptions,
  context: Context,
  { instance, frameNumbers, ranges, parameters }: WantedRendering,
): Promise<Response> {
  if (frameNumbers !== undefined) {
    throw new ArchiveError(
      'cannot-render',
      'A presentation state has no frames; ask for it as a whole, or for a frame of its images with presentationUID.',
    );
  }
  if (parameters.presentation !== undefined || parameters.segmentation !== undefined) {
    throw new ArchiveError(
      'bad-request',
      'Presentation states and segmentations are applied to images; name an image.',
    );
  }
  const loaded = await loadState(options, instance);
  const images = presentedImages(loaded.state);
  const { shown, missing } = await imagesHere(options, context, loaded, images);
  const reach = await reachOf(
    options.archive.packs,
    shown.map((one) => one.instance),
    context,
  );
  const reachable = new Set(reach.reachable);
  const given = shown.filter((one) => reachable.has(one.instance));
  const count = given.reduce((sum, one) => sum + one.frameNumbers.length, 0);
  if (count > maximumPictures) throw tooMany(count, 'frames');

  const isSeveral = count !== 1 || missing > 0;
  const { form, mediaType } = negotiate(isSeveral ? ranges.map(eitherForm) : ranges, offersOf(ranges, isSeveral)).value;
  const identity = shown.flatMap((one) => [one.instance.digest, one.frameNumbers.join()]);
  const tag = entityTag(
    loaded.record.digest,
    context.baseUrl,
    form,
    mediaType,
    JSON.stringify(parameters),
    ...identity,
  );
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const headers = new Headers({ etag: tag, 'cache-control': keptForAWhile });
  const status = partialStatus(headers, reach, shown.length, context);
  if (missing > 0) {
    const what = `${missing} of ${images.length} images that the presentation state refers to are not in the archive.`;
    addWarning(headers, context.baseUrl, what);
    headers.delete('etag');
    headers.set('cache-control', 'no-store');
  }
  const [first] = given as [Shown, ...Shown[]];
  const firstPictures = await picturesOf(options, loaded, first, parameters);
  for (const text of firstPictures.warningsFor(mediaType)) addWarning(headers, context.baseUrl, text);
  if (form === 'single') {
    const [frameNumber = 1] = first.frameNumbers;
    const bytes = await firstPictures.one(frameNumber, mediaType);
    headers.set('content-type', mediaType);
    headers.set('content-length', String(bytes.length));
    headers.set('content-location', `${context.baseUrl}/${refPath(instance)}/rendered`);
    return new Response(bytes as Uint8Array<ArrayBuffer>, { status, headers });
  }
  const parts = partsOf(options, context, loaded, given, firstPictures, mediaType, parameters);
  const { contentType, body } = multipartRelated(mediaType, parts);
  headers.set('content-type', contentType);
  return new Response(await begunStreamOf(body, context), { status: missing > 0 ? 206 : status, headers });
}

function offersOf(
  ranges: readonly MediaRange[],
  isSeveral: boolean,
): Offer<{ form: 'single' | 'multipart'; mediaType: RenderedMediaType }>[] {
  const forms = isSeveral ? (['multipart'] as const) : (['single', 'multipart'] as const);
  return forms.flatMap((form) =>
    pictureTypesFor(ranges).map((mediaType) => ({ type: mediaType, form, value: { form, mediaType } })),
  );
}

/** What of the state's images is in the archive and can be drawn. */
async function imagesHere(
  { archive }: RenderOptions,
  { tenant }: Context,
  { record: { studyInstanceUid } }: LoadedState,
  images: readonly PresentedImage[],
): Promise<{ shown: Shown[]; missing: number }> {
  const shown: Shown[] = [];
  let missing = 0;
  const records = new Map<PresentedImage, InstanceRecord | undefined>();
  const waiting = images.values();
  const look = async (): Promise<void> => {
    for (const image of waiting) {
      const { seriesInstanceUid, sopInstanceUid } = image;
      const ref = { studyInstanceUid, seriesInstanceUid, sopInstanceUid };
      records.set(image, await archive.index.getInstance(tenant, ref));
    }
  };
  await Promise.all(Array.from({ length: lookedUpAtOnce }, look));
  for (const image of images) {
    const record = records.get(image);
    const instance = record && storedInstance(record, undefined);
    const frames = instance === undefined ? [] : framesOf(image, instance);
    if (instance === undefined || frames.length === 0 || contentOf(instance) !== 'picture') missing += 1;
    else shown.push({ instance, image, frameNumbers: frames });
  }
  if (shown.length > 0) return { shown, missing };
  throw new ArchiveError(
    'not-found',
    images.length === 1
      ? 'The image that the presentation state refers to is not in the archive.'
      : `None of the ${images.length} images that the presentation state refers to is in the archive.`,
    { images: images.length },
  );
}

function framesOf({ frameNumbers }: PresentedImage, { numberOfFrames }: StoredInstance): number[] {
  if (frameNumbers !== undefined) return frameNumbers.filter((number) => number <= numberOfFrames);
  // Not spread out beyond what is rendered: the number is the sender's.
  const count = Math.min(numberOfFrames, maximumPictures + 1);
  return Array.from({ length: count }, (_, i) => i + 1);
}

async function picturesOf(
  options: RenderOptions,
  loaded: LoadedState,
  { instance, image, frameNumbers }: Shown,
  parameters: WantedRendering['parameters'],
): Promise<Pictures> {
  const entry = await options.manifests.entryOf(instance);
  const treatment = presentationTreatment(loaded, image);
  return openPictures(options, instance, entry, parameters, treatment, frameNumbers[0]);
}

async function* partsOf(
  options: RenderOptions,
  context: Context,
  loaded: LoadedState,
  given: readonly Shown[],
  firstPictures: Pictures,
  mediaType: RenderedMediaType,
  parameters: WantedRendering['parameters'],
): AsyncGenerator<Part, void, undefined> {
  for (const [i, one] of given.entries()) {
    const location = `${context.baseUrl}/${refPath(one.instance)}`;
    try {
      const pictures = i === 0 ? firstPictures : await picturesOf(options, loaded, one, parameters);
      let position = 0;
      for await (const body of pictures.several(one.frameNumbers, mediaType)) {
        const frameNumber = one.frameNumbers[position++]!;
        yield {
          headers: { 'Content-Type': mediaType, 'Content-Location': `${location}/frames/${frameNumber}/rendered` },
          body,
        };
      }
    } catch (error) {
      // The answer has begun: an image that fails must neither cut it off nor be passed over in silence.
      if (!isArchiveError(error)) throw error;
      const problem = problemResponse(error, context.log);
      yield {
        headers: { 'Content-Type': 'application/problem+json', 'Content-Location': `${location}/rendered` },
        body: new Uint8Array(await problem.arrayBuffer()),
      };
    }
  }
}
