/**
 * A descriptor is closed once and never used after: its number may be somebody else's file or socket by then.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { diskFiles } from '#edge-gateway/cache/files.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('closes a file once, however often it is told to, and leaves the next owner of the number alone', async () => {
  const [one, two] = [join(folder, 'one'), join(folder, 'two')];
  await writeFile(one, 'one');
  await writeFile(two, 'two');
  const first = await diskFiles.open(one, 'read');
  await first.close();
  // The system gives the lowest free number: these get the one that was just closed.
  const others = await Promise.all(Array.from({ length: 4 }, () => diskFiles.open(two, 'read')));
  await first.close();
  const into = Buffer.alloc(3);
  await expect(first.read(into, 0)).rejects.toMatchObject({ code: 'EBADF' });
  for (const other of others) {
    expect(await other.read(into, 0)).toBe(3);
    expect(into.toString()).toBe('two');
    await other.close();
  }
});

it('closes after the calls that are under way', async () => {
  const path = join(folder, 'large');
  await writeFile(path, Buffer.alloc(4 << 20, 7));
  const file = await diskFiles.open(path, 'read');
  const into = Buffer.alloc(4 << 20);
  const reading = file.read(into, 0);
  await file.close();
  expect(await reading).toBe(4 << 20);
  expect(into.every((byte) => byte === 7)).toBe(true);
});

it('does so for a stream that is cancelled at any moment', async () => {
  const store = createDiskPackStore({ root: join(folder, 'packs') });
  const key = 'hospital/1.2/1.2.3/0197a000-0000-7000-8000-000000000001.zip';
  const bytes = Buffer.alloc(3_000_000, 1);
  const { createHash } = await import('node:crypto');
  await store.create(key, bytes, {
    lengthBytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  });
  for (let reads = 0; reads < 8; reads++) {
    const reader = (await store.stream(key)).getReader();
    for (let i = 0; i < reads; i++) await reader.read();
    const last = reader.read();
    await reader.cancel();
    await last.catch(() => {});
    expect(bytes.equals(await store.read(key))).toBe(true);
  }
});
