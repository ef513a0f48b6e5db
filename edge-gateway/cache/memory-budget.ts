/**
 * How much of instances on their way in may be in memory, for all senders together. Who goes over it waits until others
 * are done; and so that slow senders cannot make the others wait, the one that has been quiet for longest is then
 * asked to move what it holds to disk.
 */
export interface Holder {
  /** Begins to move what it holds to disk; false if it cannot, because it does not yet know under which name. */
  spill(): boolean;
}

export class MemoryBudget {
  readonly limitBytes: number;
  #usedBytes = 0;
  /** Of the used bytes, those that a running write will set free without anybody's help. */
  #leavingBytes = 0;
  /** In the order of their last growth. */
  readonly #holders = new Set<Holder>();
  readonly #waiting: (() => void)[] = [];

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** `holder` holds so many bytes more. A promise means: over budget, take nothing more before it has resolved. */
  take(holder: Holder, bytes: number): Promise<void> | undefined {
    this.#holders.delete(holder);
    this.#holders.add(holder);
    this.#usedBytes += bytes;
    return this.#usedBytes > this.limitBytes ? this.#room() : undefined;
  }

  /** So many of the holder's bytes are on their way to disk; it no longer counts as one who could be asked for them. */
  leaving(holder: Holder, bytes: number): void {
    this.#holders.delete(holder);
    this.#leavingBytes += bytes;
  }

  /** Bytes that were leaving are gone. */
  left(bytes: number): void {
    this.#leavingBytes -= bytes;
    this.#free(bytes);
  }

  /** The holder drops what it holds. */
  drop(holder: Holder, bytes: number): void {
    this.#holders.delete(holder);
    this.#free(bytes);
  }

  #free(bytes: number): void {
    this.#usedBytes -= bytes;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #room(): Promise<void> {
    while (this.#usedBytes > this.limitBytes) {
      if (this.#leavingBytes === 0 && !this.#spillOne()) return;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  #spillOne(): boolean {
    for (const holder of this.#holders) if (holder.spill()) return true;
    return false;
  }
}

/** Nobody can be asked to give up a header that is being read: who comes with a long one when there is no room is refused. */
export class HeaderMemory {
  readonly limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** A header has grown, or is gone (0). False: there is no room for one so long; what it holds counts until it is gone. */
  change(fromBytes: number, toBytes: number): boolean {
    this.#usedBytes += toBytes - fromBytes;
    return toBytes <= Math.max(fromBytes, SHORT_HEADER_BYTES) || this.#usedBytes <= this.limitBytes;
  }
}

const SHORT_HEADER_BYTES = 1024 * 1024;
