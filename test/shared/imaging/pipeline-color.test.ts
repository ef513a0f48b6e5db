/**
 * Colour pictures from DICOM JSON and native bytes against the arbiter's formulas: colour spaces, and palettes of every kind.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { paletteOf } from '#shared/imaging/lookup-table.ts';
import { sampleFiles } from '#test/support/samples.ts';
import { expanded, grayOf, rgbOfYbrFull, rgbOfYbrPartial, type Segment, segmentUnits } from './arbiter.ts';
import { jsonOf, noise } from './image-fixture.ts';
import {
  bytesOf,
  type Elements,
  expectNear,
  identity,
  inline,
  pixelsOf,
  ramp,
  rampValues,
  row,
  wordsOf,
} from './pipeline-fixture.ts';
import { openSample } from './sample-frames.ts';

const color = (columns: number, photometric: string, planar = 0, elements: Elements = {}): DicomJson =>
  row(columns, {
    '00280002': ['US', 3],
    '00280004': ['CS', photometric],
    '00280006': ['US', planar],
    '00280100': ['US', 8],
    '00280101': ['US', 8],
    '00280102': ['US', 7],
    ...elements,
  });

const triples = (samples: Uint8Array): (readonly [number, number, number])[] =>
  Array.from({ length: samples.length / 3 }, (_, i) => [samples[3 * i]!, samples[3 * i + 1]!, samples[3 * i + 2]!]);

describe('colour (PS3.3 C.7.6.3.1), by the arbiter', () => {
  const random = noise(3);
  const samples = Uint8Array.from({ length: 600 }, () => random(256));

  it('YBR_FULL and YBR_PARTIAL_422, each by its equations', async () => {
    expectNear(await pixelsOf(color(200, 'YBR_FULL'), samples), triples(samples).flatMap(rgbOfYbrFull));
    const pairs = samples.subarray(0, 400);
    const shared = Array.from({ length: 200 }, (_, i) => {
      const at = 4 * (i >> 1);
      return [pairs[at + (i & 1)]!, pairs[at + 2]!, pairs[at + 3]!] as const;
    });
    expectNear(await pixelsOf(color(200, 'YBR_FULL_422'), pairs), shared.flatMap(rgbOfYbrFull));
    expectNear(await pixelsOf(color(200, 'YBR_PARTIAL_422'), pairs), shared.flatMap(rgbOfYbrPartial));
  });

  it('RGB by plane and by pixel', async () => {
    const planes = Uint8Array.from({ length: 600 }, (_, i) => samples[3 * (i % 200) + Math.floor(i / 200)]!);
    expect([...(await pixelsOf(color(200, 'RGB', 1), planes))]).toEqual([...samples]);
    expect([...(await pixelsOf(color(200, 'RGB', 0), samples))]).toEqual([...samples]);
  });

  it('what nobody says how to see is refused, not guessed', async () => {
    for (const photometric of ['HSV', 'CMYK', 'ARGB', 'MONOCHROME2', 'PALETTE', 'anything']) {
      await expect(pixelsOf(color(200, photometric), samples)).rejects.toMatchObject({ code: 'cannot-render' });
    }
    const gray = row(2, { '00280004': ['CS', 'RGB'] });
    await expect(pixelsOf(gray, new Uint8Array(4))).rejects.toMatchObject({ code: 'cannot-render' });
  });
});

interface Channel {
  readonly segments: readonly Segment[];
  readonly entries: readonly number[];
}

/** Some segments, the first discrete and the last an indirect one of those before. */
const channelOf = (most: number): fc.Arbitrary<Channel> =>
  fc
    .record({
      first: fc.array(fc.integer({ min: 0, max: most }), { minLength: 1, maxLength: 9 }),
      end: fc.integer({ min: 0, max: most }),
      length: fc.integer({ min: 1, max: 40 }),
      indirect: fc.integer({ min: 1, max: 2 }),
    })
    .map(({ first, end, length, indirect }) => {
      const segments: Segment[] = [
        { kind: 'discrete', values: first },
        { kind: 'linear', length, end },
        { kind: 'indirect', first: 0, count: indirect },
      ];
      return { segments, entries: expanded(segments) };
    });

const wellKnown = sampleFiles('modalities', 'color-palette');

describe('palettes (PS3.3 C.7.6.3.1.5, C.7.9.2), by the arbiter', () => {
  const indices = Uint8Array.from({ length: 256 }, (_, i) => i);
  const palette = (elements: Elements): Elements => ({
    '00280004': ['CS', 'PALETTE COLOR'],
    '00280100': ['US', 8],
    '00280101': ['US', 8],
    '00280102': ['US', 7],
    ...elements,
  });

  it('segmented: discrete, linear and indirect, of 8-bit entries in bytes and of 16-bit ones in words', async () => {
    for (const bits of [8, 16] as const) {
      await fc.assert(
        fc.asyncProperty(
          channelOf(2 ** bits - 1),
          fc.integer({ min: 0, max: 100 }),
          async ({ segments, entries }, first) => {
            // One bright entry says of which width the entries are.
            const bright: Segment[] = [...segments, { kind: 'discrete', values: [2 ** bits - 1] }];
            const all = [...entries, 2 ** bits - 1];
            const units = segmentUnits(bright, bits);
            const data =
              bits === 8 ? inline(Uint8Array.from(units.length % 2 === 0 ? units : [...units, 0])) : wordsOf(units);
            const metadata: DicomJson = row(256, palette({}));
            for (const channel of [1, 2, 3]) {
              metadata[`0028110${channel}`] = { vr: 'US', Value: [all.length, first, bits] };
              metadata[`0028122${channel}`] = { vr: 'OW', InlineBinary: data };
            }
            const expected = [...indices].flatMap((index) => {
              const entry = all[Math.max(0, Math.min(all.length - 1, index - first))]!;
              const level = bits === 8 ? entry : entry >> 8;
              return [level, level, level];
            });
            expect([...(await pixelsOf(metadata, indices))]).toEqual(expected);
          },
        ),
        { numRuns: 30 },
      );
    }
  });

  it.skipIf(wellKnown.length === 0)('of the standard’s own segmented palettes are their 256 colours', async () => {
    const colors = async (name: string) => {
      const { metadata } = await openSample(wellKnown.find((file) => file.endsWith(name))!);
      const { red, green, blue } = paletteOf(metadata, false, undefined);
      return [0, 128, 255].map((index) => [red, green, blue].map(({ entries }) => entries[index]));
    };
    // Linear segments from one colour to another, the first entry being discrete.
    expect(await colors('spring.dcm')).toEqual([[255, 0, 255], [255, 128, 127], [255, 255, 0]]); // biome-ignore format: three colours
    expect(await colors('summer.dcm')).toEqual([[0, 255, 0], [0, 191, 2], [0, 128, 254]]); // biome-ignore format: three colours
    expect(await colors('winter.dcm')).toEqual([[0, 0, 255], [1, 128, 191], [127, 255, 128]]); // biome-ignore format: three colours
  });

  it('8-bit entries: packed, in words, and in words that claim 16 bits', async () => {
    const entries = Array.from({ length: 256 }, (_, i) => (i * 37) % 256);
    const expected = entries.flatMap((entry) => [entry, entry, entry]);
    for (const [bits, data] of [
      [8, inline(Uint8Array.from(entries))],
      [8, wordsOf(entries)],
      [16, wordsOf(entries)],
      [16, wordsOf(entries.map((entry) => entry * 257))],
    ] as const) {
      const metadata: DicomJson = row(256, palette({}));
      for (const channel of [1, 2, 3]) {
        metadata[`0028110${channel}`] = { vr: 'US', Value: [256, 0, bits] };
        metadata[`0028120${channel}`] = { vr: 'OW', InlineBinary: data };
      }
      expect([...(await pixelsOf(metadata, indices))]).toEqual(expected);
    }
  });

  it('supplemental: large values are colours where Pixel Presentation says so, and gray where it does not', async () => {
    const voi = { center: 512, width: 1024, function: 'LINEAR' } as const;
    const entries = Array.from({ length: 100 }, (_, i) => 0xff00 - i * 256);
    const supplemental = (presentation: Elements): DicomJson => {
      const metadata: DicomJson = row(4096, presentation);
      for (const channel of [1, 2, 3]) {
        metadata[`0028110${channel}`] = { vr: 'US', Value: [100, 1024, 16] };
        metadata[`0028120${channel}`] = { vr: 'OW', InlineBinary: wordsOf(entries) };
      }
      return metadata;
    };
    const grays = rampValues.map((value) => grayOf(value, { modality: identity, voi }));
    const mixed = rampValues.flatMap((value) => {
      const level = value < 1024 ? grays[value]! : entries[Math.min(99, value - 1024)]! >> 8;
      return [level, level, level];
    });
    expectNear(await pixelsOf(supplemental({ '00089205': ['CS', 'MIXED'] }), bytesOf(ramp), voi), mixed);
    expectNear(await pixelsOf(supplemental({}), bytesOf(ramp), voi), grays);
    const ofFrame: Elements = {
      '00089205': ['CS', 'MIXED'],
      '52009230': ['SQ', jsonOf({ '00189226': ['SQ', jsonOf({ '00089205': ['CS', 'MONOCHROME'] })] })],
    };
    expectNear(await pixelsOf(supplemental(ofFrame), bytesOf(ramp), voi), grays);
  });
});
