/**
 * The gateway as one tar.gz for a bare machine: bundle, packages, Node, unit, installer, settings. What is in it and how it is
 * checked is here; what the installer does with it is in install.sh.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, copyFile, cp, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { create } from 'tar';
import { VERSION } from '#edge-gateway/gateway.ts';
import { bundleGateway } from '../bundle.ts';
import { packageFolder } from '../packages.ts';

export type Architecture = 'x64' | 'arm64';

export interface PackageOptions {
  /** Where the tar.gz goes. */
  readonly outFolder: string;
  readonly architecture: Architecture;
  /** OHIF's built pages, to take along. */
  readonly viewerFolder?: string;
}

const root = resolve(import.meta.dirname, '../..');
const besides = ['install.sh', 'edge-gateway.toml', 'archipel-edge-gateway.service', 'cloud-init.yaml', 'README.md'];

/** Path of the tar.gz that it made. Its one folder has the same name. */
export async function packageGateway(options: PackageOptions): Promise<string> {
  const { outFolder, architecture, viewerFolder } = options;
  const cacheFolder = join(outFolder, 'packages');
  const name = `archipel-edge-gateway-${VERSION}-linux-${architecture}`;
  const folder = join(outFolder, name);
  await rm(folder, { recursive: true, force: true });
  await bundleGateway({
    folder: join(folder, 'app'),
    platform: { os: 'linux', cpu: architecture },
    cacheFolder,
    sourceMaps: false,
  });
  await mkdir(join(folder, 'bin'));
  const node = await packageFolder(`node-linux-${architecture}`, cacheFolder);
  await copyProgram(join(node, 'bin/node'), join(folder, 'bin/node'));
  await copyFile(join(node, 'LICENSE'), join(folder, 'LICENSE.node'));
  await copyProgram(join(import.meta.dirname, 'archipel-edge-gateway.sh'), join(folder, 'bin/archipel-edge-gateway'));
  for (const file of besides) await copyFile(join(import.meta.dirname, file), join(folder, file));
  await chmod(join(folder, 'install.sh'), 0o755);
  await copyFile(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  await copyFile(join(root, 'CHANGELOG.md'), join(folder, 'CHANGELOG.md'));
  await copyFile(join(root, 'infra/RUNBOOK.md'), join(folder, 'RUNBOOK.md'));
  if (viewerFolder !== undefined) await cp(viewerFolder, join(folder, 'viewer'), { recursive: true });
  await writeFile(join(folder, 'VERSION'), `${VERSION}\n`);
  await writeFile(join(folder, 'ARCHITECTURE'), `linux-${architecture}\n`);
  await writeFile(join(folder, 'SHA256SUMS'), await checksums(folder));
  const archive = join(outFolder, `${name}.tar.gz`);
  await create({ file: archive, gzip: { level: 6 }, cwd: outFolder, portable: true }, [name]);
  await rm(folder, { recursive: true });
  return archive;
}

async function copyProgram(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await chmod(to, 0o755);
}

/** As `sha256sum --check` reads them. */
async function checksums(folder: string): Promise<string> {
  const lines: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if ((await stat(path)).isDirectory()) continue;
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    lines.push(`${hash.digest('hex')}  ${relative(folder, path)}`);
  }
  return `${lines.sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1)).join('\n')}\n`;
}
