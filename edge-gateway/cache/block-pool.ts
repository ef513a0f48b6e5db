/**
 * Blocks of memory that instances pass through on their way to disk, used again and again: half a megabyte of new memory for
 * each instance would cost more in garbage collection than hashing and writing it. Whoever gives a block back says that nobody
 * looks at it any more: no write, no hash, no header. In doubt a block is not given back but forgotten.
 */
export const BLOCK_BYTES = 64 * 1024;

export class BlockPool {
  readonly #free: Buffer[] = [];
  readonly #mostFree: number;

  /** @param mostFreeBytes how much is kept for the next at most */
  constructor(mostFreeBytes: number) {
    this.#mostFree = Math.floor(mostFreeBytes / BLOCK_BYTES);
  }

  /** A block of BLOCK_BYTES, with anything in it. */
  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  }

  give(block: Buffer): void {
    if (this.#free.length < this.#mostFree) this.#free.push(block);
  }

  giveAll(blocks: readonly Buffer[]): void {
    for (const block of blocks) this.give(block);
  }

  get freeBlocks(): number {
    return this.#free.length;
  }
}
