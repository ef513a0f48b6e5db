/**
 * Where each frame of an instance lies in its Part 10 file, so that a frame is one ranged read: native pixels (PS3.5 §8.1),
 * the Basic and the Extended Offset Table (PS3.5 §A.4, PS3.3 §C.7.6.3.1.8), and fragments without a table. Reads item
 * headers, never pixels; decodes nothing. What a file claims is held against what is there.
 */
import { ArchiveError } from '../errors.ts';
import type { DataSet } from './data-set.ts';
import { joinFragments, MAX_FRAGMENTS, scanFragments } from './fragments.ts';
import { groupFragments, startsImage } from './frame-grouping.ts';
import type { ByteRangeLike, Header, PixelDataLocation } from './part10.ts';
import { RangedSource } from './ranged-source.ts';
import { Tag } from './tags.ts';
import type { TransferSyntax } from './transfer-syntax.ts';

export { joinFragments };

/** Offsets count from the first byte of the Part 10 file. */
export interface FrameLocation {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /**
   * 1: the range is exactly the frame's bytes. More: it starts with the first fragment's item tag and ends with the last
   * fragment's last byte; `joinFragments` takes out the item headers.
   */
  readonly fragments: number;
  /** Where known: in how many of its bytes the frame's lower resolutions are, the lowest first (resolution-prefixes.ts). */
  readonly prefixes?: readonly number[];
}

export type FrameTable =
  | {
      readonly kind: 'native';
      readonly offsetBytes: number;
      readonly frameBits: number;
      readonly count: number;
      /** Of all pixels, where they end within the last frame counted: that frame's range is shorter than the others. */
      readonly presentBytes?: number;
    }
  | { readonly kind: 'encapsulated'; readonly frames: readonly FrameLocation[] }
  /** The offset counts from the first byte of the inflated data set. */
  | { readonly kind: 'deflated'; readonly offsetBytes: number; readonly frameBits: number; readonly count: number }
  | { readonly kind: 'none' };

export interface LocatedFrames {
  readonly table: FrameTable;
  /** What was wrong and let pass, in sentences without attribute values. */
  readonly tolerated: readonly string[];
}

export function frameCount(table: FrameTable): number {
  if (table.kind === 'none') return 0;
  return table.kind === 'encapsulated' ? table.frames.length : table.count;
}

/**
 * The bytes that hold a frame, and by how many bits it begins behind the first of them (frames of 1-bit images need not begin
 * with a byte; bits count from the least significant, PS3.5 §8.1.1). `frameNumber` from 1. Error: `not-found` when there is no such frame.
 */
export function frameRange(table: FrameTable, frameNumber: number): FrameLocation & { bitOffset: number } {
  const count = frameCount(table);
  if (table.kind === 'none' || !Number.isInteger(frameNumber) || frameNumber < 1 || frameNumber > count) {
    throw new ArchiveError('not-found', `There is no frame ${frameNumber}: the instance has ${count}`, { count });
  }
  if (table.kind === 'encapsulated') {
    return { ...table.frames[frameNumber - 1]!, bitOffset: 0 };
  }
  const startBit = (frameNumber - 1) * table.frameBits;
  const startByte = Math.floor(startBit / 8);
  const presentBytes =
    table.kind === 'native' ? (table.presentBytes ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY;
  return {
    offsetBytes: table.offsetBytes + startByte,
    lengthBytes: Math.min(Math.ceil((startBit + table.frameBits) / 8), presentBytes) - startByte,
    fragments: 1,
    bitOffset: startBit - startByte * 8,
  };
}

/**
 * Finds the frames of a file of `lengthBytes`. `read` gives the bytes of a range, fewer only where the file ends; it is
 * called for headers of fragments only, in as few reads as possible. Errors: those of `read`.
 */
export async function locateFrames(
  header: Header,
  lengthBytes: number,
  read: (range: ByteRangeLike) => Promise<Uint8Array>,
): Promise<LocatedFrames> {
  const { pixelData, transferSyntax, dataSet } = header;
  if (pixelData === undefined) return { table: { kind: 'none' }, tolerated: [] };
  const declared = declaredFrames(dataSet);
  if (pixelData.lengthBytes !== undefined) {
    return nativeFrames(pixelData, pixelData.lengthBytes, transferSyntax, dataSet, declared ?? 1, lengthBytes);
  }
  if (transferSyntax.deflated) {
    return { table: { kind: 'none' }, tolerated: ['Pixel Data is encapsulated within a deflated data set'] };
  }
  const source = new RangedSource(read, lengthBytes);
  const { table, tolerated } = await encapsulatedFrames(source, pixelData, header, declared);
  if (transferSyntax.encapsulated) return { table, tolerated };
  return {
    table,
    tolerated: ['Pixel Data is encapsulated although the transfer syntax is a native one', ...tolerated],
  };
}

function declaredFrames(dataSet: DataSet): number | undefined {
  const count = Math.floor(dataSet.number(Tag.NumberOfFrames) ?? Number.NaN);
  return count >= 1 ? count : undefined;
}

/**
 * How many bits a frame has as native pixels; 0 when the attributes do not say.
 * @param numberOf the value of Rows, Columns, Bits Allocated and Samples per Pixel
 */
export function nativeFrameBits(numberOf: (tag: number) => number | undefined, photometric: string): number {
  const number = (tag: number): number => numberOf(tag) ?? 0;
  // Subsampled colour differences, as they lie in native pixels (PS3.3 §C.7.6.3.1.2).
  const samples = photometric.endsWith('_422')
    ? 2
    : photometric.endsWith('_420')
      ? 1.5
      : number(Tag.SamplesPerPixel) || 1;
  return number(Tag.Rows) * number(Tag.Columns) * number(Tag.BitsAllocated) * samples;
}

const frameBitsOf = (dataSet: DataSet): number =>
  nativeFrameBits((tag) => dataSet.number(tag), dataSet.ascii(Tag.PhotometricInterpretation) ?? '');

function nativeFrames(
  pixelData: PixelDataLocation,
  claimedBytes: number,
  transferSyntax: TransferSyntax,
  dataSet: DataSet,
  declared: number,
  lengthBytes: number,
): LocatedFrames {
  const tolerated: string[] = [];
  const { offsetBytes } = pixelData;
  const kind = transferSyntax.deflated ? 'deflated' : 'native';
  const presentBytes =
    kind === 'deflated' ? claimedBytes : Math.max(0, Math.min(claimedBytes, lengthBytes - offsetBytes));
  if (transferSyntax.encapsulated && transferSyntax.codec !== 'unknown') {
    tolerated.push('Pixel Data is native although the transfer syntax is an encapsulated one');
  }
  if (presentBytes < claimedBytes) {
    tolerated.push(`Pixel Data is cut short: only ${presentBytes} of ${claimedBytes} bytes are there`);
  }
  const frameBits = frameBitsOf(dataSet);
  if (frameBits === 0) {
    tolerated.push('Rows, Columns or Bits Allocated is missing; Pixel Data counts as one frame');
    const count = presentBytes > 0 ? 1 : 0;
    return { table: { kind, offsetBytes, frameBits: presentBytes * 8, count }, tolerated };
  }
  const whole = Math.floor((presentBytes * 8) / frameBits);
  if (whole < declared) {
    tolerated.push(`Pixel Data has ${whole} whole frames where ${declared} are declared`);
    const begun = Math.ceil((presentBytes * 8) / frameBits);
    if (kind === 'native' && begun > whole) {
      return { table: { kind, offsetBytes, frameBits, count: Math.min(begun, declared), presentBytes }, tolerated };
    }
  }
  // One byte more may be padding, a frame more is not.
  else if (whole > declared) tolerated.push(`Pixel Data is longer than the ${declared} frames declared`);
  return { table: { kind, offsetBytes, frameBits, count: Math.min(whole, declared) }, tolerated };
}

async function encapsulatedFrames(
  source: RangedSource,
  pixelData: PixelDataLocation,
  header: Header,
  declared: number | undefined,
): Promise<LocatedFrames> {
  const { codec } = header.transferSyntax;
  const basic = await readBasicOffsetTable(source, pixelData.offsetBytes, codec);
  const tolerated = [...basic.tolerated];
  const extended = await readExtendedOffsetTable(source, header.dataSet);
  if (extended !== undefined) {
    const frames = await framesByExtendedTable(source, basic.fragmentsAt, extended, declared ?? 1);
    if (frames !== undefined) return { table: { kind: 'encapsulated', frames }, tolerated };
  }
  const scan = await scanFragments(source, basic.fragmentsAt);
  const offsets = basic.offsets ?? extended?.offsets;
  const frameBytes = Math.ceil(frameBitsOf(header.dataSet) / 8);
  const grouping = groupFragments(scan, offsets, codec, declared, frameBytes);
  const { firstFragments } = grouping;
  const frames = firstFragments.map((first, frame): FrameLocation => {
    const next = firstFragments[frame + 1] ?? scan.lengths.length;
    const startBytes = scan.itemOffsets[first]!;
    const endBytes = scan.itemOffsets[next - 1]! + 8 + scan.lengths[next - 1]!;
    if (next - first > 1)
      return { offsetBytes: startBytes, lengthBytes: endBytes - startBytes, fragments: next - first };
    return { offsetBytes: startBytes + 8, lengthBytes: endBytes - startBytes - 8, fragments: 1 };
  });
  tolerated.push(...scan.tolerated, ...grouping.tolerated);
  return { table: { kind: 'encapsulated', frames }, tolerated };
}

interface BasicOffsetTable {
  /** Undefined: empty, or not there. */
  readonly offsets: readonly number[] | undefined;
  /** Source offset of the first fragment's item tag. */
  readonly fragmentsAt: number;
  readonly tolerated: readonly string[];
}

async function readBasicOffsetTable(
  source: RangedSource,
  offsetBytes: number,
  codec: TransferSyntax['codec'],
): Promise<BasicOffsetTable> {
  const there = await source.fetch(offsetBytes, 12);
  if (there < 8 || source.tag(offsetBytes) !== Tag.Item) {
    return { offsets: undefined, fragmentsAt: offsetBytes, tolerated: ['The Basic Offset Table is missing'] };
  }
  const lengthBytes = source.uint32(offsetBytes + 4);
  if (there === 12 && lengthBytes >= 4 && startsImage(codec, source.leadingBytes(offsetBytes + 8))) {
    return { offsets: undefined, fragmentsAt: offsetBytes, tolerated: ['The Basic Offset Table is missing'] };
  }
  const fragmentsAt = offsetBytes + 8 + lengthBytes;
  if (lengthBytes === 0) return { offsets: undefined, fragmentsAt, tolerated: [] };
  if (lengthBytes % 4 !== 0 || lengthBytes > 4 * MAX_FRAGMENTS) {
    return { offsets: undefined, fragmentsAt, tolerated: ['The Basic Offset Table is not a table'] };
  }
  const bytes = await source.bytes(offsetBytes + 8, lengthBytes);
  return { offsets: numbersOf(bytes, 4), fragmentsAt, tolerated: [] };
}

interface ExtendedOffsetTable {
  readonly offsets: readonly number[];
  readonly lengths: readonly number[];
}

async function readExtendedOffsetTable(
  source: RangedSource,
  dataSet: DataSet,
): Promise<ExtendedOffsetTable | undefined> {
  const read = async (tag: number): Promise<number[] | undefined> => {
    const element = dataSet.get(tag);
    if (element === undefined || element.lengthBytes === 0 || element.lengthBytes > 8 * MAX_FRAGMENTS) return undefined;
    return numbersOf(element.value ?? (await source.bytes(element.offsetBytes, element.lengthBytes)), 8);
  };
  const offsets = await read(Tag.ExtendedOffsetTable);
  const lengths = await read(Tag.ExtendedOffsetTableLengths);
  if (offsets === undefined || lengths === undefined || lengths.length !== offsets.length) return undefined;
  return { offsets, lengths };
}

/** Little endian unsigned numbers; those beyond 2^53 lose precision, and point nowhere anyway. */
function numbersOf(bytes: Uint8Array, width: 4 | 8): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / width) }, (_, i) =>
    width === 4 ? view.getUint32(i * 4, true) : Number(view.getBigUint64(i * 8, true)),
  );
}

/**
 * With an Extended Offset Table each frame is one fragment, so that it says all without looking at the fragments. It is
 * believed when it leaves no gaps, ends within the file, and its first and last fragments are where it says.
 */
async function framesByExtendedTable(
  source: RangedSource,
  fragmentsAt: number,
  { offsets, lengths }: ExtendedOffsetTable,
  declared: number,
): Promise<FrameLocation[] | undefined> {
  if (offsets.length !== declared) return undefined;
  const frames: FrameLocation[] = [];
  let expected = 0;
  for (const [i, offset] of offsets.entries()) {
    const lengthBytes = lengths[i]!;
    if (offset !== expected) return undefined;
    expected = offset + 8 + lengthBytes + (lengthBytes % 2);
    frames.push({ offsetBytes: fragmentsAt + offset + 8, lengthBytes, fragments: 1 });
  }
  if (fragmentsAt + expected > source.lengthBytes) return undefined;
  for (const frame of [frames[0]!, frames.at(-1)!]) {
    const at = frame.offsetBytes - 8;
    if ((await source.fetch(at, 8)) < 8 || source.tag(at) !== Tag.Item) return undefined;
    const itemBytes = source.uint32(at + 4);
    if (itemBytes !== frame.lengthBytes && itemBytes !== frame.lengthBytes + (frame.lengthBytes % 2)) return undefined;
  }
  return frames;
}
