/**
 * The gateway's index is damaged and moved away, as the gateway itself asks for, before the cloud has had anything: the packs on
 * the disk are all there is of what was acknowledged, and all of it must be in the cloud in the end.
 */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { until } from '#test/support/system.ts';
import { Modality } from './modality.ts';
import { chanceOf, seedOfRun } from './random.ts';
import { Site } from './site.ts';

const INSTANCES = 40;

it('that is lost loses nothing that was acknowledged', async () => {
  const seed = seedOfRun();
  await using site = await Site.create();
  await site.startGateway({ ARCHIPEL_EDGE_CLOUD_URL: 'http://127.0.0.1:1' });
  const modality = new Modality({
    port: () => site.dicomPort,
    chance: chanceOf(seed),
    uidRoot: `1.2.826.0.1.3680043.10.1462.${seed}.1`,
  });
  modality.start();
  modality.allow(INSTANCES);
  await until('everything to be acknowledged', 30_000, async () => modality.acknowledged.length >= INSTANCES);
  await modality.stop();
  await until('everything to be sealed', 30_000, async () => (await site.status()).packs.open.packs === 0);
  await site.killGateway();
  for (const name of readdirSync(site.edgeFolder))
    if (name.startsWith('index.sqlite')) rmSync(join(site.edgeFolder, name));
  await site.startGateway();
  await until('all of it to be in the cloud', 30_000, async () => {
    const { archived } = (await site.status()).packs;
    return archived.instances >= modality.acknowledged.length;
  });
  const verdict = await site.judge(modality.acknowledged);
  expect(verdict).toMatchObject({ lost: [], altered: [] });
});
