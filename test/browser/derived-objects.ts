/**
 * A segmentation (PS3.3 §A.51) and an RT structure set (PS3.3 §A.19) drawn upon slices of a series that is there: a cylinder
 * through the middle of the picture, so that a test knows where a viewer must show colour.
 */
import { readFileSync } from 'node:fs';
import { readHeader } from '#shared/dicom/part10.ts';
import { freshUid, type MadeElement, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

export interface Slice {
  readonly sopInstanceUid: string;
  /** Image Position (Patient): x, y, z in mm. */
  readonly position: readonly [number, number, number];
}

/** A series of axial slices with the identity orientation. */
export interface Geometry {
  readonly studyInstanceUid: string;
  readonly seriesInstanceUid: string;
  readonly frameOfReferenceUid: string;
  readonly patientName: string;
  readonly patientId: string;
  readonly rows: number;
  readonly columns: number;
  readonly spacingMm: number;
  readonly slices: readonly Slice[];
}

/** Of the files of one series, in the order of their positions. */
export function geometryOf(files: readonly string[]): Geometry {
  const headers = files.map((file) => readHeader(readFileSync(file)).dataSet);
  const first = headers[0]!;
  const numbers = (text: string | undefined): number[] => (text ?? '').split('\\').map(Number);
  const slices = headers
    .map((dataSet) => ({
      sopInstanceUid: dataSet.ascii(0x00080018) ?? '',
      position: numbers(dataSet.ascii(0x00200032)) as [number, number, number],
    }))
    .sort((a, b) => a.position[2] - b.position[2]);
  return {
    studyInstanceUid: first.ascii(0x0020000d) ?? '',
    seriesInstanceUid: first.ascii(0x0020000e) ?? '',
    frameOfReferenceUid: first.ascii(0x00200052) ?? '',
    patientName: first.ascii(0x00100010) ?? '',
    patientId: first.ascii(0x00100020) ?? '',
    rows: 512,
    columns: 512,
    spacingMm: numbers(first.ascii(0x00280030))[0] ?? 1,
    slices,
  };
}

const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';
const text = (tag: number, vr: string, value: string): MadeElement => ({ tag, vr, value });
const items = (tag: number, ...value: MadeElement[][]): MadeElement => ({ tag, vr: 'SQ', value });
const code = (value: string, scheme: string, meaning: string): MadeElement[] => [
  text(0x00080100, 'SH', value),
  text(0x00080102, 'SH', scheme),
  text(0x00080104, 'LO', meaning),
];
const reference = (sopInstanceUid: string): MadeElement[] => [
  text(0x00081150, 'UI', CT_IMAGE_STORAGE),
  text(0x00081155, 'UI', sopInstanceUid),
];

/** Binary, one segment "Cylinder": a disc of a third of the width on each of the slices. */
export function makeSegmentation(of: Geometry): MadeInstance {
  const { rows, columns, slices, spacingMm } = of;
  const dimensionUid = freshUid();
  const frames = slices.map(({ sopInstanceUid, position }, i): MadeElement[] => [
    items(0x00089124, [
      items(0x00082112, [
        ...reference(sopInstanceUid),
        items(0x0040a170, code('121322', 'DCM', 'Source image for image processing operation')),
      ]),
      items(0x00089215, code('113076', 'DCM', 'Segmentation')),
    ]),
    items(0x00209111, [{ tag: 0x00209157, vr: 'UL', value: [1, i + 1] }]),
    items(0x00209113, [text(0x00200032, 'DS', position.join('\\'))]),
    items(0x0062000a, [{ tag: 0x0062000b, vr: 'US', value: [1] }]),
  ]);
  return makeInstance({
    ...identity(of),
    sopClassUid: '1.2.840.10008.5.1.4.1.1.66.4',
    modality: 'SEG',
    seriesDescription: 'Segmentation',
    seriesNumber: 301,
    rows,
    columns,
    frames: slices.length,
    bitsAllocated: 1,
    bitsStored: 1,
    pixels: discs(rows, columns, slices.length),
    extra: [
      text(0x00080008, 'CS', 'DERIVED\\PRIMARY'),
      items(0x00081115, [
        items(0x0008114a, ...slices.map(({ sopInstanceUid }) => reference(sopInstanceUid))),
        text(0x0020000e, 'UI', of.seriesInstanceUid),
      ]),
      text(0x00200052, 'UI', of.frameOfReferenceUid),
      items(0x00209221, [text(0x00209164, 'UI', dimensionUid)]),
      items(
        0x00209222,
        ...[0x0062000b, 0x00200032].map((pointer): MadeElement[] => [
          text(0x00209164, 'UI', dimensionUid),
          { tag: 0x00209165, vr: 'AT', value: [pointer] },
          { tag: 0x00209167, vr: 'AT', value: [pointer === 0x0062000b ? 0x0062000a : 0x00209113] },
        ]),
      ),
      text(0x00282110, 'CS', '00'),
      text(0x00620001, 'CS', 'BINARY'),
      items(0x00620002, [
        items(0x00620003, code('85756007', 'SCT', 'Tissue')),
        { tag: 0x00620004, vr: 'US', value: [1] },
        text(0x00620005, 'LO', 'Cylinder'),
        text(0x00620008, 'CS', 'MANUAL'),
        { tag: 0x0062000d, vr: 'US', value: [34_885, 53_485, 50_171] },
        items(0x0062000f, code('85756007', 'SCT', 'Tissue')),
      ]),
      text(0x00700080, 'CS', 'CYLINDER'),
      text(0x00700081, 'LO', 'A cylinder'),
      text(0x00700084, 'PN', 'Test'),
      items(0x52009229, [
        items(0x00209116, [text(0x00200037, 'DS', '1\\0\\0\\0\\1\\0')]),
        items(0x00289110, [
          text(0x00180050, 'DS', '1'),
          text(0x00180088, 'DS', '1'),
          text(0x00280030, 'DS', `${spacingMm}\\${spacingMm}`),
        ]),
      ]),
      items(0x52009230, ...frames),
    ],
  });
}

/** One structure "Cylinder", red: a circle of a third of the width on each of the slices. */
export function makeStructureSet(of: Geometry): MadeInstance {
  const contours = of.slices.map(({ sopInstanceUid, position: [x, y, z] }): MadeElement[] => {
    const radius = (of.columns * of.spacingMm) / 6;
    const middle = [x + (of.columns * of.spacingMm) / 2, y + (of.rows * of.spacingMm) / 2] as const;
    const points = Array.from({ length: 48 }, (_, i) => {
      const angle = (i * Math.PI) / 24;
      return [middle[0] + radius * Math.cos(angle), middle[1] + radius * Math.sin(angle), z].map((mm) => mm.toFixed(2));
    });
    return [
      items(0x30060016, reference(sopInstanceUid)),
      text(0x30060042, 'CS', 'CLOSED_PLANAR'),
      text(0x30060046, 'IS', String(points.length)),
      text(0x30060050, 'DS', points.flat().join('\\')),
    ];
  });
  return makeInstance({
    ...identity(of),
    sopClassUid: '1.2.840.10008.5.1.4.1.1.481.3',
    modality: 'RTSTRUCT',
    seriesDescription: 'Structures',
    seriesNumber: 302,
    pixels: 'none',
    extra: [
      text(0x00200052, 'UI', of.frameOfReferenceUid),
      text(0x30060002, 'SH', 'STRUCTURES'),
      text(0x30060008, 'DA', '20240131'),
      text(0x30060009, 'TM', '101500'),
      items(0x30060010, [
        text(0x00200052, 'UI', of.frameOfReferenceUid),
        items(0x30060012, [
          text(0x00081150, 'UI', '1.2.840.10008.3.1.2.3.1'),
          text(0x00081155, 'UI', of.studyInstanceUid),
          items(0x30060014, [
            text(0x0020000e, 'UI', of.seriesInstanceUid),
            items(0x30060016, ...of.slices.map(({ sopInstanceUid }) => reference(sopInstanceUid))),
          ]),
        ]),
      ]),
      items(0x30060020, [
        text(0x30060022, 'IS', '1'),
        text(0x30060024, 'UI', of.frameOfReferenceUid),
        text(0x30060026, 'LO', 'Cylinder'),
        text(0x30060036, 'CS', 'MANUAL'),
      ]),
      items(0x30060039, [
        text(0x3006002a, 'IS', '255\\0\\0'),
        items(0x30060040, ...contours),
        text(0x30060084, 'IS', '1'),
      ]),
      items(0x30060080, [
        text(0x30060082, 'IS', '1'),
        text(0x30060084, 'IS', '1'),
        text(0x300600a4, 'CS', 'ORGAN'),
        text(0x300600a6, 'PN', ''),
      ]),
    ],
  });
}

const identity = (of: Geometry) => ({
  studyInstanceUid: of.studyInstanceUid,
  patientName: of.patientName,
  patientId: of.patientId,
});

/** One bit for each pixel, the first in the lowest bit (PS3.5 §8.1.1). */
function discs(rows: number, columns: number, count: number): Uint8Array {
  const frame = new Uint8Array((rows * columns) / 8);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const at = y * columns + x;
      if (Math.hypot(x - columns / 2, y - rows / 2) < columns / 6)
        frame[at >> 3] = (frame[at >> 3] ?? 0) | (1 << (at & 7));
    }
  return Uint8Array.from({ length: frame.length * count }, (_, i) => frame[i % frame.length] ?? 0);
}
