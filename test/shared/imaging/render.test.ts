/**
 * A frame’s whole way to PNG and JPEG bytes.
 */
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { type RenderRequest, renderFrame } from '#shared/imaging/render.ts';
import { attributesWith, EXPLICIT_LITTLE } from './image-fixture.ts';

const ramp: RenderRequest = {
  frame: Uint8Array.from({ length: 256 }, (_, i) => i),
  transferSyntaxUid: EXPLICIT_LITTLE,
  attributes: attributesWith({ rows: 16, columns: 16, bitsAllocated: 8 }),
  window: { center: 128, width: 256, function: 'LINEAR' },
  mediaType: 'image/png',
};

const colour: RenderRequest = {
  ...ramp,
  frame: Uint8Array.from({ length: 768 }, (_, i) => (i * 7) % 256),
  attributes: attributesWith({
    rows: 16,
    columns: 16,
    bitsAllocated: 8,
    samplesPerPixel: 3,
    photometricInterpretation: 'RGB',
  }),
};

/** The decoded samples with as many channels as the file has (sharp would make three of one). */
async function samplesOf(encoded: Uint8Array): Promise<number[]> {
  const { channels } = await sharp(encoded).metadata();
  return [
    ...(await sharp(encoded)
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw()
      .toBuffer()),
  ];
}

describe('a rendered frame', () => {
  it('is an 8-bit PNG that holds the picture exactly, gray with one channel and colour with three', async () => {
    for (const [request, channels] of [
      [ramp, 1],
      [colour, 3],
    ] as const) {
      const png = await renderFrame(request);
      expect(await sharp(png).metadata()).toMatchObject({
        format: 'png',
        depth: 'uchar',
        channels,
        width: 16,
        height: 16,
      });
      expect(await samplesOf(png)).toEqual([...request.frame]);
    }
  });

  it('is a JPEG near the picture, smaller at lower quality, colour without chroma subsampling', async () => {
    const [fine, coarse] = await Promise.all(
      [95, 20].map((quality) => renderFrame({ ...colour, mediaType: 'image/jpeg', quality })),
    );
    expect(await sharp(fine).metadata()).toMatchObject({ format: 'jpeg', channels: 3, chromaSubsampling: '4:4:4' });
    expect(coarse!.length).toBeLessThan(fine!.length);
    const gray = await renderFrame({ ...ramp, mediaType: 'image/jpeg' });
    const samples = await samplesOf(gray);
    expect(samples).toHaveLength(256);
    expect(Math.max(...samples.map((value, i) => Math.abs(value - i)))).toBeLessThanOrEqual(6);
  });

  it('fits a viewport', async () => {
    const png = await renderFrame({ ...colour, viewport: { width: 8, height: 100 } });
    expect(await sharp(png).metadata()).toMatchObject({ width: 8, height: 8 });
  });

  it('MONOCHROME1 is drawn inverted', async () => {
    const inverted = {
      ...ramp,
      attributes: { ...ramp.attributes, photometricInterpretation: 'MONOCHROME1', inverse: true },
    };
    expect(await samplesOf(await renderFrame(inverted))).toEqual([...ramp.frame].map((value) => 255 - value));
  });

  it('refuses windows and qualities that cannot be, as a bad request', async () => {
    for (const changes of [
      { window: { center: 0, width: 0.5, function: 'LINEAR' } },
      { window: { center: 0, width: 0, function: 'SIGMOID' } },
      { window: { center: Number.NaN, width: 10, function: 'LINEAR_EXACT' } },
      { mediaType: 'image/jpeg', quality: 0 },
      { mediaType: 'image/jpeg', quality: 101 },
      { mediaType: 'image/jpeg', quality: 50.5 },
    ] as const) {
      await expect(renderFrame({ ...ramp, ...changes }), JSON.stringify(changes)).rejects.toMatchObject({
        code: 'bad-request',
      });
    }
  });
});
