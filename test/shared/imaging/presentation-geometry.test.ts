/** Where presentation states put images: every rotation and flip, areas within and beyond the image, aspect, magnification, viewports. */
import { describe, expect, it } from 'vitest';
import { isArchiveError } from '#shared/errors.ts';
import { inverse, type Placement, placePicture, presentedSize } from '#shared/imaging/presentation-geometry.ts';
import type { Picture } from '#shared/imaging/resample.ts';

const rows = [
  [10, 20, 30],
  [40, 50, 60],
];
const image: Picture = { width: 3, height: 2, channels: 1, pixels: Uint8Array.from(rows.flat()) };
const whole: Placement = {
  area: { left: 0, top: 0, width: 3, height: 2 },
  rotation: 0,
  flip: false,
  pixelAspect: 1,
  magnification: undefined,
};

/** By the words of §C.10.6: clockwise, then left becomes right. */
function turned(table: readonly number[][], rotation: number, flip: boolean): number[][] {
  let result = table.map((row) => [...row]);
  for (let quarter = 0; quarter < rotation / 90; quarter++) {
    result = result[0]!.map((_, x) => result.map((row) => row[x]!).reverse());
  }
  return flip ? result.map((row) => row.toReversed()) : result;
}

const tableOf = ({ width, height, channels, pixels }: Picture): number[][] =>
  Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => pixels[(y * width + x) * channels]!),
  );

describe('the spatial transformation of a presentation state', () => {
  const all = [0, 90, 180, 270].flatMap((rotation) => [false, true].map((flip) => ({ rotation, flip }) as Placement));

  it.each(all)('rotates by $rotation degrees clockwise, then flips: $flip', ({ rotation, flip }) => {
    const expected = turned(rows, rotation, flip);
    const placed = placePicture(image, { ...whole, rotation, flip }, undefined);
    expect(tableOf(placed.picture)).toEqual(expected);
    // A point goes where its pixel went.
    for (const [y, row] of rows.entries()) {
      for (const [x, value] of row.entries()) {
        const { a, b, c, d, e, f } = placed.fromImage;
        const column = a * (x + 0.5) + b * (y + 0.5) + c;
        const line = d * (x + 0.5) + e * (y + 0.5) + f;
        expect(expected[line - 0.5]?.[column - 0.5]).toBe(value);
      }
    }
  });

  it.each(all)(
    'holds for colour and for an area that reaches beyond the image: $rotation, $flip',
    ({ rotation, flip }) => {
      const color: Picture = { ...image, channels: 3, pixels: Uint8Array.from(rows.flat().flatMap((v) => [v, 0, v])) };
      const area = { left: -1, top: 1, width: 3, height: 2 };
      const { picture } = placePicture(color, { ...whole, area, rotation, flip }, undefined);
      const seen = [
        [0, 40, 50],
        [0, 0, 0],
      ];
      expect(tableOf(picture)).toEqual(turned(seen, rotation, flip));
      expect(picture.channels).toBe(3);
    },
  );
});

describe('the displayed area', () => {
  it('makes pixels square by making the picture larger, never smaller', () => {
    expect(presentedSize({ ...whole, pixelAspect: 2 })).toEqual({ width: 3, height: 4 });
    expect(presentedSize({ ...whole, pixelAspect: 0.5 })).toEqual({ width: 6, height: 2 });
    expect(presentedSize({ ...whole, pixelAspect: 2, rotation: 90 })).toEqual({ width: 4, height: 3 });
  });

  it('is scaled to fit the viewport, and the way of points with it', () => {
    const large: Picture = { width: 40, height: 20, channels: 1, pixels: new Uint8Array(800).fill(9) };
    const area = { left: 10, top: 0, width: 20, height: 20 };
    const { picture, fromImage, fromDisplay } = placePicture(large, { ...whole, area }, { width: 60, height: 100 });
    expect([picture.width, picture.height]).toEqual([60, 60]);
    expect([fromImage.a * 20 + fromImage.c, fromImage.e * 10 + fromImage.f]).toEqual([30, 30]);
    expect([fromDisplay.a, fromDisplay.e]).toEqual([60, 60]);
  });

  it('is magnified, and cut to the middle of a viewport that is smaller', () => {
    const { picture } = placePicture(image, { ...whole, magnification: 4 }, undefined);
    expect([picture.width, picture.height]).toEqual([12, 8]);
    const cut = placePicture(image, { ...whole, magnification: 4 }, { width: 6, height: 100 });
    expect([cut.picture.width, cut.picture.height]).toEqual([6, 8]);
    expect(cut.fromImage.c).toBe(-3);
  });

  it('gives its own coordinates to the source region of a viewport, mirrored too', () => {
    const source = { x: 1, y: 0, width: -2, height: 2 };
    const { picture, fromImage } = placePicture(image, whole, { width: 2, height: 2, source });
    expect(tableOf(picture)).toEqual([
      [30, 20],
      [60, 50],
    ]);
    expect(fromImage.a * 2.5 + fromImage.c).toBe(0.5);
  });

  it('is refused when it would take memory beyond any screen', () => {
    const area = { left: 0, top: 0, width: 60_000, height: 60_000 };
    expect(() => placePicture(image, { ...whole, area }, { width: 8, height: 8 })).toThrowError(/displayed area/);
  });
});

it('turns an affine map round, and refuses one without area', () => {
  const map = { a: 2, b: 1, c: 5, d: -1, e: 3, f: 7 };
  const back = inverse(map);
  const x = map.a * 4 + map.b * 9 + map.c;
  const y = map.d * 4 + map.e * 9 + map.f;
  expect(back.a * x + back.b * y + back.c).toBeCloseTo(4, 12);
  expect(back.d * x + back.e * y + back.f).toBeCloseTo(9, 12);
  let code: unknown;
  try {
    inverse({ ...map, d: 4, e: 2 });
  } catch (error) {
    code = isArchiveError(error) && error.code;
  }
  expect(code).toBe('cannot-render');
});
