/**
 * Retrieve Transaction for frames (WADO-RS), PS3.18 §10.4: Pixel Data of single frames, with the media types of Tables 8.7.3-4 and
 * 8.7.3-5: as they are stored, decoded, or compressed another way. What can be had is transfer-syntax-offers.ts.
 */

import type { ManifestEntry } from '../archive/manifest.ts';
import type { Archive } from '../archive/ports.ts';
import type { InstanceRef } from '../archive/records.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { ArchiveError } from '../errors.ts';
import { nativeFrameBytes } from '../imaging/native-frame.ts';
import { acceptOf, negotiate } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import { type FrameSource, openFrames } from './frame-source.ts';
import type { FrameOnItsWay, FrameTranscoder } from './frame-transcoder.ts';
import type { Manifests } from './manifests.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { refPath } from './references.ts';
import { bitsAllocatedOf, getCurrent } from './stored-instances.ts';
import { pixelAttributesOf } from './transcoded-attributes.ts';
import { asNotAcceptable } from './transcoded-instances.ts';
import { type FrameChoice, frameOffers } from './transfer-syntax-offers.ts';

export interface FrameOptions {
  readonly archive: Archive;
  readonly manifests: Manifests;
  readonly transcoder: FrameTranscoder;
}

/** Begun while one is being sent: there are two threads to a pool. */
const framesAhead = 2;

/** Errors: `not-found` (also for a frame beyond the last), `not-acceptable`. */
export async function retrieveFrames(
  options: FrameOptions,
  context: Context,
  ref: InstanceRef,
  frameNumbers: readonly number[],
): Promise<Response> {
  const { archive, manifests, transcoder } = options;
  const ranges = acceptOf(context.request, context.query);
  const record = await getCurrent(archive.index, context.tenant, ref);
  const entry = await manifests.entryOf(record);
  const frames = openFrames(archive.packs, record, entry);
  assertFramesExist(frames, frameNumbers);
  const forms = frameNumbers.length === 1 ? (['multipart', 'single'] as const) : (['multipart'] as const);
  const pixels = { transferSyntaxUid: frames.givenTransferSyntaxUid, bitsAllocated: bitsAllocatedOf(record) };
  const choice = negotiate(ranges, frameOffers(pixels, forms)).value;
  const { form, mediaType, transferSyntaxUid } = choice;
  const tag = entityTag(record.digest, form, mediaType, transferSyntaxUid, frameNumbers.join());
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const label = labelOf(choice);
  const location = (frameNumber: number): string => `${context.baseUrl}/${refPath(record)}/frames/${frameNumber}`;
  const common = { etag: tag, 'cache-control': keptForAWhile };

  if (form === 'multipart') {
    const { contentType, body } = multipartRelated(
      mediaType,
      frameParts(framesIn(frames, entry, frameNumbers, transferSyntaxUid, transcoder), frameNumbers, label, location),
    );
    return new Response(await begunStreamOf(body, context), { headers: { ...common, 'content-type': contentType } });
  }
  const [frameNumber = 1] = frameNumbers;
  const headers = { ...common, 'content-type': label, 'content-location': location(frameNumber) };
  const isAsStored = transferSyntaxUid === frames.givenTransferSyntaxUid;
  const lengthBytes = isAsStored ? frames.lengthAsStoredBytes(frameNumber) : undefined;
  if (lengthBytes !== undefined) {
    // A codestream that is ordered by resolution is of use from its beginning on.
    const range = rangeOf(context.request, lengthBytes, tag);
    const part = await frames.readPart(frameNumber, range ?? { offsetBytes: 0, lengthBytes });
    const body =
      part instanceof Uint8Array ? (part as Uint8Array<ArrayBuffer>) : await begunStreamOf(generate(part), context);
    const ranged = { ...headers, ...rangeHeaders(range, lengthBytes) };
    return new Response(body, { status: range === undefined ? 200 : 206, headers: ranged });
  }
  const { value: frame } = await framesIn(frames, entry, [frameNumber], transferSyntaxUid, transcoder).next();
  if (frame === undefined) throw new ArchiveError('not-found', 'This instance has no such frame.');
  if (frame instanceof Uint8Array) {
    return new Response(frame as Uint8Array<ArrayBuffer>, {
      headers: { ...headers, 'content-length': String(frame.length) },
    });
  }
  return new Response(await begunStreamOf(generate(frame), context), { headers });
}

/** Error `not-found` that says how many there are. */
export function assertFramesExist(frames: FrameSource, frameNumbers: readonly number[]): void {
  const beyond = frameNumbers.find((frameNumber) => frameNumber > frames.count);
  if (beyond === undefined) return;
  const count = frames.count === 1 ? 'one frame' : `${frames.count} frames`;
  throw new ArchiveError('not-found', `There is no frame ${beyond}: this instance has ${count}, counted from 1.`, {
    frameNumber: beyond,
    frameCount: frames.count,
  });
}

export const labelOf = ({ mediaType, transferSyntaxUid }: Omit<FrameChoice, 'form'>): string =>
  `${mediaType}; transfer-syntax=${transferSyntaxUid}`;

export async function* frameParts(
  bodies: AsyncIterable<Part['body']>,
  frameNumbers: readonly number[],
  label: string,
  location: (frameNumber: number) => string,
): AsyncGenerator<Part, void, undefined> {
  let position = 0;
  for await (const body of bodies) {
    yield { headers: { 'Content-Type': label, 'Content-Location': location(frameNumbers[position++]!) }, body };
  }
}

/** Each frame in the order asked for; a body must be consumed before the next frame is pulled. Errors: as of FrameTranscoder. */
export async function* framesIn(
  frames: FrameSource,
  entry: ManifestEntry,
  frameNumbers: readonly number[],
  transferSyntaxUid: string,
  transcoder: FrameTranscoder,
): AsyncGenerator<Part['body'], void, undefined> {
  if (transferSyntaxUid === frames.givenTransferSyntaxUid) {
    yield* frames.read(frameNumbers);
    return;
  }
  const attributes = pixelAttributesOf(JSON.parse(entry.metadata) as DicomJson);
  const begin = (frameNumber: number): FrameOnItsWay =>
    transcoder.begin(frames.heldBytesOf(frameNumber) + nativeFrameBytes(attributes), async () => ({
      frame: await frames.readOne(frameNumber),
      fromTransferSyntaxUid: frames.givenTransferSyntaxUid,
      toTransferSyntaxUid: transferSyntaxUid,
      attributes,
    }));
  const waiting = frameNumbers.values();
  const onTheirWay: FrameOnItsWay[] = [];
  try {
    for (;;) {
      for (let next = onTheirWay.length; next <= (transcoder.isRoomy ? framesAhead : 0); next++) {
        const { value, done } = waiting.next();
        if (done === true) break;
        onTheirWay.push(begin(value));
      }
      const [first] = onTheirWay;
      if (first === undefined) return;
      const { bytes } = await first.frame.catch((error: unknown) => {
        throw asNotAcceptable(error, 'The frame');
      });
      yield bytes;
      first.release();
      onTheirWay.shift();
    }
  } finally {
    for (const one of onTheirWay) one.release();
  }
}

async function* generate(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunks;
}
