/**
 * CIELab values as DICOM carries them (PS3.3 §C.10.7.1.1: three words, the white of D50) as sRGB: what segments and graphic layers are
 * recommended to be shown in. Colours that a screen does not have are cut to those it has.
 */
import type { Rgb } from './raster.ts';

const whiteX = 0.96422;
const whiteZ = 0.82521;

/** @param encoded L*, a*, b*, each from 0 to 65535 */
export function rgbOfLab(encoded: readonly [number, number, number]): Rgb {
  const lightness = (encoded[0] / 65535) * 100;
  const a = (encoded[1] / 65535) * 255 - 128;
  const b = (encoded[2] / 65535) * 255 - 128;
  const fy = (lightness + 16) / 116;
  const x = whiteX * light(fy + a / 500);
  const y = light(fy);
  const z = whiteZ * light(fy - b / 200);
  // XYZ under D50 to linear sRGB, adapted by Bradford.
  return [
    coded(3.1338561 * x - 1.6168667 * y - 0.4906146 * z),
    coded(-0.9787684 * x + 1.9161415 * y + 0.033454 * z),
    coded(0.0719453 * x - 0.2289914 * y + 1.4052427 * z),
  ];
}

const light = (f: number): number => (f > 6 / 29 ? f ** 3 : 3 * (6 / 29) ** 2 * (f - 4 / 29));

function coded(linear: number): number {
  const within = Math.max(0, Math.min(1, linear));
  return Math.round(255 * (within <= 0.0031308 ? 12.92 * within : 1.055 * within ** (1 / 2.4) - 0.055));
}
