/**
 * How many instances a second go in by C-STORE: our gateway (every answer after its fdatasync), DCMTK's `storescp +B`
 * (which syncs nothing) and Orthanc, on the same disk in the same run, from 1 and 4 storescu processes. Nagle's
 * algorithm is off everywhere, or DCMTK's own delays would be measured.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { encodeFileMeta } from '#shared/dicom/part10.ts';

const INSTANCES = 500;
/** Sent to each server before it is measured: they run for months, and are not judged by their first second. */
const WARM_UP_INSTANCES = 100;
const MATRIX = 512;
const ROUNDS = 3;
const SENDERS = [1, 4];
const CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2';
const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';

interface Peer {
  readonly name: string;
  /** Undefined when it can run here, else what is missing. */
  readonly missing: string | undefined;
  start(folder: string, port: number): ChildProcess;
}

interface Row {
  readonly perSecond: number;
  readonly rssMb: number;
}

export async function run(): Promise<void> {
  if (!isInstalled('storescu')) {
    console.log('SKIPPED: storescu is not here; install DCMTK (package dcmtk) to measure C-STORE');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'archipel-c-store-'));
  try {
    const inputs = new Map(
      SENDERS.map((senders) => [senders, writeInstances(join(folder, `in-${senders}`), senders, INSTANCES)]),
    );
    const warmUp = writeInstances(join(folder, 'warm-up'), 1, WARM_UP_INSTANCES, '2.25.78');
    console.log(
      `${INSTANCES} CT instances of ${(instanceBytes / 1e6).toFixed(2)} MB after ${WARM_UP_INSTANCES} to warm up, median of ${ROUNDS} rounds`,
    );
    const rows = new Map<string, Row[]>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const senders of SENDERS) {
        for (const peer of peers) {
          if (peer.missing !== undefined) {
            if (round === 0 && senders === SENDERS[0]) console.log(`SKIPPED: ${peer.name}: ${peer.missing}`);
            continue;
          }
          const key = `${peer.name} ${senders}`;
          const row = await measure(peer, join(folder, 'out'), warmUp, inputs.get(senders) ?? []);
          rows.set(key, [...(rows.get(key) ?? []), row]);
        }
      }
    }
    print(rows);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const peers: readonly Peer[] = [
  {
    name: 'archipel',
    missing: undefined,
    start: (folder, port) => {
      const module = JSON.stringify(join(import.meta.dirname, 'c-store-gateway.ts'));
      const code = `import(${module}).then(({ serve }) => serve(${JSON.stringify(folder)}, ${port}))`;
      return spawn(process.execPath, ['--max-semi-space-size=2', '-e', code], {
        env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
        stdio: ['ignore', 'inherit', 'inherit'],
      });
    },
  },
  {
    name: 'storescp +B',
    missing: isInstalled('storescp') ? undefined : 'storescp is not here (package dcmtk)',
    start: (folder, port) =>
      spawn('storescp', ['+B', '--fork', '-od', folder, `${port}`], {
        env: { ...process.env, TCP_NODELAY: '1' },
        stdio: 'ignore',
      }),
  },
  {
    name: 'Orthanc',
    missing: isInstalled('Orthanc') ? undefined : 'Orthanc is not here (package orthanc)',
    start: (folder, port) => {
      const settings = {
        StorageDirectory: folder,
        IndexDirectory: folder,
        DicomPort: port,
        HttpServerEnabled: false,
        DicomCheckCalledAet: false,
        DicomAlwaysAllowStore: true,
        DicomThreadsCount: 4,
      };
      writeFileSync(join(folder, 'orthanc.json'), JSON.stringify(settings));
      return spawn('Orthanc', [join(folder, 'orthanc.json')], {
        env: { ...process.env, TCP_NODELAY: '1' },
        stdio: 'ignore',
      });
    },
  },
];

async function measure(peer: Peer, folder: string, warmUp: readonly string[], inputs: readonly string[]): Promise<Row> {
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  const server = peer.start(folder, port);
  try {
    await listening(port, server);
    await Promise.all(warmUp.map((input) => send(input, port)));
    // What earlier rows left unwritten is not this one's debt.
    spawnSync('sync');
    let rssMb = 0;
    const sampling = setInterval(() => {
      rssMb = Math.max(rssMb, residentMb(server.pid));
    }, 50);
    const startedAtMs = performance.now();
    await Promise.all(inputs.map((input) => send(input, port)));
    const seconds = (performance.now() - startedAtMs) / 1000;
    clearInterval(sampling);
    return { perSecond: INSTANCES / seconds, rssMb };
  } finally {
    await end(server);
    rmSync(folder, { recursive: true });
  }
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null) return;
  const ended = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  const stubborn = setTimeout(() => server.kill('SIGKILL'), 20_000);
  await ended;
  clearTimeout(stubborn);
}

function send(input: string, port: number): Promise<void> {
  const storescu = spawn('storescu', ['+sd', '-aec', 'ARCHIPEL', '127.0.0.1', `${port}`, input], {
    env: { ...process.env, TCP_NODELAY: '1' },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return new Promise((resolve, reject) => {
    storescu.once('error', reject);
    storescu.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`storescu ended with ${code}`));
    });
  });
}

function print(rows: ReadonlyMap<string, readonly Row[]>): void {
  const median = (name: string, senders: number, of: (row: Row) => number): number | undefined => {
    const values = rows
      .get(`${name} ${senders}`)
      ?.map(of)
      .sort((a, b) => a - b);
    return values?.[Math.floor(values.length / 2)];
  };
  for (const senders of SENDERS) {
    console.log(`\n${senders} sender${senders === 1 ? '' : 's'}`);
    const ours = median('archipel', senders, (row) => row.perSecond) ?? Number.NaN;
    for (const { name } of peers) {
      const perSecond = median(name, senders, (row) => row.perSecond);
      if (perSecond === undefined) continue;
      const rssMb = median(name, senders, (row) => row.rssMb) ?? 0;
      const ratio = name === 'archipel' ? '' : `archipel / ${name}: ${(ours / perSecond).toFixed(2)}`;
      console.log(
        `  ${name.padEnd(12)} ${perSecond.toFixed(0).padStart(6)} instances/s  ${rssMb.toFixed(0).padStart(5)} MB RSS  ${ratio}`,
      );
    }
  }
}

let instanceBytes = 0;

/** The instances for so many senders, a folder and a series each; answers the folders. */
function writeInstances(folder: string, senders: number, instances: number, studyInstanceUid = '2.25.77'): string[] {
  const pixels = Buffer.alloc(MATRIX * MATRIX * 2);
  for (let i = 0; i < pixels.length; i += 2) pixels.writeUInt16LE((i * 2_654_435_761) & 0xfff, i);
  return Array.from({ length: senders }, (_, sender) => {
    const below = join(folder, `${sender}`);
    mkdirSync(below, { recursive: true });
    for (let i = sender; i < instances; i += senders) {
      const bytes = ctInstance(studyInstanceUid, `${studyInstanceUid}.${senders}.${sender}`, i, pixels);
      instanceBytes = bytes.length;
      writeFileSync(join(below, `${i}.dcm`), bytes);
    }
    return below;
  });
}

function ctInstance(studyInstanceUid: string, seriesInstanceUid: string, number: number, pixels: Uint8Array): Buffer {
  const sopInstanceUid = `${seriesInstanceUid}.${number}`;
  const us = (value: number) => Buffer.from([value & 0xff, value >> 8]);
  const elements = [
    element('08001600', 'UI', CT_IMAGE_STORAGE),
    element('08001800', 'UI', sopInstanceUid),
    element('08002000', 'DA', '20260102'),
    element('08006000', 'CS', 'CT'),
    element('10001000', 'PN', 'BENCH^C-STORE'),
    element('10002000', 'LO', 'BENCH'),
    element('20000d00', 'UI', studyInstanceUid),
    element('20000e00', 'UI', seriesInstanceUid),
    element('20001300', 'IS', `${number + 1}`),
    element('28000200', 'US', us(1)),
    element('28000400', 'CS', 'MONOCHROME2'),
    element('28001000', 'US', us(MATRIX)),
    element('28001100', 'US', us(MATRIX)),
    element('28000001', 'US', us(16)),
    element('28000101', 'US', us(12)),
    element('28000201', 'US', us(11)),
    element('28000301', 'US', us(0)),
  ];
  const header = Buffer.from('e07f10004f57000000000000', 'hex');
  header.writeUInt32LE(pixels.length, 8);
  const transferSyntaxUid = EXPLICIT_VR_LITTLE_ENDIAN;
  const meta = encodeFileMeta({ sopClassUid: CT_IMAGE_STORAGE, sopInstanceUid, transferSyntaxUid });
  return Buffer.concat([meta, ...elements, header, pixels]);
}

/** Explicit VR little endian, short form; the tag as it is encoded. */
function element(tag: string, vr: string, value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  const padding = Buffer.from(bytes.length % 2 === 0 ? '' : vr === 'UI' ? '\0' : ' ');
  const head = Buffer.concat([Buffer.from(tag, 'hex'), Buffer.from(vr), Buffer.alloc(2)]);
  head.writeUInt16LE(bytes.length + padding.length, 6);
  return Buffer.concat([head, bytes, padding]);
}

function isInstalled(program: string): boolean {
  try {
    execFileSync('which', [program], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function listening(port: number, server: ChildProcess): Promise<void> {
  while (server.exitCode === null) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`the server ended with ${server.exitCode} before it listened`);
}

/** Of a process and its children, as far as they run just now. */
function residentMb(pid: number | undefined): number {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]);
    const below = children === '' ? [] : children.split(' ').map((child) => residentMb(Number(child)));
    return below.reduce((sum, mb) => sum + mb, (pages * 4096) / 1e6);
  } catch {
    return 0;
  }
}
