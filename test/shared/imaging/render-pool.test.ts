/**
 * The pool of render threads: threads that hang, end or throw, limits, queue and closing.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RenderRequest } from '#shared/imaging/render.ts';
import { createRenderPool, type RenderPool, type RenderPoolOptions } from '#shared/imaging/render-pool.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { attributesWith, EXPLICIT_LITTLE } from './image-fixture.ts';

const request = (value = 1): RenderRequest => ({
  frame: new Uint8Array(64).fill(value),
  transferSyntaxUid: EXPLICIT_LITTLE,
  attributes: attributesWith({ rows: 8, columns: 8, bitsAllocated: 8 }),
  window: { center: 128, width: 256, function: 'LINEAR' },
  mediaType: 'image/png',
});

/** A thread that does to a request what its first byte says; 1 is answered with that byte. */
const misbehaving = `
import { parentPort } from 'node:worker_threads';
parentPort.on('message', ({ frame }) => {
  if (frame[0] === 1) parentPort.postMessage({ kind: 'rendered', bytes: Uint8Array.of(1) });
  if (frame[0] === 2) for (;;);
  if (frame[0] === 3) process.exit(3);
  if (frame[0] === 4) throw new Error('uncaught');
});`;

let folder: string;
let workerUrl: URL;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-pool-'));
  const file = join(folder, 'misbehaving.mjs');
  writeFileSync(file, misbehaving);
  workerUrl = pathToFileURL(file);
});
afterAll(() => rmSync(folder, { recursive: true }));

let pool: RenderPool | undefined;
function open(options: RenderPoolOptions): RenderPool {
  pool = createRenderPool(options);
  return pool;
}
afterEach(async () => {
  await pool?.close();
  pool = undefined;
});

describe('render pool', () => {
  it('renders on its threads, many at a time, and takes the frame’s memory over', async () => {
    const { render } = open({ threads: 2, timeoutMs: 30_000 });
    const requests = Array.from({ length: 12 }, (_, i) => request(i * 10));
    const pictures = await Promise.all(requests.map((one) => render(one)));
    for (const [i, png] of pictures.entries()) {
      expect((await sharp(png).raw().toBuffer())[0]).toBe(i * 10);
    }
    expect(requests[0]!.frame.byteLength).toBe(0);
  });

  it('leaves memory alone that the frame shares with others', async () => {
    const { render } = open({ threads: 1, timeoutMs: 30_000 });
    const shared = new Uint8Array(128).fill(7);
    await render({ ...request(), frame: shared.subarray(0, 64) });
    expect(shared[0]).toBe(7);
  });

  it('takes what lies around a frame along where that is said to be nobody else’s, and never a large rest', async () => {
    const { render } = open({ threads: 1, timeoutMs: 30_000 });
    const isOwnMemory = true;
    const [around, large] = [new Uint8Array(72).fill(9), new Uint8Array(1024).fill(9)];
    for (const memory of [around, large]) {
      const png = await render({ ...request(), frame: memory.subarray(8, 72), isOwnMemory });
      expect((await sharp(png).raw().toBuffer())[0]).toBe(9);
    }
    expect(around.byteLength).toBe(0);
    expect(large.byteLength).toBe(1024);
    // Node's own pool of small buffers, which no thread may take.
    const pooled = Buffer.from(request(7).frame);
    await render({ ...request(), frame: pooled, isOwnMemory });
    expect(pooled[0]).toBe(7);
  });

  it('hands an error over with its code, sentence and details', async () => {
    const { render } = open({ threads: 1, timeoutMs: 30_000 });
    await expect(render({ ...request(), frame: new Uint8Array(10) })).rejects.toMatchObject({
      name: 'ArchiveError',
      code: 'cannot-render',
      message: 'The frame has 10 bytes where 64 are needed',
      details: { lengthBytes: 10 },
    });
    await expect(render({ ...request(), quality: 0, mediaType: 'image/jpeg' })).rejects.toMatchObject({
      code: 'bad-request',
    });
  });

  it('refuses what would take more memory than a frame may', async () => {
    const { render } = open({ threads: 1, timeoutMs: 30_000, memoryMb: 1 });
    const attributes = attributesWith({ rows: 1000, columns: 1000 });
    await expect(render({ ...request(), attributes })).rejects.toMatchObject({
      code: 'cannot-render',
      details: { neededBytes: 6_000_000 },
    });
    // A small frame in a large viewport, and what is done with it then.
    const large = { ...request(), viewport: { width: 900, height: 900 } };
    expect((await render(large)).length).toBeGreaterThan(100);
    for (const more of [
      { profile: {} },
      { mediaType: 'image/gif' as const },
      { viewport: { width: 8192, height: 8192 } },
    ]) {
      await expect(render({ ...large, frame: new Uint8Array(64), ...more })).rejects.toMatchObject({
        code: 'cannot-render',
      });
    }
  });

  it('draws small what it refuses to draw whole, where a lower resolution takes less', async () => {
    const side = 2048;
    const attributes = attributesWith({ rows: side, columns: side, bitsStored: 12, highBit: 11 });
    const window = { center: 2048, width: 4096, function: 'LINEAR' } as const;
    const { bytes } = await transcodeFrame({
      frame: new Uint8Array(new Uint16Array(side * side).fill(1000).buffer),
      fromTransferSyntaxUid: EXPLICIT_LITTLE,
      toTransferSyntaxUid: '1.2.840.10008.1.2.4.202',
      attributes,
    });
    const { render } = open({ threads: 1, timeoutMs: 30_000, memoryMb: 64 });
    const whole = () => ({ ...request(), transferSyntaxUid: '1.2.840.10008.1.2.4.202', attributes, window, frame: bytes.slice() }); // biome-ignore format: one thought
    await expect(render(whole())).rejects.toMatchObject({ details: { neededBytes: side * side * 18 } });
    const png = await render({ ...whole(), viewport: { width: 128, height: 128 } });
    expect(await sharp(png).metadata()).toMatchObject({ width: 128, height: 128 });
  });

  it('a thread that hangs fails its request with timeout, and the next one gets another thread', async () => {
    const { render } = open({ threads: 1, timeoutMs: 1000, workerUrl });
    const hanging = render(request(2));
    const after = render(request(1));
    await expect(hanging).rejects.toMatchObject({ code: 'timeout' });
    expect(await after).toEqual(Uint8Array.of(1));
  });

  it('a thread that ends or throws fails its request with cannot-render only', async () => {
    const { render } = open({ threads: 1, timeoutMs: 20_000, workerUrl });
    const answers = await Promise.allSettled([3, 1, 4, 1].map((value) => render(request(value))));
    expect(answers.map((answer) => (answer.status === 'fulfilled' ? 'rendered' : answer.reason.code))).toEqual([
      'cannot-render',
      'rendered',
      'cannot-render',
      'rendered',
    ]);
  });

  it('refuses with unavailable when too many wait, and when it is closed, and waits for nobody', async () => {
    const { render, close } = open({ threads: 1, timeoutMs: 60_000, maxWaiting: 2, workerUrl });
    const hanging = [render(request(2)), render(request(1)), render(request(1))].map((one) =>
      one.catch((error) => error.code),
    );
    await expect(render(request(1))).rejects.toMatchObject({ code: 'unavailable' });
    await close();
    expect(await Promise.all(hanging)).toEqual(['unavailable', 'unavailable', 'unavailable']);
    await expect(render(request(1))).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('a worker’s module that is not there fails the request, not the process', async () => {
    const { render } = open({ threads: 1, timeoutMs: 20_000, workerUrl: pathToFileURL(join(folder, 'nowhere.mjs')) });
    await expect(render(request())).rejects.toMatchObject({ code: 'cannot-render' });
  });
});
