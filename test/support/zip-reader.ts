/**
 * Reads a ZIP file of stored or deflated entries by its central directory (APPNOTE 4.3.12, with ZIP64), for tests: by
 * nothing of ours, so that what we write is judged by somebody else.
 */
import { inflateRawSync } from 'node:zlib';

export interface ZipEntry {
  readonly name: string;
  readonly bytes: Buffer;
}

const END = 0x06054b50;
const END_64 = 0x06064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;

export function zipEntries(zip: Buffer): ZipEntry[] {
  const end = zip.lastIndexOf(Buffer.from(Uint32Array.of(END).buffer));
  if (end < 0) throw new Error('no end of central directory');
  const end64 = zip.lastIndexOf(Buffer.from(Uint32Array.of(END_64).buffer), end);
  const count = end64 < 0 ? zip.readUInt16LE(end + 10) : Number(zip.readBigUInt64LE(end64 + 32));
  let at = end64 < 0 ? zip.readUInt32LE(end + 16) : Number(zip.readBigUInt64LE(end64 + 48));
  const entries: ZipEntry[] = [];
  for (let i = 0; i < count; i++) {
    if (zip.readUInt32LE(at) !== CENTRAL) throw new Error(`no central directory header at ${at}`);
    const nameBytes = zip.readUInt16LE(at + 28);
    const extraBytes = zip.readUInt16LE(at + 30);
    const name = zip.toString('utf8', at + 46, at + 46 + nameBytes);
    const wide = wideFields(zip.subarray(at + 46 + nameBytes, at + 46 + nameBytes + extraBytes));
    const take = (value: number): number => (value === 0xffffffff ? (wide.shift() ?? value) : value);
    const lengthBytes = take(zip.readUInt32LE(at + 24));
    const storedBytes = take(zip.readUInt32LE(at + 20));
    const local = take(zip.readUInt32LE(at + 42));
    if (zip.readUInt32LE(local) !== LOCAL) throw new Error(`no local header of ${name}`);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const stored = zip.subarray(start, start + storedBytes);
    const bytes = zip.readUInt16LE(at + 10) === 0 ? stored : inflateRawSync(stored);
    if (bytes.length !== lengthBytes) throw new Error(`${name} has not the length that the directory says`);
    entries.push({ name, bytes });
    at += 46 + nameBytes + extraBytes + zip.readUInt16LE(at + 32);
  }
  return entries;
}

/** The 64-bit values of the ZIP64 extra field (0001H), in order: those whose 32-bit fields are all ones. */
function wideFields(extra: Buffer): number[] {
  for (let at = 0; at + 4 <= extra.length; at += 4 + extra.readUInt16LE(at + 2)) {
    if (extra.readUInt16LE(at) !== 0x0001) continue;
    const count = Math.floor(extra.readUInt16LE(at + 2) / 8);
    return Array.from({ length: count }, (_, i) => Number(extra.readBigUInt64LE(at + 4 + 8 * i)));
  }
  return [];
}
