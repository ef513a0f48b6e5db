/**
 * One hospital and its cloud for fault tests: the cloud in this process, the gateway in its own, which may be killed and
 * started again and again on the same folder and ports.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import type { GatewayStatus } from '#edge-gateway/http/gateway-status.ts';
import { type LocalCloud, startLocalCloud } from '#infra/local/cloud.ts';
import { silentLogger } from '#shared/log.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { freePorts, gone, until } from '#test/support/system.ts';
import type { Acknowledged } from './modality.ts';
import { judge, type Verdict } from './verdict.ts';

const main = resolve(import.meta.dirname, '../../edge-gateway/main.ts');

/** A cloud in this process and a gateway in its own, as in a hospital; the gateway may be started again and again. */
export class Site implements AsyncDisposable {
  readonly folder: string;
  readonly edgeFolder: string;
  readonly cloud: LocalCloud;
  readonly dicomPort: number;
  /** Lines of the gateway's log that tell of errors. */
  readonly errors: string[] = [];
  readonly #httpPort: number;
  #gateway: ChildProcess | undefined;

  private constructor(folder: string, edgeFolder: string, cloud: LocalCloud, ports: readonly number[]) {
    this.folder = folder;
    this.edgeFolder = edgeFolder;
    this.cloud = cloud;
    this.dicomPort = ports[0]!;
    this.#httpPort = ports[1]!;
  }

  /**
   * @param edgeFolder where the gateway keeps its data; below a temporary folder unless said otherwise
   * @param settings of the gateway, as its settings file has them (TOML)
   * @param publicOrigin of the cloud, where a proxy stands before it
   */
  static async create(edgeFolder?: string, settings = '', publicOrigin?: () => string): Promise<Site> {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-crash-'));
    const cloud = await startLocalCloud({
      folder: join(folder, 'cloud'),
      host: '127.0.0.1',
      port: 0,
      tenant: 'default',
      viewer: () => ({ kind: 'missing', reason: 'this is a test.' }),
      log: silentLogger,
      ...(publicOrigin === undefined ? {} : { publicOrigin }),
    });
    writeFileSync(join(folder, 'settings.toml'), settings);
    return new Site(folder, edgeFolder ?? join(folder, 'edge'), cloud, await freePorts(2));
  }

  get gateway(): ChildProcess {
    if (this.#gateway === undefined) throw new Error('the gateway was not started');
    return this.#gateway;
  }

  /** The gateway's HTTP port. */
  get gatewayUrl(): string {
    return `http://127.0.0.1:${this.#httpPort}`;
  }

  /** Resolves when it listens, with how long that took. */
  async startGateway(environment: Readonly<Record<string, string>> = {}): Promise<number> {
    const startedAtMs = performance.now();
    const child = fork(main, {
      env: {
        ...process.env,
        ARCHIPEL_EDGE_DATA: this.edgeFolder,
        ARCHIPEL_EDGE_DICOM_PORT: String(this.dicomPort),
        ARCHIPEL_EDGE_HTTP_PORT: String(this.#httpPort),
        ARCHIPEL_EDGE_CLOUD_URL: this.cloud.url,
        ARCHIPEL_EDGE_SETTINGS: join(this.folder, 'settings.toml'),
        ARCHIPEL_EDGE_DISK_RESERVE_MB: '64',
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    this.#gateway = child;
    if (child.stdout !== null)
      createInterface(child.stdout).on('line', (line) => {
        if (line.includes('"level":"error"')) this.errors.push(line);
      });
    let complaint = '';
    child.stderr?.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    await new Promise<void>((ready, fail) => {
      child.once('message', () => ready());
      child.once('exit', (code, signal) => fail(new Error(`the gateway ended (${signal ?? code}): ${complaint}`)));
    });
    return performance.now() - startedAtMs;
  }

  /** SIGKILL; resolves when it is gone. */
  async killGateway(): Promise<void> {
    const pid = this.#gateway?.pid;
    this.#gateway?.kill('SIGKILL');
    if (pid !== undefined) await gone([pid]);
  }

  /** Resolves when the cloud has confirmed everything that the gateway holds. */
  async waitUntilDrained(timeoutMs = 60_000): Promise<void> {
    await until('everything to be archived', timeoutMs, async () => {
      const { backlog, packs } = await this.status();
      if (packs.rejected.packs > 0) throw new Error(`the cloud rejected packs: ${await this.rejections()}`);
      return backlog.packs === 0;
    });
  }

  /** By the cloud, with its reasons. */
  async rejections(): Promise<string> {
    const { items } = await this.cloud.archive.index.packsInState('default', 'rejected', { limit: 100 });
    return items.map(({ packId, reason }) => `${packId}: ${reason}`).join('\n');
  }

  async status(): Promise<GatewayStatus> {
    const response = await fetch(`${this.gatewayUrl}/status.json`, { signal: AbortSignal.timeout(10_000) });
    return (await response.json()) as GatewayStatus;
  }

  judge(acknowledged: readonly Acknowledged[]): Promise<Verdict> {
    return judge(acknowledged, new DicomwebClient(`${this.cloud.url}/dicomweb`), join(this.folder, 'cloud', 'packs'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killGateway();
    await this.cloud.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
