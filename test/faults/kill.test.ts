/**
 * kill -9 at any moment: of everything at once, of the gateway alone, of the cloud alone. What was acknowledged must be in
 * the cloud in the end, unaltered and once, and nobody may have to lend a hand. Also the named crash points, each of them.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type System, startSystem, unfinishedFiles, until } from '#test/support/system.ts';
import { Modality } from './modality.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { judge, printTable } from './verdict.ts';

const MODALITIES = 2;
const INSTANCES_PER_ROUND = 70;
const LONGEST_DELAY_MS = 3_000;
/** As the gateway measures itself, from its settings read to all its doors open. */
function slowestStartMs(logFile: string): number {
  const starts = readFileSync(logFile, 'utf8').matchAll(/"startMs":(\d+)/g);
  return Math.max(...[...starts].map((match) => Number(match[1])));
}

/** The gateway's warnings and errors, each kind once. */
function complaintsOf(logFile: string): string {
  const lines = readFileSync(logFile, 'utf8')
    .split('\n')
    .filter((line) => /"level":(40|50)/.test(line));
  return [...new Map(lines.map((line) => [/"msg":"([^"]*)"/.exec(line)?.[1], line])).values()].join('\n');
}

const victims = ['everything', 'everything', 'gateway', 'cloud', 'everything while it starts'] as const;

describe('kill -9 at any moment', () => {
  let folder: string;
  let system: System;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'archipel-kill-'));
  });
  afterEach(async () => {
    await system?.killEverything();
    rmSync(folder, { recursive: true, force: true });
  });

  it('loses, alters and duplicates nothing that was acknowledged', async () => {
    const seed = seedOfRun();
    const rounds = roundsOfRun(8);
    const chance = chanceOf(seed);
    system = await startSystem({ folder });
    const modalities = Array.from(
      { length: MODALITIES },
      (_, i) =>
        new Modality({
          port: () => system.dicomPort,
          chance: chanceOf(seed + i + 1),
          uidRoot: `1.2.826.0.1.3680043.10.1462.${seed}.${i + 1}`,
        }),
    );
    for (const modality of modalities) modality.start();
    const kills: Record<string, number> = {};
    const restartsMs: number[] = [];
    for (let round = 0; round < rounds; round++) {
      for (const modality of modalities) modality.allow(INSTANCES_PER_ROUND);
      const victim = victims[round % victims.length]!;
      kills[victim] = (kills[victim] ?? 0) + 1;
      const delayMs = chance.next() * LONGEST_DELAY_MS;
      await pause(delayMs);
      if (victim === 'gateway') {
        const killedAtMs = performance.now();
        await system.killGateway();
        await system.waitUntilUp();
        restartsMs.push(performance.now() - killedAtMs);
        continue;
      }
      await (victim === 'cloud' ? system.killCloud() : system.killEverything());
      if (victim === 'everything while it starts') {
        system.launch();
        await pause(chance.next() * 1_500);
        await system.killEverything();
      }
      restartsMs.push(await system.start());
    }
    await Promise.all(modalities.map((modality) => modality.finish()));
    const acknowledged = modalities.flatMap((modality) => modality.acknowledged);
    const archivedAtMs = performance.now();
    await system.waitUntilArchived(acknowledged.length, 180_000);
    const drainMs = performance.now() - archivedAtMs;
    const verdict = await judge(acknowledged, system.dicomweb, join(folder, 'cloud', 'packs'));
    printTable('kill -9', {
      seed,
      rounds,
      kills: Object.entries(kills)
        .map(([victim, count]) => `${count} x ${victim}`)
        .join(', '),
      acknowledged: verdict.acknowledged,
      lost: verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
      'slowest restart of all to listening (ms)': Math.round(Math.max(...restartsMs)),
      'of it the gateway, with its recovery (ms)': slowestStartMs(join(folder, 'log', 'edge.log')),
      'archived after the last one (ms)': Math.round(drainMs),
    });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect(acknowledged.length).toBeGreaterThan(rounds);
    const refused = modalities.flatMap((modality) => modality.refused);
    if (refused.length > 0) console.log(complaintsOf(join(folder, 'log', 'edge.log')));
    expect(refused).toEqual([]);
    await until(
      'nothing unfinished to be left',
      10_000,
      async () => unfinishedFiles(join(folder, 'edge')).length === 0,
    );
    expect(existsSync(join(folder, 'edge', 'packs'))).toBe(true);
  });
});
