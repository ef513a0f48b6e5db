/**
 * Retrieve Transaction for rendered media (WADO-RS), PS3.18 §10.4.1.1.3 and §10.4.1.1.4: frames and thumbnails as JPEG or PNG. Here the
 * frame is chosen and its bytes, attributes and LUTs are brought together; the pipeline is imaging's, given as `render`.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { Archive } from '../archive/ports.ts';
import type { InstanceRecord, InstanceRef } from '../archive/records.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { bulkNeededForRendering, imageAttributesOf } from '../imaging/image-attributes.ts';
import type { RenderRequest } from '../imaging/render.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { bulkPathOf, readBulk } from './bulkdata.ts';
import type { ByteBudget } from './byte-budget.ts';
import { entityTag, isUnchanged, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { type FrameSource, openFrames } from './frame-source.ts';
import { assertFramesExist } from './frames.ts';
import type { Manifests } from './manifests.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { type AnyRef, refPath, unknownReference } from './references.ts';
import { parseRenderParameters, type RenderParameters, viewportFor } from './render-parameters.ts';
import type { Resource } from './routes.ts';
import { addWarning } from './search.ts';
import { getCurrent, inViewingOrder, listStored } from './stored-instances.ts';

/** One frame to one picture; RenderPool's `render`. */
export type Render = (request: RenderRequest) => Promise<Uint8Array>;

export interface RenderOptions {
  readonly archive: Archive;
  readonly manifests: Manifests;
  readonly render: Render;
  /** For the frames that are being rendered or wait for it: whatever the queue is, memory is not it. */
  readonly frameBudget: ByteBudget;
}

type PictureResource = Extract<Resource, { kind: 'rendered' | 'thumbnail' }>;

const thumbnailPixels = 200;
const seriesTriedForThumbnail = 10;

interface Form {
  readonly form: 'single' | 'multipart';
  readonly mediaType: RenderRequest['mediaType'];
}

/** Errors: `not-found`, `not-acceptable`, `bad-request`, `cannot-render` for what is no image. */
export async function retrieveRendered(
  options: RenderOptions,
  context: Context,
  resource: PictureResource,
): Promise<Response> {
  const { archive, manifests } = options;
  const ranges = acceptOf(context.request, context.query);
  const asked = parseRenderParameters(context.query);
  const isThumbnail = resource.kind === 'thumbnail';
  const parameters: RenderParameters = isThumbnail
    ? { viewport: asked.viewport ?? { width: thumbnailPixels, height: thumbnailPixels }, warnings: [] }
    : asked;
  const record = await getCurrent(
    archive.index,
    context.tenant,
    await representativeOf(archive, context, resource.ref),
  );
  const entry = await manifests.entryOf(record);
  if (entry.frames.kind === 'none') throw noImage();
  const frames = openFrames(archive.packs, record, entry);
  const frameNumbers = resource.frameNumbers ?? [isThumbnail ? Math.ceil(frames.count / 2) : 1];
  assertFramesExist(frames, frameNumbers);
  const { form, mediaType } = negotiate(ranges, offersFor(frameNumbers.length)).value;
  const tag = entityTag(record.digest, form, mediaType, frameNumbers.join(), JSON.stringify(parameters));
  if (isUnchanged(context.request, tag)) return notModified(tag);

  const headers = new Headers({ etag: tag, 'cache-control': 'private, max-age=600' });
  for (const text of parameters.warnings) addWarning(headers, context.baseUrl, text);
  const picture = await pictures(options, record, entry, frames, parameters, mediaType);
  const location = (frameNumber: number): string =>
    `${context.baseUrl}/${refPath(record)}/frames/${frameNumber}/rendered`;
  if (form === 'multipart') {
    const parts = pictureParts(picture, frameNumbers, mediaType, location);
    const { contentType, body } = multipartRelated(mediaType, parts);
    headers.set('content-type', contentType);
    return new Response(await begunStreamOf(body, context), { headers });
  }
  const [frameNumber = 1] = frameNumbers;
  const bytes = await picture(frameNumber);
  headers.set('content-type', mediaType);
  headers.set('content-length', String(bytes.length));
  headers.set('content-location', location(frameNumber));
  return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
}

function offersFor(wanted: number): Offer<Form>[] {
  const mediaTypes = ['image/jpeg', 'image/png'] as const;
  const forms = wanted === 1 ? (['single', 'multipart'] as const) : (['multipart'] as const);
  return forms.flatMap((form) => mediaTypes.map((type) => ({ type, form, value: { form, mediaType: type } })));
}

/** A function that renders frames of one instance: its metadata is parsed and its LUTs fetched once. */
async function pictures(
  { archive, render, frameBudget }: RenderOptions,
  record: InstanceRecord,
  entry: ManifestEntry,
  frames: FrameSource,
  parameters: RenderParameters,
  mediaType: RenderRequest['mediaType'],
): Promise<(frameNumber: number) => Promise<Uint8Array>> {
  const metadata = JSON.parse(entry.metadata) as DicomJson;
  const tables = new Map<string, Uint8Array>();
  for (const uri of bulkNeededForRendering(metadata)) {
    tables.set(uri, await readBulk(archive.packs, record, entry, bulkPathOf(uri)));
  }
  const { window, viewport, quality } = parameters;
  return async (frameNumber) => {
    const attributes = imageAttributesOf(metadata, frameNumber, (uri) => tables.get(uri));
    return frameBudget.hold(frames.heldBytesOf(frameNumber), async () =>
      render({
        frame: await frames.readOne(frameNumber),
        transferSyntaxUid: frames.givenTransferSyntaxUid,
        attributes,
        mediaType,
        ...(window === undefined ? {} : { window }),
        ...(viewport === undefined ? {} : { viewport: viewportFor(viewport, attributes) }),
        ...(quality === undefined ? {} : { quality }),
      }),
    );
  };
}

async function* pictureParts(
  picture: (frameNumber: number) => Promise<Uint8Array>,
  frameNumbers: readonly number[],
  mediaType: string,
  location: (frameNumber: number) => string,
): AsyncGenerator<Part, void, undefined> {
  for (const frameNumber of frameNumbers) {
    const body = await picture(frameNumber);
    yield { headers: { 'Content-Type': mediaType, 'Content-Location': location(frameNumber) }, body };
  }
}

/** The instance that stands for a study or a series: the middle picture of the series, of the longest one that has pictures. */
async function representativeOf(archive: Archive, context: Context, ref: AnyRef): Promise<InstanceRef> {
  if ('sopInstanceUid' in ref) return ref;
  if ('seriesInstanceUid' in ref) {
    const middle = await middleImage(archive, context, ref);
    if (middle !== undefined) return middle;
    throw noImage();
  }
  const series = (await archive.index.listSeries(context.tenant, ref)).toSorted(
    (a, b) => b.instanceCount - a.instanceCount,
  );
  if (series.length === 0) throw unknownReference(ref);
  for (const { studyInstanceUid, seriesInstanceUid } of series.slice(0, seriesTriedForThumbnail)) {
    const middle = await middleImage(archive, context, { studyInstanceUid, seriesInstanceUid });
    if (middle !== undefined) return middle;
  }
  throw noImage();
}

async function middleImage(archive: Archive, context: Context, ref: AnyRef): Promise<InstanceRef | undefined> {
  const stored = await listStored(archive.index, context.tenant, ref);
  const images = inViewingOrder(stored.filter(({ isImage }) => isImage));
  return images[Math.floor(images.length / 2)];
}

const noImage = (): ArchiveError =>
  new ArchiveError(
    'cannot-render',
    'There is no picture to render here: no Pixel Data; retrieve the instance instead.',
  );
