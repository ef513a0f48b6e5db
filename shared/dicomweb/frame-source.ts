/**
 * The frames of one stored instance, by their numbers: located by the manifest, read in one ranged read each (neighbours
 * together), and given as PS3.18 §8.7.3.3 wants them: native pixels in little endian from a byte of their own on, compressed ones as the
 * one codestream they are. Frames serve pictures and the frames resource alike.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { ByteRange } from '../archive/records.ts';
import { inflateDataSet, inflateLimitBytes } from '../dicom/deflated-data-set.ts';
import type { DicomJson } from '../dicom/dicom-json-model.ts';
import { type FrameTable, frameCount } from '../dicom/frame-ranges.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, type TransferSyntax, transferSyntaxOf } from '../dicom/transfer-syntax.ts';
import { ArchiveError } from '../errors.ts';
import { type ByteBudget, createByteBudget } from './byte-budget.ts';
import { type FrameRange, frameCut } from './frame-cut.ts';
import { PackBytes } from './pack-bytes.ts';
import { keyOf } from './stored-instances.ts';

export interface FrameSource {
  readonly count: number;
  readonly stored: TransferSyntax;
  /** Of the frames as `read` gives them: the stored one when compressed, else Explicit VR Little Endian. */
  readonly givenTransferSyntaxUid: string;
  /** Each frame in the order asked for; a body must be consumed before the next frame is pulled. */
  read(frameNumbers: readonly number[]): AsyncGenerator<Uint8Array | AsyncIterable<Uint8Array>, void, undefined>;
  /** What `readOne` takes: of a deflated instance, everything up to its last frame. */
  heldBytesOf(frameNumber: number, reduction?: number): number;
  /**
   * One frame: whole, or its beginning as far as decoding needs it that is content with so many levels less than the full resolution,
   * where the archive knows how far that is. In memory that nobody else reads. Error `limit-exceeded` for one that no memory should hold.
   */
  readOne(frameNumber: number, reduction?: number): Promise<Uint8Array>;
  /** Of a frame that is given as it lies in the archive, so that any part of it can be read by itself; undefined for others. */
  lengthAsStoredBytes(frameNumber: number): number | undefined;
  /** Such a part: a body as of `read`. */
  readPart(frameNumber: number, part: ByteRange): Promise<Uint8Array | AsyncIterable<Uint8Array>>;
}

/** Neighbours up to this much are read at once; a frame beyond it that needs no change is streamed. */
const maximumReadBytes = 8 * 1024 * 1024;
/** Item headers lie between the frames of a multi-frame object, nothing else. */
const maximumGapBytes = 4096;
export const maximumFrameBytes = 512 * 1024 * 1024;

/** Error `not-found` for an instance without frames. */
export function openFrames(packs: PackStore, record: EntryRecord, entry: ManifestEntry): FrameSource {
  const { frames: table } = entry;
  const stored = transferSyntaxOf(record.transferSyntaxUid);
  if (table.kind === 'none')
    throw new ArchiveError('not-found', 'This instance has no frames: it holds no Pixel Data.');
  const reader = frameReader(packs, record, entry, table, stored);
  return {
    count: frameCount(table),
    stored,
    givenTransferSyntaxUid:
      stored.codec === 'native' || table.kind !== 'encapsulated' ? EXPLICIT_VR_LITTLE_ENDIAN : stored.uid,
    ...reader,
  };
}

function frameReader(
  packs: PackStore,
  record: EntryRecord,
  entry: ManifestEntry,
  table: FrameTable,
  stored: TransferSyntax,
): Omit<FrameSource, 'count' | 'stored' | 'givenTransferSyntaxUid'> {
  const source = table.kind === 'deflated' ? inflatedSource(packs, record, entry) : packSource(packs, record);
  const { locate, finish, isPlain } = frameCut(table, stored, () => cellsOf(entry));

  return {
    async *read(frameNumbers) {
      for (const group of neighbours(frameNumbers, locate)) {
        const [first] = group as [Located, ...Located[]];
        if (group.length === 1 && first.range.lengthBytes > maximumReadBytes && isPlain(first.range)) {
          yield source.stream(first.range);
          continue;
        }
        const whole = spanOf(group);
        const bytes = await source.read(whole);
        for (const { frameNumber, range } of group) {
          const start = range.offsetBytes - whole.offsetBytes;
          yield finish(bytes.subarray(start, start + range.lengthBytes), frameNumber);
        }
      }
    },
    heldBytesOf(frameNumber, reduction = 0) {
      if (table.kind !== 'deflated') return beginningOf(locate(frameNumber), reduction).lengthBytes;
      const last = locate(frameCount(table));
      return last.offsetBytes + last.lengthBytes;
    },
    async readOne(frameNumber, reduction = 0) {
      const bytes = await source.read(beginningOf(locate(frameNumber), reduction));
      // What is inflated is kept, for the next frame.
      return finish(table.kind === 'deflated' ? Uint8Array.prototype.slice.call(bytes) : bytes, frameNumber);
    },
    lengthAsStoredBytes(frameNumber) {
      const range = locate(frameNumber);
      return isPlain(range) ? range.lengthBytes : undefined;
    },
    async readPart(frameNumber, { offsetBytes, lengthBytes }) {
      const part = { offsetBytes: locate(frameNumber).offsetBytes + offsetBytes, lengthBytes };
      return lengthBytes > maximumReadBytes ? source.stream(part) : source.read(part);
    },
  };
}

/** Up to the end of the highest resolution that is needed; the prefixes are those of all but the full one, the lowest first. */
function beginningOf(range: FrameRange, reduction: number): FrameRange {
  const { prefixes = [] } = range;
  const prefixBytes = reduction > 0 ? prefixes[Math.max(0, prefixes.length - reduction)] : undefined;
  return prefixBytes === undefined ? range : { ...range, lengthBytes: prefixBytes };
}

interface Located {
  readonly frameNumber: number;
  readonly range: FrameRange;
}

/** Runs of frames, in the order asked for, that lie behind each other closely enough to be read at once. */
function* neighbours(
  frameNumbers: readonly number[],
  locate: (frameNumber: number) => FrameRange,
): Generator<Located[]> {
  let group: Located[] = [];
  for (const frameNumber of frameNumbers) {
    const range = locate(frameNumber);
    const last = group.at(-1)?.range;
    if (last !== undefined) {
      const gap = range.offsetBytes - (last.offsetBytes + last.lengthBytes);
      const span = range.offsetBytes + range.lengthBytes - group[0]!.range.offsetBytes;
      // -2: frames of one bit a pixel share a byte, frames of paired samples a word.
      if (gap < -2 || range.offsetBytes < last.offsetBytes || gap > maximumGapBytes || span > maximumReadBytes) {
        yield group;
        group = [];
      }
    }
    group.push({ frameNumber, range });
  }
  if (group.length > 0) yield group;
}

function spanOf(group: readonly Located[]): { offsetBytes: number; lengthBytes: number } {
  const { offsetBytes } = group[0]!.range;
  const last = group.at(-1)!.range;
  return { offsetBytes, lengthBytes: last.offsetBytes + last.lengthBytes - offsetBytes };
}

/** How the cells are encoded, by the metadata. */
function cellsOf(entry: ManifestEntry): { vr: string | undefined; bitsAllocated: number } {
  const metadata = JSON.parse(entry.metadata) as DicomJson;
  return { vr: metadata['7FE00010']?.vr, bitsAllocated: Number(metadata['00280100']?.Value?.[0] ?? 8) };
}

interface Source {
  read(range: { offsetBytes: number; lengthBytes: number }): Promise<Uint8Array>;
  stream(range: { offsetBytes: number; lengthBytes: number }): AsyncIterable<Uint8Array>;
}

/** Offsets count from the first byte of the Part 10 file. */
function packSource(packs: PackStore, record: EntryRecord): Source {
  const inPack = ({ offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number }) => ({
    offsetBytes: record.offsetBytes + offsetBytes,
    lengthBytes,
  });
  return {
    read(range) {
      if (range.lengthBytes > maximumFrameBytes) {
        throw new ArchiveError(
          'limit-exceeded',
          `The frame is longer than ${maximumFrameBytes} bytes; retrieve the instance instead.`,
        );
      }
      return packs.read(keyOf(record), inPack(range));
    },
    async *stream(range) {
      yield* await PackBytes.open(packs, keyOf(record), inPack(range));
    },
  };
}

/** Offsets count from the first byte of the inflated data set, which is inflated once. */
function inflatedSource(packs: PackStore, record: EntryRecord, entry: ManifestEntry): Source {
  let inflating: Promise<Uint8Array> | undefined;
  const read = async (range: { offsetBytes: number; lengthBytes: number }): Promise<Uint8Array> => {
    inflating ??= readInflated(packs, record, entry);
    const bytes = (await inflating).subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes);
    if (bytes.length < range.lengthBytes)
      throw new ArchiveError('damaged', 'The deflated data set ends within a frame.');
    return bytes;
  };
  return {
    read,
    async *stream(range) {
      yield await read(range);
    },
  };
}

/** For all that is being inflated out of one store; and how many may wait for it: more than a host has connections. */
const inflatingBytes = 512 * 1024 * 1024;
const maximumInflating = 4_096;
const inflating = new WeakMap<PackStore, ByteBudget>();

/** The whole data set of a deflated instance, inflated within bounds: by itself, and together with others. */
export async function readInflated(packs: PackStore, record: EntryRecord, entry: ManifestEntry): Promise<Uint8Array> {
  const budget = inflating.get(packs) ?? createByteBudget(inflatingBytes, maximumInflating);
  inflating.set(packs, budget);
  const lengthBytes = record.lengthBytes - entry.dataSetOffsetBytes;
  return budget.hold(lengthBytes + inflateLimitBytes(lengthBytes), async () => {
    const offsetBytes = record.offsetBytes + entry.dataSetOffsetBytes;
    return inflateDataSet(await packs.read(keyOf(record), { offsetBytes, lengthBytes }));
  });
}
