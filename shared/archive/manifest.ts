/**
 * The manifest of a pack: for each instance where its bytes, its frames and its bulk values lie, and its metadata as text
 * that nobody need parse in order to serve it. zstd (RFC 8878) over lines: one for the pack, then two for each entry,
 * locators and metadata. Making one out of a pack is inspect.ts.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { constants, zstdCompress, zstdDecompress } from 'node:zlib';
import type { Vr } from '../dicom/data-set.ts';
import type { FrameLocation, FrameTable } from '../dicom/frame-ranges.ts';
import { ArchiveError } from '../errors.ts';
import { manifestKey } from './keys.ts';
import type { PackStore } from './ports.ts';

/** What a BulkDataURI in a manifest's metadata begins with: replace `"~/` by `"` and the URL of the instance's bulk data. */
export const BULK_DATA_PREFIX = '~/';

export interface BulkLocation {
  /** From the first byte of the Part 10 file; of the inflated data set where that is deflated. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly vr: Vr;
}

export interface ManifestEntry {
  readonly sopInstanceUid: string;
  readonly sopClassUid: string;
  readonly transferSyntaxUid: string;
  /** SHA-256 of the data set bytes, lower-case hex. */
  readonly digest: string;
  /** Of the Part 10 file in the pack. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly dataSetOffsetBytes: number;
  /** Offsets count from the first byte of the Part 10 file. */
  readonly frames: FrameTable;
  /** By path, as in `00400555/0/0040A30A`. Pixel Data is there if it is native. */
  readonly bulk: Readonly<Record<string, BulkLocation>>;
  /** The DICOM JSON object; BulkDataURI values are BULK_DATA_PREFIX and the path. */
  readonly metadata: string;
}

export interface Manifest {
  readonly tenant: string;
  readonly studyInstanceUid: string;
  readonly seriesInstanceUid: string;
  readonly packId: string;
  /** Of the whole pack, lower-case hex. */
  readonly sha256: string;
  /** Of the whole pack. */
  readonly lengthBytes: number;
  /** In the order of the pack. */
  readonly entries: readonly ManifestEntry[];
}

const FORMAT = 1;
const LEVEL = 3;
/** Metadata of 65,536 instances of 16 KB: beyond it is damage, or an attack. */
const MAX_TEXT_BYTES = 1024 * 1024 * 1024;
/** Of the output at a time: each costs a trip to the thread pool. */
const CHUNK_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);

/** The bytes to be stored under manifestKey. The same manifest always makes the same bytes. */
export async function encodeManifest(manifest: Manifest): Promise<Uint8Array> {
  const { entries, ...pack } = manifest;
  const lines = [JSON.stringify({ format: FORMAT, ...pack, entries: entries.length })];
  for (const { metadata, frames, ...locators } of entries) {
    if (metadata.includes('\n')) throw new RangeError('metadata must be one line of JSON');
    lines.push(JSON.stringify({ ...locators, frames: packFrames(frames) }), metadata);
  }
  lines.push('');
  // With its checksum: a manifest travels, and a flipped bit could make another one that is as plausible.
  const params = { [constants.ZSTD_c_compressionLevel]: LEVEL, [constants.ZSTD_c_checksumFlag]: 1 };
  return compress(Buffer.from(lines.join('\n')), { params });
}

/** Stores the manifest beside its pack, unless one is there: of one pack there is only one. Errors: those of the store. */
export async function storeManifest(packs: PackStore, manifest: Manifest): Promise<void> {
  const bytes = await encodeManifest(manifest);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  await packs.create(manifestKey(manifest.tenant, manifest), bytes, { lengthBytes: bytes.length, sha256 });
}

/** Error `damaged` for bytes that encodeManifest did not make. */
export async function decodeManifest(bytes: Uint8Array): Promise<Manifest> {
  let text: Buffer;
  try {
    text = await decompress(bytes, { maxOutputLength: MAX_TEXT_BYTES, chunkSize: CHUNK_BYTES });
  } catch (cause) {
    throw new ArchiveError('damaged', 'The manifest of a pack cannot be decompressed.', {}, cause);
  }
  let at = 0;
  const line = (): string => {
    const end = text.indexOf(NEWLINE, at);
    if (end < 0) throw new SyntaxError('a line is missing');
    const start = at;
    at = end + 1;
    return text.toString('utf8', start, end);
  };
  try {
    const { format, entries: entryCount, ...pack } = JSON.parse(line()) as PackLine;
    if (format !== FORMAT) throw new SyntaxError(`format ${format} is unknown`);
    const entries: ManifestEntry[] = [];
    while (entries.length < entryCount) {
      const { frames, ...locators } = JSON.parse(line()) as LocatorLine;
      entries.push({ ...locators, frames: unpackFrames(frames), metadata: line() });
    }
    if (at !== text.length) throw new SyntaxError('something follows the last entry');
    return { ...pack, entries };
  } catch (cause) {
    throw new ArchiveError('damaged', 'The manifest of a pack is damaged.', {}, cause);
  }
}

type PackLine = Omit<Manifest, 'entries'> & { readonly format: number; readonly entries: number };
type LocatorLine = Omit<ManifestEntry, 'frames' | 'metadata'> & { readonly frames: PackedFrames };

/**
 * Thousands of frames as one flat list of numbers: offset from the end of the one before, length, fragments. Beside it, where any
 * frame has them, their prefixes, by the frame's place in the list: who does not know of them reads every frame whole.
 */
type PackedFrames =
  | Exclude<FrameTable, { kind: 'encapsulated' }>
  | {
      readonly kind: 'encapsulated';
      readonly numbers: readonly number[];
      readonly prefixes?: Readonly<Record<string, readonly number[]>>;
    };

function packFrames(table: FrameTable): PackedFrames {
  if (table.kind !== 'encapsulated') return table;
  const numbers: number[] = [];
  const prefixes: Record<string, readonly number[]> = {};
  let end = 0;
  for (const [i, frame] of table.frames.entries()) {
    numbers.push(frame.offsetBytes - end, frame.lengthBytes, frame.fragments);
    end = frame.offsetBytes + frame.lengthBytes;
    if (frame.prefixes !== undefined) prefixes[i] = frame.prefixes;
  }
  return { kind: 'encapsulated', numbers, ...(Object.keys(prefixes).length > 0 && { prefixes }) };
}

function unpackFrames(packed: PackedFrames): FrameTable {
  if (packed.kind !== 'encapsulated') return packed;
  const frames: FrameLocation[] = [];
  let end = 0;
  for (let i = 0; i + 2 < packed.numbers.length; i += 3) {
    const offsetBytes = end + packed.numbers[i]!;
    const lengthBytes = packed.numbers[i + 1]!;
    const prefixes = packed.prefixes?.[i / 3];
    frames.push({ offsetBytes, lengthBytes, fragments: packed.numbers[i + 2]!, ...(prefixes && { prefixes }) });
    end = offsetBytes + lengthBytes;
  }
  return { kind: 'encapsulated', frames };
}
