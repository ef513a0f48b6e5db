/**
 * Instances as one ZIP file (application/zip). When they are exactly one pack, the pack goes out as it lies; otherwise a ZIP file of
 * stored entries is written while it is sent, with the CRC-32 and time that stand in the packs' local headers. Its length is
 * known beforehand. Entries are `<SOP Instance UID>.dcm`, within folders `series-0001` … when there are several series; with
 * `?dicomdir=true` they are a DICOM File-set, named by its rules, with a DICOMDIR before them.
 */
import { crc32 } from 'node:zlib';
import { keyPartOf, packIdTimeMs } from '../archive/keys.ts';
import {
  decodeLocalHeader,
  dosTimeOf,
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
import { makeFileSet } from './file-set.ts';
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
  const withDicomdir = wantsDicomdir(context.query);
  const packLengthBytes = withDicomdir ? undefined : await wholePackLength(options.manifests, instances);
  // The two ways to the same instances may differ in the padding of a header.
  const identity = instances.flatMap(({ packId, digest }) => [packId, digest]);
  const tag = entityTag('zip', packLengthBytes, withDicomdir ? 'dicomdir' : '', ...identity);
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
  const ordered = inPackOrder(instances);
  const fileSet = withDicomdir ? await makeFileSet(options, instances) : undefined;
  const layout = layOut(ordered, fileSet?.nameOf ?? namesByUid(ordered), fileSet?.dicomdir);
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

function wantsDicomdir(query: URLSearchParams): boolean {
  const text = query.get('dicomdir')?.toLowerCase() ?? 'false';
  if (text === 'true' || text === 'false' || text === '') return text === 'true';
  throw new ArchiveError('bad-request', 'The parameter dicomdir is either true or false.');
}

/** Written before the instances, all of it known. */
interface Leading {
  readonly entry: PackEntry;
  readonly bytes: Uint8Array;
}

interface Layout {
  readonly leading: Leading | undefined;
  readonly instances: readonly StoredInstance[];
  /** Of the instances, in the same order; without CRC-32 and time, which are known when the bytes come. */
  readonly entries: readonly PackEntry[];
  readonly directoryOffsetBytes: number;
  readonly lengthBytes: number;
}

/** `<SOP Instance UID>.dcm`, in a folder for each series where there are several. */
function namesByUid(instances: readonly StoredInstance[]): (instance: StoredInstance) => string {
  const folders = new Map<string, string>();
  for (const { seriesInstanceUid } of instances) {
    if (!folders.has(seriesInstanceUid)) {
      folders.set(seriesInstanceUid, `series-${String(folders.size + 1).padStart(4, '0')}/`);
    }
  }
  return ({ seriesInstanceUid, sopInstanceUid }) =>
    `${folders.size > 1 ? folders.get(seriesInstanceUid) : ''}${keyPartOf(sopInstanceUid)}.dcm`;
}

function layOut(
  instances: readonly StoredInstance[],
  nameOf: (instance: StoredInstance) => string,
  dicomdir: Uint8Array | undefined,
): Layout {
  let at = 0;
  const place = (entry: Pick<PackEntry, 'name' | 'lengthBytes' | 'crc32' | 'dosTime'>): PackEntry => {
    const headerOffsetBytes = at;
    const offsetBytes = at + encodeLocalHeader(entry).length;
    at = offsetBytes + entry.lengthBytes;
    return { ...entry, headerOffsetBytes, offsetBytes };
  };
  const leading = dicomdir && {
    entry: place({
      name: 'DICOMDIR',
      lengthBytes: dicomdir.length,
      crc32: crc32(dicomdir),
      dosTime: dosTimeOf(Math.max(...new Set(instances.map(({ packId }) => packIdTimeMs(packId))))),
    }),
    bytes: dicomdir,
  };
  const entries = instances.map((instance) =>
    place({ name: nameOf(instance), lengthBytes: instance.lengthBytes, crc32: 0, dosTime: 0 }),
  );
  const all = leading === undefined ? entries : [leading.entry, ...entries];
  return { leading, instances, entries, directoryOffsetBytes: at, lengthBytes: at + encodeDirectory(all, at).length };
}

async function* writeZip(packs: PackStore, layout: Layout): AsyncGenerator<Uint8Array, void, undefined> {
  const { leading } = layout;
  if (leading !== undefined) {
    yield encodeLocalHeader(leading.entry);
    yield leading.bytes;
  }
  const written: PackEntry[] = [];
  for await (const stored of readStored(packs, layout.instances, LOCAL_MAX_BYTES)) {
    const { crc32, dosTime } = localHeaderOf(stored);
    const entry = { ...layout.entries[written.length]!, crc32, dosTime };
    written.push(entry);
    yield encodeLocalHeader(entry);
    yield* stored.body;
  }
  yield encodeDirectory(leading === undefined ? written : [leading.entry, ...written], layout.directoryOffsetBytes);
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
