/**
 * Crashes at every named instant, simulated by copying the folder there and starting anew on the copy; and damage that no
 * crash explains. Legal states after a power cut are power-cut-states.test.ts.
 */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { crashPoints } from '#edge-gateway/cache/crash-point.ts';
import { diskFiles, type Files } from '#edge-gateway/cache/files.ts';
import { openFolderOf } from '#edge-gateway/cache/receiver.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { PackState } from '#shared/archive/records.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { announcementOf, dataSetOf, oneSeries, Receiving, rival, sealedFiles, TENANT } from './receiving.ts';

const limits = { ownPackBytes: 20_000 };
let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'archipel-recovery-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Everything in `acked` is there bit by bit, and everything that is there is whole. */
async function expectAllKept(at: Receiving, acked: readonly MadeInstance[]): Promise<void> {
  await at.receiver.flush();
  for (const made of acked) {
    const versions = await at.index.getVersions(TENANT, made.ref);
    const record = versions.find(({ digest }) => digest === made.digest);
    expect(record, 'an acknowledged instance is not in the index').toBeDefined();
    expect((await dataSetOf(at.store, record!)).equals(made.dataSet)).toBe(true);
  }
  expect(at.openFiles()).toEqual([]);
  const { items } = await at.index.packsInState(TENANT, 'sealed', { limit: 100 });
  expect(sealedFiles(at.folder)).toHaveLength(items.length);
  for (const record of items) {
    const { lengthBytes, sha256, instanceCount } = record;
    const found = await inspectPack(at.store, packKey(TENANT, record), {
      tenant: TENANT,
      ref: record,
      lengthBytes,
      sha256: sha256!,
    });
    expect(found.instances).toHaveLength(instanceCount);
  }
}

async function countOf(at: Receiving, state: PackState): Promise<number> {
  return (await at.index.packTotals(TENANT))[state].packs;
}

describe('a crash', () => {
  it.each(crashPoints)('at %s loses nothing that was acknowledged', async (name) => {
    const acked: MadeInstance[] = [];
    const crashes: { folder: string; acked: MadeInstance[] }[] = [];
    let hits = 0;
    const at = await Receiving.start({
      limits,
      crashPoint(point) {
        // The 1st, 2nd, 4th, 8th … time: early and late, with little and with much lying open.
        if (point !== name || (++hits & (hits - 1)) !== 0 || crashes.length === 4) return;
        const folder = join(root, String(crashes.length));
        cpSync(at.folder, folder, { recursive: true });
        crashes.push({ folder, acked: [...acked] });
      },
    });
    const acknowledge = async (made: MadeInstance): Promise<void> => {
      if ((await at.send(made)).kind !== 'refused') acked.push(made);
    };
    const series = oneSeries();
    const first = makeInstance(series);
    await acknowledge(first);
    await Promise.all([1, 2, 3].map(() => acknowledge(makeInstance(series))));
    await acknowledge(rival(first));
    await acknowledge(makeInstance({ ...series, rows: 200, columns: 200 }));
    await acknowledge(makeInstance());
    await at.receiver.flush();
    await acknowledge(makeInstance(series));
    await at.receiver.flush();
    await at[Symbol.asyncDispose]();

    expect(crashes.length).toBeGreaterThan(0);
    for (const { folder, acked: before } of crashes) {
      await using again = await Receiving.start({ limits }, folder);
      await expectAllKept(again, before);
      expect(again.errors).toEqual([]);
      for (const made of before) expect((await again.send(made)).kind).toBe('duplicate');
    }
  });

  it('during recovery, again and again, loses nothing either', async () => {
    const acked: MadeInstance[] = [];
    let next = 0;
    const copyAt = (folder: () => string) => (point: string) => {
      if (point === 'after-central-directory' && next < 4)
        cpSync(folder(), join(root, String(next++)), { recursive: true });
    };
    {
      await using at = await Receiving.start({ limits, crashPoint: (point) => copyAt(() => at.folder)(point) });
      for (let i = 0; i < 5; i++) acked.push(await at.stored());
    }
    for (let i = 0; i < 4; i++) {
      const folder = join(root, String(i));
      await using at = await Receiving.start({ limits, crashPoint: copyAt(() => folder) }, folder);
      await expectAllKept(at, acked);
    }
  });

  it('in the middle of an instance leaves nothing of it', async () => {
    const copy = join(root, 'copy');
    const [small, big] = [makeInstance({ rows: 64, columns: 64 }), makeInstance({ rows: 2000, columns: 2000 })];
    const at = await Receiving.start({ limits });
    const kept = await at.stored();
    for (const made of [small, big]) {
      const sink = at.receiver.begin(announcementOf(made));
      for (let i = 0; i < made.dataSet.length - 10_000; i += 50_000)
        await sink.write(made.dataSet.subarray(i, i + 50_000));
    }
    await expect.poll(() => at.openFiles().some((name) => name.endsWith('.part'))).toBe(true);
    cpSync(at.folder, copy, { recursive: true });
    await at[Symbol.asyncDispose]();
    await using again = await Receiving.start({ limits }, copy);
    await expectAllKept(again, [kept]);
    for (const made of [small, big]) expect((await again.send(made)).kind).toBe('stored');
  });
});

/** A folder with one open pack of `count` entries, as a crash leaves it. */
async function crashed(
  count: number,
  indexed: boolean,
): Promise<{ folder: string; made: MadeInstance[]; pack: string }> {
  const folder = join(root, 'crashed');
  const series = oneSeries();
  const made: MadeInstance[] = [];
  const at = await Receiving.start();
  for (let i = 0; i < count; i++) made.push(await at.stored(series));
  if (indexed) {
    await expect.poll(() => at.receiver.totals().unindexed).toBe(0);
    const [record] = (await at.index.packsInState(TENANT, 'open', { limit: 1 })).items;
    const { size } = statSync(join(openFolderOf(at.folder), at.openFiles()[0] ?? ''));
    await at.index.updatePack(TENANT, record!, ['open'], { instanceCount: count, lengthBytes: size });
  }
  cpSync(at.folder, folder, { recursive: true });
  if (!indexed)
    for (const suffix of ['', '-wal', '-shm']) rmSync(join(folder, `index.sqlite${suffix}`), { force: true });
  await at[Symbol.asyncDispose]();
  const [name] = readdirSync(openFolderOf(folder));
  return { folder, made, pack: join(openFolderOf(folder), name ?? '') };
}

describe('a copy of the folder that knows no links', () => {
  it('may hold a sealed pack under both its names', async () => {
    const copy = join(root, 'copy');
    const at = await Receiving.start({
      crashPoint(point) {
        if (point === 'after-seal-sync') cpSync(at.folder, copy, { recursive: true });
      },
    });
    const made = await at.stored();
    await at.receiver.flush();
    const [place] = sealedFiles(at.folder);
    cpSync(place!, join(copy, place!.slice(at.folder.length)), { recursive: true });
    await at[Symbol.asyncDispose]();
    await using again = await Receiving.start({}, copy);
    await expectAllKept(again, [made]);
  });
});

describe('an index that is lost', () => {
  it('is made anew from the open packs', async () => {
    const { folder, made } = await crashed(4, false);
    await using at = await Receiving.start({}, folder);
    await expectAllKept(at, made);
    expect(at.errors).toEqual([]);
  });
});

describe('a torn tail', () => {
  it('is dropped; what stands before it is kept', async () => {
    const { folder, made, pack } = await crashed(3, false);
    const { length } = readFileSync(pack);
    truncateSync(pack, length - 7);
    writeFileSync(`${pack.slice(0, -4)}.txt`, 'not ours');
    await using at = await Receiving.start({}, folder);
    expect(at.errors).toEqual([]);
    await at.receiver.flush();
    expect(at.openFiles()).toEqual([expect.stringMatching(/\.txt$/)]);
    rmSync(`${pack.slice(0, -4)}.txt`);
    await expectAllKept(at, made.slice(0, 2));
    expect(await at.index.getInstance(TENANT, made[2]!.ref)).toBeUndefined();
    expect((await at.send(made[2]!)).kind).toBe('stored');
  });

  it('that is all there is leaves nothing', async () => {
    const { folder, pack } = await crashed(1, false);
    truncateSync(pack, 100);
    await using at = await Receiving.start({}, folder);
    await expectAllKept(at, []);
    expect(at.errors).toEqual([]);
    expect(await countOf(at, 'open')).toBe(0);
  });
});

describe('damage', () => {
  const flip = (file: string, needle: Uint8Array): void => {
    const bytes = readFileSync(file);
    const at = bytes.indexOf(needle);
    expect(at).toBeGreaterThan(0);
    bytes[at + 5]! ^= 0x10;
    writeFileSync(file, bytes);
  };

  it.each([false, true])(
    'in the middle is said, set aside, and costs only the instance it hit (indexed: %s)',
    async (indexed) => {
      const { folder, made, pack } = await crashed(4, indexed);
      const whole = readFileSync(pack);
      flip(pack, made[1]!.dataSet);
      await using at = await Receiving.start({}, folder);
      expect(at.errors.map(({ msg }) => msg)).toEqual([expect.stringContaining('damaged')]);
      await expectAllKept(
        at,
        made.filter((_, i) => i !== 1),
      );
      const [aside] = readdirSync(join(folder, 'damaged'));
      expect(readFileSync(join(folder, 'damaged', aside ?? ''))).toHaveLength(whole.length);
      expect(await countOf(at, 'rejected')).toBe(indexed ? 1 : 0);
      // Whoever still has it sends it again, and it is stored.
      expect((await at.send(made[1]!)).kind).toBe('stored');
      await expectAllKept(at, made);
    },
  );

  it('in the last entry, which the index knows, is no torn tail', async () => {
    const { folder, made, pack } = await crashed(3, true);
    flip(pack, made.at(-1)!.dataSet);
    await using at = await Receiving.start({}, folder);
    expect(at.errors).toHaveLength(1);
    await expectAllKept(at, made.slice(0, -1));
    expect(existsSync(join(folder, 'damaged'))).toBe(true);
  });

  it('while it is put right may be cut off by a crash: the next start goes on', async () => {
    const { folder, made, pack } = await crashed(4, true);
    flip(pack, made[0]!.dataSet);
    const copy = join(root, 'copy');
    {
      await using at = await Receiving.start(
        {
          crashPoint(point) {
            if (point === 'after-sync' && !existsSync(copy)) cpSync(folder, copy, { recursive: true });
          },
        },
        folder,
      );
      await expectAllKept(at, made.slice(1));
    }
    await using again = await Receiving.start({}, copy);
    await expectAllKept(again, made.slice(1));
  });

  it.each(['removed', 'emptied', 'zeroed'])(
    'of a whole open pack is said once (%s), and what was in it can be sent again',
    async (how) => {
      const { folder, made, pack } = await crashed(2, true);
      if (how === 'removed') rmSync(pack);
      else writeFileSync(pack, Buffer.alloc(how === 'emptied' ? 0 : 5000));
      {
        await using at = await Receiving.start({}, folder);
        expect(at.errors.map(({ msg }) => msg)).toEqual([
          expect.stringMatching(how === 'removed' ? 'gone' : 'damaged'),
        ]);
        expect(await countOf(at, 'rejected')).toBe(1);
        expect(await countOf(at, 'open')).toBe(0);
        for (const instance of made) expect((await at.send(instance)).kind).toBe('stored');
        await expectAllKept(at, made);
      }
      await using again = await Receiving.start({}, folder);
      expect(again.errors).toEqual([]);
      await expectAllKept(again, made);
    },
  );

  it.each([0, 4096])(
    'that the disk does not give any more (from byte %i) holds up no start, and is no torn tail',
    async (bad) => {
      const { folder, made, pack } = await crashed(12, false);
      const isLost = ({ dataSet }: MadeInstance): boolean => {
        const at = readFileSync(pack).indexOf(dataSet);
        return at - 700 < bad + 4096 && at + dataSet.length > bad;
      };
      const intact = made.filter((instance) => !isLost(instance));
      expect(intact.length).toBeGreaterThan(0);
      expect(intact.length).toBeLessThan(made.length);
      const open: Files['open'] = async (path, mode) => {
        const file = await diskFiles.open(path, mode);
        if (path !== pack) return file;
        const read: typeof file.read = async (into, at) => {
          if (at < bad + 4096 && at + into.length > bad) throw Object.assign(new Error('EIO'), { code: 'EIO' });
          return file.read(into, at);
        };
        const lengthBytes = (): Promise<number> => file.lengthBytes();
        return Object.assign(Object.create(file), { read, lengthBytes, close: () => file.close() });
      };
      await using at = await Receiving.start({ files: { ...diskFiles, open } }, folder);
      expect(at.errors.map(({ msg }) => msg)).toEqual([expect.stringContaining('damaged')]);
      await expectAllKept(at, intact);
      expect(readdirSync(join(folder, 'damaged'))).toHaveLength(1);
    },
  );
});
