/**
 * Thumbnails (PS3.18 §10.4.1.1.4) of studies, series, instances and frames: small, of whatever stands for the resource, and always there.
 * What holds no picture, or one that cannot be drawn, has an icon that says what it is: viewers list series by their thumbnails.
 */

import type { Archive } from '../archive/ports.ts';
import { type InstanceRecord, type InstanceRef, modalityOf } from '../archive/records.ts';
import { type ErrorCode, isArchiveError } from '../errors.ts';
import { canDecode } from '../imaging/codecs.ts';
import type { RenderedMediaType } from '../imaging/encode.ts';
import { type IconShape, iconFrame } from '../imaging/icon.ts';
import { acceptOf, negotiate } from './accept.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { assertFramesExist } from './frames.ts';
import { openPictures, type RenderOptions } from './pictures.ts';
import { type AnyRef, refPath, unknownReference } from './references.ts';
import { parseRenderParameters, type RenderParameters, viewportFor } from './render-parameters.ts';
import { pictureTypesFor } from './rendered.ts';
import { contentOf } from './renditions.ts';
import type { PictureResource } from './routes.ts';
import { addWarning } from './search.ts';
import { getCurrent, inViewingOrder, listStored, storedInstance } from './stored-instances.ts';

const thumbnailPixels = 200;
const seriesTried = 10;

/** What is the object's own fault; an icon stands for its picture. */
const ownFaults: ReadonlySet<ErrorCode> = new Set([
  'cannot-render',
  'unsupported-transfer-syntax',
  'limit-exceeded',
  'bad-dicom',
  'damaged',
  'timeout',
]);
/** Those that may be over by the next time: damage is mended, and a machine was busy. */
const passing: ReadonlySet<ErrorCode> = new Set(['damaged', 'timeout']);

/** Errors: `not-found`, `not-acceptable`, `bad-request`; `unavailable` while too many wait or the pack is out of reach. */
export async function retrieveThumbnail(
  options: RenderOptions,
  context: Context,
  { ref, frameNumbers }: PictureResource,
): Promise<Response> {
  const { archive } = options;
  const asked = parseRenderParameters(context.query, ['viewport']);
  const viewport = asked.viewport ?? { width: thumbnailPixels, height: thumbnailPixels };
  const ranges = acceptOf(context.request, context.query);
  const { value: mediaType } = negotiate(
    ranges.map((range) => ({ ...range, form: 'either' as const })),
    pictureTypesFor(ranges).map((type) => ({ type, form: 'single' as const, value: type })),
  );
  const record = await getCurrent(archive.index, context.tenant, await representativeOf(archive, context, ref));
  const [wantedFrame] = frameNumbers ?? [];
  const tag = entityTag(record.digest, context.baseUrl, 'thumbnail', mediaType, wantedFrame, JSON.stringify(viewport));
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const headers = new Headers({ 'content-type': mediaType, etag: tag, 'cache-control': keptForAWhile });
  for (const text of asked.warnings) addWarning(headers, context.baseUrl, text);
  const parameters = { viewport, warnings: [] };
  const drawn = await pictureOf(options, context, record, { wantedFrame, mediaType, parameters });
  if (typeof drawn === 'object') {
    headers.set('content-location', `${context.baseUrl}/${refPath(record)}/frames/${drawn.frameNumber}/rendered`);
  } else if (drawn === 'icon for now') {
    headers.delete('etag');
    headers.set('cache-control', 'private, no-store');
  }
  const bytes = typeof drawn === 'object' ? drawn.bytes : await drawIcon(options, record, mediaType, parameters);
  headers.set('content-length', String(bytes.length));
  return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
}

interface Wanted {
  /** Undefined: the middle one. */
  readonly wantedFrame: number | undefined;
  readonly mediaType: RenderedMediaType;
  readonly parameters: RenderParameters;
}

/** An icon where there is nothing to draw, or drawing it will never do, or did not this time. */
async function pictureOf(
  options: RenderOptions,
  context: Context,
  record: InstanceRecord,
  { wantedFrame, mediaType, parameters }: Wanted,
): Promise<{ bytes: Uint8Array; frameNumber: number } | 'icon' | 'icon for now'> {
  if (contentOf(storedInstance(record, undefined)) !== 'picture') return 'icon';
  try {
    const entry = await options.manifests.entryOf(record);
    if (entry.frames.kind === 'none') return 'icon';
    const pictures = await openPictures(options, record, entry, parameters);
    if (wantedFrame !== undefined) assertFramesExist(pictures.frames, [wantedFrame]);
    const frameNumber = wantedFrame ?? Math.max(1, Math.ceil(pictures.frames.count / 2));
    return { bytes: await pictures.one(frameNumber, mediaType), frameNumber };
  } catch (error) {
    if (!isArchiveError(error) || !ownFaults.has(error.code)) throw error;
    context.log.warn({ code: error.code, ...error.details }, 'A thumbnail could not be drawn and is an icon');
    return passing.has(error.code) ? 'icon for now' : 'icon';
  }
}

async function drawIcon(
  { render }: RenderOptions,
  record: InstanceRecord,
  mediaType: RenderedMediaType,
  { viewport }: RenderParameters,
): Promise<Uint8Array> {
  const { word, shape } = iconOf(record);
  const icon = iconFrame(word, shape);
  return render({ ...icon, mediaType, ...(viewport && { viewport: viewportFor(viewport, icon.attributes) }) });
}

function iconOf(record: InstanceRecord): { word: string; shape: IconShape } {
  const modality = modalityOf(record)?.trim() || undefined;
  const documentClass = /^1\.2\.840\.10008\.5\.1\.4\.1\.1\.104\.(\d)$/.exec(record.sopClassUid)?.[1];
  const documents: Readonly<Record<string, string>> = { 1: 'PDF', 2: 'CDA', 3: 'STL', 4: 'OBJ', 5: 'MTL' };
  switch (contentOf(storedInstance(record, undefined))) {
    case 'video':
      return { word: 'VIDEO', shape: 'video' };
    case 'document':
      return { word: documents[documentClass ?? ''] ?? 'DOC', shape: 'document' };
    case 'report':
      return { word: modality ?? 'SR', shape: 'document' };
    case 'picture':
      return { word: modality ?? 'IMAGE', shape: 'picture' };
    default: {
      const isWaveform = record.sopClassUid.startsWith('1.2.840.10008.5.1.4.1.1.9.');
      return { word: modality ?? 'DICOM', shape: isWaveform ? 'waveform' : 'document' };
    }
  }
}

/** The instance that stands for a study or a series: the middle picture of the series, of the longest one that has pictures; else any. */
async function representativeOf(archive: Archive, context: Context, ref: AnyRef): Promise<InstanceRef> {
  if ('sopInstanceUid' in ref) return ref;
  if ('seriesInstanceUid' in ref) return (await middleOf(archive, context, ref)).instance;
  const series = (await archive.index.listSeries(context.tenant, ref)).toSorted(
    (a, b) => b.instanceCount - a.instanceCount,
  );
  let otherwise: InstanceRef | undefined;
  for (const { studyInstanceUid, seriesInstanceUid } of series.slice(0, seriesTried)) {
    const middle = await middleOf(archive, context, { studyInstanceUid, seriesInstanceUid });
    if (middle.isPicture) return middle.instance;
    otherwise ??= middle.instance;
  }
  if (otherwise === undefined) throw unknownReference(ref);
  return otherwise;
}

async function middleOf(
  archive: Archive,
  context: Context,
  ref: AnyRef,
): Promise<{ instance: InstanceRef; isPicture: boolean }> {
  const stored = inViewingOrder(await listStored(archive.index, context.tenant, ref));
  const pictures = stored.filter(
    (instance) => contentOf(instance) === 'picture' && canDecode(instance.transferSyntaxUid),
  );
  const among = pictures.length > 0 ? pictures : stored;
  return { instance: among[Math.floor(among.length / 2)]!, isPicture: pictures.length > 0 };
}
