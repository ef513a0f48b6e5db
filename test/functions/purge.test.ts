/**
 * Purging over a real archive: deleted bytes go, all others stay byte for byte and are found, whenever the step is ended and begun again.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createIngestStep } from '#functions/ingest/step.ts';
import { createPurgeStep, type PurgeOptions } from '#functions/purge/step.ts';
import { deleteInstances, isDeleted } from '#shared/archive/deletion.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { manifestKey, packIdBefore, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRef, StudyRef, Tombstone } from '#shared/archive/records.ts';
import { restoreInstances } from '#shared/archive/restoration.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { silentLogger } from '#shared/log.ts';
import { ask, bytesOf, serviceOver } from '#test/shared/dicomweb/ask.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;
const uids = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
const made = [1, 2, 3, 4].map((instanceNumber) => makeInstance({ ...uids, instanceNumber, rows: 4, columns: 4 }));
const [first, second, third, fourth] = made as [MadeInstance, MadeInstance, MadeInstance, MadeInstance];

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

const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;
const remove = (ref: StudyRef) => deleteInstances(archive.index, fixture.tenant, ref, () => nowMs);
const purge = (over: Archive = archive, options: Partial<PurgeOptions> = {}): Promise<void> => {
  const ingest = createIngestStep({ archive: over, nowMs: () => nowMs, log: silentLogger });
  const settings = { purgeAfterMs: 30 * DAY_MS, nowMs: () => nowMs, log: silentLogger };
  return createPurgeStep({ archive: over, ingest, ...settings, ...options })({ tenant: fixture.tenant });
};
const tombstones = async (): Promise<readonly Tombstone[]> =>
  (await archive.index.listTombstones(fixture.tenant, uids, { limit: 99 })).items;
const isThere = async (ref: PackRef): Promise<boolean[]> =>
  Promise.all(
    [packKey, manifestKey].map(async (key) => (await archive.packs.head(key(fixture.tenant, ref))) !== undefined),
  );
const dataSetOf = async (instance: MadeInstance): Promise<Buffer> => {
  const response = await ask(service, `${pathOf(instance)}?accept=application/dicom`);
  expect(response.status).toBe(200);
  const file = await bytesOf(response);
  return file.subarray(144 + file.readUInt32LE(140));
};
async function expectAlive(...instances: readonly MadeInstance[]): Promise<void> {
  for (const instance of instances) expect(await dataSetOf(instance)).toEqual(Buffer.from(instance.dataSet));
  const { items } = await archive.index.listInstances(fixture.tenant, uids, { limit: 99 });
  expect(items.map(({ digest }) => digest).toSorted()).toEqual(instances.map(({ digest }) => digest).toSorted());
  const study = await archive.index.getStudy(fixture.tenant, uids);
  expect(study?.instanceCount).toBe(instances.length === 0 ? undefined : instances.length);
  if (instances.length === 0) return;
  const metadata = await ask(service, `/studies/${uids.studyInstanceUid}/metadata`);
  expect(((await metadata.json()) as unknown[]).length).toBe(instances.length);
}

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

const POWER = 'the power is gone';

/** Whether the work was ended by the power. */
const ends = (work: () => Promise<void>): Promise<boolean> =>
  work().then(
    () => false,
    (error: Error) => {
      if (error.message === POWER) return true;
      throw error;
    },
  );

/** The archive, which does so many writes more and then nothing at all. */
function ending(over: Archive, writes: number): Archive {
  let left = writes;
  const isRead = /^(get|list|packs|tombstones|changed|head|read|stream)/;
  const watched = <T extends object>(part: T): T =>
    new Proxy(part, {
      get(target, name: string) {
        const method = target[name as keyof T] as (...args: unknown[]) => Promise<unknown>;
        return async (...args: unknown[]) => {
          if (left < 0 || (!isRead.test(name) && left-- === 0)) throw new Error(POWER);
          return method(...args);
        };
      },
    });
  return { index: watched(over.index), packs: watched(over.packs) };
}
