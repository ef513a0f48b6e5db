/**
 * Series and studies rendered as a whole, multi-frame instances as animations and in parts.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { type RenderRequest, renderFrame } from '#shared/imaging/render.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, problemOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';
import { partsOf } from './read-multipart.ts';

const study = freshUid();
const [ct, sr, us, single] = [freshUid(), freshUid(), freshUid(), freshUid()];
const extra = [
  { tag: 0x00281050, vr: 'DS', value: '500' },
  { tag: 0x00281051, vr: 'DS', value: '1000' },
];
const flat = (...values: number[]): Uint8Array =>
  new Uint8Array(new Uint16Array(values.flatMap((value) => Array(64).fill(value))).buffer);
const slice = (instanceNumber: number, seriesInstanceUid = ct) =>
  makeInstance({
    studyInstanceUid: study,
    seriesInstanceUid,
    instanceNumber,
    rows: 8,
    columns: 8,
    extra,
    pixels: flat(instanceNumber * 200),
  });
const slices = [3, 1, 2].map((instanceNumber) => slice(instanceNumber));
const cine = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: us,
  rows: 8,
  columns: 8,
  frames: 4,
  extra: [...extra, { tag: 0x00181063, vr: 'DS', value: '40' }, { tag: 0x00286010, vr: 'US', value: [3] }],
  pixels: flat(100, 300, 600, 900),
});
const report = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: sr,
  sopClassUid: '1.2.840.10008.5.1.4.1.1.88.11',
  modality: 'SR',
  pixels: 'none',
  extra: [{ tag: 0x0040a040, vr: 'CS', value: 'CONTAINER' }],
});
const only = slice(1, single);

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive([...slices, cine, report, only].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const series = (uid: string) => `/studies/${study}/series/${uid}/rendered`;

describe('a series', () => {
  it.each([
    [undefined, 'image/jpeg'],
    ['image/png', 'image/png'],
    ['multipart/related; type="image/png"', 'image/png'],
    ['image/avif, image/gif;q=0.5', 'image/gif'],
  ])('for %s is a part for each picture, in viewing order', async (accept, type) => {
    const response = await ask(service, series(ct), accept === undefined ? {} : { accept });
    expect(response.headers.get('content-type')).toMatch(`multipart/related; type="${type}"; boundary=`);
    const parts = await partsOf(response);
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual([type, type, type]);
    const order = [slices[1]!, slices[2]!, slices[0]!].map((made) => `${base}${pathOf(made)}/frames/1/rendered`);
    expect(parts.map(({ headers }) => headers['content-location'])).toEqual(order);
    const grays = await Promise.all(parts.map(async ({ body }) => (await seen(body)).rgb[0]!));
    for (const [i, gray] of grays.entries()) expect(Math.abs(gray - 51 * (i + 1))).toBeLessThanOrEqual(3);
  });

  it('of one instance is what that instance is', async () => {
    const response = await ask(service, series(single), { accept: '*/*' });
    expect(response.headers.get('content-type')).toBe('image/jpeg');
    expect(response.headers.get('content-location')).toBe(`${base}${pathOf(only)}/frames/1/rendered`);
  });

  it('takes the parameters for all of its pictures, and its tag', async () => {
    const path = `${series(ct)}?window=200,1,linear-exact&viewport=4,4&accept=image/png`;
    const response = await ask(service, path);
    const pictures = await Promise.all((await partsOf(response)).map(({ body }) => seen(body)));
    expect(pictures.map(({ width, rgb }) => [width, rgb[0]])).toEqual([[4, 128], [4, 255], [4, 255]]); // biome-ignore format: a list
    const tag = response.headers.get('etag')!;
    expect((await ask(service, path, { 'if-none-match': tag })).status).toBe(304);
    expect((await ask(service, `${path}&quality=5`, { 'if-none-match': tag })).status).toBe(200);
  });

  it('says which picture fails, and goes on', async () => {
    let asked = 0;
    const failing = serviceOver(fixture, {
      render: async (request) => {
        asked += 1;
        if (asked === 2) throw new ArchiveError('cannot-render', 'The frame is damaged.');
        return renderFrame(request);
      },
    });
    const parts = await partsOf(await ask(failing, series(ct)));
    expect(parts.map(({ headers }) => headers['content-type'])).toEqual([
      'image/jpeg', 'application/problem+json', 'image/jpeg',
    ]); // biome-ignore format: a list
    expect(JSON.parse(parts[1]!.body.toString())).toMatchObject({ code: 'cannot-render' });
    expect(parts[1]!.headers['content-location']).toBe(`${base}${pathOf(slices[2]!)}/rendered`);
  });

  it('that is not there is 404, beyond all bounds 400 with a sentence', async () => {
    expect((await ask(service, series('1.2.3'))).status).toBe(404);
    const many = makeInstance({ rows: 1, columns: 1, frames: 2500, pixels: new Uint8Array(5000) });
    const two = makeInstance({
      ...many.ref,
      sopInstanceUid: freshUid(),
      rows: 1,
      columns: 1,
      pixels: new Uint8Array(2),
    });
    const own = await makeArchive([many.file, two.file]);
    const { studyInstanceUid, seriesInstanceUid } = many.ref;
    const answers = [
      `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/rendered`,
      `/studies/${studyInstanceUid}/rendered`,
      `${pathOf(many)}/rendered?accept=image/gif`,
    ].map((path) => ask(serviceOver(own), path));
    for (const response of await Promise.all(answers)) {
      const problem = await problemOf(response);
      expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining('at most 2000')]);
    }
    expect((await ask(serviceOver(own), `${pathOf(many)}/rendered`)).status).toBe(200);
    await own.close();
  });
});

describe('a study', () => {
  it('is all of its pictures, frames and reports', async () => {
    const parts = await partsOf(await ask(service, `/studies/${study}/rendered`, { accept: '*/*' }));
    const types = parts.map(({ headers }) => headers['content-type']!.split(';')[0]!);
    expect(types.filter((type) => type === 'image/jpeg')).toHaveLength(3 + 4 + 1);
    expect(types.filter((type) => type === 'text/html')).toHaveLength(1);
    expect(types).toHaveLength(9);
  });

  it('gives what there is of the types asked for, and counts the rest', async () => {
    const response = await ask(service, `/studies/${study}/rendered`, { accept: 'text/plain' });
    expect((await partsOf(response)).map(({ headers }) => headers['content-type'])).toEqual([
      'text/plain; charset=utf-8',
    ]);
    expect(response.headers.get('warning')).toContain('5 instances have no rendering of the media types asked for');
    const problem = await problemOf(await ask(service, `/studies/${study}/rendered`, { accept: 'video/mp4' }));
    expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('image/jpeg')]);
  });
});

describe('a multi-frame instance', () => {
  const path = `${pathOf(cine)}/rendered`;

  it('is its representative frame as one picture', async () => {
    const response = await ask(service, path);
    expect(response.headers.get('content-location')).toBe(`${base}${pathOf(cine)}/frames/3/rendered`);
    expect((await seen(await bytesOf(response))).rgb[0]).toBeCloseTo(153, -1);
  });

  it('is an animation as GIF, as fast as it was taken', async () => {
    const response = await ask(service, path, { accept: 'image/gif' });
    expect(response.headers.get('content-type')).toBe('image/gif');
    const gif = await seen(await bytesOf(response));
    expect(gif).toMatchObject({ format: 'gif', pages: 4, width: 8, height: 8, delays: [40, 40, 40, 40] });
    expect(gif.rgb[0]).toBe(26);
  });

  it('is an animation as WebP too, which has all of its colours and its profile', async () => {
    const response = await ask(service, `${path}?iccprofile=srgb`, { accept: 'image/webp' });
    expect(response.headers.get('content-type')).toBe('image/webp');
    const webp = await seen(await bytesOf(response));
    expect(webp).toMatchObject({ format: 'webp', pages: 4, width: 8, height: 8, delays: [40, 40, 40, 40], hasProfile: true });
    expect(webp.rgb[0]).toBe(26);
    const some = await ask(service, `${pathOf(cine)}/frames/4,2/rendered`, { accept: 'image/webp' });
    expect(await seen(await bytesOf(some))).toMatchObject({ pages: 2 });
  });

  it('is no longer made as WebP when the client has left, who is given nothing before its last picture', async () => {
    const client = new AbortController();
    let rendered = 0;
    const counting = serviceOver(fixture, {
      render: (request) => {
        rendered += 1;
        client.abort();
        return renderFrame(request);
      },
    });
    const list = Array.from({ length: 100 }, (_, i) => (i % 4) + 1).join();
    const request = new Request(`${base}${pathOf(cine)}/frames/${list}/rendered`, {
      headers: { accept: 'image/webp' },
      signal: client.signal,
    });
    expect((await counting(request)).status).toBe(503);
    expect(rendered).toBeLessThan(5);
  });

  it('is every frame in parts, and so are frames by number', async () => {
    const all = await partsOf(await ask(service, path, { accept: 'multipart/related; type="image/png"' }));
    expect(all.map(({ headers }) => headers['content-location']?.split('/').at(-2))).toEqual(['1', '2', '3', '4']);
    const some = await ask(service, `${pathOf(cine)}/frames/4,2/rendered`, { accept: 'image/png' });
    expect((await partsOf(some)).map(({ headers }) => headers['content-location']?.split('/').at(-2))).toEqual(['4', '2']);
    const moving = await ask(service, `${pathOf(cine)}/frames/4,2/rendered`, { accept: 'image/gif' });
    expect(await seen(await bytesOf(moving))).toMatchObject({ pages: 2 });
    const still = await ask(service, `${pathOf(cine)}/frames/2/rendered`, { accept: 'image/gif' });
    expect(await seen(await bytesOf(still))).toMatchObject({ pages: 1 });
  });

  it.each([
    ['RecommendedDisplayFrameRate', [{ tag: 0x00082144, vr: 'IS', value: '20' }, { tag: 0x00181063, vr: 'DS', value: '40' }], 50],
    ['CineRate', [{ tag: 0x00180040, vr: 'IS', value: '5' }], 200],
    ['FrameTimeVector', [{ tag: 0x00181065, vr: 'DS', value: '0\\60\\80' }], 70],
    ['nothing', [], 100],
    ['nonsense', [{ tag: 0x00181063, vr: 'DS', value: '-1' }, { tag: 0x00180040, vr: 'IS', value: '0' }], 100],
    ['more than GIF can', [{ tag: 0x00082144, vr: 'IS', value: '500' }], 20],
  ])('runs by %s', async (_name, more, delay) => {
    const made = makeInstance({ rows: 4, columns: 4, frames: 3, bitsAllocated: 8, pixels: new Uint8Array(48), extra: more });
    const own = await makeArchive([made.file]);
    const gif = await seen(await bytesOf(await ask(serviceOver(own), `${pathOf(made)}/rendered?accept=image/gif`)));
    expect(gif.delays).toEqual([delay, delay, delay]);
    await own.close();
  });
}); // biome-ignore format: tables

describe('many at once', () => {
  /** A renderer that finishes nothing before it is told to, and what it was given. */
  function waitingRenderer(): { given: RenderRequest[]; service: Service; finish: () => void } {
    const given: RenderRequest[] = [];
    const finished = Promise.withResolvers<void>();
    const render = async (request: RenderRequest): Promise<Uint8Array> => {
      given.push(request);
      await finished.promise;
      return renderFrame(request);
    };
    return { given, service: serviceOver(fixture, { render }), finish: finished.resolve };
  }

  it('leave threads to single pictures, however many studies are rendered', async () => {
    const { given, service: waiting, finish } = waitingRenderer();
    const many = Array.from({ length: 20 }, () => ask(waiting, series(ct)));
    await expect.poll(() => given.length).toBe(4);
    const picture = ask(waiting, `${pathOf(only)}/rendered?viewport=3,3`);
    await expect.poll(() => given.some(({ viewport }) => viewport?.width === 3)).toBe(true);
    expect(given).toHaveLength(5);
    finish();
    expect((await picture).status).toBe(200);
    for (const response of await Promise.all(many)) expect(await partsOf(response)).toHaveLength(3);
  });

  it('do not render what nobody waits for any more', async () => {
    const { given, service: waiting, finish } = waitingRenderer();
    const many = Array.from({ length: 20 }, () => ask(waiting, series(ct)));
    await expect.poll(() => given.length).toBe(4);
    finish();
    for (const response of await Promise.all(many)) await response.body?.cancel();
    // Of each answer the first picture, which it was begun with, and what had its turn beside them.
    expect(given.length).toBeLessThan(3 * 20);
    expect(await bytesOf(await ask(waiting, `${pathOf(only)}/rendered`))).not.toHaveLength(0);
  });
});
