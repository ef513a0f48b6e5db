/**
 * Every name of the samples in other character sets, searched for by QIDO-RS in its own script, and found: each component group, whole, in
 * part, and word by word.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { samplesFolder, sampleTable } from '#test/support/samples.ts';
import { ask, serviceOver } from './ask.ts';

interface Named {
  readonly file: string;
  readonly name: string;
  readonly bytes: Buffer;
  readonly studyInstanceUid: string;
  readonly sopInstanceUid: string;
}

const root = samplesFolder();

function named(): Named[] {
  return sampleTable('CHARSETS.csv')
    .filter(({ patient_name }) => patient_name !== undefined && patient_name !== '')
    .map(({ file = '', patient_name: name = '' }) => {
      const bytes = readFileSync(join(root ?? '', file));
      const { dataSet } = readHeader(bytes);
      const uid = (tag: number): string => dataSet.ascii(tag) ?? '';
      return { file, name, bytes, studyInstanceUid: uid(0x0020000d), sopInstanceUid: uid(0x00080018) };
    });
}

describe.skipIf(root === undefined)(
  'names in every character set (fo-dicom-samples#45, dcmjs-dimse#69, Weasis#627)',
  () => {
    const samples = root === undefined ? [] : named();
    /** Some share a study: each archive has one of them. */
    const archives: { readonly studies: Set<string>; readonly samples: Named[]; service?: Service }[] = [];
    const fixtures: ArchiveFixture[] = [];

    beforeAll(async () => {
      for (const sample of samples) {
        let archive = archives.find(({ studies }) => !studies.has(sample.studyInstanceUid));
        if (archive === undefined) {
          archive = { studies: new Set(), samples: [] };
          archives.push(archive);
        }
        archive.studies.add(sample.studyInstanceUid);
        archive.samples.push(sample);
      }
      for (const archive of archives) {
        const fixture = await makeArchive(archive.samples.map(({ bytes }) => bytes));
        fixtures.push(fixture);
        archive.service = serviceOver(fixture);
      }
    });
    afterAll(() => Promise.all(fixtures.map((fixture) => fixture.close())));

    it.each(samples)('$name ($file)', async (sample) => {
      const { service } = archives.find((archive) => archive.samples.includes(sample))!;
      const find = async (text: string, more = ''): Promise<unknown[]> => {
        const response = await ask(service!, `/studies?PatientName=${encodeURIComponent(text)}${more}`);
        expect(response.status).toBe(200);
        return ((await response.json()) as DicomJson[]).map((study) => study['0020000D']?.Value?.[0]);
      };
      for (const group of sample.name.split('=').filter((one) => one !== '')) {
        const [first = ''] = Array.from(group);
        const words = group.split('^');
        for (const text of [
          group,
          group.toUpperCase(),
          `${first}*`,
          `*${words.at(-1)}`,
          `*${group.slice(1, -1)}*`,
          `?${group.slice(first.length)}`,
        ]) {
          expect(await find(text), text).toContain(sample.studyInstanceUid);
        }
        expect(await find(words.toReversed().join(' '), '&fuzzymatching=true')).toContain(sample.studyInstanceUid);
        expect(await find(`${first}${group}`)).not.toContain(sample.studyInstanceUid);
      }
      expect(await find(sample.name)).toContain(sample.studyInstanceUid);
    });
  },
);
