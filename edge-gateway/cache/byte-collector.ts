/**
 * Turns pieces of any size into chunks worth handling: large ones pass as they are, small ones are copied together, so that
 * a sender of single bytes costs no more memory or calls than another.
 */
const LARGE_BYTES = 16 * 1024;
const BLOCK_BYTES = 64 * 1024;

export class ByteCollector {
  readonly #emit: (chunk: Uint8Array) => void;
  #block: Buffer | undefined;
  #filledBytes = 0;
  #emittedBytes = 0;

  /** @param emit is called with chunks in order; they are the receiver's to keep */
  constructor(emit: (chunk: Uint8Array) => void) {
    this.#emit = emit;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length >= LARGE_BYTES) {
      this.flush();
      this.#emit(bytes);
      return;
    }
    let rest = bytes;
    while (rest.length > 0) {
      this.#block ??= Buffer.allocUnsafeSlow(BLOCK_BYTES);
      const part = rest.subarray(0, BLOCK_BYTES - this.#filledBytes);
      this.#block.set(part, this.#filledBytes);
      this.#filledBytes += part.length;
      rest = rest.subarray(part.length);
      if (this.#filledBytes === BLOCK_BYTES) this.flush();
    }
  }

  /** Emits what has been collected. */
  flush(): void {
    const block = this.#block;
    if (block === undefined || this.#filledBytes === this.#emittedBytes) return;
    const chunk = block.subarray(this.#emittedBytes, this.#filledBytes);
    this.#emittedBytes = this.#filledBytes;
    if (BLOCK_BYTES - this.#filledBytes < LARGE_BYTES) this.clear();
    this.#emit(chunk);
  }

  clear(): void {
    this.#block = undefined;
    this.#filledBytes = 0;
    this.#emittedBytes = 0;
  }
}
