/**
 * Undoing deletions whose bytes have not been touched: a tombstone says first that they count again, then they are brought in
 * as if their packs had arrived once more. What ends half-way is finished by doing it again.
 */
import { tombstonesOf } from './deletion.ts';
import { indexInstances } from './ingest.ts';
import type { ArchiveIndex } from './ports.ts';
import type { InstanceRecord, InstanceRef, SeriesRef, StudyRef } from './records.ts';

const BATCH = 500;

/** How many versions of instances were brought back: those `deleted`, not what is being purged. Errors: those of the index. */
export async function restoreInstances(
  index: ArchiveIndex,
  tenant: string,
  ref: StudyRef | SeriesRef | InstanceRef,
  nowMs: number,
): Promise<number> {
  let restored = 0;
  let records: InstanceRecord[] = [];
  const bringIn = async (): Promise<void> => {
    await indexInstances(index, records);
    records = [];
  };
  for await (const tombstone of tombstonesOf(index, tenant, ref)) {
    const { state, deletedAtMs: _, changedAtMs: __, ...record } = tombstone;
    if (await index.updateTombstone(tombstone, ['deleted'], { state: 'restored', changedAtMs: nowMs })) restored++;
    else if (state !== 'restored') continue;
    // Also those that are restored already: it may be that nobody came to the second step.
    records.push({ ...record, state: 'current' });
    if (records.length === BATCH) await bringIn();
  }
  await bringIn();
  return restored;
}
