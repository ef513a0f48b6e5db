/**
 * The OHIF viewer as it is published: fetched once from the npm registry (through npm, with its settings), checked
 * against the integrity pinned here, its built pages unpacked into a folder and corrected (viewer-corrections.ts). It can't be
 * a dependency: one of its own dependencies is not published. Without a network the archive runs all the same and says what is
 * missing.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { x as extract } from 'tar';
import { correctViewer } from './viewer-corrections.ts';

export const VIEWER_PACKAGE = '@ohif/app';
export const VIEWER_VERSION = '3.13.2';
const INTEGRITY = 'sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==';
const FETCH_TIMEOUT_MS = 10 * 60_000;

/** Artificial-intelligence runtimes, three quarters of the package, used by no mode that is offered here. */
const unneeded = /^package\/dist\/ort\//;

/** Where the viewer's pages lie below a cache folder once they are there, whole. */
export const viewerFolderIn = (cacheFolder: string): string => join(cacheFolder, `ohif-${VIEWER_VERSION}`);

/**
 * The folder of the viewer's pages, fetched if need be; `progress` gets a sentence for each step.
 * @throws Error with a sentence when it can't be fetched or is not what was pinned; nothing is left half done
 */
export async function ensureViewer(cacheFolder: string, progress: (sentence: string) => void): Promise<string> {
  const folder = viewerFolderIn(cacheFolder);
  if (existsSync(join(folder, 'index.html'))) {
    await correctViewer(folder);
    return folder;
  }
  await mkdir(cacheFolder, { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'fetching-'));
  try {
    progress(`fetching the viewer (${VIEWER_PACKAGE} ${VIEWER_VERSION}, 50 MB, once)`);
    await npmPack(work);
    const name = (await readdir(work)).find((file) => file.endsWith('.tgz'));
    if (name === undefined) throw new Error('npm gave no package.');
    const tarball = join(work, name);
    const hash = createHash('sha512');
    await pipeline(createReadStream(tarball), hash);
    if (`sha512-${hash.digest('base64')}` !== INTEGRITY)
      throw new Error('the package is not the one that is pinned; it was not used.');
    progress('unpacking the viewer');
    const unpacked = join(work, 'pages');
    await mkdir(unpacked);
    await extract({
      file: tarball,
      cwd: unpacked,
      strip: 2,
      filter: (path) => path.startsWith('package/dist/') && !unneeded.test(path),
    });
    await correctViewer(unpacked);
    await rm(folder, { recursive: true, force: true });
    await rename(unpacked, folder);
    progress('the viewer is ready');
    return folder;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function npmPack(folder: string): Promise<void> {
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const args = [
    'pack',
    `${VIEWER_PACKAGE}@${VIEWER_VERSION}`,
    '--ignore-scripts',
    '--silent',
    '--pack-destination',
    folder,
  ];
  const child = spawn(npm, args, {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: FETCH_TIMEOUT_MS,
    shell: process.platform === 'win32',
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-500);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (code !== 0)
    throw new Error(
      `npm could not fetch it (${complaint.split('\n').find((line) => line.includes('code')) ?? `exit code ${code}`}).`,
    );
}
