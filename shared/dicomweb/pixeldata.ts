/**
 * Retrieve Transaction for pixel data (WADO-RS), PS3.18 §10.4: all frames of an instance, a series or a study in one multipart answer, each
 * part as the frames resource would give it. Instances without pixels have none; frames among those of other instances that turn out to be
 * damaged come as they are stored, labelled so.
 */
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { acceptOf, type MediaRange, negotiate } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { openFrames } from './frame-source.ts';
import { type FrameOptions, frameParts, framesIn, labelOf } from './frames.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { partialStatus, reachOf } from './reach.ts';
import { type AnyRef, refPath } from './references.ts';
import { addWarning } from './search.ts';
import { inPackOrder, listStored, type StoredInstance } from './stored-instances.ts';
import { isOwnFault } from './transcoded-instances.ts';
import { type FrameChoice, frameOffers } from './transfer-syntax-offers.ts';

/** Errors: `not-found` also where nothing has pixels, `not-acceptable`. What only some can be had as is given with 206. */
export async function retrievePixelData(options: FrameOptions, context: Context, ref: AnyRef): Promise<Response> {
  const { archive } = options;
  const ranges = acceptOf(context.request, context.query);
  const images = (await listStored(archive.index, context.tenant, ref)).filter(({ isImage }) => isImage);
  if (images.length === 0) throw new ArchiveError('not-found', 'There is no Pixel Data here.');
  const choices = new Map<StoredInstance, FrameChoice>();
  let refusal: unknown;
  for (const image of images) {
    try {
      choices.set(image, choiceFor(ranges, framesStoredAs(image.transferSyntaxUid), image.bitsAllocated));
    } catch (error) {
      if (!isArchiveError(error, 'not-acceptable')) throw error;
      refusal ??= error;
    }
  }
  const [chosen] = choices.values();
  if (chosen === undefined) throw refusal;
  const identity = images.flatMap(({ sopInstanceUid, digest }) => [sopInstanceUid, digest]);
  const tag = entityTag('pixeldata', context.baseUrl, ...[...choices.values()].map(labelOf), ...identity);
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const reach = await reachOf(archive.packs, [...choices.keys()], context);
  const { contentType, body } = multipartRelated(
    chosen.mediaType,
    partsOf(options, context, ranges, inPackOrder(reach.reachable)),
  );
  const headers = new Headers({ 'content-type': contentType, etag: tag, 'cache-control': keptForAWhile });
  const reachStatus = partialStatus(headers, reach, choices.size, context);
  const isPartial = choices.size < images.length;
  if (isPartial) {
    const what = `The frames of ${images.length - choices.size} of ${images.length} instances cannot be given as they are asked for`;
    addWarning(headers, context.baseUrl, `${what}; ask for application/octet-stream with transfer-syntax=*`);
  }
  return new Response(await begunStreamOf(body, context), { status: isPartial ? 206 : reachStatus, headers });
}

/** As the index tells it; the frames themselves decide when they are read. */
function framesStoredAs(transferSyntaxUid: string): string {
  const { encapsulated, codec } = transferSyntaxOf(transferSyntaxUid);
  return !encapsulated && codec === 'native' ? EXPLICIT_VR_LITTLE_ENDIAN : transferSyntaxUid;
}

const choiceFor = (
  ranges: readonly MediaRange[],
  transferSyntaxUid: string,
  bitsAllocated: number | undefined,
): FrameChoice => negotiate(ranges, frameOffers({ transferSyntaxUid, bitsAllocated }, ['multipart'])).value;

async function* partsOf(
  { archive, manifests, transcoder }: FrameOptions,
  context: Context,
  ranges: readonly MediaRange[],
  instances: readonly StoredInstance[],
): AsyncGenerator<Part, void, undefined> {
  for (const instance of instances) {
    const entry = await manifests.entryOf(instance);
    if (entry.frames.kind === 'none') continue;
    const frames = openFrames(archive.packs, instance, entry);
    const choice = choiceFor(ranges, frames.givenTransferSyntaxUid, instance.bitsAllocated);
    const frameNumbers = Array.from({ length: frames.count }, (_, i) => i + 1);
    const location = (frameNumber: number): string => `${context.baseUrl}/${refPath(instance)}/frames/${frameNumber}`;
    const partsIn = ({ mediaType, transferSyntaxUid }: Omit<FrameChoice, 'form'>, some: readonly number[]) =>
      frameParts(framesIn(frames, entry, some, transferSyntaxUid, transcoder), some, labelOf({ mediaType, transferSyntaxUid }), location); // biome-ignore format: one call
    let given = 0;
    try {
      for await (const part of partsIn(choice, frameNumbers)) {
        yield part;
        given++;
      }
    } catch (error) {
      if (!isOwnFault(error) || instances.length === 1) throw error;
      const { sopInstanceUid } = instance;
      context.log.warn({ err: error, code: error.code, sopInstanceUid }, 'Frames are given as they are stored');
      const transferSyntaxUid = frames.givenTransferSyntaxUid;
      const { mediaType } = transferSyntaxOf(transferSyntaxUid);
      yield* partsIn({ mediaType, transferSyntaxUid }, frameNumbers.slice(given));
    }
  }
}
