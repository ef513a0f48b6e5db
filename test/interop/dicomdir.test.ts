/**
 * ZIP files with a DICOMDIR, judged by DCMTK: of the same files it makes the same records, and it finds its way in ours.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseDicom } from 'dicom-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { sampleFiles } from '#test/support/samples.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import { ask, bytesOf, serviceOver } from '../shared/dicomweb/ask.ts';
import { hasPrograms, run } from './dcmtk.ts';

/** Of every kind of record that DCMTK knows. */
const folders = ['mr', 'rt', 'sr', 'us', 'waveform', 'photo', 'pt', 'seg', 'op'];
const files = folders.flatMap((folder) => sampleFiles('modalities', folder));
/** What DCMTK shall not judge: how pixels are encoded, and what is missing in the samples themselves. */
const lenient = ['-Nxc', '-Nec', '-Nrc', '+Nrs', '+I', '+id', '.'];

let work: string;
let fixture: ArchiveFixture;
beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'archipel-dicomdir-'));
  fixture = await makeArchive(files.map((file) => readFileSync(file)));
});
afterAll(async () => {
  await fixture?.close();
  rmSync(work, { recursive: true, force: true });
});

/** Type, file and object of every record that names a file. */
function referencesOf(dicomdir: Uint8Array): string[] {
  const items = parseDicom(dicomdir).elements.x00041220?.items ?? [];
  const tags = ['x00041430', 'x00041500', 'x00041510', 'x00041511', 'x00041512'];
  return items
    .map(({ dataSet }) => tags.map((tag) => dataSet?.string(tag)))
    .filter(([, file]) => file !== undefined)
    .map((record) => record.join(' '));
}

describe.skipIf(files.length === 0 || !hasPrograms('dcmmkdir', 'dcmdump'))('a DICOMDIR of real objects', () => {
  it('has the records that DCMTK makes of the same files, and DCMTK finds them in it', async () => {
    const service = serviceOver(fixture);
    const studies = (await (await ask(service, '/studies?limit=500')).json()) as DicomJson[];
    const back = process.cwd();
    const kinds = new Set<string>();
    let found = 0;
    for (const [i, study] of studies.entries()) {
      const uid = String(study['0020000D']?.Value?.[0]);
      const zip = await ask(service, `/studies/${uid}?accept=application/zip&dicomdir=true`);
      const folder = join(work, String(i));
      for (const { name, bytes } of zipEntries(await bytesOf(zip))) {
        mkdirSync(dirname(join(folder, name)), { recursive: true });
        writeFileSync(join(folder, name), bytes);
      }
      try {
        process.chdir(folder);
        expect((await run('dcmdump', ['-q', 'DICOMDIR'])).code).toBe(0);
        const ours = referencesOf(readFileSync('DICOMDIR'));
        const { code } = await run('dcmmkdir', ['-q', ...lenient, '+r', '+D', 'THEIRS', 'IMAGES']);
        if (code !== 0) continue; // what DCMTK of that age does not know at all
        const theirs = referencesOf(readFileSync('THEIRS'));
        expect(ours).toEqual(expect.arrayContaining(theirs));
        for (const reference of theirs) kinds.add(reference.split(' IMAGES')[0]!);
        const file = theirs[0]!.split(' ').find((word) => word.startsWith('IMAGES'))!;
        const appended = await run('dcmmkdir', ['-v', ...lenient, '+A', '+D', 'DICOMDIR', file.replaceAll('\\', '/')]);
        // A patient or a study without its ID is another one to DCMTK.
        if (appended.text.includes('inventing')) continue;
        expect(appended.text).toContain('directory record for this SOP instance already exists');
        found++;
      } finally {
        process.chdir(back);
      }
    }
    expect(found).toBeGreaterThan(5);
    for (const kind of ['IMAGE', 'SR DOCUMENT', 'WAVEFORM', 'RT PLAN']) expect(kinds).toContain(kind);
  });
});
