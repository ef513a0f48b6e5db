/**
 * Retrieve Transaction for frames (WADO-RS), PS3.18 §10.4: Pixel Data of single frames as it is stored, with the media types of
 * Tables 8.7.3-4 and 8.7.3-5. Nothing is decoded here: native frames are octet streams, compressed ones what their codec calls them.
 */
import type { Archive } from '../archive/ports.ts';
import type { InstanceRef } from '../archive/records.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, type TransferSyntax } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, notModified } from './conditional.ts';
import type { Context } from './context.ts';
import { type FrameSource, openFrames } from './frame-source.ts';
import type { Manifests } from './manifests.ts';
import { multipartRelated, type Part } from './multipart.ts';
import { refPath } from './references.ts';
import { getCurrent } from './stored-instances.ts';

/** Names under which clients ask for the same codestream; PS3.18 has changed its own more than once. */
const alsoKnownAs: Readonly<Record<string, readonly string[]>> = {
  'image/jp2': ['image/j2c', 'image/jpx'],
  'image/jpx': ['image/jp2', 'image/j2c'],
  'image/jphc': ['image/jph'],
  'image/dicom-rle': ['image/dicom+rle', 'image/x-dicom-rle'],
};

const octetStream = 'application/octet-stream';

interface Form {
  readonly form: 'single' | 'multipart';
  /** What the frames are labelled as. */
  readonly mediaType: string;
}

/** Errors: `not-found` (also for a frame beyond the last), `not-acceptable`. */
export async function retrieveFrames(
  options: { readonly archive: Archive; readonly manifests: Manifests },
  context: Context,
  ref: InstanceRef,
  frameNumbers: readonly number[],
): Promise<Response> {
  const { archive, manifests } = options;
  const ranges = acceptOf(context.request, context.query);
  const record = await getCurrent(archive.index, context.tenant, ref);
  const frames = openFrames(archive.packs, record, await manifests.entryOf(record));
  assertFramesExist(frames, frameNumbers);
  const { form, mediaType } = negotiate(ranges, frameOffers(frames, frameNumbers.length)).value;
  const tag = entityTag(record.digest, form, mediaType, frameNumbers.join());
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const label = `${mediaType}; transfer-syntax=${frames.givenTransferSyntaxUid}`;
  const location = (frameNumber: number): string => `${context.baseUrl}/${refPath(record)}/frames/${frameNumber}`;
  const common = { etag: tag, 'cache-control': 'private, max-age=600' };

  if (form === 'multipart') {
    const { contentType, body } = multipartRelated(mediaType, frameParts(frames, frameNumbers, label, location));
    return new Response(await begunStreamOf(body, context), { headers: { ...common, 'content-type': contentType } });
  }
  const [frameNumber = 1] = frameNumbers;
  const headers = { ...common, 'content-type': label, 'content-location': location(frameNumber) };
  const { value: frame } = await frames.read([frameNumber]).next();
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

async function* frameParts(
  frames: FrameSource,
  frameNumbers: readonly number[],
  label: string,
  location: (frameNumber: number) => string,
): AsyncGenerator<Part, void, undefined> {
  let position = 0;
  for await (const body of frames.read(frameNumbers)) {
    yield { headers: { 'Content-Type': label, 'Content-Location': location(frameNumbers[position++]!) }, body };
  }
}

async function* generate(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  yield* chunks;
}

function frameOffers(frames: FrameSource, wanted: number): Offer<Form>[] {
  const forms = wanted === 1 ? (['multipart', 'single'] as const) : (['multipart'] as const);
  return offersOf(frames).flatMap(({ type, mediaType, uids, whenUnsaid }) =>
    forms.map((form) => ({ type, form, transferSyntax: { uids, whenUnsaid }, value: { form, mediaType } })),
  );
}

interface Naming {
  /** As the client may ask. */
  readonly type: string;
  /** As the answer is labelled. */
  readonly mediaType: string;
  readonly uids: readonly string[];
  readonly whenUnsaid: boolean;
}

function offersOf({ stored, givenTransferSyntaxUid }: FrameSource): Naming[] {
  if (givenTransferSyntaxUid === EXPLICIT_VR_LITTLE_ENDIAN) {
    // The pixels of both uncompressed little endian syntaxes are the same bytes.
    const uids = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
    return [{ type: octetStream, mediaType: octetStream, uids, whenUnsaid: true }];
  }
  const own = namesOf(stored).map((name) => ({ type: name, mediaType: name, uids: [stored.uid], whenUnsaid: true }));
  if (stored.mediaType === octetStream) return own;
  // Viewers ask for `application/octet-stream; transfer-syntax=*` and mean: as stored. Without the parameter it means
  // decoded (Table 8.7.3-5), which is not done here.
  return [...own, { type: octetStream, mediaType: stored.mediaType, uids: [stored.uid], whenUnsaid: false }];
}

const namesOf = (stored: TransferSyntax): string[] => [stored.mediaType, ...(alsoKnownAs[stored.mediaType] ?? [])];
