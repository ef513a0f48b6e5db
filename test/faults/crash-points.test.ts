/**
 * Every named instant on the way of the bytes: the gateway kills itself there, is started again, and what it had
 * acknowledged must reach the cloud unaltered and once. The cases wait most of the time, so they run side by side.
 */
import { join } from 'node:path';
import { afterAll, describe, type ExpectStatic, it } from 'vitest';
import { crashPoints, evictionCrashPoints } from '#edge-gateway/cache/crash-point.ts';
import { unfinishedFiles, until } from '#test/support/system.ts';
import { type Acknowledged, Modality } from './modality.ts';
import { chanceOf } from './random.ts';
import { Site } from './site.ts';
import { packsBelow, type Verdict } from './verdict.ts';

/** At the first occasion, and in the middle of things. */
const occasions = [1, 3] as const;
const INSTANCES = 20;

describe.concurrent('crash points', () => {
  const rows: (Verdict & { name: string; after: number; restartMs: number })[] = [];
  afterAll(() => {
    const lines = rows.map(
      (row) =>
        `  ${`${row.name}, time ${row.after}`.padEnd(34)} acknowledged ${row.acknowledged}, lost ${row.lost.length}, altered ${row.altered.length}, duplicated ${row.duplicated.length}, restart ${Math.round(row.restartMs)} ms`,
    );
    console.log(['crash points', ...lines.sort()].join('\n'));
  });

  /** Lets the gateway die at an instant and start again; what it had acknowledged by then and later must all be in the cloud, once. */
  async function dieAndReturn(
    site: Site,
    { name, after, uidRoot }: { name: string; after: number; uidRoot: string },
    expect: ExpectStatic,
  ): Promise<readonly Acknowledged[]> {
    await site.startGateway();
    const { gateway } = site;
    gateway.send({ kind: 'crash-at', name, after });
    const modality = new Modality({
      port: () => site.dicomPort,
      chance: chanceOf(after),
      uidRoot,
      instancesPerSeries: 5,
    });
    modality.allow(INSTANCES);
    modality.start();
    await until(`the gateway to die at ${name}`, 60_000, async () => gateway.signalCode === 'SIGKILL');
    const restartMs = await site.startGateway();
    await modality.finish();
    const { acknowledged } = modality;
    await site.waitUntilDrained();
    const verdict = await site.judge(acknowledged);
    rows.push({ ...verdict, name, after, restartMs });
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    return acknowledged;
  }

  it.for(crashPoints.flatMap((name) => occasions.map((after) => [name, after] as const)))(
    'dies at %s, time %i, and loses nothing',
    async ([name, after], { expect }) => {
      await using site = await Site.create();
      const acknowledged = await dieAndReturn(
        site,
        { name, after, uidRoot: `1.2.826.0.1.3680043.10.1462.7.${crashPoints.indexOf(name) + 1}.${after}` },
        expect,
      );
      expect(acknowledged.length).toBe(INSTANCES);
      await until('nothing unfinished to be left', 10_000, async () => unfinishedFiles(site.edgeFolder).length === 0);
    },
  );

  it.for(evictionCrashPoints.flatMap((name) => occasions.map((after) => [name, after] as const)))(
    'dies at %s, time %i, loses nothing, and ends what it had begun',
    async ([name, after], { expect }) => {
      // A disk that is never free enough: what is archived leaves at once.
      await using site = await Site.create(undefined, '[cache]\nevictBelowMegabytes = 100000000\n');
      await dieAndReturn(
        site,
        { name, after, uidRoot: `1.2.826.0.1.3680043.10.1462.8.${evictionCrashPoints.indexOf(name) + 1}.${after}` },
        expect,
      );
      const left = (): string[] => packsBelow(join(site.edgeFolder, 'packs'));
      await until(
        () => `all packs to have left, also ${left()}`,
        60_000,
        async () => left().length === 0,
      );
    },
  );
});
