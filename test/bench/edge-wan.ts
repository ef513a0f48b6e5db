/**
 * What the state of the WAN costs a modality: the time of each C-STORE while nothing is uploaded because the cloud refuses connections, and
 * while every connection to it is taken and never answered. The first is the measure: both should be alike.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { connect } from '#edge-gateway/dimse/client.ts';
import { readHeader } from '#shared/dicom/part10.ts';

import { CT_IMAGE_STORAGE, EXPLICIT_VR_LITTLE_ENDIAN, writeInstances } from './instances.ts';
import { archipel, during } from './servers.ts';
import { median, quantile } from './table.ts';

const INSTANCES = 400;
const ROUNDS = 3;

export async function run(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-bench-'));
  const blackHole = await startBlackHole();
  try {
    const states: Readonly<Record<string, string>> = {
      'connections refused': 'http://127.0.0.1:9',
      'a black hole': `http://127.0.0.1:${blackHole.port}`,
    };
    const p50: Record<string, number[]> = {};
    const p99: Record<string, number[]> = {};
    for (let round = 0; round < ROUNDS; round++) {
      const [input] = writeInstances(join(folder, `in${round}`), 1, INSTANCES, `2.25.81.${round}`);
      for (const [name, cloudUrl] of Object.entries(states)) {
        const out = join(folder, 'out');
        const times = await during(archipel, { folder: out, cloudUrl }, (server) =>
          storeTimes(server.dicomPort, input ?? ''),
        );
        rmSync(out, { recursive: true });
        p50[name] = [...(p50[name] ?? []), quantile(times, 0.5)];
        p99[name] = [...(p99[name] ?? []), quantile(times, 0.99)];
      }
    }
    console.log(`\nC-STORE of ${INSTANCES} CT by one sender, by the state of the WAN (median of ${ROUNDS} rounds)`);
    const [base] = Object.values(p99).map(median);
    for (const name of Object.keys(states)) {
      const worst = median(p99[name] ?? []);
      const change = `${(((worst - (base ?? 0)) / (base ?? 1)) * 100).toFixed(0)} %`;
      console.log(
        `  ${name.padEnd(22)} p50 ${median(p50[name] ?? []).toFixed(1)} ms, p99 ${worst.toFixed(1)} ms (${change})`,
      );
    }
  } finally {
    blackHole.close();
    rmSync(folder, { recursive: true });
  }
}

async function storeTimes(port: number, input: string): Promise<number[]> {
  const association = await connect({
    host: '127.0.0.1',
    port,
    callingAeTitle: 'BENCH',
    calledAeTitle: 'ARCHIPEL',
    contexts: [{ abstractSyntax: CT_IMAGE_STORAGE, transferSyntaxes: [EXPLICIT_VR_LITTLE_ENDIAN] }],
  });
  const times: number[] = [];
  for (let i = 0; i < INSTANCES; i++) {
    const bytes = readFileSync(join(input, `${i}.dcm`));
    const { dataSetOffsetBytes, dataSet } = readHeader(bytes);
    const startedAtMs = performance.now();
    const { status } = await association.store({
      sopClassUid: CT_IMAGE_STORAGE,
      sopInstanceUid: dataSet.ascii(0x00080018) ?? '',
      transferSyntaxUid: EXPLICIT_VR_LITTLE_ENDIAN,
      dataSet: bytes.subarray(dataSetOffsetBytes),
    });
    times.push(performance.now() - startedAtMs);
    if (status !== 0) throw new Error(`a store was answered ${status.toString(16)}H`);
  }
  await association.release();
  return times;
}

/** Takes connections and bytes, and never says a word. */
async function startBlackHole(): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.resume();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
