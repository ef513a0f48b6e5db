/**
 * Which volumes are kept, wait and are given up: the order of things that requests over HTTP meet by chance alone.
 */
import { describe, expect, it } from 'vitest';
import { createVolumeCache, type WantedVolume } from '#shared/dicomweb/volume-cache.ts';
import type { Volume } from '#shared/imaging/volume.ts';

const volume = (cells: number): Volume => ({
  geometry: {
    columns: cells,
    rows: 1,
    slices: 1,
    origin: [0, 0, 0],
    columnStep: [1, 0, 0],
    rowStep: [0, 1, 0],
    sliceStep: [0, 0, 1],
    frameOfReferenceUid: undefined,
  },
  values: new Int16Array(new SharedArrayBuffer(2 * cells)),
  modality: { slope: 1, intercept: 0 },
  missing: undefined,
  range: undefined,
});

const never = new AbortController().signal;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A volume whose loading ends when the test says so. */
function slow(key: string, sizeBytes: number) {
  const loads: { signal: AbortSignal; come: () => void; fail: (error: Error) => void }[] = [];
  const wanted: WantedVolume = {
    key,
    sizeBytes,
    load: (signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        loads.push({ signal, come: () => resolve(volume(sizeBytes / 2)), fail: reject });
      }),
  };
  return { wanted, loads };
}

const sizeOf = async ({ values }: Volume): Promise<number> => values.byteLength;

describe('the cache of volumes', () => {
  it('waits for room while what is there is in use, and takes it when that ends', async () => {
    const cache = createVolumeCache(100);
    const [a, b] = [slow('a', 80), slow('b', 60)];
    let done = (): void => {};
    const using = cache.use(
      a.wanted,
      never,
      () =>
        new Promise<void>((resolve) => {
          done = resolve;
        }),
    );
    a.loads[0]!.come();
    await turn();
    const other = cache.use(b.wanted, never, sizeOf);
    await turn();
    expect(b.loads).toHaveLength(0);
    done();
    await using;
    await turn();
    b.loads[0]!.come();
    expect(await other).toBe(60);
  });

  it('lets the one go that was not used for longest', async () => {
    const cache = createVolumeCache(100);
    const loaded: string[] = [];
    const use = (key: string): Promise<number> =>
      cache.use(
        {
          key,
          sizeBytes: 40,
          load: async () => {
            loaded.push(key);
            return volume(20);
          },
        },
        never,
        sizeOf,
      );
    for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) await use(key);
    expect(loaded).toEqual(['a', 'b', 'c', 'b']);
  });

  it('gives a load up when the last who waits leaves, and begins anew for who comes then', async () => {
    const cache = createVolumeCache(100);
    const { wanted, loads } = slow('a', 60);
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = [first, second].map(({ signal }) =>
      cache.use(wanted, signal, sizeOf).catch((error: Error) => error.message),
    );
    await turn();
    first.abort();
    expect(await waiting[0]).toMatch(/has left/);
    expect([loads.length, loads[0]!.signal.aborted]).toEqual([1, false]);
    second.abort();
    expect(await waiting[1]).toMatch(/has left/);
    const late = cache.use(wanted, never, sizeOf);
    await turn();
    expect(loads[0]!.signal.aborted).toBe(true);
    while (loads.length < 2) await turn();
    loads[1]!.come();
    expect(await late).toBe(60);
  });

  it('forgets a load that failed', async () => {
    const cache = createVolumeCache(100);
    const { wanted, loads } = slow('a', 100);
    const failing = [1, 2].map(() => cache.use(wanted, never, sizeOf).catch((error: Error) => error.message));
    await turn();
    loads[0]!.fail(new Error('the pack sleeps'));
    expect(await Promise.all(failing)).toEqual(['the pack sleeps', 'the pack sleeps']);
    const again = cache.use(wanted, never, sizeOf);
    await turn();
    loads[1]!.come();
    expect(await again).toBe(100);
  });

  it('refuses what does not fit at all', async () => {
    await expect(createVolumeCache(100).use(slow('a', 101).wanted, never, sizeOf)).rejects.toMatchObject({
      code: 'too-large',
    });
  });
});
