/**
 * The two ports of an Archive: ArchiveIndex (what exists) and PackStore (where the bytes are). SQLite and disk implement
 * them at the edge and on one machine, DynamoDB and S3 in the cloud; ONE contract suite each (test/contract) holds for all.
 * Every write is conditional on ONE item: no transactions across items, no listing of folders. A study is one collection:
 * whatever takes a StudyRef, SeriesRef or InstanceRef touches that study only.
 */
import type { Query, SearchPage } from './query.ts';
import type {
  ByteRange,
  InstanceRecord,
  InstanceRef,
  PackChange,
  PackRecord,
  PackRef,
  PackState,
  SeriesRecord,
  SeriesRef,
  StudyRecord,
  StudyRef,
  Tombstone,
  TombstoneState,
} from './records.ts';

export interface Page<T> {
  readonly items: readonly T[];
  /** Give it back as `after` for the next page; undefined on the last one. */
  readonly next: string | undefined;
}

export interface ArchiveIndex {
  /**
   * Adds each record unless one is there under its key: (tenant, reference) for `current`, (tenant, reference, digest)
   * for `conflict`. Each on its own; answers in order the record that was there, or undefined where it was added.
   */
  createInstances(records: readonly InstanceRecord[]): Promise<readonly (InstanceRecord | undefined)[]>;
  /**
   * Puts `record` (state `current`) in place of the current one, if that is still the expected one: same digest, at the same
   * place. False: somebody was faster.
   */
  replaceCurrent(
    record: InstanceRecord,
    expected: { digest: string; packId: string; offsetBytes: number },
  ): Promise<boolean>;
  /** Puts `record` (state `conflict`) in place of the conflict of the same digest, if that is still at the expected place. */
  replaceConflict(record: InstanceRecord, expected: { packId: string; offsetBytes: number }): Promise<boolean>;
  /** Removes this conflict, if it is still at this place. Only for bytes that another record of the same digest holds. */
  deleteConflict(record: InstanceRecord): Promise<boolean>;
  /** Removes the current record, if it is still at this place. Only where a tombstone says that these bytes are deleted. */
  deleteCurrent(record: InstanceRecord): Promise<boolean>;
  getInstance(tenant: string, ref: InstanceRef): Promise<InstanceRecord | undefined>;
  /** The current instance and its conflicts, current first, then in order of arrival; empty when unknown. */
  getVersions(tenant: string, ref: InstanceRef): Promise<readonly InstanceRecord[]>;
  /** Current instances of a study or a series in ascending order of (series UID, instance UID). */
  listInstances(
    tenant: string,
    ref: StudyRef | SeriesRef,
    page: { limit: number; after?: string },
  ): Promise<Page<InstanceRecord>>;
  /** How many conflicts there are, and the first of them in ascending order of (study, series, instance, digest). */
  listConflicts(tenant: string, limit: number): Promise<{ count: number; records: readonly InstanceRecord[] }>;

  /**
   * Adds each under its key (tenant, reference, packId), or puts it in place of one that is `restored`; any other that is there stays. What a
   * tombstone is about is shown until its record is removed: deletion.ts knows the order.
   */
  createTombstones(tombstones: readonly Tombstone[]): Promise<void>;
  /** Changes its state if that is one of `from`; `purged` takes its attributes away. False: the condition failed. */
  updateTombstone(
    tombstone: InstanceRef & { readonly tenant: string; readonly packId: string },
    from: readonly TombstoneState[],
    change: { readonly state: TombstoneState; readonly changedAtMs: number },
  ): Promise<boolean>;
  /** In ascending order of (series UID, instance UID, packId). */
  listTombstones(
    tenant: string,
    ref: StudyRef | SeriesRef | InstanceRef,
    page: { limit: number; after?: string },
  ): Promise<Page<Tombstone>>;
  /** Those that have changed at `fromMs` or later, in the order in which they did. */
  changedTombstones(tenant: string, page: { fromMs: number; limit: number; after?: string }): Promise<Page<Tombstone>>;
  /** Those that are `deleted` or `purging` and were deleted at `untilMs` or before, the oldest deletion first. */
  tombstonesToPurge(tenant: string, page: { untilMs: number; limit: number; after?: string }): Promise<Page<Tombstone>>;

  /**
   * Derives the series' and the study's record anew from the level below, under optimistic concurrency: when it returns,
   * both equal a recount that is no older than the call. Calling it twice, or in another order, changes nothing.
   */
  recount(tenant: string, ref: SeriesRef): Promise<void>;
  getStudy(tenant: string, ref: StudyRef): Promise<StudyRecord | undefined>;
  getSeries(tenant: string, ref: SeriesRef): Promise<SeriesRecord | undefined>;
  /** In ascending order of series UID. */
  listSeries(tenant: string, ref: StudyRef): Promise<readonly SeriesRecord[]>;

  /** Answers the record that was there already, or undefined where it was added. */
  createPack(record: PackRecord): Promise<PackRecord | undefined>;
  getPack(tenant: string, ref: PackRef): Promise<PackRecord | undefined>;
  /**
   * Changes fields of a pack if its state is one of `from`; answers the record as it is then, undefined if the condition failed. A
   * field that is given as undefined is removed.
   */
  updatePack(
    tenant: string,
    ref: PackRef,
    from: readonly PackState[],
    change: PackChange,
  ): Promise<PackRecord | undefined>;
  /** Removes the record of a pack that was never sealed (nothing acknowledged is in it), or in which nothing is looked for any more (`purgedAtMs`). */
  deletePack(tenant: string, ref: PackRef): Promise<void>;
  /** Of a study or a series, in ascending order of packId. */
  listPacks(tenant: string, ref: StudyRef | SeriesRef): Promise<readonly PackRecord[]>;
  /** In ascending order of packId, oldest first. */
  packsInState(tenant: string, state: PackState, page: { limit: number; after?: string }): Promise<Page<PackRecord>>;
  /** Counts and bytes by state. */
  packTotals(
    tenant: string,
  ): Promise<
    Readonly<
      Record<PackState, { packs: number; instances: number; bytes: number; oldestCreatedAtMs: number | undefined }>
    >
  >;

  /**
   * Studies come newest StudyDate first (those without a date last), then by UID; series and instances by the UIDs of their
   * study, series and instance. The order does not depend on the page, and a page behind a match (`after`) on nothing that is stored
   * before it. What is found is what `recount` has derived.
   * Errors: `bad-request` (checkQuery), `too-large` when too many records would have to be looked at.
   */
  search(tenant: string, query: Query): Promise<SearchPage>;
  close(): Promise<void>;
}

/**
 * Immutable objects under keys that keys.ts makes: sealed packs and their manifests.
 * Errors: `not-found`, `range-not-satisfiable`, `checksum-mismatch`, `out-of-resources`, `damaged`; `unavailable` for what sleeps or is
 * out of reach, with `retryAfterSeconds` in its details where that is known.
 */
export interface PackStore {
  /** Undefined: there is no such object. Error `unavailable` where it is known that the object cannot be read now. */
  head(key: string): Promise<{ lengthBytes: number } | undefined>;
  /** The bytes of the range, or all. Exactly as many as asked for. For ranges that fit in memory. */
  read(key: string, range?: ByteRange): Promise<Uint8Array>;
  /** The same as a stream: bytes are read as they are pulled. Cancelling it closes what is open. */
  stream(key: string, range?: ByteRange): Promise<ReadableStream<Uint8Array>>;
  /**
   * Creates an object; never replaces one: `exists` when the key is taken, whatever its bytes. When it resolves the bytes are durable
   * and were found to have the length and SHA-256 (lower-case hex) expected, else `checksum-mismatch` and nothing is left behind.
   */
  create(
    key: string,
    body: Uint8Array | ReadableStream<Uint8Array>,
    expected: { lengthBytes: number; sha256: string },
  ): Promise<'created' | 'exists'>;
  /** Nothing happens when it is not there. */
  delete(key: string): Promise<void>;
}

export interface Archive {
  readonly index: ArchiveIndex;
  readonly packs: PackStore;
}
