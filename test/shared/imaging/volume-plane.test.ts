/** Planes that turn and cover, and the depths at which a slab is sampled. */
import { describe, expect, it } from 'vitest';
import { centerOf, cornersOf, type Vec3 } from '#shared/imaging/volume-geometry.ts';
import {
  checkPlane,
  coveringPlane,
  finestSpacingMm,
  indexOf,
  type Plane,
  rotatePlane,
  slabDepths,
  viewDirection,
} from '#shared/imaging/volume-plane.ts';
import { dot, scale, subtract } from '#shared/imaging/volume-vectors.ts';
import { frameOfDirections, latticeWith, pointOf } from './volume-phantom.ts';

const geometry = latticeWith();
const axial = coveringPlane(geometry, [1, 0, 0], [0, 1, 0]);

const expectNear = (actual: Vec3, expected: Vec3): void => {
  for (const axis of [0, 1, 2]) expect(actual[axis]).toBeCloseTo(expected[axis]!, 9);
};

describe('a plane', () => {
  it('covers the whole volume from every side, at its finest spacing', () => {
    expect(finestSpacingMm(geometry)).toBe(1.5);
    expect(axial).toMatchObject({ width: 40, height: 36, spacingMm: 1.5, center: centerOf(geometry) });
    for (const angle of [0, 0.4, 1.9]) {
      const { right, down } = frameOfDirections(angle, angle / 2, -angle);
      const plane = coveringPlane(geometry, right, down, { through: [3, 4, 5], spacingMm: 0.8 });
      expect(dot(subtract([3, 4, 5], plane.center), viewDirection(plane))).toBeCloseTo(0, 9);
      for (const corner of cornersOf(geometry)) {
        const off = subtract(corner, plane.center);
        expect(Math.abs(dot(off, right))).toBeLessThanOrEqual((plane.width / 2) * plane.spacingMm + 1e-6);
        expect(Math.abs(dot(off, down))).toBeLessThanOrEqual((plane.height / 2) * plane.spacingMm + 1e-6);
      }
    }
  });

  it('turns about an axis by the right-hand rule, and back to where it was after a full turn', () => {
    const about = rotatePlane(axial, centerOf(geometry), [0, 0, 2], 90);
    expectNear(about.right, [0, 1, 0]);
    expectNear(about.down, [-1, 0, 0]);
    expectNear(about.center, axial.center);
    const aside = rotatePlane(axial, [0, 0, 0], [0, 1, 0], 90);
    expectNear(aside.center, [axial.center[2], axial.center[1], -axial.center[0]]);
    let plane: Plane = axial;
    for (let i = 0; i < 36; i++) plane = rotatePlane(plane, [5, 5, 5], [1, 2, 3], 10);
    expectNear(plane.right, axial.right);
    expectNear(plane.center, axial.center);
    expect(() => rotatePlane(axial, [0, 0, 0], [0, 0, 0], 10)).toThrow('turns about an axis');
    expect(() => rotatePlane(axial, [0, 0, 0], [0, 0, 1], Number.NaN)).toThrow('turns about an axis');
  });

  it.each([
    ['directions that are not perpendicular', { down: [Math.SQRT1_2, Math.SQRT1_2, 0] }],
    ['directions of no length', { right: [0, 0, 0] }],
    ['no place', { center: [Number.NaN, 0, 0] }],
    ['pixels of no size', { spacingMm: 0 }],
    ['no pixels', { width: 0 }],
    ['too many pixels', { width: 100_000, height: 100_000 }],
  ] as const)('is refused with %s', (_, changes) => {
    expect(() => checkPlane({ ...axial, ...changes })).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });
});

describe('a lattice turned into voxel numbers', () => {
  it('is exact, also oblique and sheared', () => {
    const { right, down, normal } = frameOfDirections(0.3, 0.8, -1.2);
    const sheared = latticeWith({
      columnStep: scale(right, 0.7),
      rowStep: scale(down, 1.1),
      sliceStep: [normal[0] * 3 + down[0], normal[1] * 3 + down[1], normal[2] * 3 + down[2]],
    });
    expectNear(indexOf(sheared).position(pointOf(sheared, [3.5, -2, 17])), [3.5, -2, 17]);
  });
});

describe('the depths of a slab', () => {
  const depthsOf = (plane: Plane, thicknessMm: number) =>
    slabDepths(geometry, plane, { thicknessMm, method: 'maximum' });

  it('are the plane itself without a thickness', () => {
    expect(slabDepths(geometry, axial, undefined)).toEqual({ depthsMm: [0], weights: [1] });
    expect(depthsOf(axial, 0)).toEqual({ depthsMm: [0], weights: [1] });
  });

  it('are both faces and every layer of voxels between them, where layers are parallel to the plane', () => {
    // The middle of 20 slices lies between two of them: layers at 2 and 6 mm on both sides.
    const { depthsMm, weights } = depthsOf(axial, 14);
    expect(depthsMm).toEqual([-7, -6, -2, 2, 6, 7]);
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
    expect(weights[0]).toBeCloseTo(0.5 / 14, 12);
    expect(weights[2]).toBeCloseTo(4 / 14, 12);
    expect(depthsOf(axial, 4).depthsMm).toEqual([-2, 2]);
  });

  it('are a voxel apart at most where the slab is oblique', () => {
    const { right, down } = frameOfDirections(0.6, 0.2, 0.4);
    const plane = coveringPlane(geometry, right, down);
    const { depthsMm, weights } = depthsOf(plane, 20);
    expect([depthsMm[0], depthsMm.at(-1)]).toEqual([-10, 10]);
    const perMm = indexOf(geometry).direction(viewDirection(plane));
    expect((depthsMm[1]! - depthsMm[0]!) * Math.hypot(...perMm)).toBeLessThanOrEqual(1);
    expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
  });

  it('are refused when there are too many of them, or none', () => {
    const large = { ...axial, width: 4096, height: 4096 };
    expect(() => depthsOf(large, 70)).not.toThrow();
    expect(() => depthsOf(large, 400)).toThrow('may take 1073741824 samples');
    for (const thicknessMm of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e9]) {
      expect(() => depthsOf(axial, thicknessMm)).toThrow(expect.objectContaining({ code: 'bad-request' }));
      const { right, down } = frameOfDirections(0.6, 0.2, 0.4);
      expect(() => depthsOf(coveringPlane(geometry, right, down), thicknessMm)).toThrow(
        expect.objectContaining({ code: 'bad-request' }),
      );
    }
  });
});
