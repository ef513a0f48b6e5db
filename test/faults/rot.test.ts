/**
 * Fault F19, bits that change at rest in packs on the gateway's disk. Of what the cloud has: nobody is given a changed instance, and
 * the pack is fetched anew. Of what it has not: the change is found before or while it is uploaded, what is intact goes on,
 * and what is lost is said, not passed on as good.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { until } from '#test/support/system.ts';
import { zipEntries } from '#test/support/zip-reader.ts';
import { type Acknowledged, Modality } from './modality.ts';
import { type Chance, chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { Site } from './site.ts';
import { packsBelow, printTable } from './verdict.ts';

const INSTANCES = 24;
const PACKS_HIT = 2;
const NO_CLOUD = { ARCHIPEL_EDGE_CLOUD_URL: 'http://127.0.0.1:9' };

/** Flips one bit of one instance in the pack; answers its SOP Instance UID. */
function rot(path: string, chance: Chance): string {
  const bytes = readFileSync(path);
  const entry = chance.pick(zipEntries(bytes));
  // A view on the pack's bytes: they are stored as they are. The first 200 are preamble and File Meta.
  const at = 200 + chance.integer(entry.bytes.length - 200);
  entry.bytes[at] = entry.bytes[at]! ^ (1 << chance.integer(8));
  writeFileSync(path, bytes);
  return entry.name.replace(/\.dcm$/, '');
}

function modalityOf(site: Site, chance: Chance, uidRoot: string): Modality {
  return new Modality({ port: () => site.dicomPort, chance, uidRoot, instancesPerSeries: 6 });
}

async function send(site: Site, chance: Chance, uidRoot: string): Promise<readonly Acknowledged[]> {
  const modality = modalityOf(site, chance, uidRoot);
  modality.allow(INSTANCES);
  await modality.finish();
  return modality.acknowledged;
}

describe('bit rot', () => {
  it('of what the cloud has is mended from there, and never given out', async () => {
    const seed = seedOfRun();
    const chance = chanceOf(seed);
    const rounds = Math.min(roundsOfRun(2), 50);
    await using site = await Site.create();
    await site.startGateway();
    const here = new DicomwebClient(`${site.gatewayUrl}/dicomweb`);
    const acknowledged: Acknowledged[] = [];
    const mendedMs: number[] = [];
    let altered = 0;
    let refusedReads = 0;
    for (let round = 0; round < rounds; round++) {
      acknowledged.push(...(await send(site, chance, `1.2.826.0.1.3680043.10.1462.3.${seed}.${round}`)));
      await until('all to be in its place', 60_000, async () => (await site.status()).packs.open.packs === 0);
      await site.waitUntilDrained();
      const paths = packsBelow(join(site.edgeFolder, 'packs'));
      const good = new Map(paths.map((path) => [path, readFileSync(path)]));
      const hit = Array.from({ length: PACKS_HIT }, () => chance.pick(paths));
      for (const path of new Set(hit)) rot(path, chance);
      const rottenAtMs = performance.now();
      // Whoever reads everything reads it right, or not; and in the end right.
      await until('everything to be right again', 60_000, async () => {
        let right = 0;
        for (const { ref, digest } of acknowledged) {
          const found = await here.dataSetDigest(ref).catch(() => undefined);
          if (found === undefined) refusedReads++;
          else if (found.digest !== digest) altered++;
          else right++;
        }
        return right === acknowledged.length && paths.every((path) => readFileSync(path).equals(good.get(path)!));
      });
      mendedMs.push(performance.now() - rottenAtMs);
    }
    const verdict = await site.judge(acknowledged);
    printTable('bit rot, archived', {
      seed,
      rounds,
      acknowledged: verdict.acknowledged,
      lost: verdict.lost.length,
      altered: verdict.altered.length + altered,
      duplicated: verdict.duplicated.length,
      'reads refused until it was mended': refusedReads,
      'slowest to be mended (ms)': Math.round(Math.max(...mendedMs)),
    });
    expect(altered).toBe(0);
    expect(verdict).toEqual({ acknowledged: acknowledged.length, lost: [], altered: [], duplicated: [] });
    expect((await site.status()).alarms).toEqual([]);
  });

  it('of what is around the instances costs none of them, though the cloud has none', async () => {
    const chance = chanceOf(seedOfRun());
    await using site = await Site.create();
    await site.startGateway(NO_CLOUD);
    const acknowledged = await send(site, chance, '1.2.826.0.1.3680043.10.1462.12');
    await until('all packs to be sealed', 60_000, async () => {
      const { packs } = await site.status();
      return packs.open.packs === 0 && packs.sealed.instances === INSTANCES;
    });
    await site.killGateway();
    const path = chance.pick(packsBelow(join(site.edgeFolder, 'packs')));
    const bytes = readFileSync(path);
    // In the directory: every instance is as it was, and the pack is not.
    bytes[bytes.length - 40] = bytes[bytes.length - 40]! ^ 1;
    writeFileSync(path, bytes);
    await site.startGateway();
    await until('all to be archived', 60_000, async () => {
      const { backlog, packs } = await site.status();
      return backlog.packs === 0 && packs.archived.instances === INSTANCES;
    });
    const verdict = await site.judge(acknowledged);
    expect(verdict).toEqual({ acknowledged: INSTANCES, lost: [], altered: [], duplicated: [] });
  });

  it('of what the cloud has not is never uploaded as good; the rest goes on, and the alarm says what to send again', async () => {
    const seed = seedOfRun();
    const chance = chanceOf(seed);
    await using site = await Site.create();
    await site.startGateway(NO_CLOUD);
    const acknowledged = await send(site, chance, `1.2.826.0.1.3680043.10.1462.2.${seed}`);
    await until('all packs to be sealed', 60_000, async () => {
      const { packs } = await site.status();
      return packs.open.packs === 0 && packs.sealed.instances === INSTANCES;
    });
    await site.killGateway();
    const lost = rot(chance.pick(packsBelow(join(site.edgeFolder, 'packs'))), chance);
    await site.startGateway();
    await until('an alarm', 60_000, async () =>
      (await site.status()).alarms.some((text) => text.includes('sent again')),
    );
    await until('the rest to be archived', 60_000, async () => {
      const { backlog, packs } = await site.status();
      return backlog.packs === 0 && packs.archived.instances === INSTANCES - 1;
    });
    const before = await site.judge(acknowledged);
    expect({ ...before, lost: [...before.lost] }).toEqual({
      acknowledged: INSTANCES,
      lost: [lost],
      altered: [],
      duplicated: [],
    });
    // The modality sends again what the alarm asks for, or all of it.
    await send(site, chanceOf(seed), `1.2.826.0.1.3680043.10.1462.2.${seed}`);
    await until('the lost one to be archived', 60_000, async () => {
      return (await site.status()).packs.archived.instances === INSTANCES;
    });
    const verdict = await site.judge(acknowledged);
    printTable('bit rot, not archived', {
      seed,
      rounds: 1,
      acknowledged: verdict.acknowledged,
      'said to be lost': before.lost.length,
      'lost after it was sent again': verdict.lost.length,
      altered: verdict.altered.length,
      duplicated: verdict.duplicated.length,
    });
    expect(verdict).toEqual({ acknowledged: INSTANCES, lost: [], altered: [], duplicated: [] });
  });
});
