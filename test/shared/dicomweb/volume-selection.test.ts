/**
 * Which frames make the volume that a request is about: one file to a slice, multi-frame, split over files, among localizers, phases and
 * other series; never a guess.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, problemOf, serviceOver } from './ask.ts';
import {
  enhancedPhantom,
  geometry,
  middle,
  type PhantomOptions,
  phantom,
  phantomSlices,
  slicePixels,
} from './volume-phantom.ts';

const pool = createVolumePool({ threads: 1 });
const fixtures: ArchiveFixture[] = [];
afterAll(async () => {
  await pool.close();
  for (const fixture of fixtures) await fixture.close();
});

/** So that nothing has to be loaded to know the window. */
const window = [
  { tag: 0x00281050, vr: 'DS', value: '40' },
  { tag: 0x00281051, vr: 'DS', value: '400' },
];
const slices = (options: PhantomOptions = {}): MadeInstance[] =>
  phantomSlices({ ...options, extra: [...window, ...(options.extra ?? [])] });

async function asked(instances: readonly MadeInstance[], of: 'study' | 'series' | 'instance' = 'series') {
  const fixture = await makeArchive(instances.map(({ file }) => file));
  fixtures.push(fixture);
  const service = serviceOver(fixture, { volumes: pool });
  const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = instances[0]!.ref;
  const path = [`/studies/${studyInstanceUid}`, `/series/${seriesInstanceUid}`, `/instances/${sopInstanceUid}`];
  const at = path.slice(0, { study: 1, series: 2, instance: 3 }[of]).join('');
  return (query = '', name = 'renderedmpr'): Promise<Response> =>
    ask(service, `${at}/${name}?renderedvolumetricmetadata=yes&${query}`, { accept: 'application/dicom+json' });
}

/** The middle of the volume, by which the sets of these tests are told apart. */
async function lookAtOf(response: Response): Promise<readonly number[]> {
  if (response.status !== 200) throw new Error(await response.text());
  const module = (await response.json()) as Record<string, { Value: number[] }>;
  return module['00701604']!.Value;
}

const localizer = (like: MadeInstance, orientation: string): MadeInstance =>
  makeInstance({
    ...like.ref,
    sopInstanceUid: freshUid(),
    rows: 16,
    columns: 16,
    extra: geometry([0, 0, 100], orientation),
  });
const coronal = '1\\0\\0\\0\\0\\-1';
const sagittal = '0\\1\\0\\0\\0\\-1';

describe('a series', () => {
  it('of single frames is a volume', async () => {
    expect(await lookAtOf(await (await asked(slices()))())).toEqual(middle);
  });

  it('is taken from its study when it is the only volume there', async () => {
    const own = slices();
    const study = await asked(
      [
        ...own,
        makeInstance({ studyInstanceUid: own[0]!.ref.studyInstanceUid, rows: 8, columns: 8 }),
        makeInstance({ studyInstanceUid: own[0]!.ref.studyInstanceUid, modality: 'SR', pixels: 'none' }),
      ],
      'study',
    );
    expect(await lookAtOf(await study())).toEqual(middle);
  });

  it('leaves out a few localizers and says so', async () => {
    const own = slices();
    const response = await (await asked([...own, localizer(own[0]!, coronal), localizer(own[0]!, sagittal)]))();
    expect(response.headers.get('warning')).toMatch(/2 of 26 frames .* localizers/);
    expect(await lookAtOf(response)).toEqual(middle);
  });

  it('of several orientations is refused until a stack is named', async () => {
    const own = slices();
    const across = Array.from({ length: 8 }, (_, i) =>
      makeInstance({
        ...own[0]!.ref,
        sopInstanceUid: freshUid(),
        rows: 16,
        columns: 16,
        extra: [...geometry([0, 2 * i, 100], coronal), ...window],
      }),
    );
    const ask = await asked([...own, ...across]);
    const problem = await problemOf(await ask());
    expect([problem.status, problem.detail]).toEqual([
      400,
      expect.stringMatching(/2 orientations.*volumeinputreference/),
    ]);
    expect(problem.detail).toContain(across[0]!.ref.sopInstanceUid);
    expect((await lookAtOf(await ask(`volumeinputreference=${across[3]!.ref.sopInstanceUid}`)))[1]).toBe(7);
  });

  it('of a hundred orientations and more is refused before all are compared with all', async () => {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
    const turned = Array.from({ length: 130 }, (_, i) => {
      const [a, b] = [((i % 13) * Math.PI) / 13, (Math.floor(i / 13) * Math.PI) / 10];
      const row = [Math.cos(a), Math.sin(a), 0];
      const column = [-Math.sin(a) * Math.cos(b), Math.cos(a) * Math.cos(b), Math.sin(b)];
      return makeInstance({
        ...ref,
        extra: geometry([0, 0, 0], [...row, ...column].map((c) => c.toFixed(6)).join('\\')),
      });
    });
    expect((await problemOf(await (await asked(turned))())).detail).toMatch(/101 orientations.* and 93 more/);
  });

  it('that is no lattice is refused with its reason', async () => {
    const own = slices();
    const problem = await problemOf(await (await asked(own.filter((_, i) => i !== 9)))());
    expect([problem.status, problem.code, problem.detail]).toEqual([
      406,
      'cannot-render',
      expect.stringMatching(/1 of 24 slices are missing/),
    ]);
  });

  it('of one slice is no volume', async () => {
    expect((await problemOf(await (await asked(slices().slice(0, 1)))())).detail).toMatch(/at least two slices/);
  });

  it('without places in space is none', async () => {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
    const problem = await problemOf(await (await asked([makeInstance(ref), makeInstance(ref)]))());
    expect([problem.status, problem.detail]).toEqual([406, expect.stringMatching(/Image Position/)]);
  });

  it('of colour is none', async () => {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
    const colored = [0, 2, 4].map((z) =>
      makeInstance({ ...ref, samplesPerPixel: 3, bitsAllocated: 8, extra: geometry([0, 0, z]) }),
    );
    expect((await problemOf(await (await asked(colored))())).detail).toMatch(/colour/);
  });
});

describe('several sets of frames', () => {
  const phase = (number: number, ref: Partial<MadeInstance['ref']> = {}) =>
    slices({
      ...ref,
      extra: [
        { tag: 0x00200100, vr: 'IS', value: String(number) },
        { tag: 0x00200012, vr: 'IS', value: String(number) },
      ],
    });
  const first = phase(1);
  const { studyInstanceUid, seriesInstanceUid } = first[0]!.ref;
  // Of the second phase the lower half: it has another middle.
  const second = phase(2, { studyInstanceUid, seriesInstanceUid }).slice(12);
  const lower = [middle[0], middle[1], phantom.origin[2] + 11];

  it('at the same positions are refused with what to say', async () => {
    const problem = await problemOf(await (await asked([...first, ...second]))());
    expect(problem.status).toBe(400);
    expect(problem.detail).toMatch(/2 sets that differ in AcquisitionNumber, TemporalPositionIdentifier/);
    expect(problem.detail).toMatch(/volumeinputreference/);
  });

  it.each(['AcquisitionNumber=2', 'match=TemporalPositionIdentifier=2', 'match=00200012%3D2', '00200100=2'])(
    'are told apart by %s',
    async (query) => expect(await lookAtOf(await (await asked([...first, ...second]))(query))).toEqual(lower),
  );

  it('are told apart by an instance of the one that is meant', async () => {
    const ask = await asked([...first, ...second]);
    expect(await lookAtOf(await ask(`volumeinputreference=${second[4]!.ref.sopInstanceUid}`))).toEqual(lower);
    expect(await lookAtOf(await ask(`volumeinputreference=${first[4]!.ref.sopInstanceUid}`))).toEqual(middle);
  });

  it('are what is named when several instances are', async () => {
    const some = first.slice(0, 4).map(({ ref }) => ref.sopInstanceUid);
    const ask = await asked([...first, ...second]);
    expect((await lookAtOf(await ask(`volumeinputreference=${some.join(',')}`)))[2]).toBe(phantom.origin[2] + 46 - 3);
  });

  it('that nothing matches are no volume', async () => {
    expect((await problemOf(await (await asked(first))('AcquisitionNumber=7'))).detail).toMatch(/none that matches/);
  });

  it('as series of a study are refused until one is named', async () => {
    const other = slices({ studyInstanceUid }).slice(12);
    const ask = await asked([...first, ...other], 'study');
    const problem = await problemOf(await ask());
    expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining(other[0]!.ref.seriesInstanceUid)]);
    expect(await lookAtOf(await ask(`volumeinputreference=${other[0]!.ref.seriesInstanceUid}`))).toEqual(lower);
    expect(await lookAtOf(await ask('AcquisitionNumber=1'))).toEqual(middle);
  });

  it('do not lose to another series by being many', async () => {
    const other = slices({ studyInstanceUid });
    const problem = await problemOf(await (await asked([...first, ...second, ...other], 'study'))());
    expect(problem.detail).toMatch(/Several series/);
  });
});

describe('an enhanced multi-frame instance', () => {
  it('is a volume by itself', async () => {
    expect(await lookAtOf(await (await asked([enhancedPhantom({ extra: window })], 'instance'))())).toEqual(middle);
  });

  it('that is split over several files is one volume, not its first part [OHIF#4388]', async () => {
    const ref = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
    const parts = [0, 8, 16].map((from) => enhancedPhantom({ ...ref, extra: window }, from, from + 8));
    expect(await lookAtOf(await (await asked(parts))())).toEqual(middle);
  });

  it('of several phases is one of them by a frame of it, or by an attribute of its functional groups', async () => {
    const instance = phases();
    const ask = await asked([instance], 'instance');
    // By itself it names all of them, which is none.
    for (const query of ['', `volumeinputreference=${instance.ref.sopInstanceUid}`])
      expect((await problemOf(await ask(query))).detail).toMatch(
        /differ in TemporalPositionIndex.* volumeinputreference: 1, 4/,
      );
    for (const query of [
      'volumeinputreference=5',
      'TemporalPositionIndex=2',
      'FrameContentSequence.TemporalPositionIndex=2',
    ])
      expect((await lookAtOf(await ask(query)))[2]).toBe(101);
  });

  it('of tomosynthesis, all slices in one file, is a volume [OHIF#5962]', async () => {
    const instance = enhancedPhantom({ modality: 'MG', extra: window });
    expect(await lookAtOf(await (await asked([instance], 'series'))('orientation=coronal'))).toEqual(middle);
  });
});

/** Two phases of a few slices, of which the second has fewer. */
function phases(): MadeInstance {
  const frames = [
    [0, 1],
    [2, 1],
    [4, 1],
    [0, 2],
    [2, 2],
  ] as const;
  const item = (tag: number, elements: readonly { tag: number; vr: string; value: string | readonly number[] }[]) => ({
    tag,
    vr: 'SQ',
    value: [[...elements]],
  });
  const { rows, columns, origin, rowMm, columnMm } = phantom;
  return makeInstance({
    sopClassUid: '1.2.840.10008.5.1.4.1.1.2.1',
    rows,
    columns,
    frames: frames.length,
    pixels: new Uint8Array(Buffer.concat(frames.map(([z]) => slicePixels(100 + z)))),
    extra: [
      ...window,
      { tag: 0x00200052, vr: 'UI', value: '1.2.3.99' },
      {
        tag: 0x52009229,
        vr: 'SQ',
        value: [
          [
            item(0x00209116, [{ tag: 0x00200037, vr: 'DS', value: '1\\0\\0\\0\\1\\0' }]),
            item(0x00289110, [{ tag: 0x00280030, vr: 'DS', value: `${rowMm}\\${columnMm}` }]),
          ],
        ],
      },
      {
        tag: 0x52009230,
        vr: 'SQ',
        value: frames.map(([z, phase]) => [
          item(0x00209111, [{ tag: 0x00209128, vr: 'UL', value: [phase] }]),
          item(0x00209113, [{ tag: 0x00200032, vr: 'DS', value: [origin[0], origin[1], 100 + z].join('\\') }]),
        ]),
      },
    ],
  });
}
