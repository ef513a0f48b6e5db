/**
 * Fault F6, a disk that is full: of bytes, down to the last block, and of files. Who sends is told so (A700H, or not let in at
 * all), nothing that was acknowledged is lost, what is here goes on to the cloud, and what the cloud has makes room. When there
 * is space again the gateway takes instances again by itself.
 */
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { unfinishedFiles, until } from '#test/support/system.ts';
import { LoopVolume } from './loop-volume.ts';
import { Modality } from './modality.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { packsBelow, printTable } from './verdict.ts';

const MIB = 1024 * 1024;
/** As small as it may be set; associations are rejected below half of it, and evicted is below four times of it. */
const RESERVE = { ARCHIPEL_EDGE_DISK_RESERVE_MB: '16' };
const VOLUME_BYTES = 400 * MIB;
const VOLUME_FILES = 1_200;
const INSTANCES_PER_ROUND = 25;
const RECOVER_MS = 5_000;
const HELD_MS = 2_500;
const A700H = 0xa700;

const ways = {
  'below the reserve': (volume: LoopVolume) => volume.fill(12 * MIB),
  'below the mark of associations': (volume: LoopVolume) => volume.fill(4 * MIB),
  'to the last block': (volume: LoopVolume) => volume.fill(0),
  'of files': (volume: LoopVolume) => volume.fillWithFiles(0),
} as const;

const volume = LoopVolume.tryMake({ bytes: VOLUME_BYTES, files: VOLUME_FILES }, 'a full disk');

describe.skipIf(volume === undefined)('disk full', () => {
  afterAll(() => volume?.[Symbol.dispose]());

  it('refuses, lies never, and goes on by itself', async () => {
    if (volume === undefined) return;
    const seed = seedOfRun();
    const rounds = Math.max(roundsOfRun(4), Object.keys(ways).length);
    await using site = await Site.create(join(volume.mountPoint, 'edge'));
    await site.startGateway(RESERVE);
    const { pid } = site.gateway;
    const modality = new Modality({
      port: () => site.dicomPort,
      chance: chanceOf(seed),
      uidRoot: `1.2.826.0.1.3680043.10.1462.6.${seed}`,
      instancesPerSeries: 10,
    });
    modality.start();
    const recoveriesMs: number[] = [];
    const refusals: Record<string, number> = {};
    let allowed = 0;
    const allow = (): void => {
      modality.allow(INSTANCES_PER_ROUND);
      allowed += INSTANCES_PER_ROUND;
    };
    for (let round = 0; round < rounds; round++) {
      const [name, fill] = Object.entries(ways)[round % Object.keys(ways).length]!;
      allow();
      await until('most of the instances of the round to be stored', 60_000, async () => {
        return modality.acknowledged.length >= allowed - 5;
      });
      const refusedBefore = modality.refused.length + modality.turnedAway;
      const endMs = performance.now() + HELD_MS;
      allow();
      // Whatever becomes free is taken at once by somebody else. A fast gateway stores more before it measures the disk anew.
      await until('something to be refused', 60_000, async () => {
        fill(volume);
        if (modality.acknowledged.length === allowed) allow();
        return performance.now() > endMs && modality.refused.length + modality.turnedAway > refusedBefore;
      });
      refusals[name] = (refusals[name] ?? 0) + modality.refused.length + modality.turnedAway - refusedBefore;
      const acknowledged = modality.acknowledged.length;
      volume.empty();
      const emptiedAtMs = performance.now();
      await until('an instance to be stored again', 60_000, async () => modality.acknowledged.length > acknowledged);
      recoveriesMs.push(performance.now() - emptiedAtMs);
      await until('the round to end', 60_000, async () => modality.acknowledged.length === allowed);
    }
    await modality.finish();
    expect(site.gateway.pid).toBe(pid);
    expect(site.gateway.exitCode).toBeNull();
    await site.waitUntilDrained(120_000);
    const { acknowledged, refused } = modality;
    const verdict = await site.judge(acknowledged);
    const { packs } = await site.status();
    printTable('disk full', {
      seed,
      rounds,
      acknowledged: verdict.acknowledged,
      'refused or turned away': Object.entries(refusals)
        .map(([name, count]) => `${count} (full ${name})`)
        .join(', '),
      lost: verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
      'packs evicted for room': packs.archived.packs - packsBelow(join(site.edgeFolder, 'packs')).length,
      'slowest recovery after space returned (ms)': Math.round(Math.max(...recoveriesMs)),
    });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect([...new Set(refused)]).toEqual([A700H]);
    expect(Math.max(...recoveriesMs)).toBeLessThan(RECOVER_MS);
    expect(packs.archived.packs).toBeGreaterThan(packsBelow(join(site.edgeFolder, 'packs')).length);
    await until('nothing unfinished to be left', 10_000, async () => unfinishedFiles(site.edgeFolder).length === 0);
  });
});
