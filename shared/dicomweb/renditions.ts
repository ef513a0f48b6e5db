/**
 * What an instance can be rendered as (PS3.18 §8.7.4): pictures, video, a report in text, a document as it was stored; and the bytes
 * of those that are no pictures. Chosen by SOP Class and transfer syntax, so that a whole study can be judged without opening it.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { ByteRange } from '../archive/records.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { frameRange } from '../dicom/frame-ranges.ts';
import { transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { canDecode } from '../imaging/codecs.ts';
import { isPresentationState } from '../imaging/presentation-state.ts';
import type { BodySource } from './body.ts';
import { needsWhole, readWhole } from './bulkdata.ts';
import { createByteBudget } from './byte-budget.ts';
import { PackBytes } from './pack-bytes.ts';
import { reportHtml, reportPlainText, reportPolicy } from './report-text.ts';
import { keyOf, type StoredInstance } from './stored-instances.ts';
import { reportOf } from './structured-report.ts';

export type Content = 'picture' | 'video' | 'report' | 'document' | 'presentation' | 'none';

const storage = '1.2.840.10008.5.1.4.1.1.';
const encapsulatedDocument = '00420011';
const encapsulatedDocumentLength = '00420015';

/** Encapsulated documents by SOP Class: the media type is not the sender's to choose, or a page of his could run here as one of ours. */
const documentTypes: Readonly<Record<string, readonly string[]>> = {
  [`${storage}104.1`]: ['application/pdf'],
  [`${storage}104.2`]: ['text/xml', 'application/xml'],
  [`${storage}104.3`]: ['model/stl'],
  [`${storage}104.4`]: ['model/obj'],
  [`${storage}104.5`]: ['model/mtl'],
};

type Judged = Pick<StoredInstance, 'sopClassUid' | 'transferSyntaxUid' | 'isImage'>;

export function contentOf({ sopClassUid, transferSyntaxUid, isImage }: Judged): Content {
  if (isVideo(transferSyntaxUid)) return 'video';
  if (isImage) return 'picture';
  if (Object.hasOwn(documentTypes, sopClassUid)) return 'document';
  if (isPresentationState(sopClassUid)) return 'presentation';
  return sopClassUid.startsWith(`${storage}88.`) ? 'report' : 'none';
}

/** Of what is no picture; the default first. */
export function mediaTypesOf(instance: Judged): readonly string[] {
  switch (contentOf(instance)) {
    case 'video':
      return [transferSyntaxOf(instance.transferSyntaxUid).mediaType];
    case 'report':
      return ['text/html', 'text/plain'];
    case 'document':
      return documentTypes[instance.sopClassUid] ?? [];
    default:
      return [];
  }
}

export const isVideo = (transferSyntaxUid: string): boolean =>
  transferSyntaxOf(transferSyntaxUid).mediaType.startsWith('video/');

/** Why there is nothing to give: for people, with what to do instead. */
export function cannotRenderThis(instance: Judged): ArchiveError {
  const syntax = transferSyntaxOf(instance.transferSyntaxUid);
  const why =
    contentOf(instance) === 'picture' && !canDecode(instance.transferSyntaxUid)
      ? `Pixel Data in ${syntax.name} cannot be decoded here; retrieve its frames as they are instead.`
      : 'There is no picture to render here: no Pixel Data, no report and no document; retrieve the instance instead.';
  return new ArchiveError('cannot-render', why, { sopClassUid: instance.sopClassUid });
}

export interface Rendition {
  /** With its parameters. */
  readonly contentType: string;
  readonly lengthBytes?: number;
  /** Beside the content type. */
  readonly headers: Readonly<Record<string, string>>;
  /** From `offsetBytes` on as many as are asked for; all by default. Called once. */
  body(range?: ByteRange): Promise<BodySource & AsyncIterable<Uint8Array>>;
}

/**
 * The instance as one of `mediaTypesOf`.
 * Errors: `cannot-render` when it does not hold what its class promises; those of reading.
 */
export async function renditionOf(
  packs: PackStore,
  instance: StoredInstance,
  entry: ManifestEntry,
  mediaType: string,
): Promise<Rendition> {
  switch (contentOf(instance)) {
    case 'report':
      return reportRendition(entry, mediaType);
    case 'document':
      return documentRendition(packs, instance, entry, mediaType);
    case 'video':
      return videoRendition(packs, instance, entry, mediaType);
    default:
      throw cannotRenderThis(instance);
  }
}

/** A long report takes a good part of a second of the one thread that answers everybody: other requests come between two of them. */
const reportTurns = createByteBudget(1, 4_096);

async function reportRendition(entry: ManifestEntry, mediaType: string): Promise<Rendition> {
  const text = await reportTurns.hold(1, async () => {
    await new Promise((resolve) => setImmediate(resolve));
    const report = reportOf(JSON.parse(entry.metadata) as DicomJson);
    return mediaType === 'text/html' ? reportHtml(report) : reportPlainText(report);
  });
  return inMemory(`${mediaType}; charset=utf-8`, new TextEncoder().encode(text), {
    'content-security-policy': reportPolicy,
  });
}

function documentRendition(packs: PackStore, record: EntryRecord, entry: ManifestEntry, mediaType: string): Rendition {
  // A browser's viewer of PDF runs nothing of ours and does not work in a sandbox; XML may hold a page with scripts.
  const headers: Record<string, string> =
    mediaType === 'application/pdf'
      ? { 'content-disposition': 'inline' }
      : { 'content-security-policy': reportPolicy, 'content-disposition': mediaType.startsWith('model/') ? 'attachment' : 'inline' }; // biome-ignore format: two cases
  const metadata = JSON.parse(entry.metadata) as DicomJson;
  const inline = metadata[encapsulatedDocument]?.InlineBinary;
  const stated = Number(metadata[encapsulatedDocumentLength]?.Value?.[0] ?? Number.NaN);
  /** Without the byte that made the length even, where the instance says how long the document is. */
  const own = (storedBytes: number): number => (stated === storedBytes - 1 ? stated : storedBytes);
  if (inline !== undefined) {
    const bytes = new Uint8Array(Buffer.from(inline, 'base64'));
    return inMemory(mediaType, bytes.subarray(0, own(bytes.length)), headers);
  }
  const located = Object.hasOwn(entry.bulk, encapsulatedDocument) ? entry.bulk[encapsulatedDocument] : undefined;
  if (located === undefined) {
    throw new ArchiveError(
      'cannot-render',
      'This instance holds no Encapsulated Document, though its class is for one.',
    );
  }
  const lengthBytes = own(located.lengthBytes);
  return {
    contentType: mediaType,
    lengthBytes,
    headers,
    async body(range = { offsetBytes: 0, lengthBytes }) {
      if (needsWhole(record, located)) {
        const whole = await readWhole(packs, record, entry, located);
        return pieces(whole.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes));
      }
      const offsetBytes = record.offsetBytes + located.offsetBytes + range.offsetBytes;
      return PackBytes.open(packs, keyOf(record), { ...range, offsetBytes });
    },
  };
}

/** One stream, however many pictures are in it; in as many fragments as its sender made, which are no part of it. */
function videoRendition(packs: PackStore, record: EntryRecord, entry: ManifestEntry, contentType: string): Rendition {
  if (entry.frames.kind !== 'encapsulated') {
    throw new ArchiveError(
      'cannot-render',
      'This instance holds no video stream, though its transfer syntax is for one.',
    );
  }
  const { offsetBytes, lengthBytes, fragments } = frameRange(entry.frames, 1);
  const open = (range: ByteRange): Promise<PackBytes> =>
    PackBytes.open(packs, keyOf(record), {
      ...range,
      offsetBytes: record.offsetBytes + offsetBytes + range.offsetBytes,
    });
  const whole = { offsetBytes: 0, lengthBytes };
  if (fragments === 1) return { contentType, lengthBytes, headers: {}, body: (range = whole) => open(range) };
  return {
    contentType,
    headers: {},
    body: async () => fragmentsOf(await open(whole), record.offsetBytes + offsetBytes, lengthBytes),
  };
}

/** What the items hold (PS3.5 §A.4), as it comes. Error `damaged` where no item begins. */
async function* fragmentsOf(
  bytes: PackBytes,
  offsetBytes: number,
  lengthBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; ) {
      const head = Buffer.from(await bytes.gatherTo(at + 8));
      if (head.readUInt32BE(0) !== 0xfeff00e0) throw new ArchiveError('damaged', 'A fragment of the video is no item.');
      const fragmentBytes = head.readUInt32LE(4);
      yield* bytes.take(fragmentBytes);
      at += 8 + fragmentBytes;
    }
  } finally {
    await bytes.return();
  }
}

function inMemory(contentType: string, bytes: Uint8Array, headers: Readonly<Record<string, string>>): Rendition {
  return {
    contentType,
    lengthBytes: bytes.length,
    headers,
    body: async ({ offsetBytes, lengthBytes } = { offsetBytes: 0, lengthBytes: bytes.length }) =>
      pieces(bytes.subarray(offsetBytes, offsetBytes + lengthBytes)),
  };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
