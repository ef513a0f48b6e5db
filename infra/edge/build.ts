/**
 * Makes what is installed in a hospital: `node infra/edge/build.ts [folder] [x64|arm64 ...]`, default dist and x64 and arm64. What a
 * platform needs and is not installed here is fetched through npm; without a network that platform is skipped with a sentence.
 */
import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { viewerFolderIn } from '../local/viewer-package.ts';
import { type Architecture, packageGateway } from './package.ts';

const root = resolve(import.meta.dirname, '../..');
const [folder = join(root, 'dist'), ...wanted] = process.argv.slice(2);
const architectures: readonly Architecture[] = ['x64', 'arm64'];
const chosen = architectures.filter((architecture) => wanted.length === 0 || wanted.includes(architecture));
const viewerFolder = viewerFolderIn(join(root, 'data/viewer'));
const hasViewer = existsSync(join(viewerFolder, 'index.html'));

let made = 0;
for (const architecture of chosen) {
  try {
    const options = { outFolder: resolve(folder), architecture, ...(hasViewer ? { viewerFolder } : {}) };
    const archive = await packageGateway(options);
    const { size } = await stat(archive);
    process.stdout.write(`${archive} ${(size / 1e6).toFixed(0)} MB${hasViewer ? ', with the viewer' : ''}\n`);
    made++;
  } catch (error) {
    process.stderr.write(`SKIPPED linux-${architecture}: ${(error as Error).message}\n`);
  }
}
if (made === 0) process.exitCode = 1;
