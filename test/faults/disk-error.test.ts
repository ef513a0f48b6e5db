/**
 * Fault F7, a disk that fails under the gateway: writes answer EIO, or the file system has made itself read-only. The gateway
 * says so to who sends (A700H) and to who watches (/health 503), tells nobody Success for what it could not sync, and after
 * the repair everything that was acknowledged is there.
 */
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { unfinishedFiles, until } from '#test/support/system.ts';
import { LoopVolume } from './loop-volume.ts';
import { Modality } from './modality.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { printTable } from './verdict.ts';

const VOLUME_BYTES = 1024 ** 3;
const INSTANCES_PER_ROUND = 60;
const A700H = 0xa700;

const ways = {
  'every write answers EIO': (volume: LoopVolume) => volume.fail(),
  'read-only': (volume: LoopVolume) => volume.makeReadOnly(),
} as const;

const volume = LoopVolume.tryMake({ bytes: VOLUME_BYTES }, 'a failing disk');

describe.skipIf(volume === undefined)('disk error', () => {
  afterAll(() => volume?.[Symbol.dispose]());

  it('fences the gateway, and loses nothing that was acknowledged', async () => {
    if (volume === undefined) return;
    const seed = seedOfRun();
    const rounds = Math.max(2, Math.min(roundsOfRun(2), 200));
    const chance = chanceOf(seed);
    await using site = await Site.create(join(volume.mountPoint, 'edge'));
    await site.startGateway();
    const modalities = [1, 2].map(
      (number) =>
        new Modality({
          port: () => site.dicomPort,
          chance: chanceOf(seed + number),
          uidRoot: `1.2.826.0.1.3680043.10.1462.5.${seed}.${number}`,
        }),
    );
    for (const modality of modalities) modality.start();
    const seen: Record<string, number> = {};
    const noticedMs: number[] = [];
    const restartsMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const [name, break_] = Object.entries(ways)[round % Object.keys(ways).length]!;
      for (const modality of modalities) modality.allow(INSTANCES_PER_ROUND);
      await pause(300 + chance.next() * 2_000);
      const refusals = (): number => modalities.flatMap(({ refused }) => refused).length;
      const before = refusals();
      break_(volume);
      const brokenAtMs = performance.now();
      // Something to write, in case all of the round had been stored.
      for (const modality of modalities) modality.allow(5);
      await until('the gateway to say that it is not well', 30_000, async () => {
        const response = await fetch(`${site.gatewayUrl}/health`, { signal: AbortSignal.timeout(5_000) });
        await response.arrayBuffer();
        return response.status === 503;
      });
      noticedMs.push(performance.now() - brokenAtMs);
      await until('senders to be refused', 30_000, async () => refusals() > before);
      const acknowledged = modalities.flatMap((modality) => modality.acknowledged).length;
      await pause(1_000);
      expect(modalities.flatMap((modality) => modality.acknowledged).length, 'acknowledged while fenced').toBe(
        acknowledged,
      );
      expect(site.gateway.exitCode).toBeNull();
      seen[name] = (seen[name] ?? 0) + refusals() - before;
      await site.killGateway();
      volume.repair();
      restartsMs.push(await site.startGateway());
    }
    await Promise.all(modalities.map((modality) => modality.finish()));
    await site.waitUntilDrained(120_000);
    const acknowledged = modalities.flatMap((modality) => modality.acknowledged);
    const verdict = await site.judge(acknowledged);
    printTable('disk error', {
      seed,
      rounds,
      acknowledged: verdict.acknowledged,
      refused: Object.entries(seen)
        .map(([name, count]) => `${count} (${name})`)
        .join(', '),
      lost: verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
      'slowest /health 503 (ms)': Math.round(Math.max(...noticedMs)),
      'slowest restart to listening (ms)': Math.round(Math.max(...restartsMs)),
    });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect([...new Set(modalities.flatMap(({ refused }) => refused))]).toEqual([A700H]);
    await until('nothing unfinished to be left', 10_000, async () => unfinishedFiles(site.edgeFolder).length === 0);
  });
});
