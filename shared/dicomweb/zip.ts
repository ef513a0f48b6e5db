/**
 * Instances as one ZIP file (application/zip). When they are exactly one pack, the pack goes out as it lies; otherwise a ZIP file of
 * stored entries is written while it is sent, with the CRC-32 and time that stand in the packs' local headers. Its length is
 * known beforehand. Entries are `<SOP Instance UID>.dcm`, within folders `series-0001` … when there are several series.
 */
import { keyPartOf } from '../archive/keys.ts';
import {
  decodeLocalHeader,
  encodeDirectory,
  encodeLocalHeader,
  LOCAL_MAX_BYTES,
  type LocalHeader,
  type PackEntry,
} from '../archive/pack.ts';
import type { Archive, PackStore } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import { begunStreamOf, streamOf } from './body.ts';
import { entityTag, isUnchanged, notModified, rangeHeaders, rangeOf } from './conditional.ts';
import type { Context } from './context.ts';
import type { Manifests } from './manifests.ts';
import { PackBytes } from './pack-bytes.ts';
import { reachOf } from './reach.ts';
import { type AnyRef, fileNameOf } from './references.ts';
import { inPackOrder, keyOf, readStored, type StoredBytes, type StoredInstance } from './stored-instances.ts';

export async function zipResponse(
  options: { readonly archive: Archive; readonly manifests: Manifests },
  context: Context,
  ref: AnyRef,
  instances: readonly StoredInstance[],
): Promise<Response> {
  const { packs } = options.archive;
  const packLengthBytes = await wholePackLength(options.manifests, instances);
  // The two ways to the same instances may differ in the padding of a header.
  const tag = entityTag('zip', packLengthBytes, ...instances.flatMap(({ packId, digest }) => [packId, digest]));
  if (isUnchanged(context.request, tag)) return notModified(tag);
  const headers = {
    'content-type': 'application/zip',
    'content-disposition': `attachment; filename="${fileNameOf(ref)}.zip"`,
    etag: tag,
  };
  if (packLengthBytes !== undefined) {
    const range = rangeOf(context.request, packLengthBytes, tag);
    const bytes = await PackBytes.open(
      packs,
      keyOf(instances[0]!),
      range ?? { offsetBytes: 0, lengthBytes: packLengthBytes },
    );
    return new Response(streamOf(bytes, context.log), {
      status: range === undefined ? 200 : 206,
      headers: { ...headers, ...rangeHeaders(range, packLengthBytes) },
    });
  }
  // One that lacks files would look whole to whoever opens it.
  const { failure } = await reachOf(packs, instances, context);
  if (failure !== undefined) throw failure;
  const layout = layOut(inPackOrder(instances));
  return new Response(await begunStreamOf(writeZip(packs, layout), context), {
    headers: { ...headers, 'content-length': String(layout.lengthBytes) },
  });
}

/** Of the pack that holds all of these instances and nothing else; undefined when there is none. */
async function wholePackLength(
  manifests: Manifests,
  instances: readonly StoredInstance[],
): Promise<number | undefined> {
  const first = instances[0]!;
  const isOnePack = instances.every(
    ({ packId, seriesInstanceUid }) => packId === first.packId && seriesInstanceUid === first.seriesInstanceUid,
  );
  if (!isOnePack) return undefined;
  const loaded = await manifests.load(first.tenant, first);
  if (loaded === undefined) return undefined; // it may be open: what is in it now is no ZIP file yet
  const { manifest, entryAt } = loaded;
  const isWhole =
    manifest.entries.length === instances.length && instances.every(({ offsetBytes }) => entryAt.has(offsetBytes));
  return isWhole ? manifest.lengthBytes : undefined;
}

interface Layout {
  readonly instances: readonly StoredInstance[];
  /** In the same order; without CRC-32 and time, which are known when the bytes come. */
  readonly entries: readonly PackEntry[];
  readonly directoryOffsetBytes: number;
  readonly lengthBytes: number;
}

function layOut(instances: readonly StoredInstance[]): Layout {
  const folders = new Map<string, string>();
  for (const { seriesInstanceUid } of instances) {
    if (!folders.has(seriesInstanceUid)) {
      folders.set(seriesInstanceUid, `series-${String(folders.size + 1).padStart(4, '0')}/`);
    }
  }
  let at = 0;
  const entries = instances.map(({ seriesInstanceUid, sopInstanceUid, lengthBytes }): PackEntry => {
    const name = `${folders.size > 1 ? folders.get(seriesInstanceUid) : ''}${keyPartOf(sopInstanceUid)}.dcm`;
    const entry = { name, lengthBytes, crc32: 0, dosTime: 0 };
    const headerOffsetBytes = at;
    const offsetBytes = at + encodeLocalHeader(entry).length;
    at = offsetBytes + lengthBytes;
    return { ...entry, headerOffsetBytes, offsetBytes };
  });
  const lengthBytes = at + encodeDirectory(entries, at).length;
  return { instances, entries, directoryOffsetBytes: at, lengthBytes };
}

async function* writeZip(packs: PackStore, layout: Layout): AsyncGenerator<Uint8Array, void, undefined> {
  const written: PackEntry[] = [];
  for await (const stored of readStored(packs, layout.instances, LOCAL_MAX_BYTES)) {
    const { crc32, dosTime } = localHeaderOf(stored);
    const entry = { ...layout.entries[written.length]!, crc32, dosTime };
    written.push(entry);
    yield encodeLocalHeader(entry);
    yield* stored.body;
  }
  yield encodeDirectory(written, layout.directoryOffsetBytes);
}

/** A header ends where the data begin; where it begins depends on its name, so the one that fits is looked for. */
function localHeaderOf({ instance, lead }: StoredBytes): LocalHeader {
  for (let at = lead.length - 1; at >= 0; at--) {
    if (lead[at] !== 0x50) continue; // 'P', with which the signature begins
    const header = decodeLocalHeader(lead, at);
    const fits = header?.headerLengthBytes === lead.length - at && header.lengthBytes === instance.lengthBytes;
    if (header !== undefined && fits) return header;
  }
  throw new ArchiveError('damaged', 'No local header stands before an entry that the index names.', {
    packId: instance.packId,
    offsetBytes: instance.offsetBytes,
  });
}
