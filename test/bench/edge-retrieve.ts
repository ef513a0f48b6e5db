/**
 * Retrieval on the LAN: a series of CT by C-GET (getscu), by C-MOVE to a `storescp +B`, and by WADO-RS, in MB/s against Orthanc; and
 * one frame and one rendered picture at a time.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { sendFiles } from '#edge-gateway/dimse/send.ts';
import { instanceBytes, writeInstances } from './instances.ts';
import {
  archipel,
  during,
  freePort,
  installed,
  isInstalled,
  listening,
  orthanc,
  peerEnvironment,
  type RunningServer,
  withPeakMemory,
} from './servers.ts';
import { median, printRows, quantile } from './table.ts';

const INSTANCES = 300;
const ROUNDS = 3;
const FRAMES = 100;
const STUDY = '2.25.77';
const SERIES = `${STUDY}.1.0`;
const DESTINATION = 'BENCHSCP';

interface Figure {
  readonly title: string;
  readonly unit: 'MB/s' | 'ms';
  readonly value: number;
}

export async function run(): Promise<void> {
  if (!isInstalled('getscu') || !isInstalled('movescu') || !isInstalled('storescp')) {
    console.log('SKIPPED: getscu, movescu and storescp are not here; install DCMTK (package dcmtk)');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  const receiving = await startReceiver(join(folder, 'received'));
  const found: { name: string; peakMb: number; figures: Figure[] }[] = [];
  try {
    const [input] = writeInstances(join(folder, 'in'), 1, INSTANCES);
    const files = readdirSync(input ?? '').map((name) => join(input ?? '', name));
    for (const kind of installed([archipel, orthanc])) {
      const destination = { aeTitle: DESTINATION, port: receiving.port };
      const row = await during(kind, { folder: join(folder, kind.name), destination }, async (server) => {
        const { dicomPort: port } = server;
        await sendFiles({ host: '127.0.0.1', port, callingAeTitle: 'BENCH', calledAeTitle: 'ARCHIPEL', files });
        await settled(server);
        await server.atRest();
        const { result, peakMb } = await withPeakMemory(server, () => retrieve(server, folder));
        return { name: kind.name, peakMb, figures: result };
      });
      found.push(row);
      rmSync(join(folder, kind.name), { recursive: true });
    }
  } finally {
    receiving.child.kill('SIGTERM');
    rmSync(folder, { recursive: true, force: true });
  }
  for (const { title, unit } of found[0]?.figures ?? [])
    printRows(
      title,
      unit,
      found.flatMap(({ name, peakMb, figures }) => {
        const figure = figures.find((one) => one.title === title);
        return figure === undefined ? [] : [{ name, value: figure.value, peakMb }];
      }),
    );
}

async function retrieve(server: RunningServer, folder: string): Promise<Figure[]> {
  const megabytes = (INSTANCES * instanceBytes) / 1e6;
  const rate = async (work: () => Promise<void>): Promise<number> => {
    const rates: number[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      const startedAtMs = performance.now();
      await work();
      rates.push(megabytes / ((performance.now() - startedAtMs) / 1000));
    }
    return median(rates);
  };
  const keys = [
    '-k',
    'QueryRetrieveLevel=SERIES',
    '-k',
    `StudyInstanceUID=${STUDY}`,
    '-k',
    `SeriesInstanceUID=${SERIES}`,
  ];
  const address = ['127.0.0.1', `${server.dicomPort}`];
  const got = join(folder, 'got');
  const count = `of a series of ${INSTANCES} CT`;
  const figures: Figure[] = [
    {
      title: `C-GET ${count}`,
      unit: 'MB/s',
      value: await rate(async () => {
        mkdirSync(got);
        await program('getscu', ['-S', '+B', '-aec', 'ARCHIPEL', '-od', got, ...keys, ...address]);
        if (readdirSync(got).length !== INSTANCES) throw new Error('getscu did not get all');
        rmSync(got, { recursive: true });
      }),
    },
    {
      title: `C-MOVE ${count} to storescp +B`,
      unit: 'MB/s',
      value: await rate(() => program('movescu', ['-S', '-aec', 'ARCHIPEL', '-aem', DESTINATION, ...keys, ...address])),
    },
  ];
  if (server.dicomweb === undefined) return figures;
  const series = `${server.dicomweb}/studies/${STUDY}/series/${SERIES}`;
  const part = (type: string): string => `multipart/related; type="${type}"; transfer-syntax=*`;
  figures.push({
    title: `WADO-RS ${count}`,
    unit: 'MB/s',
    // By a client that is no slower than the servers.
    value: await rate(() =>
      program('curl', ['-sSf', '-o', '/dev/null', '-H', `Accept: ${part('application/dicom')}`, series]),
    ),
  });
  const frame = (i: number): string => `${series}/instances/${SERIES}.${i % INSTANCES}/frames/1`;
  const times = async (urlOf: (i: number) => string, accept: string): Promise<number[]> => {
    const found: number[] = [];
    for (let i = 0; i < FRAMES; i++) {
      const startedAtMs = performance.now();
      await drain(urlOf(i), accept);
      found.push(performance.now() - startedAtMs);
    }
    return found;
  };
  const frameTimes = await times(frame, part('application/octet-stream'));
  const pictureTimes = await times((i) => `${frame(i)}/rendered`, 'image/jpeg');
  const metadata = await times(() => `${series}/metadata`, 'application/dicom+json');
  figures.push({ title: 'one frame, p50', unit: 'ms', value: quantile(frameTimes, 0.5) });
  figures.push({ title: 'one rendered picture, p50', unit: 'ms', value: quantile(pictureTimes, 0.5) });
  figures.push({ title: `metadata ${count}, p50`, unit: 'ms', value: quantile(metadata, 0.5) });
  return figures;
}

async function drain(url: string, accept: string): Promise<void> {
  const response = await fetch(url, { headers: { Accept: accept, 'Accept-Encoding': 'identity' } });
  for await (const _ of response.body ?? []);
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
}

/** All that was stored is known at the series' level. */
async function settled(server: RunningServer): Promise<void> {
  if (server.dicomweb === undefined) return;
  for (;;) {
    const response = await fetch(`${server.dicomweb}/studies/${STUDY}/instances`, {
      headers: { Accept: 'application/dicom+json' },
    });
    if (response.status === 200 && ((await response.json()) as unknown[]).length === INSTANCES) return;
    await new Promise((done) => setTimeout(done, 500));
  }
}

async function startReceiver(folder: string): Promise<{ child: ChildProcess; port: number }> {
  mkdirSync(folder);
  const port = await freePort();
  const child = spawn('storescp', ['+B', '-od', folder, '-aet', DESTINATION, `${port}`], {
    env: peerEnvironment,
    stdio: 'ignore',
  });
  await listening(port, child);
  return { child, port };
}

async function program(name: string, parameters: readonly string[]): Promise<void> {
  const child = spawn(name, parameters, { env: peerEnvironment, stdio: ['ignore', 'ignore', 'inherit'] });
  const code = await new Promise((done) => child.once('exit', done));
  if (code !== 0) throw new Error(`${name} ended with ${code}`);
}
