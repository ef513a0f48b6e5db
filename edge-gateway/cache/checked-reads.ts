/**
 * Reading packs with open eyes: an instance that is read whole is compared with the CRC-32 in its local header on the way, so
 * that bytes which have changed on the disk are never given out as the instance: the read fails before its end, and the
 * pack is looked into. Costs no read beside those asked for. Parts of instances (frames) have no checksum of their own.
 */
import { crc32 } from 'node:zlib';
import { parsePackKey } from '#shared/archive/keys.ts';
import { decodeLocalHeader, LOCAL_FIXED_BYTES, LOCAL_MAX_BYTES, LOCAL_SIGNATURE } from '#shared/archive/pack.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange, PackRef } from '#shared/archive/records.ts';
import { ArchiveError, type ErrorCode, isArchiveError } from '#shared/errors.ts';

/** What says that something is wrong with the pack, not with what was asked for. */
const suspicious: readonly ErrorCode[] = ['damaged', 'not-found', 'range-not-satisfiable', 'unavailable'];

/** The same packs. `suspect` is told of every pack that could not be read as it should. */
export function checkedReads(packs: PackStore, suspect: (pack: PackRef) => void): PackStore {
  async function noticing<T>(pack: PackRef, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isArchiveError(error) && suspicious.includes(error.code)) suspect(pack);
      throw error;
    }
  }

  return {
    head: (key) => packs.head(key),
    create: (key, body, expected) => packs.create(key, body, expected),
    delete: (key) => packs.delete(key),
    async read(key, range) {
      const pack = parsePackKey(key)?.ref;
      if (pack === undefined) return packs.read(key, range);
      return noticing(pack, async () => {
        const check = new EntryCheck(range);
        const bytes = await packs.read(key, check.extended);
        check.push(bytes);
        return bytes.subarray(check.leadBytes);
      });
    },
    async stream(key, range) {
      const pack = parsePackKey(key)?.ref;
      if (pack === undefined) return packs.stream(key, range);
      const check = new EntryCheck(range);
      const reader = (await noticing(pack, () => packs.stream(key, check.extended))).getReader();
      let leadBytes = check.leadBytes;
      return new ReadableStream<Uint8Array>(
        {
          pull: (controller) =>
            noticing(pack, async () => {
              try {
                for (;;) {
                  const { done, value } = await reader.read();
                  if (done) return controller.close();
                  check.push(value);
                  const rest = value.subarray(leadBytes);
                  leadBytes -= value.length - rest.length;
                  if (rest.length > 0) return controller.enqueue(rest);
                }
              } catch (error) {
                await reader.cancel(error).catch(() => {});
                throw error;
              }
            }),
          cancel: (reason) => reader.cancel(reason),
        },
        { highWaterMark: 0 },
      );
    },
  };
}

/** Follows the bytes of a range of a pack; knows where entries are from the local header that ends where the range begins. */
class EntryCheck {
  /** What to read in place of the range: the header before it as well. */
  readonly extended: ByteRange | undefined;
  /** Of that header and what may be before it: to be left out of what is given on. */
  readonly leadBytes: number;
  #state: 'lead' | 'header' | 'data' | 'unknown';
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #remainingBytes = 0;
  #crc32 = 0;
  #expectedCrc32 = 0;

  constructor(range: ByteRange | undefined) {
    const offsetBytes = range?.offsetBytes ?? 0;
    const isPlain = Number.isSafeInteger(offsetBytes) && offsetBytes >= 0;
    this.leadBytes = isPlain ? Math.min(offsetBytes, LOCAL_MAX_BYTES) : 0;
    this.extended = range && {
      offsetBytes: offsetBytes - this.leadBytes,
      lengthBytes: range.lengthBytes + this.leadBytes,
    };
    this.#state = this.leadBytes === 0 ? 'header' : 'lead';
  }

  /** Takes the next bytes. Error `damaged` with those that complete an entry whose checksum is wrong. */
  push(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0 && this.#state !== 'unknown'; )
      rest = this.#state === 'data' ? this.#takeData(rest) : this.#takeHeader(rest);
  }

  #takeData(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, this.#remainingBytes);
    this.#crc32 = crc32(part, this.#crc32);
    this.#remainingBytes -= part.length;
    if (this.#remainingBytes === 0) {
      if (this.#crc32 !== this.#expectedCrc32)
        throw new ArchiveError('damaged', 'An instance has changed on the disk since it was stored.');
      this.#state = 'header';
    }
    return bytes.subarray(part.length);
  }

  /** Gathers the lead, or as much as a header needs, and looks for one. */
  #takeHeader(bytes: Uint8Array): Uint8Array {
    const wanted = this.#state === 'lead' ? this.leadBytes : this.#wantedHeaderBytes();
    const part = bytes.subarray(0, wanted - this.#heldBytes);
    this.#held.push(part);
    this.#heldBytes += part.length;
    const rest = bytes.subarray(part.length);
    if (this.#heldBytes < wanted || (this.#state === 'header' && this.#wantedHeaderBytes() > this.#heldBytes))
      return rest;
    const held = Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    const header = this.#state === 'lead' ? headerThatEnds(held) : decodeLocalHeader(held);
    // The directory, a part of an entry, or a header that is damaged itself: that is for who reads the whole pack.
    if (header === undefined) this.#state = 'unknown';
    else {
      this.#state = 'data';
      this.#remainingBytes = header.lengthBytes;
      this.#expectedCrc32 = header.crc32;
      this.#crc32 = 0;
    }
    return rest;
  }

  /** The fixed part, then what that announces. */
  #wantedHeaderBytes(): number {
    if (this.#heldBytes < LOCAL_FIXED_BYTES) return LOCAL_FIXED_BYTES;
    const held = Buffer.concat(this.#held);
    this.#held = [held];
    if (held.readUInt32LE(0) !== LOCAL_SIGNATURE) return LOCAL_FIXED_BYTES;
    return LOCAL_FIXED_BYTES + held.readUInt16LE(26) + held.readUInt16LE(28);
  }
}

/** The local header that ends where the bytes end. */
function headerThatEnds(bytes: Buffer): ReturnType<typeof decodeLocalHeader> {
  for (let at = bytes.length - LOCAL_FIXED_BYTES; at >= 0; at--) {
    if (bytes.readUInt32LE(at) !== LOCAL_SIGNATURE) continue;
    const header = decodeLocalHeader(bytes, at);
    if (header?.headerLengthBytes === bytes.length - at) return header;
  }
  return undefined;
}
