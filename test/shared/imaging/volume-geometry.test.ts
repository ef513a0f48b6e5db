/**
 * Frames become a lattice by where they lie, or are refused with what is wrong; and the samples whose geometry is known.
 */
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ArchiveError } from '#shared/errors.ts';
import {
  arrangeSlices,
  centerOf,
  cornersOf,
  groupSlices,
  type Vec3,
  type VolumeGeometry,
} from '#shared/imaging/volume-geometry.ts';
import { type SlicePosition, sliceGeometryOf } from '#shared/imaging/volume-slice.ts';
import { add, length, scale, subtract } from '#shared/imaging/volume-vectors.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { jsonOf } from './image-fixture.ts';
import { openSample } from './sample-frames.ts';
import { FRAME_OF_REFERENCE, frameOfDirections, latticeWith, pointOf, sliceJson } from './volume-phantom.ts';

function positionsOf(geometry: VolumeGeometry): SlicePosition[] {
  return Array.from({ length: geometry.slices }, (_, slice) => sliceGeometryOf(sliceJson(geometry, slice), 1));
}

const moved = (position: SlicePosition, by: Vec3): SlicePosition => ({ ...position, origin: add(position.origin, by) });

const reasonOf = (positions: readonly SlicePosition[]): string => {
  try {
    arrangeSlices(positions);
  } catch (error) {
    expect(error).toMatchObject({ name: 'ArchiveError', code: 'cannot-render' });
    return (error as ArchiveError).message;
  }
  throw new Error('It was not refused');
};

function expectSame(actual: VolumeGeometry, expected: VolumeGeometry): void {
  for (const key of ['columns', 'rows', 'slices', 'frameOfReferenceUid'] as const) {
    expect(actual[key]).toBe(expected[key]);
  }
  for (const key of ['origin', 'columnStep', 'rowStep', 'sliceStep'] as const) {
    for (const axis of [0, 1, 2]) expect(actual[key][axis]).toBeCloseTo(expected[key][axis]!, 6);
  }
}

describe('slices that make a volume', () => {
  it('are sorted by where they lie, in whatever order and direction they come', () => {
    const geometry = latticeWith();
    const positions = positionsOf(geometry);
    expectSame(arrangeSlices(positions).geometry, geometry);
    expect(arrangeSlices(positions)).toMatchObject({ order: positions.map((_, i) => i), warnings: [] });
    const reversed = arrangeSlices(positions.toReversed());
    expectSame(reversed.geometry, geometry);
    expect(reversed.order).toEqual(positions.map((_, i) => positions.length - 1 - i));
    const shuffled = [3, 0, 2, 1].map((i) => positions[i]!);
    expect(arrangeSlices(shuffled).order).toEqual([1, 3, 2, 0]);
  });

  it('may be acquired obliquely', () => {
    const { right, down, normal } = frameOfDirections(0.4, -0.7, 1.1);
    const geometry = latticeWith({
      columnStep: scale(right, 0.8),
      rowStep: scale(down, 1.2),
      sliceStep: scale(normal, 3),
    });
    expectSame(arrangeSlices(positionsOf(geometry).toReversed()).geometry, geometry);
  });

  it('may come from a tilted gantry: the lattice is sheared, and said to be', () => {
    const tilt = (15 * Math.PI) / 180;
    const geometry = latticeWith({
      rowStep: [0, Math.cos(tilt), Math.sin(tilt)],
      sliceStep: [0, 0, 4],
    });
    const { geometry: found, warnings } = arrangeSlices(positionsOf(geometry));
    expectSame(found, geometry);
    expect(warnings).toEqual([expect.stringContaining('tilted by 15.0 degrees')]);
  });

  it('may be rounded: from a hundredth of their distance on it is said how far they are off', () => {
    const positions = positionsOf(latticeWith());
    const nudge = (by: Vec3) => positions.map((one, i) => (i === 5 ? moved(one, by) : one));
    expect(arrangeSlices(nudge([0, 0, 0.03])).warnings).toEqual([]);
    expect(arrangeSlices(nudge([0, 0, 0.2])).warnings).toEqual([expect.stringContaining('up to 0.2 mm beside')]);
    expect(arrangeSlices(nudge([0.2, 0, 0])).warnings).toEqual([expect.stringContaining('up to 0.2 mm beside')]);
  });

  it('may be of two scans pushed into each other at half their distance, which is said; scans behind each other are not', () => {
    const positions = positionsOf(latticeWith({ slices: 12 }));
    const of = (numberOf: (slice: number) => number): readonly string[] =>
      arrangeSlices(positions.map((one, i) => ({ ...one, traits: { AcquisitionNumber: `${numberOf(i)}` } }))).warnings;
    expect(of((slice) => slice % 2)).toEqual([expect.stringContaining('alternate in AcquisitionNumber')]);
    expect(of((slice) => slice % 3)).toEqual([expect.stringContaining('alternate in AcquisitionNumber')]);
    for (const numberOf of [() => 1, (slice: number) => slice, (slice: number) => Math.floor(slice / 4)]) {
      expect(of(numberOf)).toEqual([]);
    }
  });

  it('may name no Frame of Reference, which is said', () => {
    const positions = positionsOf(latticeWith()).map((one) => ({ ...one, frameOfReferenceUid: undefined }));
    expect(arrangeSlices(positions).warnings).toEqual([expect.stringContaining('no Frame of Reference')]);
  });

  it('have corners half a voxel outside of the centres, and a centre between them', () => {
    const geometry = latticeWith();
    expect(cornersOf(geometry)).toContainEqual([-30.75, -25.75, -42]);
    expect(cornersOf(geometry)).toContainEqual([-30.75 + 60, -25.75 + 54, -42 + 80]);
    expect(centerOf(geometry)).toEqual([-0.75, 1.25, -2]);
  });
});

describe('slices that make none are refused with the reason', () => {
  const positions = positionsOf(latticeWith());
  const change = (index: number, changes: Partial<SlicePosition>) =>
    positions.map((one, i) => (i === index ? { ...one, ...changes } : one));

  it('fewer than two, or all in one plane', () => {
    expect(reasonOf([])).toContain('at least two slices');
    expect(reasonOf(positions.slice(0, 1))).toContain('at least two slices');
    expect(reasonOf([positions[0]!, positions[0]!])).toContain('in one plane');
  });

  it('another matrix, spacing, orientation or Frame of Reference', () => {
    expect(reasonOf(change(3, { rows: 35 }))).toContain('rows and columns');
    expect(reasonOf(change(3, { rowSpacingMm: 1.6 }))).toContain('Pixel Spacing');
    expect(reasonOf(change(3, { columnDirection: [0, 1, 0], rowDirection: [0, 0, -1] }))).toContain('orientation');
    expect(reasonOf(change(3, { columnDirection: [0.9999, 0.0141, 0] }))).toContain('orientation');
    expect(reasonOf(change(3, { frameOfReferenceUid: '1.2.3.5' }))).toContain('Frames of Reference');
    expect(reasonOf(change(3, { frameOfReferenceUid: undefined }))).toContain('Frames of Reference');
  });

  it('slices that are missing', () => {
    expect(reasonOf(positions.filter((_, i) => i !== 7 && i !== 8 && i !== 15))).toContain(
      '3 of 20 slices are missing',
    );
    // Every second one is a volume with slices twice as far apart.
    expect(arrangeSlices(positions.filter((_, i) => i % 2 === 0)).geometry.sliceStep).toEqual([0, 0, 8]);
  });

  it('irregular distances', () => {
    expect(reasonOf(positions.map((one, i) => moved(one, [0, 0, i * i * 0.05])))).toContain('irregular distances');
    // First slices of 4 mm, then of 6 mm.
    expect(reasonOf(positions.map((one, i) => moved(one, [0, 0, Math.max(0, i - 10) * 2])))).toContain('irregular');
  });

  it('slices that are shifted sideways', () => {
    const wandering = positions.map((one, i) => moved(one, [Math.sin(i) * 2, 0, 0]));
    expect(reasonOf(wandering)).toContain('shifted sideways');
    const beside = positions.map((one, i) => moved(one, [i * 50, 0, 0]));
    expect(reasonOf(beside)).toContain('beside each other');
  });

  it('several at one position, naming in what they differ; each group of them is a volume', () => {
    const early = positions.map((one) => ({ ...one, traits: { EchoTime: '10', ImageType: 'ORIGINAL' } }));
    const late = positions.map((one) => ({ ...one, traits: { EchoTime: '80', ImageType: 'ORIGINAL' } }));
    const both = positions.flatMap((_, i) => [early[i]!, late[i]!]);
    expect(reasonOf(both)).toContain('40 slices lie at 20 positions only and differ in EchoTime;');
    const groups = groupSlices(both);
    expect(groups.map(({ traits }) => traits)).toEqual([{ EchoTime: '10' }, { EchoTime: '80' }]);
    for (const { members } of groups) {
      expectSame(arrangeSlices(members.map((index) => both[index]!)).geometry, latticeWith());
    }
    expect(groupSlices(positions)).toHaveLength(1);
    expect(reasonOf([...positions, positions[4]!])).toContain('21 slices lie at 20 positions only;');
  });
});

describe('slices anywhere', () => {
  it('are a lattice that has each of them at its place, or are refused', () => {
    const place = fc.tuple(fc.constantFrom(0, 0.01, 5), fc.constantFrom(0, 0.01), fc.integer({ min: -4, max: 12 }));
    const noise = fc.constantFrom(0, 0, 0, 0.001, 0.2, Number.NaN, 1e6);
    fc.assert(
      fc.property(fc.array(fc.tuple(place, noise), { maxLength: 8 }), (places) => {
        const [slice] = positionsOf(latticeWith());
        const positions = places.map(([[x, y, z], off]) => moved(slice!, [x, y, z * 3 + off]));
        try {
          const { geometry, order } = arrangeSlices(positions);
          expect(order.toSorted((a, b) => a - b)).toEqual(positions.map((_, i) => i));
          for (const [number, index] of order.entries()) {
            const off = subtract(positions[index]!.origin, pointOf(geometry, [0, 0, number]));
            expect(length(off)).toBeLessThan(0.9);
          }
        } catch (error) {
          if (!(error instanceof ArchiveError)) throw error;
          expect(error.code).toBe('cannot-render');
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('enhanced objects', () => {
  const macro = (...items: object[]) => ({ vr: 'SQ', Value: items }) as never;
  const planePosition = (z: number) => macro(jsonOf({ '00200032': ['DS', 1, 2, z] }));
  const orientation = macro(jsonOf({ '00200037': ['DS', 1, 0, 0, 0, 1, 0] }));
  const measures = macro(jsonOf({ '00280030': ['DS', 0.5, 0.25] }));
  const enhanced = {
    ...jsonOf({ '00280008': ['IS', 3], '00280010': ['US', 4], '00280011': ['US', 6], '00200052': ['UI', '1.2'] }),
    '52009229': macro({ '00209116': orientation, '00289110': measures }),
    '52009230': macro(...[9, 5, 7].map((z) => ({ '00209113': planePosition(z) }))),
  };

  it('have their planes in functional groups, shared and per frame, also out of order (tomosynthesis likewise)', () => {
    const positions = [1, 2, 3].map((frameNumber) => sliceGeometryOf(enhanced, frameNumber));
    expect(positions[0]).toMatchObject({ origin: [1, 2, 9], columnSpacingMm: 0.25, rowSpacingMm: 0.5 });
    const { geometry, order } = arrangeSlices(positions);
    expect(order).toEqual([1, 2, 0]);
    expectSame(geometry, {
      columns: 6,
      rows: 4,
      slices: 3,
      origin: [1, 2, 5],
      columnStep: [0.25, 0, 0],
      rowStep: [0, 0.5, 0],
      sliceStep: [0, 0, 2],
      frameOfReferenceUid: '1.2',
    });
  });

  it('may have everything per frame, and tell frames at one position apart', () => {
    const frames = [0, 1000].flatMap((b) =>
      [5, 7].map((z) => ({
        '00209113': planePosition(z),
        '00209116': orientation,
        '00289110': measures,
        '00189117': macro(jsonOf({ '00189087': ['FD', b] })),
      })),
    );
    const diffusion = { ...enhanced, '52009229': macro({}), '52009230': macro(...frames) };
    const positions = [1, 2, 3, 4].map((frameNumber) => sliceGeometryOf(diffusion, frameNumber));
    expect(reasonOf(positions)).toContain('differ in DiffusionBValue');
    expect(groupSlices(positions).map(({ members }) => members)).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });

  it('are refused when their frames have one position, or none', () => {
    const root = jsonOf({ '00200032': ['DS', 0, 0, 0] });
    const without = { ...enhanced, '52009230': macro({}, {}, {}) };
    expect(() => sliceGeometryOf({ ...without, ...root }, 2)).toThrow('one common position');
    expect(() => sliceGeometryOf(without, 2)).toThrow('no Image Position (Patient)');
  });
});

describe('frames without a place', () => {
  it.each([
    ['no position', { '00200032': undefined }, 'no Image Position (Patient)'],
    ['text for a position', { '00200032': ['DS', 'x', 0, 0] }, 'not a position'],
    ['no orientation', { '00200037': undefined }, 'no Image Orientation (Patient)'],
    ['parallel directions', { '00200037': ['DS', 1, 0, 0, 1, 0, 0] }, 'perpendicular'],
    ['long directions', { '00200037': ['DS', 2, 0, 0, 0, 1, 0] }, 'perpendicular'],
    ['no spacing', { '00280030': undefined }, 'no Pixel Spacing'],
    ['a spacing of nothing', { '00280030': ['DS', 0, 1] }, 'two positive numbers'],
    ['no columns', { '00280011': undefined }, 'no Columns'],
  ])('%s', (_, changes, reason) => {
    const json = { ...sliceJson(latticeWith(), 0) };
    for (const [tag, element] of Object.entries(changes)) {
      delete json[tag];
      if (element !== undefined) Object.assign(json, jsonOf({ [tag]: element as never }));
    }
    expect(() => sliceGeometryOf(json, 1)).toThrow(ArchiveError);
    expect(() => sliceGeometryOf(json, 1)).toThrow(reason);
  });

  it('nothing that a data set may hold is more than refused', () => {
    const tags = ['00080008', '00200032', '00200037', '00200052', '00280008', '00280010', '00280011', '00280030'];
    const value = fc.oneof(fc.double(), fc.integer(), fc.string(), fc.constant(null), fc.constantFrom(0, 1, 2));
    const element = fc.record({ vr: fc.constantFrom('DS', 'US', 'SQ'), Value: fc.array(value, { maxLength: 7 }) });
    const json = fc.dictionary(fc.constantFrom(...tags), element);
    const whole = sliceJson(latticeWith(), 0);
    fc.assert(
      fc.property(json, fc.integer({ min: 1, max: 3 }), (changes, frameNumber) => {
        try {
          const position = sliceGeometryOf({ ...whole, ...(changes as unknown as typeof whole) }, frameNumber);
          arrangeSlices([position, moved(position, [0, 0, 1])]);
        } catch (error) {
          expect(error).toMatchObject({ name: 'ArchiveError', code: 'cannot-render' });
        }
      }),
    );
  });

  it('names the Frame of Reference where there is one', () => {
    expect(sliceGeometryOf(sliceJson(latticeWith(), 0), 1).frameOfReferenceUid).toBe(FRAME_OF_REFERENCE);
  });
});

describe.runIf(samplesFolder() !== undefined)('samples', () => {
  const positionsIn = async (...below: string[]): Promise<SlicePosition[]> => {
    const files = sampleFiles(...below).filter((path) => path.endsWith('.dcm'));
    return Promise.all(files.map(async (path) => sliceGeometryOf((await openSample(path)).metadata, 1)));
  };

  it('a tilted CT is sheared by what its slices say', async () => {
    const positions = await positionsIn('series-ct', 'phantom-tilt');
    const { geometry, warnings } = arrangeSlices(positions);
    expect(geometry.slices).toBe(54);
    expect(warnings.join()).toContain('gantry tilt');
  });

  it('slices at irregular distances, or of several orientations, are refused', async () => {
    expect(reasonOf(await positionsIn('broken', 'series-irregular-spacing'))).toContain('1 of 5 slices are missing');
    expect(reasonOf(await positionsIn('broken', 'series-mixed-orientation'))).toMatch(/orientation/);
  });

  it('slices of a gantry that is tilted', async () => {
    const { warnings } = arrangeSlices(await positionsIn('broken', 'series-gantry-tilt'));
    expect(warnings.join()).toContain('gantry tilt');
  });

  const framesOf = async (name: string): Promise<SlicePosition[]> => {
    const { metadata, count } = await openSample(join(samplesFolder()!, 'multiframe', name));
    return Array.from({ length: count }, (_, i) => sliceGeometryOf(metadata, i + 1));
  };

  it('a sagittal enhanced MR', async () => {
    const { geometry } = arrangeSlices(await framesOf('0001_1.3.12.2.1107.5.2.43.67093.2022071112080825794102791.dcm'));
    expect(geometry).toMatchObject({ slices: 96, columnStep: [0, 2, 0], rowStep: [0, 0, -2] });
    expect(geometry.sliceStep[0]).toBeCloseTo(-2, 5);
  });

  it('an enhanced MR with two echoes at each position is two volumes', async () => {
    const positions = await framesOf('IM_0027_fMAP.dcm');
    expect(reasonOf(positions)).toContain('64 slices lie at 32 positions only and differ in EffectiveEchoTime');
    const groups = groupSlices(positions);
    expect(groups).toHaveLength(2);
    for (const { members } of groups) {
      expect(arrangeSlices(members.map((index) => positions[index]!)).geometry.slices).toBe(32);
    }
  });
});
