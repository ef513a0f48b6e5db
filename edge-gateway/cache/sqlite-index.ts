/**
 * ArchiveIndex on SQLite: the index of an edge gateway and of a cloud on one machine. One file holds it; what it says of
 * instances could be made anew from the packs, what it says of packs (their states) outlives power cuts. Records cross
 * threads with their attributes as JSON text: cloning the objects would cost the thread of the sockets far more than parsing.
 */
import type { ArchiveIndex, Page } from '#shared/archive/ports.ts';
import type { InstanceRecord, Tombstone } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { CachedPackTable } from './sqlite-cached-packs.ts';
import type { IndexEngine } from './sqlite-engine.ts';
import type { StoredInstance, StoredPage } from './sqlite-instances.ts';
import { createLazyExecutor, createLocalExecutor, createWorkerExecutor, type Executor } from './sqlite-rpc.ts';
import type { DeletionCursor, StoredTombstone } from './sqlite-tombstones.ts';
import type { WaitingPackTable } from './sqlite-waiting-packs.ts';

/** The port, and what only a cache, an uploader and who hears of deletions ask. */
export type SqliteIndex = ArchiveIndex & Asynchronous<CachedPackTable & WaitingPackTable & DeletionCursor>;

type Asynchronous<T> = {
  [M in keyof T]: T[M] extends (...args: infer A) => infer R ? (...args: A) => Promise<R> : never;
};

export interface SqliteIndexOptions {
  /** Made, with its folder, if it is not there; `-wal` and `-shm` lie beside it. */
  readonly file: string;
  /**
   * Whether SQLite works in threads of its own: one that writes and, from the first search on, one that searches, so that a
   * broad search holds up no acknowledgement. False: in this thread, for tests and tools.
   */
  readonly inWorker: boolean;
}

/** Errors: `unavailable` (locked, or written by a later version), `damaged`. One process to a file: see folder-lock.ts. */
export async function createSqliteIndex({ file, inWorker }: SqliteIndexOptions): Promise<SqliteIndex> {
  if (inWorker) {
    const writer = await createWorkerExecutor({ engine: 'index', file });
    return indexOn(
      writer,
      createLazyExecutor(() => createWorkerExecutor({ engine: 'index-reader', file })),
    );
  }
  const executor = await createLocalExecutor({ engine: 'index', file });
  return indexOn(executor, executor);
}

/** What the engine answers, as a promise of it. */
type Calls = {
  [M in keyof IndexEngine]: (...args: Parameters<IndexEngine[M]>) => Promise<ReturnType<IndexEngine[M]>>;
};

function callsOn(executor: Executor): Calls {
  return new Proxy({} as Calls, {
    get:
      (_, method: string) =>
      (...args: readonly unknown[]) =>
        executor.call(method, ...args),
  });
}

/** Between other calls: an archive of any size is open at once, and searched rightly meanwhile. */
const REFRESHED_AT_ONCE = 100;

async function refreshLookup(calls: Calls): Promise<void> {
  try {
    while ((await calls.refreshLookup(REFRESHED_AT_ONCE)) > 0);
  } catch {
    // Closed, or it cannot be written: whoever writes will say so, and the next start goes on.
  }
}

function indexOn(writer: Executor, searcher: Executor): SqliteIndex {
  const calls = callsOn(writer);
  void refreshLookup(calls);
  const searches = callsOn(searcher);
  return {
    async createInstances(records) {
      const known = await calls.createInstances(records.map(stored));
      return known.map((record) => record && parsed(record));
    },
    replaceCurrent: (record, expected) => calls.replaceCurrent(stored(record), expected),
    replaceConflict: (record, expected) => calls.replaceConflict(stored(record), expected),
    deleteConflict: ({ attributes: _, ...record }) => calls.deleteConflict(record),
    deleteCurrent: ({ attributes: _, ...record }) => calls.deleteCurrent(record),
    createTombstones: (tombstones) =>
      calls.createTombstones(tombstones.map((one) => ({ ...one, attributes: JSON.stringify(one.attributes) }))),
    updateTombstone: (tombstone, from, change) => {
      const { tenant, ...place } = tombstone;
      return calls.updateTombstone({ tenant, ...refOf(place) }, from, change);
    },
    listTombstones: async (tenant, ref, page) => parsedPage(await calls.listTombstones(tenant, refOf(ref), page)),
    changedTombstones: async (tenant, page) => parsedPage(await calls.changedTombstones(tenant, page)),
    tombstonesToPurge: async (tenant, page) => parsedPage(await calls.tombstonesToPurge(tenant, page)),
    deletionCursor: (tenant) => calls.deletionCursor(tenant),
    moveDeletionCursor: (tenant, cursor) => calls.moveDeletionCursor(tenant, cursor),
    async getInstance(tenant, ref) {
      const record = await calls.getInstance(tenant, refOf(ref));
      return record && parsed(record);
    },
    getVersions: async (tenant, ref) => (await calls.getVersions(tenant, refOf(ref))).map(parsed),
    async listInstances(tenant, ref, page): Promise<Page<InstanceRecord>> {
      const { items, next } = await calls.listInstances(tenant, refOf(ref), page);
      return { items: items.map(parsed), next };
    },
    async listConflicts(tenant, limit) {
      const { count, records } = await calls.listConflicts(tenant, limit);
      return { count, records: records.map(parsed) };
    },
    recount: (tenant, ref) => calls.recount(tenant, refOf(ref)),
    async getStudy(tenant, ref) {
      const record = await calls.getStudy(tenant, refOf(ref));
      return record && parsed(record);
    },
    async getSeries(tenant, ref) {
      const record = await calls.getSeries(tenant, refOf(ref));
      return record && parsed(record);
    },
    listSeries: async (tenant, ref) => (await calls.listSeries(tenant, refOf(ref))).map(parsed),
    createPack: (record) => calls.createPack(record),
    getPack: (tenant, ref) => calls.getPack(tenant, refOf(ref)),
    updatePack: (tenant, ref, from, change) => calls.updatePack(tenant, refOf(ref), from, change),
    deletePack: (tenant, ref) => calls.deletePack(tenant, refOf(ref)),
    listPacks: (tenant, ref) => calls.listPacks(tenant, refOf(ref)),
    packsInState: (tenant, state, page) => calls.packsInState(tenant, state, page),
    packTotals: (tenant) => calls.packTotals(tenant),
    leastRecentlyUsed: (tenant, page) => calls.leastRecentlyUsed(tenant, page),
    lastEvicted: (tenant, limit) => calls.lastEvicted(tenant, limit),
    packsOnDisk: (tenant, page) => calls.packsOnDisk(tenant, page),
    cacheTotals: (tenant) => calls.cacheTotals(tenant),
    packsToUpload: (tenant, priority, page) => calls.packsToUpload(tenant, priority, page),
    arrivedSince: (tenant, packId) => calls.arrivedSince(tenant, packId),
    async search(tenant, query) {
      const { matches, ...page } = await searches.search(tenant, query);
      return { matches: matches.map(parseAttributes), ...page };
    },
    async close() {
      await searcher.close();
      await writer.close();
    },
  };
}

const parseAttributes = (text: string): DicomJson => JSON.parse(text) as DicomJson;

const stored = (record: InstanceRecord): StoredInstance => ({
  ...record,
  attributes: JSON.stringify(record.attributes),
});

/** Attributes are parsed when they are first looked at: most who read records want only to know where the bytes lie. */
function parsed<T extends { readonly attributes: string }>(
  record: T,
): Omit<T, 'attributes'> & { readonly attributes: DicomJson } {
  let attributes: DicomJson | undefined;
  return {
    ...record,
    get attributes() {
      attributes ??= parseAttributes(record.attributes);
      return attributes;
    },
  };
}

const parsedPage = ({ items, next }: StoredPage<StoredTombstone>): Page<Tombstone> => ({
  items: items.map(parsed),
  next,
});

const keyNames = ['studyInstanceUid', 'seriesInstanceUid', 'sopInstanceUid', 'packId'] as const;

/** Whole records serve as references; only their keys travel. */
function refOf<T extends object>(ref: T): T {
  const keys: Record<string, unknown> = {};
  for (const name of keyNames) if (name in ref) keys[name] = (ref as Record<string, unknown>)[name];
  return keys as T;
}
