/**
 * A purge while others delete, restore and store, and with copies of what is deleted: nothing comes back, and nothing else goes.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createIngestStep } from '#functions/ingest/step.ts';
import type { PurgeOptions } from '#functions/purge/step.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { silentLogger } from '#shared/log.ts';
import { serviceOver } from '#test/shared/dicomweb/ask.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';

import { DAY_MS, ends, first, fourth, HOUR_MS, made, POWER, purgingAt, second, third, uids } from './purging.ts';

let fixture: ArchiveFixture;
let archive: Archive;
let service: Service;
let nowMs: number;
beforeEach(async () => {
  nowMs = Date.UTC(2025, 0, 1);
  fixture = await makeArchive(made.map(({ file }) => file));
  ({ archive } = fixture);
  service = serviceOver(fixture);
});
afterEach(() => fixture.close());

const { remove, purge, tombstones, isThere, expectAlive } = purgingAt(() => ({ fixture, archive, service, nowMs }));

describe('a purge while others work', () => {
  it('does not bring back what is deleted while its pack is written anew', async () => {
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    const racing: Archive = {
      ...archive,
      packs: {
        ...archive.packs,
        create: async (...args) => {
          const made = await archive.packs.create(...args);
          if (args[0].endsWith('.zip')) await remove(third.ref);
          return made;
        },
      },
    };
    await purge(racing);
    await expectAlive(first, fourth);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(first, fourth);
    expect((await tombstones()).every(({ state }) => state === 'purged')).toBe(true);
    for (const { packId } of await tombstones()) expect(await isThere({ ...uids, packId })).toEqual([false, false]);
  });

  it('shows at no moment what was deleted while its pack was written anew, also when it ends right after', async () => {
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    const racing: Archive = {
      ...archive,
      packs: {
        ...archive.packs,
        create: async (...args) => {
          const made = await archive.packs.create(...args);
          if (args[0].endsWith('.zip')) await remove(third.ref);
          return made;
        },
      },
    };
    const step = createIngestStep({ archive, nowMs: () => nowMs, log: silentLogger });
    const ingest: PurgeOptions['ingest'] = async (message) => {
      await step(message);
      throw new Error(POWER);
    };
    expect(await ends(() => purge(racing, { ingest }))).toBe(true);
    await expectAlive(first, fourth);
    await purge();
    await expectAlive(first, fourth);
    // It was deleted just now, and can still be restored.
    expect(await restoreInstances(archive.index, fixture.tenant, third.ref, nowMs)).toBeGreaterThan(0);
    await expectAlive(first, third, fourth);
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(first, third, fourth);
    expect(await isThere(fixture.packs[0]!)).toEqual([false, false]);
  });

  it('brings back no copy of what is deleted elsewhere, and puts none in place of what was stored instead', async () => {
    const fifth = makeInstance({ ...uids, instanceNumber: 5 });
    await fixture.add([second.file, fifth.file, third.file]);
    await remove(fifth.ref);
    nowMs += 10 * DAY_MS;
    await remove(second.ref);
    await remove(third.ref);
    nowMs += 10 * DAY_MS;
    const corrected = makeInstance({ ...second.ref, instanceNumber: 22 });
    await fixture.add([corrected.file]);
    await archive.index.updatePack(fixture.tenant, fixture.packs[2]!, ['archived'], { archivedAtMs: nowMs });
    nowMs += 10 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    // Of what is deleted only the fifth is due.
    expect(await isThere(fixture.packs[1]!)).toEqual([false, false]);
    await expectAlive(first, corrected, fourth);
    expect(await archive.index.getVersions(fixture.tenant, second.ref)).toHaveLength(1);
    expect(await restoreInstances(archive.index, fixture.tenant, third.ref, nowMs)).toBe(1);
    await expectAlive(first, corrected, third, fourth);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(first, corrected, third, fourth);
  });

  it('brings back no copy of what is deleted elsewhere at that moment', async () => {
    const fifth = makeInstance({ ...uids, instanceNumber: 5 });
    await fixture.add([second.file, fifth.file]);
    await remove(fifth.ref);
    nowMs += 31 * DAY_MS;
    const step = createIngestStep({ archive, nowMs: () => nowMs, log: silentLogger });
    await purge(archive, {
      ingest: async (message) => {
        await remove(second.ref);
        await step(message);
      },
    });
    await expectAlive(first, third, fourth);
  });

  it('keeps what was restored from a pack, though a copy of it is purged', async () => {
    const fifth = makeInstance({ ...uids, instanceNumber: 5 });
    await fixture.add([second.file, fifth.file]);
    await remove(second.ref);
    await remove(fifth.ref);
    nowMs += 31 * DAY_MS;
    // The copy is marked, and the first pack begun with; the second one is not.
    const { packId } = fixture.packs[1]!;
    const index: Archive['index'] = {
      ...archive.index,
      updateTombstone: (tombstone, ...change) =>
        tombstone.packId === packId
          ? Promise.reject(new Error(POWER))
          : archive.index.updateTombstone(tombstone, ...change),
    };
    const marked = (await archive.index.listTombstones(fixture.tenant, second.ref, { limit: 9 })).items[0]!;
    const { instances } = await inspectPack(archive.packs, packKey(fixture.tenant, fixture.packs[1]!), {
      tenant: fixture.tenant,
      ref: fixture.packs[1]!,
    });
    const copy = instances.find(({ sopInstanceUid }) => sopInstanceUid === second.ref.sopInstanceUid)!;
    await archive.index.createTombstones([{ ...marked, ...copy, state: 'deleted' }]);
    expect(await ends(() => purge({ ...archive, index }))).toBe(true);
    expect(await restoreInstances(archive.index, fixture.tenant, second.ref, nowMs)).toBe(1);
    await expectAlive(first, second, third, fourth);
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(first, second, third, fourth);
    expect(await isThere(fixture.packs[1]!)).toEqual([false, false]);
  });

  it('goes on with a pack that it has begun with, whatever was deleted from it since', async () => {
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    const ingest: PurgeOptions['ingest'] = () => Promise.reject(new Error(POWER));
    expect(await ends(() => purge(archive, { ingest }))).toBe(true);
    await remove(third.ref);
    await purge();
    await expectAlive(first, fourth);
    nowMs += HOUR_MS;
    await purge();
    expect(await isThere(fixture.packs[0]!)).toEqual([false, false]);
    expect(await restoreInstances(archive.index, fixture.tenant, third.ref, nowMs)).toBe(1);
    await expectAlive(first, third, fourth);
  });

  it('does not delete again what was restored from the new pack before the old one was given up', async () => {
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    const racing: Archive = {
      ...archive,
      packs: {
        ...archive.packs,
        create: async (...args) => {
          const made = await archive.packs.create(...args);
          if (args[0].endsWith('.zip')) await remove(third.ref);
          return made;
        },
      },
      index: {
        ...archive.index,
        updatePack: (tenant, ref, from, change) =>
          change.purgedAtMs === undefined
            ? archive.index.updatePack(tenant, ref, from, change)
            : Promise.reject(new Error(POWER)),
      },
    };
    expect(await ends(() => purge(racing))).toBe(true);
    expect(await restoreInstances(archive.index, fixture.tenant, third.ref, nowMs)).toBe(1);
    await expectAlive(first, third, fourth);
    await purge();
    await expectAlive(first, third, fourth);
  });
});
