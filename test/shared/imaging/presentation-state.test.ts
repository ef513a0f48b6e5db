/** Presentation states from DICOM JSON to pixels: what is about which frame, whose tables count, and what is drawn where and over what. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DicomJson, JsonElement, JsonValue } from '#shared/dicom/dicom-json-model.ts';
import { ArchiveError } from '#shared/errors.ts';
import { presentPicture } from '#shared/imaging/presentation.ts';
import {
  assertCanBePresented,
  type PresentedFrame,
  presentationOf,
  presentationWarnings,
  presentedAttributes,
  presentedImages,
  presentedShutter,
} from '#shared/imaging/presentation-state.ts';
import type { Picture } from '#shared/imaging/resample.ts';

const el = (vr: string, ...Value: JsonValue[]): JsonElement => ({ vr, Value }) as JsonElement;
const sq = (...Value: DicomJson[]): JsonElement => ({ vr: 'SQ', Value });

/** Signed 16 bits, rescaled by the image to what the state does not say. */
const image: DicomJson = {
  '00280002': el('US', 1),
  '00280004': el('CS', 'MONOCHROME1'),
  '00280008': el('IS', 3),
  '00280010': el('US', 60),
  '00280011': el('US', 80),
  '00280100': el('US', 8),
  '00280101': el('US', 8),
  '00281050': el('DS', 10),
  '00281051': el('DS', 20),
  '00281052': el('DS', -1000),
  '52009229': sq({ '00289145': sq({ '00281052': el('DS', 5), '00281053': el('DS', 2) }) }),
};
const reference = (sop: string, ...frames: number[]): DicomJson => ({
  '00081155': el('UI', sop),
  ...(frames.length > 0 && { '00081160': el('IS', ...frames) }),
});
const about = (state: DicomJson, frameNumber = 1, kind: PresentedFrame['kind'] = 'grayscale'): PresentedFrame => ({
  state,
  kind,
  image,
  sopInstanceUid: '1.2',
  frameNumber,
});

const gray = (value = 0): Picture => ({ width: 80, height: 60, channels: 1, pixels: new Uint8Array(4800).fill(value) });
const drawn = (state: DicomJson, ground = gray(), frameNumber = 1): Picture =>
  presentPicture(ground, presentationOf(about(state, frameNumber), { rows: 60, columns: 80 }), undefined);
const at = ({ width, channels, pixels }: Picture, x: number, y: number): number[] => [
  ...pixels.subarray((y * width + x) * channels, (y * width + x + 1) * channels),
];

const graphic = (type: string, data: number[], more: DicomJson = {}): DicomJson => ({
  '00700005': el('CS', 'PIXEL'),
  '00700020': el('US', 2),
  '00700021': el('US', data.length / 2),
  '00700022': el('FL', ...data),
  '00700023': el('CS', type),
  ...more,
});
const layer = (name: string, order: number, more: DicomJson = {}): DicomJson => ({
  '00700002': el('CS', name),
  '00700062': el('IS', order),
  ...more,
});
const annotation = (name: string, graphics: DicomJson[], texts: DicomJson[] = [], more: DicomJson = {}): DicomJson => ({
  '00700002': el('CS', name),
  '00700009': sq(...graphics),
  '00700008': sq(...texts),
  ...more,
});
const square = [20, 20, 40, 20, 40, 40, 20, 40, 20, 20];

describe('the images of a presentation state', () => {
  it('are each named once, with the frames of all references', () => {
    const state = {
      '00081115': sq(
        { '0020000E': el('UI', '9'), '00081140': sq(reference('1.2', 3), reference('1.3'), reference('1.2', 1, 3)) },
        { '0020000E': el('UI', '8'), '00081140': sq(reference('1.4', 2)) },
      ),
    };
    expect(presentedImages(state)).toEqual([
      { seriesInstanceUid: '9', sopInstanceUid: '1.2', frameNumbers: [3, 1] },
      { seriesInstanceUid: '9', sopInstanceUid: '1.3', frameNumbers: undefined },
      { seriesInstanceUid: '8', sopInstanceUid: '1.4', frameNumbers: [2] },
    ]);
    expect(() => presentedImages({})).toThrowError(/no image/);
  });

  it('are found in a moment where each of 60,000 frames has an item of its own', () => {
    const images = Array.from({ length: 60_000 }, (_, i) => ({
      '00081155': el('UI', '1.2'),
      '00081160': el('IS', i + 1),
    }));
    // Joined anew for each item, these took minutes of the thread that answers everybody.
    const state = { '00081115': sq({ '0020000E': el('UI', '9'), '00081140': sq(...images) }) };
    expect(presentedImages(state).map(({ frameNumbers }) => frameNumbers?.length)).toEqual([60_000]);
  });
});

describe('the gray tables of a presentation state', () => {
  it('replace those of the image, and what it leaves out is identity', () => {
    const voi = { '00281050': el('DS', 40), '00281051': el('DS', 400), '00281056': el('CS', 'SIGMOID') };
    const attributes = presentedAttributes(about({ '00283110': sq(voi) }));
    expect(attributes.modality).toEqual({ kind: 'linear', slope: 1, intercept: 0 });
    expect(attributes.windows).toEqual([{ center: 40, width: 400, function: 'SIGMOID' }]);
    expect(attributes.inverse).toBe(false);
    expect(presentedAttributes(about({ '20500020': el('CS', 'INVERSE') })).inverse).toBe(true);
  });

  it('are used also where the image would not use its own: X-ray of logarithmic values, coloured values', () => {
    const table = {
      '00283002': el('US', 256, 0, 8),
      '00283006': el('US', ...Array.from({ length: 256 }, (_, i) => 255 - i)),
    };
    const own = {
      '00080016': el('UI', '1.2.840.10008.5.1.4.1.1.12.1'),
      '00281040': el('CS', 'LOG'),
      '00089205': el('CS', 'COLOR'),
      '00281101': el('US', 2, 0, 8),
    };
    const frame = { ...about({ '00283000': sq(table) }), image: { ...image, ...own } };
    const { modality, supplemental } = presentedAttributes(frame);
    expect([modality.kind, supplemental]).toEqual(['table', undefined]);
  });

  it('are chosen by image and by frame', () => {
    const item = (center: number, ...references: DicomJson[]): DicomJson => ({
      '00281050': el('DS', center),
      '00281051': el('DS', 8),
      ...(references.length > 0 && { '00081140': sq(...references) }),
    });
    const state = {
      '00283110': sq(item(1, reference('7')), item(2, reference('1.2', 2)), item(3, reference('1.2', 1, 3))),
    };
    const centers = [1, 2, 3].map((frame) => presentedAttributes(about(state, frame)).windows[0]?.center);
    expect(centers).toEqual([3, 2, 3]);
  });

  it('show the whole range of the modality values where there is no window, not the range of the frame', () => {
    const { windows } = presentedAttributes(about({ '00281052': el('DS', 10), '00281053': el('DS', 2) }));
    expect(windows).toEqual([{ center: 265, width: 510, function: 'LINEAR_EXACT' }]);
  });
});

describe('what a presentation state hides', () => {
  const rectangle = {
    '00181600': el('CS', 'RECTANGULAR'),
    '00181602': el('IS', 11), '00181604': el('IS', 70), '00181606': el('IS', 5), '00181608': el('IS', 50),
  }; // biome-ignore format: pairs

  it('is by its own shutter, not by that of the image', () => {
    const size = { rows: 60, columns: 80 };
    expect(presentedShutter(about(rectangle), size).shutter?.rectangle).toEqual({
      left: 11,
      right: 70,
      upper: 5,
      lower: 50,
    });
    expect(presentedShutter({ ...about({}), image: { ...image, ...rectangle } }, size).shutter).toBeUndefined();
  });

  it('may be a bitmap of its own, which is not drawn', () => {
    const bits = new Uint8Array(600);
    bits[0] = 1;
    const state: DicomJson = {
      '00181600': el('CS', 'BITMAP'), '00181622': el('US', 65535), '00181623': el('US', 0x6002),
      '60020010': el('US', 60), '60020011': el('US', 80), '60020040': el('CS', 'G'), '60020050': el('SS', 1, 1),
      '60020100': el('US', 1), '60020102': el('US', 0), '60023000': { vr: 'OW', InlineBinary: Buffer.from(bits).toString('base64') },
    }; // biome-ignore format: pairs
    expect(presentedShutter(about(state), { rows: 60, columns: 80 }).shutter).toMatchObject({
      gray: 255,
      bitmap: { group: 0x6002 },
    });
    expect(presentationOf(about(state), { rows: 60, columns: 80 }).marks).toEqual([]);
  });
});

describe('the graphics of a presentation state', () => {
  it('lie on the image where they are said to, each by its shape', () => {
    const shapes = {
      POLYLINE: { state: square, on: [30, 20], off: [30, 30] },
      INTERPOLATED: { state: [10, 30, 40, 30, 70, 30], on: [55, 30], off: [40, 25] },
      CIRCLE: { state: [40, 30, 40, 10], on: [60, 30], off: [40, 30] },
      ELLIPSE: { state: [10, 30, 70, 30, 40, 20, 40, 40], on: [40, 20], off: [40, 30] },
      POINT: { state: [12, 12], on: [12, 12], off: [18, 12] },
    };
    for (const [type, { state, on, off }] of Object.entries(shapes)) {
      const picture = drawn({ '00700001': sq(annotation('A', [graphic(type, state)])) });
      const near = [-1, 0].flatMap((dx) => [-1, 0].map((dy) => at(picture, on[0]! + dx, on[1]! + dy)[0]!));
      expect([type, Math.max(...near) > 100, at(picture, off[0]!, off[1]!)]).toEqual([type, true, [0]]);
    }
  });

  it('are filled where they are closed and say so', () => {
    const filled = { '00700024': el('CS', 'Y') };
    const closed = drawn({ '00700001': sq(annotation('A', [graphic('POLYLINE', square, filled)])) });
    expect(at(closed, 30, 30)).toEqual([255]);
    const open = drawn({ '00700001': sq(annotation('A', [graphic('POLYLINE', square.slice(0, 8), filled)])) });
    expect(at(open, 30, 30)).toEqual([0]);
  });

  it('are drawn in the order and the colour of their layers, whichever comes first in the data set', () => {
    const filled = { '00700024': el('CS', 'Y') };
    const below = annotation('BELOW', [graphic('POLYLINE', square, filled)]);
    const above = annotation('ABOVE', [
      graphic(
        'POLYLINE',
        square.map((v) => v + 5),
        filled,
      ),
    ]);
    const layers = sq(
      layer('ABOVE', 2, { '00700401': el('US', 35_579, 53_664, 50_858) }),
      layer('BELOW', 1, { '00700066': el('US', 0x8080) }),
    );
    for (const order of [sq(above, below), sq(below, above)]) {
      const picture = drawn({ '00700060': layers, '00700001': order });
      expect(at(picture, 32, 32).map((value) => Math.round(value / 50))).toEqual([5, 0, 0]);
      expect(at(picture, 22, 30)).toEqual([128, 128, 128]);
      expect(picture.channels).toBe(3);
    }
  });

  it('turn with the image, and those of the displayed area do not', () => {
    const point = graphic('POINT', [10, 5]);
    const corner = { ...graphic('POINT', [0.1, 0.1]), '00700005': el('CS', 'DISPLAY') };
    const state = {
      '00700042': el('US', 90),
      '00700041': el('CS', 'Y'),
      '00700001': sq(annotation('A', [point, corner])),
    };
    const picture = drawn(state);
    expect([picture.width, picture.height]).toEqual([60, 80]);
    // 10 right and 5 down, turned clockwise: 5 from the right edge and 10 down; mirrored: 5 from the left.
    expect([at(picture, 5, 10), at(picture, 6, 8), at(picture, 54, 10)]).toEqual([[255], [255], [0]]);
  });

  it('are those of this frame', () => {
    const state = {
      '00700001': sq(annotation('A', [graphic('POINT', [30, 30])], [], { '00081140': sq(reference('1.2', 2)) })),
    };
    expect(at(drawn(state, gray(), 1), 30, 30)).toEqual([0]);
    expect(at(drawn(state, gray(), 2), 30, 30)).toEqual([255]);
  });

  it('hold text within its box, upright in a picture that is turned, and as it is justified', () => {
    const text = (justification: string): DicomJson => ({
      '00700003': el('CS', 'PIXEL'),
      '00700006': el('ST', 'AB\r\nC'),
      '00700010': el('FL', 10, 10), '00700011': el('FL', 60, 50), '00700012': el('CS', justification),
    }); // biome-ignore format: pairs
    const inked = (state: DicomJson): { left: number; right: number; top: number; bottom: number } => {
      const { width, pixels } = drawn(state, gray(40));
      const inks = [...pixels.entries()]
        .filter(([, value]) => value === 255)
        .map(([i]) => [i % width, Math.floor(i / width)] as const);
      const [xs, ys] = [inks.map(([x]) => x), inks.map(([, y]) => y)];
      return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
    };
    const of = (justification: string, more: DicomJson = {}) =>
      inked({ '00700001': sq(annotation('A', [], [text(justification)])), ...more });
    expect(of('LEFT')).toEqual({ left: 10, right: 20, top: 13, bottom: 32 });
    expect(of('RIGHT').right).toBe(58);
    expect(of('CENTER').left).toBe(29);
    // The box of 50 x 40 at 10,10 is one of 40 x 50 at 10,10 when it was turned about 60 rows.
    expect(of('LEFT', { '00700042': el('US', 90) })).toEqual({ left: 10, right: 20, top: 13, bottom: 32 });
  });

  it('point to an anchor that is to be seen', () => {
    const text: DicomJson = {
      '00700003': el('CS', 'PIXEL'), '00700004': el('CS', 'PIXEL'), '00700006': el('ST', ''),
      '00700010': el('FL', 10, 10), '00700011': el('FL', 30, 20), '00700014': el('FL', 70, 15), '00700015': el('CS', 'Y'),
    }; // biome-ignore format: pairs
    const picture = drawn({ '00700001': sq(annotation('A', [], [text])) });
    expect(at(picture, 50, 14)[0]! + at(picture, 50, 15)[0]!).toBeGreaterThan(200);
    expect(at(picture, 20, 15)).toEqual([0]);
    const hidden = drawn({ '00700001': sq(annotation('A', [], [{ ...text, '00700015': el('CS', 'N') }])) });
    expect(Math.max(...hidden.pixels)).toBe(0);
  });

  it('show the overlays that a layer activates, the state’s own before the image’s, and no others', () => {
    const overlay = (group: string, bit: number): DicomJson => {
      const bits = new Uint8Array(600);
      bits[bit >> 3]! |= 1 << (bit & 7);
      return {
        [`${group}0010`]: el('US', 60), [`${group}0011`]: el('US', 80), [`${group}0040`]: el('CS', 'G'), [`${group}0050`]: el('SS', 1, 1),
        [`${group}0100`]: el('US', 1), [`${group}0102`]: el('US', 0), [`${group}3000`]: { vr: 'OW', InlineBinary: Buffer.from(bits).toString('base64') },
      };
    }; // biome-ignore format: pairs
    const state = {
      ...overlay('6000', 81),
      '60001001': el('CS', 'A'),
      '60021001': el('CS', 'A'),
      '00700060': sq(layer('A', 1, { '00700066': el('US', 0x8080) })),
    };
    const own = { ...image, ...overlay('6000', 0), ...overlay('6002', 162), ...overlay('6004', 5) };
    const presentation = presentationOf({ ...about(state), image: own }, { rows: 60, columns: 80 });
    const picture = presentPicture(gray(), presentation, undefined);
    const lit = [...picture.pixels.entries()].filter(([, value]) => value > 0);
    expect(lit).toEqual([
      [81, 128],
      [162, 128],
    ]);
    const larger = presentPicture(gray(), presentation, { width: 160, height: 120 });
    expect([at(larger, 2, 2), at(larger, 3, 3), at(larger, 4, 4)]).toEqual([[128], [128], [128]]);
  });

  it('that cannot be read are named in a warning, and what is too much is refused', () => {
    const bad = sq(
      annotation('A', [graphic('SPIRAL', square), { ...graphic('POINT', [1, 1]), '00700005': el('CS', 'MATRIX') }]),
    );
    expect(presentationWarnings(about({ '00700001': bad }))).toEqual([expect.stringContaining('cannot be read')]);
    const many = sq(
      annotation(
        'A',
        Array.from({ length: 5_001 }, () => graphic('POINT', [1, 1])),
      ),
    );
    expect(() => presentationOf(about({ '00700001': many }), { rows: 60, columns: 80 })).toThrowError(/5000 objects/);
  });
});

describe('a presentation state that cannot be shown as it says', () => {
  it.each([
    ['subtracts', { '00286100': sq({}) }, 'grayscale'],
    ['is for colour', {}, 'color'],
  ] as const)('is refused: it %s', (_, state, kind) => {
    expect(() => assertCanBePresented(state, kind, image)).toThrowError(ArchiveError);
  });

  it.each([
    ['45 degrees', { '00700042': el('US', 45) }],
    ['an area without end', { '0070005A': sq({ '00700052': el('SL', -2_000_000, 1), '00700053': el('SL', 5, 5) }) }],
    ['no magnification', { '0070005A': sq({ '00700100': el('CS', 'MAGNIFY') }) }],
    ['an aspect of nothing', { '0070005A': sq({ '00700102': el('IS', 0, 1) }) }],
  ])('is refused: %s', (_, state) => {
    expect(() => presentationOf(about(state as DicomJson), { rows: 60, columns: 80 })).toThrowError(ArchiveError);
  });

  it('is refused with an ArchiveError, or drawn, whatever its graphics hold', () => {
    const value = fc.oneof(fc.double(), fc.integer(), fc.string(), fc.constant(null)) as fc.Arbitrary<JsonValue>;
    const element = fc.record({
      vr: fc.constant('FL'),
      Value: fc.array(value, { maxLength: 6 }),
    }) as fc.Arbitrary<JsonElement>;
    const type = fc.constantFrom('POINT', 'POLYLINE', 'INTERPOLATED', 'CIRCLE', 'ELLIPSE');
    fc.assert(
      fc.property(type, element, element, element, (name, data, corner, other) => {
        const shape = { ...graphic(name, []), '00700022': data, '00700024': el('CS', 'Y') };
        const text = {
          '00700003': el('CS', 'PIXEL'),
          '00700006': el('ST', 'x'),
          '00700010': corner,
          '00700011': other,
        };
        const state = {
          '00700001': sq(annotation('A', [shape], [text])),
          '0070005A': sq({ '00700052': corner, '00700053': other }),
        };
        try {
          expect(drawn(state).pixels.length).toBeGreaterThan(0);
        } catch (error) {
          if (!(error instanceof ArchiveError)) throw error;
        }
      }),
      { numRuns: 150 },
    );
  });
});
