/**
 * Retrieve Transaction for bulk data (WADO-RS), PS3.18 §10.4.1.1.5: a value that metadata names by BulkDataURI instead of
 * holding it, by its path in the data set, nested ones too. In little endian, whatever the instance is stored in.
 */
import { BULK_DATA_PREFIX, type BulkLocation, type ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { InstanceRef } from '../archive/records.ts';
import { swapBytes, wordBytesOf } from '../dicom/byte-order.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { frameCount } from '../dicom/frame-ranges.ts';
import { transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { acceptOf, negotiate, type Offer } from './accept.ts';
import { begunStreamOf } from './body.ts';
import { entityTag, isUnchanged, keptForAWhile, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import { readInflated } from './frame-source.ts';
import { type FrameOptions, retrieveFrames } from './frames.ts';
import { multipartRelated } from './multipart.ts';
import { PackBytes } from './pack-bytes.ts';
import { refPath } from './references.ts';
import { getCurrent, keyOf } from './stored-instances.ts';

/** The path of (7FE0,0010). */
export const pixelData = '7FE00010';
/** (0042,0011) Encapsulated Document and (0042,0012), which says what it is. */
const encapsulatedDocument = '00420011';
const documentMediaType = '00420012';

/** What must be turned round or inflated is held whole; beyond this, retrieve the instance. */
export const maximumHeldBytes = 256 * 1024 * 1024;

/** Errors: `not-found`, `not-acceptable`, `range-not-satisfiable`, `limit-exceeded`. */
export async function retrieveBulkData(
  options: FrameOptions,
  context: Context,
  ref: InstanceRef,
  path: string,
): Promise<Response> {
  const { archive, manifests } = options;
  const ranges = acceptOf(context.request, context.query);
  const record = await getCurrent(archive.index, context.tenant, ref);
  const entry = await manifests.entryOf(record);
  if (path === pixelData && entry.frames.kind === 'encapsulated') {
    // Compressed Pixel Data has no one value: its bulk data are its frames.
    const frameNumbers = Array.from({ length: frameCount(entry.frames) }, (_, i) => i + 1);
    return retrieveFrames(options, context, ref, frameNumbers);
  }
  const located = locate(entry, path);
  const { form, mediaType } = negotiate(ranges, offersFor(entry, path)).value;
  const tag = entityTag(record.digest, path, form, mediaType);
  if (isUnchanged(context.request, tag)) return notModified(tag, keptForAWhile);
  const location = `${context.baseUrl}/${refPath(record)}/bulkdata/${path}`;
  const common = { etag: tag, 'cache-control': keptForAWhile };

  if (form === 'multipart') {
    const part = {
      headers: { 'Content-Type': mediaType, 'Content-Location': location },
      body: bytesOf(archive.packs, record, entry, located, 0, located.lengthBytes),
    };
    const { contentType, body } = multipartRelated(mediaType, [part]);
    return new Response(await begunStreamOf(body, context), { headers: { ...common, 'content-type': contentType } });
  }
  const range = rangeOf(context.request, located.lengthBytes, tag);
  const { offsetBytes = 0, lengthBytes = located.lengthBytes } = range ?? {};
  const bytes = bytesOf(archive.packs, record, entry, located, offsetBytes, lengthBytes);
  return new Response(await begunStreamOf(bytes, context), {
    status: range === undefined ? 200 : 206,
    headers: {
      ...common,
      ...rangeHeaders(range, located.lengthBytes),
      'content-type': mediaType,
      'content-location': location,
      // A sender's document must not run as a page of ours.
      'content-disposition': mediaType === 'application/pdf' ? 'inline' : 'attachment',
      'content-security-policy': 'sandbox',
    },
  });
}

/** A whole value in memory, in little endian. Errors: `not-found`, `limit-exceeded`. */
export async function readBulk(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  path: string,
): Promise<Uint8Array> {
  const located = locate(entry, path);
  return readWhole(packs, record, entry, located);
}

/** The path that a relative BulkDataURI of a manifest's metadata names. */
export const bulkPathOf = (uri: string): string => uri.slice(BULK_DATA_PREFIX.length);

function locate(entry: ManifestEntry, path: string): BulkLocation {
  const located = Object.hasOwn(entry.bulk, path) ? entry.bulk[path] : undefined;
  if (located !== undefined) return located;
  throw new ArchiveError(
    'not-found',
    'This instance has no bulk data under that path; its metadata names those it has.',
  );
}

interface Form {
  readonly form: 'single' | 'multipart';
  readonly mediaType: string;
}

function offersFor(entry: ManifestEntry, path: string): Offer<Form>[] {
  const types = ['application/octet-stream'];
  if (path === encapsulatedDocument && isPdf(entry)) types.push('application/pdf');
  return types.flatMap((type) =>
    (['single', 'multipart'] as const).map((form) => ({ type, form, value: { form, mediaType: type } })),
  );
}

/** The only document type that is given under its own name: browsers show it without running anything in it. */
function isPdf(entry: ManifestEntry): boolean {
  const metadata = JSON.parse(entry.metadata) as DicomJson;
  return String(metadata[documentMediaType]?.Value?.[0] ?? '').toLowerCase() === 'application/pdf';
}

async function* bytesOf(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  located: BulkLocation,
  offsetBytes: number,
  lengthBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (lengthBytes === 0) return;
  if (needsWhole(record, located)) {
    const whole = await readWhole(packs, record, entry, located);
    yield whole.subarray(offsetBytes, offsetBytes + lengthBytes);
    return;
  }
  const start = record.offsetBytes + located.offsetBytes + offsetBytes;
  yield* await PackBytes.open(packs, keyOf(record), { offsetBytes: start, lengthBytes });
}

/** Whether a value has to be turned round or inflated before it can be given, so that no range of the pack is a range of it. */
export function needsWhole(record: EntryRecord, located: BulkLocation): boolean {
  const syntax = transferSyntaxOf(record.transferSyntaxUid);
  return syntax.deflated || (!syntax.littleEndian && wordBytesOf(located.vr) > 1);
}

/** Errors: those of `readBulk`. */
export async function readWhole(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  located: BulkLocation,
): Promise<Uint8Array> {
  const { offsetBytes, lengthBytes, vr } = located;
  if (lengthBytes > maximumHeldBytes) {
    throw new ArchiveError(
      'limit-exceeded',
      `The value is longer than ${maximumHeldBytes} bytes; retrieve the instance instead.`,
    );
  }
  const syntax = transferSyntaxOf(record.transferSyntaxUid);
  if (syntax.deflated) {
    const bytes = (await readInflated(packs, record, entry)).subarray(offsetBytes, offsetBytes + lengthBytes);
    if (bytes.length === lengthBytes) return bytes;
    throw new ArchiveError('damaged', 'The deflated data set ends within a value.');
  }
  if (lengthBytes === 0) return new Uint8Array();
  const bytes = await packs.read(keyOf(record), { offsetBytes: record.offsetBytes + offsetBytes, lengthBytes });
  const wordLengthBytes = syntax.littleEndian ? 1 : wordBytesOf(vr);
  return wordLengthBytes > 1 ? swapBytes(bytes, wordLengthBytes) : bytes;
}
