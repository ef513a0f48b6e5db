/**
 * Presentation states next to DCMTK's dcmp2pgm: the same state over the same image, every rotation and flip, windows and tables, within one gray
 * level. It draws no graphics and shutters, and shows the whole image whatever the displayed area is: states here have none of those.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, bytesOf, serviceOver } from '#test/shared/dicomweb/ask.ts';
import { differenceOf, pathOf, seen } from '#test/shared/dicomweb/looking.ts';
import { makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeElement, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { hasPrograms, run } from './dcmtk.ts';

const available = hasPrograms('dcmp2pgm');

const el = (tag: number, vr: string, value: MadeElement['value']): MadeElement => ({ tag, vr, value });
const [study, series] = [freshUid(), freshUid()];
const [rows, columns] = [37, 53];

/** Signed 12 bits in 16, nowhere symmetric, over all of their range. */
const values = Int16Array.from(
  { length: rows * columns },
  (_, i) => ((i * 31 + (i % columns) * (i % 7)) % 4096) - 2048,
);
const image = makeInstance({
  studyInstanceUid: study,
  seriesInstanceUid: series,
  rows,
  columns,
  bitsStored: 12,
  pixelRepresentation: 1,
  pixels: new Uint8Array(values.buffer),
  extra: [el(0x00281052, 'DS', '-7'), el(0x00281053, 'DS', '3')],
});

const reference = el(0x00081140, 'SQ', [
  [el(0x00081150, 'UI', image.sopClassUid), el(0x00081155, 'UI', image.ref.sopInstanceUid)],
]);
const window = (center: string, width: string): MadeElement =>
  el(0x00283110, 'SQ', [[el(0x00281050, 'DS', center), el(0x00281051, 'DS', width)]]);
const rescale = [el(0x00281052, 'DS', '-24'), el(0x00281053, 'DS', '1'), el(0x00281054, 'LO', 'HU')];
const identity = el(0x20500020, 'CS', 'IDENTITY');

const stateOf = (extra: readonly MadeElement[]): MadeInstance => {
  const given = new Set(extra.map(({ tag }) => tag));
  const usual = [window('100', '1500'), identity, el(0x00700041, 'CS', 'N'), el(0x00700042, 'US', [0])].filter(
    ({ tag }) => !given.has(tag),
  );
  return makeInstance({
    studyInstanceUid: study,
    sopClassUid: '1.2.840.10008.5.1.4.1.1.11.1',
    modality: 'PR',
    pixels: 'none',
    extra: [
      el(0x00081115, 'SQ', [[reference, el(0x0020000e, 'UI', series)]]),
      el(0x0070005a, 'SQ', [
        [
          el(0x00700052, 'SL', [1, 1]),
          el(0x00700053, 'SL', [columns, rows]),
          el(0x00700100, 'CS', 'SCALE TO FIT'),
          el(0x00700102, 'IS', '1\\1'),
        ],
      ]),
      el(0x00700080, 'CS', 'TEST'),
      el(0x00700081, 'LO', ''),
      el(0x00700082, 'DA', '20240131'),
      el(0x00700083, 'TM', '101500'),
      el(0x00700084, 'PN', ''),
      ...usual,
      ...extra,
    ],
  });
};

const lut = (tag: number, descriptor: number[], entries: number[]): MadeElement =>
  el(tag, 'SQ', [
    [
      el(0x00283002, 'US', descriptor),
      el(0x00283003, 'LO', 'made'),
      el(0x00283004, 'LO', 'US'),
      el(0x00283006, 'US', entries),
    ],
  ]);
const curve = Array.from({ length: 256 }, (_, i) => Math.round(65_535 * (i / 255) ** 2));

const states: Readonly<Record<string, readonly MadeElement[]>> = {
  ...Object.fromEntries(
    [0, 90, 180, 270].flatMap((rotation) =>
      ['N', 'Y'].map((flip) => [`rotation ${rotation}, flip ${flip}`, [el(0x00700041, 'CS', flip), el(0x00700042, 'US', [rotation])]]),
    ),
  ),
  'rescale': rescale,
  'narrow window': [...rescale, window('-300.5', '77')],
  'inverse': [el(0x20500020, 'CS', 'INVERSE')],
  'presentation LUT': [lut(0x20500010, [256, 0, 16], curve), el(0x20500020, 'CS', '')],
  'VOI LUT': [el(0x00283110, 'SQ', [[lut(0x00283010, [256, 0, 16], curve)]])],
}; // biome-ignore format: a table

describe.skipIf(!available)('a presentation state is shown as dcmp2pgm shows it', () => {
  const made = Object.entries(states).map(([name, extra]) => ({ name, state: stateOf(extra) }));
  let folder: string;
  let fixture: Awaited<ReturnType<typeof makeArchive>>;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'archipel-dcmp2pgm-'));
    await writeFile(join(folder, 'image.dcm'), image.file);
    fixture = await makeArchive([image.file, ...made.map(({ state }) => state.file)]);
  });
  afterAll(async () => {
    await fixture?.close();
    await rm(folder, { recursive: true, force: true });
  });

  it.each(made)('$name', async ({ name, state }) => {
    const [stateFile, output] = [
      join(folder, `${state.ref.sopInstanceUid}.dcm`),
      join(folder, `${state.ref.sopInstanceUid}.pgm`),
    ];
    await writeFile(stateFile, state.file);
    const { code, text } = await run('dcmp2pgm', ['-p', stateFile, join(folder, 'image.dcm'), output]);
    expect([code, text]).toEqual([0, expect.anything()]);
    const theirs = pgm(await readFile(output));
    const response = await ask(serviceOver(fixture), `${pathOf(state)}/rendered`, { accept: 'image/png' });
    const ours = await seen(await bytesOf(response));
    expect([ours.width, ours.height]).toEqual([theirs.width, theirs.height]);
    const gray = Uint8Array.from({ length: theirs.pixels.length }, (_, i) => ours.rgb[3 * i]!);
    expect(new Set(theirs.pixels).size).toBeGreaterThan(10);
    expect(differenceOf(gray, theirs.pixels).largest).toBeLessThanOrEqual(name === 'presentation LUT' ? 3 : 1);
  });

  it('differs by a Presentation LUT, whose entry DCMTK rounds down to: the formulas say so', async () => {
    const { state } = made.find(({ name }) => name === 'presentation LUT')!;
    const response = await ask(serviceOver(fixture), `${pathOf(state)}/rendered`, { accept: 'image/png' });
    const { rgb } = await seen(await bytesOf(response));
    // LINEAR of 100 and 1500 (PS3.3 C.11.2.1.2), its range over that of the table's 256 entries, the nearest one.
    const exact = [...values].map((value) => {
      const part = Math.max(0, Math.min(1, (value - 99.5) / 1499 + 0.5));
      return Math.round((curve[Math.round(part * 255)]! * 255) / 65_535);
    });
    expect(
      differenceOf(
        rgb.filter((_, i) => i % 3 === 0),
        Uint8Array.from(exact),
      ).largest,
    ).toBe(0);
  });
});

function pgm(bytes: Buffer): { width: number; height: number; pixels: Uint8Array } {
  const header = /^P5\s+(?:#.*\s+)*(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 200));
  if (header === null) throw new Error('No PGM of 8 bits');
  return {
    width: Number(header[1]),
    height: Number(header[2]),
    pixels: new Uint8Array(bytes.subarray(header[0].length)),
  };
}
