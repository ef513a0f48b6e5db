/**
 * The Native DICOM Model as another maker writes it: DCMTK's dcm2xml of real files, read by us, says what our own DICOM JSON of
 * those files says. (Its InlineBinary of words is big endian, its floats have nine digits, and it drops the carets that a name ends with.)
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { toDicomJson } from '#shared/dicom/dicom-json.ts';
import type { DicomJson, JsonElement } from '#shared/dicom/dicom-json-model.ts';
import { dicomXml } from '#shared/dicom/dicom-xml.ts';
import { readDicomXml } from '#shared/dicom/dicom-xml-reader.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { hasPrograms, run } from './dcmtk.ts';

const files =
  samplesFolder() === undefined || !hasPrograms('dcm2xml')
    ? []
    : sampleFiles('modalities').filter((path) => path.endsWith('.dcm'));
const spread = files.filter((_, i) => i % 3 === 0);

/** Only what both sides say in the same way; sequences by what is in them. */
function comparable(json: DicomJson, other: DicomJson): unknown {
  const entries = Object.entries(json).flatMap(([key, element]): [string, unknown][] => {
    if (!(key in other) || key === '00080005') return [];
    if (element.vr === 'SQ') return [[key, itemsOf(element, other[key])]];
    if (/^(O[BDFLVW]|UN|F[LD])$/.test(element.vr)) return [[key, element.vr]];
    return [
      [
        key,
        JSON.parse(
          JSON.stringify(element)
            .replaceAll(/\^+"/g, '"')
            .replaceAll(/\{"Alphabetic":""\}/g, 'null'),
        ),
      ],
    ];
  });
  return Object.fromEntries(entries);
}

const itemsOf = (element: JsonElement, other: JsonElement | undefined): unknown =>
  element.Value?.map((item, i) => comparable(item as DicomJson, (other?.Value?.[i] ?? {}) as DicomJson));

describe.skipIf(spread.length === 0)('dcm2xml', () => {
  it('writes what we read as the JSON of the same files, and what we write has the same attributes', async () => {
    let compared = 0;
    for (const file of spread) {
      const { code, text } = await run('dcm2xml', [
        '--quiet',
        '--native-format',
        '--use-xml-namespace',
        '--encode-base64',
        '--load-short',
        file,
      ]);
      const xml = Buffer.from(text, 'latin1').toString('utf8');
      // What is not Unicode it leaves in the character set of the file.
      if (code !== 0 || !xml.startsWith('<?xml version="1.0" encoding="UTF-8"?>') || xml.includes('\ufffd')) continue;
      const theirs = readDicomXml(xml);
      const ours = toDicomJson(readHeader(readFileSync(file)).dataSet);
      expect(comparable(theirs, ours), file).toEqual(comparable(ours, theirs));
      const headsOf = (from: string): string[] =>
        [...from.matchAll(/<DicomAttribute (tag="[0-9A-F]{8}" vr="[A-Z]{2}")(?: privateCreator="([^"]*)")?/g)].map(
          ([, head, creator]) => `${head} ${creator}`,
        );
      const known = new Set(headsOf(xml));
      const written = headsOf(dicomXml(ours).replaceAll(/ keyword="[^"]*"/g, ''));
      expect(written.filter((head) => known.has(head)).length, file).toBeGreaterThan(written.length * 0.9);
      compared++;
    }
    expect(compared).toBeGreaterThan(spread.length / 2);
  });
});
