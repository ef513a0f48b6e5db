/**
 * Which instances a retrieval is about, and their bytes out of the packs: listed from the index without their attributes,
 * read in as few ranged streams as the packs allow, pulled only as fast as the client takes them.
 */
import { packKey } from '../archive/keys.ts';
import type { ArchiveIndex, PackStore } from '../archive/ports.ts';
import type { InstanceRecord, InstanceRef, SeriesRef } from '../archive/records.ts';
import { pagesOf } from '../archive/walk.ts';
import { ArchiveError } from '../errors.ts';
import { PackBytes } from './pack-bytes.ts';
import { type AnyRef, unknownReference } from './references.ts';

/** What retrieving needs of a record: a study may have a hundred thousand. */
export interface StoredInstance extends Omit<InstanceRecord, 'attributes' | 'state'> {
  /** (0020,0013); Infinity when the instance has none, so that it sorts behind. */
  readonly instanceNumber: number;
  /** Whether it has Rows, that is a picture. */
  readonly isImage: boolean;
  /** (0028,0008); 1 when the instance does not say. */
  readonly numberOfFrames: number;
  /** (0028,0100); undefined when the instance does not say. */
  readonly bitsAllocated: number | undefined;
}

const pageSize = 1000;

/**
 * The current instances of a study, a series or the one instance, in the index's order; never empty.
 * Error `not-found`.
 */
export async function listStored(index: ArchiveIndex, tenant: string, ref: AnyRef): Promise<readonly StoredInstance[]> {
  if ('sopInstanceUid' in ref) return [storedInstance(await getCurrent(index, tenant, ref), undefined)];
  const found: StoredInstance[] = [];
  for await (const items of pagesOf((from) => index.listInstances(tenant, ref, { limit: pageSize, ...from })))
    for (const record of items) found.push(storedInstance(record, found.at(-1)));
  if (found.length === 0) throw unknownReference(ref);
  return found;
}

/** The current version, or the one with `digest`. Error `not-found`. */
export async function getCurrent(
  index: ArchiveIndex,
  tenant: string,
  ref: InstanceRef,
  digest?: string,
): Promise<InstanceRecord> {
  if (digest === undefined) {
    const record = await index.getInstance(tenant, ref);
    if (record === undefined) throw unknownReference(ref);
    return record;
  }
  const version = (await index.getVersions(tenant, ref)).find((record) => record.digest === digest.toLowerCase());
  if (version === undefined) throw new ArchiveError('not-found', 'This instance has no version with that digest.');
  return version;
}

/** Strings that repeat from row to row are shared with the row before. */
export function storedInstance(record: InstanceRecord, before: StoredInstance | undefined): StoredInstance {
  const { attributes, state: _, ...rest } = record;
  const number = Number(attributes['00200013']?.Value?.[0] ?? Number.NaN);
  const share = (now: string, then: string | undefined): string => (now === then ? then : now);
  return {
    ...rest,
    tenant: share(record.tenant, before?.tenant),
    studyInstanceUid: share(record.studyInstanceUid, before?.studyInstanceUid),
    seriesInstanceUid: share(record.seriesInstanceUid, before?.seriesInstanceUid),
    sopClassUid: share(record.sopClassUid, before?.sopClassUid),
    transferSyntaxUid: share(record.transferSyntaxUid, before?.transferSyntaxUid),
    packId: share(record.packId, before?.packId),
    instanceNumber: Number.isFinite(number) ? number : Number.POSITIVE_INFINITY,
    isImage: attributes['00280010'] !== undefined,
    numberOfFrames: Math.max(1, Math.trunc(Number(attributes['00280008']?.Value?.[0] ?? 1)) || 1),
    bitsAllocated: bitsAllocatedOf(record),
  };
}

export function bitsAllocatedOf({ attributes }: Pick<InstanceRecord, 'attributes'>): number | undefined {
  return Number(attributes['00280100']?.Value?.[0]) || undefined;
}

/** Series by series, packs in the order of their making, each from front to back: the order in which reading is cheapest. */
export function inPackOrder(instances: readonly StoredInstance[]): StoredInstance[] {
  return instances.toSorted(
    (a, b) =>
      compare(a.seriesInstanceUid, b.seriesInstanceUid) || compare(a.packId, b.packId) || a.offsetBytes - b.offsetBytes,
  );
}

export const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export const keyOf = (ref: { tenant: string; packId: string } & SeriesRef): string => packKey(ref.tenant, ref);

/** Between two entries of a pack lies one local header; a longer gap is other people's entries, not worth reading over. */
const maximumGapBytes = 16 * 1024;

export interface StoredBytes {
  readonly instance: StoredInstance;
  /** What lies before the entry's data in the pack, behind the entry before: its local header. Empty unless asked for. */
  readonly lead: Uint8Array;
  /** The complete Part 10 file. Consume it before asking for the next instance; what is left over is skipped. */
  readonly body: AsyncIterable<Uint8Array>;
}

/**
 * The bytes of each instance in the order given. Neighbours in a pack come out of one ranged stream; nothing is read before it is
 * pulled, and ending the iteration early closes what is open. Errors of PackStore; `damaged` when a pack ends too soon.
 * @param leadBytes how much before the data to give as `lead`, as far as there is so much
 */
export async function* readStored(
  packs: PackStore,
  instances: readonly StoredInstance[],
  leadBytes = 0,
): AsyncGenerator<StoredBytes, void, undefined> {
  for (let next = 0; next < instances.length; ) {
    const first = instances[next]!;
    const run = [first];
    for (next++; next < instances.length && isNeighbour(run.at(-1)!, instances[next]!); next++)
      run.push(instances[next]!);
    const last = run.at(-1)!;
    const offsetBytes = Math.max(0, first.offsetBytes - leadBytes);
    const lengthBytes = last.offsetBytes + last.lengthBytes - offsetBytes;
    const source = await PackBytes.open(packs, keyOf(first), { offsetBytes, lengthBytes });
    try {
      for (const instance of run) {
        await source.skipTo(instance.offsetBytes - leadBytes);
        const lead = await source.gatherTo(instance.offsetBytes);
        yield { instance, lead, body: source.take(instance.lengthBytes) };
      }
    } finally {
      await source.return();
    }
  }
}

function isNeighbour(a: StoredInstance, b: StoredInstance): boolean {
  const gap = b.offsetBytes - (a.offsetBytes + a.lengthBytes);
  return a.packId === b.packId && a.seriesInstanceUid === b.seriesInstanceUid && gap >= 0 && gap <= maximumGapBytes;
}

/** The order in which people look through a study: series by UID, then by Instance Number. */
export function inViewingOrder(instances: readonly StoredInstance[]): StoredInstance[] {
  return instances.toSorted(
    (a, b) =>
      compare(a.seriesInstanceUid, b.seriesInstanceUid) ||
      (a.instanceNumber === b.instanceNumber ? 0 : a.instanceNumber - b.instanceNumber) ||
      compare(a.sopInstanceUid, b.sopInstanceUid),
  );
}
