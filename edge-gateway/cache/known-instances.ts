/**
 * What the index knows of an instance that is arriving, asked as seldom as can be: of a series that the index did not have
 * when its first instance came, it knows nothing but what was stored since, and that is remembered here. So a new
 * series costs one question, not one for each instance. Only the receiver may add instances to the index beside this.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, InstanceRef, SeriesRef } from '#shared/archive/records.ts';

/** UIDs remembered in all, before the series used longest ago are forgotten and asked about again: some 20 MB. */
const MOST_UIDS = 100_000;
const MOST_SERIES = 10_000;

interface Series {
  /** Whether the index had nothing of it when it was asked. */
  readonly isNew: Promise<boolean>;
  /** SOP Instance UIDs stored since. */
  readonly stored: Set<string>;
}

export class KnownInstances {
  readonly #tenant: string;
  readonly #index: ArchiveIndex;
  readonly #isWaiting: (series: SeriesRef) => boolean;
  /** By use: the one used last is the last. */
  readonly #series = new Map<string, Series>();
  #uids = 0;

  /** @param isWaiting whether instances of the series are stored and not in the index yet */
  constructor(tenant: string, index: ArchiveIndex, isWaiting: (series: SeriesRef) => boolean) {
    this.#tenant = tenant;
    this.#index = index;
    this.#isWaiting = isWaiting;
  }

  /** The versions of the instance that the index has; what was stored and is not indexed yet may be missing. Errors: the index's. */
  async versions(ref: InstanceRef): Promise<readonly InstanceRecord[]> {
    const series = this.#use(ref);
    if (!series.stored.has(ref.sopInstanceUid) && (await series.isNew)) return [];
    return this.#index.getVersions(this.#tenant, ref);
  }

  /** A version of the instance was stored, and will be in the index. */
  stored(ref: InstanceRef): void {
    const { stored } = this.#use(ref);
    if (stored.has(ref.sopInstanceUid)) return;
    stored.add(ref.sopInstanceUid);
    this.#uids++;
    for (const [key, series] of this.#series) {
      if (this.#uids <= MOST_UIDS && this.#series.size <= MOST_SERIES) return;
      if (series.stored !== stored) this.#forget(key, series);
    }
  }

  #use(ref: SeriesRef): Series {
    const key = `${ref.studyInstanceUid}\n${ref.seriesInstanceUid}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      // What is on its way to the index when it is asked may not be in its answer.
      const isNew = this.#isWaiting(ref) ? Promise.resolve(false) : this.#isUnknown(ref);
      const made = { isNew, stored: new Set<string>() };
      isNew.catch(() => this.#forget(key, made));
      series = made;
    } else this.#series.delete(key);
    this.#series.set(key, series);
    return series;
  }

  async #isUnknown({ studyInstanceUid, seriesInstanceUid }: SeriesRef): Promise<boolean> {
    const ref = { studyInstanceUid, seriesInstanceUid };
    return (await this.#index.listInstances(this.#tenant, ref, { limit: 1 })).items.length === 0;
  }

  #forget(key: string, series: Series): void {
    if (this.#series.get(key) !== series) return;
    this.#series.delete(key);
    this.#uids -= series.stored.size;
  }
}
