/**
 * The way of a pack from scratch storage into the archive: stored create-only with its length and SHA-256, announced, and then read
 * back, verified and indexed by the code that does it for the packs of gateways (functions/ingest). Only what that has
 * archived is answered as stored.
 */
import { decide } from '#shared/archive/ingest.ts';
import { packKey, packRefOf } from '#shared/archive/keys.ts';
import type { Outcome } from '#shared/archive/outcome.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { Ingested, PackArrived } from '../ingest/step.ts';
import type { PendingPack } from './pending-pack.ts';
import type { Spooled } from './spooled-instance.ts';

export interface ArchivingOptions {
  readonly archive: Archive;
  readonly ingest: (message: PackArrived) => Promise<Ingested | undefined>;
  /** Resolves when somebody will look at the pack should this process die. Absent where the store sees to it itself (S3's events). */
  readonly arrived?: (message: PackArrived) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Logger;
}

/** Never rejects: where it fails all instances of the pack are refused. Outcomes in the order of the pack. */
export async function archivePack(
  options: ArchivingOptions,
  tenant: string,
  pack: PendingPack,
): Promise<readonly Outcome[]> {
  const { archive, log } = options;
  const { instances } = pack;
  try {
    const ref = packRefOf(pack.ref);
    const key = packKey(tenant, ref);
    const expected = await pack.expected();
    await archive.packs.create(key, ReadableStream.from(pack.bytes()) as ReadableStream<Uint8Array>, expected);
    const nowMs = options.nowMs();
    const announced: PackRecord = {
      ...ref,
      tenant,
      state: 'sealed',
      instanceCount: instances.length,
      createdAtMs: nowMs,
      sealedAtMs: nowMs,
      ...expected,
    };
    await archive.index.createPack(announced);
    await options.arrived?.({ key });
    const ingested = await options.ingest({ key });
    if (ingested?.kind === 'archived') {
      return ingested.outcomes ?? (await Promise.all(instances.map((one) => outcomeOf(archive, tenant, pack, one))));
    }
    return instances.map(() =>
      refusal('damaged', 'The archive could not read back what it had written; send it again.'),
    );
  } catch (error) {
    if (isArchiveError(error)) {
      log.warn({ ...pack.ref, code: error.code, reason: error.message }, 'a pack could not be archived');
      return instances.map(() => refusal(error.code, error.message));
    }
    log.error({ ...pack.ref, err: error }, 'archiving a pack failed unexpectedly');
    return instances.map(() => refusal('damaged', 'The archive failed while storing; its log says more.'));
  }
}

const refusal = (code: Extract<Outcome, { kind: 'refused' }>['code'], reason: string): Outcome => ({
  kind: 'refused',
  code,
  reason,
});

/** Of an instance in a pack that somebody else has archived meanwhile. */
async function outcomeOf(
  { index }: Archive,
  tenant: string,
  { ref: { packId } }: PendingPack,
  { ref, digest }: Spooled,
): Promise<Outcome> {
  const current = await index.getInstance(tenant, ref);
  return { kind: current?.packId === packId ? 'stored' : decide(current, { digest }), ref, digest };
}
