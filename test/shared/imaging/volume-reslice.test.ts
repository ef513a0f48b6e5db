/**
 * Planes and slabs against what is known of the volume: linear functions are reproduced exactly on any plane of any lattice, the
 * body's markers are where they are and on the right side, and what is outside or has no value mixes into nothing.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cut, Volume } from '#shared/imaging/volume.ts';
import { centerOf, type Vec3, type VolumeGeometry } from '#shared/imaging/volume-geometry.ts';
import { coveringPlane, indexOf, type Plane, type Slab, viewDirection } from '#shared/imaging/volume-plane.ts';
import { reslice } from '#shared/imaging/volume-reslice.ts';
import { add, dot, scale, subtract } from '#shared/imaging/volume-vectors.ts';
import { body, type Field, frameOfDirections, latticeWith, markers, pointOf, volumeOf } from './volume-phantom.ts';

const LEFT: Vec3 = [1, 0, 0];
const POSTERIOR: Vec3 = [0, 1, 0];
const FEET: Vec3 = [0, 0, -1];

/** The patient's point under a pixel, pixel centres at whole numbers. */
function pointUnder(plane: Plane, column: number, row: number): Vec3 {
  const { center, right, down, spacingMm, width, height } = plane;
  const across = scale(right, (column - (width - 1) / 2) * spacingMm);
  return add(center, add(across, scale(down, (row - (height - 1) / 2) * spacingMm)));
}

function* pixelsOf(cut: Cut, plane: Plane): Generator<{ value: number; point: Vec3; column: number; row: number }> {
  for (let row = 0; row < cut.height; row++) {
    for (let column = 0; column < cut.width; column++) {
      yield { value: cut.values[row * cut.width + column]!, point: pointUnder(plane, column, row), column, row };
    }
  }
}

const angle = fc.double({ min: -Math.PI, max: Math.PI, noNaN: true });
const directions = fc.tuple(angle, angle, angle).map(([a, b, c]) => frameOfDirections(a, b, c));
const millimetres = (min: number, max: number) => fc.double({ min, max, noNaN: true });

/** Oblique, anisotropic, and sheared as by a gantry. */
const lattices: fc.Arbitrary<VolumeGeometry> = fc
  .record({
    directions,
    steps: fc.tuple(millimetres(0.4, 3), millimetres(0.4, 3), millimetres(0.4, 8)),
    shear: millimetres(-0.5, 0.5),
    size: fc.tuple(fc.integer({ min: 2, max: 14 }), fc.integer({ min: 2, max: 14 }), fc.integer({ min: 2, max: 9 })),
    origin: fc.tuple(millimetres(-200, 200), millimetres(-200, 200), millimetres(-200, 200)),
  })
  .map(({ directions: { right, down, normal }, steps, shear, size, origin }) =>
    latticeWith({
      columns: size[0],
      rows: size[1],
      slices: size[2],
      origin,
      columnStep: scale(right, steps[0]),
      rowStep: scale(down, steps[1]),
      sliceStep: scale(add(normal, scale(down, shear)), steps[2]),
    }),
  );

const planesIn = (geometry: VolumeGeometry): fc.Arbitrary<Plane> =>
  fc
    .record({ directions, spacingMm: millimetres(0.3, 4), off: fc.tuple(millimetres(-4, 4), millimetres(-4, 4)) })
    .map(({ directions: { right, down }, spacingMm, off }) => ({
      center: add(centerOf(geometry), [off[0], off[1], 0]),
      right,
      down,
      spacingMm,
      width: 23,
      height: 17,
    }));

const ramp: Field = ([x, y, z]) => 1000 + 3 * x - 2 * y + 5 * z;

describe('any plane of any lattice', () => {
  const volumesAndPlanes = lattices.chain((geometry) => planesIn(geometry).map((plane) => ({ geometry, plane })));

  it('gives a linear function exactly between voxel centres, the edge’s value up to half a voxel, and nothing further out', () => {
    fc.assert(
      fc.property(volumesAndPlanes, ({ geometry, plane }) => {
        const volume = volumeOf(geometry, ramp, 'float32');
        const index = indexOf(geometry);
        const limits = [geometry.columns, geometry.rows, geometry.slices];
        let worst = 0;
        for (const { value, point } of pixelsOf(reslice(volume, plane), plane)) {
          const voxel = index.position(point);
          const beyond = Math.max(...voxel.map((at, axis) => Math.max(-at, at - (limits[axis]! - 1))));
          if (Math.abs(beyond - 0.5) < 1e-6) continue;
          const held = voxel.map((at, axis) => Math.max(0, Math.min(limits[axis]! - 1, at))) as unknown as Vec3;
          const expected = beyond > 0.5 ? Number.NaN : ramp(pointOf(geometry, held));
          if (!Object.is(value, expected)) worst = Math.max(worst, Math.abs(value - expected) || 1e9);
        }
        expect(worst).toBeLessThan(0.01);
      }),
      { numRuns: 60 },
    );
  });

  it('has its maximum above its average above its minimum, and the plane itself between them', () => {
    const noisy: Field = ([x, y, z]) => 500 * (Math.sin(x * 7.1) + Math.sin(y * 5.3 + z * 3.7));
    const slabs = volumesAndPlanes.chain(({ geometry, plane }) =>
      millimetres(0.1, 25).map((thicknessMm) => ({ volume: volumeOf(geometry, noisy), plane, thicknessMm })),
    );
    fc.assert(
      fc.property(slabs, ({ volume, plane, thicknessMm }) => {
        const cutBy = (method: Slab['method']) => reslice(volume, plane, { thicknessMm, method }).values;
        const [highest, mean, lowest] = [cutBy('maximum'), cutBy('average'), cutBy('minimum')];
        const right = mean.every((middle, i) => {
          const [most, least] = [highest[i]!, lowest[i]!];
          if (Number.isNaN(middle)) return Number.isNaN(most) && Number.isNaN(least);
          return most >= middle - 1e-2 && middle >= least - 1e-2;
        });
        expect(right).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('averages a linear function over a slab to its value in the middle', () => {
    const geometry = latticeWith();
    const volume = volumeOf(geometry, ramp, 'float32');
    const { right, down } = frameOfDirections(0.5, 0.3, -0.8);
    for (const sides of [
      { right, down },
      { right: LEFT, down: POSTERIOR },
      { right: POSTERIOR, down: FEET },
    ]) {
      const plane = { center: centerOf(geometry), spacingMm: 1.1, width: 12, height: 12, ...sides };
      const cut = reslice(volume, plane, { thicknessMm: 13.7, method: 'average' });
      for (const { value, point } of pixelsOf(cut, plane)) expect(value).toBeCloseTo(ramp(point), 1);
    }
  });
});

describe('planes along the voxels', () => {
  const geometry = latticeWith();
  const { columns, rows, slices } = geometry;
  const volume = volumeOf(geometry, (point) => body(point) + Math.sin(point[0] * 9 + point[1] * 5 + point[2]) * 300);
  const cell = (column: number, row: number, slice: number) => volume.values[(slice * rows + row) * columns + column];

  it('a plane in a slice is that slice, bit for bit', () => {
    for (const slice of [0, 7, slices - 1]) {
      const through = pointOf(geometry, [0, 0, slice]);
      const plane = coveringPlane(geometry, LEFT, POSTERIOR, { through });
      expect(plane).toMatchObject({ width: columns, height: rows, spacingMm: 1.5 });
      const cut = reslice(volume, plane);
      expect([...cut.values]).toEqual([
        ...volume.values.subarray(slice * columns * rows, (slice + 1) * columns * rows),
      ]);
    }
  });

  it('mirrored and turned ones are the same voxels in that order, from wherever one looks', () => {
    const through = pointOf(geometry, [0, 0, 4]);
    const mirrored = reslice(volume, coveringPlane(geometry, scale(LEFT, -1), POSTERIOR, { through }));
    expect(mirrored.values[3]).toBe(cell(columns - 4, 0, 4));
    const turned = coveringPlane(geometry, POSTERIOR, LEFT, { through });
    expect(turned).toMatchObject({ width: rows, height: columns });
    expect(reslice(volume, turned).values[5 * rows + 2]).toBe(cell(5, 2, 4));
  });

  it('between two voxels is their mean, in each direction', () => {
    const at = (voxel: Vec3): number => {
      const plane = { center: pointOf(geometry, voxel), right: LEFT, down: POSTERIOR, spacingMm: 1.5 };
      return reslice(volume, { ...plane, width: 1, height: 1 }).values[0]!;
    };
    const mean = (...cells: (number | undefined)[]) => cells.reduce<number>((sum, one) => sum + one!, 0) / cells.length;
    expect(at([5.5, 6, 7])).toBeCloseTo(mean(cell(5, 6, 7), cell(6, 6, 7)), 2);
    expect(at([5, 6.5, 7])).toBeCloseTo(mean(cell(5, 6, 7), cell(5, 7, 7)), 2);
    expect(at([5, 6, 7.5])).toBeCloseTo(mean(cell(5, 6, 7), cell(5, 6, 8)), 2);
    expect(at([5, 6.5, 7.5])).toBeCloseTo(mean(cell(5, 6, 7), cell(5, 7, 7), cell(5, 6, 8), cell(5, 7, 8)), 2);
  });

  it('a slab through all slices has the greatest, the smallest and the mean voxel of each column', () => {
    const plane = coveringPlane(geometry, LEFT, POSTERIOR);
    // From the centre of the first slice to that of the last: every voxel, the outermost by half.
    const thicknessMm = (slices - 1) * 4;
    const cutBy = (method: Slab['method']) => reslice(volume, plane, { thicknessMm, method }).values;
    const [highest, mean, lowest] = [cutBy('maximum'), cutBy('average'), cutBy('minimum')];
    for (const [column, row] of [
      [0, 0],
      [20, 18],
      [39, 35],
      [7, 30],
    ] as const) {
      const stack = Array.from({ length: slices }, (_, slice) => cell(column, row, slice)!);
      const at = row * columns + column;
      expect(highest[at]).toBe(Math.max(...stack));
      expect(lowest[at]).toBe(Math.min(...stack));
      const halves = stack.reduce((sum, value, i) => sum + (i === 0 || i === slices - 1 ? value / 2 : value), 0);
      expect(mean[at]).toBeCloseTo(halves / (slices - 1), 1);
    }
  });

  it('agree with the general way of sampling for every offset between voxels', () => {
    const fine = volumeOf(geometry, (point) => body(point));
    const gappy = { ...fine, missing: -32768 };
    const offsets = fc.tuple(...[0, 1, 2].map(() => fc.constantFrom(0, 0.25, 0.5))) as fc.Arbitrary<
      [number, number, number]
    >;
    const sides = fc.constantFrom<[Vec3, Vec3]>([LEFT, POSTERIOR], [POSTERIOR, LEFT], [scale(LEFT, -1), FEET]);
    fc.assert(
      fc.property(offsets, sides, ([x, y, z], [right, down]) => {
        const center = pointOf(geometry, [19 + x, 17 + y, 9 + z]);
        const plane = { center, right, down, spacingMm: 1.5, width: 51, height: 51 };
        const [fast, general] = [reslice(fine, plane).values, reslice(gappy, plane).values];
        const differing = fast.findIndex(
          (value, i) => !(Math.abs(value - general[i]!) < 0.01 || Object.is(value, general[i])),
        );
        expect(differing).toBe(-1);
      }),
      { numRuns: 40 },
    );
  });
});

describe('the body, however it was scanned and however one looks at it', () => {
  const degrees = (value: number) => (value * Math.PI) / 180;
  const tilted = frameOfDirections(0.3, -0.5, 0.9);
  const scans: readonly (readonly [string, VolumeGeometry])[] = [
    ['axial, thick slices', latticeWith()],
    ['axial, from head to feet', latticeWith({ origin: [-30, -25, 36], sliceStep: [0, 0, -4] })],
    [
      'sagittal',
      latticeWith({
        columns: 44,
        rows: 48,
        slices: 30,
        origin: [-30, -30, 40],
        columnStep: [0, 1.5, 0],
        rowStep: [0, 0, -1.7],
        sliceStep: [2, 0, 0],
      }),
    ],
    [
      'oblique',
      latticeWith({
        columns: 60,
        rows: 60,
        slices: 40,
        origin: add([0, 0, 0], add(scale(tilted.right, -45), add(scale(tilted.down, -45), scale(tilted.normal, -50)))),
        columnStep: scale(tilted.right, 1.5),
        rowStep: scale(tilted.down, 1.5),
        sliceStep: scale(tilted.normal, 2.5),
      }),
    ],
    [
      'gantry tilt of 20 degrees',
      latticeWith({
        rows: 50,
        slices: 40,
        origin: [-30, -35, -55],
        rowStep: [0, 1.5 * Math.cos(degrees(20)), 1.5 * Math.sin(degrees(20))],
        sliceStep: [0, 0, 2.5],
      }),
    ],
  ];
  const views: readonly (readonly [string, Vec3, Vec3])[] = [
    ['axial', LEFT, POSTERIOR],
    ['coronal', LEFT, FEET],
    ['sagittal', POSTERIOR, FEET],
    ['oblique', frameOfDirections(1, 0.4, -0.3).right, frameOfDirections(1, 0.4, -0.3).down],
  ];

  for (const [scan, geometry] of scans) {
    const volume = volumeOf(geometry, body);
    it.each(views)(`${scan}, seen in %s planes: positions to half a pixel, the right way round`, (_, right, down) => {
      for (const { at, value: peak } of Object.values(markers)) {
        const plane = { center: at, right, down, spacingMm: 0.75, width: 25, height: 25 };
        const cut = reslice(volume, plane);
        const found = centreOfMass(cut, plane, peak);
        expect(Math.abs(dot(subtract(found, at), right))).toBeLessThan(plane.spacingMm / 2);
        expect(Math.abs(dot(subtract(found, at), down))).toBeLessThan(plane.spacingMm / 2);
      }
    });
  }

  it('is seen with its own values, to a hundredth of their peak, where voxels are fine', () => {
    const { at, value: peak } = markers.posterior;
    const fine = latticeWith({
      columns: 40,
      rows: 40,
      slices: 40,
      columnStep: scale(tilted.right, 0.35),
      rowStep: scale(tilted.down, 0.35),
      sliceStep: scale(tilted.normal, 0.35),
      origin: at,
    });
    const volume = volumeOf({ ...fine, origin: pointOf(fine, [-19.5, -19.5, -19.5]) }, body);
    for (const [, right, down] of views) {
      const plane = { center: at, right, down, spacingMm: 0.5, width: 21, height: 21 };
      let worst = 0;
      for (const { value, point } of pixelsOf(reslice(volume, plane), plane)) {
        worst = Math.max(worst, Number.isNaN(value) ? 1 : Math.abs(value - body(point)) / peak);
      }
      expect(worst).toBeLessThan(0.01);
    }
  });

  it('shows left at the right of a coronal picture, the head above, and the back at the right of a sagittal one', () => {
    const volume = volumeOf(latticeWith(), body);
    const mip = (right: Vec3, down: Vec3) => {
      const plane = coveringPlane(volume.geometry, right, down);
      return { plane, cut: reslice(volume, plane, { thicknessMm: 100, method: 'maximum' }) };
    };
    const placeOf = ({ plane, cut }: { plane: Plane; cut: Cut }, { at, value: peak }: { at: Vec3; value: number }) => {
      const off = subtract(at, plane.center);
      const column = Math.round((plane.width - 1) / 2 + dot(off, plane.right) / plane.spacingMm);
      const row = Math.round((plane.height - 1) / 2 + dot(off, plane.down) / plane.spacingMm);
      expect(cut.values[row * plane.width + column]).toBeGreaterThan(peak * 0.7);
      return { column: column / plane.width, row: row / plane.height };
    };
    const coronal = mip(LEFT, FEET);
    expect(dot(viewDirection(coronal.plane), POSTERIOR)).toBe(1);
    expect(placeOf(coronal, markers.left).column).toBeGreaterThan(0.6);
    expect(placeOf(coronal, markers.head).row).toBeLessThan(0.4);
    const sagittal = mip(POSTERIOR, FEET);
    expect(placeOf(sagittal, markers.posterior).column).toBeGreaterThan(0.6);
    const axial = mip(LEFT, POSTERIOR);
    expect(placeOf(axial, markers.left).column).toBeGreaterThan(0.6);
    expect(placeOf(axial, markers.posterior).row).toBeGreaterThan(0.6);
  });
});

describe('what has no value', () => {
  const geometry = latticeWith();

  it.each(['int16', 'float32'] as const)('is not mixed into its neighbours, and stays empty (%s)', (kind) => {
    const empty: Field = ([x]) => (x < -10 ? -2000 : 500);
    const volume: Volume =
      kind === 'int16'
        ? volumeOf(geometry, empty, 'int16', { missing: -2000 })
        : volumeOf(geometry, (point) => (empty(point) === -2000 ? Number.NaN : 500), 'float32');
    const { right, down } = frameOfDirections(0.2, 0.1, 0.3);
    for (const slab of [
      undefined,
      { thicknessMm: 9, method: 'minimum' },
      { thicknessMm: 9, method: 'average' },
    ] as const) {
      const plane = coveringPlane(geometry, right, down, { spacingMm: 0.9 });
      const seen = new Set([...reslice(volume, plane, slab).values].map((value) => Math.round(value)));
      expect(seen).toEqual(new Set([Number.NaN, 500]));
    }
  });

  it('values are rescaled once, and where the slope turns them round the maximum is that of the values', () => {
    const stored = volumeOf(geometry, ([x, y]) => Math.round(x + 2 * y));
    const turned = { ...stored, modality: { slope: -2, intercept: 10 } };
    const plane = coveringPlane(geometry, LEFT, POSTERIOR);
    const slab = { thicknessMm: 30, method: 'maximum' } as const;
    const coronal = coveringPlane(geometry, LEFT, FEET);
    expect(reslice(turned, plane).values[0]).toBe(-2 * stored.values[0]! + 10);
    const [highest, lowest] = [
      reslice(turned, coronal, slab),
      reslice(stored, coronal, { ...slab, method: 'minimum' }),
    ];
    expect(highest.values[21]).toBeCloseTo(-2 * lowest.values[21]! + 10, 3);
  });
});

function centreOfMass(cut: Cut, plane: Plane, peak: number): Vec3 {
  let total = 0;
  let sum: Vec3 = [0, 0, 0];
  for (const { value, point } of pixelsOf(cut, plane)) {
    if (!(value > peak / 2)) continue;
    total += value - peak / 2;
    sum = add(sum, scale(point, value - peak / 2));
  }
  return scale(sum, 1 / total);
}
