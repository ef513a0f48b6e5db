/**
 * Bit rot at rest (fault F19): found by the scrub, mended from the cloud where it has the pack, saved instance by instance where it
 * has not, and never silent.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openCacheState } from '#edge-gateway/cache/cache-state.ts';
import { diskFiles } from '#edge-gateway/cache/files.ts';
import { type MendPack, type Scrub, type ScrubOptions, startScrub } from '#edge-gateway/cache/scrub.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import type { MadeInstance } from '#test/support/dicom-factory.ts';
import { Caching } from './caching.ts';
import { dataSetOf, oneSeries, rival, TENANT } from './receiving.ts';

async function scrubbing(cache: Caching, options: Partial<ScrubOptions> = {}): Promise<Scrub & AsyncDisposable> {
  const scrub = startScrub({
    tenant: TENANT,
    index: cache.index,
    packs: cache.receiving.store,
    files: diskFiles,
    turns: cache.turns,
    scrubDays: 0,
    state: await openCacheState(join(cache.folder, 'cache.json'), diskFiles, cache.log),
    isBusy: () => false,
    mend: undefined,
    receiver: cache.receiving.receiver,
    nowMs: () => cache.wallMs,
    log: cache.log,
    firstPauseMs: 0,
    ...options,
  });
  return { ...scrub, [Symbol.asyncDispose]: () => scrub.close() };
}

const pathOf = (cache: Caching, pack: PackRecord): string => cache.receiving.store.pathOf(packKey(TENANT, pack));

/** Flips one bit of the file, at a place counted from the end if it is below 0. */
function rot(path: string, at: number): Buffer {
  const good = readFileSync(path);
  const bad = Buffer.from(good);
  const place = at < 0 ? bad.length + at : at;
  bad[place] = bad[place]! ^ 0x10;
  writeFileSync(path, bad);
  return good;
}

/** A cloud that has these bytes. */
function cloudWith(cache: Caching, bytes: () => Buffer): MendPack & { asked: number } {
  const cloud = {
    asked: 0,
    async fetchPack(pack: PackRecord) {
      cloud.asked++;
      const expected = { lengthBytes: pack.lengthBytes, sha256: pack.sha256 ?? '' };
      await cache.turns.inTurn(pack, () => cache.receiving.store.replace(packKey(TENANT, pack), bytes(), expected));
    },
  };
  return cloud;
}

async function seriesOf(cache: Caching, instances: number): Promise<{ made: MadeInstance[]; pack: PackRecord }> {
  const series = oneSeries();
  const made: MadeInstance[] = [];
  for (let i = 0; i < instances; i++) made.push(await cache.receiving.stored(series));
  await cache.receiving.receiver.flush();
  const [pack] = await cache.index.listPacks(TENANT, series);
  return { made, pack: pack! };
}

it('finds nothing wrong with what is as it was sealed', async () => {
  await using cache = await Caching.start();
  await using scrub = await scrubbing(cache);
  expect(await scrub.check(await cache.pack(3))).toBe('intact');
  expect(await scrub.check(await cache.archivedPack())).toBe('intact');
  expect(scrub.report().damaged).toEqual([]);
  expect(cache.receiving.errors).toEqual([]);
});

for (const [what, at] of [
  ['a local header', 4],
  ['an instance', 900],
  ['the directory', -30],
] as const)
  it(`fetches an archived pack anew whose ${what} has rotted`, async () => {
    await using cache = await Caching.start();
    const pack = await cache.archivedPack(2);
    const good = rot(pathOf(cache, pack), at);
    await using scrub = await scrubbing(cache, { mend: cloudWith(cache, () => good) });
    expect(await scrub.check(pack)).toBe('mended');
    expect(readFileSync(pathOf(cache, pack)).equals(good)).toBe(true);
    expect(scrub.report().damaged).toEqual([]);
    expect(cache.receiving.errors).toHaveLength(1);
  });

it('keeps the damaged file while the cloud sends something else or nothing, and mends it when it can', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const good = rot(pathOf(cache, pack), 900);
  const bad = readFileSync(pathOf(cache, pack));
  let sent: Buffer = bad;
  const cloud = cloudWith(cache, () => sent);
  await using scrub = await scrubbing(cache, { mend: cloud });
  expect(await scrub.check(pack)).toBe('damaged');
  expect(readFileSync(pathOf(cache, pack)).equals(bad)).toBe(true);
  expect(scrub.report().damaged).toMatchObject([{ packId: pack.packId, isMendable: true }]);
  // Another process knows it too.
  const again = await openCacheState(join(cache.folder, 'cache.json'), diskFiles, cache.log);
  expect(again.state.damaged).toMatchObject([{ packId: pack.packId }]);
  sent = good;
  expect(await scrub.check(pack)).toBe('mended');
  expect(scrub.report().damaged).toEqual([]);
  expect(cloud.asked).toBe(2);
});

it('says that a pack is not here whose file is gone and that the cloud has', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  rmSync(pathOf(cache, pack));
  await using scrub = await scrubbing(cache);
  expect(await scrub.check(pack)).toBe('not here');
  expect((await cache.index.getPack(TENANT, pack))?.evictedAtMs).toBeDefined();
  expect(cache.receiving.errors).toHaveLength(1);
});

it('stores anew what is intact of a pack that exists nowhere else, and names what is not', async () => {
  await using cache = await Caching.start();
  const { made, pack } = await seriesOf(cache, 5);
  const [, , third] = (await cache.index.listInstances(TENANT, pack, { limit: 10 })).items.toSorted(
    (a, b) => a.offsetBytes - b.offsetBytes,
  );
  rot(pathOf(cache, pack), third!.offsetBytes + third!.lengthBytes - 1);
  await using scrub = await scrubbing(cache);
  expect(await scrub.check(pack)).toBe('damaged');
  await cache.receiving.receiver.flush();
  const condemned = await cache.index.getPack(TENANT, pack);
  expect(condemned?.state).toBe('rejected');
  expect(condemned?.reason).toContain('4 of 5 instances');
  expect(cache.receiving.errors).toMatchObject([{ lost: [third!.sopInstanceUid], kept: 4 }]);
  for (const { ref, dataSet } of made) {
    const isLost = ref.sopInstanceUid === third!.sopInstanceUid;
    const record = await cache.index.getInstance(TENANT, ref);
    expect(record?.packId === pack.packId).toBe(isLost);
    if (!isLost) expect((await cache.receiving.dataSet(ref))?.equals(dataSet)).toBe(true);
  }
  const fresh = (await cache.index.listPacks(TENANT, pack)).filter(({ packId }) => packId !== pack.packId);
  expect(fresh).toMatchObject([{ state: 'sealed', instanceCount: 4 }]);
  // The modality sends it again: it is stored, and the damaged pack is of no use any more.
  const lost = made.find(({ ref }) => ref.sopInstanceUid === third!.sopInstanceUid)!;
  expect(await cache.receiving.send(lost)).toMatchObject({ kind: 'stored' });
  await cache.receiving.receiver.flush();
  expect((await cache.receiving.dataSet(lost.ref))?.equals(lost.dataSet)).toBe(true);
  expect(await scrub.check(pack)).toBe('not here');
  expect(scrub.report().damaged).toEqual([]);
});

it('loses nothing where only what is around the instances has rotted', async () => {
  await using cache = await Caching.start();
  const { made, pack } = await seriesOf(cache, 3);
  rot(pathOf(cache, pack), -10);
  await using scrub = await scrubbing(cache);
  expect(await scrub.check(pack)).toBe('mended');
  await cache.receiving.receiver.flush();
  for (const { ref, dataSet } of made) expect((await cache.receiving.dataSet(ref))?.equals(dataSet)).toBe(true);
});

it('leaves a pack alone of which the cloud has not said yet what it thinks', async () => {
  await using cache = await Caching.start();
  const pack = await cache.pack();
  await cache.index.updatePack(TENANT, pack, ['sealed'], { state: 'sent' });
  const good = rot(pathOf(cache, pack), 900);
  await using scrub = await scrubbing(cache, { mend: cloudWith(cache, () => good) });
  expect(await scrub.check(pack)).toBe('damaged');
  expect((await cache.index.getPack(TENANT, pack))?.state).toBe('sent');
  await cache.index.updatePack(TENANT, pack, ['sent'], { state: 'archived', archivedAtMs: cache.wallMs });
  expect(await scrub.check(pack)).toBe('mended');
});

it('goes through all packs by itself, over restarts, and does not begin anew before it is due', async () => {
  await using cache = await Caching.start();
  const packs = [await cache.archivedPack(), await cache.pack(), await cache.archivedPack()];
  const goods = packs.map((pack) => (pack.state === 'archived' ? rot(pathOf(cache, pack), 900) : Buffer.alloc(0)));
  const mend: MendPack = {
    fetchPack: (pack) =>
      cloudWith(cache, () => goods[packs.findIndex(({ packId }) => packId === pack.packId)]!).fetchPack(pack),
  };
  for (let checked = 1; checked <= packs.length; checked++) {
    await using scrub = await scrubbing(cache, { mend, scrubDays: 30 });
    await expect.poll(() => scrub.report().running?.checkedPacks).toBe(checked);
  }
  for (const [i, pack] of packs.entries())
    if (pack.state === 'archived') expect(readFileSync(pathOf(cache, pack)).equals(goods[i]!)).toBe(true);
  await using scrub = await scrubbing(cache, { mend, scrubDays: 30 });
  await expect.poll(() => scrub.report().last?.checkedPacks).toBe(packs.length);
  await scrub.close();
  cache.live(1);
  await using idle = await scrubbing(cache, { mend, scrubDays: 30 });
  const ended = idle.report();
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(idle.report()).toEqual(ended);
  await idle.close();
  cache.live(15);
  await using next = await scrubbing(cache, { mend, scrubDays: 30 });
  await expect.poll(() => next.report().running?.checkedPacks).toBe(1);
});

it('looks soon at what somebody stumbled over', async () => {
  await using cache = await Caching.start();
  const pack = await cache.archivedPack();
  const good = rot(pathOf(cache, pack), 900);
  const cloud = cloudWith(cache, () => good);
  await using scrub = await scrubbing(cache, { mend: cloud, firstPauseMs: 1_000_000 });
  for (let i = 0; i < 5; i++) scrub.suspect(pack);
  await expect.poll(() => readFileSync(pathOf(cache, pack)).equals(good)).toBe(true);
  await expect.poll(() => scrub.report().damaged).toEqual([]);
  expect(cloud.asked).toBe(1);
  rot(pathOf(cache, pack), 900);
  scrub.suspect(pack);
  await expect.poll(() => readFileSync(pathOf(cache, pack)).equals(good)).toBe(true);
  expect(cloud.asked).toBe(2);
});

it('saves what is flagged as a conflict as well, or names it: it was acknowledged like everything else', async () => {
  await using cache = await Caching.start();
  const first = await cache.receiving.stored();
  await cache.receiving.receiver.flush();
  const others = [rival(first, 'Second^Bytes'), rival(first, 'Third^Bytes')];
  const packs: PackRecord[] = [];
  for (const other of others) {
    expect(await cache.receiving.send(other)).toMatchObject({ kind: 'conflict' });
    await cache.receiving.receiver.flush();
    packs.push((await cache.index.listPacks(TENANT, first.ref)).at(-1)!);
  }
  await using scrub = await scrubbing(cache);
  // The one is intact within its pack, the other is not.
  rot(pathOf(cache, packs[0]!), -10);
  rot(pathOf(cache, packs[1]!), 900);
  expect(await scrub.check(packs[0]!)).toBe('mended');
  expect(await scrub.check(packs[1]!)).toBe('damaged');
  await cache.receiving.receiver.flush();
  const versions = await cache.index.getVersions(TENANT, first.ref);
  expect(versions).toHaveLength(3);
  const [moved] = versions.filter(({ packId, state }) => state === 'conflict' && packId !== packs[1]!.packId);
  expect(moved!.packId).not.toBe(packs[0]!.packId);
  expect((await dataSetOf(cache.receiving.store, moved!)).equals(others[0]!.dataSet)).toBe(true);
  expect((await cache.receiving.dataSet(first.ref))?.equals(first.dataSet)).toBe(true);
  expect(cache.receiving.errors.at(-1)).toMatchObject({ packId: packs[1]!.packId, lost: [first.ref.sopInstanceUid] });
  expect(scrub.report().damaged).toMatchObject([{ packId: packs[1]!.packId }]);
});

it.each(['EMFILE', 'ENFILE', 'ENOMEM', 'EACCES'])(
  'condemns no pack because this process could not read it at the moment (%s)',
  async (code) => {
    await using cache = await Caching.start();
    const pack = await cache.pack();
    const open = (): never => {
      throw Object.assign(new Error(code), { code });
    };
    await using scrub = await scrubbing(cache, { files: { ...diskFiles, open: async () => open() } });
    await expect(scrub.check(pack)).rejects.toThrow(code);
    expect((await cache.index.getPack(TENANT, pack))?.state).toBe('sealed');
    expect(scrub.report().damaged).toEqual([]);
  },
);

it('goes on saving what is intact of a condemned pack if it was broken off before it could', async () => {
  await using cache = await Caching.start();
  const { made, pack } = await seriesOf(cache, 3);
  rot(pathOf(cache, pack), -10);
  const begin = (): never => {
    throw new Error('the process ended');
  };
  {
    await using scrub = await scrubbing(cache, { receiver: { begin } });
    await expect(scrub.check(pack)).rejects.toThrow('the process ended');
  }
  expect((await cache.index.getPack(TENANT, pack))?.state).toBe('rejected');
  await using scrub = await scrubbing(cache);
  expect(scrub.report().damaged).toMatchObject([{ packId: pack.packId, isMendable: true }]);
  expect(await scrub.check(pack)).toBe('mended');
  expect(scrub.report().damaged).toEqual([]);
  await cache.receiving.receiver.flush();
  for (const { ref, dataSet } of made) expect((await cache.receiving.dataSet(ref))?.equals(dataSet)).toBe(true);
});

it('saves what a failing disk still gives of a pack', async () => {
  await using cache = await Caching.start();
  const { pack } = await seriesOf(cache, 12);
  const records = (await cache.index.listInstances(TENANT, pack, { limit: 100 })).items;
  const bad = 4096;
  const isLost = ({ offsetBytes, lengthBytes }: (typeof records)[number]): boolean =>
    offsetBytes + lengthBytes > bad && offsetBytes - 200 < bad + 4096;
  const intact = records.filter((record) => !isLost(record));
  expect(intact.length).toBeGreaterThan(2);
  const path = pathOf(cache, pack);
  const open: typeof diskFiles.open = async (name, mode) => {
    const file = await diskFiles.open(name, mode);
    if (name !== path) return file;
    const read: typeof file.read = async (into, at) => {
      if (at < bad + 4096 && at + into.length > bad) throw Object.assign(new Error('EIO'), { code: 'EIO' });
      return file.read(into, at);
    };
    return Object.assign(Object.create(file), {
      read,
      lengthBytes: () => file.lengthBytes(),
      close: () => file.close(),
    });
  };
  await using scrub = await scrubbing(cache, { files: { ...diskFiles, open } });
  expect(await scrub.check(pack)).toBe('damaged');
  await cache.receiving.receiver.flush();
  for (const record of intact) {
    const now = await cache.index.getInstance(TENANT, record);
    expect(now?.packId).not.toBe(pack.packId);
  }
});
