/** Segmentations as data: what lies on what in space, whatever the orientation and the grid; and laid over pictures in a render thread. */
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { ArchiveError } from '#shared/errors.ts';
import { imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import { labelColors, overlapsOn, segmentationOf, segmentNumberOf, sourcesOf } from '#shared/imaging/segmentation.ts';
import { seen } from '#test/shared/dicomweb/looking.ts';

const el = (vr: string, ...Value: JsonValue[]): JsonElement => ({ vr, Value }) as JsonElement;
const sq = (...Value: DicomJson[]): JsonElement => ({ vr: 'SQ', Value });

interface Grid {
  readonly rows?: number;
  readonly columns?: number;
  readonly position?: readonly number[];
  readonly orientation?: readonly number[];
  readonly spacing?: readonly number[];
  readonly space?: string;
}
const oblique = [0.6, 0.8, 0, 0, 0, -1];
const planeOf = ({ position = [10, 20, 30], orientation = oblique, spacing = [2, 1] }: Grid): DicomJson => ({
  '00200032': el('DS', ...position),
  '00200037': el('DS', ...orientation),
  '00280030': el('DS', ...spacing),
});
const sizeOf = ({ rows = 8, columns = 6, space = '1.9' }: Grid): DicomJson => ({
  '00280010': el('US', rows),
  '00280011': el('US', columns),
  '00200052': el('UI', space),
});
const imageOf = (grid: Grid = {}) => ({
  metadata: { ...sizeOf(grid), ...planeOf(grid) },
  sopInstanceUid: '1.5',
  frameNumber: 1,
});
const segmentationIn = (grid: Grid = {}, frame: DicomJson = {}): DicomJson => {
  const plane = planeOf(grid);
  return {
    ...sizeOf(grid),
    '00280008': el('IS', 1),
    '00620001': el('CS', 'BINARY'),
    '52009229': sq({
      '00209116': sq({ '00200037': plane['00200037']! }),
      '00289110': sq({ '00280030': plane['00280030']! }),
    }),
    '52009230': sq({ '00209113': sq({ '00200032': plane['00200032']! }), ...frame }),
  };
};
const derivedFrom = (uid: string, ...frames: number[]): DicomJson => ({
  '00089124': sq({
    '00082112': sq({ '00081155': el('UI', uid), ...(frames.length > 0 && { '00081160': el('IS', ...frames) }) }),
  }),
});

describe('a frame of a segmentation', () => {
  it('lies on an image of its plane and its grid pixel on pixel', () => {
    expect(overlapsOn(segmentationIn(), imageOf())(1)).toEqual({ fromImage: undefined });
    // Rounded as decimal strings are.
    expect(overlapsOn(segmentationIn({ position: [10.004, 20.003, 30.001] }), imageOf())(1)).toEqual({
      fromImage: undefined,
    });
  });

  it('does not lie on one before or behind it, tilted against it, or of another frame of reference', () => {
    const normal = [-0.8, 0.6, 0];
    const behind = [10, 20, 30].map((value, i) => value + 0.3 * normal[i]!);
    for (const grid of [{ position: behind }, { orientation: [0.6, 0.8, 0, -0.07, 0.05, -0.995] }, { space: '1.8' }]) {
      expect(overlapsOn(segmentationIn(grid, derivedFrom('1.5', 2)), imageOf())(1)).toBeUndefined();
    }
  });

  it('lies on one of another grid where the same places are', () => {
    // Twice as fine across, turned by 180 degrees in the plane, its first pixel where the last of the image is.
    const last = [10 + 5 * 0.6, 20 + 5 * 0.8, 30 - 7 * 2];
    const grid = { position: last, orientation: [-0.6, -0.8, 0, 0, 0, 1], spacing: [2, 0.5], columns: 11 };
    const map = overlapsOn(segmentationIn(grid), imageOf())(1)?.fromImage;
    expect(map).toBeDefined();
    const { a, b, c, d, e, f } = map!;
    for (const [x, y, column, row] of [
      [5.5, 7.5, 0.5, 0.5],
      [0.5, 0.5, 10.5, 7.5],
      [4.5, 0.5, 2.5, 7.5],
    ] as const) {
      expect(a * x + b * y + c).toBeCloseTo(column, 6);
      expect(d * x + e * y + f).toBeCloseTo(row, 6);
    }
  });

  it('does not lie by its position on an image when neither names a frame of reference, unless it was made from it', () => {
    const grid = { space: '' };
    expect(overlapsOn(segmentationIn(grid), imageOf(grid))(1)).toBeUndefined();
    expect(overlapsOn(segmentationIn(grid, derivedFrom('1.5')), imageOf(grid))(1)).toEqual({ fromImage: undefined });
  });

  it('without a place in space lies on the image that it was made from, frame by frame, if that has its matrix', () => {
    const image = { metadata: sizeOf({}), sopInstanceUid: '1.5', frameNumber: 3 };
    const made = (uid: string, ...frames: number[]) =>
      overlapsOn({ ...sizeOf({}), '52009230': sq(derivedFrom(uid, ...frames)) }, image)(1);
    expect([made('1.5'), made('1.5', 3, 4)]).toEqual([{ fromImage: undefined }, { fromImage: undefined }]);
    expect([made('1.5', 4), made('1.6')]).toEqual([undefined, undefined]);
    expect(overlapsOn({ ...sizeOf({ rows: 9 }), '52009230': sq(derivedFrom('1.5')) }, image)(1)).toBeUndefined();
  });
});

describe('the segments', () => {
  it('have the colour that is recommended, or one of ours', () => {
    const metadata = {
      '00620001': el('CS', 'BINARY'),
      '00620002': sq(
        { '00620004': el('US', 4), '0062000D': el('US', 65535, 32896, 32896) },
        { '00620004': el('US', 7) },
      ),
    };
    const { colors } = segmentationOf(metadata);
    expect(colors.get(4)).toEqual([255, 255, 255]);
    expect(new Set(colors.get(7)).size).toBeGreaterThan(1);
  });

  it('of a label map with a palette have its colours, and background has none', () => {
    const channel = (tag: string, ...values: number[]): DicomJson => ({
      [`0028110${tag}`]: el('US', 4, 0, 8),
      [`0028120${tag}`]: { vr: 'OW', InlineBinary: Buffer.from(Uint16Array.from(values).buffer).toString('base64') },
    });
    const metadata: DicomJson = {
      '00620001': el('CS', 'LABELMAP'),
      '00280004': el('CS', 'PALETTE COLOR'),
      '00280120': el('US', 1),
      '00620002': sq(...[0, 1, 2, 3].map((number) => ({ '00620004': el('US', number) }))),
      ...channel('1', 0, 9, 250, 30), ...channel('2', 0, 9, 20, 31), ...channel('3', 0, 9, 10, 32),
    }; // biome-ignore format: pairs
    const segmentation = segmentationOf(metadata);
    expect([...labelColors(segmentation, undefined)]).toEqual([
      [2, [250, 20, 10]],
      [3, [30, 31, 32]],
    ]);
    expect([...labelColors(segmentation, [3])]).toEqual([[3, [30, 31, 32]]]);
  });

  it('of a frame that does not name one of several is not guessed', () => {
    const two = { ...segmentationIn(), '00620002': sq({ '00620004': el('US', 1) }, { '00620004': el('US', 2) }) };
    expect(() => segmentNumberOf(two, segmentationOf(two), 1)).toThrowError(/which segment/);
    const one = { ...segmentationIn(), '00620002': sq({ '00620004': el('US', 6) }) };
    expect(segmentNumberOf(one, segmentationOf(one), 1)).toBe(6);
    expect(() => segmentationOf({ '00620001': el('CS', 'OTHER') })).toThrowError(ArchiveError);
  });
});

it('are read with an ArchiveError at most, whatever they hold', () => {
  const leaf = fc.record({
    vr: fc.constant('DS'),
    Value: fc.array(fc.oneof(fc.double(), fc.string(), fc.constant(null)), { maxLength: 7 }),
  });
  const tag = fc.constantFrom('00200032', '00200037', '00280030', '00280010', '00081155', '00081160', '0062000B');
  const item = fc.dictionary(tag, leaf);
  fc.assert(
    fc.property(item, item, item, (a, b, c) => {
      const frame = {
        '00209113': sq(a as DicomJson),
        '00209116': sq(b as DicomJson),
        '00289110': sq(c as DicomJson),
        '00089124': sq({ '00082112': sq(a as DicomJson) }),
      };
      const metadata = { ...segmentationIn(), ...(c as DicomJson), '52009230': sq(frame) };
      sourcesOf(metadata, 1);
      const overlap = overlapsOn(metadata, imageOf())(1);
      expect(overlap === undefined || 'fromImage' in overlap).toBe(true);
    }),
    { numRuns: 200 },
  );
});

describe('in a render thread', () => {
  const pool = createRenderPool({ threads: 1 });
  afterAll(() => pool.close());

  it('segments and a presentation state are drawn, and too much of either is refused', async () => {
    const gray = imageAttributesOf(
      {
        '00280010': el('US', 2),
        '00280011': el('US', 2),
        '00280100': el('US', 8),
        '00281050': el('DS', 128),
        '00281051': el('DS', 256),
      },
      1,
    );
    const bits = imageAttributesOf({ '00280010': el('US', 2), '00280011': el('US', 2), '00280100': el('US', 1) }, 1);
    const segment = (label: number) => ({
      frame: Uint8Array.of(0b0010), transferSyntaxUid: '1.2.840.10008.1.2.1', attributes: bits, fromImage: undefined,
      ink: { kind: 'labels' as const, colors: new Map([[label, [0, 200, 0] as const]]) },
    }); // biome-ignore format: pairs
    const placement = {
      area: { left: 0, top: 0, width: 2, height: 2 },
      rotation: 0,
      flip: true,
      pixelAspect: 1,
      magnification: undefined,
    } as const;
    const request = {
      transferSyntaxUid: '1.2.840.10008.1.2.1', attributes: gray, mediaType: 'image/png',
      segments: { frames: [segment(1)], opacity: 1 }, presentation: { placement, marks: [], pseudoColors: undefined },
    } as const; // biome-ignore format: pairs
    const { rgb } = await seen(await pool.render({ ...request, frame: new Uint8Array(4) }));
    expect([...rgb]).toEqual([0, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    const area = { left: 0, top: 0, width: 60_000, height: 60_000 };
    const huge = {
      ...request,
      frame: new Uint8Array(4),
      presentation: { ...request.presentation, placement: { ...placement, area } },
    };
    await expect(pool.render(huge)).rejects.toMatchObject({ code: 'cannot-render' });
  });
});
