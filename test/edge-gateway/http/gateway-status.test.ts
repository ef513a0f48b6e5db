/** What the status says when the disk takes the index with it, and of packs that have changed on it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CacheReport } from '#edge-gateway/cache/cache.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { gatherStatus, type StatusSources } from '#edge-gateway/http/gateway-status.ts';
import { goodDay } from './status-fixture.ts';

let folder: string;
let index: SqliteIndex;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-status-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
});
afterAll(async () => {
  await index.close();
  rmSync(folder, { recursive: true, force: true });
});

function sources(parts: Partial<StatusSources>): StatusSources {
  const { upload, rate, minutes, peers } = goodDay();
  return {
    index,
    tenant: 'hospital',
    dataFolder: folder,
    reserveBytes: 0,
    aeTitle: 'ARCHIPEL',
    dicomPort: 104,
    cloudUrl: 'https://cloud.example',
    version: '1',
    startedAtMs: 0,
    nowMs: () => 0,
    upload: () => upload,
    receiver: () => ({ stored: { instances: 0, bytes: 0 }, fenced: false }),
    throughput: { minutes: () => minutes, bytesPerSecond: () => rate },
    connections: () => 0,
    peers: () => peers,
    viewer: () => false,
    routes: () => [],
    ...parts,
  };
}

it('is failing when the index cannot be read or the volume is gone, and says so where it would have failed itself', async () => {
  const lost = await createSqliteIndex({ file: join(folder, 'lost.sqlite'), inWorker: false });
  await lost.close();
  const status = await gatherStatus(sources({ index: lost, dataFolder: join(folder, 'no such volume') }));
  expect(status.health).toBe('failing');
  expect(status.alarms).toEqual([expect.stringContaining('index on the disk cannot be read')]);
  expect((await gatherStatus(sources({}))).health).toBe('ok');
});

it('raises an alarm for what changed on the disk, and tells what must be sent again from what can be fetched', async () => {
  const pack = { studyInstanceUid: '1', seriesInstanceUid: '2', reason: 'It rotted.', foundAtMs: 0 };
  const none = { packs: 0, bytes: 0 };
  const report: CacheReport = {
    freeBytes: 1,
    totalBytes: 2,
    marks: { evictBelowBytes: 0, reserveBytes: 0, rejectBelowBytes: 0 },
    packs: { onDisk: none, evictable: none, evicted: none },
    bytesPerDay: 0,
    daysUntilFull: undefined,
    evicted: none,
    scrub: {
      running: undefined,
      last: undefined,
      damaged: [
        { ...pack, packId: 'a', isMendable: true },
        { ...pack, packId: 'b', isMendable: false },
        { ...pack, packId: 'c', isMendable: false },
      ],
    },
  };
  const { health, alarms } = await gatherStatus(sources({ cache: async () => report }));
  expect(health).toBe('ok');
  expect(alarms).toEqual([
    expect.stringMatching(/^2 packs changed .* must be sent again/),
    expect.stringMatching(/^1 pack changed .* tried again/),
  ]);
});
