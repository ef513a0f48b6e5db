/**
 * The SQLite index as plain functions on one connection, put together from its tables. What runs them is sqlite-runner.ts,
 * threads are sqlite-rpc.ts; the port is sqlite-index.ts.
 */
import type { Query } from '#shared/archive/query.ts';
import { type AggregateTable, createAggregateTable } from './sqlite-aggregates.ts';
import { type CachedPackTable, createCachedPackTable } from './sqlite-cached-packs.ts';
import type { Database } from './sqlite-database.ts';
import { createInstanceTable, type InstanceTable } from './sqlite-instances.ts';
import { createPackTable, type PackTable } from './sqlite-packs.ts';
import type { OperationKind } from './sqlite-runner.ts';
import { type StoredSearchPage, search } from './sqlite-search.ts';
import { createTombstoneTable, type DeletionCursor, type TombstoneTable } from './sqlite-tombstones.ts';
import { createWaitingPackTable, type WaitingPackTable } from './sqlite-waiting-packs.ts';

export interface IndexEngine
  extends InstanceTable,
    AggregateTable,
    PackTable,
    CachedPackTable,
    WaitingPackTable,
    TombstoneTable,
    DeletionCursor {
  search(tenant: string, query: Query): StoredSearchPage;
}

export const indexOperations = {
  createInstances: 'derived',
  replaceCurrent: 'derived',
  replaceConflict: 'derived',
  deleteConflict: 'derived',
  deleteCurrent: 'derived',
  // Nothing but the index knows of them; what follows in it is durable with them.
  createTombstones: 'promise',
  updateTombstone: 'promise',
  listTombstones: 'read',
  changedTombstones: 'read',
  tombstonesToPurge: 'read',
  deletionCursor: 'read',
  moveDeletionCursor: 'derived',
  getInstance: 'read',
  getVersions: 'read',
  listInstances: 'read',
  listConflicts: 'read',
  recount: 'derived',
  refreshLookup: 'derived',
  getStudy: 'read',
  getSeries: 'read',
  listSeries: 'read',
  createPack: 'promise',
  getPack: 'read',
  updatePack: 'promise',
  deletePack: 'promise',
  listPacks: 'read',
  packsInState: 'read',
  packTotals: 'read',
  packsToUpload: 'read',
  leastRecentlyUsed: 'read',
  lastEvicted: 'read',
  packsOnDisk: 'read',
  cacheTotals: 'read',
  arrivedSince: 'read',
  search: 'read',
} as const satisfies Record<keyof IndexEngine, OperationKind>;

export function createIndexEngine(database: Database): IndexEngine {
  return {
    ...createInstanceTable(database),
    ...createAggregateTable(database),
    ...createPackTable(database),
    ...createCachedPackTable(database),
    ...createWaitingPackTable(database),
    ...createTombstoneTable(database),
    search: (tenant, query) => search(database, tenant, query),
  };
}
