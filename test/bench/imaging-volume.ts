/**
 * Milliseconds for planes and slabs out of a volume of 512 x 512 x 300, on two threads and on none, and for filling it from
 * HTJ2K frames. Beside each the ratio to a bound of the same run: one thread that reads as many cells one behind the other, or that
 * decodes as many frames; two threads at their best come to half of it.
 */
import { cpus } from 'node:os';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import type { ImageAttributes } from '#shared/imaging/image-attributes.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import type { Volume } from '#shared/imaging/volume.ts';
import { centerOf, type Vec3, type VolumeGeometry } from '#shared/imaging/volume-geometry.ts';
import { type Plane, type Slab, slabDepths } from '#shared/imaging/volume-plane.ts';
import { createVolumePool, type SliceFrame } from '#shared/imaging/volume-pool.ts';
import { reslice } from '#shared/imaging/volume-reslice.ts';
import { attributesWith } from '#test/shared/imaging/image-fixture.ts';

const HTJ2K_LOSSLESS = '1.2.840.10008.1.2.4.201';
const EXPLICIT_LITTLE = '1.2.840.10008.1.2.1';
const THREADS = 2;
/** Encoded once each, and used again and again. */
const DISTINCT_FRAMES = 10;
/** The first does not count. */
const RUNS = 9;

const geometry: VolumeGeometry = {
  columns: 512,
  rows: 512,
  slices: 300,
  origin: [-180, -180, -150],
  columnStep: [0.7, 0, 0],
  rowStep: [0, 0.7, 0],
  sliceStep: [0, 0, 1],
  frameOfReferenceUid: undefined,
};
const attributes: ImageAttributes = attributesWith({
  rows: geometry.rows,
  columns: geometry.columns,
  bitsStored: 12,
  highBit: 11,
  modality: { kind: 'linear', slope: 1, intercept: -1024 },
  windows: [{ center: 40, width: 400, function: 'LINEAR' }],
});

const diagonal = Math.SQRT1_2;
const views: readonly (readonly [name: string, right: Vec3, down: Vec3])[] = [
  ['axial', [1, 0, 0], [0, 1, 0]],
  ['coronal', [1, 0, 0], [0, 0, -1]],
  ['sagittal', [0, 1, 0], [0, 0, -1]],
  ['oblique', [diagonal, diagonal, 0], [0.5, -0.5, -diagonal]],
];
const slabs: readonly (Slab | undefined)[] = [
  undefined,
  { thicknessMm: 20, method: 'maximum' },
  { thicknessMm: 20, method: 'average' },
];

export async function run(): Promise<void> {
  const pool = createVolumePool({ threads: THREADS });
  try {
    const volume = await measureLoading(pool.load);
    print(['plane 512x512', 'slab', `${THREADS} threads`, 'no thread', 'x reading', 'picture (JPEG)']);
    for (const [name, right, down] of views) {
      for (const slab of slabs) {
        const plane: Plane = { center: centerOf(geometry), right, down, spacingMm: 0.7, width: 512, height: 512 };
        const look = { attributes, mediaType: 'image/jpeg' } as const;
        const [threaded, alone, reading] = await together([
          () => pool.cut(volume, plane, slab),
          async () => reslice(volume, plane, slab),
          async () => read(volume, 8 * plane.width * plane.height * slabDepths(geometry, plane, slab).depthsMm.length),
        ]);
        const [whole] = await together([() => pool.picture(volume, plane, slab, look)]);
        const ratio = `${(threaded! / reading!).toFixed(2)}`;
        print([name, slab === undefined ? '-' : `20 mm ${slab.method}`, ms(threaded!), ms(alone!), ratio, ms(whole!)]);
      }
    }
    process.stdout.write(
      `milliseconds, the least of ${RUNS - 1} runs; ${cpus().length} cores. Aims: planes 20 ms, slabs of 20 mm 150 ms, filling 1500 ms\n`,
    );
  } finally {
    await pool.close();
  }
}

async function measureLoading(load: ReturnType<typeof createVolumePool>['load']): Promise<Volume> {
  const encoded = await Promise.all(Array.from({ length: DISTINCT_FRAMES }, (_, i) => encodedFrame(i)));
  const sources = Array.from({ length: geometry.slices }, () => ({ transferSyntaxUid: HTJ2K_LOSSLESS, attributes }));
  async function* frames(): AsyncGenerator<SliceFrame> {
    for (let slice = 0; slice < geometry.slices; slice++) {
      yield { slice, frame: encoded[slice % DISTINCT_FRAMES]!.slice() };
    }
  }
  await load(geometry, sources, frames());
  const start = performance.now();
  const volume = await load(geometry, sources, frames());
  const loadedMs = performance.now() - start;
  const decodeStart = performance.now();
  for (const frame of encoded) await decodeFrame(frame, HTJ2K_LOSSLESS, attributes);
  const decodeMs = ((performance.now() - decodeStart) / DISTINCT_FRAMES) * geometry.slices;
  const kilobytes = encoded.reduce((sum, { length }) => sum + length, 0) / DISTINCT_FRAMES / 1000;
  process.stdout.write(
    `filling 512x512x300 from HTJ2K (${kilobytes.toFixed(0)} kB a frame): ${ms(loadedMs)} ms on ${THREADS} threads, ` +
      `${(loadedMs / decodeMs).toFixed(2)} x decoding them on one (${ms(decodeMs)} ms)\n\n`,
  );
  return volume;
}

/** A body in air, with organs and the grain of a scanner. */
async function encodedFrame(seed: number): Promise<Uint8Array> {
  const cells = new Uint16Array(geometry.columns * geometry.rows);
  let state = seed + 1;
  for (let row = 0, i = 0; row < geometry.rows; row++) {
    for (let column = 0; column < geometry.columns; column++, i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const inside = ((column - 256) / 200) ** 2 + ((row - 256) / 150) ** 2 < 1;
      const tissue = 1060 + 80 * Math.sin(row / 23 + seed) * Math.cos(column / 31);
      cells[i] = inside ? tissue + (state >>> 27) : state >>> 29;
    }
  }
  const frame = new Uint8Array(cells.buffer);
  const request = { frame, fromTransferSyntaxUid: EXPLICIT_LITTLE, toTransferSyntaxUid: HTJ2K_LOSSLESS, attributes };
  return (await transcodeFrame(request)).bytes;
}

/** What memory alone costs: so many cells, one behind the other, from the start of the volume again when it ends. */
function read({ values }: Volume, cells: number): number {
  let sum = 0;
  for (let left = cells; left > 0; left -= values.length) {
    const part = values.subarray(0, Math.min(left, values.length));
    sum += part instanceof Int16Array ? sumOf(part) : 0;
  }
  return sum;
}

function sumOf(values: Int16Array): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum;
}

/** The least of each of some works that take turns, so that what else the machine does falls on all of them. */
async function together(works: readonly (() => Promise<unknown>)[]): Promise<number[]> {
  const times = works.map((): number[] => []);
  for (let run = 0; run < RUNS; run++) {
    for (const [i, work] of works.entries()) {
      const start = performance.now();
      await work();
      if (run > 0) times[i]!.push(performance.now() - start);
    }
  }
  return times.map((runs) => Math.min(...runs));
}

const ms = (value: number): string => value.toFixed(1);

const widths = [16, 18, 12, 12, 12, 16];

function print(cells: readonly string[]): void {
  process.stdout.write(`${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('')}\n`);
}
