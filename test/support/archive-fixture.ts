/**
 * A real archive in a temporary folder: packs on disk, manifests, an SQLite index, filled from Part 10 files in the steps that
 * the cloud's ingest takes. For tests of whatever reads an archive.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { keyPartOf, newPackId, packKey } from '#shared/archive/keys.ts';
import { storeManifest } from '#shared/archive/manifest.ts';
import { dosTimeOf, encodeDirectory, encodeLocalHeader, type PackEntry } from '#shared/archive/pack.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRef, SeriesRef } from '#shared/archive/records.ts';
import { encodeFileMeta, readHeader } from '#shared/dicom/part10.ts';

export interface ArchiveFixtureOptions {
  /** Instances to a pack; default: all of a series in one. */
  readonly packSize?: number;
}

export interface ArchiveFixture {
  readonly archive: Archive;
  /** The archive's, with what only a gateway asks. */
  readonly index: SqliteIndex;
  readonly tenant: string;
  /** In the order in which they were made. */
  readonly packs: readonly PackRef[];
  /** Stores more; each call makes packs of its own, later than those before. */
  add(instances: readonly Uint8Array[]): Promise<void>;
  close(): Promise<void>;
}

const tenant = 'test';

/** @param instances complete Part 10 files; what precedes the data set is written anew, as the gateway does */
export async function makeArchive(
  instances: readonly Uint8Array[],
  options: ArchiveFixtureOptions = {},
): Promise<ArchiveFixture> {
  const folder = await mkdtemp(join(tmpdir(), 'archipel-archive-'));
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  const archive: Archive = { index, packs: createDiskPackStore({ root: join(folder, 'packs') }) };
  const packs: PackRef[] = [];
  let nowMs = Date.UTC(2024, 0, 31);
  const add = async (files: readonly Uint8Array[]): Promise<void> => {
    const groups = packsOf(files, options.packSize ?? Number.POSITIVE_INFINITY).map(({ ref, entries }) => {
      nowMs += 1000;
      const packId = newPackId(nowMs, crypto.getRandomValues(new Uint8Array(10)));
      return { ref: { ...ref, packId }, entries, nowMs };
    });
    packs.push(...groups.map(({ ref }) => ref));
    // Every pack waits for the disk several times: a few at once, the end is the same in any order.
    const waiting = groups.values();
    const storeSome = async (): Promise<void> => {
      for (const group of waiting) await storePack(archive, group.ref, group.entries, group.nowMs);
    };
    await Promise.all(Array.from({ length: 8 }, storeSome));
  };
  await add(instances);
  return {
    archive,
    index,
    tenant,
    packs,
    add,
    async close() {
      await index.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

interface NamedFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

function packsOf(files: readonly Uint8Array[], packSize: number): { ref: SeriesRef; entries: NamedFile[] }[] {
  const groups: { ref: SeriesRef; entries: NamedFile[] }[] = [];
  for (const file of files) {
    const { dataSet, dataSetOffsetBytes, transferSyntax } = readHeader(file);
    const uid = (tag: number): string => dataSet.ascii(tag) ?? '';
    const ref = { studyInstanceUid: keyPartOf(uid(0x0020000d)), seriesInstanceUid: keyPartOf(uid(0x0020000e)) };
    const start = encodeFileMeta({
      sopClassUid: uid(0x00080016),
      sopInstanceUid: uid(0x00080018),
      transferSyntaxUid: transferSyntax.uid,
    });
    const entry = {
      name: `${keyPartOf(uid(0x00080018))}.dcm`,
      bytes: Buffer.concat([start, file.subarray(dataSetOffsetBytes)]),
    };
    const open = groups.findLast(
      (group) =>
        group.ref.studyInstanceUid === ref.studyInstanceUid && group.ref.seriesInstanceUid === ref.seriesInstanceUid,
    );
    // One pack holds a SOP Instance UID once: its entries' names are the UIDs.
    const fits =
      open !== undefined && open.entries.length < packSize && !open.entries.some((e) => e.name === entry.name);
    if (open !== undefined && fits) open.entries.push(entry);
    else groups.push({ ref, entries: [entry] });
  }
  return groups;
}

async function storePack(archive: Archive, ref: PackRef, files: readonly NamedFile[], nowMs: number): Promise<void> {
  const pack = encodePack(files, nowMs);
  const sha256 = sha256Of(pack);
  const key = packKey(tenant, ref);
  await archive.packs.create(key, pack, { lengthBytes: pack.length, sha256 });
  const { manifest, instances } = await inspectPack(archive.packs, key, {
    tenant,
    ref,
    lengthBytes: pack.length,
    sha256,
  });
  await storeManifest(archive.packs, manifest);
  await indexInstances(archive.index, instances);
  await archive.index.createPack({
    ...ref,
    tenant,
    state: 'archived',
    instanceCount: instances.length,
    lengthBytes: pack.length,
    sha256,
    createdAtMs: nowMs,
    sealedAtMs: nowMs,
    archivedAtMs: nowMs,
  });
}

function encodePack(files: readonly NamedFile[], nowMs: number): Buffer {
  const entries: PackEntry[] = [];
  const parts: Uint8Array[] = [];
  let at = 0;
  for (const { name, bytes } of files) {
    const entry = { name, crc32: crc32(bytes), lengthBytes: bytes.length, dosTime: dosTimeOf(nowMs) };
    const header = encodeLocalHeader(entry);
    entries.push({ ...entry, headerOffsetBytes: at, offsetBytes: at + header.length });
    parts.push(header, bytes);
    at += header.length + bytes.length;
  }
  return Buffer.concat([...parts, encodeDirectory(entries, at)]);
}

const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
