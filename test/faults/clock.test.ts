/**
 * A gateway whose clock is hours off, and jumps while it works: grants are used by the cloud's clock, nothing waits for a
 * time that never comes, and nothing is lost, altered or doubled. Its process has its own wall clock (shifted-clock.ts).
 */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Modality } from './modality.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { printTable } from './verdict.ts';

const HOUR_MS = 3_600_000;
const INSTANCES_PER_ROUND = 20;
const preload = resolve(import.meta.dirname, 'shifted-clock.ts');

it('F11: a clock that is up to two hours off and jumps costs nothing', async () => {
  const chance = chanceOf(seedOfRun());
  const rounds = roundsOfRun(6);
  await using site = await Site.create();
  const clockFile = join(site.folder, 'clock');
  const shift = (hours: number): void => writeFileSync(clockFile, String(Math.round(hours * HOUR_MS)));
  shift(-2);
  const environment = { ARCHIPEL_TEST_CLOCK_FILE: clockFile, NODE_OPTIONS: `--import ${preload}` };
  await site.startGateway(environment);
  const modality = new Modality({ port: () => site.dicomPort, chance, uidRoot: '1.2.826.0.1.3680043.8.498.11' });
  modality.start();
  const skews: number[] = [];
  let jumps = 0;
  for (let round = 0; round < rounds; round++) {
    modality.allow(INSTANCES_PER_ROUND);
    const hours = round === 0 ? -2 : chance.next() * 4 - 2;
    shift(hours);
    jumps++;
    await pause(300 + chance.integer(1_200));
    if (chance.integer(3) === 0) {
      await site.killGateway();
      await site.startGateway(environment);
    }
    const { clockSkewMs } = (await site.status()).upload;
    if (clockSkewMs !== undefined) skews.push(Math.abs(clockSkewMs + hours * HOUR_MS));
  }
  await modality.finish();
  shift(2);
  const endedAtMs = performance.now();
  await site.waitUntilDrained(120_000);
  const { acknowledged, lost, altered, duplicated } = await site.judge(modality.acknowledged);
  printTable('F11: clock skew and jumps', {
    rounds,
    acknowledged,
    lost: lost.length,
    altered: altered.length,
    duplicated: duplicated.length,
    'seconds to recover': ((performance.now() - endedAtMs) / 1000).toFixed(1),
    jumps,
    'skew as reported, off by at most ms': Math.round(Math.max(...skews)),
  });
  expect({ lost, altered, duplicated }).toEqual({ lost: [], altered: [], duplicated: [] });
  // The cloud's time is known to half a round trip; the file is read every 50 ms.
  expect(Math.max(...skews)).toBeLessThan(60_000);
});
