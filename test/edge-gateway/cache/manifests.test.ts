/**
 * Entries of packs that have no manifest yet, and the manifests of sealed ones: read while packs grow, are sealed and move,
 * kept once and within bounds, never made of damaged bytes, and never in the way of senders.
 */
import { mkdir, open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createPackManifests, type PackManifests, type PackManifestsOptions } from '#edge-gateway/cache/manifests.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import { decodeManifest } from '#shared/archive/manifest.ts';
import { inspectEntry } from '#shared/archive/manifest-entry.ts';
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import { createLogger } from '#shared/log.ts';
import type { MadeInstance } from '#test/support/dicom-factory.ts';
import { until } from '#test/support/system.ts';
import { oneSeries, Receiving, TENANT } from './receiving.ts';

interface Setup {
  readonly manifests: PackManifests;
  readonly faults: string[];
}

function manifestsOf(receiving: Receiving, options: Partial<PackManifestsOptions> = {}): Setup {
  const faults: string[] = [];
  const manifests = createPackManifests({
    tenant: TENANT,
    index: receiving.index,
    packs: receiving.store,
    root: `${receiving.folder}/packs`,
    isBusy: () => false,
    log: createLogger('error', (line) => faults.push(line)),
    ...options,
  });
  return { manifests, faults };
}

async function recordOf(receiving: Receiving, { ref }: MadeInstance): Promise<InstanceRecord> {
  let record: InstanceRecord | undefined;
  await until('the instance to be indexed', 5_000, async () => {
    record = await receiving.index.getInstance(TENANT, ref);
    return record !== undefined;
  });
  return record!;
}

/** Counts what is read of packs. */
function counting(receiving: Receiving): { store: Receiving['store']; reads: () => number } {
  let reads = 0;
  const { store } = receiving;
  return {
    store: {
      ...store,
      read: (...args) => {
        reads++;
        return store.read(...args);
      },
    },
    reads: () => reads,
  };
}

const storedManifest = async ({ store }: Receiving, pack: PackRecord) =>
  decodeManifest(await store.read(manifestKey(TENANT, pack)));

describe('entries of an open pack', () => {
  it('are there for what was appended, each read once however many ask', async () => {
    await using receiving = await Receiving.start();
    const { store, reads } = counting(receiving);
    const { manifests } = manifestsOf(receiving, { packs: store });
    const series = oneSeries();
    for (let i = 1; i <= 3; i++) {
      const record = await recordOf(receiving, await receiving.stored({ ...series, instanceNumber: i }));
      const before = reads();
      const asked = await Promise.all(Array.from({ length: 5 }, () => manifests.inspectEntry(record)));
      expect(new Set(asked).size).toBe(1);
      expect(asked[0]?.sopInstanceUid).toBe(record.sopInstanceUid);
      expect(JSON.parse(asked[0]?.metadata ?? '')['00200013'].Value).toEqual([i]);
      expect(reads() - before).toBe(1);
    }
    expect(receiving.sealed).toEqual([]);
    await manifests.close();
  });

  it('are what the sealed pack holds, through sealing and moving', async () => {
    await using receiving = await Receiving.start();
    const { manifests, faults } = manifestsOf(receiving, { budgetBytes: 0 });
    const series = oneSeries();
    const records: InstanceRecord[] = [];
    for (let i = 1; i <= 12; i++)
      records.push(await recordOf(receiving, await receiving.stored({ ...series, instanceNumber: i })));
    let isSealed = false;
    const sealing = receiving.receiver.flush().then(() => {
      isSealed = true;
    });
    const seen = new Map<string, unknown>();
    for (let rounds = 0; !isSealed || rounds < 2; rounds++) {
      for (const record of records) {
        const entry = await manifests.inspectEntry(record);
        const known = seen.get(record.sopInstanceUid) ?? entry;
        expect(entry).toEqual(known);
        seen.set(record.sopInstanceUid, entry);
      }
    }
    await sealing;
    const [pack] = receiving.sealed as [PackRecord];
    const { manifest } = await inspectPack(receiving.store, packKey(TENANT, pack), { tenant: TENANT, ref: pack });
    expect([...seen.values()]).toEqual(manifest.entries);
    expect(faults).toEqual([]);
    await manifests.close();
  });

  it('fail for an instance that is not where it should be, and are tried again', async () => {
    await using receiving = await Receiving.start();
    const { manifests } = manifestsOf(receiving);
    const record = await recordOf(receiving, await receiving.stored());
    const elsewhere = { ...record, packId: record.packId.replace(/.$/, (c) => (c === '0' ? '1' : '0')) };
    for (let i = 0; i < 2; i++)
      await expect(manifests.inspectEntry(elsewhere)).rejects.toMatchObject({ code: 'not-found' });
    await expect(manifests.inspectEntry({ ...record, sopInstanceUid: '1.2.3' })).rejects.toMatchObject({
      code: 'damaged',
    });
    expect((await manifests.inspectEntry(record)).digest).toBe(record.digest);
    await manifests.close();
  });

  it('are read by few at a time', async () => {
    await using receiving = await Receiving.start();
    const series = oneSeries();
    const records: InstanceRecord[] = [];
    for (let i = 1; i <= 8; i++) records.push(await recordOf(receiving, await receiving.stored({ ...series })));
    let running = 0;
    let most = 0;
    const packs = {
      ...receiving.store,
      read: async (...args: Parameters<Receiving['store']['read']>) => {
        most = Math.max(most, ++running);
        try {
          return await receiving.store.read(...args);
        } finally {
          running--;
        }
      },
    };
    const { manifests } = manifestsOf(receiving, { packs });
    await Promise.all(records.map((record) => manifests.inspectEntry(record)));
    expect(most).toBe(2);
    await manifests.close();
  });
});

describe('the manifest of a sealed pack', () => {
  it('is stored in the background, as the cloud would make it', async () => {
    await using receiving = await Receiving.start();
    const { manifests, faults } = manifestsOf(receiving);
    const series = oneSeries();
    const records: InstanceRecord[] = [];
    for (let i = 0; i < 5; i++) records.push(await recordOf(receiving, await receiving.stored(series)));
    await receiving.receiver.flush();
    const [pack] = receiving.sealed as [PackRecord];
    manifests.sealed(pack);
    await manifests.idle();
    const manifest = await storedManifest(receiving, pack);
    expect(manifest.sha256).toBe(pack.sha256);
    expect(manifest.lengthBytes).toBe(pack.lengthBytes);
    for (const record of records) expect(manifest.entries).toContainEqual(await inspectEntry(receiving.store, record));
    expect(faults).toEqual([]);
    await manifests.close();
  });

  it('is made when a pack that has none is read, and not for one that is open', async () => {
    await using receiving = await Receiving.start();
    const { manifests } = manifestsOf(receiving);
    const record = await recordOf(receiving, await receiving.stored());
    await manifests.inspectEntry(record);
    await manifests.idle();
    expect(await receiving.store.head(manifestKey(TENANT, record))).toBeUndefined();
    await receiving.receiver.flush();
    // The next process knows nothing of it.
    const { manifests: later } = manifestsOf(receiving);
    await later.inspectEntry(record);
    await later.idle();
    expect((await storedManifest(receiving, receiving.sealed[0]!)).entries.length).toBe(1);
    await Promise.all([manifests.close(), later.close()]);
  });

  it('is not made of damaged bytes; the next pack has its own all the same', async () => {
    await using receiving = await Receiving.start();
    const { manifests, faults } = manifestsOf(receiving);
    await recordOf(receiving, await receiving.stored());
    await receiving.receiver.flush();
    await recordOf(receiving, await receiving.stored());
    await receiving.receiver.flush();
    const [rotten, good] = receiving.sealed as [PackRecord, PackRecord];
    const file = await open(receiving.store.pathOf(packKey(TENANT, rotten)), 'r+');
    await file.write(Buffer.from('rot'), 0, 3, rotten.lengthBytes - 500);
    await file.close();
    manifests.sealed(rotten);
    manifests.sealed(good);
    await manifests.idle();
    expect(await receiving.store.head(manifestKey(TENANT, rotten))).toBeUndefined();
    expect((await storedManifest(receiving, good)).entries.length).toBe(1);
    expect(faults.length).toBe(1);
    expect(faults[0]).toMatch(/checksum-mismatch|damaged/);
    await manifests.close();
  });

  it('leaves nothing half written behind by a process that was killed', async () => {
    await using receiving = await Receiving.start();
    const leftovers = join(receiving.folder, 'packs/.incoming');
    await mkdir(leftovers, { recursive: true });
    await writeFile(join(leftovers, 'half'), 'of a manifest');
    const { manifests, faults } = manifestsOf(receiving);
    await manifests.idle();
    expect(await readdir(leftovers)).toEqual([]);
    expect(faults).toEqual([]);
    await manifests.close();
  });

  it('waits while senders need the machine, and for nothing when the gateway ends', async () => {
    await using receiving = await Receiving.start();
    const { manifests, faults } = manifestsOf(receiving, { isBusy: () => true });
    await recordOf(receiving, await receiving.stored());
    await receiving.receiver.flush();
    const [pack] = receiving.sealed as [PackRecord];
    manifests.sealed(pack);
    await manifests.close();
    expect(await receiving.store.head(manifestKey(TENANT, pack))).toBeUndefined();
    manifests.sealed(pack);
    await manifests.idle();
    expect(faults).toEqual([]);
  });

  it('is made at once, before all others, where it is wanted, whoever sends', async () => {
    await using receiving = await Receiving.start();
    const { manifests, faults } = manifestsOf(receiving, { isBusy: () => true });
    for (let i = 0; i < 2; i++) await receiving.stored();
    await receiving.receiver.flush();
    const [other, wanted] = receiving.sealed as [PackRecord, PackRecord];
    manifests.sealed(other);
    manifests.want(wanted);
    const isThere = async (pack: PackRecord) => (await receiving.store.head(manifestKey(TENANT, pack))) !== undefined;
    await until('the manifest that is wanted', 20_000, () => isThere(wanted));
    expect(await isThere(other)).toBe(false);
    await manifests.close();
    expect(faults).toEqual([]);
  });
});
