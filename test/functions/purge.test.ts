/**
 * Purging over a real archive: deleted bytes go, all others stay byte for byte and are found, whenever the step is ended and begun again.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createIngestStep } from '#functions/ingest/step.ts';
import { isDeleted } from '#shared/archive/deletion.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { packIdBefore, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRef } from '#shared/archive/records.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { silentLogger } from '#shared/log.ts';
import { ask, bytesOf, serviceOver } from '#test/shared/dicomweb/ask.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';

import {
  DAY_MS,
  ending,
  ends,
  first,
  fourth,
  HOUR_MS,
  made,
  pathOf,
  purgingAt,
  second,
  third,
  uids,
} from './purging.ts';

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

describe('a purge', () => {
  it('writes a pack anew without what was deleted 30 days ago, and removes the old one when nobody can be reading it', async () => {
    const [old] = fixture.packs as [PackRef];
    await remove(second.ref);
    nowMs += 30 * DAY_MS - 1;
    await purge();
    expect((await tombstones()).map(({ state }) => state)).toEqual(['deleted']);
    expect((await archive.index.listPacks(fixture.tenant, uids)).length).toBe(1);

    nowMs += 1;
    await purge();
    await expectAlive(first, third, fourth);
    const fresh = { ...old, packId: packIdBefore(old.packId) };
    expect(await isThere(fresh)).toEqual([true, true]);
    expect(await isThere(old)).toEqual([true, true]);
    expect(await restoreInstances(archive.index, fixture.tenant, uids, nowMs)).toBe(0);

    nowMs += HOUR_MS;
    await purge();
    expect(await isThere(old)).toEqual([false, false]);
    await expectAlive(first, third, fourth);
    const { instances } = await inspectPack(archive.packs, packKey(fixture.tenant, fresh), {
      tenant: fixture.tenant,
      ref: fresh,
    });
    expect(instances.map(({ sopInstanceUid }) => sopInstanceUid)).toEqual(
      [first, third, fourth].map(({ ref }) => ref.sopInstanceUid),
    );
    expect(await tombstones()).toMatchObject([{ state: 'purged', attributes: {} }]);
    expect((await ask(service, pathOf(second))).status).toBe(410);
    const zip = await ask(service, `/studies/${uids.studyInstanceUid}?accept=application/zip`);
    expect((await bytesOf(zip)).equals(await archive.packs.read(packKey(fixture.tenant, fresh)))).toBe(true);
    // What was taken in once is not taken in again.
    await createIngestStep({ archive, nowMs: () => nowMs, log: silentLogger })({ key: packKey(fixture.tenant, old) });
    await expectAlive(first, third, fourth);
  });

  it('removes a pack of which nothing is left, and keeps a record that it was', async () => {
    const [old] = fixture.packs as [PackRef];
    await remove(uids);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    expect(await isThere(old)).toEqual([false, false]);
    expect(await archive.index.listPacks(fixture.tenant, uids)).toMatchObject([
      { packId: old.packId, state: 'archived' },
    ]);
    expect(await isDeleted(archive.index, fixture.tenant, uids)).toBe(true);
    await expectAlive();
    await fixture.add([second.file]);
    await expectAlive(second);
  });

  it('leaves alone a pack with a deletion that can still be undone', async () => {
    await remove(first.ref);
    nowMs += 20 * DAY_MS;
    await remove(second.ref);
    nowMs += 20 * DAY_MS;
    await purge();
    expect(await restoreInstances(archive.index, fixture.tenant, uids, nowMs)).toBe(2);
    await purge();
    await expectAlive(...made);
    expect(await archive.index.listPacks(fixture.tenant, uids)).toHaveLength(1);
  });

  it('never takes bytes that another record needs: an instance that was stored anew keeps its own (dcm4chee#4969, dcm4chee#4754)', async () => {
    await remove(second.ref);
    await fixture.add([second.file]);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(...made);
    expect(await isThere(fixture.packs[0]!)).toEqual([false, false]);
    expect(await isThere(fixture.packs[1]!)).toEqual([true, true]);
  });

  it('takes the same bytes out of packs where they were duplicates, with everything else in these staying', async () => {
    const fifth = makeInstance({ ...uids, instanceNumber: 5 });
    await fixture.add([second.file, fifth.file]);
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    await expectAlive(first, third, fourth, fifth);
    for (const ref of fixture.packs) expect(await isThere(ref)).toEqual([false, false]);
    expect((await tombstones()).map(({ state }) => state)).toEqual(['purged', 'purged']);
  });

  it('can be done again and again with a pack, and keeps conflicts what they were', async () => {
    const other = makeInstance({ ...third.ref, instanceNumber: 33 });
    await fixture.add([other.file]);
    for (const { ref } of [first, second]) {
      await remove(ref);
      nowMs += 31 * DAY_MS;
      await purge();
      nowMs += HOUR_MS;
      await purge();
    }
    const versions = await archive.index.getVersions(fixture.tenant, third.ref);
    expect(versions.map(({ digest, state }) => [digest, state])).toEqual([
      [third.digest, 'current'],
      [other.digest, 'conflict'],
    ]);
    await expectAlive(third, fourth);
  });

  it('takes nothing over from a pack that is damaged, and says so', async () => {
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    const spoilt: Archive = {
      ...archive,
      packs: {
        ...archive.packs,
        stream: async (key, range) =>
          (await archive.packs.stream(key, range)).pipeThrough(
            new TransformStream<Uint8Array, Uint8Array>({
              transform: (bytes, out) => out.enqueue(bytes.map((byte, i) => (i === 2_000 ? byte ^ 1 : byte))),
            }),
          ),
      },
    };
    await expect(purge(spoilt)).rejects.toMatchObject({ code: 'damaged' });
    await expectAlive(first, third, fourth);
    await purge();
    await expectAlive(first, third, fourth);
  });

  it('gives complete bytes to who was reading the old pack when it went', async () => {
    const [old] = fixture.packs as [PackRef];
    const zip = await ask(service, `/studies/${uids.studyInstanceUid}?accept=application/zip`);
    const whole = await archive.packs.read(packKey(fixture.tenant, old));
    await remove(second.ref);
    nowMs += 31 * DAY_MS;
    await purge();
    nowMs += HOUR_MS;
    await purge();
    expect(await isThere(old)).toEqual([false, false]);
    expect((await bytesOf(zip)).equals(whole)).toBe(true);
  });
});

describe('a purge that is ended between any two writes', () => {
  it('loses nothing, shows nothing deleted, and is finished by the next one', async () => {
    for (let writes = 0; ; writes++) {
      const own = await makeArchive(made.map(({ file }) => file));
      const before = { fixture, archive, service };
      ({ archive } = own);
      fixture = own;
      service = serviceOver(own);
      try {
        nowMs = Date.UTC(2025, 0, 1);
        await remove(second.ref);
        nowMs += 31 * DAY_MS;
        const first31 = await ends(() => purge(ending(archive, writes)));
        await expectAlive(first, third, fourth);
        nowMs += HOUR_MS;
        const later = await ends(() => purge(ending(archive, first31 ? 1_000 : writes)));
        await expectAlive(first, third, fourth);
        await purge();
        nowMs += HOUR_MS;
        await purge();
        await expectAlive(first, third, fourth);
        expect((await tombstones()).map(({ state }) => state)).toEqual(['purged']);
        expect(await isThere(own.packs[0]!)).toEqual([false, false]);
        if (!first31 && !later) {
          expect(writes).toBeGreaterThan(3);
          return;
        }
      } finally {
        await own.close();
        ({ fixture, archive, service } = before);
      }
    }
  });
});
