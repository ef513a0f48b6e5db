/**
 * The tables of the SQLite index. Study and series rows are made, with no more than their UIDs, when their first instance
 * comes; they show from the moment that a recount has found instances (`instance_count` > 0). One item per record, as in
 * DynamoDB; the numbers that join them only keep indexes small (a UID takes up to 64 bytes). Migrations are only added to.
 */
import { availabilityMigration } from './sqlite-availability.ts';
import { cachedPacksMigration } from './sqlite-cached-packs.ts';
import { seriesLookupMigration } from './sqlite-series-lookup.ts';
import { studyLookupMigration } from './sqlite-study-lookup.ts';
import { tombstonesMigration } from './sqlite-tombstones.ts';
import { waitingPacksMigration } from './sqlite-waiting-packs.ts';

export const indexMigrations: readonly string[] = [
  `
  CREATE TABLE study (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_count INTEGER NOT NULL DEFAULT 0,
    instance_count INTEGER NOT NULL DEFAULT 0,
    attributes TEXT NOT NULL DEFAULT '{}',
    -- What a search looks up before it decides by the attributes: see sqlite-search-plan.ts.
    study_date TEXT NOT NULL DEFAULT '',
    patient_id TEXT NOT NULL DEFAULT '',
    accession TEXT NOT NULL DEFAULT '',
    names TEXT NOT NULL DEFAULT '',
    modalities TEXT NOT NULL DEFAULT '',
    sop_classes TEXT NOT NULL DEFAULT '',
    UNIQUE (tenant, study_uid)
  ) STRICT;
  -- Also answers for what it does not look up: modalities and parts of names are filtered without touching the row.
  CREATE INDEX study_by_date ON study (tenant, study_date DESC, study_uid, modalities, names) WHERE instance_count > 0;
  CREATE INDEX study_by_patient ON study (tenant, patient_id, study_date DESC, study_uid) WHERE instance_count > 0;
  CREATE INDEX study_by_accession ON study (tenant, accession, study_date DESC, study_uid) WHERE instance_count > 0;

  CREATE TABLE study_name (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    study_id INTEGER NOT NULL REFERENCES study (id),
    PRIMARY KEY (tenant, name, study_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    study_id INTEGER NOT NULL REFERENCES study (id),
    series_uid TEXT NOT NULL,
    instance_count INTEGER NOT NULL DEFAULT 0,
    attributes TEXT NOT NULL DEFAULT '{}',
    -- JSON lists, for the recount of the study.
    modalities TEXT NOT NULL DEFAULT '[]',
    sop_classes TEXT NOT NULL DEFAULT '[]',
    first_pack_id TEXT NOT NULL DEFAULT '',
    first_offset_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (study_id, series_uid)
  ) STRICT;
  CREATE INDEX series_by_uid ON series (series_uid);

  CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    series_id INTEGER NOT NULL REFERENCES series (id),
    instance_uid TEXT NOT NULL,
    -- Empty: current. Else the digest of a conflict.
    conflict TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    digest TEXT NOT NULL,
    pack_id TEXT NOT NULL,
    offset_bytes INTEGER NOT NULL,
    length_bytes INTEGER NOT NULL,
    data_set_offset_bytes INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    UNIQUE (series_id, instance_uid, conflict)
  ) STRICT;
  -- Everything that a recount of a series needs.
  CREATE INDEX instance_by_arrival ON instance (series_id, pack_id, offset_bytes, sop_class_uid) WHERE conflict = '';
  CREATE INDEX instance_by_uid ON instance (instance_uid) WHERE conflict = '';
  CREATE INDEX instance_conflict ON instance (series_id, instance_uid, conflict) WHERE conflict <> '';

  CREATE TABLE pack (
    tenant TEXT NOT NULL,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    pack_id TEXT NOT NULL,
    state TEXT NOT NULL,
    instance_count INTEGER NOT NULL,
    length_bytes INTEGER NOT NULL,
    sha256 TEXT,
    created_at_ms INTEGER NOT NULL,
    sealed_at_ms INTEGER,
    sent_at_ms INTEGER,
    archived_at_ms INTEGER,
    reason TEXT,
    PRIMARY KEY (tenant, study_uid, series_uid, pack_id)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pack_by_state ON pack
    (tenant, state, pack_id, study_uid, series_uid, instance_count, length_bytes, created_at_ms);
  `,
  `
  ALTER TABLE pack ADD COLUMN priority TEXT;
  -- A JSON list.
  ALTER TABLE pack ADD COLUMN source_ae_titles TEXT;
  ALTER TABLE pack ADD COLUMN evicted_at_ms INTEGER;
  ALTER TABLE pack ADD COLUMN accessed_at_ms INTEGER;
  `,
  cachedPacksMigration,
  availabilityMigration,
  waitingPacksMigration,
  tombstonesMigration,
  studyLookupMigration,
  seriesLookupMigration,
];
