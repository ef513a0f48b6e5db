/**
 * Pack records in SQLite. Their states are promises (what is sealed will be sent, what is archived may be evicted):
 * every write here belongs into a durable transaction.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackChange, PackRecord, PackRef, PackState, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Database } from './sqlite-database.ts';
import { pageCursor, type StoredPage } from './sqlite-instances.ts';

export type PackTotals = Awaited<ReturnType<ArchiveIndex['packTotals']>>;

export interface PackTable {
  createPack(record: PackRecord): PackRecord | undefined;
  getPack(tenant: string, ref: PackRef): PackRecord | undefined;
  updatePack(tenant: string, ref: PackRef, from: readonly PackState[], change: PackChange): PackRecord | undefined;
  deletePack(tenant: string, ref: PackRef): void;
  listPacks(tenant: string, ref: StudyRef | SeriesRef): readonly PackRecord[];
  packsInState(tenant: string, state: PackState, page: { limit: number; after?: string }): StoredPage<PackRecord>;
  packTotals(tenant: string): PackTotals;
}

/** Every field that is no part of the key, and its column. */
const columnOf = {
  state: 'state',
  instanceCount: 'instance_count',
  lengthBytes: 'length_bytes',
  sha256: 'sha256',
  createdAtMs: 'created_at_ms',
  sealedAtMs: 'sealed_at_ms',
  sentAtMs: 'sent_at_ms',
  archivedAtMs: 'archived_at_ms',
  reason: 'reason',
  priority: 'priority',
  sourceAeTitles: 'source_ae_titles',
  evictedAtMs: 'evicted_at_ms',
  accessedAtMs: 'accessed_at_ms',
  purgedAtMs: 'purged_at_ms',
} as const satisfies Record<Exclude<keyof PackRecord, 'tenant' | keyof PackRef>, string>;

type Field = keyof typeof columnOf;
const fields = Object.keys(columnOf) as Field[];

const byKey = 'tenant = ? AND study_uid = ? AND series_uid = ? AND pack_id = ?';
const keyOf = (tenant: string, ref: PackRef) =>
  [tenant, ref.studyInstanceUid, ref.seriesInstanceUid, ref.packId] as const;

export function createPackTable(database: Database): PackTable {
  const sql = (text: string) => database.statement(text);

  function getPack(tenant: string, ref: PackRef): PackRecord | undefined {
    const row = sql(`SELECT * FROM pack WHERE ${byKey}`).get(...keyOf(tenant, ref));
    return row && packOf(row);
  }

  return {
    getPack,

    createPack(record) {
      const { changes } =
        sql(`INSERT INTO pack (tenant, study_uid, series_uid, pack_id, ${Object.values(columnOf).join(', ')})
        VALUES (?, ?, ?, ?, ${fields.map(() => '?').join(', ')}) ON CONFLICT DO NOTHING`).run(
          ...keyOf(record.tenant, record),
          ...fields.map((field) => columnValue(record[field])),
        );
      return changes === 1 ? undefined : getPack(record.tenant, record);
    },

    updatePack(tenant, ref, from, change) {
      const changed = fields.filter((field) => field in change);
      const known = getPack(tenant, ref);
      if (known === undefined || !from.includes(known.state)) return undefined;
      if (changed.length > 0) {
        sql(`UPDATE pack SET ${changed.map((field) => `${columnOf[field]} = ?`).join(', ')} WHERE ${byKey}`).run(
          ...changed.map((field) => columnValue(change[field])),
          ...keyOf(tenant, ref),
        );
      }
      return getPack(tenant, ref);
    },

    deletePack(tenant, ref) {
      const known = getPack(tenant, ref);
      if (known === undefined) return;
      if (known.state !== 'open' && known.purgedAtMs === undefined) {
        throw new ArchiveError(
          'conflict',
          'The record of a pack that was sealed stays; only that of an open one can go.',
          {
            packId: ref.packId,
            state: known.state,
          },
        );
      }
      sql(`DELETE FROM pack WHERE ${byKey}`).run(...keyOf(tenant, ref));
    },

    listPacks(tenant, ref) {
      const rows =
        'seriesInstanceUid' in ref
          ? sql('SELECT * FROM pack WHERE tenant = ? AND study_uid = ? AND series_uid = ? ORDER BY pack_id').all(
              tenant,
              ref.studyInstanceUid,
              ref.seriesInstanceUid,
            )
          : sql('SELECT * FROM pack WHERE tenant = ? AND study_uid = ? ORDER BY pack_id, series_uid').all(
              tenant,
              ref.studyInstanceUid,
            );
      return rows.map(packOf);
    },

    packsInState(tenant, state, { limit, after }) {
      const rows =
        sql(`SELECT pack.* FROM pack WHERE tenant = ? AND state = ? AND (pack_id, study_uid, series_uid) > (?, ?, ?)
        ORDER BY pack_id, study_uid, series_uid LIMIT ?`).all(
          tenant,
          state,
          ...pageCursor(after, ['', '', '']),
          limit + 1,
        );
      const items = rows.slice(0, limit).map(packOf);
      const last = items.at(-1);
      const more = rows.length > limit && last !== undefined;
      return {
        items,
        next: more ? JSON.stringify([last.packId, last.studyInstanceUid, last.seriesInstanceUid]) : undefined,
      };
    },

    packTotals(tenant) {
      const rows = sql(`SELECT state, count(*) AS packs, sum(instance_count) AS instances, sum(length_bytes) AS bytes,
        min(created_at_ms) AS oldest FROM pack INDEXED BY pack_by_state WHERE tenant = ? GROUP BY state`).all(tenant);
      const totals: Record<PackState, PackTotals[PackState]> = {
        open: none,
        sealed: none,
        sent: none,
        archived: none,
        rejected: none,
      };
      for (const row of rows) {
        totals[row.state as PackState] = {
          packs: row.packs as number,
          instances: row.instances as number,
          bytes: row.bytes as number,
          oldestCreatedAtMs: row.oldest as number,
        };
      }
      return totals;
    },
  };
}

const none: PackTotals[PackState] = { packs: 0, instances: 0, bytes: 0, oldestCreatedAtMs: undefined };

const columnValue = (value: PackRecord[Field]): string | number | null =>
  value === undefined ? null : typeof value === 'object' ? JSON.stringify(value) : value;

/** The record that a row of the table holds. */
export function packOf(row: Record<string, unknown>): PackRecord {
  const record: Record<string, unknown> = {
    tenant: row.tenant,
    studyInstanceUid: row.study_uid,
    seriesInstanceUid: row.series_uid,
    packId: row.pack_id,
  };
  for (const field of fields) {
    const value = row[columnOf[field]];
    if (value === null || value === undefined) continue;
    record[field] = field === 'sourceAeTitles' ? JSON.parse(value as string) : value;
  }
  return record as unknown as PackRecord;
}
