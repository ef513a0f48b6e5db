/**
 * What an image has drawn over it and hidden of it, in its rendered picture: overlay data that are fetched, shutters, and what is said
 * of those that are no good.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { renderFrame } from '#shared/imaging/render.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeElement, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';

const side = 512;
const us = (tag: number, ...value: number[]): MadeElement => ({ tag, vr: 'US', value });
const is = (tag: number, value: string): MadeElement => ({ tag, vr: 'IS', value });
const overlay = (bytes: Uint8Array): MadeElement[] => [
  us(0x60000010, side),
  us(0x60000011, side),
  { tag: 0x60000040, vr: 'CS', value: 'G' },
  { tag: 0x60000050, vr: 'SS', value: [1, 1] },
  us(0x60000100, 1),
  us(0x60000102, 0),
  { tag: 0x60003000, vr: 'OW', value: bytes },
];
/** A line down the column 9, and 8 pixels at the end. */
const line = new Uint8Array((side * side) / 8);
for (let row = 0; row < side; row++) line[(row * side) / 8 + 1] = 1 << 1;
line[line.length - 1] = 0xff;

const image = (extra: readonly MadeElement[]): MadeInstance =>
  makeInstance({
    rows: side,
    columns: side,
    bitsAllocated: 8,
    pixels: new Uint8Array(side * side).fill(100),
    extra: [{ tag: 0x00281050, vr: 'DS', value: '128' }, { tag: 0x00281051, vr: 'DS', value: '256' }, ...extra],
  });

const marked = image(overlay(line));
const cut = image(overlay(line.subarray(0, 1000)));
const collimated = image([
  { tag: 0x00181600, vr: 'CS', value: 'RECTANGULAR\\CIRCULAR' },
  is(0x00181602, '101'),
  is(0x00181604, '300'),
  is(0x00181606, '1'),
  is(0x00181608, '512'),
  is(0x00181610, '256\\200'),
  is(0x00181612, '50'),
]);
const nobody = image([{ tag: 0x00181600, vr: 'CS', value: 'RECTANGULAR' }]);

/** Of an image of 8 x 8: 20 MiB of bits, nearly all of them beside it. */
const vast = makeInstance({
  rows: 8,
  columns: 8,
  extra: [...overlay(new Uint8Array(20 * 1024 * 1024)), us(0x60000010, 20_480), us(0x60000011, 8192)],
});

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive([marked, cut, collimated, nobody, vast].map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

async function look(made: MadeInstance, query = '') {
  const response = await ask(service, `${pathOf(made)}/rendered${query}`, { accept: 'image/png' });
  expect(response.status).toBe(200);
  const { rgb, width } = await seen(await bytesOf(response));
  return { at: (x: number, y: number) => rgb[3 * (y * width + x)], warning: response.headers.get('warning') };
}

describe('a rendered picture', () => {
  it('shows the overlays of its image, whose data are fetched from the archive', async () => {
    const { at, warning } = await look(marked);
    expect([at(8, 0), at(9, 0), at(10, 0), at(9, 511)]).toEqual([100, 255, 100, 255]);
    expect([at(503, 511), at(504, 511), at(511, 511)]).toEqual([100, 255, 255]);
    expect(warning).toBeNull();
  });

  it('shows them in parts of the image, where they belong', async () => {
    const { at } = await look(marked, '?viewport=8,8,6,100,8,8');
    expect([at(2, 0), at(3, 0), at(4, 7)]).toEqual([100, 255, 100]);
  });

  it('goes without an overlay that is cut short, and says so', async () => {
    const { at, warning } = await look(cut);
    expect([at(9, 0), at(9, 100)]).toEqual([100, 100]);
    expect(warning).toContain('The overlay of group 6000 is damaged and is not shown.');
  });

  it('is black outside of the display shutter: what was collimated stays hidden', async () => {
    const { at } = await look(collimated);
    expect([at(199, 255), at(199, 206), at(199, 204), at(148, 255), at(0, 0)]).toEqual([100, 100, 0, 0, 0]);
  });

  it('is no black picture where nobody filled in the shutter, and says so', async () => {
    const { at, warning } = await look(nobody);
    expect(at(0, 0)).toBe(100);
    expect(warning).toContain('The rectangle of the display shutter makes no shape and is not applied.');
  });

  it('waits until there is room for the overlays of its image, however many ask for it at once', async () => {
    let [underWay, most] = [0, 0];
    const bounded = serviceOver(fixture, {
      async render(request) {
        most = Math.max(most, ++underWay);
        await new Promise((resolve) => setTimeout(resolve, 5));
        underWay -= 1;
        return renderFrame({ ...request, overlays: [] });
      },
    });
    const asked = Array.from({ length: 12 }, () => ask(bounded, `${pathOf(vast)}/rendered`, { accept: 'image/png' }));
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array(12).fill(200));
    // Read and copied they are 40 MiB each, of 128.
    expect(most).toBeLessThan(4);
  });
});
