/** The operator's way back: what was deleted in the cloud of one machine is there again, and nothing happens while that runs. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { lockFolder } from '#edge-gateway/cache/folder-lock.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { deleteInstances } from '#shared/archive/deletion.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { instanceRecord } from '../../support/archive-records.ts';

const tenant = 'default';
const record = instanceRecord({ tenant });
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-restore-'));
});
afterAll(() => rm(folder, { recursive: true }));

const onIndex = async <T>(work: (index: SqliteIndex) => Promise<T>): Promise<T> => {
  const index = await createSqliteIndex({ file: join(folder, 'cloud', 'index.sqlite'), inWorker: false });
  try {
    return await work(index);
  } finally {
    await index.close();
  }
};
const run = (...uids: string[]): Promise<string> =>
  new Promise((resolve) => {
    const script = join(import.meta.dirname, '../../../infra/local/restore.ts');
    const env = { ...process.env, ARCHIPEL_DATA: folder };
    execFile(process.execPath, [script, ...uids], { env }, (_, out, err) => resolve(out + err));
  });

it('restores what is named by its UIDs, once the archive is stopped', async () => {
  await onIndex(async (index) => {
    await indexInstances(index, [record]);
    await deleteInstances(index, tenant, record, Date.now);
  });
  const lock = lockFolder(folder);
  expect(await run(record.studyInstanceUid)).toMatch(/Another process works on/);
  lock.release();
  expect(await run(record.studyInstanceUid, record.seriesInstanceUid)).toMatch(/^1 instances were restored/);
  expect(await onIndex((index) => index.getInstance(tenant, record))).toMatchObject({ digest: record.digest });
});
