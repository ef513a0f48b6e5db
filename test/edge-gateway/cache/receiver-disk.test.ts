/**
 * Disks that are full or that fail (faults F6 and F7): definite refusals, no false Success, and business as usual when there
 * is space again. Errors are made in the file layer; a tiny tmpfs is the real thing where this runs as root.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { diskFiles, type Files, type OpenFile } from '#edge-gateway/cache/files.ts';
import { packKey } from '#shared/archive/keys.ts';
import { type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { announcementOf, oneSeries, Receiving, TENANT } from './receiving.ts';

/** The disk, where `fail` may throw for an operation on a file, after `spoil` bytes of a write have been written. */
class FailingFiles implements Files {
  fail: (
    operation: 'create' | 'write' | 'datasync' | 'truncate' | 'syncFolder' | 'rename',
    path: string,
  ) => string | undefined = () => undefined;
  freeBytes = 2 ** 40;
  spoilBytes = 0;
  open = async (path: string, mode: 'read' | 'change') => this.#wrap(await diskFiles.open(path, mode), path);
  makeFolder = diskFiles.makeFolder;
  link = diskFiles.link;
  remove = diskFiles.remove;
  list = diskFiles.list;
  stat = diskFiles.stat;
  space = async () => ({ freeBytes: this.freeBytes, totalBytes: 2 ** 40, freeFiles: 0, totalFiles: 0 });

  async create(path: string): Promise<OpenFile> {
    this.#check('create', path);
    return this.#wrap(await diskFiles.create(path), path);
  }

  async syncFolder(path: string): Promise<void> {
    this.#check('syncFolder', path);
    await diskFiles.syncFolder(path);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#check('rename', to);
    await diskFiles.rename(from, to);
  }

  #check(operation: Parameters<FailingFiles['fail']>[0], path: string): void {
    const code = this.fail(operation, path);
    if (code !== undefined) throw Object.assign(new Error(`${code} (made by the test)`), { code });
  }

  #wrap(file: OpenFile, path: string): OpenFile {
    return {
      read: (into, at) => file.read(into, at),
      lengthBytes: () => file.lengthBytes(),
      close: () => file.close(),
      write: async (buffers, at) => {
        const code = this.fail('write', path);
        if (code !== undefined) await file.write([Buffer.concat(buffers).subarray(0, this.spoilBytes)], at);
        if (code !== undefined) throw Object.assign(new Error(`${code} (made by the test)`), { code });
        await file.write(buffers, at);
      },
      datasync: async () => {
        this.#check('datasync', path);
        await file.datasync();
      },
      truncate: async (lengthBytes) => {
        this.#check('truncate', path);
        await file.truncate(lengthBytes);
      },
    };
  }
}

const started: Receiving[] = [];
const folders: string[] = [];
async function start(files: Files, limits = {}): Promise<Receiving> {
  const at = await Receiving.start({ files, limits });
  started.push(at);
  return at;
}
afterEach(async () => {
  for (const at of started.splice(0)) await at[Symbol.asyncDispose]();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** What a restart on the folder as it is now finds. */
async function afterRestart(at: Receiving, check: (again: Receiving) => Promise<void>): Promise<void> {
  const copy = mkdtempSync(join(tmpdir(), 'archipel-restart-'));
  folders.push(copy);
  cpSync(at.folder, copy, { recursive: true });
  await using again = await Receiving.start({}, copy);
  await again.receiver.flush();
  await check(again);
}

async function expectStored(at: Receiving, made: readonly MadeInstance[]): Promise<void> {
  for (const instance of made) {
    const bytes = await at.dataSet(instance.ref);
    expect(bytes?.equals(instance.dataSet)).toBe(true);
  }
}

const refusedFor = (reason: string | RegExp) => ({
  kind: 'refused',
  code: 'out-of-resources',
  reason: reason instanceof RegExp ? expect.stringMatching(reason) : expect.stringContaining(reason),
});

describe('a full disk', () => {
  it.each([0, 1, 100, 3000])(
    'refuses what it has no room for (%i bytes of it were written), and takes more when there is room',
    async (spoilBytes) => {
      const files = new FailingFiles();
      const at = await start(files);
      const series = oneSeries();
      const kept = [await at.stored({ ...series, rows: 64, columns: 64 })];
      files.spoilBytes = spoilBytes;
      files.fail = (operation) => (operation === 'write' ? 'ENOSPC' : undefined);
      const late = makeInstance({ ...series, rows: 64, columns: 64 });
      expect(await at.send(late)).toMatchObject(refusedFor('full'));
      expect(await at.send(makeInstance())).toMatchObject(refusedFor('full'));
      expect(await at.send(kept[0]!)).toMatchObject({ kind: 'duplicate' });
      files.fail = () => undefined;
      await afterRestart(at, (again) => expectStored(again, kept));
      expect((await at.send(late)).kind).toBe('stored');
      kept.push(late, await at.stored(series));
      await at.receiver.flush();
      await expectStored(at, kept);
      expect(at.receiver.totals().fenced).toBe(false);
      expect(at.errors).toEqual([]);
      expect(at.openFiles()).toEqual([]);
    },
  );

  it('that cannot even cut off the partial instance goes on in another pack', async () => {
    const files = new FailingFiles();
    const at = await start(files);
    const series = oneSeries();
    const first = await at.stored(series);
    files.spoilBytes = 500;
    files.fail = (operation) => (operation === 'write' || operation === 'truncate' ? 'ENOSPC' : undefined);
    expect(await at.send(makeInstance(series))).toMatchObject(refusedFor('full'));
    files.fail = () => undefined;
    const second = await at.stored(series);
    await afterRestart(at, (again) => expectStored(again, [first, second]));
    await at.receiver.flush();
    await expectStored(at, [first, second]);
    expect(at.sealed).toHaveLength(2);
  });

  it('is not filled to the last byte: the reserve stays', async () => {
    const files = new FailingFiles();
    const at = await start(files, { reserveBytes: 1000_000, ownPackBytes: 100_000 });
    const first = await at.stored();
    files.freeBytes = 1_000_100;
    await new Promise((resolve) => setTimeout(resolve, 1100));
    expect(await at.send(makeInstance())).toMatchObject(refusedFor('full'));
    expect(await at.send(makeInstance({ rows: 1000, columns: 1000 }))).toMatchObject(refusedFor('full'));
    files.freeBytes = 2 ** 40;
    await expect.poll(async () => (await at.send(makeInstance())).kind, { timeout: 5000 }).toBe('stored');
    await expectStored(at, [first]);
    expect(at.receiver.totals().heldBytes).toBe(0);
  });

  it('without room for a name refuses too', async () => {
    const files = new FailingFiles();
    const at = await start(files, { ownPackBytes: 20_000 });
    files.fail = (operation) => (operation === 'create' ? 'ENOSPC' : undefined);
    const [small, big] = [makeInstance(), makeInstance({ rows: 300, columns: 300 })];
    expect(await Promise.all([small, small, big].map((made) => at.send(made)))).toEqual(
      [1, 2, 3].map(() => expect.objectContaining({ kind: 'refused', code: 'out-of-resources' })),
    );
    files.fail = () => undefined;
    for (const made of [small, big]) expect((await at.send(made)).kind).toBe('stored');
    await at.receiver.flush();
    await expectStored(at, [small, big]);
  });

  it('while packs are sealed only delays them', async () => {
    const files = new FailingFiles();
    const at = await start(files);
    const made = await at.stored();
    let failures = 0;
    files.fail = (operation) => (operation === 'write' && failures++ < 2 ? 'ENOSPC' : undefined);
    await at.receiver.flush();
    expect(failures).toBeGreaterThanOrEqual(2);
    await expectStored(at, [made]);
    expect(at.sealed).toHaveLength(1);
  });
});

describe('a disk that fails', () => {
  it.each(['datasync', 'syncFolder', 'write'] as const)(
    'in %s fences the volume: no false Success, not even later',
    async (broken) => {
      const files = new FailingFiles();
      const at = await start(files);
      const series = oneSeries();
      const kept = [await at.stored(series), await at.stored(series)];
      files.fail = (operation) => (operation === broken ? 'EIO' : undefined);
      const more = Array.from({ length: 5 }, (_, i) =>
        makeInstance(i % 2 === 0 && broken !== 'syncFolder' ? series : {}),
      );
      for (const outcome of await Promise.all(more.map((made) => at.send(made))))
        expect(outcome).toMatchObject(refusedFor('failed'));
      // The disk seems well again: what it lost meanwhile nobody knows.
      files.fail = () => undefined;
      expect(await at.send(makeInstance(series))).toMatchObject(refusedFor('failed'));
      expect(at.receiver.totals()).toMatchObject({ fenced: true, fenceReason: expect.stringContaining('EIO') });
      expect(at.errors).toHaveLength(1);
      await expect.poll(() => at.index.getInstance(TENANT, kept[1]!.ref)).toBeDefined();
      await expectStored(at, kept);
      expect(await at.send(kept[0]!)).toMatchObject({ kind: 'duplicate' });
      for (const made of more) expect(await at.index.getInstance(TENANT, made.ref)).toBeUndefined();
      await at.receiver.flush();
      expect(at.sealed).toEqual([]);
      await afterRestart(at, async (again) => {
        await expectStored(again, kept);
        for (const made of more) expect(['stored', 'duplicate']).toContain((await again.send(made)).kind);
      });
    },
  );

  it.each(['small', 'large'] as const)(
    'that answers a sync it has not done is found out before Success is said (a %s instance)',
    async (size) => {
      const files = new FailingFiles();
      const at = await start(files, { ownPackBytes: 20_000 });
      const kept = await at.stored();
      // ext4 that aborts its journal under a sync: the sync says that it is done, and no change of metadata is taken.
      files.fail = (operation, path) => (operation === 'truncate' && path.endsWith('alive') ? 'EROFS' : undefined);
      const made = makeInstance(size === 'large' ? { rows: 300, columns: 300 } : {});
      expect(await at.send(made)).toMatchObject(refusedFor('failed'));
      expect(at.receiver.totals()).toMatchObject({ fenced: true, fenceReason: expect.stringContaining('EROFS') });
      files.fail = () => undefined;
      expect(await at.send(made)).toMatchObject(refusedFor('failed'));
      await expect.poll(() => at.index.getInstance(TENANT, kept.ref)).toBeDefined();
      await expectStored(at, [kept]);
    },
  );

  it('under a large instance refuses it and keeps nothing of it', async () => {
    const files = new FailingFiles();
    const at = await start(files, { ownPackBytes: 20_000 });
    files.fail = (operation, path) => (operation === 'datasync' && path.endsWith('.part') ? 'EIO' : undefined);
    expect(await at.send(makeInstance({ rows: 300, columns: 300 }))).toMatchObject(refusedFor('failed'));
    await afterRestart(at, async (again) => {
      expect(again.openFiles()).toEqual([]);
    });
  });
});

const isRoot = process.getuid?.() === 0 && process.platform === 'linux';
if (!isRoot) console.warn('SKIPPED: a really full disk needs root, to mount a tmpfs');

describe.skipIf(!isRoot)('a tmpfs of 4 MB', () => {
  it('fills up, refuses, and takes more when it was given space', async ({ skip }) => {
    const mount = mkdtempSync(join(tmpdir(), 'archipel-tmpfs-'));
    folders.push(mount);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', mount]).status !== 0) {
      console.warn('SKIPPED: mounting a tmpfs is not allowed here');
      skip();
    }
    try {
      await using at = await Receiving.start({}, mount);
      const kept: MadeInstance[] = [];
      const refused: MadeInstance[] = [];
      for (let i = 0; i < 60; i++) {
        const made = makeInstance({ rows: 256, columns: 256 });
        const outcome = await at.send(made);
        if (outcome.kind === 'stored') kept.push(made);
        else {
          expect(outcome).toMatchObject({ kind: 'refused', code: 'out-of-resources' });
          refused.push(made);
        }
      }
      expect(kept.length).toBeGreaterThan(5);
      expect(refused.length).toBeGreaterThan(5);
      spawnSync('mount', ['-o', 'remount,size=64m', mount]);
      await expect.poll(async () => (await at.send(refused[0]!)).kind, { timeout: 5000 }).toBe('stored');
      const sink = at.receiver.begin(announcementOf(refused[1]!));
      sink.write(refused[1]!.dataSet);
      expect((await sink.commit()).kind).toBe('stored');
      await at.receiver.flush();
      await expectStored(at, [...kept, refused[0]!, refused[1]!]);
      expect(at.receiver.totals().fenced).toBe(false);
    } finally {
      spawnSync('umount', [mount]);
    }
  });
});

it('stores anew what comes again of a pack that the cloud has archived and lost', async () => {
  let isLost = false;
  await using at = await Receiving.start({ isLost: () => isLost });
  const made = await at.stored();
  await at.receiver.flush();
  const [pack] = await at.index.listPacks(TENANT, made.ref);
  await at.index.updatePack(TENANT, pack!, ['sealed'], { state: 'archived', archivedAtMs: 1, evictedAtMs: 2 });
  await at.store.delete(packKey(TENANT, pack!));
  expect(await at.send(made)).toMatchObject({ kind: 'duplicate' });
  isLost = true;
  expect(await at.send(made)).toMatchObject({ kind: 'stored' });
  await at.receiver.flush();
  expect((await at.dataSet(made.ref))?.equals(made.dataSet)).toBe(true);
});
