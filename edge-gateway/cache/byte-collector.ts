/**
 * Copies pieces of any size together into blocks, so that a sender of single bytes costs no more memory or calls than
 * another, and the buffers of the socket are let go at once.
 */
import { BLOCK_BYTES, type BlockPool } from './block-pool.ts';

export class ByteCollector {
  readonly #pool: BlockPool;
  readonly #emit: (bytes: Uint8Array, block: Buffer) => void;
  #block: Buffer | undefined;
  #filledBytes = 0;

  /** @param emit is called with the bytes in order, and with the block that they lie in, which is the receiver's from then on */
  constructor(pool: BlockPool, emit: (bytes: Uint8Array, block: Buffer) => void) {
    this.#pool = pool;
    this.#emit = emit;
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      this.#block ??= this.#pool.take();
      const end = Math.min(bytes.length, at + BLOCK_BYTES - this.#filledBytes);
      this.#block.set(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end), this.#filledBytes);
      this.#filledBytes += end - at;
      at = end;
      if (this.#filledBytes === BLOCK_BYTES) this.flush();
    }
  }

  /** Emits what has been collected. */
  flush(): void {
    const block = this.#block;
    if (block === undefined) return;
    const bytes = block.subarray(0, this.#filledBytes);
    this.#block = undefined;
    this.#filledBytes = 0;
    this.#emit(bytes, block);
  }

  /** Forgets what has been collected. */
  clear(): void {
    if (this.#block !== undefined) this.#pool.give(this.#block);
    this.#block = undefined;
    this.#filledBytes = 0;
  }
}
