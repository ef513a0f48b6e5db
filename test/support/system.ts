/**
 * The whole of Archipel on this machine as processes of their own, as `npm start` runs it: started, watched, killed in
 * every way and started again on the same folder and ports. What goes in and comes out, tests do by DIMSE and HTTP.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { GatewayStatus } from '#edge-gateway/http/gateway-status.ts';
import { DicomwebClient } from './dicomweb-client.ts';

export const AE_TITLE = 'ARCHIPEL';
const main = resolve(import.meta.dirname, '../../infra/local/main.ts');
const POLL_MS = 25;
const START_TIMEOUT_MS = 60_000;

export interface SystemOptions {
  /** Everything is kept here, over any number of restarts. */
  readonly folder: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Starts it and resolves when the cloud and the gateway answer. The caller ends it with `stop` or `killEverything`. */
export async function startSystem(options: SystemOptions): Promise<System> {
  const [cloudPort, dicomPort, httpPort] = await freePorts(3);
  const system = new System(options, { cloudPort: cloudPort!, dicomPort: dicomPort!, httpPort: httpPort! });
  await system.start();
  return system;
}

export class System {
  readonly folder: string;
  readonly cloudUrl: string;
  readonly gatewayUrl: string;
  readonly dicomPort: number;
  readonly dicomweb: DicomwebClient;
  readonly #environment: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #said = '';

  /** Use `startSystem`. */
  constructor(options: SystemOptions, ports: { cloudPort: number; dicomPort: number; httpPort: number }) {
    this.folder = options.folder;
    this.cloudUrl = `http://127.0.0.1:${ports.cloudPort}`;
    this.gatewayUrl = `http://127.0.0.1:${ports.httpPort}`;
    this.dicomPort = ports.dicomPort;
    this.dicomweb = new DicomwebClient(`${this.cloudUrl}/dicomweb`);
    this.#environment = {
      ...process.env,
      ARCHIPEL_DATA: options.folder,
      ARCHIPEL_CLOUD_PORT: String(ports.cloudPort),
      ARCHIPEL_EDGE_DICOM_PORT: String(ports.dicomPort),
      ARCHIPEL_EDGE_HTTP_PORT: String(ports.httpPort),
      ARCHIPEL_EDGE_AE_TITLE: AE_TITLE,
      ARCHIPEL_EDGE_DISK_RESERVE_MB: '64',
      ARCHIPEL_VIEWER: 'off',
      ...options.environment,
    };
  }

  /** What it has said on standard output and standard error since it was started last. */
  get said(): string {
    return this.#said;
  }

  /** Resolves when both halves answer, with how long that took; rejects with the process's own words when it ends before. */
  async start(): Promise<number> {
    const startedAtMs = performance.now();
    this.launch();
    await this.waitUntilUp();
    return performance.now() - startedAtMs;
  }

  /** Starts the processes and does not wait for anything. A process group of their own, so that one signal reaches all. */
  launch(): void {
    this.#said = '';
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main], {
      env: this.#environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => {
        this.#said = (this.#said + chunk.toString()).slice(-10_000);
      });
    this.#child = child;
  }

  async waitUntilUp(timeoutMs = START_TIMEOUT_MS): Promise<void> {
    const answers = (url: string): Promise<boolean> =>
      fetch(url, { signal: AbortSignal.timeout(5_000) }).then(
        async (response) => {
          await response.arrayBuffer();
          return true;
        },
        () => false,
      );
    await until('the cloud and the gateway to answer', timeoutMs, async () => {
      const child = this.#child;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the system ended while it was starting: ${this.#said.trim()}`);
      return (
        (await answers(`${this.gatewayUrl}/health`)) && (await answers(`${this.cloudUrl}/dicomweb/studies?limit=1`))
      );
    });
  }

  /** Of the process that holds the cloud. */
  get cloudPid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the system was not started');
    return pid;
  }

  /** Of the gateway's process, the child of the cloud's; undefined while there is none. */
  gatewayPid(): number | undefined {
    return childrenOf(this.cloudPid)[0];
  }

  /** SIGKILL to cloud and gateway at once; resolves when both are gone. */
  async killEverything(): Promise<void> {
    const pids = [this.cloudPid, ...childrenOf(this.cloudPid)];
    signalGroup(this.cloudPid);
    await gone(pids);
  }

  /** SIGKILL to the gateway; the cloud's process starts it again by itself. False: there was none at this moment. */
  async killGateway(): Promise<boolean> {
    const pid = this.gatewayPid();
    if (pid === undefined) return false;
    process.kill(pid, 'SIGKILL');
    await gone([pid]);
    return true;
  }

  /** SIGKILL to the cloud; resolves when the gateway, which ends by itself when its parent is gone, is gone too. */
  async killCloud(): Promise<void> {
    const pids = [this.cloudPid, ...childrenOf(this.cloudPid)];
    process.kill(this.cloudPid, 'SIGKILL');
    await gone(pids);
  }

  /** SIGTERM, as a supervisor sends it; resolves when all is gone, with the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const pids = [this.cloudPid, ...childrenOf(this.cloudPid)];
    child.kill('SIGTERM');
    await gone(pids);
    await until('the exit code', 5_000, async () => child.exitCode !== null || child.signalCode !== null);
    return child.exitCode;
  }

  async status(): Promise<GatewayStatus> {
    const response = await fetch(`${this.gatewayUrl}/status.json`, { signal: AbortSignal.timeout(10_000) });
    return (await response.json()) as GatewayStatus;
  }

  /**
   * Resolves when the cloud has confirmed everything that the gateway holds, and at least so many instances in all. Throws
   * at once when the cloud has rejected a pack: that is never right.
   */
  async waitUntilArchived(instances: number, timeoutMs = 60_000): Promise<GatewayStatus> {
    let last: GatewayStatus | undefined;
    await until(
      () => `${instances} instances to be archived; the gateway says ${JSON.stringify(last?.packs)}`,
      timeoutMs,
      async () => {
        last = await this.status().catch(() => undefined);
        if (last === undefined) return false;
        if (last.packs.rejected.packs > 0)
          throw new Error(`the cloud rejected packs: ${[...last.alarms, ...last.warnings].join(' ')}`);
        return last.backlog.packs === 0 && last.packs.archived.instances >= instances;
      },
    );
    return last!;
  }
}

/** Looks again and again until it holds; throws with what it was waiting for. */
export async function until(
  what: string | (() => string),
  timeoutMs: number,
  holds: () => Promise<boolean>,
): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > endMs)
      throw new Error(`waited ${timeoutMs} ms for ${typeof what === 'string' ? what : what()}`);
    await pause(POLL_MS);
  }
}

/**
 * Ports of the loopback interface that nobody listens on, below those that systems give to outgoing connections: a port must
 * still be free when a killed process is started again, and a sender that keeps trying it must not connect to itself.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const server = createServer();
    server.once('error', () => answer(false));
    server.listen(port, '127.0.0.1', () => server.close(() => answer(true)));
  });
}

/** A value of /proc/<pid>/status in kB, such as VmRSS or VmHWM. */
export function processMemoryKb(pid: number, name: 'VmRSS' | 'VmHWM'): number {
  const line = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1] ?? 0);
}

/** Resolves when none of them runs any more. A killed process whose parent does not ask for it counts as gone. */
export async function gone(pids: readonly number[], timeoutMs = 30_000): Promise<void> {
  await until(`the processes ${pids.join(', ')} to end`, timeoutMs, async () => !pids.some(isRunning));
}

/** A killed process whose parent does not ask for it does not run. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const isZombie = stateAndParent(pid).state === 'Z';
    // Its files and locks are held until its last thread is gone.
    return !isZombie || readdirSync(`/proc/${pid}/task`).length > 1;
  } catch {
    return process.platform !== 'linux';
  }
}

/** /proc/<pid>/stat: the name in parentheses may hold anything, so count from behind it. */
function stateAndParent(pid: number): { state: string; parent: number } {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const [state, parent] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: state ?? '', parent: Number(parent) };
}

function childrenOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const found = stateAndParent(pid);
        return found.parent === parent && found.state !== 'Z';
      } catch {
        return false;
      }
    });
}

function signalGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Files below a folder whose names say that somebody was not done with them: temporary ones, and packs still open. */
export function unfinishedFiles(dataFolder: string): string[] {
  return readdirSync(dataFolder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => /(^|\/)(open|incoming|\.incoming)\//.test(path.slice(dataFolder.length)));
}
