/**
 * DICOMweb on the gateway against Orthanc with its DICOMweb plugin, on the same disk and in the same run: study search with one and with
 * eight clients, metadata of whole series (and how often our store is read for them), one frame, one picture, whole studies out and in.
 * Sizes: ARCHIPEL_BENCH_WEB_STUDIES (2000,100000), ARCHIPEL_BENCH_WEB_SERIES (500,3000: instances), each a list.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { createDicomwebService } from '#shared/dicomweb/service.ts';
import { silentLogger } from '#shared/log.ts';
import { instanceBytes, smallStudy, writeInstances } from './instances.ts';
import { archipel, during, installed, orthanc, type RunningServer, withPeakMemory } from './servers.ts';
import { BY_STORE, indexStudies, storeStudies } from './studies.ts';
import { median, printRows, quantile } from './table.ts';

const sizes = (name: string, otherwise: string): number[] =>
  (process.env[name] ?? otherwise)
    .split(',')
    .map(Number)
    .filter((count) => count > 0);
const studyCounts = sizes('ARCHIPEL_BENCH_WEB_STUDIES', '2000,100000');
const seriesCounts = sizes('ARCHIPEL_BENCH_WEB_SERIES', '500,3000');
const CLIENTS = [1, 8];
const SEARCHES = 200;
const METADATA_ROUNDS = 10;
const FRAMES = 200;
const ROUNDS = 3;
/** A slow server is asked less often. */
const MAX_SECONDS = 20;
/** Instances of 0.5 MB in one request to store. */
const BATCH = 50;
const DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*';
const FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*';
const JSON_TYPE = 'application/dicom+json';

/** Values by what was measured; the unit stands behind the last comma. */
type Figures = Map<string, number>;

interface Measured {
  readonly name: string;
  readonly peakMb: number;
  readonly figures: Figures;
}

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  try {
    for (const count of studyCounts)
      await compare(folder, `study list of ${count}`, (server) => searches(server, count), count);
    for (const count of seriesCounts) {
      const [input = ''] = writeInstances(join(folder, 'in'), 1, count, studyOf(count));
      const files = readdirSync(input).map((name) => join(input, name));
      await compare(folder, `series of ${count} CT`, (server) => series(server, count, files));
      rmSync(join(folder, 'in'), { recursive: true });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Does the same with each server, one after the other, and prints what was measured beside each other. */
async function compare(
  folder: string,
  title: string,
  work: (server: RunningServer) => Promise<Figures>,
  studies?: number,
): Promise<void> {
  const all: Measured[] = [];
  for (const kind of installed([archipel, orthanc])) {
    const own = join(folder, kind.name);
    const isFilled = kind === archipel && studies !== undefined && studies > BY_STORE;
    if (isFilled) await indexStudies(own, studies);
    const measured = await during(kind, { folder: own }, async (server) => {
      if (server.dicomweb === undefined) return undefined;
      if (studies !== undefined && !isFilled) await storeStudies(server.dicomPort, studies);
      await server.atRest();
      const { result, peakMb } = await withPeakMemory(server, () => work(server));
      return { name: kind.name, peakMb, figures: result };
    });
    if (measured === undefined) console.log(`SKIPPED: ${kind.name} has no DICOMweb (package orthanc-dicomweb)`);
    else all.push(measured);
    if (kind === archipel && studies === undefined) await countReads(own, title);
    rmSync(own, { recursive: true });
  }
  for (const key of all[0]?.figures.keys() ?? []) {
    const [what = '', unit = ''] = key.split('|');
    const rows = all.map(({ name, peakMb, figures }) => ({ name, peakMb, value: figures.get(key) ?? Number.NaN }));
    printRows(`${title}: ${what}`, unit, rows);
  }
}

async function searches({ dicomweb }: RunningServer, count: number): Promise<Figures> {
  const questions: Record<string, (i: number) => string> = {
    'first page of 101': () => '?limit=101&offset=0&includefield=00081030,00080060',
    'by patient ID': (i) => `?PatientID=${smallStudy((i * 7919) % count).patientId}`,
    'by part of a name': (i) => `?PatientName=*ENCH${(i * 31) % 997}%5E*&limit=101`,
  };
  const figures: Figures = new Map();
  for (const [question, queryOf] of Object.entries(questions))
    for (const clients of CLIENTS) {
      const times = await timesOf(SEARCHES, clients, (i) => get(`${dicomweb}/studies${queryOf(i)}`, JSON_TYPE));
      const of = `${question}, ${clients} at once`;
      figures.set(`${of}, p50|ms`, quantile(times, 0.5));
      figures.set(`${of}, p95|ms`, quantile(times, 0.95));
    }
  return figures;
}

async function series(server: RunningServer, count: number, files: readonly string[]): Promise<Figures> {
  const { dicomweb } = server;
  const study = `${dicomweb}/studies/${studyOf(count)}`;
  const seriesUid = `${studyOf(count)}.1.0`;
  const instance = (i: number): string => `${study}/series/${seriesUid}/instances/${seriesUid}.${i % count}`;
  const megabytes = (count * instanceBytes) / 1e6;
  const figures: Figures = new Map();

  const storing = await secondsOf(async () => {
    for (let i = 0; i < files.length; i += BATCH) await store(`${dicomweb}/studies`, files.slice(i, i + BATCH));
  });
  figures.set('STOW-RS, from files|MB/s', megabytes / storing);
  while ((await countOf(`${study}/instances`)) < count) await new Promise((done) => setTimeout(done, 200));
  await server.atRest();

  const metadata = await timesOf(METADATA_ROUNDS, 1, () => get(`${study}/series/${seriesUid}/metadata`, JSON_TYPE));
  figures.set('metadata, first|ms', metadata[0] ?? Number.NaN);
  figures.set('metadata, p50|ms', median(metadata));
  for (const clients of CLIENTS) {
    const frames = await timesOf(FRAMES, clients, (i) => get(`${instance(i)}/frames/1`, FRAME));
    figures.set(`one frame, ${clients} at once, p50|ms`, median(frames));
    figures.set(`one frame, ${clients} at once, p95|ms`, quantile(frames, 0.95));
  }
  const pictures = await timesOf(FRAMES / 4, 1, (i) => get(`${instance(i)}/frames/1/rendered`, 'image/jpeg'));
  figures.set('one picture, p50|ms', median(pictures));
  const rates: number[] = [];
  for (let i = 0; i < ROUNDS; i++) rates.push(megabytes / (await secondsOf(() => download(study))));
  figures.set('WADO-RS, the whole study|MB/s', median(rates));
  return figures;
}

/** What a gateway's store is asked for one series' metadata, over the folder that it has left. */
async function countReads(folder: string, title: string): Promise<void> {
  const packs = createDiskPackStore({ root: join(folder, 'packs') });
  let reads = 0;
  const counted = new Proxy(packs, {
    get: (store, name: keyof PackStore) => {
      if (name === 'read' || name === 'stream') reads++;
      return store[name];
    },
  });
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  const none = (): never => {
    throw new Error('metadata needs no pictures');
  };
  const service = createDicomwebService({
    archive: { index, packs: counted },
    tenantOf: () => 'default',
    render: none,
    transcode: none,
    log: silentLogger,
  });
  try {
    const [found] = (await index.search('default', { level: 'series', keys: [], limit: 1, offset: 0 })).matches;
    const [study, series] = ['0020000D', '0020000E'].map((key) => found?.[key]?.Value?.[0]);
    const response = await service(new Request(`http://bench/dicomweb/studies/${study}/series/${series}/metadata`));
    const instances = ((await response.json()) as unknown[]).length;
    console.log(`\n${title}: metadata of ${instances} instances took ${reads} reads of our store`);
  } finally {
    await index.close();
  }
}

const studyOf = (count: number): string => `2.25.90.${count}`;

/** Milliseconds of so many calls, or of as many as there is time for; so many of them at once. */
export async function timesOf(calls: number, clients: number, call: (i: number) => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  const endMs = performance.now() + 1000 * MAX_SECONDS;
  let next = 0;
  const client = async (): Promise<void> => {
    for (let i = next++; i < calls && performance.now() < endMs; i = next++)
      times.push(1000 * (await secondsOf(() => call(i))));
  };
  await Promise.all(Array.from({ length: clients }, client));
  return times;
}

async function secondsOf(work: () => Promise<void>): Promise<number> {
  const startedAtMs = performance.now();
  await work();
  return (performance.now() - startedAtMs) / 1000;
}

export async function get(url: string, accept: string): Promise<void> {
  const response = await fetch(url, { headers: { Accept: accept, 'Accept-Encoding': 'identity' } });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
}

export async function countOf(url: string): Promise<number> {
  const response = await fetch(url, { headers: { Accept: JSON_TYPE } });
  return response.status === 200 ? ((await response.json()) as unknown[]).length : 0;
}

export async function store(url: string, files: readonly string[]): Promise<void> {
  const parts = files.flatMap((file) => [
    Buffer.from('--boundary\r\nContent-Type: application/dicom\r\n\r\n'),
    readFileSync(file),
    Buffer.from('\r\n'),
  ]);
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'multipart/related; type="application/dicom"; boundary=boundary', Accept: JSON_TYPE },
    body: Buffer.concat([...parts, Buffer.from('--boundary--\r\n')]),
  });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`storing was answered ${response.status}`);
}

/** By a client that is no slower than the servers. */
async function download(url: string): Promise<void> {
  await promisify(execFile)('curl', ['-sSf', '-o', '/dev/null', '-H', `Accept: ${DICOM}`, url]);
}
