/**
 * Bytes of one instance in memory that are not on their way to disk yet, with those of their blocks that may be used again
 * when they are.
 */
export interface TakenBytes {
  readonly chunks: Uint8Array[];
  readonly lengthBytes: number;
  /** To be given back when the chunks are on disk. Where a write failed nobody knows what it still does: then never. */
  readonly blocks: readonly Buffer[];
}

export class HeldBytes {
  #chunks: Uint8Array[] = [];
  #blocks: Buffer[] = [];
  #lengthBytes = 0;

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  get chunks(): readonly Uint8Array[] {
    return this.#chunks;
  }

  /** @param block what the chunk lies in, unless somebody else may look at it later */
  add(chunk: Uint8Array, block: Buffer | undefined): void {
    this.#chunks.push(chunk);
    this.#lengthBytes += chunk.length;
    if (block !== undefined) this.#blocks.push(block);
  }

  /** All of it; none is left. */
  take(): TakenBytes {
    const taken = { chunks: this.#chunks, lengthBytes: this.#lengthBytes, blocks: this.#blocks };
    this.#chunks = [];
    this.#blocks = [];
    this.#lengthBytes = 0;
    return taken;
  }
}
