/**
 * The manifests of packs as retrieval reads them: fetched once however many ask at a time, kept decoded within a budget of
 * bytes (packs are immutable, so nothing kept is ever stale), and looked up by where an entry lies.
 */
import { manifestKey } from '../archive/keys.ts';
import { decodeManifest, type Manifest, type ManifestEntry } from '../archive/manifest.ts';
import type { PackStore } from '../archive/ports.ts';
import type { PackRef } from '../archive/records.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';

export interface LoadedManifest {
  readonly manifest: Manifest;
  /** By the offset of the entry's data in the pack, which is what an index record knows. */
  readonly entryAt: ReadonlyMap<number, ManifestEntry>;
}

export interface Manifests {
  /** Errors of PackStore, but `damaged` where a manifest is missing: the index names no pack without one. */
  load(tenant: string, ref: PackRef): Promise<LoadedManifest>;
  /** The entry that an index record names; errors of `load` and `entryIn`. */
  entryOf(record: PackRef & { readonly tenant: string; readonly offsetBytes: number }): Promise<ManifestEntry>;
}

/** What a decoded entry costs beside its metadata text. */
const entryOverheadBytes = 1024;

export function createManifests(packs: PackStore, budgetBytes: number): Manifests {
  const kept = new Map<string, { loading: Promise<LoadedManifest>; sizeBytes: number }>();
  let keptBytes = 0;

  const load = (tenant: string, ref: PackRef): Promise<LoadedManifest> => {
    const key = manifestKey(tenant, ref);
    const known = kept.get(key);
    if (known !== undefined) {
      kept.delete(key);
      kept.set(key, known); // now the one used last
      return known.loading;
    }
    const entry = { loading: fetchManifest(packs, key), sizeBytes: 0 };
    kept.set(key, entry);
    entry.loading.then(
      (loaded) => {
        if (kept.get(key) !== entry) return;
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

  return {
    load,
    entryOf: async (record) => entryIn(await load(record.tenant, record), record),
  };
}

/** The entry that an index record names. Error `damaged` when the manifest has none there. */
export function entryIn(
  { entryAt }: LoadedManifest,
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

async function fetchManifest(packs: PackStore, key: string): Promise<LoadedManifest> {
  const bytes = await packs.read(key).catch((error: unknown) => {
    if (!isArchiveError(error, 'not-found')) throw error;
    throw new ArchiveError('damaged', 'The manifest of a pack is missing.', { key }, error);
  });
  const manifest = await decodeManifest(bytes);
  return { manifest, entryAt: new Map(manifest.entries.map((entry) => [entry.offsetBytes, entry])) };
}

/** Strings beyond Latin-1 take two bytes a character; that much precision is not needed here. */
function sizeOf({ manifest }: LoadedManifest): number {
  return manifest.entries.reduce((sum, entry) => sum + entry.metadata.length + entryOverheadBytes, entryOverheadBytes);
}
