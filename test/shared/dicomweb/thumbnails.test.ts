/**
 * Thumbnails are there for whatever is stored: a viewer's list of series stands or falls with them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ArchiveError } from '#shared/errors.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';

const study = freshUid();
const sop = (last: string): string => `1.2.840.10008.5.1.4.1.1.${last}`;
const without = (sopClassUid: string, modality: string): MadeInstance =>
  makeInstance({ studyInstanceUid: study, sopClassUid, modality, pixels: 'none' });
const damaged = makeInstance({
  studyInstanceUid: study,
  rows: 64,
  columns: 64,
  transferSyntaxUid: '1.2.840.10008.1.2.4.90',
  pixels: [Uint8Array.of(1, 2, 3, 4)],
});
const video = makeInstance({
  studyInstanceUid: study,
  rows: 64,
  columns: 64,
  transferSyntaxUid: '1.2.840.10008.1.2.4.102',
  pixels: [new Uint8Array(100)],
});
const things: [string, MadeInstance][] = [
  ['a report', without(sop('88.33'), 'SR')],
  ['a PDF', without(sop('104.1'), 'DOC')],
  ['a key object', without(sop('88.59'), 'KO')],
  ['a presentation state', without(sop('11.1'), 'PR')],
  ['a structure set', without(sop('481.3'), 'RTSTRUCT')],
  ['an ECG', without(sop('9.1.1'), 'ECG')],
  ['an object of a class that nobody knows', without('1.2.3.4', '')],
  ['a video', video],
  ['a damaged picture', damaged],
  ['a picture of another compression', makeInstance({ studyInstanceUid: study, transferSyntaxUid: '1.2.840.10008.1.2.4.112', pixels: [new Uint8Array(9)] })], // biome-ignore format: a row
  ['a picture that does not say how it lies', makeInstance({ studyInstanceUid: study, without: [0x00280100] })],
];
const picture = makeInstance({
  rows: 8,
  columns: 8,
  bitsAllocated: 8,
  frames: 3,
  pixels: new Uint8Array(192).map((_, i) => [0, 100, 255][(i / 64) | 0]!),
  extra: [
    { tag: 0x00281050, vr: 'DS', value: '128' },
    { tag: 0x00281051, vr: 'DS', value: '256' },
  ],
});

let fixture: ArchiveFixture;
beforeAll(async () => {
  fixture = await makeArchive([...things.map(([, { file }]) => file), picture.file]);
});
afterAll(() => fixture.close());

describe('a thumbnail', () => {
  it.each(things)('of %s is there, at every level, and is an icon', async (_name, made) => {
    const series = `/studies/${study}/series/${made.ref.seriesInstanceUid}`;
    for (const path of [`${series}/thumbnail`, `${pathOf(made)}/thumbnail`]) {
      const response = await ask(serviceOver(fixture), path);
      expect([response.status, response.headers.get('content-type')]).toEqual([200, 'image/jpeg']);
      const icon = await seen(await bytesOf(response));
      expect([icon.width, icon.height]).toEqual([200, 200]);
      expect(new Set(icon.rgb.map((value) => value >> 5)).size).toBeGreaterThan(3);
    }
  });

  it('of a study without any picture is an icon, and others are pictures', async () => {
    expect((await ask(serviceOver(fixture), `/studies/${study}/thumbnail`)).status).toBe(200);
    const response = await ask(serviceOver(fixture), `${pathOf(picture)}/frames/3/thumbnail?accept=image/png`);
    expect((await seen(await bytesOf(response))).rgb[0]).toBe(255);
  });

  it('differs by what it stands for', async () => {
    const bytes = await Promise.all(
      things.slice(0, 6).map(async ([, made]) => (await bytesOf(await ask(serviceOver(fixture), `${pathOf(made)}/thumbnail`))).toString('base64')), // biome-ignore format: one thought
    );
    expect(new Set(bytes).size).toBe(6);
  });

  it.each([things[0]![1], picture])('has the size asked for, a tag, and is not drawn again', async (made) => {
    const path = `${pathOf(made)}/thumbnail?viewport=64,64`;
    let drawn = 0;
    const watched = serviceOver(fixture, {
      render: async ({ viewport }) => {
        drawn += 1;
        return Uint8Array.of(viewport?.width ?? 0);
      },
    });
    const response = await ask(watched, path);
    expect([...(await bytesOf(response))]).toEqual([64]);
    const again = await ask(watched, path, { 'if-none-match': response.headers.get('etag')! });
    expect([again.status, again.headers.get('cache-control'), drawn]).toEqual([304, 'private, max-age=600', 1]);
  });

  it('takes viewport alone, and names what it does not take', async () => {
    const response = await ask(serviceOver(fixture), `${pathOf(picture)}/thumbnail?window=bad&quality=3&annotation=x`);
    expect(response.status).toBe(200);
    expect(response.headers.get('warning')).toContain('have been ignored: window, quality, annotation.');
    expect((await ask(serviceOver(fixture), `${pathOf(picture)}/thumbnail?viewport=0,0`)).status).toBe(400);
  });

  it('is PNG or GIF for who wants that, and nothing else', async () => {
    for (const format of ['png', 'gif']) {
      const response = await ask(serviceOver(fixture), `${pathOf(picture)}/thumbnail`, { accept: `image/${format}` });
      expect(await seen(await bytesOf(response))).toMatchObject({ format, pages: 1 });
    }
    expect((await ask(serviceOver(fixture), `${pathOf(picture)}/thumbnail?accept=text/html`)).status).toBe(406);
  });

  it('is an icon for now where drawing failed this time: nobody keeps it', async () => {
    let drawn = 0;
    const slow = serviceOver(fixture, {
      render: async () => {
        drawn += 1;
        if (drawn === 1) throw new ArchiveError('timeout', 'Too slow.');
        return Uint8Array.of(7);
      },
    });
    const response = await ask(slow, `${pathOf(picture)}/thumbnail`);
    expect([response.status, response.headers.get('etag'), response.headers.get('cache-control')]).toEqual([
      200,
      null,
      'private, no-store',
    ]);
  });

  it('of a frame that is not there is 404, and of a busy renderer 503: those are no icons', async () => {
    expect((await ask(serviceOver(fixture), `${pathOf(picture)}/frames/4/thumbnail`)).status).toBe(404);
    const busy = serviceOver(fixture, { render: () => Promise.reject(new ArchiveError('unavailable', 'Too many.')) });
    expect((await ask(busy, `${pathOf(picture)}/thumbnail`)).status).toBe(503);
  });
});
