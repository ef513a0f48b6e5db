/**
 * What can still be had of a sealed pack whose bytes have changed on this disk and that exists nowhere else: the entries whose
 * CRC-32 is right and whose data set has the digest that the index knows. They are stored anew, through the same door as what
 * a modality sends; what is not among them is named.
 */

import { EntryInspector, entryNameOf } from '#shared/archive/entry-inspector.ts';
import { packRefOf } from '#shared/archive/keys.ts';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { PackEntry } from '#shared/archive/pack.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { Files, OpenFile } from './files.ts';
import { scanOpenPack } from './open-pack-scan.ts';
import { mayPass } from './pack-check.ts';
import { readingOn } from './reading-on.ts';

export interface SalvageOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly files: Files;
  /** Takes what is intact; the record of the damaged pack says `rejected` by then, so that it is no duplicate of itself. */
  readonly receiver: InstanceReceiver;
}

export interface Salvaged {
  /** Instances that the index looked for in this pack; 0: it is of no use any more. */
  readonly expected: number;
  /** Instances that are safe in another pack now. */
  readonly kept: number;
  /** SOP Instance UIDs of those whose only bytes are damaged. */
  readonly lost: readonly string[];
  /** Why intact instances could not be stored, if so: they are to be tried again. */
  readonly refused: string | undefined;
}

const CHUNK_BYTES = 256 * 1024;
const PAGE = 500;

/** Errors: those of index and disk. */
export async function salvagePack(options: SalvageOptions, pack: PackRecord, path: string): Promise<Salvaged> {
  const here = await instancesOf(options, pack);
  const expected = here.size;
  let kept = 0;
  let refused: string | undefined;
  const file = await openForSalvage(options.files, path);
  try {
    const scan = file && (await scanOpenPack(readingOn(file)));
    for (const entry of scan?.entries ?? []) {
      if (file === undefined || !here.has(entry.name)) continue;
      const outcome = await restore(options, pack, file, entry);
      if (outcome === 'damaged') continue;
      if (outcome === 'kept') {
        kept++;
        here.delete(entry.name);
      } else refused = outcome;
    }
  } finally {
    await file?.close();
  }
  return { expected, kept, lost: [...here.values()], refused };
}

/**
 * SOP Instance UIDs of the instances that the index looks for in this pack, by the names of their entries: current ones, and
 * those flagged as conflicts, of which each has a current one beside it.
 */
async function instancesOf({ index, tenant }: SalvageOptions, pack: PackRecord): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const items of pagesOf((from) => index.listInstances(tenant, pack, { limit: PAGE, ...from }))) {
    const versions = await Promise.all(items.map((item) => index.getVersions(tenant, item)));
    for (const { packId, sopInstanceUid } of versions.flat())
      if (packId === pack.packId) found.set(entryNameOf(sopInstanceUid), sopInstanceUid);
  }
  return found;
}

async function restore(
  { index, tenant, receiver }: SalvageOptions,
  pack: PackRecord,
  file: OpenFile,
  entry: PackEntry,
): Promise<'kept' | 'damaged' | string> {
  const inspected = await inspect(tenant, pack.packId, file, entry);
  if (inspected === undefined) return 'damaged';
  const { record, sourceAeTitle } = inspected;
  const versions = await index.getVersions(tenant, record);
  const same = versions.find(({ digest }) => digest === record.digest);
  if (same === undefined) return 'damaged';
  if (packRefOf(same).packId !== pack.packId) return 'kept';
  const { sopClassUid, sopInstanceUid, transferSyntaxUid, dataSetOffsetBytes } = record;
  const sink = receiver.begin({ sopClassUid, sopInstanceUid, transferSyntaxUid, sourceAeTitle });
  try {
    for await (const bytes of chunksOf(file, entry, dataSetOffsetBytes)) await sink.write(bytes);
  } catch (error) {
    sink.abort();
    throw error;
  }
  const outcome = await sink.commit();
  if (outcome.kind === 'refused') return outcome.reason;
  return outcome.digest === record.digest ? 'kept' : 'damaged';
}

interface Inspected {
  readonly record: InstanceRecord;
  /** Of (0002,0016). */
  readonly sourceAeTitle: string | undefined;
}

/** Undefined: it is no instance of ours any more. */
async function inspect(
  tenant: string,
  packId: string,
  file: OpenFile,
  entry: PackEntry,
): Promise<Inspected | undefined> {
  const inspector = new EntryInspector();
  try {
    for await (const bytes of chunksOf(file, entry, 0)) inspector.push(bytes);
    const { record, header } = inspector.end(tenant, packId, entry);
    return { record, sourceAeTitle: header.fileMeta?.ascii(0x00020016) };
  } catch (error) {
    if (isArchiveError(error)) return undefined;
    throw error;
  }
}

/** Undefined when it is gone. */
async function openForSalvage(files: Files, path: string): Promise<OpenFile | undefined> {
  try {
    return await files.open(path, 'read');
  } catch (error) {
    if (mayPass(error)) throw error;
    return undefined;
  }
}

async function* chunksOf(file: OpenFile, entry: PackEntry, fromBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = fromBytes; at < entry.lengthBytes; at += CHUNK_BYTES) {
    const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, entry.lengthBytes - at));
    await file.read(chunk, entry.offsetBytes + at);
    yield chunk;
  }
}
