/**
 * Undoing deletions whose bytes have not been touched: a tombstone says first that they count again, then they are brought in
 * as if their packs had arrived once more. What ends half-way is finished by doing it again.
 */
import { tombstonesOf } from './deletion.ts';
import { indexInstances } from './ingest.ts';
import type { ArchiveIndex } from './ports.ts';
import type { InstanceRecord, InstanceRef, SeriesRef, StudyRef, Tombstone } from './records.ts';
import { inParallel } from './walk.ts';

const BATCH = 500;

/** How many versions of instances were brought back: those `deleted`, not what is being purged. Errors: those of the index. */
export async function restoreInstances(
  index: ArchiveIndex,
  tenant: string,
  ref: StudyRef | SeriesRef | InstanceRef,
  nowMs: number,
): Promise<number> {
  let restored = 0;
  let batch: Tombstone[] = [];
  const bringBack = async (): Promise<void> => {
    const change = { state: 'restored', changedAtMs: nowMs } as const;
    const changed = await inParallel(batch, (tombstone) => index.updateTombstone(tombstone, ['deleted'], change));
    restored += changed.filter((isChanged) => isChanged).length;
    // Also those that were restored already: it may be that nobody came to the second step.
    const back = batch.filter(({ state }, i) => changed[i] === true || state === 'restored');
    await indexInstances(index, back.map(recordOf));
    batch = [];
  };
  for await (const tombstone of tombstonesOf(index, tenant, ref)) {
    batch.push(tombstone);
    if (batch.length === BATCH) await bringBack();
  }
  await bringBack();
  return restored;
}

const recordOf = ({ deletedAtMs: _, changedAtMs: __, ...record }: Tombstone): InstanceRecord => ({
  ...record,
  state: 'current',
});
