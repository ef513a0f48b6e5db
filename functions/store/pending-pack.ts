/**
 * A pack that is being put together: its entries lie on scratch storage, one by one, and become the bytes of a ZIP file (DESIGN §3)
 * when it is stored. Where those go is archiving.ts.
 */
import { createHash } from 'node:crypto';
import { entryNameOf } from '#shared/archive/entry-inspector.ts';
import type { Outcome } from '#shared/archive/outcome.ts';
import { encodeDirectory, encodeLocalHeader, type PackEntry } from '#shared/archive/pack.ts';
import type { PackRef } from '#shared/archive/records.ts';
import { READ_BYTES } from './scratch.ts';
import type { Spooled } from './spooled-instance.ts';

interface PendingEntry {
  readonly header: Uint8Array;
  readonly instance: Spooled;
}

export class PendingPack {
  /** Study and series with the UIDs as they are, valid or not. */
  readonly ref: PackRef;
  /** In the order of the pack, when it is archived or could not be. Never rejects. */
  readonly outcomes: Promise<readonly Outcome[]>;
  readonly #resolve: (outcomes: readonly Outcome[]) => void;
  readonly #dosTime: number;
  readonly #entries: PendingEntry[] = [];
  readonly #packEntries: PackEntry[] = [];
  readonly #names = new Set<string>();
  #lengthBytes = 0;

  constructor(ref: PackRef, dosTime: number) {
    this.ref = ref;
    this.#dosTime = dosTime;
    const { promise, resolve } = Promise.withResolvers<readonly Outcome[]>();
    this.outcomes = promise;
    this.#resolve = resolve;
  }

  get instances(): readonly Spooled[] {
    return this.#entries.map(({ instance }) => instance);
  }

  get entryCount(): number {
    return this.#entries.length;
  }

  /** Without its directory. */
  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  /** Of instances on scratch storage. */
  get scratchBytes(): number {
    return this.#entries.reduce((sum, { instance }) => sum + instance.range.lengthBytes, 0);
  }

  has(sopInstanceUid: string): boolean {
    return this.#names.has(entryNameOf(sopInstanceUid));
  }

  /** Answers its place in `outcomes`. */
  add(instance: Spooled): number {
    const name = entryNameOf(instance.ref.sopInstanceUid);
    const { lengthBytes } = instance.range;
    const entry = { name, crc32: instance.crc32, lengthBytes, dosTime: this.#dosTime };
    const header = encodeLocalHeader(entry);
    const headerOffsetBytes = this.#lengthBytes;
    this.#packEntries.push({ ...entry, headerOffsetBytes, offsetBytes: headerOffsetBytes + header.length });
    this.#names.add(name);
    this.#lengthBytes += header.length + lengthBytes;
    return this.#entries.push({ header, instance }) - 1;
  }

  /**
   * The whole ZIP file. May be asked for again. Errors: those of the scratch storage.
   * @param blocks see ScratchRange
   */
  async *bytes(blocks?: readonly [Buffer, Buffer]): AsyncGenerator<Uint8Array, void, undefined> {
    for (const { header, instance } of this.#entries) {
      yield header;
      yield* instance.range.read(blocks);
    }
    yield encodeDirectory(this.#packEntries, this.#lengthBytes);
  }

  /** Length and SHA-256 (lower-case hex) of the whole ZIP file. */
  async expected(): Promise<{ readonly lengthBytes: number; readonly sha256: string }> {
    const hash = createHash('sha256');
    let lengthBytes = 0;
    const blocks = [Buffer.allocUnsafeSlow(READ_BYTES), Buffer.allocUnsafeSlow(READ_BYTES)] as const;
    for await (const bytes of this.bytes(blocks)) {
      hash.update(bytes);
      lengthBytes += bytes.length;
    }
    return { lengthBytes, sha256: hash.digest('hex') };
  }

  /** It is over: its room is free. */
  end(outcomes: readonly Outcome[]): void {
    for (const { instance } of this.#entries) instance.range.release();
    this.#resolve(outcomes);
  }
}
