/**
 * The pool of volume threads: a series becomes a volume and a picture, in any order of frames; frames that fail, threads that
 * hang or end, limits, and closing.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { decodeFrame } from '#shared/imaging/codecs.ts';
import { imageAttributesOf } from '#shared/imaging/image-attributes.ts';
import type { Volume } from '#shared/imaging/volume.ts';
import { arrangeSlices } from '#shared/imaging/volume-geometry.ts';
import type { VolumeLook } from '#shared/imaging/volume-look.ts';
import { coveringPlane, type Plane } from '#shared/imaging/volume-plane.ts';
import {
  createVolumePool,
  type SliceFrame,
  type VolumePool,
  type VolumePoolOptions,
} from '#shared/imaging/volume-pool.ts';
import { reslice } from '#shared/imaging/volume-reslice.ts';
import { sliceGeometryOf } from '#shared/imaging/volume-slice.ts';
import { add, cross, dot, length, normalized, scale } from '#shared/imaging/volume-vectors.ts';
import { sampleFiles, samplesFolder } from '#test/support/samples.ts';
import { attributesWith, EXPLICIT_LITTLE } from './image-fixture.ts';
import { openSample } from './sample-frames.ts';
import { body, cellsOfSlice, frameOfDirections, latticeWith, pointOf, volumeOf } from './volume-phantom.ts';

const geometry = latticeWith();
const attributes = attributesWith({ rows: geometry.rows, columns: geometry.columns, bitsStored: 12, highBit: 11 });
const sources = Array.from({ length: geometry.slices }, () => ({ transferSyntaxUid: EXPLICIT_LITTLE, attributes }));
const look: VolumeLook = { attributes, mediaType: 'image/png' };
const coronal = coveringPlane(geometry, [1, 0, 0], [0, 0, -1]);

const frameOf = (slice: number): SliceFrame => ({
  slice,
  frame: new Uint8Array(Uint16Array.from(cellsOfSlice(geometry, body, slice), Math.round).buffer),
});

async function* framesOf(order: readonly number[]): AsyncGenerator<SliceFrame> {
  for (const slice of order) yield frameOf(slice);
}

const ascending = sources.map((_, slice) => slice);

/** A thread that does to a frame what its first byte says, and is content with all others. */
const misbehaving = `
import { parentPort } from 'node:worker_threads';
parentPort.on('message', ({ kind, frame }) => {
  if (kind === 'fill' && frame[0] === 2) for (;;);
  if (kind === 'fill' && frame[0] === 3) process.exit(3);
  parentPort.postMessage({ kind: kind === 'fill' ? 'filled' : kind });
});`;

let folder: string;
let workerUrl: URL;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-volume-'));
  const file = join(folder, 'misbehaving.mjs');
  writeFileSync(file, misbehaving);
  workerUrl = pathToFileURL(file);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Threads take their time to start: tests that do them no harm share theirs. */
const shared = createVolumePool({ timeoutMs: 30_000 });
afterAll(() => shared.close());

let pool: VolumePool | undefined;
function open(options: VolumePoolOptions): VolumePool {
  pool = createVolumePool({ timeoutMs: 30_000, ...options });
  return pool;
}
afterEach(async () => {
  await pool?.close();
  pool = undefined;
});

describe('volume pool', () => {
  it('fills a volume in whatever order the frames come, and cuts it as one thread would', async () => {
    const { load, cut } = shared;
    const volume = await load(geometry, sources, framesOf(ascending.toReversed()));
    const expected = volumeOf(geometry, body);
    expect(volume.values).toEqual(expected.values);
    const all = [...expected.values];
    expect(volume.range).toEqual({ low: Math.min(...all), high: Math.max(...all) });
    const { right, down } = frameOfDirections(0.4, 0.9, 0.2);
    for (const slab of [undefined, { thicknessMm: 12, method: 'maximum' }] as const) {
      const plane = coveringPlane(geometry, right, down);
      expect((await cut(volume, plane, slab)).values).toEqual(reslice(expected, plane, slab).values);
    }
  });

  it('makes pictures: windowed, scaled, encoded, and black outside also where the largest value is black', async () => {
    const { load, paint, picture } = shared;
    const volume = await load(geometry, sources, framesOf(ascending));
    const window = { center: 1000, width: 2000, function: 'LINEAR_EXACT' } as const;
    const painted = await paint(volume, coronal, undefined, { ...look, window });
    const { values } = reslice(volume, coronal);
    const row = 30;
    for (let column = 0; column < coronal.width; column++) {
      const value = values[row * coronal.width + column]!;
      const gray = Math.floor(Math.max(0, Math.min(255, ((value - 1000) / 2000 + 0.5) * 255)) + 0.5);
      expect(painted.pixels[row * coronal.width + column]).toBe(gray);
    }
    const viewport = { width: 20, height: 20 };
    const png = await picture(volume, coronal, undefined, { ...look, window, viewport });
    expect(await sharp(png).metadata()).toMatchObject({ format: 'png', height: 20 });
    const inverse = { ...look, window, attributes: { ...attributes, inverse: true } };
    const aside = { ...coronal, center: [200, 0, 0] } as const;
    expect(new Set((await paint(volume, aside, undefined, inverse)).pixels)).toEqual(new Set([0]));
    await expect(paint(volume, coronal, undefined, { ...look, window: { ...window, width: 0 } })).rejects.toMatchObject(
      {
        code: 'bad-request',
      },
    );
  });

  it('shows all planes of a volume alike where nothing names a window', async () => {
    const { load, paint } = shared;
    const volume = await load(geometry, sources, framesOf(ascending));
    const { low, high } = volume.range!;
    const window = { center: (low + high) / 2, width: high - low, function: 'LINEAR_EXACT' } as const;
    expect(await paint(volume, coronal, undefined, look)).toEqual(
      await paint(volume, coronal, undefined, { ...look, window }),
    );
  });

  it('fails a volume of which a frame cannot be decoded, and takes no more of its frames', async () => {
    // One thread takes them in order: what is given behind the bad one is what waits for it.
    const { load, close } = createVolumePool({ threads: 1 });
    let given = 0;
    async function* frames(): AsyncGenerator<SliceFrame> {
      for (const slice of ascending) {
        given++;
        yield slice === 2 ? { slice, frame: new Uint8Array(5) } : frameOf(slice);
      }
    }
    await expect(load(geometry, sources, frames())).rejects.toMatchObject({
      code: 'cannot-render',
      message: 'The frame has 5 bytes where 2880 are needed',
    });
    await close();
    expect(given).toBeLessThanOrEqual(4);
  });

  it('fails a volume of which a frame never comes, or its source fails', async () => {
    const { load } = shared;
    await expect(load(geometry, sources, framesOf(ascending.slice(0, 17)))).rejects.toThrow(
      'Of 20 slices of the volume only 17 could be read',
    );
    async function* broken(): AsyncGenerator<SliceFrame> {
      yield frameOf(0);
      throw new Error('The store is gone');
    }
    await expect(load(geometry, sources, broken())).rejects.toThrow('The store is gone');
    await expect(load(geometry, sources.slice(1), framesOf([]))).rejects.toThrow('size of the volume');
  });

  it('stops when nobody waits for it any more', async () => {
    const { load } = shared;
    const leaving = new AbortController();
    let given = 0;
    async function* frames(): AsyncGenerator<SliceFrame> {
      for (const slice of ascending) {
        if (++given === 4) leaving.abort(new Error('The reader has left'));
        yield frameOf(slice);
      }
    }
    await expect(load(geometry, sources, frames(), leaving.signal)).rejects.toThrow('The reader has left');
    expect(given).toBe(4);
  });

  it('refuses what is larger than a volume may be, and frames that take more than a thread may', async () => {
    const limited = open({ volumeLimitBytes: 50_000 });
    await expect(limited.load(geometry, sources, framesOf(ascending))).rejects.toMatchObject({ code: 'too-large' });
    await limited.close();
    const { load } = open({ memoryMb: 0.001 });
    await expect(load(geometry, sources, framesOf(ascending))).rejects.toThrow('too large to be decoded');
  });

  it('a thread that hangs or ends fails its volume only', async () => {
    const { load, cut } = open({ threads: 2, timeoutMs: 2500, workerUrl });
    const tiny = latticeWith({ columns: 2, rows: 1, slices: 2 });
    const few = [1, 2].map(() => ({
      transferSyntaxUid: EXPLICIT_LITTLE,
      attributes: { ...attributes, rows: 1, columns: 2 },
    }));
    async function* doing(what: number): AsyncGenerator<SliceFrame> {
      for (const slice of [0, 1]) yield { slice, frame: new Uint8Array(4).fill(what) };
    }
    const outcomes = await Promise.allSettled([2, 0, 3, 0].map((what) => load(tiny, few, doing(what))));
    expect(outcomes.map((one) => (one.status === 'fulfilled' ? 'loaded' : one.reason.code))).toEqual([
      'timeout',
      'loaded',
      'cannot-render',
      'loaded',
    ]);
    const volume = (outcomes[1] as PromiseFulfilledResult<Volume>).value;
    expect(await cut(volume, coronal)).toMatchObject({ width: coronal.width });
  });

  it('refuses a plane that cannot be cut, and everything once it is closed', async () => {
    const { cut, close } = open({});
    const volume = volumeOf(geometry, body);
    await expect(cut(volume, { ...coronal, width: 0 })).rejects.toMatchObject({ code: 'bad-request' });
    await expect(cut(volume, coronal, { thicknessMm: -3, method: 'average' })).rejects.toMatchObject({
      code: 'bad-request',
    });
    await close();
    await expect(cut(volume, coronal)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe.runIf(samplesFolder() !== undefined)('a CT of a tilted gantry among the samples', () => {
  let tilted: Volume;
  beforeAll(async () => {
    const samples = await Promise.all(sampleFiles('series-ct', 'phantom-tilt').map(openSample));
    const arranged = arrangeSlices(samples.map(({ metadata }) => sliceGeometryOf(metadata, 1)));
    const ordered = arranged.order.map((index) => samples[index]!);
    const of = ordered.map(({ metadata, transferSyntaxUid }) => ({
      transferSyntaxUid,
      attributes: imageAttributesOf(metadata, 1),
    }));
    async function* frames(): AsyncGenerator<SliceFrame> {
      for (const [slice, sample] of ordered.entries()) yield { slice, frame: sample.frame(1).bytes };
    }
    tilted = await shared.load(arranged.geometry, of, frames());
  });

  it('gives any of its slices again, bit for bit', async () => {
    const { columns, rows, columnStep, rowStep } = tilted.geometry;
    const slice = 23;
    const plane: Plane = {
      center: pointOf(tilted.geometry, [(columns - 1) / 2, (rows - 1) / 2, slice]),
      right: normalized(columnStep),
      down: normalized(rowStep),
      spacingMm: length(columnStep),
      width: columns,
      height: rows,
    };
    const { values } = await shared.cut(tilted, plane);
    const { slope, intercept } = tilted.modality;
    const stored = tilted.values.subarray(slice * columns * rows, (slice + 1) * columns * rows);
    let worst = 0;
    for (let i = 0; i < values.length; i++) {
      worst = Math.max(worst, Math.abs(values[i]! - (stored[i]! * slope + intercept)));
    }
    expect(worst).toBe(0);
  });

  it('shows in an upright plane what the upright scan of the same head shows there', async () => {
    const { metadata, transferSyntaxUid, frame } = await openSample(
      sampleFiles('series-ct', 'phantom-1mm').find((path) => path.endsWith('I700.dcm'))!,
    );
    const { columns, rows, origin, columnDirection, rowDirection, columnSpacingMm } = sliceGeometryOf(metadata, 1);
    const of = imageAttributesOf(metadata, 1);
    const { values: upright } = await decodeFrame(frame(1).bytes, transferSyntaxUid, of);
    const across = scale(columnDirection, ((columns - 1) / 2) * columnSpacingMm);
    const center = add(origin, add(across, scale(rowDirection, ((rows - 1) / 2) * columnSpacingMm)));
    const plane: Plane = {
      center,
      right: columnDirection,
      down: rowDirection,
      spacingMm: columnSpacingMm,
      width: columns,
      height: rows,
    };
    const likeness = async (volume: Volume) => correlation((await shared.cut(volume, plane)).values, upright);
    expect(await likeness(tilted)).toBeGreaterThan(0.95);
    // As a reader would see it who takes slices for perpendicular to their stack.
    const { columnStep, rowStep, sliceStep } = tilted.geometry;
    const normal = normalized(cross(columnStep, rowStep));
    const straightened = { ...tilted.geometry, sliceStep: scale(normal, dot(sliceStep, normal)) };
    expect(await likeness({ ...tilted, geometry: straightened })).toBeLessThan(0.9);
  });
});

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [n, sumA, sumB, squaresA, squaresB, products] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (Number.isNaN(x)) continue;
    n++;
    sumA += x;
    sumB += y;
    squaresA += x * x;
    squaresB += y * y;
    products += x * y;
  }
  return (n * products - sumA * sumB) / Math.sqrt((n * squaresA - sumA ** 2) * (n * squaresB - sumB ** 2));
}
