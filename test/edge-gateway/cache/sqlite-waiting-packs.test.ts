/**
 * The order in which packs wait for their upload: by priority, newest first, without looking at what is archived.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import type { PackRecord, PackState, UploadPriority } from '#shared/archive/records.ts';

let folder: string;
let index: SqliteIndex;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-waiting-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
});
afterEach(async () => {
  await index.close();
  rmSync(folder, { recursive: true, force: true });
});

const packId = (n: number): string => `0197a000-0000-7000-8000-${String(n).padStart(12, '0')}`;

async function make(n: number, state: PackState, priority?: UploadPriority): Promise<void> {
  const record: PackRecord = {
    tenant: 'hospital',
    studyInstanceUid: '1.2',
    seriesInstanceUid: `1.2.${n}`,
    packId: packId(n),
    state,
    instanceCount: 1,
    lengthBytes: 10,
    createdAtMs: n,
    ...(priority === undefined ? {} : { priority }),
  };
  await index.createPack(record);
}

describe('packs that wait for their upload', () => {
  it('are those sealed of a priority, newest first, page by page; without one they are routine', async () => {
    await make(1, 'sealed');
    await make(2, 'sealed', 'stat');
    await make(3, 'sealed', 'routine');
    await make(4, 'archived', 'routine');
    await make(5, 'sealed', 'low');
    await make(6, 'sealed');
    const ids = async (priority: UploadPriority, page: { limit: number; before?: string }): Promise<string[]> =>
      (await index.packsToUpload('hospital', priority, page)).map((pack) => pack.packId);
    expect(await ids('stat', { limit: 9 })).toEqual([packId(2)]);
    expect(await ids('low', { limit: 9 })).toEqual([packId(5)]);
    expect(await ids('routine', { limit: 2 })).toEqual([packId(6), packId(3)]);
    expect(await ids('routine', { limit: 2, before: packId(3) })).toEqual([packId(1)]);
    expect(await index.packsToUpload('other', 'routine', { limit: 9 })).toEqual([]);
  });
});
