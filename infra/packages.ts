/**
 * npm packages that a deliverable takes along as they are: which ones a platform needs, by the lock file, and where they lie.
 * Those of another platform than this one are fetched through npm and checked against the lock file, once.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { x as extract } from 'tar';
import { z } from 'zod';

export interface Platform {
  readonly os: string;
  /** As Node names it: x64, arm64. */
  readonly cpu: string;
}

export const thisPlatform: Platform = { os: process.platform, cpu: process.arch };

const root = resolve(import.meta.dirname, '..');
const oneOrMore = z.union([z.string().transform((one) => [one]), z.array(z.string())]).optional();
const names = z.record(z.string(), z.string()).default({});
const lockFile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      integrity: z.string().optional(),
      os: oneOrMore,
      cpu: oneOrMore,
      libc: oneOrMore,
      dependencies: names,
      optionalDependencies: names,
    }),
  ),
});
const locked = lockFile.parse(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))).packages;
const lockedAs = (name: string) => locked[`node_modules/${name}`];

/**
 * Names of packages with all that they need on a platform, sorted.
 * @param patterns names, or `@scope/*`
 * @param unneeded names of packages that others state as dependencies and use only to be built or from a command line
 */
export function packagesFor(
  patterns: readonly string[],
  platform: Platform,
  unneeded: readonly string[] = [],
): string[] {
  const found = new Set<string>();
  const waiting = patterns.flatMap((pattern) =>
    pattern.endsWith('/*')
      ? Object.keys(locked)
          .filter((path) => path.startsWith(`node_modules/${pattern.slice(0, -1)}`))
          .map((path) => path.slice('node_modules/'.length))
      : [pattern],
  );
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const entry = lockedAs(name);
    if (found.has(name) || unneeded.includes(name) || entry === undefined || !runsOn(entry, platform)) continue;
    found.add(name);
    waiting.push(...Object.keys(entry.dependencies), ...Object.keys(entry.optionalDependencies));
  }
  return [...found].sort();
}

function runsOn({ os, cpu, libc }: NonNullable<ReturnType<typeof lockedAs>>, platform: Platform): boolean {
  const isLibcRight = platform.os !== 'linux' || (libc?.includes('glibc') ?? true);
  return (os?.includes(platform.os) ?? true) && (cpu?.includes(platform.cpu) ?? true) && isLibcRight;
}

/**
 * Where a package lies: installed, or fetched into `cacheFolder`.
 * @throws Error with a sentence when it can neither be found nor fetched, or is not what the lock file says
 */
export async function packageFolder(name: string, cacheFolder: string): Promise<string> {
  const installed = join(root, 'node_modules', name);
  if (existsSync(join(installed, 'package.json'))) return installed;
  const entry = lockedAs(name);
  if (entry?.version === undefined || entry.integrity === undefined)
    throw new Error(`${name} is neither installed nor in package-lock.json.`);
  const folder = join(cacheFolder, `${name}-${entry.version}`);
  if (existsSync(join(folder, 'package.json'))) return folder;
  await mkdir(dirname(folder), { recursive: true });
  const work = await mkdtemp(join(cacheFolder, 'fetching-'));
  try {
    const arguments_ = ['pack', `${name}@${entry.version}`, '--ignore-scripts', '--silent', '--pack-destination', work];
    await promisify(execFile)('npm', arguments_, { cwd: work });
    const tarball = join(work, (await readdir(work)).find((file) => file.endsWith('.tgz')) ?? '');
    const digest = createHash('sha512')
      .update(await readFile(tarball))
      .digest('base64');
    if (`sha512-${digest}` !== entry.integrity) throw new Error(`${name} is not what package-lock.json says.`);
    const unpacked = join(work, 'unpacked');
    await mkdir(unpacked);
    await extract({ file: tarball, cwd: unpacked, strip: 1 });
    await rename(unpacked, folder);
    return folder;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
