/**
 * Looks at places in a source that can only be read in ranges, in ascending order and with few reads: places near each
 * other come with one large read, those far apart with a small read each, so that what lies between is never fetched.
 */
import { uint16, uint32 } from './byte-window.ts';
import type { ByteRangeLike } from './part10.ts';

const FIRST_READ_BYTES = 64 * 1024;
const LONGEST_READ_BYTES = 4 * 1024 * 1024;
/** A place farther ahead than this is fetched by a read of its own: a request costs about as much as so many bytes. */
const HOP_BYTES = 128 * 1024;
const HOP_READ_BYTES = 4 * 1024;

export class RangedSource {
  readonly lengthBytes: number;
  readonly #read: (range: ByteRangeLike) => Promise<Uint8Array>;
  #bytes = new Uint8Array(0);
  #base = 0;
  #nextReadBytes = FIRST_READ_BYTES;

  constructor(read: (range: ByteRangeLike) => Promise<Uint8Array>, lengthBytes: number) {
    this.#read = read;
    this.lengthBytes = lengthBytes;
  }

  /** Whether the bytes can be looked at without reading; `count` must be small. */
  holds(offsetBytes: number, count: number): boolean {
    return offsetBytes >= this.#base && offsetBytes + count <= this.#base + this.#bytes.length;
  }

  /** Makes up to `count` bytes at `offsetBytes` available; answers how many there are: fewer only where the source ends. */
  async fetch(offsetBytes: number, count: number): Promise<number> {
    const wanted = Math.min(count, this.lengthBytes - offsetBytes);
    if (wanted <= 0) return 0;
    if (this.holds(offsetBytes, wanted)) return wanted;
    const gap = offsetBytes - (this.#base + this.#bytes.length);
    if (this.#bytes.length > 0 && (gap > HOP_BYTES || offsetBytes < this.#base)) this.#nextReadBytes = HOP_READ_BYTES;
    const lengthBytes = Math.min(Math.max(wanted, this.#nextReadBytes), this.lengthBytes - offsetBytes);
    this.#nextReadBytes = Math.min(this.#nextReadBytes * 2, LONGEST_READ_BYTES);
    this.#bytes = new Uint8Array(0);
    const bytes = await this.#read({ offsetBytes, lengthBytes });
    this.#bytes = bytes as Uint8Array<ArrayBuffer>;
    this.#base = offsetBytes;
    return Math.min(wanted, bytes.length);
  }

  /** A copy of the bytes of a range, fewer only where the source ends. Not for ranges that do not fit in memory. */
  async bytes(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const count = await this.fetch(offsetBytes, lengthBytes);
    return this.#bytes.slice(offsetBytes - this.#base, offsetBytes - this.#base + count);
  }

  /** Of bytes that are held; fragments are little endian whatever the data set is (PS3.5 §A.4). */
  uint32(offsetBytes: number): number {
    return uint32(this.#bytes, offsetBytes - this.#base, true);
  }

  /** The tag at `offsetBytes`, as 0xGGGGEEEE. */
  tag(offsetBytes: number): number {
    const at = offsetBytes - this.#base;
    return ((uint16(this.#bytes, at, true) << 16) | uint16(this.#bytes, at + 2, true)) >>> 0;
  }

  /** The first four bytes of something, in the order in which they lie. */
  leadingBytes(offsetBytes: number): number {
    return uint32(this.#bytes, offsetBytes - this.#base, false);
  }
}
