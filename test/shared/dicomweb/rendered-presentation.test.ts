/** Presentation states asked for: themselves, by WADO-URI and by parameters of an image; which images, which window, and what is missing. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import {
  freshUid,
  type InstanceOptions,
  type MadeElement,
  type MadeInstance,
  makeInstance,
} from '#test/support/dicom-factory.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';
import { readMultipart } from './read-multipart.ts';

const GSPS = '1.2.840.10008.5.1.4.1.1.11.1';
const study = freshUid();
const imageSeries = freshUid();

const el = (tag: number, vr: string, value: MadeElement['value']): MadeElement => ({ tag, vr, value });

/** 3 x 2 with a value of its own to each pixel, doubled by its own Rescale Slope. */
const image = (more: InstanceOptions = {}): MadeInstance =>
  makeInstance({
    studyInstanceUid: study,
    seriesInstanceUid: imageSeries,
    rows: 2,
    columns: 3,
    bitsAllocated: 8,
    pixels: Uint8Array.of(10, 20, 30, 40, 50, 60),
    extra: [el(0x00281052, 'DS', '0'), el(0x00281053, 'DS', '2')],
    ...more,
  });

const reference = ({ ref, sopClassUid }: MadeInstance, frames?: string): MadeElement[] => [
  el(0x00081150, 'UI', sopClassUid),
  el(0x00081155, 'UI', ref.sopInstanceUid),
  ...(frames === undefined ? [] : [el(0x00081160, 'IS', frames)]),
];
const stateOf = (
  images: readonly MadeElement[][],
  extra: readonly MadeElement[] = [],
  sopClassUid = GSPS,
): MadeInstance =>
  makeInstance({
    studyInstanceUid: study,
    sopClassUid,
    modality: 'PR',
    pixels: 'none',
    extra: [
      ...[
        el(0x00081115, 'SQ', [[el(0x00081140, 'SQ', images), el(0x0020000e, 'UI', imageSeries)]]),
        el(0x00283110, 'SQ', [
          [el(0x00281050, 'DS', '127.5'), el(0x00281051, 'DS', '255'), el(0x00281056, 'CS', 'LINEAR_EXACT')],
        ]),
        el(0x20500020, 'CS', 'IDENTITY'),
      ].filter(({ tag }) => !extra.some((given) => given.tag === tag)),
      ...extra,
    ],
  });

const first = image();
const second = image({ instanceNumber: 2 });
const cine = image({ instanceNumber: 3, frames: 3, pixels: Uint8Array.from({ length: 18 }, (_, i) => i * 10) });
const absent = image();
const plain = stateOf([reference(first)]);
const turned = stateOf([reference(first)], [el(0x00700041, 'CS', 'Y'), el(0x00700042, 'US', [90])]);
const several = stateOf([reference(second), reference(cine, '3\\1')]);
const partly = stateOf([reference(first), reference(absent)]);
const lost = stateOf([reference(absent)]);
const blending = stateOf([reference(first)], [], '1.2.840.10008.5.1.4.1.1.11.4');

let fixture: ArchiveFixture;
let service: ReturnType<typeof serviceOver>;
beforeAll(async () => {
  const all = [first, second, cine, plain, turned, several, partly, lost, blending];
  fixture = await makeArchive(all.map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const get = (path: string, accept = 'image/png'): Promise<Response> => ask(service, path, { accept });
/** Gray values row by row. */
const grays = async (response: Response): Promise<number[]> => {
  expect(response.status).toBeLessThan(300);
  return [...(await seen(await bytesOf(response))).rgb].filter((_, i) => i % 3 === 0);
};
const pair = ({ ref }: MadeInstance): string =>
  `presentationUID=${ref.sopInstanceUid}&presentationSeriesUID=${ref.seriesInstanceUid}`;

describe('a presentation state rendered', () => {
  it('is its image, by the tables of the state and not of the image', async () => {
    const response = await get(`${pathOf(plain)}/rendered`);
    expect(response.headers.get('content-location')).toContain(plain.ref.sopInstanceUid);
    expect(await grays(response)).toEqual([10, 20, 30, 40, 50, 60]);
  });

  it('is turned and mirrored', async () => {
    const response = await get(`${pathOf(turned)}/rendered`);
    const { width, height, rgb } = await seen(await bytesOf(response));
    expect([width, height, [...rgb].filter((_, i) => i % 3 === 0)]).toEqual([2, 3, [10, 40, 20, 50, 30, 60]]);
  });

  it('takes the window that is asked for before its own, and a viewport behind all that it does', async () => {
    expect(await grays(await get(`${pathOf(plain)}/rendered?window=25,50,linear-exact`))).toEqual([
      51, 102, 153, 204, 255, 255,
    ]);
    expect(await grays(await get(`${pathOf(turned)}/rendered?viewport=2,1,0,1,2,1`))).toEqual([20, 50]);
    const { width, height } = await seen(await bytesOf(await get(`${pathOf(turned)}/rendered?viewport=,12`)));
    expect([width, height]).toEqual([8, 12]);
  });

  it('is a part for each frame of several images, in its order, under the frames they are of', async () => {
    const response = await get(`${pathOf(several)}/rendered`);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      expect.stringContaining('multipart/related'),
    ]);
    const parts = readMultipart(response.headers.get('content-type')!, await bytesOf(response));
    const frames = [`${pathOf(second)}/frames/1`, `${pathOf(cine)}/frames/3`, `${pathOf(cine)}/frames/1`];
    expect(parts.map(({ headers }) => headers['content-location'])).toEqual(
      frames.map((path) => expect.stringContaining(path)),
    );
    const firsts = await Promise.all(parts.map(async ({ body }) => (await seen(body)).rgb[0]));
    expect(firsts).toEqual([10, 120, 0]);
  });

  it('says which of its images are not here, with 206; and is 404 where none is', async () => {
    const response = await get(`${pathOf(partly)}/rendered`);
    expect([response.status, response.headers.get('warning')]).toEqual([206, expect.stringContaining('1 of 2 images')]);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(readMultipart(response.headers.get('content-type')!, await bytesOf(response))).toHaveLength(1);
    const problem = await problemOf(await get(`${pathOf(lost)}/rendered`));
    expect([problem.status, problem.detail]).toEqual([404, expect.stringContaining('not in the archive')]);
  });

  it('is refused in a sentence where it cannot be what it says', async () => {
    const problem = await problemOf(await get(`${pathOf(blending)}/rendered`));
    expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('pseudo-color')]);
    expect((await get(`${pathOf(plain)}/frames/1/rendered`)).status).toBe(406);
    expect((await get(`${pathOf(plain)}/rendered`, 'text/html')).status).toBe(406);
  });

  it('is not given twice: its entity tag is that of the state, its images and the parameters', async () => {
    const tag = (await get(`${pathOf(plain)}/rendered`)).headers.get('etag')!;
    const again = await ask(service, `${pathOf(plain)}/rendered`, { accept: 'image/png', 'if-none-match': tag });
    expect(again.status).toBe(304);
    expect((await get(`${pathOf(plain)}/rendered?window=1,2`)).headers.get('etag')).not.toBe(tag);
  });

  it('has an icon for a thumbnail', async () => {
    expect((await get(`${pathOf(plain)}/thumbnail`)).status).toBe(200);
  });
});

describe('an image with a presentation state', () => {
  it.each([
    [
      'WADO-URI',
      (query: string) =>
        `/wado?requestType=WADO&studyUID=${study}&seriesUID=${imageSeries}&objectUID=${first.ref.sopInstanceUid}&contentType=image/png&${query}`,
    ],
    ['parameters of WADO-RS', (query: string) => `${pathOf(first)}/rendered?${query}`],
  ])('is shown by it: %s', async (_, path) => {
    expect(await grays(await get(path(pair(turned))))).toEqual([10, 40, 20, 50, 30, 60]);
    expect((await problemOf(await get(path(`presentationUID=${turned.ref.sopInstanceUid}`)))).status).toBe(400);
    const other = await problemOf(await get(path(pair(several))));
    expect([other.status, other.detail]).toEqual([400, expect.stringContaining('does not refer to this image')]);
    expect((await get(path(`presentationUID=1.2.3&presentationSeriesUID=1.2`))).status).toBe(404);
  });

  it('is shown by it frame by frame, of those that it is about', async () => {
    expect(await grays(await get(`${pathOf(cine)}/frames/3/rendered?${pair(several)}`))).toEqual([
      120, 130, 140, 150, 160, 170,
    ]);
    expect((await problemOf(await get(`${pathOf(cine)}/frames/2/rendered?${pair(several)}`))).status).toBe(400);
  });

  it('takes windowCenter and windowWidth before the state’s, and no region', async () => {
    const path = `/wado?requestType=WADO&studyUID=${study}&seriesUID=${imageSeries}&objectUID=${first.ref.sopInstanceUid}&contentType=image/png&${pair(plain)}`;
    expect(await grays(await get(`${path}&windowCenter=30.5&windowWidth=41`))).toEqual([0, 64, 128, 191, 255, 255]);
    const problem = await problemOf(await get(`${path}&region=0,0,0.5,0.5`));
    expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining('region')]);
  });

  it('is asked for one by one, not by series or study', async () => {
    for (const path of [`/studies/${study}`, `/studies/${study}/series/${imageSeries}`]) {
      expect((await problemOf(await get(`${path}/rendered?${pair(plain)}`))).status).toBe(400);
    }
  });
});

describe.skipIf(samplesFolder() === undefined)('the presentation state of the samples', () => {
  it('turns its image, shows a part of it, and writes what was found', async () => {
    const files = [
      ...sampleFiles('generated', 'presentation-state'),
      ...sampleFiles('transfer-syntaxes', 'htj2k-uncompressed-originals').filter((file) =>
        file.endsWith('CT1_UNC.dcm'),
      ),
    ];
    const samples = await makeArchive(files.map((file) => new Uint8Array(readFileSync(file))));
    try {
      const path =
        '/studies/1.3.6.1.4.1.5962.1.2.1.20040826185059.5457/series/1.2.826.0.1.3680043.10.43.9999.310.3/instances/1.2.826.0.1.3680043.10.43.9999.310.1/rendered';
      const response = await ask(serviceOver(samples), path, { accept: 'image/png' });
      const { width, height, rgb } = await seen(await bytesOf(response));
      expect([response.status, width, height]).toEqual([200, 384, 384]);
      // A side of its polyline: 100 to 200 across and 100 down, turned within 65 to 448 of 512 rows.
      expect(rgb[3 * (100 * width + 348)]!).toBeGreaterThan(150);
    } finally {
      await samples.close();
    }
  });
});

describe('a presentation state with bulk data', () => {
  it('has its tables and overlays read from the archive', async () => {
    const inverted = new Uint8Array(Uint16Array.from({ length: 1024 }, (_, i) => 65_535 - 64 * i).buffer);
    const bits = new Uint8Array(2048);
    bits[0] = 0b10;
    const bulky = stateOf([reference(first)], [
      el(0x00283110, 'SQ', [[el(0x00283010, 'SQ', [[el(0x00283002, 'US', [1024, 0, 16]), el(0x00283006, 'OW', inverted)]])]]),
      el(0x60000010, 'US', [128]), el(0x60000011, 'US', [128]), el(0x60000040, 'CS', 'G'), el(0x60000050, 'SS', [1, 1]),
      el(0x60000100, 'US', [1]), el(0x60000102, 'US', [0]), el(0x60001001, 'CS', 'L'), el(0x60003000, 'OW', bits),
      el(0x00700060, 'SQ', [[el(0x00700002, 'CS', 'L'), el(0x00700062, 'IS', '1'), el(0x00700066, 'US', [0])]]),
    ]); // biome-ignore format: a table
    await fixture.add([bulky.file]);
    const shown = await grays(await get(`${pathOf(bulky)}/rendered`));
    expect([shown[1], shown[0], shown[5]]).toEqual([0, 253, 240]);
  });
});
