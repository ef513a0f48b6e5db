/**
 * What a view costs: no picture of a volume takes more samples than it may, whatever its size and the viewport, and none is smaller for it.
 */
import { describe, expect, it } from 'vitest';
import { parseVolumeParameters, type VolumeKind } from '#shared/dicomweb/volume-parameters.ts';
import { viewOf } from '#shared/dicomweb/volume-view.ts';
import type { VolumeGeometry } from '#shared/imaging/volume-geometry.ts';

const body: VolumeGeometry = {
  columns: 512,
  rows: 512,
  slices: 1200,
  origin: [-255.5, -255.5, 0],
  columnStep: [1, 0, 0],
  rowStep: [0, 1, 0],
  sliceStep: [0, 0, 1],
  frameOfReferenceUid: undefined,
};

const viewed = (kind: VolumeKind, query: string) => {
  const view = viewOf(body, parseVolumeParameters(new URLSearchParams(query), kind), kind);
  const { width, height, spacingMm } = view.planes[0]!;
  const samples = width * height * ((view.slab?.thicknessMm ?? 0) / 1 + 1);
  return { width, height, spacingMm, samples, fit: view.fit, count: view.planes.length };
};

describe('the effort of a view', () => {
  it('is a voxel to a pixel for planes, of any direction', () => {
    expect(viewed('renderedmpr', 'orientation=coronal')).toMatchObject({
      width: 512,
      height: 1200,
      spacingMm: 1,
      fit: undefined,
    });
    expect(viewed('renderedmpr', 'orientation=coronal&viewport=256,600')).toMatchObject({
      width: 512,
      height: 1200,
      fit: { width: 256, height: 600 },
    });
    expect(viewed('renderedmpr', 'orientation=coronal&viewport=1024,4000')).toMatchObject({
      width: 1024,
      height: 2400,
      spacingMm: 0.5,
      fit: undefined,
    });
  });

  it('is bounded for projections, which are scaled to their size then', () => {
    const { samples, fit } = viewed('rendered3d', 'orientation=coronal');
    expect(samples).toBeLessThanOrEqual(1.02 * 128 * 1024 * 1024);
    expect(fit).toEqual({ width: 512, height: 1200 });
    const large = viewed('rendered3d', 'orientation=coronal&viewport=2048,4096');
    expect([large.samples < 1.02 * 128 * 1024 * 1024, large.fit]).toEqual([true, { width: 2048, height: 4096 }]);
  });

  it('is as fine as is shown for projections, but a ray for every other voxel at least', () => {
    expect(viewed('rendered3d', 'orientation=coronal&viewport=307,720')).toMatchObject({
      width: 307,
      height: 720,
      fit: undefined,
    });
    expect(viewed('rendered3d', 'orientation=coronal&viewport=64,150')).toMatchObject({
      width: 256,
      height: 600,
      fit: { width: 64, height: 150 },
    });
  });

  it('is a quarter of that for each picture of an animation', () => {
    const { samples, count } = viewed(
      'rendered3d',
      'orientation=coronal&swivelrange=360&animationstepsize=15&viewport=512,512',
    );
    expect(count).toBe(24);
    expect(samples).toBeLessThanOrEqual(1.02 * 32 * 1024 * 1024);
  });

  it('is bounded for thick slabs, too', () => {
    expect(viewed('renderedmpr', 'orientation=axial&mprslab=1000&viewport=4000,4000').samples).toBeLessThanOrEqual(
      1.02 * 128 * 1024 * 1024,
    );
  });
});
