/**
 * Planes and slabs through a volume (PS3.18 §8.3.5.3) over a real archive: every pixel where it belongs, in every orientation.
 */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { ask, bytesOf, serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';
import { inside, middle, type Point, phantom, phantomSlices, valueAt } from './volume-phantom.ts';

const slices = phantomSlices();
const { studyInstanceUid, seriesInstanceUid } = slices[0]!.ref;
const series = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}`;
const png = { accept: 'image/png' };
const pool = createVolumePool({ threads: 2 });
let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  const shuffled = slices.map((slice, i) => ({ slice, at: (i * 11) % slices.length })).sort((a, b) => a.at - b.at);
  fixture = await makeArchive(
    shuffled.map(({ slice }) => slice.file),
    { packSize: 5 },
  );
  service = serviceOver(fixture, { volumes: pool });
});
afterAll(async () => {
  await pool.close();
  await fixture.close();
});

interface Gray {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

async function grayOf(bytes: Uint8Array): Promise<Gray> {
  const { data, info } = await sharp(bytes).greyscale().raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, pixels: new Uint8Array(data) };
}

async function picture(query: string, path = 'renderedmpr', headers: Record<string, string> = png): Promise<Gray> {
  const response = await ask(service, `${series}/${path}?${query}`, headers);
  if (response.status !== 200) throw new Error(await response.text());
  return grayOf(await bytesOf(response));
}

const add = (a: Point, b: Point, by = 1): Point => [a[0] + by * b[0], a[1] + by * b[1], a[2] + by * b[2]];

/** What a pixel must be, by its place in the patient; undefined where interpolation has nothing to go by. */
const grayAt = (place: Point, { center, width }: { center: number; width: number }): number | undefined =>
  inside(place) ? Math.max(0, Math.min(255, ((valueAt(place) - center) / width + 0.5) * 255)) : undefined;

interface View {
  readonly lookAt: Point;
  readonly right: Point;
  readonly down: Point;
  readonly spacingMm?: number;
}

/** The largest difference of a pixel from what it must be, in gray levels; half a pixel aside it is above 5. */
function worst(
  { width, height, pixels }: Gray,
  { lookAt, right, down, spacingMm = 1 }: View,
  window: { center: number; width: number },
) {
  let most = 0;
  let checked = 0;
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const place = add(
        add(lookAt, right, (column + 0.5 - width / 2) * spacingMm),
        down,
        (row + 0.5 - height / 2) * spacingMm,
      );
      const gray = grayAt(place, window);
      if (gray === undefined) continue;
      checked++;
      most = Math.max(most, Math.abs(pixels[row * width + column]! - gray));
    }
  }
  return { most, checked };
}

const left: Point = [1, 0, 0];
const right: Point = [-1, 0, 0];
const back: Point = [0, 1, 0];
const front: Point = [0, -1, 0];
const feet: Point = [0, 0, -1];
const valueOfMiddle = valueAt(middle);
const window = { center: valueOfMiddle, width: 100 };
const windowed = `window=${window.center},${window.width},linear-exact`;

describe('a plane through the middle', () => {
  // As radiologists look at them: the patient's left on the right, noses to the left, heads up.
  it.each([
    ['axial', left, back, 40, 48],
    ['f', left, back, 40, 48],
    ['h', right, back, 40, 48],
    ['coronal', left, feet, 40, 48],
    ['a', left, feet, 40, 48],
    ['p', right, feet, 40, 48],
    ['sagittal', back, feet, 48, 48],
    ['l', back, feet, 48, 48],
    ['r', front, feet, 48, 48],
    ['CORONAL', left, feet, 40, 48],
  ] as const)('seen as %s has every pixel where it belongs', async (orientation, across, down, width, height) => {
    const seen = await picture(`orientation=${orientation}&${windowed}`);
    expect([seen.width, seen.height]).toEqual([width, height]);
    const { most, checked } = worst(seen, { lookAt: middle, right: across, down }, window);
    expect(checked).toBeGreaterThan(0.9 * width * height);
    expect(most).toBeLessThanOrEqual(1);
  });

  it('is axial, and of the whole volume, when nothing is said', async () => {
    expect(
      worst(await picture(windowed), { lookAt: middle, right: left, down: back }, window).most,
    ).toBeLessThanOrEqual(1);
  });

  it('is black and white at the ends of the volume when the data have no window', async () => {
    const { pixels } = await picture('orientation=axial');
    const low = valueAt(phantom.origin);
    const high = valueAt([phantom.origin[0] + 39, phantom.origin[1] + 31 * 1.5, phantom.origin[2] + 46]);
    const gray = ((valueOfMiddle - low) / (high - low)) * 255;
    const centre = pixels[24 * 40 + 20]!;
    expect(Math.abs(centre - gray)).toBeLessThan(2);
  });
});

describe('the camera', () => {
  it('looks from its position at a point, which is the middle of the picture', async () => {
    const seen = await picture(`viewpointposition=-1,-6,120&viewpointlookat=-1,-5,120&viewpointup=0,0,1&${windowed}`);
    const { most, checked } = worst(seen, { lookAt: [-1, -5, 120], right: left, down: feet }, window);
    expect(checked).toBeGreaterThan(1000);
    expect(most).toBeLessThanOrEqual(1);
  });

  it('looks obliquely, with what is up made perpendicular', async () => {
    const lookAt: Point = [2, -8, 121];
    const diagonal = Math.SQRT1_2;
    // From the front and the right, half turned.
    const seen = await picture(
      `viewpointlookat=${lookAt}&viewpointposition=${add(lookAt, [-3, -3, 0])}&viewpointup=0.2,0.2,1&${windowed}`,
    );
    const { most, checked } = worst(seen, { lookAt, right: [diagonal, -diagonal, 0], down: feet }, window);
    expect(checked).toBeGreaterThan(1000);
    expect(most).toBeLessThanOrEqual(1);
  });

  it('keeps the orientation and moves to the point that is given alone', async () => {
    const lookAt: Point = [0, -10, 110];
    const seen = await picture(`orientation=sagittal&viewpointlookat=${lookAt}&${windowed}`);
    expect(worst(seen, { lookAt, right: back, down: feet }, window).most).toBeLessThanOrEqual(1);
  });
});

describe('the viewport', () => {
  it('makes the view larger by cutting finer, not by blowing up a picture', async () => {
    const seen = await picture(`orientation=axial&viewport=160,192&${windowed}`);
    expect([seen.width, seen.height]).toEqual([160, 192]);
    expect(worst(seen, { lookAt: middle, right: left, down: back, spacingMm: 0.25 }, window).most).toBeLessThanOrEqual(
      1,
    );
  });

  it('makes it smaller by averaging, and keeps its shape', async () => {
    const wide = { center: valueOfMiddle, width: 1000 };
    const seen = await picture(`orientation=axial&viewport=20,100&window=${wide.center},1000,linear-exact`);
    expect([seen.width, seen.height]).toEqual([20, 24]);
    const view = { lookAt: middle, right: left, down: back, spacingMm: 2 };
    expect(worst(seen, view, wide).most).toBeLessThanOrEqual(2);
  });

  it('shows a part of the view, and mirrors it', async () => {
    const seen = await picture(`orientation=axial&viewport=40,40,10,20,20,-20&${windowed}`);
    expect([seen.width, seen.height]).toEqual([40, 40]);
    const lookAt = add(add(middle, left, 10 + 10 - 20), back, 20 + 10 - 24);
    expect(worst(seen, { lookAt, right: left, down: front, spacingMm: 0.5 }, window).most).toBeLessThanOrEqual(1);
  });
});

describe('a slab', () => {
  it.each([
    ['average_ip', 0, 1],
    // Towards the head values rise by 5 a mm, and half of the slab lies there.
    ['maximum_ip', 5 * 10, 14],
    ['minimum_ip', -5 * 10, 14],
  ])('of 20 mm by %s', async (method, difference, most) => {
    const seen = await picture(
      `orientation=axial&mprslab=20&renderingmethod=${method}&window=${valueOfMiddle + difference},100,linear-exact`,
    );
    const shifted = { center: valueOfMiddle, width: 100 };
    // Sampled at depths: at most half a step of the last one is missing.
    expect(worst(seen, { lookAt: middle, right: left, down: back }, shifted).most).toBeLessThanOrEqual(most);
  });

  it('is the whole volume for rendered3d, its maximum unless something else is asked for', async () => {
    const top = valueAt([middle[0], middle[1], phantom.origin[2] + 46]);
    const seen = await picture(`orientation=axial&window=${top},100,linear-exact`, 'rendered3d');
    expect(
      worst(seen, { lookAt: middle, right: left, down: back }, { center: valueOfMiddle, width: 100 }).most,
    ).toBeLessThanOrEqual(14);
    const lowest = await picture(
      `orientation=axial&renderingmethod=minimum_ip&window=${valueAt([middle[0], middle[1], 100])},100,linear-exact`,
      'rendered3D',
    );
    expect(
      worst(lowest, { lookAt: middle, right: left, down: back }, { center: valueOfMiddle, width: 100 }).most,
    ).toBeLessThanOrEqual(14);
  });
});

describe('an animation', () => {
  const framesOf = async (query: string, path = 'renderedmpr'): Promise<Gray[]> => {
    const response = await ask(service, `${series}/${path}?${query}`, {
      accept: 'multipart/related; type="image/png"',
    });
    expect(response.status).toBe(200);
    return Promise.all((await partsOf(response)).map(({ body }) => grayOf(body)));
  };

  it('goes through the stack from the near end to the far one, a voxel at a time', async () => {
    const pictures = await framesOf(`orientation=axial&animationrate=20&${windowed}`);
    expect(pictures).toHaveLength(phantom.slices);
    for (const [i, seen] of pictures.entries()) {
      const lookAt: Point = [middle[0], middle[1], phantom.origin[2] + 2 * i];
      expect(worst(seen, { lookAt, right: left, down: back }, window).most).toBeLessThanOrEqual(1);
    }
  });

  it('goes along a line in steps', async () => {
    const from: Point = [0, -8, 110];
    const pictures = await framesOf(
      `orientation=coronal&viewpointlookat=${from}&volumetriccurvepoint=0,4,110&animationstepsize=4&${windowed}`,
    );
    expect(pictures).toHaveLength(4);
    for (const [i, seen] of pictures.entries())
      expect(worst(seen, { lookAt: add(from, back, 4 * i), right: left, down: feet }, window).most).toBeLessThanOrEqual(
        1,
      );
  });

  it('swivels half of the range to both sides, in pictures of one size', async () => {
    const pictures = await framesOf(`orientation=coronal&swivelrange=90&animationstepsize=30&${windowed}`);
    expect(pictures).toHaveLength(3);
    expect(new Set(pictures.map(({ width, height }) => `${width} ${height}`)).size).toBe(1);
    for (const [i, seen] of pictures.entries()) {
      const angle = ((i - 1) * 30 * Math.PI) / 180;
      const across: Point = [Math.cos(angle), Math.sin(angle), 0];
      expect(worst(seen, { lookAt: middle, right: across, down: feet }, window).most).toBeLessThanOrEqual(1);
    }
  });

  it('is a GIF of that many pictures, at the rate asked for', async () => {
    const response = await ask(
      service,
      `${series}/rendered3d?orientation=a&swivelrange=360&animationstepsize=60&animationrate=20`,
    );
    expect(response.headers.get('content-type')).toBe('image/gif');
    const { pages, delay } = await sharp(await bytesOf(response), { animated: true }).metadata();
    expect([pages, delay?.[0]]).toEqual([6, 50]);
  });
});
