/**
 * The pulled plug: the gateway's folder on an ext4 volume of its own, which is shut down without writing its journal out
 * (EXT4_IOC_SHUTDOWN, NOLOGFLUSH), so that what was not synced is gone. Needs root and loop devices; skips loudly without.
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

const VOLUME_BYTES = 4 * 1024 ** 3;
const INSTANCES_PER_ROUND = 80;
/** The gateway lives on for so long after the cut: what it says then must be no Success. */
const AFTERLIFE_MS = 300;

const volume = LoopVolume.tryMake({ bytes: VOLUME_BYTES }, 'a power cut');

describe.skipIf(volume === undefined)('power cut', () => {
  afterAll(() => volume?.[Symbol.dispose]());

  it('loses, alters and duplicates nothing that was acknowledged', async () => {
    if (volume === undefined) return;
    const seed = seedOfRun();
    const rounds = Math.min(roundsOfRun(3), 200);
    const chance = chanceOf(seed);
    await using site = await Site.create(join(volume.mountPoint, 'edge'));
    const modalities = [1, 2, 3].map(
      (number) =>
        new Modality({
          port: () => site.dicomPort,
          chance: chanceOf(seed + number),
          uidRoot: `1.2.826.0.1.3680043.10.1462.9.${seed}.${number}`,
        }),
    );
    const restartsMs = [await site.startGateway()];
    for (const modality of modalities) modality.start();
    for (let round = 0; round < rounds; round++) {
      for (const modality of modalities) modality.allow(INSTANCES_PER_ROUND);
      await pause(300 + chance.next() * 3_000);
      volume.cutPower();
      await pause(AFTERLIFE_MS);
      await site.killGateway();
      volume.unmount();
      volume.mount();
      restartsMs.push(await site.startGateway());
    }
    await Promise.all(modalities.map((modality) => modality.finish()));
    await site.waitUntilDrained(180_000);
    const acknowledged = modalities.flatMap((modality) => modality.acknowledged);
    const verdict = await site.judge(acknowledged);
    printTable('power cut', {
      seed,
      rounds,
      acknowledged: verdict.acknowledged,
      'answered otherwise': modalities.flatMap((modality) => modality.refused).length,
      lost: verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
      'slowest restart to listening (ms)': Math.round(Math.max(...restartsMs)),
    });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect(acknowledged.length).toBeGreaterThan(rounds);
    await until('nothing unfinished to be left', 10_000, async () => unfinishedFiles(site.edgeFolder).length === 0);
  });
});
