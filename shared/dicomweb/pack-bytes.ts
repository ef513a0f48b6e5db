/**
 * A range of a pack read forward, piece by piece, as fast as the client takes it and no faster. Whoever opens one ends it: by
 * reading to its end, or by `return`.
 */
import type { PackStore } from '../archive/ports.ts';
import type { ByteRange } from '../archive/records.ts';
import { ArchiveError } from '../errors.ts';

export class PackBytes implements AsyncIterableIterator<Uint8Array, void, undefined> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #endBytes: number;
  #rest: Uint8Array = new Uint8Array();
  #positionBytes: number;
  #ended = false;

  private constructor(stream: ReadableStream<Uint8Array>, range: ByteRange) {
    this.#reader = stream.getReader();
    this.#positionBytes = range.offsetBytes;
    this.#endBytes = range.offsetBytes + range.lengthBytes;
  }

  /** Errors: those of PackStore. */
  static async open(packs: PackStore, key: string, range: ByteRange): Promise<PackBytes> {
    return new PackBytes(await packs.stream(key, range), range);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next bytes of the range. Error `damaged` when the pack ends before it. */
  async next(): Promise<IteratorResult<Uint8Array, void>> {
    if (this.#ended || this.#positionBytes >= this.#endBytes) return this.return();
    return { done: false, value: await this.#piece(this.#endBytes - this.#positionBytes) };
  }

  /** Closes what is open. A stream of which every byte has come is read to its end, so that its source closes by itself, once. */
  async return(): Promise<{ done: true; value: undefined }> {
    if (!this.#ended) {
      this.#ended = true;
      if (this.#positionBytes < this.#endBytes) await this.#reader.cancel().catch(() => {});
      else await this.#reader.read().catch(() => {});
    }
    return { done: true, value: undefined };
  }

  async skipTo(positionBytes: number): Promise<void> {
    while (this.#positionBytes < positionBytes) await this.#piece(positionBytes - this.#positionBytes);
  }

  /** Everything up to a position, in one piece; it must not be far. */
  async gatherTo(positionBytes: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(positionBytes - this.#positionBytes);
    for (let at = 0; at < bytes.length; ) {
      const piece = await this.#piece(bytes.length - at);
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  }

  /** The next so many bytes; ending the iteration early leaves the rest where it is. */
  async *take(lengthBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
    const end = this.#positionBytes + lengthBytes;
    while (this.#positionBytes < end) yield await this.#piece(end - this.#positionBytes);
  }

  /** At most `atMostBytes`, at least one. */
  async #piece(atMostBytes: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const { done, value } = await this.#reader.read();
      if (done) throw new ArchiveError('damaged', 'A pack ends before what the index says is in it.');
      this.#rest = value;
    }
    const bytes = this.#rest.subarray(0, atMostBytes);
    this.#rest = this.#rest.subarray(bytes.length);
    this.#positionBytes += bytes.length;
    return bytes;
  }
}
