/**
 * The servers that are measured against each other, each a process of its own on the same disk: the gateway as a hospital runs it, DCMTK's
 * `storescp +B` (which syncs nothing), and Orthanc with its DICOMweb plugin. Nagle's algorithm is off everywhere, or
 * DCMTK's own delays would be measured.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';

const ORTHANC_DICOMWEB = '/usr/share/orthanc/plugins/libOrthancDicomWeb.so';
/** Nobody listens there: a gateway whose cloud is away. */
const NO_CLOUD = 'http://127.0.0.1:9';
/** A server that never rests is measured as it is. */
const SETTLE_MS = 120_000;
/** In a second. */
const CALM_TICKS = 5;
const END_MS = 20_000;

export const peerEnvironment = { ...process.env, TCP_NODELAY: '1' };

/** Destination of retrievals: its port is known to a server from its start. */
export interface Destination {
  readonly aeTitle: string;
  readonly port: number;
}

export interface ServerOptions {
  readonly folder: string;
  readonly destination?: Destination;
  readonly cloudUrl?: string;
}

export interface RunningServer {
  readonly dicomPort: number;
  /** Of its DICOMweb; undefined where there is none. */
  readonly dicomweb: string | undefined;
  /** Of the process and its children now, in MB. */
  residentMb(): number;
  /** Resolves when it has done what it does by itself after it was filled: no more than a twentieth of a core for two seconds. */
  atRest(): Promise<void>;
  stop(): Promise<void>;
}

export interface ServerKind {
  readonly name: 'archipel' | 'storescp +B' | 'Orthanc';
  /** Undefined when it can run here, else what is missing. */
  readonly missing: string | undefined;
  start(options: ServerOptions): Promise<RunningServer>;
}

export const archipel: ServerKind = {
  name: 'archipel',
  missing: undefined,
  async start({ folder, destination, cloudUrl = NO_CLOUD }) {
    const [dicomPort, httpPort] = [await freePort(), await freePort()];
    const environment = {
      ARCHIPEL_EDGE_DATA: folder,
      ARCHIPEL_EDGE_DICOM_PORT: String(dicomPort),
      ARCHIPEL_EDGE_HTTP_PORT: String(httpPort),
      ARCHIPEL_EDGE_CLOUD_URL: cloudUrl,
      ARCHIPEL_EDGE_DISK_RESERVE_MB: '64',
      ARCHIPEL_LOG_LEVEL: 'error',
      ...(destination === undefined
        ? {}
        : { ARCHIPEL_EDGE_REMOTE_AES: `${destination.aeTitle}=127.0.0.1:${destination.port}` }),
      UV_THREADPOOL_SIZE: '16',
    };
    const main = resolve(import.meta.dirname, '../../edge-gateway/main.ts');
    const flags = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=2'];
    const child = spawn(process.execPath, [...flags, main], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return running(child, dicomPort, `http://127.0.0.1:${httpPort}/dicomweb`, httpPort);
  },
};

export const storescp: ServerKind = {
  name: 'storescp +B',
  missing: isInstalled('storescp') ? undefined : 'storescp is not here (package dcmtk)',
  async start({ folder }) {
    const port = await freePort();
    const child = spawn('storescp', ['+B', '--fork', '-od', folder, `${port}`], {
      env: peerEnvironment,
      stdio: 'ignore',
    });
    return running(child, port, undefined);
  },
};

export const orthanc: ServerKind = {
  name: 'Orthanc',
  missing: isInstalled('Orthanc') ? undefined : 'Orthanc is not here (package orthanc)',
  async start({ folder, destination }) {
    const [dicomPort, httpPort] = [await freePort(), await freePort()];
    const hasDicomweb = existsSync(ORTHANC_DICOMWEB);
    const settings = {
      StorageDirectory: folder,
      IndexDirectory: folder,
      DicomPort: dicomPort,
      HttpServerEnabled: true,
      HttpPort: httpPort,
      AuthenticationEnabled: false,
      RemoteAccessAllowed: false,
      DicomCheckCalledAet: false,
      DicomAlwaysAllowStore: true,
      DicomAlwaysAllowFind: true,
      DicomAlwaysAllowGet: true,
      DicomAlwaysAllowMove: true,
      DicomModalities:
        destination === undefined ? {} : { destination: [destination.aeTitle, '127.0.0.1', destination.port] },
      Plugins: hasDicomweb ? [ORTHANC_DICOMWEB] : [],
      DicomWeb: { Enable: true, Root: '/dicom-web/' },
    };
    writeFileSync(join(folder, 'orthanc.json'), JSON.stringify(settings));
    const child = spawn('Orthanc', [join(folder, 'orthanc.json')], { env: peerEnvironment, stdio: 'ignore' });
    const dicomweb = hasDicomweb ? `http://127.0.0.1:${httpPort}/dicom-web` : undefined;
    return running(child, dicomPort, dicomweb, httpPort);
  },
};

/** Those of them that can run here; says of the others what is missing. */
export function installed(kinds: readonly ServerKind[]): ServerKind[] {
  for (const { name, missing } of kinds) if (missing !== undefined) console.log(`SKIPPED: ${name}: ${missing}`);
  return kinds.filter(({ missing }) => missing === undefined);
}

/** Starts a server on a new folder, does the work, ends the server. */
export async function during<T>(
  kind: ServerKind,
  options: ServerOptions,
  work: (server: RunningServer) => Promise<T>,
): Promise<T> {
  mkdirSync(options.folder, { recursive: true });
  const server = await kind.start(options);
  try {
    return await work(server);
  } finally {
    await server.stop();
  }
}

/** The largest resident memory while the work is done, in MB. */
export async function withPeakMemory<T>(
  server: RunningServer,
  work: () => Promise<T>,
): Promise<{ result: T; peakMb: number; growthMb: number }> {
  const beforeMb = server.residentMb();
  let peakMb = beforeMb;
  const sampling = setInterval(() => {
    peakMb = Math.max(peakMb, server.residentMb());
  }, 50);
  try {
    const result = await work();
    return { result, peakMb, growthMb: peakMb - beforeMb };
  } finally {
    clearInterval(sampling);
  }
}

async function running(
  child: ChildProcess,
  dicomPort: number,
  dicomweb: string | undefined,
  httpPort?: number,
): Promise<RunningServer> {
  await listening(dicomPort, child);
  if (httpPort !== undefined) await listening(httpPort, child);
  return {
    dicomPort,
    dicomweb,
    residentMb: () => residentMb(child.pid),
    async atRest() {
      const endMs = performance.now() + SETTLE_MS;
      for (let calm = 0; calm < 2 && performance.now() < endMs; ) {
        const before = cpuTicks(child.pid);
        await new Promise((done) => setTimeout(done, 1_000));
        calm = cpuTicks(child.pid) - before <= CALM_TICKS ? calm + 1 : 0;
      }
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((done) => child.once('exit', done));
      child.kill('SIGTERM');
      const stubborn = setTimeout(() => child.kill('SIGKILL'), END_MS);
      await ended;
      clearTimeout(stubborn);
    },
  };
}

export function isInstalled(program: string): boolean {
  try {
    execFileSync('which', [program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Resolves when something listens there; rejects when the process has ended. */
export async function listening(port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null && child.signalCode === null) {
    const isOpen = await new Promise<boolean>((done) => {
      const socket = connect(port, '127.0.0.1', () => done(true)).once('error', () => done(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error(`the server ended with ${child.exitCode ?? child.signalCode} before it listened`);
}

/** Hundredths of a second that a process has used, its own and the kernel's for it. */
function cpuTicks(pid: number | undefined): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** Of a process and its children, as far as they run just now. */
function residentMb(pid: number | undefined): number {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    const below = children === '' ? [] : children.split(' ').map((one) => residentMb(Number(one)));
    return below.reduce((sum, mb) => sum + mb, (pages * 4096) / 1e6);
  } catch {
    return 0;
  }
}
