/**
 * The line to the cloud at its worst: cut, reset in the middle, throttled, swallowing everything, flipping bits. What was
 * acknowledged must come to the cloud unaltered and once; a large pack goes on where it was cut off; and the modalities, who
 * are on this side of the line, are not to notice. ARCHIPEL_FAULT_ROUNDS sets how often the weather changes.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { associate, storeOn } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import { type Acknowledged, Modality } from './modality.ts';
import { FaultProxy, type Weather } from './proxy.ts';
import { type Chance, chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { printTable } from './verdict.ts';

const MIB = 1024 * 1024;
const PART_BYTES = 5 * MIB;
const settings = '[upload]\nmultipartAboveMegabytes = 5\npartMegabytes = 5\n';
const INSTANCES_PER_ROUND = 30;
/** Instances to each kind of line, three times. */
const PER_LINE = Math.min(100, roundsOfRun(8) * 3);
/** Longer than the longest back-off. */
const DRAIN_MS = 400_000;

let proxy: FaultProxy;
let site: Site;
beforeEach(async () => {
  proxy = await FaultProxy.start(() => Number(new URL(site.cloud.url).port));
  site = await Site.create(undefined, settings, () => proxy.url);
});
afterEach(async () => {
  await site[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
});

const startGateway = (): Promise<number> => site.startGateway({ ARCHIPEL_EDGE_CLOUD_URL: proxy.url });

/** Sends one by one; answers what was acknowledged, and how long each took. */
async function sendAll(count: number, pixels: { rows: number; columns: number }): Promise<[Acknowledged[], number[]]> {
  const made = Array.from({ length: count }, () => makeInstance(pixels));
  const association = await associate(site.dicomPort, made.slice(0, 1));
  const acknowledged: Acknowledged[] = [];
  const times: number[] = [];
  for (const instance of made) {
    const beganAtMs = performance.now();
    const { status } = await storeOn(association, instance);
    times.push(performance.now() - beganAtMs);
    if (status === 0) acknowledged.push({ ref: instance.ref, digest: instance.digest });
  }
  await association.release();
  return [acknowledged, times];
}

async function expectAllSafe(title: string, acknowledged: readonly Acknowledged[], figures: Record<string, number>) {
  const healedAtMs = performance.now();
  proxy.set();
  await site.waitUntilDrained(DRAIN_MS);
  const seconds = ((performance.now() - healedAtMs) / 1000).toFixed(1);
  const { lost, altered, duplicated } = await site.judge(acknowledged);
  printTable(title, {
    acknowledged: acknowledged.length,
    lost: lost.length,
    altered: altered.length,
    duplicated: duplicated.length,
    'seconds to recover': seconds,
    ...figures,
  });
  expect({ lost, altered, duplicated }).toEqual({ lost: [], altered: [], duplicated: [] });
}

function anyWeather(chance: Chance): Partial<Weather> {
  return chance.pick<Partial<Weather>>([
    {},
    { line: 'refused' },
    { line: 'black-hole' },
    { delayMs: 20 + chance.integer(200) },
    { bytesPerSecond: 100_000 + chance.integer(2_000_000) },
    { cutAfterBytes: 1 + chance.integer(2 * MIB) },
    { cutAfterBytes: 1 + chance.integer(2_000) },
    { flipEveryBytes: 10_000 + chance.integer(MIB) },
  ]);
}

describe('a line of any weather', () => {
  it('loses, alters and doubles nothing', async () => {
    const chance = chanceOf(seedOfRun());
    const rounds = roundsOfRun(8);
    await startGateway();
    const modality = new Modality({ port: () => site.dicomPort, chance, uidRoot: '1.2.826.0.1.3680043.8.498.8' });
    modality.start();
    for (let round = 0; round < rounds; round++) {
      modality.allow(INSTANCES_PER_ROUND);
      proxy.set(anyWeather(chance));
      await pause(chance.integer(2_000));
      if (chance.integer(3) === 0) proxy.resetAll();
    }
    await modality.finish();
    await expectAllSafe('F8: network faults', modality.acknowledged, {
      rounds,
      'connections cut': proxy.resets,
      'bits flipped': proxy.flipped,
    });
  });
});

describe('a line that flips bits', () => {
  it('brings nothing altered into the cloud', async () => {
    await startGateway();
    proxy.set({ flipEveryBytes: MIB });
    const [acknowledged] = await sendAll(24, { rows: 512, columns: 512 });
    await until('a bit to be flipped', 60_000, async () => proxy.flipped > 2);
    await expectAllSafe('F9: bit flips in transit', acknowledged, { 'bits flipped': proxy.flipped });
  });
});

describe('a large pack', () => {
  it('goes on where it was cut off, also by another process, and sends no confirmed part again', async () => {
    await startGateway();
    // Two parts and a bit of each connection arrive.
    proxy.set({ cutAfterBytes: 12 * MIB });
    const before = proxy.bytesUp;
    const [acknowledged] = await sendAll(1, { rows: 5000, columns: 4000 });
    await until('some parts to be sent', 60_000, async () => proxy.resets > 0);
    await site.killGateway();
    await startGateway();
    await site.waitUntilDrained(DRAIN_MS);
    const sentBytes = proxy.bytesUp - before;
    const lengthBytes = 5000 * 4000 * 2;
    const cuts = proxy.resets + 1;
    await expectAllSafe('F8: resuming in parts', acknowledged, {
      'MB of the pack': lengthBytes / 1e6,
      'MB sent': Math.round(sentBytes / 1e5) / 10,
      'cut off': cuts,
    });
    // Each cut costs the part that was on its way, and what else is said is small.
    expect(sentBytes).toBeLessThan(lengthBytes + cuts * PART_BYTES + MIB);
  });
});

describe('modalities', () => {
  it('are answered as fast with a dead line as with a good one', async () => {
    await startGateway();
    const acknowledged: Acknowledged[] = [];
    const times = { healthy: [] as number[], refused: [] as number[], 'black-hole': [] as number[] };
    for (let turn = 0; turn < 3; turn++) {
      for (const line of ['up', 'refused', 'black-hole'] as const) {
        proxy.set({ line });
        const [stored, took] = await sendAll(PER_LINE, { rows: 512, columns: 512 });
        acknowledged.push(...stored);
        times[line === 'up' ? 'healthy' : line].push(...took);
      }
    }
    const at = (list: readonly number[], share: number): number =>
      [...list].sort((a, b) => a - b)[Math.floor(list.length * share)] ?? 0;
    const figures = Object.entries(times).flatMap(([name, list]) => [
      [`${name}: C-STORE p50 ms`, Math.round(at(list, 0.5) * 10) / 10],
      [`${name}: C-STORE p99 ms`, Math.round(at(list, 0.99) * 10) / 10],
      [`${name}: p99 / healthy p99`, Math.round((at(list, 0.99) / at(times.healthy, 0.99)) * 100) / 100],
    ]);
    await expectAllSafe('F8: C-STORE with a dead line', acknowledged, Object.fromEntries(figures));
    expect(acknowledged).toHaveLength(9 * PER_LINE);
  });
});
