/**
 * Real files of every transfer syntax against what other decoders made of them.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { PixelValues } from '#shared/imaging/decoded-frame.ts';
import { type ImageAttributes, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { renderPicture } from '#shared/imaging/render.ts';
import { samplesFolder, sampleTable } from '#test/support/samples.ts';
import { openSample } from './sample-frames.ts';

/**
 * Real files against what several other decoders made of them (REFERENCE.csv of the samples). Of the long series some
 * slices are enough; ARCHIPEL_ALL_SAMPLES=1 takes all.
 */
const root = samplesFolder();
const everyRow = sampleTable('REFERENCE.csv').filter((row) => row.error === '');
const rows = everyRow.filter(
  ({ file }, i) => process.env.ARCHIPEL_ALL_SAMPLES === '1' || !file!.startsWith('series-') || i % 40 === 0,
);

/** The bytes that sha256_values is taken over: little endian in Bits Allocated. */
function cellsOf(values: PixelValues, { bitsAllocated, pixelKind }: ImageAttributes): Uint8Array {
  const wanted = Math.ceil(bitsAllocated / 8);
  const cells =
    pixelKind !== 'integer' || values.BYTES_PER_ELEMENT === wanted
      ? values
      : wanted === 1
        ? Uint8Array.from(values)
        : wanted === 2
          ? Uint16Array.from(values)
          : Uint32Array.from(values);
  return new Uint8Array(cells.buffer, cells.byteOffset, cells.byteLength);
}

function statisticsOf(values: PixelValues) {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    min = Math.min(min, value);
    max = Math.max(max, value);
    sum += value;
  }
  return { min, max, mean: sum / values.length };
}

describe.skipIf(root === undefined)('frames of real files', () => {
  it('there are files for every transfer syntax', () => {
    expect(rows.length).toBeGreaterThan(180);
  });

  it('there is no row that is left out but video, which is refused with a sentence', async () => {
    const others = sampleTable('REFERENCE.csv').filter((row) => row.error !== '');
    expect(others.map(({ file }) => file!.split('/').slice(0, 2).join('/'))).toEqual(others.map(() => 'generated/video')); // biome-ignore format: one comparison
    for (const { file } of others) {
      const { metadata, transferSyntaxUid, frame } = await openSample(join(root!, file!));
      const refused = decodeFrame(frame(1).bytes, transferSyntaxUid, imageAttributesOf(metadata, 1));
      await expect(refused).rejects.toMatchObject({ code: 'cannot-render', message: /ask for them as they are$/ });
    }
  });

  const byFile = Map.groupBy(rows, (row) => row.file!);
  for (const [file, references] of byFile) {
    it(file, async () => {
      const sample = await openSample(join(root!, file));
      for (const reference of references) {
        const frameNumber = Number(reference.frame);
        const attributes = imageAttributesOf(sample.metadata, frameNumber);
        const { bytes, bitOffset } = sample.frame(frameNumber);
        const before = createHash('sha256').update(bytes).digest('hex');
        const { values } = await decodeFrame(bytes, sample.transferSyntaxUid, attributes, { bitOffset });
        if (reference.sha256_values !== '') {
          expect(createHash('sha256').update(cellsOf(values, attributes)).digest('hex')).toBe(reference.sha256_values);
        } else {
          const [, mean, ends] = /mean \+-([\d.]+), min\/max \+-(\d+)/.exec(reference.tolerance!)!;
          const found = statisticsOf(values);
          expect(Math.abs(found.mean - Number(reference.mean))).toBeLessThanOrEqual(Number(mean));
          expect(Math.abs(found.min - Number(reference.min))).toBeLessThanOrEqual(Number(ends));
          expect(Math.abs(found.max - Number(reference.max))).toBeLessThanOrEqual(Number(ends));
        }
        expect(createHash('sha256').update(bytes).digest('hex')).toBe(before);
      }
      // And the whole way, where decoding once more is cheap.
      const { bytes, bitOffset } = sample.frame(1);
      const attributes = imageAttributesOf(sample.metadata, 1);
      if (attributes.rows * attributes.columns > 1_000_000) return;
      const request = { frame: bytes, transferSyntaxUid: sample.transferSyntaxUid, attributes, bitOffset };
      const picture = await renderPicture({ ...request, viewport: { width: 64, height: 64 } });
      expect(Math.max(picture.width, picture.height)).toBe(64);
    });
  }
});

describe.skipIf(root === undefined)('broken pixels of real files', () => {
  it('a sign that the codestream does not know of is the data set’s', async () => {
    const sample = await openSample(join(root!, 'broken/pixels/J2K_pixelrep_mismatch.dcm'));
    const { bytes } = sample.frame(1);
    const { values } = await decodeFrame(bytes, sample.transferSyntaxUid, imageAttributesOf(sample.metadata, 1));
    expect(statisticsOf(values).min).toBe(-2000);
  });
});
