/**
 * Two gateways of one archive, one study on both at once: instances that both have, instances that only one has, and instances
 * of one UID with other bytes. The cloud keeps each (UID, bytes) once as current or as a flagged conflict, and counts right.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startGateway } from '#edge-gateway/gateway.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { startLocalCloud } from '#infra/local/cloud.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { InstanceRecord } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { associate, storeOn } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import { chanceOf, roundsOfRun, seedOfRun } from './random.ts';
import { printTable } from './verdict.ts';

const SERIES = 3;
const PER_SERIES = 12;

it('F15: what two gateways send of one study is one study, each object once, conflicts flagged', async () => {
  const chance = chanceOf(seedOfRun());
  const folder = mkdtempSync(join(tmpdir(), 'archipel-two-'));
  const cloud = await startLocalCloud({
    folder: join(folder, 'cloud'),
    host: '127.0.0.1',
    port: 0,
    tenant: 'default',
    viewer: () => ({ kind: 'missing', reason: 'this is a test.' }),
    log: silentLogger,
  });
  const gateways = await Promise.all(
    ['one', 'two'].map((name) =>
      startGateway(
        {
          ...readEdgeSettings({
            ARCHIPEL_EDGE_DATA: join(folder, name),
            ARCHIPEL_EDGE_CLOUD_URL: cloud.url,
            ARCHIPEL_EDGE_DISK_RESERVE_MB: '64',
          }),
          dicomPort: 0,
          httpPort: 0,
        },
        silentLogger,
      ),
    ),
  );
  const rounds = roundsOfRun(2);
  const sent = new Map<string, MadeInstance>();
  let conflicts = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const studyInstanceUid = freshUid();
      const queues: MadeInstance[][] = [[], []];
      for (let n = 0; n < SERIES * PER_SERIES; n++) {
        const ref = {
          studyInstanceUid,
          seriesInstanceUid: `${studyInstanceUid}.${n % SERIES}`,
          sopInstanceUid: freshUid(),
        };
        const made = makeInstance({ ...ref, instanceNumber: n, patientName: 'First^One' });
        const kind = chance.integer(4);
        if (kind === 0) queues[chance.integer(2)]!.push(made);
        else if (kind === 3) {
          const other = makeInstance({ ...ref, instanceNumber: n, patientName: 'Second^One' });
          conflicts++;
          queues[0]!.push(made);
          queues[1]!.push(other);
          sent.set(`${ref.sopInstanceUid} ${other.digest}`, other);
        } else for (const queue of queues) queue.push(made);
        sent.set(`${ref.sopInstanceUid} ${made.digest}`, made);
      }
      await Promise.all(
        gateways.map(async ({ dicomPort }, i) => {
          const queue = [...queues[i]!].sort(() => chance.next() - 0.5);
          const association = await associate(dicomPort, queue.slice(0, 1));
          for (const made of queue) expect((await storeOn(association, made)).status).toBe(0);
          await association.release();
        }),
      );
    }
    const endedAtMs = performance.now();
    await until('both gateways to be drained', 120_000, async () => {
      const totals = await Promise.all(gateways.map(({ archive }) => archive.index.packTotals('default')));
      expect(totals.map((total) => total.rejected.packs)).toEqual([0, 0]);
      return totals.every((total) => total.open.packs + total.sealed.packs + total.sent.packs === 0);
    });
    const seconds = (performance.now() - endedAtMs) / 1000;

    const { index, packs } = cloud.archive;
    const studies = new Set([...sent.values()].map(({ ref }) => ref.studyInstanceUid));
    let lost = 0;
    let altered = 0;
    const kept = new Set<string>();
    let current = 0;
    for (const made of sent.values()) {
      const versions = await index.getVersions('default', made.ref);
      const found: InstanceRecord | undefined = versions.find(({ digest }) => digest === made.digest);
      if (found === undefined) {
        lost++;
        continue;
      }
      for (const version of versions) kept.add(`${version.sopInstanceUid} ${version.digest} ${version.packId}`);
      if (found.state === 'current') current++;
      const bytes = await packs.read(packKey('default', found), found);
      if (!Buffer.from(bytes.subarray(found.dataSetOffsetBytes)).equals(made.dataSet)) altered++;
    }
    const doubled = kept.size - sent.size;
    const flagged = (await index.listConflicts('default', 1)).count;
    printTable('F15: two gateways, one study', {
      rounds,
      acknowledged: sent.size,
      lost,
      altered,
      duplicated: doubled,
      'seconds to recover': seconds.toFixed(1),
      conflicts,
      'conflicts flagged': flagged,
    });
    expect({ lost, altered, doubled, flagged }).toEqual({ lost: 0, altered: 0, doubled: 0, flagged: conflicts });
    expect(current).toBe(rounds * SERIES * PER_SERIES);
    for (const studyInstanceUid of studies) {
      const study = await index.getStudy('default', { studyInstanceUid });
      expect(study).toMatchObject({ seriesCount: SERIES, instanceCount: SERIES * PER_SERIES });
    }
  } finally {
    for (const gateway of gateways) await gateway.close();
    await cloud.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
