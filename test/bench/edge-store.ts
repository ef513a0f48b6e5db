/**
 * C-STORE: how many instances a second go in from 1 and 4 storescu processes, and how fast one multi-frame of 600 MB does. The gateway
 * answers each after its fdatasync; `storescp +B` syncs nothing; Orthanc is as its defaults are.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { instanceBytes, writeInstances, writeMultiFrame } from './instances.ts';
import {
  archipel,
  during,
  installed,
  isInstalled,
  orthanc,
  peerEnvironment,
  type ServerKind,
  storescp,
  withPeakMemory,
} from './servers.ts';
import { median, printRows, type Row } from './table.ts';

const INSTANCES = 500;
/** Sent to each server before it is measured: they run for months, and are not judged by their first second. */
const WARM_UP_INSTANCES = 100;
const ROUNDS = 3;
const SENDERS = [1, 4];
const LARGE_BYTES = 600e6;
const LARGE_ROUNDS = 2;
const HUGE_BYTES = 2e9;

export async function run(): Promise<void> {
  if (!isInstalled('storescu')) {
    console.log('SKIPPED: storescu is not here; install DCMTK (package dcmtk) to measure C-STORE');
    return;
  }
  const kinds = installed([archipel, storescp, orthanc]);
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  try {
    const warmUp = writeInstances(join(folder, 'warm-up'), 1, WARM_UP_INSTANCES, '2.25.78');
    for (const senders of SENDERS) {
      const inputs = writeInstances(join(folder, `in-${senders}`), senders, INSTANCES);
      const title = `C-STORE of ${INSTANCES} CT of ${(instanceBytes / 1e6).toFixed(2)} MB, ${senders} sender${senders === 1 ? '' : 's'}`;
      const rows = await measure(kinds, ROUNDS, join(folder, 'out'), warmUp, inputs, (seconds) => INSTANCES / seconds);
      printRows(`${title} (median of ${ROUNDS})`, 'instances/s', rows);
    }
    const large = [writeMultiFrame(join(folder, 'large.dcm'), LARGE_BYTES)];
    const rows = await measure(kinds, LARGE_ROUNDS, join(folder, 'out'), warmUp, large, (s) => LARGE_BYTES / 1e6 / s);
    printRows(`C-STORE of one multi-frame of 600 MB (median of ${LARGE_ROUNDS})`, 'MB/s', rows);
    rmSync(large[0] ?? '');
    const huge = [writeMultiFrame(join(folder, 'huge.dcm'), HUGE_BYTES)];
    const own = await measure([archipel], 1, join(folder, 'out'), warmUp, huge, (s) => HUGE_BYTES / 1e6 / s);
    printRows('C-STORE of one multi-frame of 2 GB', 'MB/s', own);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Each input is a sender's: all send at once. Rounds are interleaved, so that what the machine does besides hits all alike. */
async function measure(
  kinds: readonly ServerKind[],
  rounds: number,
  out: string,
  warmUp: readonly string[],
  inputs: readonly string[],
  rateOf: (seconds: number) => number,
): Promise<Row[]> {
  const found = new Map<string, { rate: number; peakMb: number; growthMb: number }[]>();
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      const figures = await during(kind, { folder: out }, async (server) => {
        await Promise.all(warmUp.map((input) => send(input, server.dicomPort)));
        // What earlier rows left unwritten is not this one's debt.
        spawnSync('sync');
        const startedAtMs = performance.now();
        const { peakMb, growthMb } = await withPeakMemory(server, () =>
          Promise.all(inputs.map((input) => send(input, server.dicomPort))),
        );
        return { rate: rateOf((performance.now() - startedAtMs) / 1000), peakMb, growthMb };
      });
      rmSync(out, { recursive: true });
      found.set(kind.name, [...(found.get(kind.name) ?? []), figures]);
    }
  }
  return [...found].map(([name, figures]) => ({
    name,
    value: median(figures.map(({ rate }) => rate)),
    peakMb: median(figures.map(({ peakMb }) => peakMb)),
    growthMb: median(figures.map(({ growthMb }) => growthMb)),
  }));
}

function send(input: string, port: number): Promise<void> {
  const storescu = spawn('storescu', ['+sd', '-aec', 'ARCHIPEL', '127.0.0.1', `${port}`, input], {
    env: peerEnvironment,
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
