/**
 * What tests of the purge have in common: a series of four, purging it, looking whether all else is alive, and a power that fails.
 */
import { expect } from 'vitest';
import { createIngestStep } from '#functions/ingest/step.ts';
import { createPurgeStep, type PurgeOptions } from '#functions/purge/step.ts';
import { deleteInstances } from '#shared/archive/deletion.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRef, StudyRef, Tombstone } from '#shared/archive/records.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { silentLogger } from '#shared/log.ts';
import { ask, bytesOf } from '#test/shared/dicomweb/ask.ts';
import type { ArchiveFixture } from '#test/support/archive-fixture.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';

export const DAY_MS = 24 * 60 * 60_000;
export const HOUR_MS = 60 * 60_000;
export const uids = { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() };
export const made = [1, 2, 3, 4].map((instanceNumber) =>
  makeInstance({ ...uids, instanceNumber, rows: 4, columns: 4 }),
);
export const [first, second, third, fourth] = made as [MadeInstance, MadeInstance, MadeInstance, MadeInstance];

export const pathOf = ({ ref }: MadeInstance): string =>
  `/studies/${ref.studyInstanceUid}/series/${ref.seriesInstanceUid}/instances/${ref.sopInstanceUid}`;

/** What a test has at the moment. */
export interface Place {
  readonly fixture: ArchiveFixture;
  readonly archive: Archive;
  readonly service: Service;
  readonly nowMs: number;
}

/** @param at asked anew each time */
export function purgingAt(at: () => Place) {
  const remove = (ref: StudyRef) => deleteInstances(at().archive.index, at().fixture.tenant, ref, () => at().nowMs);
  const purge = (over: Archive = at().archive, options: Partial<PurgeOptions> = {}): Promise<void> => {
    const ingest = createIngestStep({ archive: over, nowMs: () => at().nowMs, log: silentLogger });
    const settings = { purgeAfterMs: 30 * DAY_MS, nowMs: () => at().nowMs, log: silentLogger };
    return createPurgeStep({ archive: over, ingest, ...settings, ...options })({ tenant: at().fixture.tenant });
  };
  const tombstones = async (): Promise<readonly Tombstone[]> =>
    (await at().archive.index.listTombstones(at().fixture.tenant, uids, { limit: 99 })).items;
  const isThere = async (ref: PackRef): Promise<boolean[]> =>
    Promise.all(
      [packKey, manifestKey].map(
        async (key) => (await at().archive.packs.head(key(at().fixture.tenant, ref))) !== undefined,
      ),
    );
  const dataSetOf = async (instance: MadeInstance): Promise<Buffer> => {
    const response = await ask(at().service, `${pathOf(instance)}?accept=application/dicom`);
    expect(response.status).toBe(200);
    const file = await bytesOf(response);
    return file.subarray(144 + file.readUInt32LE(140));
  };
  async function expectAlive(...instances: readonly MadeInstance[]): Promise<void> {
    for (const instance of instances) expect(await dataSetOf(instance)).toEqual(Buffer.from(instance.dataSet));
    const { items } = await at().archive.index.listInstances(at().fixture.tenant, uids, { limit: 99 });
    expect(items.map(({ digest }) => digest).toSorted()).toEqual(instances.map(({ digest }) => digest).toSorted());
    const study = await at().archive.index.getStudy(at().fixture.tenant, uids);
    expect(study?.instanceCount).toBe(instances.length === 0 ? undefined : instances.length);
    if (instances.length === 0) return;
    const metadata = await ask(at().service, `/studies/${uids.studyInstanceUid}/metadata`);
    expect(((await metadata.json()) as unknown[]).length).toBe(instances.length);
  }
  return { remove, purge, tombstones, isThere, expectAlive };
}

export const POWER = 'the power is gone';

/** Whether the work was ended by the power. */
export const ends = (work: () => Promise<void>): Promise<boolean> =>
  work().then(
    () => false,
    (error: Error) => {
      if (error.message === POWER) return true;
      throw error;
    },
  );

/** The archive, which does so many writes more and then nothing at all. */
export function ending(over: Archive, writes: number): Archive {
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
