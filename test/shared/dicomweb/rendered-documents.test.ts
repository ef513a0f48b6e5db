/**
 * What is rendered without pixels: reports as pages and as text, documents and video as they were stored.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeElement, makeInstance } from '#test/support/dicom-factory.ts';
import { sampleFiles } from '#test/support/samples.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { pathOf } from './looking.ts';
import { partsOf } from './read-multipart.ts';

const sop = (last: string): string => `1.2.840.10008.5.1.4.1.1.${last}`;
const el = (tag: number, vr: string, value: MadeElement['value']): MadeElement => ({ tag, vr, value });
const code = (meaning: string, value = 'X', tag = 0x0040a043): MadeElement =>
  el(tag, 'SQ', [[el(0x00080100, 'SH', value), el(0x00080102, 'SH', '99T'), el(0x00080104, 'LO', meaning)]]);
const item = (relation: string, type: string, name: string, ...more: MadeElement[]): MadeElement[] =>
  [el(0x0040a010, 'CS', relation), el(0x0040a040, 'CS', type), ...(name === '' ? [] : [code(name)]), ...more].sort(
    (a, b) => a.tag - b.tag,
  );

const attack = `</span><script>alert(1)</script><img src=x onerror="alert('1')">&amp;`;
const content: MadeElement[][] = [
  item('HAS CONCEPT MOD', 'CODE', 'Language', code('English', 'en', 0x0040a168)),
  item('CONTAINS', 'TEXT', attack, el(0x0040a160, 'UT', `${attack}\r\nsecond line\u001b[2J`)),
  item(
    'CONTAINS',
    'NUM',
    'Diameter',
    el(0x0040a300, 'SQ', [[el(0x0040a30a, 'DS', '12.5'), code('millimeter', 'mm', 0x004008ea)]]),
  ),
  item('CONTAINS', 'NUM', 'Volume', el(0x0040a300, 'SQ', []), code('Not a number', 'N', 0x0040a301)),
  item(
    'CONTAINS',
    'CONTAINER',
    'Findings',
    el(0x0040a730, 'SQ', [
      item('CONTAINS', 'DATE', 'On', el(0x0040a121, 'DA', '20240229')),
      item('CONTAINS', 'TIME', 'At', el(0x0040a122, 'TM', '134501.25')),
      item('CONTAINS', 'DATETIME', 'When', el(0x0040a120, 'DT', '20240229134501+0100')),
      item('CONTAINS', 'PNAME', 'Observer', el(0x0040a123, 'PN', 'Yamada^Tarou=山田^太郎=やまだ^たろう')),
      item('CONTAINS', 'UIDREF', 'Tracking', el(0x0040a124, 'UI', '1.2.3')),
      item(
        'INFERRED FROM',
        'IMAGE',
        '',
        el(0x00081199, 'SQ', [
          [el(0x00081150, 'UI', sop('2')), el(0x00081155, 'UI', '1.2.3.4'), el(0x00081160, 'IS', '2\\3')],
        ]),
      ),
      item('CONTAINS', 'SCOORD', 'Outline', el(0x00700022, 'FL', [1, 2, 3, 4]), el(0x00700023, 'CS', 'POLYLINE')),
    ]),
  ),
];
const report = makeInstance({
  sopClassUid: sop('88.33'),
  modality: 'SR',
  pixels: 'none',
  characterSet: 'ISO_IR 192',
  patientName: 'Müller^Jürgen',
  extra: [
    el(0x0040a040, 'CS', 'CONTAINER'),
    code('Chest <Report>'),
    el(0x0040a491, 'CS', 'COMPLETE'),
    el(0x0040a493, 'CS', 'UNVERIFIED'),
    el(0x0040a730, 'SQ', content),
  ],
});
const pdfBytes = new TextEncoder().encode(`%PDF-1.4\n${'x'.repeat(3000)}%%EOF`);
const encapsulated = (bytes: Uint8Array, classUid: string, mime: string, transferSyntaxUid?: string) =>
  makeInstance({
    sopClassUid: classUid,
    modality: 'DOC',
    pixels: 'none',
    ...(transferSyntaxUid && { transferSyntaxUid }),
    extra: [el(0x00420011, 'OB', bytes), el(0x00420012, 'LO', mime), el(0x00420015, 'UL', [bytes.length])],
  });
const pdf = encapsulated(pdfBytes, sop('104.1'), 'application/pdf');
const smallPdf = encapsulated(pdfBytes.subarray(0, 99), sop('104.1'), 'application/pdf');
const deflatedPdf = encapsulated(pdfBytes, sop('104.1'), 'application/pdf', '1.2.840.10008.1.2.1.99');
/** Its sender says that it is a page. */
const lyingPdf = encapsulated(pdfBytes, sop('104.1'), 'text/html');
const cda = encapsulated(new TextEncoder().encode('<ClinicalDocument/>'), sop('104.2'), 'text/XML');
const videoBytes = new Uint8Array(5000).map((_, i) => (i * 31) & 0xff);
const video = makeInstance({
  sopClassUid: sop('77.1.2.1'),
  modality: 'GM',
  rows: 8,
  columns: 8,
  frames: 25,
  bitsAllocated: 8,
  samplesPerPixel: 3,
  photometricInterpretation: 'YBR_PARTIAL_420',
  transferSyntaxUid: '1.2.840.10008.1.2.4.102',
  pixels: [videoBytes],
});
const inFragments = makeInstance({
  rows: 8,
  columns: 8,
  frames: 25,
  transferSyntaxUid: '1.2.840.10008.1.2.4.102.1',
  offsetTable: 'empty',
  pixels: [videoBytes.subarray(0, 2000), videoBytes.subarray(2000, 2002), videoBytes.subarray(2002)],
});
const waveform = makeInstance({ sopClassUid: sop('9.1.1'), modality: 'ECG', pixels: 'none' });
const emptyReport = makeInstance({ sopClassUid: sop('88.11'), modality: 'SR', pixels: 'none' });

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  const all = [report, pdf, smallPdf, deflatedPdf, lyingPdf, cda, video, inFragments, waveform, emptyReport];
  fixture = await makeArchive(all.map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const rendered = (made: typeof report, accept?: string, query = '') =>
  ask(service, `${pathOf(made)}/rendered${query}`, accept === undefined ? {} : { accept });

describe('a report', () => {
  it('is a page by default, with every value in words', async () => {
    const response = await rendered(report);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'x-content-type-options': 'nosniff',
      'content-location': `${base}${pathOf(report)}/rendered`,
    });
    const page = await response.text();
    for (const shown of [
      '<h1>Chest &lt;Report&gt;</h1>', 'Müller, Jürgen', '2024-01-31', 'COMPLETE', 'UNVERIFIED', '12.5 mm', 'Not a number', '<h2>Findings</h2>', '2024-02-29',
      '13:45:01', '2024-02-29 13:45:01 +0100', 'Yamada, Tarou (山田 太郎, やまだ たろう)', '1.2.3', 'CT Image Storage 1.2.3.4 frames 2, 3', 'POLYLINE 1 2 3 4', 'modifier: ',
    ]) expect(page).toContain(shown); // biome-ignore format: a list
  });

  it('shows hostile text as text, under a policy that runs nothing', async () => {
    const response = await rendered(report, 'text/html');
    expect(response.headers.get('content-security-policy')).toBe(
      "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    );
    const page = await response.text();
    expect(page).not.toMatch(/<script|<img|onerror="/);
    expect(page).not.toContain('\u001b');
    expect(page).toContain(
      '&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;',
    );
  });

  it('is plain text for who wants that, without commands to a terminal', async () => {
    const response = await rendered(report, 'text/plain');
    expect(response.headers.get('content-type')).toBe('text/plain; charset=utf-8');
    const text = await response.text();
    expect(text).toMatch(/^Chest <Report>\n=+\n/);
    expect(text).toContain('\nFindings\n  On: 2024-02-29\n');
    expect(text).not.toContain('\u001b');
  });

  it.each([
    ['text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'text/html; charset=utf-8'],
    ['text/*', 'text/html; charset=utf-8'],
    ['*/*', 'text/html; charset=utf-8'],
  ])('for %s is %s', async (accept, type) => {
    expect((await rendered(report, accept)).headers.get('content-type')).toBe(type);
  });

  it('has a part of its own when asked for in parts, a tag, and no pictures', async () => {
    const parts = await partsOf(await rendered(report, 'multipart/related; type="text/html"'));
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual(['text/html; charset=utf-8']);
    const tag = (await rendered(report)).headers.get('etag')!;
    const again = await ask(service, `${pathOf(report)}/rendered`, { 'if-none-match': tag });
    expect(again.status).toBe(304);
    expect((await rendered(report, 'image/jpeg')).status).toBe(406);
    expect((await ask(service, `${pathOf(report)}/frames/1/rendered`)).status).toBe(406);
  });

  it('takes no parameters of pictures, and says so; text is UTF-8', async () => {
    const warning = (
      await rendered(report, undefined, '?window=40,400,linear&charset=iso-8859-1&nonsense=1')
    ).headers.get('warning');
    expect(warning).toContain('This is no picture; ignored: window.');
    expect(warning).toContain('The charset parameter is not supported. Text is in UTF-8.');
    expect(warning).toContain('have been ignored: nonsense.');
    expect((await rendered(report, undefined, '?charset=utf-8')).headers.get('warning')).toBeNull();
  });

  it('without content is 406 with a sentence', async () => {
    expect(await problemOf(await rendered(emptyReport))).toMatchObject({ status: 406, code: 'cannot-render' });
  });
});

describe('an encapsulated document', () => {
  it.each([
    ['long', pdf, pdfBytes],
    ['short', smallPdf, pdfBytes.subarray(0, 99)],
    ['deflated', deflatedPdf, pdfBytes],
  ])('is the PDF as it was stored, to its last byte: %s', async (_name, made, bytes) => {
    const response = await rendered(made);
    expect([response.status, response.headers.get('content-type'), response.headers.get('content-disposition')]).toEqual([
      200, 'application/pdf', 'inline',
    ]); // biome-ignore format: one line
    expect(new Uint8Array(await bytesOf(response))).toEqual(Uint8Array.from(bytes));
    expect(response.headers.get('content-length')).toBe(String(bytes.length));
  });

  it.each([pdf, deflatedPdf])('gives ranges, as viewers of PDF ask for', async (made) => {
    const response = await ask(service, `${pathOf(made)}/rendered`, { range: 'bytes=5-8' });
    expect([response.status, response.headers.get('content-range')]).toEqual([206, `bytes 5-8/${pdfBytes.length}`]);
    expect(await response.text()).toBe('1.4\n');
  });

  it('is what its class says, not what its sender calls it', async () => {
    expect((await rendered(lyingPdf)).headers.get('content-type')).toBe('application/pdf');
    expect((await rendered(lyingPdf, 'text/html')).status).toBe(406);
  });

  it('of CDA is XML under a policy that runs nothing', async () => {
    const response = await rendered(cda);
    expect(response.headers.get('content-type')).toBe('text/xml');
    expect(response.headers.get('content-security-policy')).toContain('sandbox');
    expect(await response.text()).toBe('<ClinicalDocument/>');
    const problem = await problemOf(await rendered(cda, 'text/html'));
    expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('text/xml')]);
  });
});

describe('video', () => {
  it('is the stream as it was stored (dcm4chee#1985, #3608)', async () => {
    for (const accept of [undefined, 'video/mp4', 'video/*', 'multipart/related; type="video/mp4"']) {
      const response = await rendered(video, accept);
      expect(response.status).toBe(200);
      const body = accept?.startsWith('multipart') ? (await partsOf(response))[0]!.body : await bytesOf(response);
      expect(Buffer.compare(body.subarray(0, videoBytes.length), videoBytes)).toBe(0);
    }
    expect(await bytesOf(await rendered(inFragments))).toEqual(Buffer.from(videoBytes));
    const problem = await problemOf(await rendered(video, 'image/jpeg'));
    expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('video/mp4')]);
    expect((await ask(service, `${pathOf(video)}/frames/1/rendered`)).status).toBe(406);
  });
});

it('gives ranges of a video, as players ask for to seek', async () => {
  const response = await ask(service, `${pathOf(video)}/rendered`, { range: 'bytes=100-199' });
  expect([response.status, response.headers.get('content-range')]).toEqual([206, 'bytes 100-199/5000']);
  expect(await bytesOf(response)).toEqual(Buffer.from(videoBytes.subarray(100, 200)));
});

it('of what is neither picture nor text is 406 with what to do instead', async () => {
  const problem = await problemOf(await rendered(waveform));
  expect([problem.status, problem.code]).toEqual([406, 'cannot-render']);
  expect(problem.detail).toContain('retrieve the instance instead');
});

describe.skipIf(sampleFiles('modalities').length === 0)('of the samples', () => {
  it.each(['modalities/sr', 'generated/documents', 'generated/video'])('%s can all be rendered', async (folder) => {
    for (const file of sampleFiles(...folder.split('/'))) {
      const own = await makeArchive([readFileSync(file)]);
      const [found] = (await (await ask(serviceOver(own), '/instances')).json()) as Record<
        string,
        { Value: string[] }
      >[];
      const [studyInstanceUid, seriesInstanceUid, sopInstanceUid] = ['0020000D', '0020000E', '00080018'].map(
        (tag) => found![tag]!.Value[0]!,
      ) as [string, string, string];
      const path = pathOf({ ref: { studyInstanceUid, seriesInstanceUid, sopInstanceUid } });
      const response = await ask(serviceOver(own), `${path}/rendered`);
      expect([file, response.status, (await bytesOf(response)).length > 100]).toEqual([file, 200, true]);
      await own.close();
    }
  });
});

it('makes reports one by one, so that others are answered between them', async () => {
  const long = makeInstance({
    sopClassUid: sop('88.33'),
    modality: 'SR',
    pixels: 'none',
    extra: [
      el(
        0x0040a730,
        'SQ',
        Array.from({ length: 1000 }, () => item('CONTAINS', 'TEXT', 'A finding')),
      ),
    ],
  });
  const own = await makeArchive([long.file]);
  const path = `${pathOf(long)}/rendered`;
  await ask(serviceOver(own), path); // the manifest is read
  let turns = 0;
  let isOver = false;
  const count = (): void => {
    turns++;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  const answered = await Promise.all(Array.from({ length: 10 }, () => ask(serviceOver(own), path).then(() => turns)));
  isOver = true;
  expect(new Set(answered).size).toBe(10);
  await own.close();
});
