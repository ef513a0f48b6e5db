/**
 * The query parameters of rendered resources, by what they do to the picture.
 */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { type MadeElement, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';
import { pathOf, seen } from './looking.ts';

const ds = (tag: number, value: string): MadeElement => ({ tag, vr: 'DS', value });
/** 6 columns of 4 rows of 8 bits: 10, 20, 30 … from the top left. */
const ramp = new Uint8Array(24).map((_, i) => 10 * (i + 1));
const gray = (extra: readonly MadeElement[], more: object = {}): MadeInstance =>
  makeInstance({ rows: 4, columns: 6, bitsAllocated: 8, pixels: ramp, extra, ...more });
const identity = [ds(0x00281050, '128'), ds(0x00281051, '256')];
const plain = gray(identity);
const two = gray([ds(0x00281050, '60\\128'), ds(0x00281051, '1\\256')]);
const none = gray([]);
const group = (center: string, width: string): MadeElement[] => [
  { tag: 0x00289132, vr: 'SQ', value: [[ds(0x00281050, center), ds(0x00281051, width)]] },
];
const perFrame = makeInstance({
  rows: 4,
  columns: 6,
  frames: 2,
  bitsAllocated: 8,
  pixels: new Uint8Array([...ramp, ...ramp]),
  extra: [{ tag: 0x52009230, vr: 'SQ', value: [group('128', '256'), group('60', '1')] }],
});
const rescaled = gray([ds(0x00281052, '-1000'), ds(0x00281053, '2')]);
const tall = gray([...identity, ds(0x00280030, '2\\1')]);
const shared = gray([
  ...identity,
  { tag: 0x52009229, vr: 'SQ', value: [[{ tag: 0x00289110, vr: 'SQ', value: [[ds(0x00280030, '1\\2')]] }]] },
]);
const inverted = gray(identity, { photometricInterpretation: 'MONOCHROME1' });
const colour = makeInstance({
  rows: 2,
  columns: 2,
  bitsAllocated: 8,
  samplesPerPixel: 3,
  pixels: Uint8Array.of(200, 50, 20, 200, 50, 20, 200, 50, 20, 200, 50, 20),
});
const named = (patientName: string): MadeInstance =>
  makeInstance({
    rows: 300,
    columns: 400,
    bitsAllocated: 8,
    pixels: new Uint8Array(120_000).fill(100),
    patientName,
    characterSet: 'ISO_IR 192',
    extra: identity,
  });
const latin = named('Müller^Jürgen');
const romanised = named('Yamada^Tarou=山田^太郎=やまだ^たろう');
const ideographic = named('=山田^太郎');

let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  const all = [plain, two, none, tall, shared, perFrame, rescaled, inverted, colour, latin, romanised, ideographic];
  fixture = await makeArchive(all.map(({ file }) => file));
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const get = (made: MadeInstance, query = '', accept = 'image/png') =>
  ask(service, `${pathOf(made)}/rendered${query}`, { accept });
/** One value to a pixel. */
async function grays(made: MadeInstance, query = ''): Promise<number[]> {
  const { rgb } = await seen(await bytesOf(await get(made, query)));
  return [...rgb.filter((_, i) => i % 3 === 0)];
}
const rowsOf = (values: readonly number[], columns: number): number[][] =>
  Array.from({ length: values.length / columns }, (_, row) => values.slice(row * columns, (row + 1) * columns));

describe('window', () => {
  it('is the one asked for, in modality units, before any of the data set', async () => {
    expect(await grays(plain)).toEqual([...ramp]);
    const threshold = [...ramp].map((value): number => (value > 60 ? 255 : 0));
    expect(await grays(plain, '?window=60,1,linear-exact')).toEqual(threshold.with(5, 128));
    expect(await grays(rescaled, '?window=-880,1,linear-exact')).toEqual(threshold.with(5, 128));
    const sigmoid = await grays(plain, '?window=120,100,sigmoid');
    expect([sigmoid[0]! < 10, Math.abs(sigmoid[11]! - 128) <= 1, sigmoid[23]! > 250]).toEqual([true, true, true]);
  });

  it('is else the first of the data set, else of the frame’s functional group, else the range of the frame', async () => {
    expect((await grays(two))[23]).toBe(255);
    expect((await grays(two))[0]).toBe(0);
    expect(new Set(await grays(two)).size).toBeLessThanOrEqual(3);
    expect(await grays(perFrame)).toEqual([...ramp]);
    const second = await seen(
      await bytesOf(await ask(service, `${pathOf(perFrame)}/frames/2/rendered?accept=image/png`)),
    );
    expect(new Set(second.rgb).size).toBeLessThanOrEqual(3);
    const byRange = await grays(none);
    expect([byRange[0], byRange[23]]).toEqual([0, 255]);
  });

  it('of MONOCHROME1 shows small values bright', async () => {
    expect(await grays(inverted)).toEqual([...ramp].map((value) => 255 - value));
  });

  it('has no meaning for colour, and a Warning says so', async () => {
    const response = await get(colour, '?window=40,400,linear');
    expect(response.headers.get('warning')).toContain('The window parameter has no meaning for colour');
    expect([...(await seen(await bytesOf(response))).rgb.subarray(0, 3)]).toEqual([200, 50, 20]);
  });
});

describe('viewport', () => {
  const rows = rowsOf([...ramp], 6);

  it('cuts out a part, and a negative size mirrors it', async () => {
    expect(rowsOf(await grays(plain, '?viewport=3,2,1,1,3,2'), 3)).toEqual([
      rows[1]!.slice(1, 4),
      rows[2]!.slice(1, 4),
    ]);
    const leftRight = rows.map((row) => row.toReversed());
    expect(rowsOf(await grays(plain, '?viewport=6,4,0,0,-6,4'), 6)).toEqual(leftRight);
    expect(rowsOf(await grays(plain, '?viewport=6,4,0,0,6,-4'), 6)).toEqual(rows.toReversed());
    expect(rowsOf(await grays(plain, '?viewport=6,4,0,0,-6,-4'), 6)).toEqual(leftRight.toReversed());
  });

  it.each([
    ['6,4,,,,', 6, 4],
    [',,,,,', 6, 4],
    [',', 6, 4],
    [',,3,,,', 3, 4],
    ['12,', 12, 8],
    [',2', 3, 2],
    ['3,3', 3, 2],
    ['12,12,2,1', 0, 0],
    ['6,4,0.4,0,6,4', 6, 4],
  ])('%s, where what is empty is its default, is %i x %i', async (viewport, width, height) => {
    const response = await get(plain, `?viewport=${viewport}`);
    if (width === 0) expect(response.status).toBe(400);
    else expect(await seen(await bytesOf(response))).toMatchObject({ width, height });
  });

  it.each(['6,4,6,0,,', '6,4,0,0,7,4', '6,4,-1,0,,', '6,4,0,0,0,4', 'a,b', '1,2,3,4,5,6,7', '-6,4'])(
    '%s is no part of the frame, or no viewport: 400 with a sentence',
    async (viewport) => {
      const problem = await problemOf(await get(plain, `?viewport=${viewport}`));
      expect([problem.status, problem.detail.length > 30]).toEqual([400, true]);
    },
  );
});

describe('annotation', () => {
  const upper = (rgb: Uint8Array): Uint8Array => rgb.subarray(0, 400 * 3 * 100);
  const lower = (rgb: Uint8Array): Uint8Array => rgb.subarray(-400 * 3 * 100);
  const pictureOf = async (made: MadeInstance, query: string) =>
    (await seen(await bytesOf(await get(made, query)))).rgb;

  it('burns in the patient above and the technique below, and nothing unasked', async () => {
    expect(new Set(await pictureOf(latin, ''))).toEqual(new Set([100]));
    const patient = await pictureOf(latin, '?annotation=patient');
    expect([upper(patient).includes(255), lower(patient).includes(255)]).toEqual([true, false]);
    const technique = await pictureOf(latin, '?annotation=technique');
    expect([upper(technique).includes(255), lower(technique).includes(255)]).toEqual([false, true]);
    const both = await pictureOf(latin, '?annotation=technique,patient');
    expect([upper(both), lower(both)]).toEqual([upper(patient), lower(technique)]);
  });

  it('of a Japanese name is the group in letters, and of one without any a Warning, not garbage in silence', async () => {
    const letters = named('Yamada^Tarou');
    const own = await makeArchive([letters.file]);
    const expected = await seen(
      await bytesOf(await ask(serviceOver(own), `${pathOf(letters)}/rendered?annotation=patient&accept=image/png`)),
    );
    await own.close();
    const response = await get(romanised, '?annotation=patient');
    expect(response.headers.get('warning')).toBeNull();
    expect((await seen(await bytesOf(response))).rgb).toEqual(expected.rgb);
    const boxes = await get(ideographic, '?annotation=patient');
    expect(boxes.headers.get('warning')).toContain('characters that cannot be drawn');
  });
});

describe('quality and iccprofile', () => {
  it('of JPEG and WebP alone is the quality', async () => {
    const size = async (query: string) => (await bytesOf(await get(latin, query, 'image/jpeg'))).length;
    expect(await size('?quality=1&annotation=patient')).toBeLessThan(await size('?quality=95&annotation=patient'));
    expect((await get(latin, '?quality=50')).headers.get('warning')).toContain('for JPEG and WebP alone');
    expect((await get(latin, '?quality=50', 'image/jpeg')).headers.get('warning')).toBeNull();
  });

  it.each(['image/png', 'image/jpeg', 'image/webp'])(
    'puts a profile into a %s when asked, and the picture looks the same',
    async (accept) => {
      expect((await seen(await bytesOf(await get(colour, '?iccprofile=no', accept)))).hasProfile).toBe(false);
      for (const profile of ['yes', 'srgb', 'adobergb', 'rommrgb']) {
        const response = await get(colour, `?iccprofile=${profile}`, accept);
        expect(response.headers.get('warning')).toBeNull();
        const bytes = await bytesOf(response);
        expect((await seen(bytes)).hasProfile).toBe(true);
        const looks = await sharp(bytes).toColourspace('srgb').raw().toBuffer();
        for (const [i, value] of [200, 50, 20].entries()) expect(Math.abs(looks[i]! - value)).toBeLessThanOrEqual(6);
      }
    },
  );

  it('has none in GIF, and says so', async () => {
    expect((await get(colour, '?iccprofile=srgb', 'image/gif')).headers.get('warning')).toContain(
      'not supported for GIF',
    );
  });
});

describe('pixels that are not square', () => {
  it('are what a viewport is filled with so that what is round is round; without one, pixels are as they are', async () => {
    const sizeOf = async (path: string, query: string) => {
      const { width, height } = await seen(await bytesOf(await ask(service, `${path}${query}`)));
      return [width, height];
    };
    const frame = `${pathOf(tall)}/frames/1/rendered`;
    expect(await sizeOf(frame, '')).toEqual([6, 4]);
    expect(await sizeOf(frame, '?viewport=120,120')).toEqual([90, 120]);
    expect(await sizeOf(frame, '?viewport=60,')).toEqual([60, 80]);
    expect(await sizeOf(frame, '?viewport=,80,0,0,3,4')).toEqual([30, 80]);
    expect(await sizeOf(`${pathOf(tall)}/thumbnail`, '')).toEqual([150, 200]);
    expect(await sizeOf(`${pathOf(shared)}/thumbnail`, '')).toEqual([200, 67]);
  });
});

describe('bitdepth', () => {
  const levelsOf = async (response: Response): Promise<number[]> => {
    const { data } = await sharp(await bytesOf(response))
      .toColourspace('grey16')
      .raw({ depth: 'ushort' })
      .toBuffer({ resolveWithObject: true });
    return [...new Uint16Array(data.buffer, data.byteOffset, data.length / 2)];
  };

  it('16 gives gray its 65536 levels as PNG, by the same formula', async () => {
    const response = await get(plain, '?bitdepth=16&window=100,101,linear', 'image/png');
    expect(response.headers.get('warning')).toBeNull();
    const expected = [...ramp].map((x) => (x <= 49.5 ? 0 : x > 149.5 ? 65_535 : ((x - 99.5) / 100 + 0.5) * 65_535));
    for (const [i, level] of (await levelsOf(response)).entries()) {
      expect(Math.abs(level - expected[i]!)).toBeLessThanOrEqual(0.5);
    }
    expect((await sharp(await bytesOf(await get(plain, '?bitdepth=8', 'image/png'))).metadata()).depth).toBe('uchar');
  });

  it('16 is scaled and annotated as 8 are', async () => {
    const half = await levelsOf(await get(plain, '?bitdepth=16&viewport=3,2&window=128,256,linear', 'image/png'));
    const eight = await seen(await bytesOf(await get(plain, '?viewport=3,2&window=128,256,linear', 'image/png')));
    expect(half).toHaveLength(6);
    expect(Math.abs(half[0]! / 257 - eight.rgb[0]!)).toBeLessThanOrEqual(1);
    const burnt = await levelsOf(await get(latin, '?bitdepth=16&annotation=patient', 'image/png'));
    expect(new Set(burnt)).toEqual(new Set([0, 65_535, burnt[0]!]));
  });

  it('16 is a warning where there are 8 all the same, and another one is none', async () => {
    for (const [of, query, accept] of [
      [colour, '', 'image/png'],
      [plain, '', 'image/jpeg'],
      [plain, '&iccprofile=srgb', 'image/png'],
    ] as const) {
      const response = await get(of, `?bitdepth=16${query}`, accept);
      expect(response.headers.get('warning')).toContain('bitdepth');
      expect((await sharp(await bytesOf(response)).metadata()).depth).toBe('uchar');
    }
    expect((await get(plain, '?bitdepth=12')).status).toBe(400);
  });
});

describe('transfer-syntax', () => {
  it('does not go with rendered media types', async () => {
    const asked = (accept: string) => ask(service, `${pathOf(plain)}/rendered`, { accept });
    const problem = await problemOf(await asked('image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50'));
    expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining('transfer-syntax')]);
    expect(
      (await asked('image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50, image/png')).headers.get('content-type'),
    ).toBe('image/png');
    expect((await asked('image/jpeg; transfer-syntax=*')).status).toBe(200);
  });
});
