/**
 * QIDO-RS over a real archive: required keys, matching, paging and warnings.
 */
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { readDicomXml } from '#shared/dicom/dicom-xml-reader.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, origin, problemOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const [head, chest, japanese] = [freshUid(), freshUid(), freshUid()];
const headCt = freshUid();
const headSr = freshUid();
const slices = [1, 2, 3].map((instanceNumber) =>
  makeInstance({
    studyInstanceUid: head,
    seriesInstanceUid: headCt,
    instanceNumber,
    patientName: 'Meier^Änne',
    characterSet: 'ISO_IR 192',
    studyDate: '20240201',
    studyTime: '230000',
    extra: [
      {
        tag: 0x00400275,
        vr: 'SQ',
        value: [
          [
            { tag: 0x00400009, vr: 'SH', value: 'STEP7' },
            { tag: 0x00401001, vr: 'SH', value: 'REQ7' },
          ],
        ],
      },
    ],
  }),
);
const report = makeInstance({
  studyInstanceUid: head,
  seriesInstanceUid: headSr,
  seriesNumber: 2,
  modality: 'SR',
  sopClassUid: '1.2.840.10008.5.1.4.1.1.88.33',
  pixels: 'none',
  patientName: 'Meier^Änne',
  characterSet: 'ISO_IR 192',
  studyDate: '20240201',
  studyTime: '230000',
});
const others = [
  makeInstance({
    studyInstanceUid: chest,
    modality: 'DX',
    patientId: 'P2',
    studyDate: '20240202',
    studyTime: '010000',
  }),
  makeInstance({
    studyInstanceUid: japanese,
    modality: 'MR',
    patientId: 'P3',
    studyDate: '20230101',
    characterSet: 'ISO_IR 192',
    patientName: 'Yamada^Tarou=山田^太郎=やまだ^たろう',
  }),
];

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([...slices, report, ...others].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

async function find(path: string, headers?: Record<string, string>): Promise<DicomJson[]> {
  const response = await ask(service, path, headers);
  expect(response.status).toBe(200);
  return (await response.json()) as DicomJson[];
}

const studiesOf = async (query: string): Promise<unknown[]> =>
  (await find(`/studies?${query}`)).map((study) => study['0020000D']?.Value?.[0]);

describe('searching studies', () => {
  it('answers the required attributes and counts, empty ones without a value, in ascending order (dicom-server#641, DICOMcloud#34)', async () => {
    const [study] = await find(`/studies?StudyInstanceUID=${head}`);
    expect(Object.keys(study!)).toEqual(Object.keys(study!).toSorted());
    expect(study).toEqual({
      '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
      '00080020': { vr: 'DA', Value: ['20240201'] },
      '00080030': { vr: 'TM', Value: ['230000'] },
      '00080050': { vr: 'SH', Value: ['A1'] },
      '00080056': { vr: 'CS', Value: ['ONLINE'] },
      '00080061': { vr: 'CS', Value: ['CT', 'SR'] },
      '00080090': { vr: 'PN' },
      '00081030': { vr: 'LO', Value: ['Study'] },
      '00081190': { vr: 'UR', Value: [`${base}/studies/${head}`] },
      '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Meier^Änne' }] },
      '00100020': { vr: 'LO', Value: ['P1'] },
      '00100030': { vr: 'DA', Value: ['19700101'] },
      '00100040': { vr: 'CS', Value: ['O'] },
      '0020000D': { vr: 'UI', Value: [head] },
      '00200010': { vr: 'SH', Value: ['1'] },
      '00201206': { vr: 'IS', Value: [2] },
      '00201208': { vr: 'IS', Value: [4] },
    });
  });

  it.each<[string, () => string[]]>([
    ['StudyDate=20240201', () => [head]],
    ['StudyDate=20240201-', () => [chest, head]],
    ['StudyDate=-20231231', () => [japanese]],
    ['StudyDate=20230101-20240201', () => [head, japanese]],
    ['StudyDate=20240201-20240202&StudyTime=220000-020000', () => [chest, head]],
    ['AccessionNumber=A1&PatientID=P2', () => [chest]],
    ['ModalitiesInStudy=CT', () => [head]],
    ['ModalitiesInStudy=SR,MR', () => [head, japanese]],
    ['00080061=DX', () => [chest]],
    ['PatientName=*anne*', () => [head]],
    ['PatientName=MEIER*', () => [head]],
    ['00100010=%E5%B1%B1%E7%94%B0*', () => [japanese]],
    ['PatientID=P?', () => [chest, head, japanese]],
    ['StudyID=1&StudyDate=20240202', () => [chest]],
    ['ReferringPhysicianName=', () => [chest, head, japanese]],
    ['PatientID=nobody', () => []],
    ['limit=1', () => [chest]],
    ['limit=1&offset=1', () => [head]],
    ['offset=3', () => []],
    ['limit=0', () => []],
  ])('by %s', async (query, expected) => expect(await studiesOf(query)).toEqual(expected()));

  it('by a list of UIDs', async () => {
    expect(await studiesOf(`StudyInstanceUID=${head},${chest}`)).toEqual([chest, head]);
    expect(await studiesOf(`StudyInstanceUID=${head}&StudyInstanceUID=${chest}`)).toEqual([chest, head]);
  });

  it('splits names into their component groups (dicom-server#1097)', async () => {
    const [study] = await find('/studies?PatientID=P3');
    expect(study?.['00100010']?.Value).toEqual([
      { Alphabetic: 'Yamada^Tarou', Ideographic: '山田^太郎', Phonetic: 'やまだ^たろう' },
    ]);
  });

  it('says that more can be had', async () => {
    const response = await ask(service, '/studies?limit=2');
    expect(response.headers.get('warning')).toBe(`299 ${base}: "There are 1 additional results that can be requested"`);
    expect((await ask(service, '/studies?limit=3')).headers.get('warning')).toBeNull();
  });

  it('matches fuzzily, says how, warns of unknown keys, and goes on', async () => {
    const response = await ask(service, '/studies?fuzzymatching=true&PatientName=aenne%20mayer&Unheard=1');
    expect(response.status).toBe(200);
    expect(((await response.clone().json()) as DicomJson[]).map((study) => study['0020000D']?.Value)).toEqual([[head]]);
    expect(response.headers.get('warning')).toContain('as they sound (Double Metaphone)');
    expect(response.headers.get('warning')).toContain('The following parameters are not supported: Unheard');
  });

  it('answers 200 and an empty array when nothing matches (dcm4chee: 204)', async () => {
    const response = await ask(service, '/studies?PatientID=nobody');
    expect([response.status, await response.text()]).toEqual([200, '[]']);
  });

  it('compresses long answers for those who take it, short ones never', async () => {
    const path = `/studies/${head}/instances?includefield=all`;
    const plain = await find(path);
    expect((await ask(service, path, { 'accept-encoding': 'gzip' })).headers.get('content-encoding')).toBeNull();
    const many = await makeArchive(
      Array.from({ length: 40 }, () => makeInstance({ studyInstanceUid: head, seriesInstanceUid: headCt }).file),
    );
    const response = await ask(serviceOver(many), path, { 'accept-encoding': 'gzip' });
    expect(response.headers.get('content-encoding')).toBe('gzip');
    const text = gunzipSync(Buffer.from(await response.arrayBuffer())).toString();
    expect(JSON.parse(text)).toHaveLength(40);
    expect(plain).toHaveLength(4);
    await many.close();
  });

  it('answers what OHIF asks: limit=101&offset=0, includefield with escaped commas, PatientName=*x*', async () => {
    const found = await find(
      '/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060&PatientName=*ei*',
      { accept: 'application/dicom+json' },
    );
    expect(found.map((study) => study['00081030'])).toEqual([{ vr: 'LO', Value: ['Study'] }]);
  });

  it.each(['StudyDate=20249999', 'limit=x', 'StudyInstanceUID=1.2.x', 'fuzzymatching=2'])(
    'refuses %s with a sentence',
    async (query) => {
      const response = await ask(service, `/studies?${query}`);
      expect(response.status).toBe(400);
      expect((await problemOf(response)).detail).toMatch(/\.$/);
    },
  );

  it('gives application/json or XML to whoever asks for it, and 406 for other things', async () => {
    const json = await ask(service, '/studies', { accept: 'application/json' });
    expect(json.headers.get('content-type')).toBe('application/json');
    const any = await ask(service, '/studies');
    expect(any.headers.get('content-type')).toBe('application/dicom+json');
    const accept = 'multipart/related; type="application/dicom+xml"';
    const xml = await ask(service, '/studies?PatientName=*', { accept });
    expect(xml.headers.get('content-type')).toMatch(/^multipart\/related; type="application\/dicom\+xml"; boundary=/);
    const parts = await partsOf(xml);
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual(Array(3).fill('application/dicom+xml'));
    const read = parts.map(({ body }) => readDicomXml(body.toString(), { maximumElements: 1_000 }));
    expect(read).toEqual(await find('/studies?PatientName=*'));
    const nothing = await ask(service, '/studies?PatientID=nobody', { accept });
    expect([nothing.status, await nothing.text()]).toEqual([204, '']);
    const other = await ask(service, '/studies', { accept: 'text/csv' });
    expect([other.status, (await problemOf(other)).code]).toEqual([406, 'not-acceptable']);
  });

  it.each([
    'StudyDate=20240201',
    'StudyTime=230000',
    'AccessionNumber=A1',
    'ModalitiesInStudy=CT',
    'ReferringPhysicianName=',
    'PatientName=meier*',
    'PatientID=P1',
    'StudyID=1',
  ])('matches by every required key: %s, with no Warning (dicom-server#641, slim#100)', async (query) => {
    const response = await ask(service, `/studies?${query}`);
    expect(response.headers.get('warning')).toBeNull();
    expect(((await response.json()) as DicomJson[]).map((study) => study['0020000D']?.Value?.[0])).toContain(head);
  });

  it('knows every modality and count of a study as soon as its next series comes (OHIF#5613)', async () => {
    const studyInstanceUid = freshUid();
    const growing = await makeArchive([makeInstance({ studyInstanceUid, modality: 'CT' }).file]);
    const own = serviceOver(growing);
    const shown = async (query: string) => {
      const [study] = (await (await ask(own, `/studies?${query}`)).json()) as DicomJson[];
      return ['00080061', '00201206', '00201208'].map((tag) => study?.[tag]?.Value);
    };
    expect(await shown('ModalitiesInStudy=CT')).toEqual([['CT'], [1], [1]]);
    await growing.add([makeInstance({ studyInstanceUid, modality: 'PT' }).file]);
    for (const query of [
      'ModalitiesInStudy=PT',
      'ModalitiesInStudy=CT',
      'ModalitiesInStudy=MR,PT',
      'ModalitiesInStudy=MR&ModalitiesInStudy=CT',
    ])
      expect(await shown(query)).toEqual([['CT', 'PT'], [2], [2]]);
    expect(await shown('ModalitiesInStudy=MR')).toEqual([undefined, undefined, undefined]);
    await growing.close();
  });

  it('reads the time zone of a query (PS3.4 §C.2.2.2.5)', async () => {
    const [tokyo, nowhere] = [freshUid(), freshUid()];
    const zoned = await makeArchive([
      makeInstance({
        studyInstanceUid: tokyo,
        studyDate: '20240202',
        studyTime: '060000',
        extra: [{ tag: 0x00080201, vr: 'SH', value: '+0900' }],
      }).file,
      makeInstance({ studyInstanceUid: nowhere, studyDate: '20240202', studyTime: '060000' }).file,
    ]);
    const own = serviceOver(zoned);
    const found = async (query: string) =>
      ((await (await ask(own, `/studies?${query}`)).json()) as DicomJson[]).map(
        (study) => study['0020000D']?.Value?.[0],
      );
    expect(await found('StudyDate=20240201&TimezoneOffsetFromUTC=%2B0000')).toEqual([tokyo]);
    expect(await found('StudyDate=20240202&TimezoneOffsetFromUTC=%2B0000')).toEqual([nowhere]);
    expect((await found('StudyDate=20240202')).toSorted()).toEqual([tokyo, nowhere].toSorted());
    expect(await found('StudyDate=20240201-20240202&StudyTime=2000-2200&00080201=-0000')).toContain(tokyo);
    await zoned.close();
  });

  it('builds retrieve URLs on what the proxy says, its port and prefix included', async () => {
    const [study] = await find('/studies?PatientID=P2', {
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'pacs.example',
      'x-forwarded-port': '8443',
      'x-forwarded-prefix': '/site',
    });
    expect(study?.['00081190']?.Value).toEqual([`https://pacs.example:8443/site/dicomweb/studies/${chest}`]);
  });
});

describe('searching series and instances', () => {
  it('answers the series of a study without repeating the study', async () => {
    const [ct] = await find(`/studies/${head}/series?Modality=CT`);
    expect(ct).toEqual({
      '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
      '00080056': { vr: 'CS', Value: ['ONLINE'] },
      '00080060': { vr: 'CS', Value: ['CT'] },
      '0008103E': { vr: 'LO', Value: ['Series'] },
      '00081190': { vr: 'UR', Value: [`${base}/studies/${head}/series/${headCt}`] },
      '0020000D': { vr: 'UI', Value: [head] },
      '0020000E': { vr: 'UI', Value: [headCt] },
      '00200011': { vr: 'IS', Value: [1] },
      '00201209': { vr: 'IS', Value: [3] },
      '00400275': {
        vr: 'SQ',
        Value: [{ '00400009': { vr: 'SH', Value: ['STEP7'] }, '00401001': { vr: 'SH', Value: ['REQ7'] } }],
      },
    });
  });

  it('gives relational searches the attributes of the levels above', async () => {
    const [series] = await find(`/series?SeriesInstanceUID=${headSr}`);
    expect(series).toMatchObject({
      '00080060': { Value: ['SR'] },
      '00100020': { Value: ['P1'] },
      '00201208': { Value: [4] },
    });
    const [instance] = await find(`/instances?SOPInstanceUID=${slices[0]!.ref.sopInstanceUid}`);
    expect(instance).toMatchObject({ '00100020': { Value: ['P1'] }, '00080060': { Value: ['CT'] } });
  });

  it.each([
    'RequestAttributesSequence.ScheduledProcedureStepID=STEP7',
    '00400275.00401001=REQ*',
    '00400275.00400009=STEP7&00400275.00401001=REQ7',
  ])('matches series by %s', async (query) => {
    const found = await find(`/series?${query}`);
    expect(found.map((series) => series['0020000E']?.Value)).toEqual([[headCt]]);
  });

  it('answers the instances of a series with their required attributes (dcm4chee-arc-light#2825)', async () => {
    const found = await find(`/studies/${head}/series/${headCt}/instances?InstanceNumber=2`);
    const { sopInstanceUid } = slices[1]!.ref;
    expect(found).toEqual([
      {
        '00080005': { vr: 'CS', Value: ['ISO_IR 192'] },
        '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.2'] },
        '00080018': { vr: 'UI', Value: [sopInstanceUid] },
        '00080056': { vr: 'CS', Value: ['ONLINE'] },
        '00081190': { vr: 'UR', Value: [`${base}/studies/${head}/series/${headCt}/instances/${sopInstanceUid}`] },
        '00083002': { vr: 'UI', Value: ['1.2.840.10008.1.2.1'] },
        '0020000D': { vr: 'UI', Value: [head] },
        '0020000E': { vr: 'UI', Value: [headCt] },
        '00200013': { vr: 'IS', Value: [2] },
        '00280010': { vr: 'US', Value: [4] },
        '00280011': { vr: 'US', Value: [4] },
        '00280100': { vr: 'US', Value: [16] },
      },
    ]);
  });

  it('answers the instances of a study, with their series', async () => {
    const found = await find(`/studies/${head}/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.88.33`);
    expect(found).toMatchObject([{ '00080060': { Value: ['SR'] }, '0020000E': { Value: [headSr] } }]);
  });

  it('answers everything it has with includefield=all, and single attributes by name', async () => {
    const [all] = await find(`/studies/${head}/series?Modality=CT&includefield=all`);
    expect(Object.keys(all!).length).toBeGreaterThan(15);
    const [one] = await find(`/studies/${head}/series?Modality=CT&includefield=PatientID&includefield=Manufacturer`);
    expect(one).toMatchObject({ '00100020': { Value: ['P1'] }, '00080070': { Value: ['Test'] } });
  });

  it('has URLs in its answers that lead to what was found', async () => {
    for (const path of ['/studies', '/series', '/instances']) {
      for (const found of await find(path)) {
        const url = String(found['00081190']?.Value?.[0]);
        expect(url.startsWith(origin)).toBe(true);
        expect((await ask(service, `${url}/metadata`)).status).toBe(200);
      }
    }
  });

  it('finds nothing within a study that is not there, and refuses one that cannot be', async () => {
    expect(await find('/studies/1.2.3/series')).toEqual([]);
    expect((await ask(service, '/studies/not-a-uid/series')).status).toBe(400);
  });
});
