/**
 * Two processes never work on one data folder; a lock never outlives its process, however that ended.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockFolder } from '#edge-gateway/cache/folder-lock.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('refuses a second holder with a sentence, and lets one in after a release', () => {
  const lock = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(/Another process works on .*stop it first/);
  lock.release();
  lockFolder(folder).release();
});

it('is gone with its process, even after a kill -9', async () => {
  const module = resolve(import.meta.dirname, '../../../edge-gateway/cache/folder-lock.ts');
  const code = `import { lockFolder } from ${JSON.stringify(module)}; globalThis.lock = lockFolder(${JSON.stringify(folder)}); console.log('held'); setInterval(() => {}, 1000)`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  expect(() => lockFolder(folder)).toThrow(/Another process/);
  child.kill('SIGKILL');
  await once(child, 'exit');
  lockFolder(folder).release();
});
