/**
 * Retrieve Transaction for rendered media (WADO-RS), PS3.18 §10.4.1.1.3: frames, instances, series and studies as pictures, animations,
 * video, text and documents. Which representation it is, and how it is answered; the bytes come from pictures.ts and renditions.ts.
 */
import { ArchiveError } from '../errors.ts';
import type { RenderedMediaType } from '../imaging/encode.ts';
import { acceptOf, type MediaRange, negotiate, type Offer } from './accept.ts';
import { isAnimated } from './animations.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import { assertFramesExist } from './frames.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { openPictures, type Pictures, type RenderOptions } from './pictures.ts';
import { refPath } from './references.ts';
import { parseRenderParameters, type RenderParameters } from './render-parameters.ts';
import { retrieveRenderedMany } from './rendered-many.ts';
import { renderPresentation } from './rendered-presentation.ts';
import { cannotRenderThis, contentOf, mediaTypesOf, type Rendition, renditionOf } from './renditions.ts';
import type { PictureResource } from './routes.ts';
import { addWarning } from './search.ts';
import { getCurrent, listStored, type StoredInstance, storedInstance } from './stored-instances.ts';
import { treatmentOf } from './treatments.ts';

/** Of pictures and animations; renderers that are asked for more keep everybody else waiting. */
export const maximumPictures = 2000;

export const pictureTypes: readonly RenderedMediaType[] = ['image/jpeg', 'image/png', 'image/gif', 'image/webp'];

/**
 * What is offered to these ranges. Browsers name WebP among all that they show, and would take anything: they get JPEG, which costs a
 * tenth of the time; WebP is for who names it and takes no wildcard.
 */
export function pictureTypesFor(ranges: readonly MediaRange[]): readonly RenderedMediaType[] {
  const takesAny = ranges.some(({ type, quality }) => (type === '*/*' || type === 'image/*') && quality > 0);
  return takesAny ? pictureTypes.filter((type) => type !== 'image/webp') : pictureTypes;
}

/** Errors: `not-found`, `not-acceptable`, `bad-request`, `cannot-render` for what cannot be shown, `limit-exceeded`. */
export async function retrieveRendered(
  options: RenderOptions,
  context: Context,
  { ref, frameNumbers }: PictureResource,
): Promise<Response> {
  const { index } = options.archive;
  const ranges = withoutTransferSyntaxes(acceptOf(context.request, context.query));
  const parameters = parseRenderParameters(context.query);
  if ('sopInstanceUid' in ref) {
    const instance = storedInstance(await getCurrent(index, context.tenant, ref), undefined);
    return renderInstance(options, context, { instance, frameNumbers, ranges, parameters });
  }
  const [instance, ...others] = await listStored(index, context.tenant, ref);
  if (instance !== undefined && others.length === 0) {
    return renderInstance(options, context, { instance, frameNumbers, ranges, parameters });
  }
  return retrieveRenderedMany(options, context, [instance!, ...others], ranges, parameters);
}

/**
 * §8.7.4: rendered media types have no transfer syntax, so a range that names one cannot be met. Error `bad-request` when all do.
 */
export function withoutTransferSyntaxes(ranges: readonly MediaRange[]): readonly MediaRange[] {
  const plain = ranges.filter(({ transferSyntax }) => transferSyntax === undefined || transferSyntax === '*');
  if (plain.length > 0 || ranges.length === 0) return plain;
  throw new ArchiveError(
    'bad-request',
    'The parameter transfer-syntax does not go with rendered media types; leave it out, or ask for the frames themselves.',
  );
}

export interface WantedRendering {
  readonly instance: StoredInstance;
  /** Undefined: the instance as a whole. */
  readonly frameNumbers: readonly number[] | undefined;
  readonly ranges: readonly MediaRange[];
  readonly parameters: RenderParameters;
}

/** The answer of one instance, or of some of its frames. Errors as of `retrieveRendered`. */
export async function renderInstance(
  options: RenderOptions,
  context: Context,
  wanted: WantedRendering,
): Promise<Response> {
  const { instance, frameNumbers } = wanted;
  const content = contentOf(instance);
  if (content === 'picture') return renderPictures(options, context, wanted);
  if (content === 'presentation') return renderPresentation(options, context, wanted);
  if (content === 'none' || frameNumbers !== undefined) throw cannotRenderThis(instance);
  return renderDocument(options, context, wanted);
}

interface PictureForm {
  readonly form: 'single' | 'multipart' | 'animation';
  readonly mediaType: RenderedMediaType;
  readonly frameNumbers: readonly number[];
}

async function renderPictures(
  options: RenderOptions,
  context: Context,
  { instance, frameNumbers, ranges, parameters }: WantedRendering,
): Promise<Response> {
  const entry = await options.manifests.entryOf(instance);
  if (entry.frames.kind === 'none') throw cannotRenderThis({ ...instance, isImage: false });
  const treatment = await treatmentOf(options, context.tenant, instance, parameters);
  const pictures = await openPictures(options, instance, entry, parameters, treatment, frameNumbers?.[0]);
  if (frameNumbers !== undefined) assertFramesExist(pictures.frames, frameNumbers);
  const chosen = chooseForm(ranges, pictures, frameNumbers);
  const tag = entityTag(
    instance.digest,
    context.baseUrl,
    chosen.form,
    chosen.mediaType,
    chosen.frameNumbers.join(),
    JSON.stringify(parameters),
    ...((await treatment?.identityOf(chosen.frameNumbers)) ?? []),
  );
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const headers = new Headers({ etag: tag, 'cache-control': keptForAWhile });
  for (const text of pictures.warningsFor(chosen.mediaType)) addWarning(headers, context.baseUrl, text);
  const location = (frameNumber: number): string =>
    `${context.baseUrl}/${refPath(instance)}/frames/${frameNumber}/rendered`;

  if (chosen.form === 'multipart') {
    const { contentType, body } = multipartRelated(chosen.mediaType, parts(pictures, chosen, location));
    headers.set('content-type', contentType);
    return new Response(await begunStreamOf(body, context), { headers });
  }
  headers.set('content-type', chosen.mediaType);
  if (chosen.form === 'animation' && isAnimated(chosen.mediaType)) {
    headers.set('content-location', `${context.baseUrl}/${refPath(instance)}/rendered`);
    return new Response(
      await begunStreamOf(pictures.animation(chosen.frameNumbers, chosen.mediaType, context.request.signal), context),
      {
        headers,
      },
    );
  }
  const [frameNumber = 1] = chosen.frameNumbers;
  const bytes = await pictures.one(frameNumber, chosen.mediaType);
  headers.set('content-length', String(bytes.length));
  headers.set('content-location', location(frameNumber));
  return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
}

/**
 * Of a whole instance of several frames: one picture stands for it, GIF and WebP run through all of them, and in parts it is every frame. Of
 * several frames by number: parts, also for who names the type of a picture alone, and an animation for who names GIF or WebP.
 */
function chooseForm(
  ranges: readonly MediaRange[],
  { frames, representativeFrameNumber }: Pictures,
  frameNumbers: readonly number[] | undefined,
): PictureForm {
  const isWhole = frameNumbers === undefined;
  // Not spread out before the bound is checked: a header may claim any number.
  const count = isWhole ? frames.count : frameNumbers.length;
  const all = count > maximumPictures ? [] : (frameNumbers ?? Array.from({ length: count }, (_, i) => i + 1));
  const representative = [frameNumbers?.[0] ?? representativeFrameNumber];
  const offers: Offer<PictureForm>[] = [];
  const offer = (form: PictureForm['form'], mediaType: RenderedMediaType, numbers: readonly number[]): void => {
    const value = { form, mediaType, frameNumbers: numbers };
    offers.push({ type: mediaType, form: form === 'multipart' ? 'multipart' : 'single', value });
  };
  const types = pictureTypesFor(ranges);
  if (count === 1 || isWhole) {
    for (const mediaType of types) {
      if (count === 1 || !isAnimated(mediaType)) offer('single', mediaType, representative);
    }
  }
  for (const mediaType of types) offer('multipart', mediaType, all);
  if (count > 1) for (const mediaType of types.filter(isAnimated)) offer('animation', mediaType, all);
  const loose = isWhole || count === 1 ? ranges : ranges.map(eitherForm);
  const { value } = negotiate(loose, offers);
  if (value.form !== 'single' && count > maximumPictures) throw tooMany(count, 'frames');
  return value;
}

/** Where several pictures result, the type of one picture stands for parts of that type, too. GIF and WebP have their own way of being many. */
export const eitherForm = (range: MediaRange): MediaRange =>
  range.form === 'single' && !isAnimated(range.type) ? { ...range, form: 'either' } : range;

export function tooMany(count: number, what: string): ArchiveError {
  return new ArchiveError(
    'limit-exceeded',
    `There are ${count} ${what} to render, and at most ${maximumPictures} are rendered at once; ask by series, or by /frames/{list}/rendered.`,
    { count },
  );
}

async function* parts(
  pictures: Pictures,
  { mediaType, frameNumbers }: PictureForm,
  location: (frameNumber: number) => string,
): AsyncGenerator<Part, void, undefined> {
  let position = 0;
  for await (const body of pictures.several(frameNumbers, mediaType)) {
    const frameNumber = frameNumbers[position++]!;
    yield { headers: { 'Content-Type': mediaType, 'Content-Location': location(frameNumber) }, body };
  }
}

async function renderDocument(
  { archive, manifests }: RenderOptions,
  context: Context,
  { instance, ranges, parameters }: WantedRendering,
): Promise<Response> {
  const types = mediaTypesOf(instance);
  const { form, mediaType } = negotiate(
    ranges,
    (['single', 'multipart'] as const).flatMap((form) =>
      types.map((type): Offer<{ form: 'single' | 'multipart'; mediaType: string }> => {
        return { type, form, value: { form, mediaType: type } };
      }),
    ),
  ).value;
  const tag = entityTag(instance.digest, context.baseUrl, form, mediaType, JSON.stringify(parameters));
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const rendition = await renditionOf(archive.packs, instance, await manifests.entryOf(instance), mediaType);
  const headers = new Headers({ etag: tag, 'cache-control': keptForAWhile, ...rendition.headers });
  for (const text of [...parameters.warnings, ...noPicture(parameters)]) addWarning(headers, context.baseUrl, text);
  const location = `${context.baseUrl}/${refPath(instance)}/rendered`;
  if (form === 'multipart') {
    const part = {
      headers: { 'Content-Type': rendition.contentType, 'Content-Location': location },
      body: await rendition.body(),
    };
    const { contentType, body } = multipartRelated(mediaType, [part]);
    headers.set('content-type', contentType);
    return new Response(await begunStreamOf(body, context), { headers });
  }
  headers.set('content-type', rendition.contentType);
  headers.set('content-location', location);
  return singlePart(rendition, headers, tag, context);
}

async function singlePart(rendition: Rendition, headers: Headers, tag: string, context: Context): Promise<Response> {
  const { lengthBytes } = rendition;
  if (lengthBytes === undefined) {
    return new Response(await begunStreamOf(await rendition.body(), context), { headers });
  }
  const range = rangeOf(context.request, lengthBytes, tag);
  for (const [name, value] of Object.entries(rangeHeaders(range, lengthBytes))) headers.set(name, value);
  const body = await begunStreamOf(await rendition.body(range), context);
  return new Response(body, { status: range === undefined ? 200 : 206, headers });
}

/** What is asked for of a picture, where there is none. */
function noPicture(parameters: RenderParameters): string[] {
  const { window, viewport, quality, annotation, profile, presentation, segmentation } = parameters;
  const treatment = { presentationUID: presentation, segmentationUID: segmentation };
  const asked = Object.entries({ window, viewport, quality, annotation, iccprofile: profile, ...treatment });
  const names = asked.flatMap(([name, value]) => (value === undefined ? [] : [name]));
  return names.length === 0 ? [] : [`This is no picture; ignored: ${names.join(', ')}.`];
}
