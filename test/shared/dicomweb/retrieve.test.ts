/**
 * Instances over a real archive: byte for byte, as parts, as files and as ZIP files that Info-ZIP accepts.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PackStore } from '#shared/archive/ports.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readHeader } from '#shared/dicom/part10.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { codestreamOf } from './made-codestreams.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const [ct, pet] = [freshUid(), freshUid()].toSorted() as [string, string];
/** Two packs of three and one slice, in the order of arrival 4, 3, 2, 1. */
const slices = [4, 3, 2, 1].map((instanceNumber) =>
  makeInstance({ studyInstanceUid: study, seriesInstanceUid: ct, instanceNumber, rows: 64, columns: 64 }),
);
const picture = Uint8Array.from({ length: 32 }, (_, i) => i);
const compressed = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: pet,
  modality: 'PT',
  transferSyntaxUid: '1.2.840.10008.1.2.4.80',
  pixels: [await codestreamOf(picture, { rows: 4, columns: 4 })],
});
/** The same UIDs as the first slice, other bytes. */
const rival = makeInstance({ ...slices[0]!.ref, instanceNumber: 4, patientId: 'OTHER', rows: 64, columns: 64 });

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive(
    [...slices, compressed].map(({ file }) => file),
    { packSize: 3 },
  );
  await fixture.add([rival.file]);
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

const dataSetOf = (file: Uint8Array): Buffer => Buffer.from(file.subarray(readHeader(file).dataSetOffsetBytes));

/** Of a ZIP file, by the judgement of Info-ZIP: every entry's name and bytes. */
function unzip(zip: Uint8Array): Map<string, Buffer> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-zip-'));
  try {
    const file = join(folder, 'all.zip');
    writeFileSync(file, zip);
    execFileSync('unzip', ['-tq', file]);
    const names = execFileSync('unzip', ['-Z1', file]).toString().trim().split('\n');
    return new Map(names.map((name) => [name, execFileSync('unzip', ['-p', file, name])]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe('an instance', () => {
  it('comes as one part, labelled with its transfer syntax and location, its data set bytes as they were', async () => {
    const response = await ask(service, pathOf(slices[1]!), {
      accept: 'multipart/related; type="application/dicom"; transfer-syntax=*',
    });
    expect(response.headers.get('content-type')).toMatch(/^multipart\/related; type="application\/dicom"; boundary=/);
    const parts = await partsOf(response);
    expect(parts.map(({ headers }) => headers)).toEqual([
      {
        'content-type': 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1',
        'content-length': String(parts[0]!.body.length),
        'content-location': `${base}${pathOf(slices[1]!)}`,
      },
    ]);
    expect(dataSetOf(parts[0]!.body)).toEqual(Buffer.from(slices[1]!.dataSet));
  });

  it('comes as a single file when that is asked for, as an attachment', async () => {
    const response = await ask(service, pathOf(slices[1]!), { accept: 'application/dicom' });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1',
      'content-disposition': `attachment; filename="${slices[1]!.ref.sopInstanceUid}.dcm"`,
      'x-content-type-options': 'nosniff',
      'cache-control': 'private, no-cache',
    });
    const bytes = await bytesOf(response);
    expect(response.headers.get('content-length')).toBe(String(bytes.length));
    expect(dataSetOf(bytes)).toEqual(Buffer.from(slices[1]!.dataSet));
  });

  it('comes as it is stored, byte for byte, for transfer-syntax=*', async () => {
    const accept = 'multipart/related; type=application/dicom; transfer-syntax=*';
    const [part] = await partsOf(await ask(service, pathOf(compressed), { accept }));
    expect(part?.headers['content-type']).toBe('application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80');
    expect(dataSetOf(part!.body)).toEqual(Buffer.from(compressed.dataSet));
  });

  it('comes in parts and is not sent twice', async () => {
    const whole = await ask(service, pathOf(slices[0]!), { accept: 'application/dicom' });
    const tag = whole.headers.get('etag')!;
    const bytes = await bytesOf(whole);
    const range = await ask(service, pathOf(slices[0]!), { accept: 'application/dicom', range: 'bytes=128-131' });
    expect([range.status, range.headers.get('content-range')]).toEqual([206, `bytes 128-131/${bytes.length}`]);
    expect((await bytesOf(range)).toString()).toBe('DICM');
    const beyond = await ask(service, pathOf(slices[0]!), { accept: 'application/dicom', range: 'bytes=99999999-' });
    expect([beyond.status, beyond.headers.get('content-range')]).toEqual([416, `bytes */${bytes.length}`]);
    const again = await ask(service, pathOf(slices[0]!), { accept: 'application/dicom', 'if-none-match': tag });
    expect([again.status, again.headers.get('etag'), await again.text()]).toEqual([304, tag, '']);
  });

  it('stays the first of two of one UID; the other one comes by its digest', async () => {
    const current = await ask(service, pathOf(rival), { accept: 'application/dicom' });
    expect(dataSetOf(await bytesOf(current))).toEqual(Buffer.from(slices[0]!.dataSet));
    const other = await ask(service, `${pathOf(rival)}?digest=${rival.digest}`, { accept: 'application/dicom' });
    expect(dataSetOf(await bytesOf(other))).toEqual(Buffer.from(rival.dataSet));
    expect((await ask(service, `${pathOf(rival)}?digest=${'0'.repeat(64)}`)).status).toBe(404);
    expect((await ask(service, `${pathOf(rival)}?digest=1234`)).status).toBe(400);
    expect((await ask(service, `/studies/${study}?digest=${rival.digest}`)).status).toBe(400);
  });

  it('comes back under UIDs that are none, which senders send all the same', async () => {
    const odd = makeInstance({
      studyInstanceUid: '../study',
      seriesInstanceUid: 'a/b/c',
      sopInstanceUid: '../../evil',
    });
    await fixture.add([odd.file]);
    const answer = await ask(service, '/instances?PatientID=P1&limit=500');
    const all = (await answer.json()) as DicomJson[];
    const url = String(all.find((one) => one['0020000D']?.Value?.[0] === '../study')?.['00081190']?.Value?.[0]);
    expect(url).toBe(`${base}/studies/..%2Fstudy/series/a%2Fb%2Fc/instances/..%2F..%2Fevil`);
    const response = await ask(service, url, { accept: 'application/dicom' });
    expect(response.headers.get('content-disposition')).toMatch(/^attachment; filename="x[0-9a-f]{32}\.dcm"$/);
    expect(dataSetOf(await bytesOf(response))).toEqual(Buffer.from(odd.dataSet));
  });
});

describe('a series and a study', () => {
  it('come as one part for each current instance, each with its own transfer syntax', async () => {
    const accept = 'multipart/related; type="*/*"; transfer-syntax=*';
    const parts = await partsOf(await ask(service, `/studies/${study}`, { accept }));
    expect(parts.map(({ headers }) => headers['content-location'])).toEqual(
      [...slices, compressed].map((instance) => `${base}${pathOf(instance)}`),
    );
    expect(parts.map(({ body }) => dataSetOf(body))).toEqual(
      [...slices, compressed].map(({ dataSet }) => Buffer.from(dataSet)),
    );
    expect(new Set(parts.map(({ headers }) => headers['content-type']))).toEqual(
      new Set([
        'application/dicom; transfer-syntax=1.2.840.10008.1.2.1',
        'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80',
      ]),
    );
    expect(await partsOf(await ask(service, `/studies/${study}/series/${ct}`))).toHaveLength(4);
  });

  it('are refused as a single part', async () => {
    expect((await ask(service, `/studies/${study}`, { accept: 'application/dicom' })).status).toBe(406);
  });

  it('are read in one ranged stream for each pack, opened when the client gets there (dcm4chee#2542)', async () => {
    const opened: string[] = [];
    const { packs } = fixture.archive;
    const counting: PackStore = {
      ...packs,
      stream: (key, range) => {
        opened.push(key);
        return packs.stream(key, range);
      },
    };
    const counted = serviceOver(fixture, { archive: { ...fixture.archive, packs: counting } });
    await ask(counted, `/studies/${study}/series/${ct}`, {}, 'HEAD');
    expect(opened).toHaveLength(0);
    const response = await ask(counted, `/studies/${study}/series/${ct}`);
    expect(opened).toHaveLength(1);
    const reader = response.body!.getReader();
    await reader.read();
    await reader.read();
    expect(opened).toHaveLength(1);
    await reader.cancel();
    expect(opened).toHaveLength(1);
    await partsOf(await ask(counted, `/studies/${study}/series/${ct}`));
    expect(opened).toHaveLength(3);
  });

  it('come as a ZIP file written on the way, its length known, in folders by series', async () => {
    const response = await ask(service, `/studies/${study}?accept=application/zip`);
    expect(response.headers.get('content-disposition')).toBe(`attachment; filename="${study}.zip"`);
    const zip = await bytesOf(response);
    expect(response.headers.get('content-length')).toBe(String(zip.length));
    const entries = unzip(zip);
    expect([...entries.keys()]).toEqual([
      ...slices.map(({ ref }) => `series-0001/${ref.sopInstanceUid}.dcm`),
      `series-0002/${compressed.ref.sopInstanceUid}.dcm`,
    ]);
    expect([...entries.values()].map(dataSetOf)).toEqual(
      [...slices, compressed].map(({ dataSet }) => Buffer.from(dataSet)),
    );
  });

  it('come as the pack itself where a series is exactly one pack, and resume within it (aws-healthimaging-samples#57)', async () => {
    const path = `/studies/${study}/series/${pet}`;
    const response = await ask(service, path, { accept: 'application/zip' });
    const zip = await bytesOf(response);
    const ref = fixture.packs.find(({ seriesInstanceUid }) => seriesInstanceUid === pet)!;
    const key = `${fixture.tenant}/${study}/${pet}/${ref.packId}.zip`;
    expect(zip).toEqual(Buffer.from(await fixture.archive.packs.read(key)));
    const rest = await ask(service, path, {
      accept: 'application/zip',
      range: 'bytes=100-',
      'if-range': response.headers.get('etag')!,
    });
    expect([rest.status, Buffer.compare(await bytesOf(rest), zip.subarray(100))]).toEqual([206, 0]);
    const changed = await ask(service, path, { accept: 'application/zip', range: 'bytes=100-', 'if-range': '"other"' });
    expect([changed.status, (await bytesOf(changed)).length]).toEqual([200, zip.length]);
  });

  it('leave a conflicting version out of the ZIP file', async () => {
    const entries = unzip(await bytesOf(await ask(service, `/studies/${study}/series/${ct}?accept=application/zip`)));
    expect([...entries.keys()]).toEqual(slices.map(({ ref }) => `${ref.sopInstanceUid}.dcm`));
    expect(dataSetOf(entries.get(`${rival.ref.sopInstanceUid}.dcm`)!)).toEqual(Buffer.from(slices[0]!.dataSet));
  });

  it('are not found under UIDs that nobody has', async () => {
    for (const path of [
      '/studies/1.2.3',
      `/studies/${study}/series/1.2.3`,
      `/studies/${study}/series/${ct}/instances/1.2.3`,
    ]) {
      const response = await ask(service, path);
      expect([response.status, (await problemOf(response)).code]).toEqual([404, 'not-found']);
    }
  });

  it('break off, and say so in the log only, when a pack is damaged under way', async () => {
    const lines: unknown[] = [];
    const { packs } = fixture.archive;
    const broken: PackStore = {
      ...packs,
      stream: async () => new Blob([new Uint8Array(100)]).stream() as ReadableStream<Uint8Array>,
    };
    const log = {
      debug() {},
      info() {},
      warn() {},
      error: (fields: unknown) => void lines.push(fields),
      child: () => log,
    };
    const cut = serviceOver(fixture, { archive: { ...fixture.archive, packs: broken }, log });
    await expect((await ask(cut, `/studies/${study}/series/${ct}`)).arrayBuffer()).rejects.toMatchObject({
      code: 'damaged',
    });
    expect(lines).toMatchObject([{ code: 'damaged' }]);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('archipel-zip-'))).toEqual([]);
  });
});
