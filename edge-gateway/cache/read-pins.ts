/**
 * Who reads which pack: a pack that is being read, or was a short while ago, is not evicted, since who fetches a study
 * instance by instance comes back to it. And when it was read last, for the order of eviction: noted in memory, written to
 * the index every few minutes, never on a read's way.
 */
import { packKey, parsePackKey } from '#shared/archive/keys.ts';
import type { ArchiveIndex, PackStore } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef, PackState } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';

export interface ReadPinsOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly log: Logger;
  /** Wall clock: what goes into the index. */
  readonly nowMs: () => number;
  /** Milliseconds that only grow: how long ago a read was. */
  readonly elapsedMs?: () => number;
}

/** After its last read a pack stays for so long. */
const LINGER_MS = 10 * 60_000;
const WRITE_MS = 3 * 60_000;
/** Packs remembered; who reads more in ten minutes streams a whole archive, and is served by whatever is there. */
const MAX_PACKS = 20_000;
const readable: readonly PackState[] = ['sealed', 'sent', 'archived', 'rejected'];

interface Use {
  readonly ref: PackRef;
  open: number;
  lastMs: number;
  /** Wall clock of a read that the index has not been told. */
  unwrittenAtMs: number | undefined;
}

export class ReadPins {
  readonly #options: ReadPinsOptions;
  readonly #elapsedMs: () => number;
  /** By packId; the one used last is the last. */
  readonly #uses = new Map<string, Use>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: ReadPinsOptions) {
    this.#options = options;
    this.#elapsedMs = options.elapsedMs ?? (() => performance.now());
    this.#timer = setInterval(() => void this.flush(), WRITE_MS).unref();
  }

  /** The same packs; reading one pins it. Manifests are not cached bytes: reading them says nothing. */
  over(packs: PackStore): PackStore {
    return {
      head: (key) => packs.head(key),
      create: (key, body, expected) => packs.create(key, body, expected),
      delete: (key) => packs.delete(key),
      read: async (key, range) => {
        const release = this.#begin(key);
        try {
          return await packs.read(key, range);
        } finally {
          release();
        }
      },
      stream: async (key, range) => {
        const release = this.#begin(key);
        try {
          return released(await packs.stream(key, range), release);
        } catch (error) {
          release();
          throw error;
        }
      },
    };
  }

  /** Holds a pack until what this answers is called: for whoever is about to read from it, or has just fetched it. */
  hold(pack: PackRef): () => void {
    return this.#begin(packKey(this.#options.tenant, pack));
  }

  /** Whether it is being read, or was a moment ago. */
  isPinned({ packId }: Pick<PackRecord, 'packId'>): boolean {
    const use = this.#uses.get(packId);
    return use !== undefined && (use.open > 0 || this.#elapsedMs() - use.lastMs < LINGER_MS);
  }

  /** Tells the index who was read since it was told last; never rejects. */
  async flush(): Promise<void> {
    const { index, tenant, log } = this.#options;
    const writes: Promise<unknown>[] = [];
    for (const [packId, use] of this.#uses) {
      const accessedAtMs = use.unwrittenAtMs;
      use.unwrittenAtMs = undefined;
      if (accessedAtMs !== undefined) writes.push(index.updatePack(tenant, use.ref, readable, { accessedAtMs }));
      if (use.open === 0 && !this.isPinned({ packId })) this.#uses.delete(packId);
    }
    const failed = (await Promise.allSettled(writes)).find((write) => write.status === 'rejected');
    if (failed !== undefined) log.warn({ err: failed.reason }, 'when packs were read could not be noted');
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  #begin(key: string): () => void {
    const ref = parsePackKey(key)?.ref;
    if (ref === undefined) return () => {};
    const use = this.#uses.get(ref.packId) ?? { ref, open: 0, lastMs: 0, unwrittenAtMs: undefined };
    this.#uses.delete(ref.packId);
    this.#uses.set(ref.packId, use);
    if (this.#uses.size > MAX_PACKS) this.#forgetOldest();
    use.open++;
    this.#touch(use);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      use.open--;
      this.#touch(use);
    };
  }

  #touch(use: Use): void {
    use.lastMs = this.#elapsedMs();
    use.unwrittenAtMs = this.#options.nowMs();
  }

  #forgetOldest(): void {
    for (const [packId, { open }] of this.#uses) {
      if (open > 0) continue;
      this.#uses.delete(packId);
      return;
    }
  }
}

/** The stream, with `release` called at its end, whichever that is. */
function released(stream: ReadableStream<Uint8Array>, release: () => void): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read();
          if (!done) return controller.enqueue(value);
          release();
          controller.close();
        } catch (error) {
          release();
          throw error;
        }
      },
      async cancel(reason) {
        release();
        await reader.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
