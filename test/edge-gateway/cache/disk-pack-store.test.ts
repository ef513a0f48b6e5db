/**
 * What the disk pack store does beyond its contract: taking over sealed packs, reading open ones, and leaving nothing behind
 * on disk when something fails.
 */

import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore, type DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { diskFiles } from '#edge-gateway/cache/files.ts';
import { manifestKey, newPackId, packKey } from '#shared/archive/keys.ts';

let folder: string;
let root: string;
let openFolder: string;
let store: DiskPackStore;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-store-'));
  root = join(folder, 'packs');
  openFolder = join(folder, 'open');
  mkdirSync(openFolder);
  store = createDiskPackStore({ root, openFolder });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const newRef = () => ({
  studyInstanceUid: '1.2',
  seriesInstanceUid: '1.2.3',
  packId: newPackId(Date.now(), randomBytes(10)),
});
const expectedOf = (bytes: Uint8Array) => ({
  lengthBytes: bytes.length,
  sha256: createHash('sha256').update(bytes).digest('hex'),
});
const filesBelow = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name);

describe('a file that is complete already', () => {
  it('is taken over, and its old name is gone', async () => {
    const key = packKey('t', newRef());
    const path = join(openFolder, 'file');
    writeFileSync(path, 'bytes');
    expect(await store.adopt(key, path)).toBe('created');
    expect(readFileSync(store.pathOf(key), 'utf8')).toBe('bytes');
    expect(filesBelow(openFolder)).toEqual([]);
  });

  it('replaces nothing', async () => {
    const key = packKey('t', newRef());
    await store.create(key, Buffer.from('first'), expectedOf(Buffer.from('first')));
    const path = join(openFolder, 'file');
    writeFileSync(path, 'second');
    expect(await store.adopt(key, path)).toBe('exists');
    expect(readFileSync(path, 'utf8')).toBe('second');
    expect((await store.read(key)).toString()).toBe('first');
  });

  it('is taken over where the volume has no links, too', async () => {
    const files = { ...diskFiles, link: () => Promise.reject(Object.assign(new Error('no links'), { code: 'EPERM' })) };
    const other = createDiskPackStore({ root, files });
    const [key, path] = [packKey('t', newRef()), join(openFolder, 'file')];
    writeFileSync(path, 'bytes');
    expect(await other.adopt(key, path)).toBe('created');
    writeFileSync(path, 'others');
    expect(await other.adopt(key, path)).toBe('exists');
    expect((await other.read(key)).toString()).toBe('bytes');
  });
});

describe('an open pack', () => {
  it('can be read where it lies, also while it moves to its place', async () => {
    const ref = newRef();
    const key = packKey('t', ref);
    const path = join(openFolder, `${ref.packId}.zip`);
    writeFileSync(path, 'open pack');
    expect((await store.read(key, { offsetBytes: 5, lengthBytes: 4 })).toString()).toBe('pack');
    expect(await store.head(key)).toEqual({ lengthBytes: 9 });
    const reads = Array.from({ length: 200 }, async (_, i) => {
      await new Promise((resolve) => setTimeout(resolve, i / 20));
      return (await store.read(key, { offsetBytes: 0, lengthBytes: 9 })).toString();
    });
    await store.adopt(key, path);
    expect(new Set(await Promise.all(reads))).toEqual(new Set(['open pack']));
    await expect(store.read(manifestKey('t', ref))).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('nothing is left on disk', () => {
  it('of a body that is not the expected one, or breaks off, or does not fit', async () => {
    const bytes = randomBytes(100_000);
    const expected = expectedOf(bytes);
    const broken = (error: Error): ReadableStream<Uint8Array> => {
      let pulls = 0;
      return new ReadableStream({
        pull: (controller) => (pulls++ === 0 ? controller.enqueue(bytes) : controller.error(error)),
      });
    };
    await expect(
      store.create(packKey('t', newRef()), bytes, { ...expected, sha256: 'f'.repeat(64) }),
    ).rejects.toMatchObject({ code: 'checksum-mismatch' });
    await expect(
      store.create(packKey('t', newRef()), broken(new Error('reset')), { ...expected, lengthBytes: 200_000 }),
    ).rejects.toMatchObject({ code: 'checksum-mismatch' });
    const full = createDiskPackStore({
      root,
      files: {
        ...diskFiles,
        async create(path) {
          const file = await diskFiles.create(path);
          return Object.assign(Object.create(file), {
            write: () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' })),
            close: () => file.close(),
          });
        },
      },
    });
    await expect(full.create(packKey('t', newRef()), bytes, expected)).rejects.toMatchObject({
      code: 'out-of-resources',
    });
    expect(filesBelow(folder)).toEqual([]);
  });

  it('of what an older process had not finished; what is younger may be another store’s', async () => {
    const temporary = join(root, '.incoming');
    mkdirSync(temporary, { recursive: true });
    for (const name of ['old', 'young']) writeFileSync(join(temporary, name), name);
    const yesterday = Date.now() / 1000 - 86_400;
    utimesSync(join(temporary, 'old'), yesterday, yesterday);
    await store.create(packKey('t', newRef()), Buffer.from('x'), expectedOf(Buffer.from('x')));
    expect(readdirSync(temporary)).toEqual(['young']);
  });

  it('of what a process that is gone had not finished, however short ago', async () => {
    const temporary = join(root, '.incoming');
    mkdirSync(temporary, { recursive: true });
    const gone = spawnSync(process.execPath, ['-e', '']).pid;
    const [running, mine] = [`${process.ppid}-running`, `${process.pid}-mine`];
    for (const name of [`${gone}-killed`, running, mine, `${process.pid}-namesake`])
      writeFileSync(join(temporary, name), name);
    // In a container the process before us may have had our id.
    const beforeUs = Date.now() / 1000 - process.uptime() - 5;
    utimesSync(join(temporary, `${process.pid}-namesake`), beforeUs, beforeUs);
    await store.create(packKey('t', newRef()), Buffer.from('x'), expectedOf(Buffer.from('x')));
    expect(readdirSync(temporary).sort()).toEqual([running, mine].sort());
  });
});

describe('a stream', () => {
  it('ends with an error when the object shrinks under it', async () => {
    const key = packKey('t', newRef());
    const bytes = randomBytes(2_000_000);
    await store.create(key, bytes, expectedOf(bytes));
    const reader = (await store.stream(key)).getReader();
    await reader.read();
    writeFileSync(store.pathOf(key), 'short');
    await expect(
      (async () => {
        for (;;) if ((await reader.read()).done) return;
      })(),
    ).rejects.toMatchObject({ code: 'damaged' });
  });

  it('goes on when the object gets another name', async () => {
    const key = packKey('t', newRef());
    const bytes = randomBytes(2_000_000);
    await store.create(key, bytes, expectedOf(bytes));
    const stream = await store.stream(key);
    renameSync(store.pathOf(key), join(dirname(store.pathOf(key)), 'moved'));
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
  });
});
