/**
 * Reads a sealed pack as a stream, in flat memory and strictly: entries one after the other from the first byte, CRC-32
 * of each right, then the directory of exactly these entries, then nothing. What is not so is `damaged`. Open packs with
 * a torn tail are the gateway's recovery's concern, not this file's.
 */
import { crc32 } from 'node:zlib';
import { ArchiveError } from '../errors.ts';
import {
  checkDirectory,
  decodeLocalHeader,
  directoryLimitBytes,
  LOCAL_FIXED_BYTES,
  LOCAL_SIGNATURE,
  type LocalHeader,
  type PackEntry,
} from './pack.ts';

export interface PackEvents {
  /** An entry begins; its data follow, from `offsetBytes` of the pack on. */
  begin(header: LocalHeader, offsetBytes: number): void;
  /** The next bytes of the entry's data: a view on what was pushed. */
  data(bytes: Uint8Array): void;
  /** The entry's data are complete and have the right CRC-32. */
  end(entry: PackEntry): void;
}

export class PackScanner {
  readonly #events: PackEvents;
  readonly #entries: PackEntry[] = [];
  #state: 'header' | 'data' | 'directory' = 'header';
  /** Bytes of a header or the directory that are not complete yet. */
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #offsetBytes = 0;
  #header: LocalHeader | undefined;
  #headerOffsetBytes = 0;
  #remainingBytes = 0;
  #crc32 = 0;

  constructor(events: PackEvents) {
    this.#events = events;
  }

  /** Takes the next bytes of the pack. Error: `damaged`, and whatever the events throw; nothing may be pushed afterwards. */
  push(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#state === 'data') rest = this.#takeData(rest);
      else if (this.#state === 'header') rest = this.#takeHeader(rest);
      else {
        this.#hold(rest);
        if (this.#heldBytes > directoryLimitBytes(this.#entries.length))
          throw damaged('More follows the entries of the pack than their directory.', this.#offsetBytes);
        return;
      }
    }
  }

  /** No more bytes will come. Answers the entries in their order. Error: `damaged`. */
  end(): readonly PackEntry[] {
    if (this.#state === 'data' || this.#entries.length === 0)
      throw damaged('The pack ends in the middle of an entry.', this.#offsetBytes);
    checkDirectory(this.#takeHeld(), this.#entries, this.#offsetBytes);
    return this.#entries;
  }

  #takeHeader(bytes: Uint8Array): Uint8Array {
    // Headers are short: at most this much is looked at together, what is too much is given back.
    const have = this.#heldBytes;
    const wanted = this.#wantedHeaderBytes();
    const part = bytes.subarray(0, wanted - have);
    this.#hold(part);
    const rest = bytes.subarray(part.length);
    if (this.#heldBytes < wanted || this.#wantedHeaderBytes() > this.#heldBytes) return rest;
    const held = Buffer.concat(this.#held);
    if (held.readUInt32LE(0) !== LOCAL_SIGNATURE) {
      this.#state = 'directory';
      return rest;
    }
    const header = decodeLocalHeader(held);
    if (header === undefined) throw damaged('A local header in the pack is wrong.', this.#offsetBytes);
    this.#takeHeld();
    this.#headerOffsetBytes = this.#offsetBytes;
    this.#offsetBytes += header.headerLengthBytes;
    this.#header = header;
    this.#remainingBytes = header.lengthBytes;
    this.#crc32 = 0;
    this.#state = 'data';
    this.#events.begin(header, this.#offsetBytes);
    if (header.lengthBytes === 0) this.#finishEntry(header);
    return rest;
  }

  /** First the signature, then the fixed part, then what that announces. */
  #wantedHeaderBytes(): number {
    if (this.#heldBytes < 4) return 4;
    if (this.#held.length > 1) this.#held = [Buffer.concat(this.#held)];
    const held = this.#held[0] as Buffer;
    if (held.readUInt32LE(0) !== LOCAL_SIGNATURE) return 4;
    if (this.#heldBytes < LOCAL_FIXED_BYTES) return LOCAL_FIXED_BYTES;
    return LOCAL_FIXED_BYTES + held.readUInt16LE(26) + held.readUInt16LE(28);
  }

  #takeData(bytes: Uint8Array): Uint8Array {
    const part = bytes.subarray(0, this.#remainingBytes);
    this.#crc32 = crc32(part, this.#crc32);
    this.#remainingBytes -= part.length;
    this.#offsetBytes += part.length;
    this.#events.data(part);
    if (this.#remainingBytes === 0 && this.#header !== undefined) this.#finishEntry(this.#header);
    return bytes.subarray(part.length);
  }

  #finishEntry(header: LocalHeader): void {
    if (this.#crc32 !== header.crc32) throw damaged('The CRC-32 of an entry is wrong.', this.#headerOffsetBytes);
    const entry: PackEntry = {
      name: header.name,
      crc32: header.crc32,
      headerOffsetBytes: this.#headerOffsetBytes,
      offsetBytes: this.#offsetBytes - header.lengthBytes,
      lengthBytes: header.lengthBytes,
      dosTime: header.dosTime,
    };
    this.#entries.push(entry);
    this.#header = undefined;
    this.#state = 'header';
    this.#events.end(entry);
  }

  #hold(bytes: Uint8Array): void {
    this.#held.push(Buffer.from(bytes));
    this.#heldBytes += bytes.length;
  }

  #takeHeld(): Uint8Array {
    const held = Buffer.concat(this.#held);
    this.#held = [];
    this.#heldBytes = 0;
    return held;
  }
}

function damaged(message: string, offsetBytes: number): ArchiveError {
  return new ArchiveError('damaged', message, { offsetBytes });
}
