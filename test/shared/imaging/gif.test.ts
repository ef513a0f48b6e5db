/**
 * GIF as other people's decoder (libvips) reads it.
 */
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { animatedGif, encodeGif } from '#shared/imaging/gif.ts';

async function decoded(gif: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await sharp(gif).toColourspace('srgb').removeAlpha().raw().toBuffer());
}

const gray = (pixels: Uint8Array, width: number) => ({
  width,
  height: pixels.length / width,
  channels: 1 as const,
  pixels,
});

describe('a GIF', () => {
  it('of gray has every value as it was, whatever the picture', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 3000 }),
        fc.integer({ min: 1, max: 40 }),
        async (bytes, repeats) => {
          // Repeats make long codes, and enough of them fill the table.
          const pixels = new Uint8Array(bytes.length * repeats).map((_, i) => bytes[(i * 7) % bytes.length]!);
          const rgb = await decoded(encodeGif(gray(pixels, pixels.length)));
          expect(rgb.filter((_, i) => i % 3 === 0)).toEqual(pixels);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('of noise, whose table of codes fills again and again, is whole', async () => {
    let state = 1;
    const pixels = new Uint8Array(300_000).map(() => {
      state = (state * 16807) % 2147483647;
      return state & 0xff;
    });
    const rgb = await decoded(encodeGif(gray(pixels, 600)));
    const red = rgb.filter((_, i) => i % 3 === 0);
    expect(Buffer.compare(red, pixels)).toBe(0);
  });

  it('of at most 256 colours has them exactly', async () => {
    const pixels = new Uint8Array(3 * 256).map((_, i) =>
      i % 3 === 0 ? (i / 3) | 0 : i % 3 === 1 ? 255 - ((i / 3) | 0) : 77,
    );
    expect(await decoded(encodeGif({ width: 16, height: 16, channels: 3, pixels }))).toEqual(pixels);
  });

  it('of many colours is near to each, and in the mean of an area very near', async () => {
    const side = 128;
    const pixels = new Uint8Array(3 * side * side).map((_, i) => {
      const [x, y] = [((i / 3) | 0) % side, (i / 3 / side) | 0];
      return i % 3 === 0 ? 2 * x : i % 3 === 1 ? 2 * y : x + y;
    });
    const rgb = await decoded(encodeGif({ width: side, height: side, channels: 3, pixels }));
    const differences = pixels.map((value, i) => Math.abs(value - rgb[i]!));
    expect(differences.reduce((sum, value) => sum + value, 0) / pixels.length).toBeLessThan(9);
    const mean = (values: Uint8Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(Math.abs(mean(pixels) - mean(rgb))).toBeLessThan(2);
  });
});

describe('an animated GIF', () => {
  it('has all pictures in order, each as long as asked, and runs for ever', async () => {
    async function* pictures() {
      for (const value of [10, 120, 250]) yield encodeGif(gray(new Uint8Array(64).fill(value), 8));
    }
    const pieces: Uint8Array[] = [];
    for await (const piece of animatedGif(pictures(), 66.7)) pieces.push(piece);
    const gif = Buffer.concat(pieces);
    expect(await sharp(gif, { animated: true }).metadata()).toMatchObject({
      pages: 3, pageHeight: 8, width: 8, loop: 0, delay: [70, 70, 70],
    }); // biome-ignore format: one line
    for (const [page, value] of [10, 120, 250].entries()) {
      const { data } = await sharp(gif, { page }).removeAlpha().raw().toBuffer({ resolveWithObject: true });
      expect(data[0]).toBe(value);
    }
  });
});
