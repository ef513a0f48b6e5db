/**
 * Retrieve Transaction for Rendered MPR and Rendered 3D Volume Resources (WADO-RS), PS3.18 §10.4.1.1.7, §10.4.1.1.8: planes and slabs through
 * the volume that a study, a series or an instance is, as pictures and animations, or what would be rendered in words (Annex K). Which
 * representation, and how it is answered; what is drawn comes from volumes.ts.
 */
import type { Archive } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import type { RenderedMediaType } from '../imaging/encode.ts';
import type { VolumeLook } from '../imaging/volume-look.ts';
import type { Plane } from '../imaging/volume-plane.ts';
import { acceptOf, type MediaRange, negotiate, type Offer } from './accept.ts';
import { ahead, animationOf, isAnimated } from './animations.ts';
import { volumeAnnotationOf } from './annotation-text.ts';
import { begunStreamOf } from './body.ts';
import type { ByteBudget } from './byte-budget.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { mediaTypeWarnings } from './pictures.ts';
import { refPath } from './references.ts';
import { eitherForm, pictureTypesFor, withoutTransferSyntaxes } from './rendered.ts';
import { cannotRenderThis, contentOf } from './renditions.ts';
import type { VolumeResource } from './routes.ts';
import { addWarning } from './search.ts';
import { listStored, type StoredInstance } from './stored-instances.ts';
import { parseVolumeParameters, type VolumeParameters } from './volume-parameters.ts';
import { identityOf } from './volume-selection.ts';
import { responseModule, type VolumeView, viewOf } from './volume-view.ts';
import type { VolumeChoice, Volumes } from './volumes.ts';

export interface RenderedVolumeOptions {
  readonly archive: Archive;
  readonly volumes: Volumes;
  /** For animations, as for all answers of many pictures. */
  readonly pictureTurns: ByteBudget;
}

interface VolumeForm {
  readonly form: 'single' | 'multipart' | 'animation';
  readonly mediaType: RenderedMediaType;
}

const jsonTypes = ['application/dicom+json', 'application/json'] as const;
const presentationStates = /^1\.2\.840\.10008\.5\.1\.4\.1\.1\.11\.(?:6|7|9|10|11)$/;

/**
 * Errors: `not-found`, `not-acceptable`, `bad-request` for parameters and for what leaves open which volume is meant, `cannot-render` for
 * what makes no volume, `too-large`; `unavailable` while any pack of it is out of reach.
 */
export async function retrieveRenderedVolume(
  options: RenderedVolumeOptions,
  context: Context,
  { kind, ref }: VolumeResource,
): Promise<Response> {
  const parameters = parseVolumeParameters(context.query, kind);
  const ranges = withoutTransferSyntaxes(acceptOf(context.request, context.query));
  const chosen = parameters.isMetadata ? undefined : chooseForm(ranges, parameters);
  const jsonType = parameters.isMetadata
    ? negotiate(
        ranges,
        jsonTypes.map((type): Offer<string> => ({ type, form: 'single', value: type })),
      ).value
    : undefined;
  const pictures = picturesOf(await listStored(options.archive.index, context.tenant, ref));
  const tag = entityTag(
    context.baseUrl,
    kind,
    refPath(ref),
    jsonType ?? JSON.stringify(chosen),
    JSON.stringify(parameters),
    ...identityOf(pictures),
  );
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);

  const choice = await options.volumes.choose(pictures, parameters);
  const view = viewOf(choice.geometry, parameters, kind);
  const headers = new Headers({ etag: tag, 'cache-control': keptForAWhile });
  headers.set('content-location', `${context.baseUrl}/${refPath(ref)}/${kind}`);
  for (const text of [...parameters.warnings, ...choice.warnings]) addWarning(headers, context.baseUrl, text);
  if (jsonType !== undefined) {
    headers.set('content-type', jsonType);
    if (context.request.method === 'HEAD') return new Response(null, { headers });
    const window = parameters.picture.window ?? (await options.volumes.windowOf(choice, context));
    return new Response(JSON.stringify(responseModule(view.described, window)), { headers });
  }
  return answerPictures(options, context, headers, { ...chosen!, parameters, choice, view });
}

interface Wanted extends VolumeForm {
  readonly parameters: VolumeParameters;
  readonly choice: VolumeChoice;
  readonly view: VolumeView;
}

async function answerPictures(
  { volumes, pictureTurns }: RenderedVolumeOptions,
  context: Context,
  headers: Headers,
  { form, mediaType, parameters, choice, view }: Wanted,
): Promise<Response> {
  const { window, quality, profile, annotation } = parameters.picture;
  const text = annotation && volumeAnnotationOf(await volumes.metadataOf(choice), annotation, view);
  const warn = (sentence: string): void => addWarning(headers, context.baseUrl, sentence);
  for (const sentence of mediaTypeWarnings(parameters.picture, mediaType)) warn(sentence);
  if (text?.complete === false)
    warn('The annotation holds characters that cannot be drawn here; each is shown as an empty box.');
  const look: VolumeLook = {
    attributes: choice.attributes,
    mediaType,
    ...(window && { window }),
    ...(view.fit && { viewport: view.fit }),
    ...(text && { annotation: { topLeft: text.topLeft, bottomLeft: text.bottomLeft } }),
    ...(quality && { quality }),
    ...(profile && mediaType !== 'image/gif' && { profile: profile === 'yes' ? {} : { space: profile } }),
  };
  const pictureOf = (plane: Plane): Promise<Uint8Array<ArrayBuffer>> =>
    volumes.picture(choice, context, plane, view.slab, look);
  const several = (order: readonly number[]): AsyncGenerator<Uint8Array, void, undefined> =>
    ahead(order, pictureTurns, (number) => pictureOf(view.planes[number]!));
  const inOrder = [...view.planes.keys()];

  if (form === 'multipart') {
    const { contentType, body } = multipartRelated(mediaType, parts(several(inOrder), mediaType));
    headers.set('content-type', contentType);
    return new Response(await begunStreamOf(body, context), { headers });
  }
  headers.set('content-type', mediaType);
  if (form === 'animation' && isAnimated(mediaType)) {
    const { movement } = parameters;
    const isSwinging = movement?.kind === 'swivel' && movement.rangeDegrees < 360;
    const order = isSwinging ? thereAndBack(inOrder) : inOrder;
    const pictures = animationOf(mediaType, several(order), 1000 / (view.rateHz ?? 1), context.request.signal);
    return new Response(await begunStreamOf(pictures, context), { headers });
  }
  // A volume is a hundred megabytes: nobody has it read for the header fields alone.
  if (context.request.method === 'HEAD') return new Response(null, { headers });
  const bytes = await pictureOf(view.planes[0]!);
  headers.set('content-length', String(bytes.length));
  return new Response(bytes, { headers });
}

/** What moves is an animation or parts; the type of a picture that cannot move means parts of it. */
function chooseForm(ranges: readonly MediaRange[], { movement }: VolumeParameters): VolumeForm {
  const offer = (form: VolumeForm['form'], mediaType: RenderedMediaType): Offer<VolumeForm> => ({
    type: mediaType,
    form: form === 'multipart' ? 'multipart' : 'single',
    value: { form, mediaType },
  });
  const types = pictureTypesFor(ranges);
  const inParts = types.map((mediaType) => offer('multipart', mediaType));
  if (movement === undefined) {
    return negotiate(ranges, [...types.map((mediaType) => offer('single', mediaType)), ...inParts]).value;
  }
  const animations = types.filter(isAnimated).map((mediaType) => offer('animation', mediaType));
  return negotiate(ranges.map(eitherForm), [...animations, ...inParts]).value;
}

async function* parts(
  pictures: AsyncIterable<Uint8Array>,
  mediaType: RenderedMediaType,
): AsyncGenerator<Part, void, undefined> {
  for await (const body of pictures) yield { headers: { 'Content-Type': mediaType }, body };
}

/** An animation runs in one direction: every other picture on the way there, the others on the way back, none of them twice. */
const thereAndBack = (order: readonly number[]): readonly number[] => [
  ...order.filter((_, i) => i % 2 === 0),
  ...order.filter((_, i) => i % 2 === 1).toReversed(),
];

/** Reports and video lie beside pictures in many studies and are no part of a volume. */
function picturesOf(instances: readonly StoredInstance[]): readonly StoredInstance[] {
  const pictures = instances.filter((instance) => contentOf(instance) === 'picture');
  if (pictures.length > 0) return pictures;
  const [first] = instances;
  if (first !== undefined && presentationStates.test(first.sopClassUid)) {
    throw new ArchiveError(
      'cannot-render',
      'Volumetric Presentation States are not applied here; ask for the images they refer to, with the parameters they describe.',
    );
  }
  throw cannotRenderThis(first!);
}
