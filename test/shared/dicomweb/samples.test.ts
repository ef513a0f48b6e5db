/**
 * Real files through the whole service: each comes back byte for byte, its native frames have the pixels that independent
 * decoders found, and whatever is asked for gets a definite answer.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Header, readHeader } from '#shared/dicom/part10.ts';
import { refPath } from '#shared/dicomweb/references.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { sampleFiles, samplesFolder, sampleTable } from '#test/support/samples.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const root = samplesFolder();
const folders = ['transfer-syntaxes/ct-one-image', 'transfer-syntaxes/fragments', 'transfer-syntaxes/deflated', 'transfer-syntaxes/uncompressed', 'modalities', 'charsets', 'generated']; // biome-ignore format: a list
const maximumBytes = 1024 * 1024;

interface Sample {
  readonly name: string;
  readonly bytes: Buffer;
  readonly header: Header;
  readonly path: string;
}

function readSamples(): Sample[] {
  const samples: Sample[] = [];
  for (const file of root === undefined ? [] : folders.flatMap((folder) => sampleFiles(folder))) {
    const bytes = readFileSync(file);
    if (bytes.length > maximumBytes) continue;
    try {
      const header = readHeader(bytes);
      const uid = (tag: number): string => header.dataSet.ascii(tag) ?? '';
      const ref = {
        studyInstanceUid: uid(0x0020000d),
        seriesInstanceUid: uid(0x0020000e),
        sopInstanceUid: uid(0x00080018),
      };
      if (Object.values(ref).includes('') || uid(0x00080016) === '') continue;
      samples.push({ name: relative(root!, file), bytes, header, path: `/${refPath(ref)}` });
    } catch {
      // Broken on purpose, or no DICOM file at all: what becomes of those is the receiver's business.
    }
  }
  return samples;
}

describe.skipIf(root === undefined)('real files', () => {
  let fixture: ArchiveFixture;
  let service: Service;
  /** Those that became the current instance of their UIDs: several files share them on purpose. */
  let current: Sample[];

  beforeAll(async () => {
    const samples = readSamples();
    const first = new Map(samples.toReversed().map((sample) => [sample.path, sample]));
    current = samples.filter((sample) => first.get(sample.path) === sample);
    fixture = await makeArchive(current.map(({ bytes }) => bytes));
    // Decoding is the renderer's, and tested there: here it is enough that everything it needs is brought together.
    service = serviceOver(fixture, { render: async ({ frame }) => frame.slice(0, 1) });
  });
  afterAll(() => fixture.close());

  it('are many', () => expect(current.length).toBeGreaterThan(50));

  it('come back with their data sets byte for byte', async () => {
    for (const { name, bytes, header, path } of current) {
      const response = await ask(service, path, { accept: 'application/dicom; transfer-syntax=*' });
      expect([name, response.status]).toEqual([name, 200]);
      const back = await bytesOf(response);
      const dataSet = back.subarray(readHeader(back).dataSetOffsetBytes);
      expect([name, dataSet.equals(bytes.subarray(header.dataSetOffsetBytes))]).toEqual([name, true]);
    }
  });

  it('have native frames with the pixels that other decoders found', async () => {
    const samples = new Map(current.map((sample) => [sample.name, sample]));
    let compared = 0;
    for (const row of sampleTable('REFERENCE.csv')) {
      const sample = samples.get(row.file ?? '');
      const bits = sample?.header.dataSet.number(0x00280100) ?? 1;
      if (sample === undefined || sample.header.transferSyntax.encapsulated || bits < 8 || !row.sha256_native) continue;
      const response = await ask(service, `${sample.path}/frames/${Number(row.frame)}`, {
        accept: 'multipart/related; type=application/octet-stream',
      });
      expect([row.file, response.status]).toEqual([row.file, 200]);
      const [frame] = await partsOf(response);
      const hash = createHash('sha256').update(interleaved(frame!.body, sample.header)).digest('hex');
      expect([row.file, row.frame, hash]).toEqual([row.file, row.frame, row.sha256_native]);
      compared++;
    }
    expect(compared).toBeGreaterThan(20);
  });

  it('have metadata, frames and pictures, or a definite answer why not', async () => {
    const seen = new Set<string>();
    for (const { name, path } of current) {
      for (const resource of ['metadata', 'frames/1', 'rendered', 'thumbnail', 'frames/999999']) {
        const { status, body } = await ask(service, `${path}/${resource}`, {}, 'GET');
        await body?.cancel();
        expect([200, 404, 406], `${name} ${resource}`).toContain(status);
        seen.add(`${resource} ${status}`);
      }
    }
    expect([...seen]).toEqual(
      expect.arrayContaining(['metadata 200', 'frames/1 200', 'rendered 200', 'rendered 406', 'thumbnail 200']),
    );
    // Whatever is stored has a thumbnail.
    expect([...seen].filter((answer) => answer.startsWith('thumbnail'))).toEqual(['thumbnail 200']);
    expect(seen).not.toContain('metadata 404');
    expect(seen).not.toContain('frames/999999 200');
  });
});

/** REFERENCE.csv hashes colour by pixel; stored by plane it has to be turned first. */
function interleaved(frame: Buffer, { dataSet }: Header): Buffer {
  const samples = dataSet.number(0x00280002) ?? 1;
  if (samples === 1 || dataSet.number(0x00280006) !== 1) return frame;
  const pixels = frame.length / samples;
  return Buffer.from(frame.map((_, i) => frame[(i % samples) * pixels + Math.floor(i / samples)]!));
}
