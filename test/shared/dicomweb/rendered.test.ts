/**
 * Rendered pictures and thumbnails over a real archive, decoded again and looked at.
 */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { RenderRequest } from '#shared/imaging/render.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const [ct, sr] = [freshUid(), freshUid()];
const window = [
  { tag: 0x00281050, vr: 'DS', value: '500' },
  { tag: 0x00281051, vr: 'DS', value: '1000' },
];

/** 8 rows of 16 columns, all of one value in 16 bits. */
const flat = (value: number, frames = 1): Uint8Array =>
  new Uint8Array(new Uint16Array(128 * frames).fill(value).buffer);
const slices = [1, 2, 3].map((instanceNumber) =>
  makeInstance({
    studyInstanceUid: study,
    seriesInstanceUid: ct,
    instanceNumber,
    rows: 8,
    columns: 16,
    extra: window,
    pixels: flat(instanceNumber * 250),
  }),
);
const report = makeInstance({ studyInstanceUid: study, seriesInstanceUid: sr, modality: 'SR', pixels: 'none' });
const multiFrame = makeInstance({
  rows: 8,
  columns: 16,
  frames: 3,
  extra: window,
  pixels: new Uint8Array(Buffer.concat([flat(0), flat(500), flat(999)])),
});
const bigEndian = makeInstance({
  rows: 8,
  columns: 16,
  extra: window,
  transferSyntaxUid: '1.2.840.10008.1.2.2',
  pixels: new Uint8Array(Buffer.from(flat(750)).swap16()),
});
/** Palette tables that are too long for metadata: index 0 red, all others blue. */
const table = (first: number, rest: number): Uint8Array =>
  new Uint8Array(new Uint16Array(65536).fill(rest).fill(first, 0, 1).buffer);
const palette = makeInstance({
  rows: 8,
  columns: 16,
  photometricInterpretation: 'PALETTE COLOR',
  pixels: new Uint8Array(new Uint16Array(128).fill(7).fill(0, 0, 64).buffer),
  extra: [0, 1, 2].flatMap((channel) => [
    { tag: 0x00281101 + channel, vr: 'US', value: [0, 0, 16] },
    { tag: 0x00281201 + channel, vr: 'OW', value: [table(0xffff, 0), table(0, 0), table(0, 0xffff)][channel]! },
  ]),
});

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([...slices, report, multiFrame, bigEndian, palette].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

interface Picture {
  readonly format: string;
  readonly width: number;
  readonly height: number;
  /** Red, green and blue of the first pixel, and of the last. */
  readonly corners: readonly (readonly number[])[];
}

async function pictureOf(bytes: Uint8Array): Promise<Picture> {
  const { format, width, height } = await sharp(bytes).metadata();
  const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
  const corners = [[...data.subarray(0, info.channels)], [...data.subarray(-info.channels)]];
  return { format, width, height, corners };
}

async function picture(path: string, accept?: string): Promise<Picture> {
  const response = await ask(service, path, accept === undefined ? {} : { accept });
  expect(response.status).toBe(200);
  return pictureOf(await bytesOf(response));
}

describe('rendered', () => {
  it('is a JPEG by default, with the window of the instance', async () => {
    const response = await ask(service, `${pathOf(slices[1]!)}/rendered`);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/jpeg',
      'content-location': `${base}${pathOf(slices[1]!)}/frames/1/rendered`,
      'cache-control': 'private, max-age=600',
    });
    const { format, width, height, corners } = await pictureOf(await bytesOf(response));
    expect({ format, width, height }).toEqual({ format: 'jpeg', width: 16, height: 8 });
    expect(Math.abs(corners[0]![0]! - 128)).toBeLessThanOrEqual(2);
  });

  it.each([
    ['image/png', 'png'],
    ['image/jpeg', 'jpeg'],
    ['image/*', 'jpeg'],
    ['image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8', 'jpeg'],
    ['image/jpeg;q=0.5, image/png', 'png'],
  ])('for %s is a %s', async (accept, format) => {
    expect((await picture(`${pathOf(slices[0]!)}/rendered`, accept)).format).toBe(format);
  });

  it('takes its media type from a link’s query (dcm4chee#1460)', async () => {
    expect((await picture(`${pathOf(slices[0]!)}/rendered?accept=image/png`)).format).toBe('png');
  });

  it('takes a window, a viewport and a part of the frame', async () => {
    const bright = await picture(`${pathOf(slices[1]!)}/rendered?window=100,100,linear`, 'image/png');
    expect(bright.corners[0]).toEqual([255, 255, 255]);
    const dark = await picture(`${pathOf(slices[1]!)}/rendered?window=5000,100,linear-exact`, 'image/png');
    expect(dark.corners[0]).toEqual([0, 0, 0]);
    expect(await picture(`${pathOf(slices[1]!)}/rendered?viewport=8,8`)).toMatchObject({ width: 8, height: 4 });
    expect(await picture(`${pathOf(slices[1]!)}/rendered?viewport=8,8,0,0,8,8`)).toMatchObject({ width: 8, height: 8 });
    expect(await picture(`${pathOf(slices[1]!)}/rendered?viewport=8,8,8,,,`)).toMatchObject({ width: 8, height: 8 });
  });

  it('changes its quality', async () => {
    const size = async (quality: number): Promise<number> =>
      (await bytesOf(await ask(service, `${pathOf(palette)}/rendered?quality=${quality}`))).length;
    expect(await size(1)).toBeLessThan(await size(100));
  });

  it.each([
    'window=40', 'window=a,b,linear', 'window=40,0,linear', 'window=40,400,cubic', 'window=1,2,linear,3', 'window=NaN,400,linear',
    'viewport=0,10', 'viewport=10', 'window=', 'window=40,400,constructor', 'annotation=everything', 'annotation=', 'iccprofile=cmyk', 'quality=', 'viewport=10,10,1', 'viewport=10,10,0,0,0,0', 'viewport=99999,10', 'viewport=8,8,90,90,10,10', 'quality=0', 'quality=101', 'quality=x',
  ])('refuses %s with a sentence', async (query) => {
    const response = await ask(service, `${pathOf(slices[0]!)}/rendered?${query}`);
    expect(response.status).toBe(400);
    expect((await problemOf(response)).detail.length).toBeGreaterThan(20);
  }); // biome-ignore format: a list

  it('of one frame shows that frame, of several all of them', async () => {
    const gray = async (n: number): Promise<number | undefined> =>
      (await picture(`${pathOf(multiFrame)}/frames/${n}/rendered`, 'image/png')).corners[0]?.[0];
    expect([await gray(1), await gray(2), await gray(3)]).toEqual([0, 128, 255]);
    const parts = await partsOf(await ask(service, `${pathOf(multiFrame)}/frames/3,1/rendered`, { accept: '*/*' }));
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual(['image/jpeg', 'image/jpeg']);
    const [last, first] = await Promise.all(parts.map(({ body }) => pictureOf(body)));
    expect([last?.corners[0]?.[0], first?.corners[0]?.[0]]).toEqual([255, 0]);
    expect((await ask(service, `${pathOf(multiFrame)}/frames/4/rendered`)).status).toBe(404);
  });

  it('is the same from big-endian pixels', async () => {
    expect((await picture(`${pathOf(bigEndian)}/rendered`, 'image/png')).corners[0]).toEqual([191, 191, 191]);
  });

  it('fetches palettes that lie outside of the metadata', async () => {
    const { corners } = await picture(`${pathOf(palette)}/rendered`, 'image/png');
    expect(corners).toEqual([
      [255, 0, 0],
      [0, 0, 255],
    ]);
  });

  it('of what is no image is 406 with a sentence, as is a media type that it has not', async () => {
    const none = await ask(service, `${pathOf(report)}/rendered`);
    expect([none.status, (await problemOf(none)).code]).toEqual([406, 'cannot-render']);
    expect((await ask(service, `${pathOf(slices[0]!)}/rendered`, { accept: 'image/avif' })).status).toBe(406);
    const movie = await ask(service, `${pathOf(slices[0]!)}/rendered`, { accept: 'video/mp4' });
    expect([movie.status, (await problemOf(movie)).detail]).toEqual([406, expect.stringContaining('image/jpeg')]);
    expect(
      (await ask(service, `${pathOf(slices[0]!)}/rendered`, { accept: 'application/dicom, image/png' })).status,
    ).toBe(400);
  });

  it('is WebP for who names it, without loss, and JPEG for a browser, which names all that it shows', async () => {
    const path = `${pathOf(slices[0]!)}/rendered`;
    const webp = await ask(service, path, { accept: 'image/webp' });
    expect(webp.headers.get('content-type')).toBe('image/webp');
    const png = await ask(service, path, { accept: 'image/png' });
    const rawOf = async (response: Response) =>
      sharp(await bytesOf(response))
        .toColourspace('b-w')
        .raw()
        .toBuffer();
    expect(await rawOf(webp)).toEqual(await rawOf(png));
    const browser = 'image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8';
    for (const resource of ['rendered', 'thumbnail']) {
      const response = await ask(service, `${pathOf(slices[0]!)}/${resource}`, { accept: browser });
      expect(response.headers.get('content-type')).toBe('image/jpeg');
    }
  });

  it('passes on what the renderer says', async () => {
    const busy = serviceOver(fixture, { render: () => Promise.reject(new ArchiveError('unavailable', 'Too many.')) });
    const response = await ask(busy, `${pathOf(slices[0]!)}/rendered`);
    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '10']);
  });

  it('is not rendered again for whoever has it', async () => {
    const path = `${pathOf(slices[0]!)}/rendered?window=40,400,linear`;
    const tag = (await ask(service, path)).headers.get('etag')!;
    expect((await ask(service, path, { 'if-none-match': tag })).status).toBe(304);
    const other = path.replace('400', '401');
    expect((await ask(service, other, { 'if-none-match': tag })).status).toBe(200);
  });
});

describe('thumbnail', () => {
  it('of a series and of its study is the middle picture, small', async () => {
    const requests: RenderRequest[] = [];
    const watched = serviceOver(fixture, {
      render: async (request) => {
        requests.push(request);
        return new Uint8Array([1]);
      },
    });
    for (const path of [`/studies/${study}/thumbnail`, `/studies/${study}/series/${ct}/thumbnail`]) {
      const response = await ask(watched, path);
      expect(response.headers.get('content-location')).toBe(`${base}${pathOf(slices[1]!)}/frames/1/rendered`);
    }
    expect(requests.map(({ viewport }) => viewport)).toEqual(Array(2).fill({ width: 200, height: 200 }));
  });

  it('of a multi-frame instance is the middle frame, of a frame that frame', async () => {
    const { corners } = await picture(`${pathOf(multiFrame)}/thumbnail?viewport=16,16`, 'image/png');
    expect(corners[0]).toEqual([128, 128, 128]);
    const last = await picture(`${pathOf(multiFrame)}/frames/3/thumbnail?viewport=16,16`, 'image/png');
    expect(last.corners[0]).toEqual([255, 255, 255]);
  });

  it('of what is not there is 404', async () => {
    expect((await ask(service, `/studies/${study}/series/1.2.3/thumbnail`)).status).toBe(404);
    expect((await ask(service, '/studies/1.2.3/thumbnail')).status).toBe(404);
  });
});

it('reads large frames only as far as there is memory for them, and serves all', async () => {
  const large = makeInstance({ rows: 4096, columns: 5120, pixels: new Uint8Array(4096 * 5120 * 2) });
  const own = await makeArchive([large.file]);
  let held = 0;
  let most = 0;
  const one = serviceOver(own, {
    render: async ({ frame }) => {
      held += frame.length;
      most = Math.max(most, held);
      await new Promise((resolve) => setImmediate(resolve));
      held -= frame.length;
      return new Uint8Array(1);
    },
  });
  const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = large.ref;
  const path = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}/rendered`;
  const answers = await Promise.all(Array.from({ length: 12 }, () => ask(one, path)));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  expect(most).toBeLessThanOrEqual(128 * 1024 * 1024);
  await own.close();
});
