/**
 * One entry of a manifest, made out of a data set's header: where its frames and its bulk values lie, and its metadata.
 * Either while a whole pack is inspected (inspect.ts), or for one instance that lies in a pack without a manifest, by
 * reading no more than its header and the heads of its fragments.
 */
import type { Element } from '../dicom/data-set.ts';
import { dicomJsonText, toDicomJson } from '../dicom/dicom-json.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { type FrameLocation, type FrameTable, locateFrames } from '../dicom/frame-ranges.ts';
import { type ByteRangeLike, type Header, readHeaderRanged } from '../dicom/part10.ts';
import { MAIN_HEADER_BYTES, resolutionPrefixes } from '../dicom/resolution-prefixes.ts';
import { tagKey } from '../dicom/tags.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import { InstanceReader, identityOf } from './instance-reader.ts';
import { packKey } from './keys.ts';
import { BULK_DATA_PREFIX, type BulkLocation, type ManifestEntry } from './manifest.ts';
import type { PackStore } from './ports.ts';
import type { InstanceRecord } from './records.ts';

/** What an index record tells of an instance's place and bytes. */
export type EntryRecord = Omit<InstanceRecord, 'attributes' | 'state'>;

/** A shorter frame is read whole: it takes as many requests, and hardly longer. */
const LONG_FRAME_BYTES = 32 * 1024;
const MOST_FRAMES_LOOKED_AT = 512;
const LOOKS_AT_ONCE = 8;

type RangeReader = (range: ByteRangeLike) => Promise<Uint8Array>;

/** @param read of the Part 10 file; ranges may go beyond its end, then there are fewer bytes */
export async function manifestEntryOf(record: EntryRecord, header: Header, read: RangeReader): Promise<ManifestEntry> {
  const { metadata, bulk } = metadataOf(header);
  return {
    sopInstanceUid: record.sopInstanceUid,
    sopClassUid: record.sopClassUid,
    transferSyntaxUid: record.transferSyntaxUid,
    digest: record.digest,
    offsetBytes: record.offsetBytes,
    lengthBytes: record.lengthBytes,
    dataSetOffsetBytes: record.dataSetOffsetBytes,
    frames: await framesOf(header, record.lengthBytes, read),
    bulk,
    metadata: dicomJsonText(metadata),
  };
}

/**
 * The entry that the manifest of the record's pack has or will have, read from the instance's own bytes, in an open pack as in a
 * sealed one: what an index record names never changes its place or its bytes.
 * Errors: `damaged` when another instance, or none, lies there; those of `store`.
 */
export async function inspectEntry(store: PackStore, record: EntryRecord): Promise<ManifestEntry> {
  const { offsetBytes: entryOffsetBytes, lengthBytes } = record;
  const key = packKey(record.tenant, record);
  let last: { readonly offsetBytes: number; readonly bytes: Uint8Array } | undefined;
  const read: RangeReader = async (range) => {
    const wanted = { ...range, lengthBytes: Math.max(0, Math.min(range.lengthBytes, lengthBytes - range.offsetBytes)) };
    const at = wanted.offsetBytes - (last?.offsetBytes ?? 0);
    if (last !== undefined && at >= 0 && at + wanted.lengthBytes <= last.bytes.length)
      return last.bytes.subarray(at, at + wanted.lengthBytes);
    const bytes = await store.read(key, { ...wanted, offsetBytes: entryOffsetBytes + wanted.offsetBytes });
    last = { offsetBytes: wanted.offsetBytes, bytes };
    return bytes;
  };
  const header = await headerOf(store, key, record, read);
  if (header.dataSetOffsetBytes !== record.dataSetOffsetBytes || !isSame(header, record)) throw damaged(record);
  return manifestEntryOf(record, header, read);
}

/** Strictly and by ranges, so that long values are skipped; what is too sloppy for that, from the front and leniently. */
async function headerOf(store: PackStore, key: string, record: EntryRecord, read: RangeReader): Promise<Header> {
  const { offsetBytes, lengthBytes } = record;
  try {
    return await readHeaderRanged(read, lengthBytes);
  } catch (error) {
    if (!isArchiveError(error, 'bad-dicom') && !isArchiveError(error, 'limit-exceeded')) throw error;
  }
  const reader = new InstanceReader();
  for await (const bytes of await store.stream(key, { offsetBytes, lengthBytes })) if (reader.push(bytes)) break;
  reader.end();
  if (reader.header === undefined) throw damaged(record, reader.failure);
  return reader.header;
}

function isSame(header: Header, record: EntryRecord): boolean {
  try {
    const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = identityOf(header);
    return (
      sopInstanceUid === record.sopInstanceUid &&
      seriesInstanceUid === record.seriesInstanceUid &&
      studyInstanceUid === record.studyInstanceUid
    );
  } catch (error) {
    if (isArchiveError(error, 'bad-dicom')) return false;
    throw error;
  }
}

function damaged({ packId, offsetBytes }: EntryRecord, cause?: unknown): ArchiveError {
  const details = { packId, offsetBytes };
  return new ArchiveError('damaged', 'The instance that the index names does not lie in its pack.', details, cause);
}

/** Pixels that cannot be found (a sloppy object) make no frames, but do not keep the instance out of the archive. */
async function framesOf(header: Header, lengthBytes: number, read: RangeReader): Promise<FrameTable> {
  try {
    const { table } = await locateFrames(header, lengthBytes, read);
    return header.transferSyntax.codec === 'htj2k' ? await withPrefixes(table, read) : table;
  } catch (error) {
    if (isArchiveError(error, 'bad-dicom') || isArchiveError(error, 'limit-exceeded')) return { kind: 'none' };
    throw error;
  }
}

/**
 * With the lengths of the lower resolutions of those frames that say them. Looks at the beginning of each, and only of what is worth it: of
 * long frames, and of so many that a pack which must be read for that alone is soon read.
 */
async function withPrefixes(table: FrameTable, read: RangeReader): Promise<FrameTable> {
  if (table.kind !== 'encapsulated') return table;
  const frames: FrameLocation[] = [...table.frames];
  const worthIt = [...frames.keys()]
    .filter((i) => frames[i]!.fragments === 1 && frames[i]!.lengthBytes >= LONG_FRAME_BYTES)
    .slice(0, MOST_FRAMES_LOOKED_AT)
    .values();
  const lookAtSome = async (): Promise<void> => {
    for (const i of worthIt) {
      const { offsetBytes, lengthBytes } = frames[i]!;
      const head = await read({ offsetBytes, lengthBytes: MAIN_HEADER_BYTES });
      const prefixes = resolutionPrefixes(head, lengthBytes);
      if (prefixes !== undefined) frames[i] = { ...frames[i]!, prefixes };
    }
  };
  await Promise.all(Array.from({ length: LOOKS_AT_ONCE }, lookAtSome));
  return { kind: 'encapsulated', frames };
}

function metadataOf({ dataSet, pixelData }: Header): { metadata: DicomJson; bulk: Record<string, BulkLocation> } {
  const bulk: Record<string, BulkLocation> = {};
  const metadata = toDicomJson(dataSet, {
    bulkDataUri: (path: string, { offsetBytes, lengthBytes, vr }: Element) => {
      bulk[path] = { offsetBytes, lengthBytes, vr };
      return BULK_DATA_PREFIX + path;
    },
  });
  if (pixelData !== undefined) {
    const { vr, offsetBytes, lengthBytes } = pixelData;
    const path = tagKey(pixelData.tag);
    metadata[path] = { vr, BulkDataURI: BULK_DATA_PREFIX + path };
    if (lengthBytes !== undefined) bulk[path] = { offsetBytes, lengthBytes, vr };
  }
  return { metadata, bulk };
}
