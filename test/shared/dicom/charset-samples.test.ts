/**
 * The names that real and generated files in many character sets must show, as their table says.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeText } from '#shared/dicom/charset.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { personNameOf, personNameText } from '#shared/dicom/person-name.ts';
import { samplesFolder, sampleTable } from '#test/support/samples.ts';

describe('the names of the samples', () => {
  const folder = samplesFolder();
  const rows = sampleTable('CHARSETS.csv');
  it.skipIf(folder === undefined)('are in a table', () => expect(rows.length).toBeGreaterThan(10));

  it.skipIf(folder === undefined).each(rows)('$file ($specific_character_set)', (row) => {
    const { dataSet } = readHeader(readFileSync(join(folder ?? '', row.file ?? '')));
    const element = dataSet.get(0x00100010);
    const text = element?.value === undefined ? '' : decodeText(element.value, dataSet.characterSets, 'PN');
    expect(personNameText(personNameOf(text.replace(/[ \0]+$/, '')))).toBe(row.patient_name);
  });
});
