/**
 * The manifests of packs as retrieval reads them: fetched once however many ask at a time, kept decoded within a budget of
 * bytes (sealed packs are immutable, so nothing kept is ever stale), and looked up by where an entry lies. A pack that has none
 * yet is served entry by entry where the archive can inspect them.
 */
import { manifestKey } from '../archive/keys.ts';
import { decodeManifest, type Manifest, type ManifestEntry } from '../archive/manifest.ts';
import type { EntryRecord } from '../archive/manifest-entry.ts';
import type { PackStore } from '../archive/ports.ts';
import type { PackRef } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';

export interface LoadedManifest {
  readonly manifest: Manifest;
  /** By the offset of the entry's data in the pack, which is what an index record knows. */
  readonly entryAt: ReadonlyMap<number, ManifestEntry>;
}

export interface Manifests {
  /**
   * Undefined for a pack that has no manifest yet, where entries can be inspected. Errors of PackStore, but `damaged` where a manifest
   * is missing and they cannot: then the index names no pack without one.
   */
  load(tenant: string, ref: PackRef): Promise<LoadedManifest | undefined>;
  /** The entries that these index records, all of one pack, name: by their offset. Errors of `load`, `entryIn` and the inspection. */
  entriesOf(records: readonly EntryRecord[]): Promise<ReadonlyMap<number, ManifestEntry>>;
  /** The same of one record. */
  entryOf(record: EntryRecord): Promise<ManifestEntry>;
}

/** Makes the entry of one instance whose pack has no manifest yet out of its pack; whoever gives it keeps and shares what costs. */
export type InspectEntry = (record: EntryRecord) => Promise<ManifestEntry>;

/** What a decoded entry costs beside its metadata text. */
const entryOverheadBytes = 1024;

export function createManifests(packs: PackStore, budgetBytes: number, inspectEntry?: InspectEntry): Manifests {
  const kept = new Map<string, { loading: Promise<LoadedManifest | undefined>; sizeBytes: number }>();
  let keptBytes = 0;

  const load = (tenant: string, ref: PackRef): Promise<LoadedManifest | undefined> => {
    const key = manifestKey(tenant, ref);
    const known = kept.get(key);
    if (known !== undefined) {
      kept.delete(key);
      kept.set(key, known); // now the one used last
      return known.loading;
    }
    const entry = { loading: fetchManifest(packs, key, inspectEntry === undefined), sizeBytes: 0 };
    kept.set(key, entry);
    entry.loading.then(
      (loaded) => {
        if (kept.get(key) !== entry) return;
        if (loaded === undefined) {
          kept.delete(key); // it may have one at any moment
          return;
        }
        entry.sizeBytes = sizeOf(loaded);
        keptBytes += entry.sizeBytes;
        makeRoom();
      },
      () => kept.get(key) === entry && kept.delete(key),
    );
    return entry.loading;
  };

  const makeRoom = (): void => {
    for (const [key, { sizeBytes }] of kept) {
      if (keptBytes <= budgetBytes) return;
      if (sizeBytes === 0) continue; // still loading
      kept.delete(key);
      keptBytes -= sizeBytes;
    }
  };

  const entryOf = async (record: EntryRecord): Promise<ManifestEntry> => {
    const loaded = await load(record.tenant, record);
    if (loaded !== undefined) return entryIn(loaded.entryAt, record);
    return inspected(record);
  };

  const inspected = (record: EntryRecord): Promise<ManifestEntry> => {
    if (inspectEntry === undefined) throw new Error('a pack without a manifest cannot be served here');
    return inspectEntry(record);
  };

  return {
    load,
    entryOf,
    async entriesOf(records) {
      const [first] = records;
      if (first === undefined) return new Map();
      const loaded = await load(first.tenant, first);
      if (loaded !== undefined) return loaded.entryAt;
      const entries = await Promise.all(records.map(inspected));
      return new Map(entries.map((entry) => [entry.offsetBytes, entry]));
    },
  };
}

/** The entry that an index record names. Error `damaged` when the manifest has none there. */
export function entryIn(
  entryAt: ReadonlyMap<number, ManifestEntry>,
  record: { readonly packId: string; readonly offsetBytes: number },
): ManifestEntry {
  const entry = entryAt.get(record.offsetBytes);
  if (entry !== undefined) return entry;
  const { packId, offsetBytes } = record;
  throw new ArchiveError('damaged', 'The manifest of a pack lacks an entry that the index names.', {
    packId,
    offsetBytes,
  });
}

async function fetchManifest(packs: PackStore, key: string, isDue: boolean): Promise<LoadedManifest | undefined> {
  const bytes = await packs.read(key).catch((error: unknown) => {
    if (!isArchiveError(error, 'not-found')) throw error;
    if (!isDue) return undefined;
    throw new ArchiveError('damaged', 'The manifest of a pack is missing.', { key }, error);
  });
  if (bytes === undefined) return undefined;
  const manifest = await decodeManifest(bytes);
  return { manifest, entryAt: new Map(manifest.entries.map((entry) => [entry.offsetBytes, entry])) };
}

/** Strings beyond Latin-1 take two bytes a character; that much precision is not needed here. */
function sizeOf({ manifest }: LoadedManifest): number {
  return manifest.entries.reduce((sum, entry) => sum + entry.metadata.length + entryOverheadBytes, entryOverheadBytes);
}
