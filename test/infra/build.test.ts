/**
 * The bundle of the gateway works where there is nothing but Node: built into a folder outside this checkout, it starts,
 * answers C-ECHO, takes an instance, draws it, seals its pack, makes its manifest and ends in order. All of its threads run.
 */
import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { packKey } from '#shared/archive/keys.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient, pathOf } from '#test/support/dicomweb-client.ts';
import { filesBelow } from '#test/support/samples.ts';
import { associate, send } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';

const build = resolve(import.meta.dirname, '../../infra/build.ts');
/** More than a file that is hashed without a thread. */
const instance = makeInstance({ seriesInstanceUid: freshUid(), rows: 1024, columns: 1024 });
const verification = { sopClassUid: '1.2.840.10008.1.1', transferSyntaxUid: '1.2.840.10008.1.2' };

it('runs from its bundle alone', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'archipel-bundle-'));
  const main = join(folder, 'edge-gateway/main.mjs');
  const data = join(folder, 'data');
  const start = () => {
    const env = {
      ...process.env,
      ARCHIPEL_EDGE_DATA: data,
      ARCHIPEL_EDGE_DICOM_PORT: '0',
      ARCHIPEL_EDGE_HTTP_PORT: '0',
      ARCHIPEL_EDGE_CLOUD_URL: 'http://127.0.0.1:9',
      ARCHIPEL_EDGE_DISK_RESERVE_MB: '16',
    };
    return fork(main, { cwd: folder, env, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  };
  let gateway: ReturnType<typeof start> | undefined;
  let said = '';
  const up = async (): Promise<{ dicomPort: number; httpPort: number }> => {
    gateway = start();
    for (const stream of [gateway.stdout, gateway.stderr])
      stream?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
    const early = once(gateway, 'exit').then(() => {
      throw new Error(`the gateway did not start: ${said}`);
    });
    const [ports] = await Promise.race([once(gateway, 'message'), early]);
    early.catch(() => {});
    return ports as { dicomPort: number; httpPort: number };
  };
  const down = async (): Promise<void> => {
    const ended = once(gateway!, 'exit');
    gateway?.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  };
  const picture = async (httpPort: number): Promise<string> => {
    const dicomweb = new DicomwebClient(`http://127.0.0.1:${httpPort}/dicomweb`);
    const response = await dicomweb.get(`${pathOf(instance.ref)}/rendered`, 'image/jpeg');
    return Buffer.from(await response.arrayBuffer()).toString('hex', 0, 2);
  };
  try {
    await promisify(execFile)(process.execPath, [build, folder]);
    let { dicomPort, httpPort } = await up();
    const association = await associate(dicomPort, [verification]);
    expect((await association.echo()).status).toBe(0);
    await association.release();
    expect(await send(dicomPort, [instance])).toEqual([0]);
    await until('the instance to be drawn', 10_000, () =>
      picture(httpPort).then(
        (magic) => magic === 'ffd8',
        () => false,
      ),
    );
    await down();
    // Ending sealed the pack; reading it again asks for its manifest.
    ({ dicomPort, httpPort } = await up());
    expect(await picture(httpPort)).toBe('ffd8');
    const packs = filesBelow(join(data, 'packs')).filter((path) => path.endsWith('.zip'));
    expect(packs.length).toBe(1);
    expect(packKey('default', { ...instance.ref, packId: /([^/]+)\.zip$/.exec(packs[0]!)![1]! })).toBe(
      packs[0]!.slice(join(data, 'packs/').length),
    );
    await until('the manifest', 10_000, async () => existsSync(packs[0]!.replace(/\.zip$/, '.manifest.zst')));
    expect(await picture(httpPort)).toBe('ffd8');
    await down();
    expect(said).not.toMatch(/"level":[56]0/);
  } finally {
    gateway?.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  }
});
