/**
 * The ZIP format of a pack: method 0 (stored), ZIP64 where a number needs it, entries one after the other from the first
 * byte on (APPNOTE.TXT 6.3). Encodes local headers and the directory, decodes both, and says how a whole pack must look.
 * What lies in the entries is not its concern; reading a pack as a stream is pack-scan.ts.
 */
import { ArchiveError } from '../errors.ts';

/** One entry of a pack. */
export interface PackEntry {
  readonly name: string;
  /** CRC-32 of the data. */
  readonly crc32: number;
  /** Of the local header in the pack. */
  readonly headerOffsetBytes: number;
  /** Of the data in the pack. */
  readonly offsetBytes: number;
  /** Of the data. */
  readonly lengthBytes: number;
  /** MS-DOS date and time, as the ZIP format has it: date in the upper 16 bits. */
  readonly dosTime: number;
}

export type LocalHeader = Omit<PackEntry, 'headerOffsetBytes' | 'offsetBytes'> & { readonly headerLengthBytes: number };

export const LOCAL_SIGNATURE = 0x04034b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const END_SIGNATURE = 0x06054b50;
const END64_SIGNATURE = 0x06064b50;
const LOCATOR_SIGNATURE = 0x07064b50;

/** Of a local header without name and extra field. */
export const LOCAL_FIXED_BYTES = 30;
/** The longest local header there is: what a reader must have at hand to decode one. */
export const LOCAL_MAX_BYTES = 256;
/** The whole local header of an entry whose data come before it: room for any name, and data on a boundary of 256. */
export const RESERVED_HEADER_BYTES = 256;

const CENTRAL_FIXED_BYTES = 46;
const END_BYTES = 22;
const END64_BYTES = 56;
const LOCATOR_BYTES = 20;
const MAX_16 = 0xffff;
const MAX_32 = 0xffffffff;
const ZIP64_EXTRA = 0x0001;
/** "Data Stream Alignment": the registered extra field whose content is padding. */
const PADDING_EXTRA = 0xa11e;
const VERSION_STORED = 20;
const VERSION_ZIP64 = 45;
const MADE_BY_UNIX = 3 << 8;
const REGULAR_FILE = 0o100644 << 16;

/** Lengths and offsets beyond this are damage, not data: 2^46 bytes are 70 TB. */
const MAX_LENGTH_BYTES = 2 ** 46;
const MAX_NAME_BYTES = 96;

/**
 * The local header that stands before an entry's data.
 * @param options.reserved with exactly RESERVED_HEADER_BYTES, whatever the name and the length
 */
export function encodeLocalHeader(
  entry: Pick<PackEntry, 'name' | 'crc32' | 'lengthBytes' | 'dosTime'>,
  options: { reserved?: boolean } = {},
): Buffer {
  const name = Buffer.from(entry.name, 'latin1');
  if (name.length === 0 || name.length > MAX_NAME_BYTES) throw new RangeError('name of an entry out of bounds');
  const zip64 = entry.lengthBytes >= MAX_32;
  const zip64Bytes = zip64 ? 20 : 0;
  const paddingBytes =
    options.reserved === true ? RESERVED_HEADER_BYTES - LOCAL_FIXED_BYTES - name.length - zip64Bytes : 0;
  const header = Buffer.alloc(LOCAL_FIXED_BYTES + name.length + zip64Bytes + paddingBytes);
  header.writeUInt32LE(LOCAL_SIGNATURE, 0);
  header.writeUInt16LE(zip64 ? VERSION_ZIP64 : VERSION_STORED, 4);
  header.writeUInt32LE(entry.dosTime, 10);
  header.writeUInt32LE(entry.crc32, 14);
  header.writeUInt32LE(zip64 ? MAX_32 : entry.lengthBytes, 18);
  header.writeUInt32LE(zip64 ? MAX_32 : entry.lengthBytes, 22);
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(zip64Bytes + paddingBytes, 28);
  header.set(name, LOCAL_FIXED_BYTES);
  let at = LOCAL_FIXED_BYTES + name.length;
  if (zip64) {
    header.writeUInt16LE(ZIP64_EXTRA, at);
    header.writeUInt16LE(16, at + 2);
    header.writeBigUInt64LE(BigInt(entry.lengthBytes), at + 4);
    header.writeBigUInt64LE(BigInt(entry.lengthBytes), at + 12);
    at += zip64Bytes;
  }
  if (paddingBytes > 0) {
    header.writeUInt16LE(PADDING_EXTRA, at);
    header.writeUInt16LE(paddingBytes - 4, at + 2);
    header.writeUInt16LE(RESERVED_HEADER_BYTES, at + 4);
  }
  return header;
}

/**
 * The local header that begins at `at`, or undefined if there is none that encodeLocalHeader could have made.
 * @param bytes should hold LOCAL_MAX_BYTES from `at` on, as far as the file goes
 */
export function decodeLocalHeader(bytes: Uint8Array, at = 0): LocalHeader | undefined {
  const view = viewOf(bytes);
  if (at + LOCAL_FIXED_BYTES > bytes.length || view.getUint32(at, true) !== LOCAL_SIGNATURE) return undefined;
  const version = view.getUint16(at + 4, true);
  // Flags and method are zero: not encrypted, no data descriptor, stored.
  if ((version !== VERSION_STORED && version !== VERSION_ZIP64) || view.getUint32(at + 6, true) !== 0) return undefined;
  const nameBytes = view.getUint16(at + 26, true);
  const extraBytes = view.getUint16(at + 28, true);
  const headerLengthBytes = LOCAL_FIXED_BYTES + nameBytes + extraBytes;
  if (nameBytes === 0 || nameBytes > MAX_NAME_BYTES || headerLengthBytes > LOCAL_MAX_BYTES) return undefined;
  if (at + headerLengthBytes > bytes.length) return undefined;
  const extra = bytes.subarray(at + LOCAL_FIXED_BYTES + nameBytes, at + headerLengthBytes);
  const long = zip64Fields(extra);
  const sizes = [view.getUint32(at + 22, true), view.getUint32(at + 18, true)].map((size) =>
    size === MAX_32 ? long?.shift() : size,
  );
  const lengthBytes = sizes[0];
  if (lengthBytes === undefined || lengthBytes !== sizes[1] || lengthBytes > MAX_LENGTH_BYTES) return undefined;
  return {
    name: latin1(bytes, at + LOCAL_FIXED_BYTES, nameBytes),
    crc32: view.getUint32(at + 14, true),
    lengthBytes,
    dosTime: view.getUint32(at + 10, true),
    headerLengthBytes,
  };
}

/** The directory of these entries and the end records: what follows the last entry's data, at `offsetBytes`, and ends the pack. */
export function encodeDirectory(entries: readonly PackEntry[], offsetBytes: number): Buffer {
  const parts = entries.map(encodeCentralHeader);
  const lengthBytes = parts.reduce((sum, part) => sum + part.length, 0);
  const zip64 = entries.length >= MAX_16 || offsetBytes >= MAX_32 || lengthBytes >= MAX_32;
  const end = Buffer.alloc(zip64 ? END64_BYTES + LOCATOR_BYTES + END_BYTES : END_BYTES);
  let at = 0;
  if (zip64) {
    end.writeUInt32LE(END64_SIGNATURE, 0);
    end.writeBigUInt64LE(BigInt(END64_BYTES - 12), 4);
    end.writeUInt16LE(MADE_BY_UNIX | VERSION_ZIP64, 12);
    end.writeUInt16LE(VERSION_ZIP64, 14);
    end.writeBigUInt64LE(BigInt(entries.length), 24);
    end.writeBigUInt64LE(BigInt(entries.length), 32);
    end.writeBigUInt64LE(BigInt(lengthBytes), 40);
    end.writeBigUInt64LE(BigInt(offsetBytes), 48);
    end.writeUInt32LE(LOCATOR_SIGNATURE, 56);
    end.writeBigUInt64LE(BigInt(offsetBytes + lengthBytes), 64);
    end.writeUInt32LE(1, 72);
    at = END64_BYTES + LOCATOR_BYTES;
  }
  end.writeUInt32LE(END_SIGNATURE, at);
  end.writeUInt16LE(Math.min(entries.length, MAX_16), at + 8);
  end.writeUInt16LE(Math.min(entries.length, MAX_16), at + 10);
  end.writeUInt32LE(zip64 ? MAX_32 : lengthBytes, at + 12);
  end.writeUInt32LE(zip64 ? MAX_32 : offsetBytes, at + 16);
  return Buffer.concat([...parts, end]);
}

function encodeCentralHeader(entry: PackEntry): Buffer {
  const name = Buffer.from(entry.name, 'latin1');
  const long: number[] = [];
  if (entry.lengthBytes >= MAX_32) long.push(entry.lengthBytes, entry.lengthBytes);
  if (entry.headerOffsetBytes >= MAX_32) long.push(entry.headerOffsetBytes);
  const extraBytes = long.length === 0 ? 0 : 4 + 8 * long.length;
  const version = long.length === 0 ? VERSION_STORED : VERSION_ZIP64;
  const header = Buffer.alloc(CENTRAL_FIXED_BYTES + name.length + extraBytes);
  header.writeUInt32LE(CENTRAL_SIGNATURE, 0);
  header.writeUInt16LE(MADE_BY_UNIX | version, 4);
  header.writeUInt16LE(version, 6);
  header.writeUInt32LE(entry.dosTime, 12);
  header.writeUInt32LE(entry.crc32, 16);
  header.writeUInt32LE(Math.min(entry.lengthBytes, MAX_32), 20);
  header.writeUInt32LE(Math.min(entry.lengthBytes, MAX_32), 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt16LE(extraBytes, 30);
  header.writeUInt32LE(REGULAR_FILE >>> 0, 38);
  header.writeUInt32LE(Math.min(entry.headerOffsetBytes, MAX_32), 42);
  header.set(name, CENTRAL_FIXED_BYTES);
  let at = CENTRAL_FIXED_BYTES + name.length;
  if (extraBytes > 0) {
    header.writeUInt16LE(ZIP64_EXTRA, at);
    header.writeUInt16LE(extraBytes - 4, at + 2);
    at += 4;
    for (const value of long) at = header.writeBigUInt64LE(BigInt(value), at);
  }
  return header;
}

/** How long the directory of so many entries can be: a bound for readers. */
export function directoryLimitBytes(entryCount: number): number {
  return entryCount * (CENTRAL_FIXED_BYTES + MAX_NAME_BYTES + 28) + END64_BYTES + LOCATOR_BYTES + END_BYTES;
}

/**
 * Checks that `tail`, what follows the data of the last entry, is the directory of exactly these entries and nothing more.
 * @param offsetBytes of `tail` in the pack
 * @throws ArchiveError `damaged` with a sentence saying what differs
 */
export function checkDirectory(tail: Uint8Array, entries: readonly PackEntry[], offsetBytes: number): void {
  const view = viewOf(tail);
  let at = 0;
  for (const [i, entry] of entries.entries()) {
    if (at + CENTRAL_FIXED_BYTES > tail.length || view.getUint32(at, true) !== CENTRAL_SIGNATURE)
      throw damaged('The directory of the pack has fewer entries than the pack.', { entry: i });
    const nameBytes = view.getUint16(at + 28, true);
    const extraBytes = view.getUint16(at + 30, true);
    const end = at + CENTRAL_FIXED_BYTES + nameBytes + extraBytes + view.getUint16(at + 32, true);
    if (end > tail.length) throw damaged('The directory of the pack is cut off.', { entry: i });
    const extraAt = at + CENTRAL_FIXED_BYTES + nameBytes;
    const long = zip64Fields(tail.subarray(extraAt, extraAt + extraBytes));
    const [lengthBytes, storedBytes, headerOffsetBytes] = [24, 20, 42].map((field) => {
      const value = view.getUint32(at + field, true);
      return value === MAX_32 ? long?.shift() : value;
    });
    const same =
      latin1(tail, at + CENTRAL_FIXED_BYTES, nameBytes) === entry.name &&
      view.getUint16(at + 10, true) === 0 &&
      view.getUint32(at + 16, true) === entry.crc32 &&
      lengthBytes === entry.lengthBytes &&
      storedBytes === entry.lengthBytes &&
      headerOffsetBytes === entry.headerOffsetBytes;
    if (!same) throw damaged('The directory of the pack differs from what lies in it.', { entry: i });
    at = end;
  }
  checkEnd(tail, at, entries.length, offsetBytes);
}

function checkEnd(tail: Uint8Array, directoryBytes: number, entryCount: number, offsetBytes: number): void {
  const view = viewOf(tail);
  const end = tail.length - END_BYTES;
  const zip64 = end === directoryBytes + END64_BYTES + LOCATOR_BYTES;
  if (end < directoryBytes || (!zip64 && end !== directoryBytes) || view.getUint32(end, true) !== END_SIGNATURE)
    throw damaged('The pack does not end with the end record of its directory.');
  let numbers = [view.getUint16(end + 10, true), view.getUint32(end + 12, true), view.getUint32(end + 16, true)];
  if (zip64) {
    const at = directoryBytes;
    const locator = at + END64_BYTES;
    if (
      view.getUint32(at, true) !== END64_SIGNATURE ||
      view.getUint32(locator, true) !== LOCATOR_SIGNATURE ||
      long64(view, locator + 8) !== offsetBytes + directoryBytes
    )
      throw damaged('The ZIP64 end record of the pack is wrong.');
    numbers = [long64(view, at + 32), long64(view, at + 40), long64(view, at + 48)];
  }
  if (numbers[0] !== entryCount || numbers[1] !== directoryBytes || numbers[2] !== offsetBytes)
    throw damaged('The end record of the pack differs from its directory.');
}

/** MS-DOS date and time (2 seconds exact, UTC, 1980 to 2107) of a moment. */
export function dosTimeOf(timeMs: number): number {
  const date = new Date(timeMs);
  const year = Math.min(127, Math.max(0, date.getUTCFullYear() - 1980));
  const day = (year << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const time = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  return ((day << 16) | time) >>> 0;
}

/** The values of the ZIP64 extra field in their order, or undefined when there is none or the extra field is malformed. */
function zip64Fields(extra: Uint8Array): number[] | undefined {
  const view = viewOf(extra);
  let at = 0;
  while (at + 4 <= extra.length) {
    const lengthBytes = view.getUint16(at + 2, true);
    if (at + 4 + lengthBytes > extra.length) return undefined;
    if (view.getUint16(at, true) === ZIP64_EXTRA) {
      return Array.from({ length: Math.floor(lengthBytes / 8) }, (_, i) => long64(view, at + 4 + 8 * i));
    }
    at += 4 + lengthBytes;
  }
  return undefined;
}

function damaged(message: string, details: Readonly<Record<string, unknown>> = {}): ArchiveError {
  return new ArchiveError('damaged', message, details);
}

const long64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function latin1(bytes: Uint8Array, at: number, lengthBytes: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, lengthBytes).toString('latin1');
}
