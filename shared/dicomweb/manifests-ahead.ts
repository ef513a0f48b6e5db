/**
 * The manifests of many packs, one after the other as metadata and bulk data need them, with the next ones on their way.
 */
import type { ManifestEntry } from '../archive/manifest.ts';
import type { Manifests } from './manifests.ts';
import { inPackOrder, type StoredInstance } from './stored-instances.ts';

const readsAhead = 8;

/** Of one pack, by their offset. */
export type Entries = ReadonlyMap<number, ManifestEntry>;

/** Loads the manifests that will be needed a few ahead of the one that is: reads overlap, memory stays flat. */
export class ManifestsAhead {
  readonly #manifests: Manifests;
  /** The instances of each pack, in the order of use. */
  readonly #queue: readonly (readonly StoredInstance[])[];
  readonly #loading = new Map<string, Promise<Entries>>();
  #started = 0;
  #taken = 0;

  constructor(manifests: Manifests, instances: readonly StoredInstance[]) {
    this.#manifests = manifests;
    this.#queue = [...Map.groupBy(inPackOrder(instances), ({ packId }) => packId).values()];
  }

  /** Packs must be taken in order, each once. */
  async take(packId: string): Promise<Entries> {
    while (this.#started < Math.min(this.#queue.length, this.#taken + readsAhead)) {
      const instances = this.#queue[this.#started++]!;
      const loading = this.#manifests.entriesOf(instances);
      loading.catch(() => {}); // told when it is taken, which may be never
      this.#loading.set(instances[0]!.packId, loading);
    }
    const loading = this.#loading.get(packId)!;
    this.#loading.delete(packId);
    this.#taken++;
    return loading;
  }
}
