/**
 * What may leave the disk and what may not: only what is archived, old or in the way, least recently used first, never what is
 * pinned; whatever the clock does, and wherever a crash strikes.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { evictionCrashPoints } from '#edge-gateway/cache/crash-point.ts';
import { ReadPins } from '#edge-gateway/cache/read-pins.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { PackRecord, PackState } from '#shared/archive/records.ts';
import { Caching, DAY_MS } from './caching.ts';
import { dataSetOf, TENANT } from './receiving.ts';

const HERE = { file: true, record: true };
const GONE = { file: false, record: false };

it('leaves what is young where it is, and evicts what is old', async () => {
  await using cache = await Caching.start();
  const eviction = await cache.evicting();
  const old = await cache.archivedPack();
  cache.live(20);
  const young = await cache.archivedPack();
  await eviction.run();
  expect([await cache.here(old), await cache.here(young)]).toEqual([HERE, HERE]);
  cache.live(10.1);
  await eviction.run();
  expect([await cache.here(old), await cache.here(young)]).toEqual([GONE, HERE]);
  expect(await cache.receiving.store.head(manifestKey(TENANT, old))).toBeDefined();
  expect((await cache.index.getPack(TENANT, old))?.state).toBe('archived');
  expect(eviction.totals()).toEqual({ packs: 1, bytes: old.lengthBytes });
  expect(await cache.index.cacheTotals(TENANT)).toEqual({
    onDisk: { packs: 1, bytes: young.lengthBytes },
    evictable: { packs: 1, bytes: young.lengthBytes },
    evicted: { packs: 1, bytes: old.lengthBytes },
  });
});

it('evicts for space the one longest unused first, and no more than is needed', async () => {
  await using cache = await Caching.start();
  const eviction = await cache.evicting();
  const packs: PackRecord[] = [];
  for (let i = 0; i < 4; i++) {
    packs.push(await cache.archivedPack());
    cache.live(1);
  }
  await cache.index.updatePack(TENANT, packs[0]!, ['archived'], { accessedAtMs: cache.wallMs });
  cache.freeBytes = cache.room.marks.evictBelowBytes - packs[1]!.lengthBytes - 1;
  cache.upMs += 5_000;
  await eviction.run();
  expect(await Promise.all(packs.map((pack) => cache.here(pack)))).toEqual([HERE, GONE, GONE, HERE]);
});

it('evicts nothing that is not archived, whatever is asked and however full the disk is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom<PackState>('sealed', 'sent', 'archived', 'rejected'), { minLength: 1, maxLength: 6 }),
      fc.constantFrom(0, 1, 400, 4000),
      fc.constantFrom(-1, 0, 1, Number.POSITIVE_INFINITY),
      fc.constantFrom(0, 3_000_000),
      async (states, days, retentionMs, freeBytes) => {
        await using cache = await Caching.start();
        const eviction = await cache.evicting({ retentionMs });
        const packs: PackRecord[] = [];
        for (const state of states) {
          const pack = await cache.pack();
          await cache.addManifest(pack);
          packs.push((await cache.index.updatePack(TENANT, pack, ['sealed'], { state }))!);
        }
        cache.live(days);
        cache.freeBytes = freeBytes;
        await eviction.run();
        await eviction.makeRoom(2 ** 40);
        for (const pack of packs) expect(await cache.here(pack)).toEqual(pack.state === 'archived' ? GONE : HERE);
      },
    ),
    { numRuns: 8 },
  );
});

it('does not act on what a pack was when it was listed', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const eviction = await cache.evicting({
    // Between the list and the mark the cloud takes back its word.
    pins: [
      async () => {
        await cache.index.updatePack(TENANT, pack, ['archived'], { state: 'rejected' });
        return false;
      },
    ],
  });
  cache.live(40);
  await eviction.run();
  expect(await cache.here(pack)).toEqual(HERE);
});

it('keeps what is pinned, what may be pinned, and what has no manifest', async () => {
  await using cache = await Caching.start();
  const [pinned, unclear, free, bare] = [
    await cache.archivedPack(),
    await cache.archivedPack(),
    await cache.archivedPack(),
    await cache.archive(await cache.pack()),
  ];
  const wanted: string[] = [];
  const eviction = await cache.evicting({
    pins: [
      ({ packId }) => packId === pinned.packId,
      async ({ packId }) => {
        if (packId === unclear.packId) throw new Error('nobody knows');
        return false;
      },
    ],
    wantManifest: ({ packId }) => wanted.push(packId),
  });
  cache.live(31);
  cache.freeBytes = 0;
  await eviction.run();
  expect(await Promise.all([pinned, unclear, free, bare].map((pack) => cache.here(pack)))).toEqual([
    HERE,
    HERE,
    GONE,
    HERE,
  ]);
  expect(wanted).toEqual([bare.packId]);
});

it('wants no more manifests than it needs room, and lets others go where one does not come', async () => {
  await using cache = await Caching.start();
  const bare = [await cache.archive(await cache.pack()), await cache.archive(await cache.pack())];
  const later = await cache.archivedPack();
  const wanted = new Set<string>();
  const eviction = await cache.evicting({ wantManifest: ({ packId }) => wanted.add(packId) });
  cache.freeBytes = cache.room.marks.evictBelowBytes - 1;
  await eviction.run();
  expect([...wanted]).toEqual([bare[0]!.packId]);
  expect(await cache.here(later)).toEqual(HERE);
  for (let walk = 0; walk < 12; walk++) await eviction.run();
  expect([...wanted]).toEqual(bare.map(({ packId }) => packId));
  expect(await cache.here(later)).toEqual(GONE);
});

it('keeps a pack that is being read, and for a while after; and notes when it was', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const pins = new ReadPins({
    tenant: TENANT,
    index: cache.index,
    log: cache.log,
    nowMs: () => cache.wallMs,
    elapsedMs: () => cache.upMs,
  });
  const eviction = await cache.evicting({ pins: [(record) => pins.isPinned(record)] });
  cache.live(31);
  const reader = (await pins.over(cache.receiving.store).stream(packKey(TENANT, pack))).getReader();
  await reader.read();
  await eviction.run();
  expect(await cache.here(pack)).toEqual(HERE);
  while (!(await reader.read()).done);
  cache.upMs += 5 * 60_000;
  await eviction.run();
  expect(await cache.here(pack)).toEqual(HERE);
  await pins.flush();
  expect((await cache.index.getPack(TENANT, pack))?.accessedAtMs).toBe(cache.wallMs);
  cache.upMs += 6 * 60_000;
  await eviction.run();
  expect(await cache.here(pack)).toEqual(HERE);
  cache.live(31);
  await eviction.run();
  expect(await cache.here(pack)).toEqual(GONE);
  await pins.close();
});

it('is not fooled by a clock that jumps by years, forwards or back', async () => {
  await using cache = await Caching.start();
  const eviction = await cache.evicting();
  const packs = [await cache.archivedPack(), await cache.archivedPack()];
  for (const years of [5, -5, -50, 50]) {
    cache.wallMs += years * 365 * DAY_MS;
    cache.upMs += DAY_MS;
    await eviction.run();
    expect(await Promise.all(packs.map((pack) => cache.here(pack)))).toEqual([HERE, HERE]);
  }
  // Right again: nothing is old, and what has become old in truth goes.
  cache.live(31);
  await eviction.run();
  expect(await Promise.all(packs.map((pack) => cache.here(pack)))).toEqual([GONE, GONE]);
});

it('makes room for what is fetched back, as far as there is something to evict', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const eviction = await cache.evicting();
  expect(await eviction.makeRoom(1000)).toBe(true);
  expect(await cache.here(pack)).toEqual(HERE);
  cache.freeBytes = 2_000_000;
  cache.upMs += 5_000;
  expect(await eviction.makeRoom(1000)).toBe(false);
  expect(await cache.here(pack)).toEqual(GONE);
});

it('takes an instance whose pack was evicted for the duplicate that it is', async () => {
  await using cache = await Caching.start();
  const made = await cache.receiving.stored();
  await cache.receiving.receiver.flush();
  const [pack] = await cache.index.listPacks(TENANT, made.ref);
  await cache.addManifest(pack!);
  await cache.archive(pack!);
  cache.live(31);
  await (await cache.evicting()).run();
  expect(await cache.here(pack!)).toEqual(GONE);
  expect(await cache.receiving.send(made)).toMatchObject({ kind: 'duplicate' });
  await cache.receiving.receiver.flush();
  expect(await cache.index.listPacks(TENANT, made.ref)).toHaveLength(1);
});

for (const point of evictionCrashPoints)
  it(`ends what a crash ${point} has begun`, async () => {
    await using cache = await Caching.start();
    const packs = [await cache.archivedPack(), await cache.archivedPack(), await cache.archivedPack()];
    cache.live(31);
    const dying = await cache.evicting({
      crashPoint: (name) => {
        if (name === point) throw new Error('the process dies here');
      },
    });
    await expect(dying.run()).rejects.toThrow('dies here');
    const struck = await Promise.all(packs.map((pack) => cache.here(pack)));
    expect(struck.filter(({ record }) => !record)).toHaveLength(1);
    const again = await cache.evicting();
    expect((await Promise.all(packs.map((pack) => cache.here(pack)))).filter(({ file }) => !file)).toHaveLength(1);
    await again.run();
    expect(await Promise.all(packs.map((pack) => cache.here(pack)))).toEqual([GONE, GONE, GONE]);
  });

it('says that a pack is here when its file could not be removed', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const { store } = cache.receiving;
  const eviction = await cache.evicting({
    packs: { ...store, delete: () => Promise.reject(new Error('EROFS')) },
  });
  cache.live(31);
  await expect(eviction.run()).rejects.toThrow('EROFS');
  expect(await cache.here(pack)).toEqual(HERE);
  const [record] = (await cache.index.listInstances(TENANT, pack, { limit: 1 })).items;
  expect((await dataSetOf(store, record!)).length).toBeGreaterThan(0);
});
