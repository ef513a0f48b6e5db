/**
 * `node infra/local/restore.ts STUDY [SERIES [INSTANCE]]`: undoes deletions in the cloud of one machine, as long as their bytes are not being
 * purged. While the archive is stopped: two processes do not work on one data folder.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { lockFolder } from '#edge-gateway/cache/folder-lock.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import { readLocalSettings } from './settings.ts';

async function restore(uids: readonly string[]): Promise<number> {
  const [studyInstanceUid, seriesInstanceUid, sopInstanceUid] = uids;
  if (studyInstanceUid === undefined || uids.length > 3)
    throw new Error(
      'Name a study, a series of it, or an instance of that: STUDY [SERIES [INSTANCE]], each by its UID.',
    );
  const { dataFolder } = readLocalSettings();
  const { tenant } = readEdgeSettings({ ...process.env, ARCHIPEL_EDGE_DATA: join(dataFolder, 'edge') });
  const file = join(dataFolder, 'cloud', 'index.sqlite');
  if (!existsSync(file)) throw new Error(`There is no archive in ${dataFolder}; set ARCHIPEL_DATA to its folder.`);
  const lock = lockFolder(dataFolder);
  const index = await createSqliteIndex({ file, inWorker: false });
  try {
    const series = seriesInstanceUid === undefined ? {} : { seriesInstanceUid };
    const instance = sopInstanceUid === undefined ? {} : { sopInstanceUid };
    return await restoreInstances(index, tenant, { studyInstanceUid, ...series, ...instance }, Date.now());
  } finally {
    await index.close();
    lock.release();
  }
}

try {
  const count = await restore(process.argv.slice(2));
  process.stdout.write(`${count} instances were restored; gateways show them again within a minute of the start.\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
