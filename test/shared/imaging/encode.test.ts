/**
 * Finished pictures as other people's library (libvips) reads them: what each format keeps, and in which thread.
 */
import { Worker } from 'node:worker_threads';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { encodeDeepPng, encodePicture } from '#shared/imaging/encode.ts';
import { encodeTurboJpeg } from '#shared/imaging/jpeg-encoder.ts';
import type { Picture } from '#shared/imaging/resample.ts';
import { animatedWebp } from '#shared/imaging/webp.ts';
import { noise } from './image-fixture.ts';

/** Smooth, with an edge and some noise: what pictures are like. */
function made(width: number, height: number, channels: 1 | 3): Picture {
  const random = noise(3);
  const pixels = new Uint8Array(width * height * channels).map((_, i) => {
    const column = Math.floor(i / channels) % width;
    const ramp = (column * (60 + 50 * (i % channels))) / width;
    return Math.round(ramp) + (column > width / 2 ? 60 : 0) + random(6);
  });
  return { width, height, channels, pixels };
}

async function decoded(bytes: Uint8Array, channels: 1 | 3): Promise<Uint8Array> {
  return sharp(bytes)
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .removeAlpha()
    .raw()
    .toBuffer();
}

function worstOf(a: Uint8Array, b: Uint8Array): number {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
}

function meanOf(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}

describe.each([1, 3] as const)('a picture of %i channels', (channels) => {
  const picture = made(70, 41, channels);

  it.each([1, 50, 90, 93, 96, 100])(
    'as a JPEG of quality %i is near, and without chroma subsampling',
    async (quality) => {
      const bytes = await encodePicture(picture, 'image/jpeg', quality);
      const { width, height, chromaSubsampling, channels: found } = await sharp(bytes).metadata();
      expect([width, height, found, chromaSubsampling]).toEqual([70, 41, channels, '4:4:4']);
      expect(bytes.byteLength).toBe(bytes.buffer.byteLength);
      if (quality >= 90) expect(meanOf(await decoded(bytes, channels), picture.pixels)).toBeLessThan(3);
      if (quality === 100) expect(worstOf(await decoded(bytes, channels), picture.pixels)).toBeLessThan(6);
    },
  );

  it('as PNG, and as WebP without a quality or with the highest, is the same', async () => {
    for (const bytes of [
      await encodePicture(picture, 'image/png'),
      await encodePicture(picture, 'image/webp'),
      await encodePicture(picture, 'image/webp', 100),
    ]) {
      expect(worstOf(await decoded(bytes, channels), picture.pixels)).toBe(0);
    }
  });

  it('as WebP of a quality is near, and smaller', async () => {
    const bytes = await encodePicture(picture, 'image/webp', 80);
    expect(bytes.length).toBeLessThan((await encodePicture(picture, 'image/webp')).length);
    expect(meanOf(await decoded(bytes, channels), picture.pixels)).toBeLessThan(4);
  });
});

it('by libjpeg-turbo is what it is by libvips to half a grey level, at the qualities that it is used for', async () => {
  const picture = made(128, 96, 1);
  for (const quality of [40, 90, 100]) {
    const turbo = await encodeTurboJpeg(picture, quality);
    const raw = { width: 128, height: 96, channels: 1 as const };
    const vips = await sharp(picture.pixels, { raw }).toColourspace('b-w').jpeg({ quality }).toBuffer();
    expect(turbo).toBeDefined();
    expect(meanOf(await decoded(turbo!, 1), await decoded(vips, 1))).toBeLessThan(0.5);
  }
  expect(await encodeTurboJpeg(picture, 93)).toBeUndefined();
});

it('loads its native modules in a worker thread, which ends', async () => {
  const module = new URL('../../../shared/imaging/encode.ts', import.meta.url).href;
  const code = `import('${module}').then(async ({ encodePicture }) => {
    const picture = { width: 8, height: 8, channels: 1, pixels: new Uint8Array(64).fill(7) };
    const bytes = await encodePicture(picture, 'image/jpeg', 90);
    require('node:worker_threads').parentPort.postMessage(bytes, [bytes.buffer]);
  })`;
  const worker = new Worker(code, { eval: true });
  const bytes = await new Promise<Uint8Array>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject);
  });
  expect(worstOf(await decoded(bytes, 1), new Uint8Array(64).fill(7))).toBeLessThan(2);
  expect(await worker.terminate()).toBe(1);
});

it('of 16 bits keeps each of its values in a PNG', async () => {
  const pixels = Uint16Array.from({ length: 300 * 7 }, (_, i) => (i * 7919) & 0xffff);
  const bytes = await encodeDeepPng({ width: 300, height: 7, channels: 1, pixels });
  expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', channels: 1, depth: 'ushort', width: 300 });
  const { data } = await sharp(bytes)
    .toColourspace('grey16')
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true });
  expect(new Uint16Array(data.buffer, data.byteOffset, data.length / 2)).toEqual(pixels);
});

it('refuses sides that a format has no room for, and qualities that are none', async () => {
  const wide = (width: number): Picture => ({ width, height: 1, channels: 1, pixels: new Uint8Array(width) });
  await expect(encodePicture(wide(65_501), 'image/jpeg')).rejects.toMatchObject({ code: 'cannot-render' });
  await expect(encodePicture(wide(16_384), 'image/webp')).rejects.toMatchObject({ code: 'cannot-render' });
  await expect(encodePicture(wide(8), 'image/webp', 0)).rejects.toMatchObject({ code: 'bad-request' });
});

describe('an animated WebP', () => {
  const frames = [1, 2, 3].map((shade): Picture => {
    return { width: 20, height: 10, channels: 3, pixels: new Uint8Array(600).fill(60 * shade) };
  });
  async function* stills(quality?: number): AsyncGenerator<Uint8Array> {
    for (const frame of frames) yield await encodePicture(frame, 'image/webp', quality);
  }

  it.each([undefined, 90])('is its pictures in order, for ever, at its pace (quality %s)', async (quality) => {
    const bytes = await animatedWebp(stills(quality), 40, 1_000_000);
    const { pages, delay, loop, width, pageHeight } = await sharp(bytes, { animated: true }).metadata();
    expect({ pages, delay, loop, width, pageHeight }).toEqual({
      pages: 3,
      delay: [40, 40, 40],
      loop: 0,
      width: 20,
      pageHeight: 10,
    });
    for (const [page, frame] of frames.entries()) {
      const shown = await sharp(bytes, { page }).removeAlpha().raw().toBuffer();
      expect(worstOf(shown, frame.pixels)).toBeLessThan(quality === undefined ? 1 : 4);
    }
  });

  it('ends with a sentence where it gets too large', async () => {
    await expect(animatedWebp(stills(), 40, 50)).rejects.toMatchObject({ code: 'limit-exceeded' });
  });
});
