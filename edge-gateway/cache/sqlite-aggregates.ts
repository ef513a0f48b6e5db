/**
 * Series and study records in SQLite, derived from the level below: never counted up, always counted anew, from indexes
 * that hold all that is needed. A recount costs a walk over one index of the series and over the series of its study.
 */
import {
  attributesOf,
  type SeriesRecord,
  type SeriesRef,
  type StudyRecord,
  type StudyRef,
} from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { trim } from '#shared/dicom/match-condition.ts';
import type { Database } from './sqlite-database.ts';
import { lookupColumns, membersOf } from './sqlite-lookup.ts';
import { createSeriesLookup } from './sqlite-series-lookup.ts';
import { createStudyLookup } from './sqlite-study-lookup.ts';

export type StoredSeries = Omit<SeriesRecord, 'attributes'> & { readonly attributes: string };
export type StoredStudy = Omit<StudyRecord, 'attributes'> & { readonly attributes: string };

export interface AggregateTable {
  recount(tenant: string, ref: SeriesRef): void;
  /** Looks up anew some studies and series that another version has changed: how many they were (sqlite-study-lookup.ts). */
  refreshLookup(limit: number): number;
  getStudy(tenant: string, ref: StudyRef): StoredStudy | undefined;
  getSeries(tenant: string, ref: SeriesRef): StoredSeries | undefined;
  listSeries(tenant: string, ref: StudyRef): readonly StoredSeries[];
}

export function createAggregateTable(database: Database): AggregateTable {
  const sql = (text: string) => database.statement(text);
  const studyLookup = createStudyLookup(database);
  const seriesLookup = createSeriesLookup(database);

  function recountSeries(id: number): void {
    const classes = sql(`SELECT sop_class_uid, count(*) AS instances FROM instance INDEXED BY instance_by_arrival
      WHERE series_id = ? AND conflict = '' GROUP BY sop_class_uid`).all(id);
    const first = sql(`SELECT attributes, pack_id, offset_bytes FROM instance INDEXED BY instance_by_arrival
      WHERE series_id = ? AND conflict = '' ORDER BY pack_id, offset_bytes LIMIT 1`).get(id);
    const attributes = attributesOf('series', parse(first?.attributes ?? '{}'));
    sql(`UPDATE series SET instance_count = ?, attributes = ?, modalities = ?, sop_classes = ?, first_pack_id = ?,
      first_offset_bytes = ? WHERE id = ?`).run(
      classes.reduce((sum, row) => sum + (row.instances as number), 0),
      JSON.stringify(attributes),
      JSON.stringify(textsOf(attributes['00080060'])),
      JSON.stringify(classes.map((row) => row.sop_class_uid)),
      (first?.pack_id as string | undefined) ?? '',
      (first?.offset_bytes as number | undefined) ?? 0,
      id,
    );
    seriesLookup.refresh(id, attributes);
  }

  function recountStudy(id: number, tenant: string): void {
    const series = sql(`SELECT id, instance_count, modalities, sop_classes FROM series
      WHERE study_id = ? AND instance_count > 0 ORDER BY first_pack_id, first_offset_bytes`).all(id);
    const first = sql(`SELECT instance.attributes FROM instance INDEXED BY instance_by_arrival
      WHERE series_id = ? AND conflict = '' ORDER BY pack_id, offset_bytes LIMIT 1`).get(
      (series[0]?.id as number | undefined) ?? 0,
    );
    const attributes = attributesOf('study', parse(first?.attributes ?? '{}'));
    const modalities = sortedUnique(series.flatMap((row) => JSON.parse(row.modalities as string) as string[]));
    const sopClassUids = sortedUnique(series.flatMap((row) => JSON.parse(row.sop_classes as string) as string[]));
    const lookup = lookupColumns(attributes, modalities, sopClassUids);
    const known = sql('SELECT names FROM study WHERE id = ?').get(id)?.names as string;
    sql(`UPDATE study SET series_count = ?, instance_count = ?, attributes = ?, study_date = ?, patient_id = ?, accession = ?,
      names = ?, modalities = ?, sop_classes = ? WHERE id = ?`).run(
      series.length,
      series.reduce((sum, row) => sum + (row.instance_count as number), 0),
      JSON.stringify(attributes),
      lookup.studyDate,
      lookup.patientId,
      lookup.accession,
      lookup.names,
      lookup.modalities,
      lookup.sopClasses,
      id,
    );
    studyLookup.refresh(id, attributes);
    if (known === lookup.names) return;
    const remove = sql('DELETE FROM study_name WHERE tenant = ? AND name = ? AND study_id = ?');
    for (const name of membersOf(known)) remove.run(tenant, name, id);
    const add = sql('INSERT INTO study_name (tenant, name, study_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING');
    for (const name of membersOf(lookup.names)) add.run(tenant, name, id);
  }

  const selectSeries = `SELECT series_uid, series.instance_count, series.attributes FROM study
    JOIN series ON series.study_id = study.id WHERE tenant = ? AND study_uid = ? AND series.instance_count > 0`;

  return {
    recount(tenant, ref) {
      const row = sql(`SELECT series.id, study_id FROM study JOIN series ON series.study_id = study.id
        WHERE tenant = ? AND study_uid = ? AND series_uid = ?`).get(
        tenant,
        ref.studyInstanceUid,
        ref.seriesInstanceUid,
      );
      if (row === undefined) return;
      recountSeries(row.id as number);
      recountStudy(row.study_id as number, tenant);
    },

    refreshLookup: (limit) => studyLookup.refreshSome(limit) + seriesLookup.refreshSome(limit),

    getStudy(tenant, { studyInstanceUid }) {
      const row = sql('SELECT * FROM study WHERE tenant = ? AND study_uid = ? AND instance_count > 0').get(
        tenant,
        studyInstanceUid,
      );
      return row && storedStudy(tenant, row);
    },

    getSeries(tenant, ref) {
      const row = sql(`${selectSeries} AND series_uid = ?`).get(tenant, ref.studyInstanceUid, ref.seriesInstanceUid);
      return row && storedSeries(tenant, ref, row);
    },

    listSeries: (tenant, ref) =>
      sql(`${selectSeries} ORDER BY series_uid`)
        .all(tenant, ref.studyInstanceUid)
        .map((row) => storedSeries(tenant, ref, row)),
  };
}

/** The record in a row of the study table. */
export function storedStudy(tenant: string, row: Record<string, unknown>): StoredStudy {
  return {
    tenant,
    studyInstanceUid: row.study_uid as string,
    attributes: row.attributes as string,
    modalities: membersOf(row.modalities as string),
    sopClassUids: membersOf(row.sop_classes as string),
    seriesCount: row.series_count as number,
    instanceCount: row.instance_count as number,
  };
}

/** The record in a row of the series table. */
export function storedSeries(tenant: string, ref: StudyRef, row: Record<string, unknown>): StoredSeries {
  return {
    tenant,
    studyInstanceUid: ref.studyInstanceUid,
    seriesInstanceUid: row.series_uid as string,
    attributes: row.attributes as string,
    instanceCount: row.instance_count as number,
  };
}

const parse = (attributes: unknown): DicomJson => JSON.parse(attributes as string) as DicomJson;

const sortedUnique = (values: readonly string[]): string[] => [...new Set(values)].sort();

function textsOf(element: DicomJson[string] | undefined): string[] {
  return (element?.Value ?? [])
    .filter((value) => typeof value === 'string')
    .map(trim)
    .filter((text) => text !== '');
}
