/**
 * A volume for tests whose every voxel says where it is: values rise linearly, and differently, towards left, back and head. Interpolated
 * linearly they are exact wherever they are looked at, so that a picture of any plane can be checked pixel by pixel, a mirrored or shifted
 * one never passes.
 */
import { freshUid, type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

export type Point = readonly [number, number, number];

export const phantom = {
  columns: 40,
  rows: 32,
  slices: 24,
  columnMm: 1,
  rowMm: 1.5,
  sliceMm: 2,
  /** The centre of the first voxel. */
  origin: [-17, -30, 100] as Point,
} as const;

/** Modality values at a place in mm: stored values are 1,024 more. */
export const valueAt = ([x, y, z]: Point): number => 6 * x + 4 * y + 5 * (z - 100);

/** The centres of the outermost voxels. */
export const inside = ([x, y, z]: Point): boolean => {
  const [x0, y0, z0] = phantom.origin;
  const within = (value: number, from: number, length: number): boolean =>
    value >= from - 1e-6 && value <= from + length + 1e-6;
  return (
    within(x, x0, (phantom.columns - 1) * phantom.columnMm) &&
    within(y, y0, (phantom.rows - 1) * phantom.rowMm) &&
    within(z, z0, (phantom.slices - 1) * phantom.sliceMm)
  );
};

export const middle: Point = [
  phantom.origin[0] + ((phantom.columns - 1) * phantom.columnMm) / 2,
  phantom.origin[1] + ((phantom.rows - 1) * phantom.rowMm) / 2,
  phantom.origin[2] + ((phantom.slices - 1) * phantom.sliceMm) / 2,
];

export const positionTag = 0x00200032;
export const orientationTag = 0x00200037;
export const spacingTag = 0x00280030;

export function slicePixels(z: number, add = 0): Uint8Array {
  const { columns, rows, columnMm, rowMm, origin } = phantom;
  const cells = new Uint16Array(columns * rows);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      cells[row * columns + column] =
        1024 + add + Math.round(valueAt([origin[0] + column * columnMm, origin[1] + row * rowMm, z]));
    }
  }
  return new Uint8Array(cells.buffer);
}

export interface PhantomOptions extends InstanceOptions {
  /** To every value. */
  readonly add?: number;
}

/** Axial slices, the head first, numbered from the feet on: no order of theirs is that of their places. */
export function phantomSlices(options: PhantomOptions = {}): MadeInstance[] {
  const { slices, sliceMm, origin, columns, rows } = phantom;
  const common = {
    studyInstanceUid: options.studyInstanceUid ?? freshUid(),
    seriesInstanceUid: options.seriesInstanceUid ?? freshUid(),
  };
  return Array.from({ length: slices }, (_, i) => {
    const slice = slices - 1 - i;
    const z = origin[2] + slice * sliceMm;
    return makeInstance({
      ...options,
      ...common,
      rows,
      columns,
      instanceNumber: ((i * 7) % slices) + 1,
      pixels: slicePixels(z, options.add),
      extra: [...geometry([origin[0], origin[1], z]), ...(options.extra ?? [])],
    });
  });
}

export function geometry(position: Point, orientation = '1\\0\\0\\0\\1\\0', frameOfReferenceUid = '1.2.3.99') {
  return [
    { tag: 0x00200052, vr: 'UI', value: frameOfReferenceUid },
    { tag: positionTag, vr: 'DS', value: position.join('\\') },
    { tag: orientationTag, vr: 'DS', value: orientation },
    { tag: spacingTag, vr: 'DS', value: `${phantom.rowMm}\\${phantom.columnMm}` },
    { tag: 0x00281052, vr: 'DS', value: '-1024' },
    { tag: 0x00281053, vr: 'DS', value: '1' },
  ];
}

/** The same in one multi-frame instance, or in several: slices `from` to `to`, places and rescale in functional groups. */
export function enhancedPhantom(options: InstanceOptions, from = 0, to: number = phantom.slices): MadeInstance {
  const { columns, rows, sliceMm, origin } = phantom;
  const heights = Array.from({ length: to - from }, (_, i) => origin[2] + (from + i) * sliceMm);
  const one = (tag: number, elements: readonly { tag: number; vr: string; value: string }[]) => ({
    tag,
    vr: 'SQ',
    value: [[...elements]],
  });
  const shared = [
    one(0x00209116, [{ tag: orientationTag, vr: 'DS', value: '1\\0\\0\\0\\1\\0' }]),
    one(0x00289110, [{ tag: spacingTag, vr: 'DS', value: `${phantom.rowMm}\\${phantom.columnMm}` }]),
    one(0x00289145, [
      { tag: 0x00281052, vr: 'DS', value: '-1024' },
      { tag: 0x00281053, vr: 'DS', value: '1' },
      { tag: 0x00281054, vr: 'LO', value: 'HU' },
    ]),
  ];
  const perFrame = heights.map((z) => [
    one(0x00209113, [{ tag: positionTag, vr: 'DS', value: [origin[0], origin[1], z].join('\\') }]),
  ]);
  return makeInstance({
    ...options,
    sopClassUid: '1.2.840.10008.5.1.4.1.1.2.1',
    rows,
    columns,
    frames: heights.length,
    pixels: new Uint8Array(Buffer.concat(heights.map((z) => slicePixels(z)))),
    extra: [
      { tag: 0x00200052, vr: 'UI', value: '1.2.3.99' },
      { tag: 0x52009229, vr: 'SQ', value: [shared] },
      { tag: 0x52009230, vr: 'SQ', value: perFrame },
      ...(options.extra ?? []),
    ],
  });
}
