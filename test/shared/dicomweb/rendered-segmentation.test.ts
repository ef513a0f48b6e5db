/** Segmentations asked for: laid over an image by parameters, and themselves over the images they were made from or over black. */
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

const SEG = '1.2.840.10008.5.1.4.1.1.66.4';
const LABELMAP = '1.2.840.10008.5.1.4.1.1.66.7';
const [study, series, space] = [freshUid(), freshUid(), freshUid()];

const el = (tag: number, vr: string, value: MadeElement['value']): MadeElement => ({ tag, vr, value });
const orientation = el(0x00200037, 'DS', '1\\0\\0\\0\\1\\0');
const window = [el(0x00281050, 'DS', '127.5'), el(0x00281051, 'DS', '255'), el(0x00281056, 'CS', 'LINEAR_EXACT')];

/** 4 x 2 pixels of 1 mm, gray 100, at a height of its own. */
const slice = (z: number, more: InstanceOptions = {}): MadeInstance =>
  makeInstance({
    studyInstanceUid: study, seriesInstanceUid: series, rows: 2, columns: 4, bitsAllocated: 8, pixels: new Uint8Array(8).fill(100),
    extra: [...window, orientation, el(0x00200032, 'DS', `0\\0\\${z}`), el(0x00280030, 'DS', '1\\1'), el(0x00200052, 'UI', space)],
    ...more,
  }); // biome-ignore format: pairs

interface Frame {
  readonly segment?: number;
  readonly position?: string;
  readonly from?: MadeInstance;
}
const red = [34_885, 53_485, 50_171];

/** Segments 1 (red by its CIELab value) and 2 (ours to choose). */
const segmentationOf = (frames: readonly Frame[], type: string, more: InstanceOptions, spacing = '1\\1'): MadeInstance =>
  makeInstance({
    studyInstanceUid: study, modality: 'SEG', sopClassUid: type === 'LABELMAP' ? LABELMAP : SEG, rows: 2, columns: 4, frames: frames.length,
    ...more,
    extra: [
      el(0x00081115, 'SQ', [[el(0x0008114a, 'SQ', frames.flatMap(({ from }) => from ? [[el(0x00081155, 'UI', from.ref.sopInstanceUid)]] : [])), el(0x0020000e, 'UI', series)]]),
      el(0x00200052, 'UI', space),
      el(0x00620001, 'CS', type),
      el(0x00620002, 'SQ', [[el(0x00620004, 'US', [1]), el(0x0062000d, 'US', red)], [el(0x00620004, 'US', [2])]]),
      ...(type === 'FRACTIONAL' ? [el(0x0062000e, 'US', [200])] : []),
      el(0x52009229, 'SQ', [[el(0x00209116, 'SQ', [[orientation]]), el(0x00289110, 'SQ', [[el(0x00280030, 'DS', spacing)]])]]),
      el(0x52009230, 'SQ', frames.map(({ segment, position, from }) => [
        ...(from === undefined ? [] : [el(0x00089124, 'SQ', [[el(0x00082112, 'SQ', [[el(0x00081155, 'UI', from.ref.sopInstanceUid)]])]])]),
        ...(position === undefined ? [] : [el(0x00209113, 'SQ', [[el(0x00200032, 'DS', position)]])]),
        ...(segment === undefined ? [] : [el(0x0062000a, 'SQ', [[el(0x0062000b, 'US', [segment])]])]),
      ])),
    ],
  }); // biome-ignore format: pairs

const one = slice(0);
const two = slice(5);
const lost = slice(9);
/** A picture without a place in space. */
const flat = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: series,
  rows: 2,
  columns: 4,
  bitsAllocated: 8,
  pixels: new Uint8Array(8).fill(100),
  extra: window,
});

/** Bits of three frames, 8 each: segment 1 on slice one, segment 2 on slice one, segment 1 on slice two; a fourth whose image is lost. */
const binary = segmentationOf(
  [
    { segment: 1, position: '0\\0\\0', from: one },
    { segment: 2, position: '0\\0\\0', from: one },
    { segment: 1, position: '0\\0\\5' },
    { segment: 2, position: '0\\0\\9', from: lost },
  ],
  'BINARY',
  { bitsAllocated: 1, pixels: Uint8Array.of(0b0000_0011, 0b1000_0000, 0b0000_1000, 0b0000_0100) },
);
const fractional = segmentationOf([{ segment: 1, position: '0\\0\\0' }], 'FRACTIONAL', {
  bitsAllocated: 8,
  pixels: Uint8Array.of(0, 50, 100, 200, 0, 0, 0, 0),
});
const labels = segmentationOf([{ position: '0\\0\\0' }], 'LABELMAP', {
  bitsAllocated: 8,
  pixels: Uint8Array.of(0, 1, 2, 9, 0, 0, 0, 0),
});
/** One pixel to two of the image's columns and rows, from the second column on. */
const coarse = segmentationOf(
  [{ segment: 1, position: '1.5\\0.5\\0' }],
  'BINARY',
  { rows: 1, columns: 1, bitsAllocated: 1, pixels: Uint8Array.of(1, 0) },
  '2\\2',
);
/** 4 x 2 pixels that are twice as high as wide, under a segmentation of square ones. */
const tall = slice(20, {
  extra: [...window, orientation, el(0x00200032, 'DS', '0\\0\\20'), el(0x00280030, 'DS', '2\\1'), el(0x00200052, 'UI', space)],
}); // biome-ignore format: a row
const onTall = segmentationOf([{ segment: 1, position: '0\\0\\20', from: tall }], 'BINARY', {
  bitsAllocated: 1,
  pixels: Uint8Array.of(1, 0),
});
/** Of which its own bitmap hides the first pixel. */
const hidden = slice(60, {
  extra: [
    ...window, orientation, el(0x00200032, 'DS', '0\\0\\60'), el(0x00280030, 'DS', '1\\1'), el(0x00200052, 'UI', space),
    el(0x00181600, 'CS', 'BITMAP'), el(0x00181622, 'US', [0]), el(0x00181623, 'US', [0x6000]),
    el(0x60000010, 'US', [2]), el(0x60000011, 'US', [4]), el(0x60000040, 'CS', 'G'), el(0x60000050, 'SS', [1, 1]),
    el(0x60000100, 'US', [1]), el(0x60000102, 'US', [0]), el(0x60003000, 'OW', Uint8Array.of(1, 0)),
  ],
}); // biome-ignore format: a table
/** A heart at one place in three phases, of which the third has no segment. */
const phases = [slice(40), slice(40), slice(40)] as const;
const beating = segmentationOf(
  phases.slice(0, 2).map((from) => ({ segment: 1, position: '0\\0\\40', from })),
  'BINARY',
  { bitsAllocated: 1, pixels: Uint8Array.of(0b0001_0001, 0b1000_0010) },
);
const photographed = segmentationOf([{ segment: 1, from: flat }], 'BINARY', {
  bitsAllocated: 1,
  pixels: Uint8Array.of(1, 0),
});

let fixture: ArchiveFixture;
let service: ReturnType<typeof serviceOver>;
beforeAll(async () => {
  fixture = await makeArchive(
    [one, two, flat, tall, hidden, ...phases, beating, binary, fractional, labels, coarse, photographed, onTall].map(
      ({ file }) => file,
    ),
  );
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const over = ({ ref }: MadeInstance, more = ''): string =>
  `segmentationUID=${ref.sopInstanceUid}&segmentationSeriesUID=${ref.seriesInstanceUid}${more}`;
const get = (path: string): Promise<Response> => ask(service, path, { accept: 'image/png' });

/** One letter to a pixel: g the gray of the image, r and b reddish and the other, k black, ? anything else. */
async function letters(response: Response): Promise<string> {
  expect(response.status).toBe(200);
  const { rgb } = await seen(await bytesOf(response));
  return Array.from({ length: rgb.length / 3 }, (_, i) => {
    const [r, g, b] = [rgb[3 * i]!, rgb[3 * i + 1]!, rgb[3 * i + 2]!];
    if (r === g && g === b) return r === 100 ? 'g' : r === 0 ? 'k' : '?';
    return r > b + 40 ? 'r' : b > r + 40 ? 'b' : '?';
  }).join('');
}

describe('an image with a segmentation', () => {
  it('shows all segments that were made from it, half transparent, in their colours', async () => {
    const response = await get(`${pathOf(one)}/rendered?${over(binary)}`);
    expect(response.headers.get('warning')).toBeNull();
    const bytes = await bytesOf(response);
    expect(await letters(new Response(bytes))).toBe('rrgggggb');
    const { rgb } = await seen(bytes);
    expect([...rgb.subarray(0, 3)].map((value) => Math.round(value / 10))).toEqual([18, 5, 5]);
  });

  it('shows those that lie in its plane, where none says what it was made from', async () => {
    expect(await letters(await get(`${pathOf(two)}/rendered?${over(binary)}`))).toBe('gggrgggg');
  });

  it('shows only those that are asked for, of label maps too', async () => {
    expect(await letters(await get(`${pathOf(one)}/rendered?${over(binary, '&segmentNumbers=2')}`))).toBe('gggggggb');
    expect(await letters(await get(`${pathOf(one)}/rendered?${over(labels)}`))).toBe('grbggggg');
    expect(await letters(await get(`${pathOf(one)}/rendered?${over(labels, '&segmentNumbers=2')}`))).toBe('ggbggggg');
    expect((await get(`${pathOf(one)}/rendered?${over(labels, '&segmentNumbers=x')}`)).status).toBe(400);
    expect((await get(`${pathOf(one)}/rendered?segmentNumbers=1`)).status).toBe(400);
  });

  it('shows of several moments at its place its own, and none where it is not said which', async () => {
    for (const [image, expected] of [
      [phases[0], 'rgggrggg'],
      [phases[1], 'grgggggr'],
      [phases[2], 'gggggggg'],
    ] as const) {
      const response = await get(`${pathOf(image)}/rendered?${over(beating)}`);
      expect(response.headers.get('warning')).toContain('made from other images');
      expect(await letters(response)).toBe(expected);
    }
  });

  it('shows fractions by their part of the largest one', async () => {
    const { rgb } = await seen(await bytesOf(await get(`${pathOf(one)}/rendered?${over(fractional)}`)));
    const reds = [0, 1, 2, 3].map((i) => rgb[3 * i]!);
    expect(reds[0]).toBe(100);
    expect(reds.map((value) => value - 100).map((value) => Math.round((10 * value) / (reds[3]! - 100)))).toEqual([
      0, 3, 5, 10,
    ]);
  });

  it('says where its pixels are others, and takes the nearest', async () => {
    const response = await get(`${pathOf(one)}/rendered?${over(coarse)}`);
    expect(response.headers.get('warning')).toContain('nearest');
    expect(await letters(response)).toBe('grrggrrg');
  });

  it('is as it is, and says so, where nothing of the segmentation lies on it', async () => {
    const response = await get(`${pathOf(two)}/rendered?${over(fractional)}`);
    expect(response.headers.get('warning')).toContain('No segment');
    expect(await letters(response)).toBe('gggggggg');
  });

  it('is hidden where its own shutter hides it', async () => {
    for (const query of ['', `?${over(fractional)}`])
      expect(await letters(await get(`${pathOf(hidden)}/rendered${query}`))).toBe('kggggggg');
  });

  it('is refused with what is no segmentation, or is not there', async () => {
    const problem = await problemOf(await get(`${pathOf(one)}/rendered?${over(two)}`));
    expect([problem.status, problem.detail]).toEqual([406, expect.stringContaining('no segmentation')]);
    expect((await get(`${pathOf(one)}/rendered?segmentationUID=1.2&segmentationSeriesUID=1.3`)).status).toBe(404);
    expect((await get(`/studies/${study}/rendered?${over(binary)}`)).status).toBe(400);
  });
});

describe('a segmentation rendered', () => {
  it('shows each frame over the image that it was made from', async () => {
    const response = await get(`${pathOf(binary)}/frames/2/rendered`);
    expect(response.headers.get('warning')).toBeNull();
    expect(await letters(response)).toBe('gggggggb');
    expect(await letters(await get(`${pathOf(photographed)}/rendered`))).toBe('rggggggg');
  });

  it('shows it over black where that image is not here, and says so', async () => {
    for (const [path, expected] of [
      [`${pathOf(binary)}/frames/4/rendered`, 'kkbkkkkk'],
      [`${pathOf(labels)}/rendered`, 'krbkkkkk'],
    ] as const) {
      const response = await get(path);
      expect([path, response.headers.get('warning')]).toEqual([path, expect.stringContaining('over black')]);
      expect(await letters(response)).toBe(expected);
    }
  });

  it('has another entity tag when an image under any of its frames has come or gone', async () => {
    const changing = await makeArchive([one, two, binary].map(({ file }) => file));
    try {
      const tagOf = async (path: string): Promise<string | null> =>
        (await ask(serviceOver(changing), path, { accept: 'image/png' })).headers.get('etag');
      const paths = [`${pathOf(binary)}/frames/4/rendered`, `${pathOf(binary)}/frames/1,4/rendered`];
      const before = await Promise.all(paths.map(tagOf));
      await changing.add([lost.file]);
      const after = await Promise.all(paths.map(tagOf));
      expect(before.every((tag, i) => tag !== null && tag !== after[i])).toBe(true);
      const ofSeries = `/studies/${study}/series/${binary.ref.seriesInstanceUid}/rendered`;
      expect(await tagOf(ofSeries)).not.toBeNull();
      expect(await tagOf(`/studies/${study}/rendered`)).toBeNull();
    } finally {
      await changing.close();
    }
  });

  it('has the shape of the pixels of the image that it is shown over', async () => {
    const response = await get(`${pathOf(onTall)}/rendered?viewport=100,100`);
    const { width, height } = await seen(await bytesOf(response));
    expect([width, height]).toEqual([100, 100]);
  });

  it('comes as an animation and in parts, too', async () => {
    const gif = await ask(service, `${pathOf(binary)}/rendered`, { accept: 'image/gif' });
    expect((await seen(await bytesOf(gif))).pages).toBe(4);
    expect(
      (
        await ask(service, `/studies/${study}/series/${binary.ref.seriesInstanceUid}/rendered`, {
          accept: 'image/jpeg',
        })
      ).status,
    ).toBe(200);
  });
});

describe.skipIf(samplesFolder() === undefined)('the segmentations of the samples', () => {
  it('are each shown, and one of them over its slice', async () => {
    const files = [
      ...sampleFiles('modalities', 'seg').filter((file) => /_ct_|_cr_|labelmap|liver\.dcm/.test(file)),
      ...sampleFiles('transfer-syntaxes', 'uncompressed', 'CT_small.dcm'),
    ];
    const samples = await makeArchive(files.map((file) => new Uint8Array(readFileSync(file))));
    try {
      const all = serviceOver(samples);
      const found = (await (await ask(all, '/instances?Modality=SEG')).json()) as {
        [tag: string]: { Value: string[] };
      }[];
      expect(found.length).toBeGreaterThan(6);
      const onImages: string[] = [];
      for (const instance of found) {
        const uid = (tag: string): string => instance[tag]!.Value[0]!;
        const path = `/studies/${uid('0020000D')}/series/${uid('0020000E')}/instances/${uid('00080018')}`;
        const response = await ask(all, `${path}/rendered`, { accept: 'image/png' });
        expect([path, response.status]).toEqual([path, 200]);
        if (response.headers.get('warning') === null)
          onImages.push((await seen(await bytesOf(response))).width.toString());
      }
      expect(onImages).toEqual(['128']);
    } finally {
      await samples.close();
    }
  });
});
