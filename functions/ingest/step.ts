/**
 * The pipeline step behind "a pack has arrived": re-reads every byte of it, writes its manifest, indexes its instances and
 * marks it archived, which is what a gateway waits for. Idempotent: a message may come twice, late, or in any order.
 */
import { indexInstances } from '#shared/archive/ingest.ts';
import { type InspectedPack, inspectPack, isFinalInspectionError } from '#shared/archive/inspect.ts';
import { parsePackKey } from '#shared/archive/keys.ts';
import { storeManifest } from '#shared/archive/manifest.ts';
import type { Outcome } from '#shared/archive/outcome.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';

export interface PackArrived {
  readonly key: string;
}

export interface IngestOptions {
  readonly archive: Archive;
  readonly nowMs: () => number;
  readonly log: Logger;
}

/** What became of a pack. */
export type Ingested =
  /** Of its instances in the order of the pack; undefined where somebody else archived it before. */
  | { readonly kind: 'archived'; readonly outcomes: readonly Outcome[] | undefined }
  | { readonly kind: 'rejected'; readonly reason: string };

/** Rejects only where trying again may help; a pack that can never be archived is marked `rejected` with its reason. */
export function createIngestStep(options: IngestOptions): (message: PackArrived) => Promise<void> {
  const ingest = createIngest(options);
  return async (message) => {
    await ingest(message);
  };
}

/** The same for who waits for the pack: tells what became of it; undefined for what is no key of a pack. */
export function createIngest({
  archive,
  nowMs,
  log,
}: IngestOptions): (message: PackArrived) => Promise<Ingested | undefined> {
  return async ({ key }) => {
    const parts = parsePackKey(key);
    if (parts === undefined) {
      log.error({ key: key.slice(0, 300) }, 'not the key of a pack; the message is dropped');
      return undefined;
    }
    const { tenant, ref } = parts;
    const announced = await archive.index.getPack(tenant, ref);
    if (announced?.state === 'archived') return { kind: 'archived', outcomes: undefined };
    if (announced?.state === 'rejected') return { kind: 'rejected', reason: announced.reason ?? '' };
    const expected =
      announced?.sha256 === undefined ? {} : { lengthBytes: announced.lengthBytes, sha256: announced.sha256 };
    let inspected: InspectedPack;
    try {
      inspected = await inspectPack(archive.packs, key, { tenant, ref, ...expected });
    } catch (error) {
      if (!isFinalInspectionError(error)) throw error;
      const known = announced ?? { instanceCount: 0, lengthBytes: 0, createdAtMs: nowMs() };
      await mark(archive, { ...known, ...ref, tenant, state: 'rejected', reason: error.message });
      log.error({ ...ref, code: error.code, reason: error.message }, 'pack rejected');
      return { kind: 'rejected', reason: error.message };
    }
    // From here on the bytes are known to be good: whatever fails is the machine's, and is tried again.
    const { manifest, instances } = inspected;
    await storeManifest(archive.packs, manifest);
    const outcomes = await indexInstances(archive.index, instances);
    const conflicts = outcomes.filter((outcome) => outcome.kind === 'conflict').length;
    const settledAtMs = nowMs();
    const found = { instanceCount: instances.length, lengthBytes: manifest.lengthBytes, sha256: manifest.sha256 };
    const record: PackRecord = {
      ...ref,
      tenant,
      state: 'archived',
      createdAtMs: settledAtMs,
      // A pack that was written anew is as old as what is in it (functions/purge).
      archivedAtMs: announced?.archivedAtMs ?? settledAtMs,
      ...found,
    };
    await mark(archive, record);
    log.info({ ...ref, instances: instances.length, conflicts, bytes: manifest.lengthBytes }, 'pack archived');
    return { kind: 'archived', outcomes };
  };
}

/** A pack that arrived without being announced (an index made anew) gets its record here. */
async function mark({ index }: Archive, record: PackRecord): Promise<void> {
  const { tenant, createdAtMs: _, ...change } = record;
  if ((await index.updatePack(tenant, record, ['sealed'], change)) === undefined) await index.createPack(record);
}
