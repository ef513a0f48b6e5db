/**
 * The gateway's process by its command line: settings are checked without a start, and each reason not to start has an exit
 * code of its own, which the service's unit relies on.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockFolder } from '#edge-gateway/cache/folder-lock.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-main-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function run(options: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = spawn(process.execPath, [resolve(import.meta.dirname, '../../edge-gateway/main.ts'), ...options], {
    env: {
      PATH: process.env.PATH,
      ARCHIPEL_EDGE_DATA: join(folder, 'data'),
      ARCHIPEL_LOG_LEVEL: 'silent',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, complaint] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint += chunk.toString();
  });
  const [code] = (await once(child, 'close')) as [number];
  return { code, out, complaint };
}

it('says that settings are right, or everything that is wrong with them', async () => {
  const file = join(folder, 'edge-gateway.toml');
  writeFileSync(file, 'aeTitle = "GATE"\n[cache]\nretentionDays = 30\n');
  expect(await run(['--check-settings', file])).toEqual({ code: 0, out: 'OK\n', complaint: '' });
  writeFileSync(file, 'aeTitle = "GATE"\n[cache]\nretentionDay = 30\nscrubDays = "x"\n');
  const { code, out, complaint } = await run(['--check-settings', file]);
  expect([code, out]).toEqual([78, '']);
  expect(complaint).toContain('line 4: cache.scrubDays is "x"; it must be a whole number from 0 to 365');
  expect(complaint).toContain('line 3: cache.retentionDay is no setting; did you mean retentionDays?');
});

it('says the version of its package', async () => {
  const file = new URL('../../package.json', import.meta.url);
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
  expect(await run(['--version'])).toMatchObject({ code: 0, out: `${version}\n` });
});

it('answers for its health when nobody does', async () => {
  const { code, out, complaint } = await run(['--health'], { ARCHIPEL_EDGE_HTTP_PORT: '9' });
  expect([code, out, complaint]).toEqual([1, '', 'Nothing answers at http://127.0.0.1:9/health.\n']);
});

it('refuses to work on a folder on which another process works', async () => {
  const lock = lockFolder(join(folder, 'data'));
  try {
    const { code, complaint } = await run([]);
    expect(code).toBe(75);
    expect(complaint).toMatch(/Another process works on .*stop it first/);
  } finally {
    lock.release();
  }
});

it('refuses a folder that a later version wrote, and says what to start', async () => {
  lockFolder(join(folder, 'data')).release();
  writeFileSync(join(folder, 'data/format.json'), '{"format":999,"writtenBy":"9.9.9"}');
  const { code, complaint } = await run([]);
  expect(code).toBe(65);
  expect(complaint).toContain('Start version 9.9.9 or a later one.');
});

it('explains an option that it does not know', async () => {
  const { code, complaint } = await run(['--chek-settings']);
  expect(code).toBe(78);
  expect(complaint).toContain('--check-settings FILE');
});
