/**
 * The line was down for a long time: very many instances wait. The gateway starts again at once, sends what is urgent first
 * when the line is back, and drains the rest at a good rate with flat memory. ARCHIPEL_FAULT_BACKLOG sets how many instances.
 */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { associate } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import type { Acknowledged } from './modality.ts';
import { FaultProxy } from './proxy.ts';
import { Site } from './site.ts';
import { printTable } from './verdict.ts';

const INSTANCES = Number(process.env.ARCHIPEL_FAULT_BACKLOG ?? 3_000);
const PER_SERIES = Number(process.env.ARCHIPEL_FAULT_BACKLOG_SERIES ?? 50);
const SENDERS = 4;
/** Reading each one back takes longer than everything else: of a long backlog so many. */
const JUDGED = 3_000;
const STAT_INSTANCES = 20;

let proxy: FaultProxy;
let site: Site;
beforeEach(async () => {
  proxy = await FaultProxy.start(() => Number(new URL(site.cloud.url).port));
  site = await Site.create(undefined, '', () => proxy.url);
});
afterEach(async () => {
  await site[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
});

const startGateway = (): Promise<number> => site.startGateway({ ARCHIPEL_EDGE_CLOUD_URL: proxy.url });

/** One study for each sender, instances of 1 to 50 kB. */
async function sendSeries(count: number, priority: 0 | 1): Promise<Acknowledged[]> {
  const acknowledged: Acknowledged[] = [];
  const studyInstanceUid = freshUid();
  const association = await associate(site.dicomPort, [makeInstance()], { responseTimeoutMs: 120_000 });
  for (let n = 0; n < count; n++) {
    const rows = 16 + ((n * 37) % 140);
    const series = Math.floor(n / PER_SERIES);
    const made = makeInstance({
      studyInstanceUid,
      seriesInstanceUid: `${studyInstanceUid}.${series}`,
      rows,
      columns: rows,
    });
    const { ref, sopClassUid, transferSyntaxUid, dataSet, digest } = made;
    const { sopInstanceUid } = ref;
    const { status } = await association.store({ sopClassUid, sopInstanceUid, transferSyntaxUid, dataSet, priority });
    if (status === 0) acknowledged.push({ ref, digest });
  }
  await association.release();
  return acknowledged;
}

function megabytesOf(field: 'VmHWM' | 'VmRSS'): number {
  try {
    const status = readFileSync(`/proc/${site.gateway.pid}/status`, 'utf8');
    return Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1000);
  } catch {
    return Number.NaN;
  }
}

it(`F16: a backlog of ${INSTANCES} instances costs nothing but time, and what is urgent not even that`, async () => {
  proxy.set({ line: 'refused' });
  const firstStartMs = await startGateway();
  const fillBeganAtMs = performance.now();
  const sent = await Promise.all(Array.from({ length: SENDERS }, () => sendSeries(INSTANCES / SENDERS, 0)));
  const acknowledged = sent.flat();
  const fillSeconds = (performance.now() - fillBeganAtMs) / 1000;
  await until('everything to be sealed', 120_000, async () => (await site.status()).packs.open.packs === 0);
  const { packs } = await site.status();
  expect(packs.sealed.instances).toBe(INSTANCES);
  const peakFilling = megabytesOf('VmHWM');

  await site.killGateway();
  const startMs = await startGateway();
  const stat = await sendSeries(STAT_INSTANCES, 1);
  await until('the urgent study to be sealed', 30_000, async () => (await site.status()).packs.open.packs === 0);

  const healedAtMs = performance.now();
  proxy.set();
  const { index } = site.cloud.archive;
  const study = { studyInstanceUid: stat[0]!.ref.studyInstanceUid };
  await until(
    'the urgent study to be in the cloud',
    60_000,
    async () => (await index.getStudy('default', study))?.instanceCount === STAT_INSTANCES,
  );
  const statSeconds = (performance.now() - healedAtMs) / 1000;
  const first = await site.status();
  const firstAtMs = performance.now();
  await site.waitUntilDrained(3_600_000);
  const drainSeconds = (performance.now() - firstAtMs) / 1000;

  const judged = acknowledged.filter((_, i) => i % Math.ceil(INSTANCES / JUDGED) === 0);
  const { lost, altered, duplicated } = await site.judge([...stat, ...judged]);
  let counted = 0;
  for (const { studyInstanceUid } of new Map(acknowledged.map(({ ref }) => [ref.studyInstanceUid, ref])).values())
    counted += (await index.getStudy('default', { studyInstanceUid }))?.instanceCount ?? 0;
  printTable('F16: backlog', {
    acknowledged: acknowledged.length + stat.length,
    packs: packs.sealed.packs,
    lost: lost.length + INSTANCES - counted,
    altered: altered.length,
    duplicated: duplicated.length,
    'read back': judged.length + stat.length,
    'seconds to fill': fillSeconds.toFixed(1),
    'ms to listen, nothing there': Math.round(firstStartMs),
    'ms to listen again, the backlog there': Math.round(startMs),
    'seconds until STAT was in the cloud': statSeconds.toFixed(1),
    'seconds to drain the rest': drainSeconds.toFixed(1),
    'instances drained a second': Math.round(first.backlog.instances / drainSeconds),
    'packs drained a second': Math.round(first.backlog.packs / drainSeconds),
    'MB of RSS, peak while filling': peakFilling,
    'MB of RSS, peak while draining': megabytesOf('VmHWM'),
  });
  expect({ lost, altered, duplicated, counted }).toEqual({ lost: [], altered: [], duplicated: [], counted: INSTANCES });
});
