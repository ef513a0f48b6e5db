/**
 * Instance records in SQLite: the conditional writes and the reads of ArchiveIndex that concern single instances. What is
 * derived from them is sqlite-aggregates.ts. Attributes stay JSON text here: they are parsed by whoever looks into them.
 */
import type { InstanceRecord, InstanceRef, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { arrivedBefore } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Database } from './sqlite-database.ts';

/** An instance record whose attributes are DICOM JSON as text: far cheaper to hand to another thread than the objects. */
export type StoredInstance = Omit<InstanceRecord, 'attributes'> & { readonly attributes: string };

export interface StoredPage<T> {
  readonly items: readonly T[];
  readonly next: string | undefined;
}

export interface InstanceTable {
  createInstances(records: readonly StoredInstance[]): readonly (StoredInstance | undefined)[];
  replaceCurrent(record: StoredInstance, expected: { digest: string; packId: string; offsetBytes: number }): boolean;
  replaceConflict(record: StoredInstance, expected: { packId: string; offsetBytes: number }): boolean;
  deleteConflict(record: Omit<StoredInstance, 'attributes'>): boolean;
  deleteCurrent(record: Omit<StoredInstance, 'attributes'>): boolean;
  getInstance(tenant: string, ref: InstanceRef): StoredInstance | undefined;
  getVersions(tenant: string, ref: InstanceRef): readonly StoredInstance[];
  listInstances(
    tenant: string,
    ref: StudyRef | SeriesRef,
    page: { limit: number; after?: string },
  ): StoredPage<StoredInstance>;
  listConflicts(tenant: string, limit: number): { count: number; records: readonly StoredInstance[] };
}

interface InstanceRow {
  instance_uid: string;
  conflict: string;
  sop_class_uid: string;
  transfer_syntax_uid: string;
  digest: string;
  pack_id: string;
  offset_bytes: number;
  length_bytes: number;
  data_set_offset_bytes: number;
  attributes: string;
}

const columns = `instance_uid, conflict, sop_class_uid, transfer_syntax_uid, digest, pack_id, offset_bytes, length_bytes,
  data_set_offset_bytes, instance.attributes`;

/** Joins an instance to the tenant, study and series that it is asked for by. */
const ofSeries = `series_id = (SELECT series.id FROM series JOIN study ON study.id = series.study_id
  WHERE study.tenant = ? AND study.study_uid = ? AND series.series_uid = ?)`;

/** The number of a series, whose row (and study) is made if need be. */
export function seriesIdIn(database: Database, tenant: string, ref: SeriesRef): number {
  const sql = (text: string) => database.statement(text);
  const find = sql(`SELECT series.id FROM series JOIN study ON study.id = series.study_id
    WHERE study.tenant = ? AND study.study_uid = ? AND series.series_uid = ?`);
  const known = find.get(tenant, ref.studyInstanceUid, ref.seriesInstanceUid);
  if (known !== undefined) return known.id as number;
  sql('INSERT INTO study (tenant, study_uid) VALUES (?, ?) ON CONFLICT DO NOTHING').run(tenant, ref.studyInstanceUid);
  const added = sql(`INSERT INTO series (study_id, series_uid)
    SELECT id, ? FROM study WHERE tenant = ? AND study_uid = ? RETURNING id`).get(
    ref.seriesInstanceUid,
    tenant,
    ref.studyInstanceUid,
  );
  return added?.id as number;
}

export function createInstanceTable(database: Database): InstanceTable {
  const sql = (text: string) => database.statement(text);

  function createOne(record: StoredInstance): StoredInstance | undefined {
    const seriesId = seriesIdIn(database, record.tenant, record);
    const conflict = conflictKeyOf(record);
    const { changes } =
      sql(`INSERT INTO instance (series_id, instance_uid, conflict, sop_class_uid, transfer_syntax_uid, digest,
      pack_id, offset_bytes, length_bytes, data_set_offset_bytes, attributes)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`).run(
        seriesId,
        record.sopInstanceUid,
        conflict,
        record.sopClassUid,
        record.transferSyntaxUid,
        record.digest,
        record.packId,
        record.offsetBytes,
        record.lengthBytes,
        record.dataSetOffsetBytes,
        record.attributes,
      );
    if (changes === 1) return undefined;
    const row = sql(`SELECT ${columns} FROM instance WHERE series_id = ? AND instance_uid = ? AND conflict = ?`).get(
      seriesId,
      record.sopInstanceUid,
      conflict,
    );
    return recordOf(record.tenant, record, row);
  }

  function replace(
    record: StoredInstance,
    conflict: string,
    expected: { digest: string; packId: string; offsetBytes: number },
  ): boolean {
    const { changes } = sql(`UPDATE instance SET sop_class_uid = ?, transfer_syntax_uid = ?, digest = ?, pack_id = ?,
      offset_bytes = ?, length_bytes = ?, data_set_offset_bytes = ?, attributes = ?
      WHERE ${ofSeries} AND instance_uid = ? AND conflict = ? AND digest = ? AND pack_id = ? AND offset_bytes = ?`).run(
      record.sopClassUid,
      record.transferSyntaxUid,
      record.digest,
      record.packId,
      record.offsetBytes,
      record.lengthBytes,
      record.dataSetOffsetBytes,
      record.attributes,
      record.tenant,
      record.studyInstanceUid,
      record.seriesInstanceUid,
      record.sopInstanceUid,
      conflict,
      expected.digest,
      expected.packId,
      expected.offsetBytes,
    );
    return changes === 1;
  }

  function remove(record: Omit<StoredInstance, 'attributes'>, conflict: string): boolean {
    const { changes } = sql(`DELETE FROM instance
      WHERE ${ofSeries} AND instance_uid = ? AND conflict = ? AND pack_id = ? AND offset_bytes = ?`).run(
      record.tenant,
      record.studyInstanceUid,
      record.seriesInstanceUid,
      record.sopInstanceUid,
      conflict,
      record.packId,
      record.offsetBytes,
    );
    return changes === 1;
  }

  function versions(tenant: string, ref: InstanceRef): StoredInstance[] {
    const rows = sql(`SELECT ${columns} FROM instance WHERE ${ofSeries} AND instance_uid = ?`).all(
      tenant,
      ref.studyInstanceUid,
      ref.seriesInstanceUid,
      ref.sopInstanceUid,
    );
    return rows.map((row) => recordOf(tenant, ref, row));
  }

  /** The series to list, in order, from the one that the cursor names. */
  function seriesOf(tenant: string, ref: StudyRef | SeriesRef, from: string): { id: number; series_uid: string }[] {
    const one = 'seriesInstanceUid' in ref ? ref.seriesInstanceUid : undefined;
    const rows = sql(`SELECT series.id, series_uid FROM study JOIN series ON series.study_id = study.id
      WHERE tenant = ? AND study_uid = ? AND series_uid >= ? AND (? IS NULL OR series_uid = ?)
      ORDER BY series_uid`).all(tenant, ref.studyInstanceUid, from, one ?? null, one ?? null);
    return rows as unknown as { id: number; series_uid: string }[];
  }

  return {
    createInstances: (records) => records.map(createOne),
    replaceCurrent: (record, expected) => replace(record, '', expected),
    replaceConflict: (record, expected) => replace(record, record.digest, { ...expected, digest: record.digest }),

    deleteConflict: (record) => remove(record, record.digest),
    deleteCurrent: (record) => remove(record, ''),

    getInstance(tenant, ref) {
      const row = sql(`SELECT ${columns} FROM instance WHERE ${ofSeries} AND instance_uid = ? AND conflict = ''`).get(
        tenant,
        ref.studyInstanceUid,
        ref.seriesInstanceUid,
        ref.sopInstanceUid,
      );
      return row === undefined ? undefined : recordOf(tenant, ref, row);
    },

    getVersions: (tenant, ref) =>
      versions(tenant, ref).sort((a, b) =>
        a.state !== b.state ? (a.state === 'current' ? -1 : 1) : arrivedBefore(a, b) ? -1 : 1,
      ),

    listInstances(tenant, ref, { limit, after }) {
      const [cursorSeriesUid, cursorInstanceUid] = pageCursor(after, ['', '']);
      const items: StoredInstance[] = [];
      const list = sql(`SELECT ${columns} FROM instance
        WHERE series_id = ? AND conflict = '' AND instance_uid > ? ORDER BY instance_uid LIMIT ?`);
      for (const { id, series_uid: seriesInstanceUid } of seriesOf(tenant, ref, cursorSeriesUid)) {
        const from = seriesInstanceUid === cursorSeriesUid ? cursorInstanceUid : '';
        const series = { studyInstanceUid: ref.studyInstanceUid, seriesInstanceUid };
        for (const row of list.all(id, from, limit + 1 - items.length)) items.push(recordOf(tenant, series, row));
        if (items.length > limit) break;
      }
      if (items.length <= limit) return { items, next: undefined };
      items.length = limit;
      const last = items[limit - 1];
      return { items, next: last && JSON.stringify([last.seriesInstanceUid, last.sopInstanceUid]) };
    },

    listConflicts(tenant, limit) {
      const from = `FROM instance INDEXED BY instance_conflict JOIN series ON series.id = series_id
        JOIN study ON study.id = series.study_id WHERE conflict <> '' AND tenant = ?`;
      const count = sql(`SELECT count(*) AS count ${from}`).get(tenant)?.count as number;
      const rows = sql(`SELECT study_uid, series_uid, ${columns} ${from}
        ORDER BY study_uid, series_uid, instance_uid, conflict LIMIT ?`).all(tenant, limit);
      const records = rows.map((row) =>
        recordOf(tenant, { studyInstanceUid: `${row.study_uid}`, seriesInstanceUid: `${row.series_uid}` }, row),
      );
      return { count, records };
    },
  };
}

const conflictKeyOf = (record: StoredInstance): string => (record.state === 'current' ? '' : record.digest);

function recordOf(tenant: string, ref: SeriesRef, found: Record<string, unknown> | undefined): StoredInstance {
  const row = found as unknown as InstanceRow;
  return {
    tenant,
    studyInstanceUid: ref.studyInstanceUid,
    seriesInstanceUid: ref.seriesInstanceUid,
    sopInstanceUid: row.instance_uid,
    sopClassUid: row.sop_class_uid,
    transferSyntaxUid: row.transfer_syntax_uid,
    digest: row.digest,
    packId: row.pack_id,
    offsetBytes: row.offset_bytes,
    lengthBytes: row.length_bytes,
    dataSetOffsetBytes: row.data_set_offset_bytes,
    state: row.conflict === '' ? 'current' : 'conflict',
    attributes: row.attributes,
  };
}

/** The values that a cursor holds, of the kinds that `first` has, which stands for none. Error `bad-request`. */
export function pageCursor<T extends readonly (string | number)[]>(after: string | undefined, first: T): T {
  if (after === undefined) return first;
  try {
    const values = JSON.parse(after) as unknown[];
    if (values.length === first.length && values.every((value, i) => typeof value === typeof first[i]))
      return values as unknown as T;
  } catch {
    // Falls through: not one of ours.
  }
  throw new ArchiveError(
    'bad-request',
    'The cursor is not one that this index has given out; start from the first page.',
  );
}
