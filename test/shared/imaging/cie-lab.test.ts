/** CIELab values of segments and layers as the colours of screens. */
import { expect, it } from 'vitest';
import { rgbOfLab } from '#shared/imaging/cie-lab.ts';

it('gives CIELab as screens show it', () => {
  expect(rgbOfLab([65_535, 32_896, 32_896])).toEqual([255, 255, 255]);
  expect(rgbOfLab([0, 32_896, 32_896])).toEqual([0, 0, 0]);
  // L* 54.29, a* 80.81, b* 69.89 under D50 is the red of sRGB; 29.57, 68.30, -112.03 its blue.
  const encoded = ([l, a, b]: number[]) =>
    rgbOfLab([(l! * 65_535) / 100, ((a! + 128) * 65_535) / 255, ((b! + 128) * 65_535) / 255]);
  const near = (rgb: readonly number[], wanted: number[]) => Math.max(...rgb.map((v, i) => Math.abs(v - wanted[i]!)));
  expect(near(encoded([54.29, 80.81, 69.89]), [255, 0, 0])).toBeLessThanOrEqual(3);
  expect(near(encoded([29.57, 68.3, -112.03]), [0, 0, 255])).toBeLessThanOrEqual(3);
});
