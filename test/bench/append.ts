/**
 * Appends of 0.5 MB instances through the receiver alone (no sockets), every one synced before its answer, against the
 * disk's own best in the same run: plain files that nobody syncs. The rate that C-STORE can have at most.
 *
 * Grouped syncs run in libuv's thread pool: with more senders than threads set UV_THREADPOOL_SIZE to twice their number.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createReceiver, openFolderOf } from '#edge-gateway/cache/receiver.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { silentLogger } from '#shared/log.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';

const INSTANCES = 600;
const CHUNK_BYTES = 64 * 1024;

interface Result {
  readonly perSecond: number;
  readonly medianMs: number;
  readonly worstMs: number;
}

/** Runs `work` for each number below `count`, so many at a time. */
async function measure(
  count: number,
  parallel: number,
  work: (i: number, sender: number) => Promise<void>,
): Promise<Result> {
  const durations: number[] = [];
  let next = 0;
  const startedAt = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async (_, sender) => {
      for (let i = next++; i < count; i = next++) {
        const begin = performance.now();
        await work(i, sender);
        durations.push(performance.now() - begin);
      }
    }),
  );
  const seconds = (performance.now() - startedAt) / 1000;
  durations.sort((a, b) => a - b);
  return { perSecond: count / seconds, medianMs: durations[count >> 1] ?? 0, worstMs: durations.at(-1) ?? 0 };
}

/** One template and its UID digits: making each instance anew would be most of what is measured. */
function instances(): (
  i: number,
  series: number,
) => { bytes: Uint8Array; sopInstanceUid: string; sopClassUid: string } {
  const uid = (kind: number, i: number): string => `1.2.826.0.1.3680043.10.1462.9.${kind}.${String(1_000_000 + i)}`;
  const template = makeInstance({
    studyInstanceUid: uid(1, 0),
    seriesInstanceUid: uid(2, 0),
    sopInstanceUid: uid(3, 0),
    rows: 512,
    columns: 512,
  });
  const placeOf = (text: string): number => Buffer.from(template.dataSet).indexOf(text);
  const [seriesAt, instanceAt] = [placeOf(uid(2, 0)), placeOf(uid(3, 0))];
  return (i, series) => {
    const bytes = Buffer.from(template.dataSet);
    bytes.write(uid(2, series), seriesAt, 'latin1');
    bytes.write(uid(3, i), instanceAt, 'latin1');
    return { bytes, sopInstanceUid: uid(3, i), sopClassUid: template.sopClassUid };
  };
}

async function appends(parallel: number): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-append-'));
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: true });
  const packs = createDiskPackStore({ root: join(folder, 'packs'), openFolder: openFolderOf(folder) });
  const receiver = await createReceiver({ folder, tenant: 'bench', index, packs, log: silentLogger, clock: Date.now });
  const make = instances();
  try {
    const result = await measure(INSTANCES, parallel, async (i, sender) => {
      const { bytes, sopInstanceUid, sopClassUid } = make(i, sender);
      const announced = {
        sopClassUid,
        sopInstanceUid,
        transferSyntaxUid: '1.2.840.10008.1.2.1',
        sourceAeTitle: 'BENCH',
      };
      const sink = receiver.begin(announced);
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        const wait = sink.write(bytes.subarray(at, at + CHUNK_BYTES));
        if (wait !== undefined) await wait;
      }
      const outcome = await sink.commit();
      if (outcome.kind !== 'stored') throw new Error(`not stored but ${outcome.kind}`);
    });
    await receiver.flush();
    return result;
  } finally {
    await receiver.close();
    await index.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function plainFiles(parallel: number): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'archipel-files-'));
  const make = instances();
  try {
    return await measure(INSTANCES, parallel, async (i, sender) => {
      await writeFile(join(folder, `${i}.dcm`), make(i, sender).bytes);
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function run(): Promise<void> {
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  print(
    `${INSTANCES} instances of 0.5 MB; each sender has a series of its own; UV_THREADPOOL_SIZE ${process.env.UV_THREADPOOL_SIZE ?? '4 (default)'}`,
  );
  print('senders   synced appends/s  median ms  worst ms   unsynced files/s   ratio');
  await appends(4);
  for (const parallel of [1, 4, 16]) {
    const plain = await plainFiles(parallel);
    const synced = await appends(parallel);
    const columns = [
      String(parallel).padStart(7),
      synced.perSecond.toFixed(0).padStart(18),
      synced.medianMs.toFixed(1).padStart(10),
      synced.worstMs.toFixed(1).padStart(9),
      plain.perSecond.toFixed(0).padStart(18),
      (synced.perSecond / plain.perSecond).toFixed(2).padStart(7),
    ];
    print(columns.join(''));
  }
}
