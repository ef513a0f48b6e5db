/**
 * Real DICOM files for tests, used where they lie and never copied: the folder that ARCHIPEL_SAMPLES names, or a
 * `shared/dicom-samples` beside the checkout. Tests that want them skip loudly when it is not there.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

const folder = process.env.ARCHIPEL_SAMPLES ?? resolve(import.meta.dirname, '../../../shared/dicom-samples');

/** Every folder of samples but those that are wrong on purpose. */
export const soundFolders: readonly string[] = [
  'charsets',
  'dicomdir',
  'generated',
  'grayscale-luts',
  'modalities',
  'multiframe',
  'series-ct',
  'series-mr',
  'transfer-syntaxes',
];

/** The folder of samples, or undefined (and a warning) when this machine has none. */
export function samplesFolder(): string | undefined {
  if (existsSync(join(folder, 'MANIFEST.csv'))) return folder;
  console.warn('SKIPPED: the DICOM samples are not here; set ARCHIPEL_SAMPLES to their folder to run these tests');
  return undefined;
}

/** All files below a folder of the samples, in ascending order; absolute paths. */
export function sampleFiles(...below: string[]): string[] {
  const root = samplesFolder();
  return root === undefined ? [] : filesBelow(join(root, ...below));
}

export function filesBelow(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** The rows of one of the samples' CSV files (MANIFEST.csv, REFERENCE.csv, CHARSETS.csv), by column name. */
export function sampleTable(name: string): Record<string, string>[] {
  const root = samplesFolder();
  if (root === undefined) return [];
  const [header, ...rows] = parseCsv(readFileSync(join(root, name), 'utf8'));
  return rows.map((row) => Object.fromEntries((header ?? []).map((column, i) => [column, row[i] ?? ''])));
}

export const sampleManifest = (): Record<string, string>[] => sampleTable('MANIFEST.csv');

function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') cell += text[++i];
      else quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === ',' || c === '\n') {
      row.push(cell);
      cell = '';
      if (c === '\n') {
        rows.push(row);
        row = [];
      }
    } else if (c !== '\r') cell += c;
  }
  if (cell !== '' || row.length > 0) rows.push([...row, cell]);
  return rows;
}
