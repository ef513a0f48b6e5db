/**
 * What searches look up of a study beside its row: a narrow row of the attributes that people search by, small enough to be looked
 * through, and the words and sounds of its names, for fuzzy matching. Written when the study's attributes change. A row is marked
 * stale by the database itself whenever they do, so that also what another version of the gateway writes is looked up
 * anew: until then a stale study is a candidate of every search.
 */
import { orderDate } from '#shared/archive/query.ts';
import { attributesOf } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { nameWords, soundsOf } from '#shared/dicom/fuzzy-name.ts';
import type { Database } from './sqlite-database.ts';
import { LOOK, membersOf, namesText, plainText, timeText } from './sqlite-lookup.ts';

export const studyLookupMigration = `
  CREATE TABLE study_lookup (
    study_id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    stale INTEGER NOT NULL DEFAULT 1,
    -- As in the study table, and in the same forms (sqlite-lookup.ts).
    patient_id TEXT NOT NULL DEFAULT '',
    accession TEXT NOT NULL DEFAULT '',
    study_number TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '',
    study_time TEXT NOT NULL DEFAULT '',
    birth_date TEXT NOT NULL DEFAULT '',
    patient_names TEXT NOT NULL DEFAULT '',
    referring_names TEXT NOT NULL DEFAULT ''
  ) STRICT;
  CREATE INDEX study_lookup_stale ON study_lookup (study_id) WHERE stale = 1;
  CREATE TABLE study_word (
    tenant TEXT NOT NULL,
    -- Of the attribute that the name is in.
    tag INTEGER NOT NULL,
    -- Or a sound: with SOUND before it.
    word TEXT NOT NULL,
    study_id INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, word, study_id)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO study_lookup (study_id, tenant) SELECT id, tenant FROM study WHERE attributes <> '{}';
  CREATE TRIGGER study_attributes_changed AFTER UPDATE OF attributes ON study WHEN NEW.attributes <> OLD.attributes BEGIN
    INSERT INTO study_lookup (study_id, tenant) VALUES (NEW.id, NEW.tenant) ON CONFLICT (study_id) DO UPDATE SET stale = 1;
  END;
`;

/** Before a sound, which is no word then. */
export const SOUND = '~';

/** The names that have words: where they are in a data set, and in the row. */
const nameColumns = [
  { tag: 0x00100010, column: 'patient_names' },
  { tag: 0x00080090, column: 'referring_names' },
] as const;

export interface StudyLookup {
  /** Looks up anew what is stale of a study. */
  refresh(id: number, attributes: DicomJson): void;
  /** The same for some studies that nobody has touched since they became stale: how many they were. */
  refreshSome(limit: number): number;
}

export function createStudyLookup(database: Database): StudyLookup {
  const sql = (text: string) => database.statement(text);

  function refresh(id: number, attributes: DicomJson): void {
    const row = sql('SELECT * FROM study_lookup WHERE study_id = ? AND stale = 1').get(id);
    if (row === undefined) return;
    const names = {
      patient_names: namesText(attributes['00100010']),
      referring_names: namesText(attributes['00080090']),
    };
    const remove = sql('DELETE FROM study_word WHERE tenant = ? AND tag = ? AND word = ? AND study_id = ?');
    const add = sql('INSERT INTO study_word (tenant, tag, word, study_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING');
    for (const { tag, column } of nameColumns) {
      const known = row[column] as string;
      if (known === names[column]) continue;
      for (const word of wordsOf(known)) remove.run(row.tenant as string, tag, word, id);
      for (const word of wordsOf(names[column])) add.run(row.tenant as string, tag, word, id);
    }
    sql(`UPDATE study_lookup SET stale = 0, patient_id = ?, accession = ?, study_number = ?, description = ?, study_time = ?,
      birth_date = ?, patient_names = ?, referring_names = ? WHERE study_id = ?`).run(
      plainText(attributes['00100020']),
      plainText(attributes['00080050']),
      plainText(attributes['00200010']),
      plainText(attributes['00081030']),
      timeText(attributes['00080030']),
      orderDate(attributes['00100030']),
      names.patient_names,
      names.referring_names,
      id,
    );
  }

  return {
    refresh,
    refreshSome(limit) {
      const rows = sql(`SELECT study_id, attributes FROM study_lookup INDEXED BY study_lookup_stale
        JOIN study ON study.id = study_id WHERE stale = 1 LIMIT ?`).all(limit);
      for (const row of rows)
        refresh(row.study_id as number, attributesOf('study', JSON.parse(row.attributes as string) as DicomJson));
      return rows.length;
    },
  };
}

/** What a list of normalised names is found by: LOOK among them where they have more words than are looked at. */
function wordsOf(names: string): string[] {
  const { words, isWhole } = nameWords(membersOf(names));
  const sounds = words.flatMap(soundsOf).map((sound) => SOUND + sound);
  return [...new Set([...words, ...sounds, ...(isWhole ? [] : [LOOK])])];
}
