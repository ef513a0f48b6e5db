/**
 * Planes through real series: a plane laid into a slice is that slice's own picture, pixel by pixel, which two ways that share no geometry
 * must agree on: the head phantom of 140 slices, a functional MR, a brain of 384, with ARCHIPEL_ALL_SAMPLES=1 alone. What is refused is always.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import type { Service } from '#shared/dicomweb/service.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { filesBelow, samplesFolder } from '#test/support/samples.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';

const root = samplesFolder();
const isWhole = process.env.ARCHIPEL_ALL_SAMPLES === '1';
const pool = createVolumePool({ threads: 2 });
const fixtures: ArchiveFixture[] = [];
afterAll(async () => {
  await pool.close();
  for (const fixture of fixtures) await fixture.close();
});

interface Slice {
  readonly path: string;
  readonly position: readonly number[];
  readonly cosines: readonly number[];
  readonly spacing: readonly number[];
  readonly size: readonly number[];
}

interface Loaded {
  readonly service: Service;
  readonly series: string;
  readonly slices: readonly Slice[];
}

/** The one series of a folder. */
async function load(folder: string): Promise<Loaded> {
  const files = filesBelow(join(root!, folder)).filter((file) => basename(file).endsWith('.dcm'));
  const fixture = await makeArchive(
    files.map((file) => readFileSync(file)),
    { packSize: 60 },
  );
  fixtures.push(fixture);
  const service = serviceOver(fixture, { volumes: pool });
  const { studyInstanceUid, seriesInstanceUid } = fixture.packs[0]!;
  const series = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}`;
  const metadata = (await (await ask(service, `${series}/metadata`, {})).json()) as Record<
    string,
    { Value?: unknown[] }
  >[];
  const slices = metadata.map((data): Slice => {
    const numbers = (tag: string): number[] => (data[tag]?.Value ?? []).map(Number);
    return {
      path: `${series}/instances/${String(data['00080018']?.Value?.[0])}`,
      position: numbers('00200032'),
      cosines: numbers('00200037'),
      spacing: numbers('00280030'),
      size: [...numbers('00280011'), ...numbers('00280010')],
    };
  });
  return { service, series, slices };
}

async function grayOf(service: Service, path: string): Promise<{ width: number; height: number; pixels: Buffer }> {
  const response = await ask(service, path, { accept: 'image/png' });
  if (response.status !== 200) throw new Error(await response.text());
  const { data, info } = await sharp(await bytesOf(response))
    .greyscale()
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, pixels: data };
}

/** The camera that sees a slice as it is stored: through its middle, its columns to the right, its rows downwards. */
function cameraOf({ position, cosines, spacing, size }: Slice): string {
  const across = cosines.slice(0, 3);
  const down = cosines.slice(3, 6);
  const [columns = 0, rows = 0] = size;
  const middle = position.map(
    (p, i) => p + (across[i]! * spacing[1]! * (columns - 1)) / 2 + (down[i]! * spacing[0]! * (rows - 1)) / 2,
  );
  const look = [0, 1, 2].map(
    (i) => across[(i + 1) % 3]! * down[(i + 2) % 3]! - across[(i + 2) % 3]! * down[(i + 1) % 3]!,
  );
  const decimals = (vector: readonly number[]): string => vector.map((value) => value.toFixed(9)).join(',');
  return `viewpointlookat=${decimals(middle)}&viewpointposition=${decimals(middle.map((m, i) => m - look[i]!))}&viewpointup=${decimals(down.map((d) => -d))}`;
}

async function compare(
  { service, series, slices }: Loaded,
  query: string,
  window: string,
  of: readonly Slice[] = slices,
) {
  for (const slice of [of[0]!, of[Math.floor(of.length / 2)]!, of.at(-1)!]) {
    const own = await grayOf(service, `${slice.path}/rendered?window=${window}`);
    const cut = await grayOf(service, `${series}/renderedmpr?${cameraOf(slice)}&window=${window}&${query}`);
    expect([cut.width, cut.height]).toEqual([own.width, own.height]);
    let different = 0;
    for (const [i, value] of own.pixels.entries()) if (Math.abs(value - cut.pixels[i]!) > 1) different++;
    // Along the outermost edge a position that was written with few digits may lie outside by a hair.
    expect(different).toBeLessThan(0.002 * own.pixels.length);
  }
}

describe.skipIf(root === undefined)('planes through real series', () => {
  it.runIf(isWhole)('of an MR of several phases are those of the phase that is asked for', async () => {
    const fmri = await load('series-mr/fmri-small');
    const problem = await problemOf(await ask(fmri.service, `${fmri.series}/renderedmpr`, {}));
    expect([problem.status, problem.detail]).toEqual([400, expect.stringContaining('TemporalPositionIdentifier')]);
    const uid = basename(fmri.slices[0]!.path);
    const named = await ask(fmri.service, `${fmri.series}/renderedmpr?volumeinputreference=${uid}`, {});
    expect(named.status).toBe(200);
    const metadata = (await (await ask(fmri.service, `${fmri.series}/metadata`, {})).json()) as Record<
      string,
      { Value?: unknown[] }
    >[];
    const second = new Set(
      metadata
        .filter((data) => Number(data['00200100']?.Value?.[0]) === 2)
        .map((data) => String(data['00080018']?.Value?.[0])),
    );
    const phase = fmri.slices.filter(({ path }) => second.has(basename(path)));
    expect(phase.length).toBeGreaterThan(10);
    await compare(fmri, 'TemporalPositionIdentifier=2', '400,800,linear', phase);
  });

  it('of a tilted gantry are at their true positions, and say so', async () => {
    const tilted = await load('broken/series-gantry-tilt');
    const response = await ask(tilted.service, `${tilted.series}/renderedmpr?renderedvolumetricmetadata=yes`, {});
    expect([response.status, response.headers.get('warning')]).toEqual([200, expect.stringMatching(/tilted by 14/)]);
  });

  it.each([
    ['broken/series-irregular-spacing', 406, /missing/],
    ['broken/series-mixed-orientation', 400, /2 orientations/],
  ])('of %s are refused', async (folder, status, sentence) => {
    const broken = await load(folder);
    const problem = await problemOf(await ask(broken.service, `${broken.series}/renderedmpr`, {}));
    expect([problem.status, problem.detail]).toEqual([status, expect.stringMatching(sentence)]);
  });

  it.runIf(isWhole && existsSync(join(root ?? '', 'series-ct/phantom-1mm')))(
    'of the head phantom',
    async () => {
      await compare(await load('series-ct/phantom-1mm'), '', '40,400,linear');
    },
    120_000,
  );

  it.runIf(isWhole && existsSync(join(root ?? '', 'series-mr/t1-7T')))(
    'of a brain with oblong pixels have square ones',
    async () => {
      const { service, series, slices } = await load('series-mr/t1-7T');
      const slice = slices[200]!;
      const [rowMm = 0, columnMm = 0] = slice.spacing;
      const [columns = 0, rows = 0] = slice.size;
      expect(columnMm).not.toBe(rowMm);
      const { width, height } = await grayOf(service, `${series}/renderedmpr?${cameraOf(slice)}`);
      expect(width / height).toBeCloseTo((columns * columnMm) / (rows * rowMm), 2);
    },
    120_000,
  );
});
