/**
 * ICC profiles as other people's library (libvips, lcms) reads them.
 */
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodePicture } from '#shared/imaging/encode.ts';
import { type ColorSpace, iccProfileOf, isRgbProfile } from '#shared/imaging/icc-profile.ts';

const color = [200, 50, 20];
const picture = { width: 8, height: 8, channels: 3 as const, pixels: new Uint8Array(192).map((_, i) => color[i % 3]!) };
const spaces: ColorSpace[] = ['srgb', 'adobergb', 'rommrgb'];

/** Red, green and blue of the first pixel, as coded and as they look. */
async function firstOf(bytes: Uint8Array): Promise<{ coded: number[]; looks: number[] }> {
  const coded = await sharp(bytes).keepIccProfile().raw().toBuffer();
  const looks = await sharp(bytes).toColourspace('srgb').raw().toBuffer();
  return { coded: [...coded.subarray(0, 3)], looks: [...looks.subarray(0, 3)] };
}

const near = (a: readonly number[], b: readonly number[], by: number): boolean =>
  a.every((value, i) => Math.abs(value - b[i]!) <= by);

describe.each(['image/jpeg', 'image/png', 'image/webp'] as const)('%s with a profile', (mediaType) => {
  it.each(spaces)('of %s looks the same in every space', async (space) => {
    const bytes = await encodePicture(picture, mediaType, 100, { space });
    const { coded, looks } = await firstOf(bytes);
    expect(near(looks, color, 3)).toBe(true);
    expect(near(coded, color, 3)).toBe(space === 'srgb');
    expect((await sharp(bytes).metadata()).icc?.length).toBe(iccProfileOf(space).length);
  });

  it('of its own keeps its colours as they are, under that profile', async () => {
    const own = iccProfileOf('adobergb');
    const bytes = await encodePicture(picture, mediaType, 100, { own });
    expect(near((await firstOf(bytes)).coded, color, 3)).toBe(true);
    expect((await sharp(bytes).metadata()).icc).toEqual(Buffer.from(own));
  });

  it('is brought from its own profile into the one asked for', async () => {
    const bytes = await encodePicture(picture, mediaType, 100, { own: iccProfileOf('rommrgb'), space: 'srgb' });
    const { coded } = await firstOf(bytes);
    // The same numbers are a far stronger red in ROMM RGB.
    expect(coded[0]).toBeGreaterThan(230);
    expect(coded[1]).toBeLessThan(30);
  });

  it('of gray is colour, since a gray picture cannot carry a profile of RGB', async () => {
    const gray = { width: 4, height: 4, channels: 1 as const, pixels: new Uint8Array(16).fill(90) };
    const bytes = await encodePicture(gray, mediaType, 100, { space: 'srgb' });
    expect(await sharp(bytes).metadata()).toMatchObject({ channels: 3, hasProfile: true });
    expect(near((await firstOf(bytes)).looks, [90, 90, 90], 2)).toBe(true);
  });
});

it('passes over what is no profile, and splits one that is long', async () => {
  expect(isRgbProfile(new Uint8Array(500))).toBe(false);
  const bytes = await encodePicture(picture, 'image/png', 90, { own: new Uint8Array(500), space: 'srgb' });
  expect(near((await firstOf(bytes)).coded, color, 1)).toBe(true);
  const long = new Uint8Array(200_000);
  long.set(iccProfileOf('srgb'));
  const jpeg = await encodePicture(picture, 'image/jpeg', 90, { own: long });
  expect((await sharp(jpeg).metadata()).icc?.length).toBe(long.length);
});
