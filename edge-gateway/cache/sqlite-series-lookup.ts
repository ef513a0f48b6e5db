/**
 * The same for series as sqlite-study-lookup.ts for studies: a narrow row of the attributes that people search series of the whole
 * archive by. It is marked stale by the database itself when the series' attributes change; a stale series is a candidate of every search.
 */
import { orderDate } from '#shared/archive/query.ts';
import { attributesOf } from '#shared/archive/records.ts';
import type { DicomJson, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { canonicalNumber, isItem, trim } from '#shared/dicom/match-condition.ts';
import type { Database } from './sqlite-database.ts';
import { LOOK, listOf, plainText, timeText } from './sqlite-lookup.ts';

export const seriesLookupMigration = `
  CREATE TABLE series_lookup (
    series_id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    stale INTEGER NOT NULL DEFAULT 1,
    -- As matching compares numbers.
    series_number TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    step_date TEXT NOT NULL DEFAULT '',
    step_time TEXT NOT NULL DEFAULT '',
    -- A list of the identifiers of its requests, or LOOK.
    requests TEXT NOT NULL DEFAULT ''
  ) STRICT;
  CREATE INDEX series_lookup_stale ON series_lookup (series_id) WHERE stale = 1;
  INSERT INTO series_lookup (series_id, study_id, tenant)
    SELECT series.id, study.id, tenant FROM series JOIN study ON study.id = study_id WHERE series.attributes <> '{}';
  CREATE TRIGGER series_attributes_changed AFTER UPDATE OF attributes ON series WHEN NEW.attributes <> OLD.attributes BEGIN
    INSERT INTO series_lookup (series_id, study_id, tenant) SELECT NEW.id, id, tenant FROM study WHERE id = NEW.study_id
      ON CONFLICT (series_id) DO UPDATE SET stale = 1;
  END;
`;

export interface SeriesLookup {
  /** Looks up anew what is stale of a series. */
  refresh(id: number, attributes: DicomJson): void;
  /** The same for some series that nobody has touched since they became stale: how many they were. */
  refreshSome(limit: number): number;
}

export function createSeriesLookup(database: Database): SeriesLookup {
  const sql = (text: string) => database.statement(text);

  function refresh(id: number, attributes: DicomJson): void {
    if (sql('SELECT 1 FROM series_lookup WHERE series_id = ? AND stale = 1').get(id) === undefined) return;
    sql(`UPDATE series_lookup SET stale = 0, series_number = ?, description = ?, step_date = ?, step_time = ?, requests = ?
      WHERE series_id = ?`).run(
      numberText(attributes['00200011']),
      plainText(attributes['0008103E']),
      orderDate(attributes['00400244']),
      timeText(attributes['00400245']),
      requestsText(attributes['00400275']),
      id,
    );
  }

  return {
    refresh,
    refreshSome(limit) {
      const rows = sql(`SELECT series_id, attributes FROM series_lookup INDEXED BY series_lookup_stale
        JOIN series ON series.id = series_id WHERE stale = 1 LIMIT ?`).all(limit);
      for (const row of rows)
        refresh(row.series_id as number, attributesOf('series', JSON.parse(row.attributes as string) as DicomJson));
      return rows.length;
    },
  };
}

function numberText(element: DicomJson[string] | undefined): string {
  const values = (element?.Value ?? []).filter((value) => value !== null);
  const [value] = values;
  if (value === undefined) return '';
  if (values.length > 1 || (typeof value !== 'number' && typeof value !== 'string')) return LOOK;
  return canonicalNumber(trim(String(value))) ?? '';
}

function requestsText(element: DicomJson[string] | undefined): string {
  const values: JsonValue[] = (element?.Value ?? []).flatMap((item) =>
    isItem(item) ? ['00400009', '00401001'].flatMap((key) => item[key]?.Value ?? []) : [],
  );
  const present = values.filter((value) => value !== null);
  return present.every((value) => typeof value === 'string') ? listOf(present.map(trim)) : LOOK;
}
