/**
 * Tombstones in SQLite: what is deleted, in the order of instances for whoever looks one up, of changes for who is to be told of them, and of
 * deletions for who purges. And how far a gateway has been told of the cloud's deletions: kept here, since it says what is in this table.
 */
import type { InstanceRef, SeriesRef, StudyRef, Tombstone, TombstoneState } from '#shared/archive/records.ts';
import type { Database } from './sqlite-database.ts';
import { pageCursor, type StoredPage, seriesIdIn } from './sqlite-instances.ts';

/** Attributes are DICOM JSON as text. */
export type StoredTombstone = Omit<Tombstone, 'attributes'> & { readonly attributes: string };

type Place = InstanceRef & { readonly tenant: string; readonly packId: string };

export interface TombstoneTable {
  createTombstones(tombstones: readonly StoredTombstone[]): void;
  updateTombstone(
    tombstone: Place,
    from: readonly TombstoneState[],
    change: { state: TombstoneState; changedAtMs: number },
  ): boolean;
  listTombstones(
    tenant: string,
    ref: StudyRef | SeriesRef | InstanceRef,
    page: { limit: number; after?: string },
  ): StoredPage<StoredTombstone>;
  changedTombstones(
    tenant: string,
    page: { fromMs: number; limit: number; after?: string },
  ): StoredPage<StoredTombstone>;
  tombstonesToPurge(
    tenant: string,
    page: { untilMs: number; limit: number; after?: string },
  ): StoredPage<StoredTombstone>;
}

/** What only a gateway asks. */
export interface DeletionCursor {
  /** Where the cloud's deletions are to be read on from; undefined: from the first. */
  deletionCursor(tenant: string): string | undefined;
  moveDeletionCursor(tenant: string, cursor: string): void;
}

export const tombstonesMigration = `
  CREATE TABLE tombstone (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    series_id INTEGER NOT NULL REFERENCES series (id),
    instance_uid TEXT NOT NULL,
    pack_id TEXT NOT NULL,
    state TEXT NOT NULL,
    deleted_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    digest TEXT NOT NULL,
    offset_bytes INTEGER NOT NULL,
    length_bytes INTEGER NOT NULL,
    data_set_offset_bytes INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (series_id, instance_uid, pack_id)
  ) STRICT;
  CREATE INDEX tombstone_by_change ON tombstone (tenant, changed_at_ms, id);
  CREATE INDEX tombstone_to_purge ON tombstone (tenant, deleted_at_ms, id) WHERE state IN ('deleted', 'purging');
  CREATE TABLE deletion_cursor (tenant TEXT PRIMARY KEY, cursor TEXT NOT NULL) STRICT, WITHOUT ROWID;
  ALTER TABLE pack ADD COLUMN purged_at_ms INTEGER;
`;

const select = `SELECT tombstone.*, study_uid, series_uid FROM tombstone
  JOIN series ON series.id = series_id JOIN study ON study.id = series.study_id`;

export function createTombstoneTable(database: Database): TombstoneTable & DeletionCursor {
  const sql = (text: string) => database.statement(text);

  function createOne(tombstone: StoredTombstone): void {
    sql(`INSERT INTO tombstone (tenant, series_id, instance_uid, pack_id, state, deleted_at_ms, changed_at_ms, sop_class_uid,
      transfer_syntax_uid, digest, offset_bytes, length_bytes, data_set_offset_bytes, attributes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT (series_id, instance_uid, pack_id) DO UPDATE SET state = excluded.state,
        deleted_at_ms = excluded.deleted_at_ms, changed_at_ms = excluded.changed_at_ms, attributes = excluded.attributes
      WHERE state = 'restored'`).run(
      tombstone.tenant,
      seriesIdIn(database, tombstone.tenant, tombstone),
      tombstone.sopInstanceUid,
      tombstone.packId,
      tombstone.state,
      tombstone.deletedAtMs,
      tombstone.changedAtMs,
      tombstone.sopClassUid,
      tombstone.transferSyntaxUid,
      tombstone.digest,
      tombstone.offsetBytes,
      tombstone.lengthBytes,
      tombstone.dataSetOffsetBytes,
      tombstone.attributes,
    );
  }

  /** A page of rows, each with the values of the cursor that leads behind it. */
  function pageOf(
    rows: readonly Record<string, unknown>[],
    limit: number,
    cursorOf: (row: Record<string, unknown>) => readonly (string | number)[],
  ): StoredPage<StoredTombstone> {
    const last = rows[limit - 1];
    const more = rows.length > limit && last !== undefined;
    return { items: rows.slice(0, limit).map(tombstoneOf), next: more ? JSON.stringify(cursorOf(last)) : undefined };
  }

  return {
    createTombstones: (tombstones) => tombstones.forEach(createOne),

    updateTombstone(place, from, { state, changedAtMs }) {
      const places = from.map(() => '?').join(', ');
      const { changes } = sql(`UPDATE tombstone SET state = ?, changed_at_ms = ?,
        attributes = CASE WHEN ? = 'purged' THEN '{}' ELSE attributes END
        WHERE series_id = ? AND instance_uid = ? AND pack_id = ? AND state IN (${places})`).run(
        state,
        changedAtMs,
        state,
        seriesIdIn(database, place.tenant, place),
        place.sopInstanceUid,
        place.packId,
        ...from,
      );
      return changes === 1;
    },

    listTombstones(tenant, ref, { limit, after }) {
      const [seriesUid, instanceUid, packId] = pageCursor(after, ['', '', '']);
      const one = 'seriesInstanceUid' in ref ? ref.seriesInstanceUid : null;
      const instance = 'sopInstanceUid' in ref ? ref.sopInstanceUid : null;
      const rows = sql(`${select} WHERE study.tenant = ? AND study_uid = ? AND (?3 IS NULL OR series_uid = ?3)
        AND (?4 IS NULL OR instance_uid = ?4) AND (series_uid, instance_uid, pack_id) > (?, ?, ?)
        ORDER BY series_uid, instance_uid, pack_id LIMIT ?`).all(
        tenant,
        ref.studyInstanceUid,
        one,
        instance,
        seriesUid,
        instanceUid,
        packId,
        limit + 1,
      );
      return pageOf(rows, limit, (row) => [
        row.series_uid as string,
        row.instance_uid as string,
        row.pack_id as string,
      ]);
    },

    changedTombstones(tenant, { fromMs, limit, after }) {
      const [changedAtMs, id] = pageCursor(after, [fromMs, -1]);
      const rows = sql(`${select} WHERE tombstone.tenant = ? AND (changed_at_ms, tombstone.id) > (?, ?)
        ORDER BY changed_at_ms, tombstone.id LIMIT ?`).all(tenant, changedAtMs, id, limit + 1);
      return pageOf(rows, limit, (row) => [row.changed_at_ms as number, row.id as number]);
    },

    tombstonesToPurge(tenant, { untilMs, limit, after }) {
      const [deletedAtMs, id] = pageCursor(after, [-1, -1]);
      const rows = sql(`${select} WHERE tombstone.tenant = ? AND tombstone.state IN ('deleted', 'purging')
        AND deleted_at_ms <= ? AND (deleted_at_ms, tombstone.id) > (?, ?)
        ORDER BY deleted_at_ms, tombstone.id LIMIT ?`).all(tenant, untilMs, deletedAtMs, id, limit + 1);
      return pageOf(rows, limit, (row) => [row.deleted_at_ms as number, row.id as number]);
    },

    deletionCursor: (tenant) =>
      sql('SELECT cursor FROM deletion_cursor WHERE tenant = ?').get(tenant)?.cursor as string | undefined,

    moveDeletionCursor(tenant, cursor) {
      sql(`INSERT INTO deletion_cursor (tenant, cursor) VALUES (?, ?)
        ON CONFLICT (tenant) DO UPDATE SET cursor = excluded.cursor`).run(tenant, cursor);
    },
  };
}

const tombstoneOf = (row: Record<string, unknown>): StoredTombstone => ({
  tenant: row.tenant as string,
  studyInstanceUid: row.study_uid as string,
  seriesInstanceUid: row.series_uid as string,
  sopInstanceUid: row.instance_uid as string,
  sopClassUid: row.sop_class_uid as string,
  transferSyntaxUid: row.transfer_syntax_uid as string,
  digest: row.digest as string,
  packId: row.pack_id as string,
  offsetBytes: row.offset_bytes as number,
  lengthBytes: row.length_bytes as number,
  dataSetOffsetBytes: row.data_set_offset_bytes as number,
  state: row.state as TombstoneState,
  deletedAtMs: row.deleted_at_ms as number,
  changedAtMs: row.changed_at_ms as number,
  attributes: row.attributes as string,
});
