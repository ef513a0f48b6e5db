/**
 * ZIP files with a DICOMDIR: legal names, records of every type with their keys, and offsets that another reader follows.
 */
import { parseDicom } from 'dicom-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeElement, makeInstance } from '#test/support/dicom-factory.ts';
import { type ZipEntry, zipEntries } from '#test/support/zip-reader.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';

const study = freshUid();
const [ct, mr, documents] = [freshUid(), freshUid(), freshUid()].toSorted() as [string, string, string];
const patientName = 'Yamada^Tarou=山田^太郎=やまだ^たろう';
const of = { studyInstanceUid: study, patientName, patientId: 'FS1', characterSet: 'ISO_IR 192' };
const title: MadeElement = {
  tag: 0x0040a043,
  vr: 'SQ',
  value: [
    [
      { tag: 0x00080100, vr: 'SH', value: '113000' },
      { tag: 0x00080104, vr: 'LO', value: 'Of Interest' },
    ],
  ],
};
const modifier: MadeElement = {
  tag: 0x0040a730,
  vr: 'SQ',
  value: [
    [
      { tag: 0x0040a010, vr: 'CS', value: 'HAS CONCEPT MOD' },
      { tag: 0x0040a040, vr: 'CS', value: 'CODE' },
    ],
    [
      { tag: 0x0040a010, vr: 'CS', value: 'CONTAINS' },
      { tag: 0x0040a040, vr: 'CS', value: 'TEXT' },
    ],
  ],
};
const storage = '1.2.840.10008.5.1.4.1.1.';
const document = (sopClassUid: string, extra: readonly MadeElement[], instanceNumber: number) =>
  makeInstance({
    ...of,
    seriesInstanceUid: documents,
    modality: 'OT',
    sopClassUid,
    pixels: 'none',
    without: [0x00280010, 0x00280011],
    extra,
    instanceNumber,
  });
const made = [
  ...[3, 1, 2].map((instanceNumber) => makeInstance({ ...of, seriesInstanceUid: ct, seriesNumber: 4, instanceNumber })),
  makeInstance({ ...of, seriesInstanceUid: mr, modality: 'MR', sopClassUid: `${storage}4`, instanceNumber: 1 }),
  document(`${storage}88.11`, [title, modifier, { tag: 0x0040a493, vr: 'CS', value: 'UNVERIFIED' }], 1),
  document(`${storage}88.59`, [title], 2),
  document(`${storage}104.1`, [{ tag: 0x00420012, vr: 'LO', value: 'application/pdf' }], 3),
  document(`${storage}481.3`, [{ tag: 0x30060002, vr: 'SH', value: 'PELVIS' }], 4),
  document(`${storage}11.1`, [{ tag: 0x00700080, vr: 'CS', value: 'PS1' }], 5),
  document(`${storage}66.1`, [], 6),
  document('1.2.826.0.1.3680043.10.1462.77', [], 7),
];

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive(
    made.map(({ file }) => file),
    { packSize: 2 },
  );
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

interface ReadRecord {
  readonly type: string;
  readonly text: (tag: string) => string;
  readonly lower: ReadRecord[];
}

/** Follows the offsets of a DICOMDIR as a reader does that knows nothing of the order of its items. */
function recordsOf(dicomdir: Uint8Array): { roots: ReadRecord[]; followed: number; items: number } {
  const dataSet = parseDicom(dicomdir);
  const items = dataSet.elements.x00041220?.items ?? [];
  const byOffset = new Map(items.map((item) => [item.dataOffset - 8, item]));
  let followed = 0;
  const chain = (first: number): ReadRecord[] => {
    const found: ReadRecord[] = [];
    for (let at = first; at !== 0; ) {
      const item = byOffset.get(at)?.dataSet;
      if (item === undefined) throw new Error(`no record lies at ${at}`);
      followed++;
      expect(item.uint16('x00041410')).toBe(0xffff);
      found.push({
        type: item.string('x00041430') ?? '',
        text: (tag) => {
          const element = item.elements[tag];
          return element === undefined
            ? 'absent'
            : Buffer.from(dicomdir.buffer, dicomdir.byteOffset + element.dataOffset, element.length)
                .toString()
                .replace(/[\0 ]+$/, '');
        },
        lower: chain(item.uint32('x00041420') ?? 0),
      });
      at = item.uint32('x00041400') ?? 0;
    }
    return found;
  };
  const roots = chain(dataSet.uint32('x00041200') ?? 0);
  const last = byOffset.get(dataSet.uint32('x00041202') ?? 0)?.dataSet;
  expect([last?.string('x00041430'), last?.uint32('x00041400')]).toEqual(['PATIENT', 0]);
  return { roots, followed, items: items.length };
}

async function fileSetOf(path: string): Promise<{ entries: ZipEntry[]; dicomdir: Buffer }> {
  const response = await ask(service, `${path}?accept=application/zip&dicomdir=true`);
  expect(response.status).toBe(200);
  const zip = await bytesOf(response);
  expect(response.headers.get('content-length')).toBe(String(zip.length));
  const [first, ...entries] = zipEntries(zip) as [ZipEntry, ...ZipEntry[]];
  expect(first.name).toBe('DICOMDIR');
  return { entries, dicomdir: first.bytes };
}

describe('a ZIP file with a DICOMDIR', () => {
  it('names files as PS3.10 §8 allows, in the order in which people look through them', async () => {
    const { entries } = await fileSetOf(`/studies/${study}`);
    expect(entries).toHaveLength(made.length);
    for (const { name } of entries) expect(name).toMatch(/^IMAGES\/SE00000[123]\/IM00000[0-9]$/);
    const uidAt = new Map(entries.map(({ name, bytes }) => [name, parseDicom(bytes).string('x00080018')]));
    expect(uidAt.get('IMAGES/SE000001/IM000001')).toBe(made[1]!.ref.sopInstanceUid);
    expect(uidAt.get('IMAGES/SE000001/IM000003')).toBe(made[0]!.ref.sopInstanceUid);
  });

  it('links every record, and each names the file that it is about', async () => {
    const { entries, dicomdir } = await fileSetOf(`/studies/${study}`);
    const { roots, followed, items } = recordsOf(dicomdir);
    expect([followed, items]).toEqual([items, 1 + 1 + 3 + made.length]);
    const [patient, ...others] = roots;
    expect([others, patient?.type, patient?.lower.map(({ type }) => type)]).toEqual([[], 'PATIENT', ['STUDY']]);
    const series = patient!.lower[0]!.lower;
    expect(series.map(({ type }) => type)).toEqual(['SERIES', 'SERIES', 'SERIES']);
    for (const record of series.flatMap(({ lower }) => lower)) {
      const name = record.text('x00041500').split('\\').join('/');
      const file = parseDicom(entries.find((entry) => entry.name === name)!.bytes);
      expect([record.text('x00041510'), record.text('x00041511'), record.text('x00041512')]).toEqual([
        file.string('x00080016'),
        file.string('x00080018'),
        file.string('x00020010'),
      ]);
    }
    const header = parseDicom(dicomdir);
    expect([header.string('x00020002'), header.string('x00020010')]).toEqual([
      '1.2.840.10008.1.3.10',
      '1.2.840.10008.1.2.1',
    ]);
  });

  it('has the type and the keys of each record', async () => {
    const { dicomdir } = await fileSetOf(`/studies/${study}`);
    const [patient] = recordsOf(dicomdir).roots;
    expect([patient!.text('x00080005'), patient!.text('x00100010'), patient!.text('x00100020')]).toEqual([
      'ISO_IR 192',
      patientName,
      'FS1',
    ]);
    const [one] = patient!.lower;
    expect([one!.text('x0020000d'), one!.text('x00081030'), one!.text('x00080050')]).not.toContain('absent');
    const [slices, , papers] = one!.lower;
    expect([slices!.text('x00080060'), slices!.text('x00200011')]).toEqual(['CT', '4']);
    expect(slices!.lower.map(({ type, text }) => [type, text('x00200013')])).toEqual([
      ['IMAGE', '1'],
      ['IMAGE', '2'],
      ['IMAGE', '3'],
    ]);
    expect(papers!.lower.map(({ type }) => type)).toEqual([
      'SR DOCUMENT',
      'KEY OBJECT DOC',
      'ENCAP DOC',
      'RT STRUCTURE SET',
      'PRESENTATION',
      'REGISTRATION',
      'PRIVATE',
    ]);
    const [report, , pdf, structures, state, , own] = papers!.lower;
    expect(report!.text('x0040a493')).toBe('UNVERIFIED');
    expect(report!.text('x0040a730')).toContain('HAS CONCEPT MOD');
    expect(report!.text('x0040a730')).not.toContain('CONTAINS');
    expect(pdf!.text('x00420012')).toBe('application/pdf');
    expect(structures!.text('x30060002')).toBe('PELVIS');
    expect(state!.text('x00700080')).toBe('PS1');
    expect(own!.text('x00041432')).toBe('1.2.826.0.1.3680043.10.1462.77');
  });

  it('is of a series or an instance as well, also where a pack would do without', async () => {
    const series = await fileSetOf(`/studies/${study}/series/${mr}`);
    expect(series.entries.map(({ name }) => name)).toEqual(['IMAGES/SE000001/IM000001']);
    expect(recordsOf(series.dicomdir).items).toBe(4);
    const { entries } = await fileSetOf(`/studies/${study}/series/${mr}/instances/${made[3]!.ref.sopInstanceUid}`);
    expect(entries).toHaveLength(1);
  });

  it('is the same again, and another one than that without', async () => {
    const asked = (dicomdir: string, headers = {}) =>
      ask(service, `/studies/${study}?accept=application/zip&dicomdir=${dicomdir}`, headers);
    const [first, second] = [await asked('true'), await asked('true')];
    expect(await bytesOf(first)).toEqual(await bytesOf(second));
    const tag = first.headers.get('etag')!;
    expect((await asked('true', { 'if-none-match': tag })).status).toBe(304);
    expect((await asked('false', { 'if-none-match': tag })).status).toBe(200);
  });

  it('is asked for by true or false', async () => {
    const response = await ask(service, `/studies/${study}?accept=application/zip&dicomdir=maybe`);
    expect([response.status, (await problemOf(response)).detail]).toEqual([
      400,
      'The parameter dicomdir is either true or false.',
    ]);
  });
});
