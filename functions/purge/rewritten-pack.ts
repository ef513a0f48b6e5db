/**
 * A pack written anew without some of its entries: what stays is copied byte for byte, local headers included, and its directory made
 * for it. The source is read and checked as a whole first (CRC-32 of each entry, SHA-256): nothing is taken over from a damaged pack.
 */
import { createHash } from 'node:crypto';
import { packIdBefore, packKey } from '#shared/archive/keys.ts';
import { encodeDirectory, type PackEntry } from '#shared/archive/pack.ts';
import { PackScanner } from '#shared/archive/pack-scan.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { ByteRange, PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';

/**
 * Stores the pack that takes the place of `pack` in the order of arrival, unless one is there already; answers its key. At least one entry
 * must stay. Errors: `damaged`, `checksum-mismatch`, and those of the store.
 * @param dropped names of entries
 */
export async function storeRewritten(
  packs: PackStore,
  pack: PackRecord,
  dropped: ReadonlySet<string>,
): Promise<string> {
  const source = packKey(pack.tenant, pack);
  const target = packKey(pack.tenant, { ...pack, packId: packIdBefore(pack.packId) });
  if ((await packs.head(target)) !== undefined) return target;
  const kept = (await entriesOf(packs, source, pack)).filter(({ name }) => !dropped.has(name));
  const { runs, directory } = layOut(kept);
  const hash = createHash('sha256');
  let lengthBytes = 0;
  for await (const bytes of bytesOf(packs, source, runs, directory)) {
    hash.update(bytes);
    lengthBytes += bytes.length;
  }
  const body = ReadableStream.from(bytesOf(packs, source, runs, directory)) as ReadableStream<Uint8Array>;
  await packs.create(target, body, { lengthBytes, sha256: hash.digest('hex') });
  return target;
}

/** Of a pack that is as it was sealed. */
async function entriesOf(packs: PackStore, key: string, pack: PackRecord): Promise<readonly PackEntry[]> {
  const scanner = new PackScanner({ begin: () => {}, data: () => {}, end: () => {} });
  const hash = createHash('sha256');
  for await (const bytes of await packs.stream(key)) {
    hash.update(bytes);
    scanner.push(bytes);
  }
  const entries = scanner.end();
  if (hash.digest('hex') !== pack.sha256)
    throw new ArchiveError('checksum-mismatch', 'A pack is not as it was archived; it is not written anew.', {
      packId: pack.packId,
    });
  return entries;
}

interface Layout {
  /** Of the source: neighbours are one. */
  readonly runs: readonly ByteRange[];
  readonly directory: Uint8Array;
}

function layOut(kept: readonly PackEntry[]): Layout {
  const runs: { offsetBytes: number; lengthBytes: number }[] = [];
  const entries: PackEntry[] = [];
  let at = 0;
  for (const entry of kept) {
    const headerBytes = entry.offsetBytes - entry.headerOffsetBytes;
    entries.push({ ...entry, headerOffsetBytes: at, offsetBytes: at + headerBytes });
    const lengthBytes = headerBytes + entry.lengthBytes;
    const last = runs.at(-1);
    if (last !== undefined && last.offsetBytes + last.lengthBytes === entry.headerOffsetBytes)
      last.lengthBytes += lengthBytes;
    else runs.push({ offsetBytes: entry.headerOffsetBytes, lengthBytes });
    at += lengthBytes;
  }
  return { runs, directory: encodeDirectory(entries, at) };
}

async function* bytesOf(
  packs: PackStore,
  key: string,
  runs: readonly ByteRange[],
  directory: Uint8Array,
): AsyncGenerator<Uint8Array, void, void> {
  for (const run of runs) yield* await packs.stream(key, run);
  yield directory;
}
