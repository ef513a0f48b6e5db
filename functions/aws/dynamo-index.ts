/**
 * ArchiveIndex on DynamoDB: the index of the cloud, one table for all tenants, one item collection for each study, conditional writes on
 * single items and no transactions. What is read of a study is consistent; searches, lists by state and lists of deletions come from indexes
 * that follow within moments. Foreign errors are ArchiveErrors here (faults.ts): `unavailable` after trying for a while.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { createAggregateTable } from './dynamo-aggregates.ts';
import { createCalls, type DynamoOptions } from './dynamo-calls.ts';
import { createInstanceTable } from './dynamo-instances.ts';
import { createPackTable } from './dynamo-packs.ts';
import { search } from './dynamo-search.ts';
import { createTombstoneTable } from './dynamo-tombstones.ts';
import { defaultTiming } from './retry.ts';

/** The table is there, as dynamo-table.ts defines it. */
export function createDynamoIndex(options: DynamoOptions): ArchiveIndex {
  const calls = createCalls(options);
  const index: Omit<ArchiveIndex, 'close'> = {
    ...createInstanceTable(calls),
    ...createPackTable(calls),
    ...createTombstoneTable(calls),
    ...createAggregateTable(calls, options.timing ?? defaultTiming),
    search: (tenant, query) => search(calls, tenant, query),
  };
  type Method = (...args: readonly unknown[]) => Promise<unknown>;
  const guarded = Object.entries(index).map(([name, method]): [string, Method] => [
    name,
    (...args) => calls.guard(() => (method as Method)(...args)),
  ]);
  return { ...(Object.fromEntries(guarded) as unknown as typeof index), close: () => calls.close() };
}
