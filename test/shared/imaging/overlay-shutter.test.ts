/**
 * Overlay planes in both of their homes, and display shutters by the arbiter: where they lie, which frames they belong to, what is drawn.
 */
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { bulkNeededForRendering, imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { overlaysOf } from '#shared/imaging/overlay.ts';
import { renderFrame, renderingNeedsBytes, renderPicture } from '#shared/imaging/render.ts';
import type { Picture } from '#shared/imaging/resample.ts';
import { applyShutter, shutterOf } from '#shared/imaging/shutter.ts';
import { codestreamOf, JPEG_LS } from '#test/shared/dicomweb/made-codestreams.ts';
import { type ArbiterShutter, isShown } from './arbiter.ts';
import { EXPLICIT_BIG, EXPLICIT_LITTLE, grayImage, jsonOf, noise } from './image-fixture.ts';

type Elements = Parameters<typeof jsonOf>[0];

/** Bits row by row, the first one the least significant of its byte. */
function packed(bits: readonly number[], bitOffset = 0): string {
  const bytes = new Uint8Array(Math.ceil((bits.length + bitOffset) / 8));
  bits.forEach((bit, i) => {
    bytes[(i + bitOffset) >> 3]! |= bit << ((i + bitOffset) & 7);
  });
  return Buffer.from(bytes).toString('base64');
}

/** A picture of `#` and `.` as bits. */
const drawing = (...lines: readonly string[]): number[] => [...lines.join('')].map((sign) => (sign === '#' ? 1 : 0));

const shown = ({ pixels, width, channels }: Picture): string[] =>
  Array.from({ length: pixels.length / width / channels }, (_, row) =>
    Array.from({ length: width }, (_, column) => (pixels[(row * width + column) * channels] === 255 ? '#' : '.')).join(
      '',
    ),
  );

const image = (rows: number, columns: number, elements: Elements = {}): DicomJson =>
  jsonOf({ ...grayImage, '00280010': ['US', rows], '00280011': ['US', columns], ...elements });

const overlay = (group: string, rows: number, columns: number, data?: string, elements: Elements = {}): DicomJson => ({
  ...jsonOf({
    [`${group}0010`]: ['US', rows],
    [`${group}0011`]: ['US', columns],
    [`${group}0040`]: ['CS', 'G'],
    [`${group}0050`]: ['SS', 1, 1],
    [`${group}0100`]: ['US', 1],
    [`${group}0102`]: ['US', 0],
    ...elements,
  }),
  ...(data !== undefined && { [`${group}3000`]: { vr: 'OW' as const, InlineBinary: data } }),
});

/** Of a black image unless given. */
async function render(metadata: DicomJson, frameNumber = 1, frame?: Uint8Array, syntax = EXPLICIT_LITTLE) {
  const attributes = imageAttributesOf(metadata, frameNumber);
  const { overlays, warnings } = overlaysOf(metadata, frameNumber);
  const bytes = attributes.samplesPerPixel * (attributes.bitsAllocated / 8) * attributes.rows * attributes.columns;
  const { shutter } = shutterOf(metadata, attributes, overlays);
  const picture = await renderPicture({
    frame: frame ?? new Uint8Array(bytes),
    transferSyntaxUid: syntax,
    attributes,
    window: { center: 5000, width: 100, function: 'LINEAR' },
    overlays: overlays.filter((one) => one !== shutter?.bitmap),
    ...(shutter && { shutter }),
  });
  return { picture, warnings };
}

describe('overlay planes (PS3.3 C.9.2)', () => {
  const cross = drawing('#.#', '.#.', '#.#');

  it('lie where Overlay Origin says, also above, beside and beyond the image', async () => {
    const at = async (row: number, column: number) => {
      const plane = overlay('6000', 3, 3, packed(cross), { '60000050': ['SS', row, column] });
      return shown((await render({ ...image(4, 4), ...plane })).picture);
    };
    expect(await at(1, 1)).toEqual(['#.#.', '.#..', '#.#.', '....']);
    expect(await at(2, 3)).toEqual(['....', '..#.', '...#', '..#.']);
    expect(await at(0, -1)).toEqual(['....', '#...', '....', '....']);
    expect(await at(9, 1)).toEqual(['....', '....', '....', '....']);
    expect(await at(-9, -9)).toEqual(['....', '....', '....', '....']);
  });

  it('of several groups are all drawn, in colour images too', async () => {
    const rgb: Elements = {
      '00280002': ['US', 3],
      '00280004': ['CS', 'RGB'],
      '00280100': ['US', 8],
      '00280101': ['US', 8],
      '00280102': ['US', 7],
    };
    const metadata = {
      ...image(3, 3, rgb),
      ...overlay('6000', 3, 3, packed(cross)),
      ...overlay('601E', 1, 3, packed([0, 1, 0])),
    };
    const { picture } = await render(metadata);
    expect(shown(picture)).toEqual(['###', '.#.', '#.#']);
    expect(picture.pixels.slice(0, 3)).toEqual(Uint8Array.of(255, 255, 255));
  });

  it('show the outline of a region of interest: what it covers is what is looked at', async () => {
    const region = drawing('######', '######', '######', '######');
    const metadata = { ...image(4, 6), ...overlay('6002', 4, 6, packed(region), { '60020040': ['CS', 'R'] }) };
    expect(shown((await render(metadata)).picture)).toEqual(['######', '#....#', '#....#', '######']);
  });

  it('of several frames belong to those from Image Frame Origin on, bit after bit', async () => {
    const frames = [drawing('#..', '...', '..#'), drawing('.#.', '...', '.#.')];
    const metadata = {
      ...image(3, 3, { '00280008': ['IS', 4] }),
      ...overlay('6000', 3, 3, packed(frames.flat()), { '60000015': ['IS', 2], '60000051': ['US', 2] }),
    };
    const nothing = ['...', '...', '...'];
    expect(shown((await render(metadata, 1)).picture)).toEqual(nothing);
    expect(shown((await render(metadata, 2)).picture)).toEqual(['#..', '...', '..#']);
    expect(shown((await render(metadata, 3)).picture)).toEqual(['.#.', '...', '.#.']);
    expect(shown((await render(metadata, 4)).picture)).toEqual(nothing);
    const every = { ...image(3, 3, { '00280008': ['IS', 4] }), ...overlay('6000', 3, 3, packed(cross)) };
    expect(shown((await render(every, 4)).picture)).toEqual(['#.#', '.#.', '#.#']);
  });

  it('embedded in unused bits of Pixel Data are found above and below the value, in both byte orders', async () => {
    for (const [bitPosition, highBit] of [
      [12, 11],
      [15, 11],
      [0, 15],
      [3, 15],
    ] as const) {
      for (const isBigEndian of [false, true]) {
        const random = noise(bitPosition + 1);
        const cells = new DataView(new ArrayBuffer(18));
        cross.forEach((bit, i) => {
          const other = random(65536) & ~(1 << bitPosition) & ~(0xfff << (highBit - 11));
          cells.setUint16(2 * i, other | (bit << bitPosition), !isBigEndian);
        });
        const metadata = {
          ...image(3, 3, { '00280102': ['US', highBit] }),
          ...overlay('6000', 3, 3, undefined, { '60000100': ['US', 16], '60000102': ['US', bitPosition] }),
        };
        const frame = new Uint8Array(cells.buffer);
        const { picture } = await render(metadata, 1, frame, isBigEndian ? EXPLICIT_BIG : EXPLICIT_LITTLE);
        expect(shown(picture), `bit ${bitPosition}`).toEqual(['#.#', '.#.', '#.#']);
      }
    }
  });

  it('embedded, are not seen in the signs of a codestream that has none of their bits', async () => {
    const metadata = {
      ...image(3, 3, { '00280103': ['US', 1], '00281050': ['DS', 5000], '00281051': ['DS', 2] }),
      ...overlay('6000', 3, 3, undefined, { '60000100': ['US', 16], '60000102': ['US', 15] }),
    };
    const cells = new Uint8Array(Int16Array.from(cross, (bit) => -bit).buffer);
    const of12Bits = { rows: 3, columns: 3, bitsStored: 12, signed: true };
    for (const transferSyntaxUid of ['1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.201', JPEG_LS]) {
      const frame = await codestreamOf(cells, of12Bits, transferSyntaxUid);
      const { picture } = await render(metadata, 1, frame, transferSyntaxUid);
      expect(shown(picture), transferSyntaxUid).toEqual(['...', '...', '...']);
    }
  });

  it('that are cut short, without size or among the bits of values are left out with a warning', async () => {
    for (const bad of [
      overlay('6000', 3, 3, packed(drawing('#.#'))),
      overlay('6000', 3, 3, packed(cross), { '60000010': ['US'] }),
      overlay('6000', 3, 3, undefined, { '60000100': ['US', 16], '60000102': ['US', 5] }),
      overlay('6000', 3, 3, undefined, { '60000100': ['US', 16], '60000102': ['US', 40] }),
      overlay('6000', 3, 60000, undefined, { '60000100': ['US', 16], '60000102': ['US', 15] }),
      overlay('6000', 3, 3, undefined),
    ]) {
      const { picture, warnings } = await render({ ...image(3, 3), ...bad, ...overlay('6004', 3, 3, packed(cross)) });
      expect(warnings).toEqual(['The overlay of group 6000 is damaged and is not shown.']);
      expect(shown(picture)).toEqual(['#.#', '.#.', '#.#']);
    }
  });

  it('name their bulk data, and are counted in the memory that a picture takes', async () => {
    const bulk = { ...overlay('6002', 3, 3), '60023000': { vr: 'OW' as const, BulkDataURI: '~/60023000' } };
    const metadata = { ...image(3, 3), ...bulk };
    expect(bulkNeededForRendering(metadata)).toEqual(['~/60023000']);
    const bytes = new Uint8Array(Buffer.from(packed(cross), 'base64'));
    const { overlays } = overlaysOf(metadata, 1, (uri) => (uri === '~/60023000' ? bytes : undefined));
    expect(overlays).toHaveLength(1);
    const request = {
      frame: bytes,
      transferSyntaxUid: EXPLICIT_LITTLE,
      attributes: imageAttributesOf(metadata, 1),
      mediaType: 'image/png',
    } as const;
    const large = overlays.map((one) => ({ ...one, rows: 60000, columns: 60000 }));
    expect(renderingNeedsBytes({ ...request, overlays: large })).toBeGreaterThan(60000 * 60000);
  });

  it('any JSON gives planes that can be drawn, or warnings', async () => {
    const value = fc.oneof(fc.integer({ min: -70000, max: 70000 }), fc.constantFrom('R', 'G', ''), fc.double());
    const element = fc.record({ vr: fc.constant('US'), Value: fc.array(value, { maxLength: 3 }) });
    const tags = ['0010', '0011', '0015', '0040', '0050', '0051', '0100', '0102'].map((tag) => `6000${tag}`);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(...tags), element)), async (changes) => {
        const metadata = {
          ...image(3, 3),
          ...overlay('6000', 3, 3, packed(cross)),
          ...Object.fromEntries(changes),
        } as DicomJson;
        const { picture } = await render(metadata);
        expect(picture.pixels).toHaveLength(9);
      }),
      { numRuns: 100 },
    );
  });
});

const position = fc.integer({ min: -5, max: 30 });
const shutterShapes = fc.record(
  {
    rectangle: fc.tuple(position, position, position, position),
    circle: fc.record({ row: position, column: position, radius: fc.integer({ min: 1, max: 20 }) }),
    polygon: fc.array(fc.tuple(position, position), { minLength: 3, maxLength: 7 }),
  },
  { requiredKeys: [] },
);

describe('display shutters (PS3.3 C.7.6.11), by the arbiter', () => {
  const size = { rows: 20, columns: 25 };

  it('show what lies within every shape or on its edge, for any shapes', () => {
    fc.assert(
      fc.property(shutterShapes, ({ rectangle, circle, polygon }) => {
        const [a = 0, b = 0, c = 0, d = 0] = rectangle ?? [];
        const box = rectangle && {
          left: Math.min(a, b),
          right: Math.max(a, b),
          upper: Math.min(c, d),
          lower: Math.max(c, d),
        };
        const given: ArbiterShutter = {
          ...(box && { rectangle: box }),
          ...(circle && { circle }),
          ...(polygon && { polygon }),
        };
        const shapes = [box && 'RECTANGULAR', circle && 'CIRCULAR', polygon && 'POLYGONAL'].filter(
          (name) => name !== undefined,
        );
        const metadata = jsonOf({
          '00181600': ['CS', ...shapes],
          ...(box && {
            '00181602': ['IS', box.left],
            '00181604': ['IS', box.right],
            '00181606': ['IS', box.upper],
            '00181608': ['IS', box.lower],
          }),
          ...(circle && { '00181610': ['IS', circle.row, circle.column], '00181612': ['IS', circle.radius] }),
          ...(polygon && { '00181620': ['IS', ...polygon.flat()] }),
        } as Elements);
        const { shutter, warnings } = shutterOf(metadata, size);
        // Shapes that hide all of the image are not applied, and that is said.
        const applied: ArbiterShutter =
          warnings.length === 0 ? given : { ...given, ...(shutter?.rectangle === undefined && { rectangle: WHOLE }) };
        const picture: Picture = { width: 25, height: 20, channels: 1, pixels: new Uint8Array(500).fill(200) };
        if (shutter !== undefined) applyShutter(picture, shutter, size);
        const expected = Uint8Array.from({ length: 500 }, (_, i) =>
          shutter === undefined || isShown(Math.floor(i / 25) + 1, (i % 25) + 1, applied) ? 200 : 0,
        );
        expect(picture.pixels).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  const WHOLE = { left: 1, right: 25, upper: 1, lower: 20 };
  const box: Elements = {
    '00181600': ['CS', 'RECTANGULAR'],
    '00181602': ['IS', 2],
    '00181604': ['IS', 3],
    '00181606': ['IS', 2],
    '00181608': ['IS', 2],
  };

  it('hide in the Shutter Presentation Value, black where there is none, and in colour', () => {
    const hidden = (elements: Elements, channels: 1 | 3) => {
      const picture: Picture = { width: 4, height: 3, channels, pixels: new Uint8Array(12 * channels).fill(7) };
      applyShutter(picture, shutterOf(jsonOf({ ...box, ...elements }), { rows: 3, columns: 4 }).shutter!, {
        rows: 3,
        columns: 4,
      });
      return picture.pixels;
    };
    expect([...hidden({}, 1)]).toEqual([0, 0, 0, 0, 0, 7, 7, 0, 0, 0, 0, 0]);
    expect(hidden({ '00181622': ['US', 65535] }, 1)[0]).toBe(255);
    expect(hidden({ '00181622': ['US', 0x8080] }, 3).slice(0, 3)).toEqual(Uint8Array.of(128, 128, 128));
    // L* of 100, a* and b* of 0: white.
    expect(hidden({ '00181624': ['US', 65535, 32896, 32896] }, 3).slice(0, 3)).toEqual(Uint8Array.of(255, 255, 255));
  });

  it('circles are round in space where pixels are not square', () => {
    const circle = {
      '00181600': ['CS', 'CIRCULAR'],
      '00181610': ['IS', 10, 10],
      '00181612': ['IS', 8],
      '00280030': ['DS', 2, 1],
    } as const;
    const { shutter } = shutterOf(jsonOf(circle), { rows: 20, columns: 20 });
    expect(shutter?.circle).toEqual({ x: 10, y: 10, radiusAcross: 8, radiusDown: 4 });
  });

  it('fit pictures of fewer pixels than the image', () => {
    const picture: Picture = { width: 4, height: 4, channels: 1, pixels: new Uint8Array(16).fill(9) };
    const half = {
      '00181600': ['CS', 'RECTANGULAR'],
      '00181602': ['IS', 5],
      '00181604': ['IS', 8],
      '00181606': ['IS', 1],
      '00181608': ['IS', 4],
    } as const;
    const eight = { rows: 8, columns: 8 };
    applyShutter(picture, shutterOf(jsonOf(half), eight).shutter!, eight);
    expect([...picture.pixels]).toEqual([0, 0, 9, 9, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('that nobody filled in, or that would hide everything, are not applied, with a warning', () => {
    for (const elements of [
      { '00181600': ['CS', 'RECTANGULAR'] },
      { ...box, '00181604': ['IS', 0], '00181602': ['IS', 0] },
      { ...box, '00181602': ['IS', 30], '00181604': ['IS', 40] },
      { '00181600': ['CS', 'CIRCULAR'], '00181610': ['IS', 3, 3], '00181612': ['IS', 0] },
      { '00181600': ['CS', 'POLYGONAL'], '00181620': ['IS', 1, 1, 5, 5] },
      { '00181600': ['CS', 'BITMAP'], '00181623': ['US', 0x6000] },
    ] as Elements[]) {
      const { shutter, warnings } = shutterOf(jsonOf(elements), size);
      expect(shutter, JSON.stringify(elements)).toBeUndefined();
      expect(warnings).toHaveLength(1);
    }
  });

  it('hide all of 16 bits: nothing of the image is left in the lowest ones', async () => {
    const attributes = imageAttributesOf(image(2, 2, { '00280101': ['US', 16], '00280102': ['US', 15] }), 1);
    const shutter = { rectangle: { left: 1, right: 1, upper: 1, lower: 2 }, gray: 0 };
    const frame = new Uint8Array(Uint16Array.of(70, 70, 70, 70).buffer);
    const window = { center: 32767.5, width: 65535, function: 'LINEAR_EXACT' } as const;
    const request = { frame, transferSyntaxUid: EXPLICIT_LITTLE, attributes, window, shutter } as const;
    const png = await renderFrame({ ...request, mediaType: 'image/png', bitDepth: 16 });
    const raw = await sharp(png).toColourspace('grey16').raw({ depth: 'ushort' }).toBuffer();
    expect([...new Uint16Array(new Uint8Array(raw).buffer)]).toEqual([70, 0, 70, 0]);
  });

  it('of a bitmap hide where its overlay says so, and overlays lie above what is hidden', async () => {
    const metadata = {
      ...image(3, 3, { '00181600': ['CS', 'BITMAP'], '00181622': ['US', 65535], '00181623': ['US', 0x6004] }),
      ...overlay('6004', 3, 3, packed(drawing('##.', '#..', '...'))),
    };
    expect(shown((await render(metadata)).picture)).toEqual(['##.', '#..', '...']);
    const over = {
      ...image(3, 3, { ...box, '00181604': ['IS', 2] }),
      ...overlay('6000', 3, 3, packed(drawing('#..', '...', '..#'))),
    };
    expect(shown((await render(over)).picture)).toEqual(['#..', '...', '..#']);
  });
});
