/**
 * Reads the file of an open pack after a crash: which complete entries it has (local header, length, CRC-32), where the
 * last one ends, and whether something that cannot be read stands before one that can. A torn tail is what a crash leaves; a
 * hole in the middle is damage. Changes nothing; memory does not depend on the length of the file.
 */
import { crc32 } from 'node:zlib';
import {
  decodeLocalHeader,
  LOCAL_MAX_BYTES,
  LOCAL_SIGNATURE,
  type LocalHeader,
  type PackEntry,
} from '#shared/archive/pack.ts';
import type { OpenFile } from './files.ts';

export interface ScannedPack {
  /** Complete ones, in their order. */
  readonly entries: readonly PackEntry[];
  /** Where bytes that are in no entry stand before one that is. */
  readonly holes: readonly { readonly offsetBytes: number; readonly lengthBytes: number }[];
  /** End of the last complete entry; what follows is a torn tail or a directory. */
  readonly endBytes: number;
  /** Of the file. */
  readonly lengthBytes: number;
}

const CHUNK_BYTES = 1024 * 1024;
const signature = Buffer.alloc(4);
signature.writeUInt32LE(LOCAL_SIGNATURE);
const namePattern = /^([0-9.]{1,64}|x[0-9a-f]{32})\.dcm$/;
/** Each costs reading what it claims to be: more than this many false ones in a file are an attack, not an accident. */
const MAX_CANDIDATES = 1000;

export async function scanOpenPack(file: OpenFile): Promise<ScannedPack> {
  const lengthBytes = await file.lengthBytes();
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  const entries: PackEntry[] = [];
  const holes: { offsetBytes: number; lengthBytes: number }[] = [];
  let candidates = 0;
  let endBytes = 0;

  for (;;) {
    let entry = await entryAt(file, endBytes, lengthBytes, buffer);
    for (let at = endBytes; entry === undefined && candidates < MAX_CANDIDATES; ) {
      at = await findSignature(file, at + 1, lengthBytes, buffer);
      if (at < 0) break;
      candidates++;
      entry = await entryAt(file, at, lengthBytes, buffer);
    }
    if (entry === undefined) return { entries, holes, endBytes, lengthBytes };
    const gap = entry.headerOffsetBytes - endBytes;
    if (gap > 0) holes.push({ offsetBytes: endBytes, lengthBytes: gap });
    entries.push(entry);
    endBytes = entry.offsetBytes + entry.lengthBytes;
  }
}

/** The complete entry that begins there, its CRC-32 right. */
async function entryAt(file: OpenFile, at: number, fileBytes: number, buffer: Buffer): Promise<PackEntry | undefined> {
  const head = buffer.subarray(0, LOCAL_MAX_BYTES);
  const header = decodeLocalHeader(head.subarray(0, await file.read(head, at)));
  if (header === undefined || !namePattern.test(header.name)) return undefined;
  const offsetBytes = at + header.headerLengthBytes;
  if (offsetBytes + header.lengthBytes > fileBytes) return undefined;
  if ((await crcOf(file, offsetBytes, header, buffer)) !== header.crc32) return undefined;
  const { name, crc32: crc, lengthBytes, dosTime } = header;
  return { name, crc32: crc, lengthBytes, dosTime, headerOffsetBytes: at, offsetBytes };
}

async function crcOf(
  file: OpenFile,
  offsetBytes: number,
  { lengthBytes }: LocalHeader,
  buffer: Buffer,
): Promise<number> {
  let crc = 0;
  for (let done = 0; done < lengthBytes; ) {
    const part = buffer.subarray(0, Math.min(CHUNK_BYTES, lengthBytes - done));
    const count = await file.read(part, offsetBytes + done);
    if (count === 0) return -1;
    crc = crc32(part.subarray(0, count), crc);
    done += count;
  }
  return crc;
}

/** Where the next signature of a local header stands, from `from` on; -1 if there is none. */
async function findSignature(file: OpenFile, from: number, fileBytes: number, buffer: Buffer): Promise<number> {
  // Neighbouring reads overlap, so that a signature on their border is seen.
  for (let at = from; at + signature.length <= fileBytes; at += CHUNK_BYTES - signature.length + 1) {
    const found = buffer.subarray(0, await file.read(buffer, at)).indexOf(signature);
    if (found >= 0) return at + found;
  }
  return -1;
}
