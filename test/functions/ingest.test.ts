/**
 * What the ingest step makes of failures: those of the bytes are final, those of the machine are not, whatever they are.
 */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { diskFiles, type Files, type OpenFile } from '#edge-gateway/cache/files.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createIngestStep } from '#functions/ingest/step.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import { makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';

const tenant = 'test';
const eio = (): Error => Object.assign(new Error('EIO (made by the test)'), { code: 'EIO' });

let folder: string;
let archive: Archive;
/** Which operation of the disk fails now. */
let failing: 'read' | 'create' | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-ingest-'));
  failing = undefined;
  const files: Files = {
    ...diskFiles,
    async open(path, mode): Promise<OpenFile> {
      const file = await diskFiles.open(path, mode);
      return {
        write: (buffers, at) => file.write(buffers, at),
        read: (into, at) => (failing === 'read' ? Promise.reject(eio()) : file.read(into, at)),
        datasync: () => file.datasync(),
        truncate: (lengthBytes) => file.truncate(lengthBytes),
        lengthBytes: () => file.lengthBytes(),
        close: () => file.close(),
      };
    },
    create: (path) => (failing === 'create' ? Promise.reject(eio()) : diskFiles.create(path)),
  };
  archive = {
    index: await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false }),
    packs: createDiskPackStore({ root: join(folder, 'packs'), files }),
  };
});

afterEach(async () => {
  await archive.index.close();
  rmSync(folder, { recursive: true });
});

/** Announced, and uploaded. */
async function arrived(spoil: (bytes: Buffer) => void = () => {}): Promise<PackRecord> {
  const fixture = await makeArchive([makeInstance().file]);
  try {
    const [ref] = fixture.packs;
    if (ref === undefined) throw new Error('the fixture has no pack');
    const bytes = Buffer.from(await fixture.archive.packs.read(packKey(tenant, ref)));
    spoil(bytes);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const lengthBytes = bytes.length;
    const record: PackRecord = {
      ...ref,
      tenant,
      state: 'sealed',
      instanceCount: 1,
      lengthBytes,
      sha256,
      createdAtMs: 1,
    };
    await archive.index.createPack(record);
    await archive.packs.create(packKey(tenant, ref), bytes, { lengthBytes, sha256 });
    return record;
  } finally {
    await fixture.close();
  }
}

const ingest = (record: PackRecord): Promise<void> =>
  createIngestStep({ archive, nowMs: Date.now, log: silentLogger })({ key: packKey(tenant, record) });
const stateOf = async (record: PackRecord) => (await archive.index.getPack(tenant, record))?.state;

describe('ingest', () => {
  it.each(['read', 'create'] as const)(
    'of a good pack on a disk that fails (%s) is done when the disk is well',
    async (operation) => {
      const record = await arrived();
      failing = operation;
      await expect(ingest(record)).rejects.toThrow();
      expect(await stateOf(record)).toBe('sealed');
      failing = undefined;
      await ingest(record);
      expect(await stateOf(record)).toBe('archived');
      expect(await archive.packs.head(manifestKey(tenant, record))).toBeDefined();
    },
  );

  it('rejects a pack whose bytes are no pack, for good', async () => {
    const record = await arrived((bytes) => bytes.fill(0x55, 400, 500));
    await ingest(record);
    expect(await stateOf(record)).toBe('rejected');
    await ingest(record);
    expect(await stateOf(record)).toBe('rejected');
  });
});
