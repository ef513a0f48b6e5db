/**
 * The part of a source of bytes that a reader still needs: chunks are appended, what is read is let go. While a chunk
 * suffices it is used where it lies; only an element that spans chunks is copied, into a buffer that doubles, so that
 * reading stays linear in the length of the source however small the chunks are.
 */

/** What makes a reader stop in the middle of an element: bytes up to `window.neededBytes` must come first. */
export const moreBytesNeeded: unique symbol = Symbol('more bytes are needed');

const none = new Uint8Array(0);

export class ByteWindow {
  /** Only the first `filled` of them count. */
  bytes: Uint8Array = none;
  filled = 0;
  /** Source offset of `bytes[0]`. */
  base = 0;
  /** Source offset up to which everything is read. May lie behind `received`: those bytes need not be looked at. */
  position = 0;
  /** Source offset up to which bytes have come. */
  received = 0;
  /** No bytes will come after `received`. */
  ended = false;
  /** Source offset up to which bytes must have come before it makes sense to read on. */
  neededBytes = 0;
  /** Of the whole source, where known. */
  readonly totalBytes: number;
  #owned = false;

  constructor(totalBytes: number = Number.POSITIVE_INFINITY) {
    this.totalBytes = totalBytes;
    if (totalBytes === 0) this.ended = true;
  }

  /** Keeps a view on the chunk: it must not be changed afterwards. */
  append(chunk: Uint8Array): void {
    const fresh =
      chunk.length > this.totalBytes - this.received ? chunk.subarray(0, this.totalBytes - this.received) : chunk;
    if (this.position >= this.received) {
      this.base = this.received;
      this.bytes = fresh;
      this.filled = fresh.length;
      this.#owned = false;
      if (this.position >= this.received + fresh.length) this.#drop(this.received + fresh.length);
    } else if (this.#owned && this.filled + fresh.length <= this.bytes.length) {
      this.bytes.set(fresh, this.filled);
      this.filled += fresh.length;
    } else {
      const unread = this.bytes.subarray(this.position - this.base, this.filled);
      const grown = new Uint8Array(2 * (unread.length + fresh.length));
      grown.set(unread);
      grown.set(fresh, unread.length);
      this.base = this.position;
      this.bytes = grown;
      this.filled = unread.length + fresh.length;
      this.#owned = true;
    }
    this.received += fresh.length;
    if (this.received >= this.totalBytes) this.ended = true;
  }

  /** The bytes between `received` and `position` are not needed: the next chunk begins at `position`. */
  skip(): void {
    if (this.position <= this.received) return;
    this.received = Math.min(this.position, this.totalBytes);
    this.#drop(this.received);
    if (this.received >= this.totalBytes) this.ended = true;
  }

  #drop(to: number): void {
    this.base = to;
    this.bytes = none;
    this.filled = 0;
    this.#owned = false;
  }
}

export function uint16(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  return littleEndian ? bytes[at]! | (bytes[at + 1]! << 8) : bytes[at + 1]! | (bytes[at]! << 8);
}

export function uint32(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  return littleEndian
    ? (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
    : (bytes[at + 3]! | (bytes[at + 2]! << 8) | (bytes[at + 1]! << 16) | (bytes[at]! << 24)) >>> 0;
}

/** Group and element number, each in the byte order given, as 0xGGGGEEEE. */
export function tagAt(bytes: Uint8Array, at: number, littleEndian: boolean): number {
  return littleEndian
    ? ((bytes[at]! << 16) | (bytes[at + 1]! << 24) | bytes[at + 2]! | (bytes[at + 3]! << 8)) >>> 0
    : ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
