/**
 * What reading needs to know of packs at the gateway, from the moment an instance is indexed: an entry of a pack that has no
 * manifest yet, open or just sealed, is inspected by itself, on its first use, and kept within a budget. An instance that
 * the index names never changes its place or its bytes, so nothing kept is ever stale, and appending to the pack, sealing
 * or moving it changes nothing. Sealed packs get their manifests in the background (manifest-builder.ts).
 */
import type { ManifestEntry } from '#shared/archive/manifest.ts';
import { type EntryRecord, inspectEntry } from '#shared/archive/manifest-entry.ts';
import type { PackRef } from '#shared/archive/records.ts';
import { ManifestBuilder, type ManifestBuilderOptions } from './manifest-builder.ts';

export interface PackManifests {
  /** One inspection however many ask; few at a time. Errors: `damaged`, those of PackStore. */
  inspectEntry(record: EntryRecord): Promise<ManifestEntry>;
  /** A pack was sealed: its manifest will be stored. */
  sealed(pack: PackRef): void;
  /** Its manifest is needed now, whoever sends. */
  want(pack: PackRef): void;
  /** Resolves when all that were sealed, or read without one, have their manifests. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

export interface PackManifestsOptions extends ManifestBuilderOptions {
  /** For inspected entries. Default 32 MiB. */
  readonly budgetBytes?: number;
}

interface Kept {
  readonly inspecting: Promise<ManifestEntry>;
  /** 0 while it is being inspected. */
  sizeBytes: number;
}

const MIB = 1024 * 1024;
/** Beside the metadata's text. */
const ENTRY_OVERHEAD_BYTES = 1024;
const FRAME_BYTES = 64;
/** At a time: the disk is the senders' as well. */
const PARALLEL = 2;
/** Packs that were read without a manifest, so that each is put in line once. */
const MAX_READ_PACKS = 10_000;

export function createPackManifests(options: PackManifestsOptions): PackManifests {
  const { packs, budgetBytes = 32 * MIB } = options;
  const builder = new ManifestBuilder(options);
  const kept = new Map<string, Kept>();
  const readPacks = new Set<string>();
  const waiting: (() => void)[] = [];
  let keptBytes = 0;
  let running = 0;

  async function inspect(record: EntryRecord): Promise<ManifestEntry> {
    if (running >= PARALLEL) await new Promise<void>((resolve) => waiting.push(resolve));
    else running++;
    try {
      return await inspectEntry(packs, record);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  }

  function keep(key: string, record: EntryRecord): Promise<ManifestEntry> {
    const entry: Kept = { inspecting: inspect(record), sizeBytes: 0 };
    kept.set(key, entry);
    entry.inspecting.then(
      (made) => {
        entry.sizeBytes = sizeOf(made);
        keptBytes += entry.sizeBytes;
        makeRoom();
      },
      () => kept.delete(key),
    );
    return entry.inspecting;
  }

  function makeRoom(): void {
    for (const [key, { sizeBytes }] of kept) {
      if (keptBytes <= budgetBytes) return;
      if (sizeBytes === 0) continue;
      kept.delete(key);
      keptBytes -= sizeBytes;
    }
  }

  /** A pack of an earlier process, sealed when nobody made its manifest. Open ones come again when they are sealed. */
  function noteRead(pack: PackRef): void {
    if (readPacks.has(pack.packId)) return;
    if (readPacks.size >= MAX_READ_PACKS) readPacks.clear();
    readPacks.add(pack.packId);
    builder.add(pack);
  }

  return {
    inspectEntry(record) {
      noteRead(record);
      const key = `${record.packId}/${record.offsetBytes}/${record.digest}`;
      const known = kept.get(key);
      if (known === undefined) return keep(key, record);
      kept.delete(key);
      kept.set(key, known); // now the one used last
      return known.inspecting;
    },
    sealed: (pack) => builder.add(pack),
    want: (pack) => builder.want(pack),
    idle: () => builder.idle(),
    close: () => builder.close(),
  };
}

function sizeOf({ metadata, frames }: ManifestEntry): number {
  const frameBytes = frames.kind === 'encapsulated' ? frames.frames.length * FRAME_BYTES : 0;
  return ENTRY_OVERHEAD_BYTES + metadata.length + frameBytes;
}
