/**
 * The package for a bare machine: it runs with an empty environment, it installs into the root of a system, an upgrade keeps
 * settings and data, a version that does not come up is taken back by itself, and the one before can be had again.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { x as extract } from 'tar';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GatewayStatus } from '#edge-gateway/http/gateway-status.ts';
import { edgeSettingsOf } from '#edge-gateway/settings.ts';
import { packageGateway } from '#infra/edge/package.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { associate, send } from '#test/support/sender.ts';
import { freePorts, until } from '#test/support/system.ts';

const run = promisify(execFile);
const replace = (file: string, text: string): void => {
  rmSync(file);
  writeFileSync(file, text);
};
const canRun = process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64');
const isRoot = process.getuid?.() === 0;
if (!canRun) console.warn('SKIPPED: the package is for Linux on x64 and arm64');
if (!isRoot) console.warn('SKIPPED: installing needs root');
const verification = { sopClassUid: '1.2.840.10008.1.1', transferSyntaxUid: '1.2.840.10008.1.2' };
const bare = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' };

describe.skipIf(!canRun)('the package', () => {
  let work: string;
  let unpacked: string;
  let dicomPort: number;
  let httpPort: number;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'archipel-package-'));
    const archive = await packageGateway({ outFolder: work, architecture: process.arch as 'x64' | 'arm64' });
    await extract({ file: archive, cwd: work });
    unpacked = archive.replace(/\.tar\.gz$/, '');
    [dicomPort, httpPort] = (await freePorts(2)) as [number, number];
  });
  afterAll(() => rmSync(work, { recursive: true, force: true }));

  const settingsFile = (data: string): string =>
    `dataFolder = "${data}"\ncloudUrl = "http://127.0.0.1:9"\ndicomPort = ${dicomPort}\nhttpPort = ${httpPort}\n[cache]\nreserveMegabytes = 16\n`;
  const status = async (): Promise<GatewayStatus | undefined> => {
    const response = await fetch(`http://127.0.0.1:${httpPort}/status.json`).catch(() => undefined);
    return (await response?.json()) as GatewayStatus | undefined;
  };

  it('holds settings that are right, also in its example for cloud-init', () => {
    edgeSettingsOf(readFileSync(join(unpacked, 'edge-gateway.toml'), 'utf8'));
    const yaml = readFileSync(join(unpacked, 'cloud-init.yaml'), 'utf8');
    const block =
      /path: \/etc\/archipel\/edge-gateway\.toml\n.*\n +content: \|\n((?: {6}.*\n|\n)+)/.exec(yaml)?.[1] ?? '';
    const settings = edgeSettingsOf(block.replaceAll(/^ {6}/gm, ''));
    expect(settings).toMatchObject({ host: '0.0.0.0', dicomPort: 104, unknownCallers: 'rejected' });
    expect(settings.remoteAes.size).toBe(1);
  });

  it('runs with an empty environment: no npm, no Node, no PATH', async () => {
    const settings = join(work, 'settings.toml');
    const program = join(unpacked, 'bin/archipel-edge-gateway');
    writeFileSync(settings, settingsFile(join(work, 'data')));
    const env = { ARCHIPEL_EDGE_SETTINGS: settings };
    const gateway = spawn(program, [], { cwd: '/', env, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [gateway.stdout, gateway.stderr])
      stream.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    try {
      await until(
        () => `the gateway to be up: ${said}`,
        20_000,
        async () => (await status()) !== undefined,
      );
      const association = await associate(dicomPort, [verification]);
      expect((await association.echo()).status).toBe(0);
      await association.release();
      expect(await send(dicomPort, [makeInstance({ rows: 64, columns: 64 })])).toEqual([0]);
      expect((await run(program, ['--health'], { env })).stdout).toContain('"health":"ok"');
      // F18: a second process on one data folder.
      const second = spawn(program, [], { cwd: '/', env, stdio: 'ignore' });
      expect(await once(second, 'exit')).toEqual([75, null]);
      expect((await status())?.stored.instances).toBe(1);
      const ended = once(gateway, 'exit');
      gateway.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
      await expect(run(program, ['--health'], { env })).rejects.toMatchObject({ code: 1 });
      expect(said).not.toMatch(/"level":[56]0/);
    } finally {
      gateway.kill('SIGKILL');
    }
  });

  describe.skipIf(!isRoot)('installed', () => {
    let root: string;
    let env: Record<string, string>;
    const installed = (path: string): string => join(root, 'opt/archipel/edge-gateway', path);
    const link = (name: string): string => readlinkSync(installed(name));

    /** Another version: this one under another name, changed by `change`, with its sums made anew. */
    const versionOf = async (version: string, change = (_folder: string): void => {}): Promise<string> => {
      const folder = join(work, version);
      // Linked, since most of it is Node: what differs is written anew.
      await run('cp', ['-al', unpacked, folder]);
      replace(join(folder, 'VERSION'), `${version}\n`);
      change(folder);
      await run(
        'sh',
        [
          '-c',
          'find . -type f ! -name SHA256SUMS -printf "%P\\0" | xargs -0 sha256sum >../sums && mv ../sums SHA256SUMS',
        ],
        {
          cwd: folder,
        },
      );
      return folder;
    };
    const install = (folder: string, ...options: string[]) =>
      run(join(folder, 'install.sh'), ['--root', root, '--wait', '15', ...options], { env }).then(
        ({ stdout }) => ({ code: 0, said: stdout }),
        (error: { code: number; stdout: string; stderr: string }) => ({
          code: error.code,
          said: error.stdout + error.stderr,
        }),
      );

    beforeAll(async () => {
      root = join(work, 'root');
      for (const folder of ['etc', 'data']) mkdirSync(join(root, folder), { recursive: true });
      writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
      writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
      // Stands for systemd: one process, ended and started again.
      const systemctl = join(work, 'systemctl');
      writeFileSync(
        systemctl,
        `#!/bin/sh
[ "$1" = restart ] || [ "$1" = stop ] || exit 0
if [ -e "${work}/pid" ]; then
  kill "$(cat "${work}/pid")" 2>/dev/null
  while kill -0 "$(cat "${work}/pid")" 2>/dev/null; do sleep 0.1; done
  rm "${work}/pid"
fi
[ "$1" = restart ] || exit 0
export ARCHIPEL_EDGE_SETTINGS="${root}/etc/archipel/edge-gateway.toml" ARCHIPEL_EDGE_DATA="${root}/data"
"${installed('current')}/bin/archipel-edge-gateway" >>"${work}/log" 2>&1 &
echo $! >"${work}/pid"
`,
        { mode: 0o755 },
      );
      env = { ...bare, SYSTEMCTL: systemctl };
    });
    afterAll(() => run(join(work, 'systemctl'), ['stop']));

    it('lies in its place, owned by its user, its settings kept by whoever comes again', async () => {
      mkdirSync(join(root, 'etc/archipel'));
      const settings = join(root, 'etc/archipel/edge-gateway.toml');
      writeFileSync(settings, `# mine\n${settingsFile('/var/lib/archipel/edge-gateway')}`);
      const first = await install(unpacked);
      expect(first, first.said).toMatchObject({ code: 0 });
      const version = readFileSync(join(unpacked, 'VERSION'), 'utf8').trim();
      expect(link('current')).toBe(version);
      expect(existsSync(installed('previous'))).toBe(false);
      expect(readFileSync(settings, 'utf8')).toMatch(/^# mine/);
      expect(statSync(settings).mode & 0o777).toBe(0o640);
      const user = /^archipel:[^:]*:(\d+):(\d+):.*nologin$/m.exec(readFileSync(join(root, 'etc/passwd'), 'utf8'));
      expect(statSync(join(root, 'var/lib/archipel/edge-gateway')).uid).toBe(Number(user?.[1]));
      expect(statSync(settings).gid).toBe(Number(user?.[2]));
      expect(readFileSync(join(root, 'etc/systemd/system/archipel-edge-gateway.service'), 'utf8')).toContain(
        'ProtectSystem=strict',
      );
      expect(readlinkSync(join(root, 'usr/local/bin/archipel-edge-gateway'))).toBe(
        '/opt/archipel/edge-gateway/current/bin/archipel-edge-gateway',
      );
      expect((await status())?.health).toBe('ok');
      const pid = readFileSync(join(work, 'pid'), 'utf8');
      expect(await install(unpacked)).toMatchObject({ code: 0, said: expect.stringContaining('installed already') });
      expect(readFileSync(join(work, 'pid'), 'utf8')).toBe(pid);
    });

    it('goes to a later version and back, with all that it holds', async () => {
      expect(await send(dicomPort, [makeInstance({ rows: 64, columns: 64 })])).toEqual([0]);
      const before = link('current');
      const later = await versionOf('0.2.0');
      const upgrade = await install(later);
      expect(upgrade, upgrade.said).toMatchObject({ code: 0 });
      expect([link('current'), link('previous')]).toEqual(['0.2.0', before]);
      await until('the instance in the later version', 10_000, async () => (await status())?.backlog.instances === 1);
      const back = await install(later, '--rollback');
      expect(back, back.said).toMatchObject({ code: 0 });
      expect([link('current'), link('previous')]).toEqual([before, '0.2.0']);
      await until('the instance in the version before', 10_000, async () => (await status())?.backlog.instances === 1);
      expect(await send(dicomPort, [makeInstance({ rows: 64, columns: 64 })])).toEqual([0]);
    });

    it('takes back a version that does not come up', async () => {
      const before = link('current');
      const broken = await versionOf('0.3.0', (folder) =>
        replace(
          join(folder, 'app/main.mjs'),
          "if (process.argv[2] === undefined) process.exit(1);\nif (process.argv[2] === '--health') process.exit(1);\nconsole.log('/var/lib/archipel/edge-gateway');\n",
        ),
      );
      const { code, said } = await install(broken, '--wait', '3');
      expect([code, said]).toEqual([1, expect.stringContaining(`Version ${before} runs again`)]);
      expect(link('current')).toBe(before);
      expect(await status()).toMatchObject({ health: 'ok', backlog: { instances: 2 } });
    });

    it('changes nothing when package or settings are not right', async () => {
      const before = link('current');
      const damaged = await versionOf('0.4.0');
      replace(join(damaged, 'app/main.mjs'), '');
      expect(await install(damaged)).toMatchObject({
        code: 1,
        said: expect.stringContaining('This package is damaged'),
      });
      const settings = join(root, 'etc/archipel/edge-gateway.toml');
      const text = readFileSync(settings, 'utf8');
      writeFileSync(settings, `retention = 3\n${text}`);
      const { code, said } = await install(await versionOf('0.5.0'));
      expect([code, said]).toEqual([1, expect.stringContaining('line 1: retention is no setting')]);
      expect(said).toContain('Nothing was changed.');
      writeFileSync(settings, text);
      expect(link('current')).toBe(before);
      expect(existsSync(installed('0.5.0'))).toBe(false);
    });

    it('keeps the version before, and no more', async () => {
      for (const version of ['0.6.0', '0.7.0']) {
        const { code, said } = await install(await versionOf(version));
        expect(code, said).toBe(0);
      }
      const { stdout } = await run('ls', [installed('')]);
      expect(stdout.trim().split('\n')).toEqual(['0.6.0', '0.7.0', 'current', 'previous']);
    });
  });
});
