/**
 * C-FIND and QIDO-RS among 2,000 studies, or as many as ARCHIPEL_BENCH_STUDIES says, against Orthanc. DCMTK's findscu asks both, so that
 * its own time stands in both figures. Both are filled by C-STORE; of very many studies our index is filled beforehand, with
 * packs that are in the cloud, since what is measured is the index and not a disk full of small packs.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { smallStudy } from './instances.ts';
import {
  archipel,
  during,
  installed,
  isInstalled,
  orthanc,
  peerEnvironment,
  type RunningServer,
  withPeakMemory,
} from './servers.ts';
import { BY_STORE, indexStudies, storeStudies } from './studies.ts';
import { median, printRows, quantile } from './table.ts';

const studies = Number(process.env.ARCHIPEL_BENCH_STUDIES ?? 2_000);
const ROUNDS = 5;
const WEB_ROUNDS = 50;

interface Figures {
  readonly name: string;
  readonly peakMb: number;
  readonly ms: Readonly<Record<string, number>>;
}

export async function run(): Promise<void> {
  if (!isInstalled('findscu')) {
    console.log('SKIPPED: findscu is not here; install DCMTK (package dcmtk) to measure C-FIND');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  const found: Figures[] = [];
  try {
    for (const kind of installed([archipel, orthanc])) {
      const isFilled = kind === archipel && studies > BY_STORE;
      if (isFilled) await indexStudies(join(folder, kind.name), studies);
      const figures = await during(kind, { folder: join(folder, kind.name) }, async (server) => {
        if (!isFilled) await storeStudies(server.dicomPort, studies);
        await allIndexed(server.dicomPort);
        await server.atRest();
        const { result, peakMb } = await withPeakMemory(server, () => ask(server));
        return { name: kind.name, peakMb, ms: result };
      });
      found.push(figures);
      rmSync(join(folder, kind.name), { recursive: true });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  for (const question of Object.keys(found[0]?.ms ?? {}))
    printRows(
      `${question}, among ${studies} studies`,
      'ms',
      found
        .filter(({ ms }) => ms[question] !== undefined)
        .map(({ name, ms, peakMb }) => ({ name, value: ms[question] ?? Number.NaN, peakMb })),
    );
}

async function ask(server: RunningServer): Promise<Record<string, number>> {
  const one = ['-k', `PatientID=${smallStudy(studies >> 1).patientId}`, '-k', 'PatientName', '-k', 'StudyDate'];
  const name = ['-k', 'PatientName=BENCH77^*', '-k', 'PatientID'];
  const all = ['-k', 'PatientName', '-k', 'PatientID', '-k', 'StudyDate'];
  const ms: Record<string, number> = {};
  const times = async (keys: readonly string[]) => {
    const runs: { firstMs: number; allMs: number }[] = [];
    for (let i = 0; i < ROUNDS; i++) runs.push(await findscu(server.dicomPort, keys));
    return {
      firstMs: median(runs.map(({ firstMs }) => firstMs)),
      allMs: median(runs.map(({ allMs }) => allMs)),
    };
  };
  ms['C-FIND by patient ID'] = (await times(one)).allMs;
  ms['C-FIND by patient name with wildcard'] = (await times(name)).allMs;
  const everything = await times(all);
  ms['C-FIND of all, first answer'] = everything.firstMs;
  ms['C-FIND of all, last answer'] = everything.allMs;
  if (server.dicomweb !== undefined) {
    const id = `${server.dicomweb}/studies?PatientID=${smallStudy(studies >> 1).patientId}`;
    const page = `${server.dicomweb}/studies?limit=101&offset=0&includefield=00081030,00080060`;
    ms['QIDO-RS by patient ID, p50'] = quantile(await getTimes(id), 0.5);
    ms['QIDO-RS by patient ID, p95'] = quantile(await getTimes(id), 0.95);
    ms['QIDO-RS first page of 101, p50'] = quantile(await getTimes(page), 0.5);
  }
  return ms;
}

/** From the start of findscu to its first answer and to its end. */
async function findscu(
  port: number,
  keys: readonly string[],
): Promise<{ firstMs: number; allMs: number; count: number }> {
  const startedAtMs = performance.now();
  const asked = ['-v', '-S', '-aec', 'ARCHIPEL', '-k', 'QueryRetrieveLevel=STUDY', '-k', 'StudyInstanceUID', ...keys];
  const child = spawn('findscu', [...asked, '127.0.0.1', `${port}`], {
    env: peerEnvironment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let firstMs = Number.NaN;
  let count = 0;
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => {
      count += text.toString('latin1').split('Find Response:').length - 1;
      if (Number.isNaN(firstMs) && text.includes('Find Response:')) firstMs = performance.now() - startedAtMs;
    });
  const code = await new Promise((done) => child.once('close', done));
  if (code !== 0) throw new Error(`findscu ended with ${code}`);
  return { firstMs, allMs: performance.now() - startedAtMs, count };
}

async function getTimes(url: string): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < WEB_ROUNDS; i++) {
    const startedAtMs = performance.now();
    const response = await fetch(url, { headers: { Accept: 'application/dicom+json' } });
    await response.arrayBuffer();
    if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
    times.push(performance.now() - startedAtMs);
  }
  return times;
}

/** An index may follow its acknowledgements. */
async function allIndexed(port: number): Promise<void> {
  while ((await findscu(port, ['-k', 'PatientID'])).count < studies)
    await new Promise((done) => setTimeout(done, 1_000));
}
