/**
 * The door for instances where there is no gateway (a BatchReceiver): those of one request wait on scratch storage, in packs, until the
 * archive has them. Bounded in memory, in scratch storage and in what is archived at once, for all requests together.
 */
import { randomBytes } from 'node:crypto';
import { deletedVersions } from '#shared/archive/deletion.ts';
import { newPackId, packIdTimeMs } from '#shared/archive/keys.ts';
import type { BatchReceiver } from '#shared/archive/outcome.ts';
import { dosTimeOf } from '#shared/archive/pack.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { createIngest, type PackArrived } from '../ingest/step.ts';
import { archivePack } from './archiving.ts';
import { Batch, type PackLimits } from './batch.ts';
import { PendingPack } from './pending-pack.ts';
import { Scratch } from './scratch.ts';
import { HeaderBudget } from './spooled-instance.ts';

export interface BatchReceiverOptions {
  readonly archive: Archive;
  /** For instances on their way in, of this process alone: it is emptied at the start. Need survive nothing. */
  readonly scratchFolder: string;
  /** Of all requests together; also of one instance. */
  readonly scratchBytes: number;
  /** See ArchivingOptions. */
  readonly arrived?: (message: PackArrived) => Promise<void>;
  readonly nowMs: () => number;
  readonly log: Logger;
  readonly limits?: Partial<PackLimits>;
}

export interface ClosableBatchReceiver extends BatchReceiver {
  /** Room taken on scratch storage. */
  readonly scratchUsedBytes: number;
  /** Requests that have not ended. */
  readonly batches: number;
  readonly instancesArriving: number;
  /** Refuses what is not complete and resolves when what is complete is archived, or could not be. */
  close(): Promise<void>;
}

const MIB = 1024 * 1024;
const defaultLimits: PackLimits = { packBytes: 64 * MIB, ownPackBytes: 8 * MIB, openPacks: 64 };
const HEADER_BYTES = 256 * MIB;
/** Packs that are stored and read back at once: mostly that is to wait for the store. */
const ARCHIVED_AT_ONCE = 4;

export async function createBatchReceiver(options: BatchReceiverOptions): Promise<ClosableBatchReceiver> {
  const { archive, nowMs } = options;
  const log = options.log.child({ part: 'receiver' });
  const limits = { ...defaultLimits, ...options.limits };
  const scratch = await Scratch.open(options.scratchFolder, options.scratchBytes);
  const headers = new HeaderBudget(HEADER_BYTES);
  const archiving = { ...options, log, ingest: createIngest({ archive, nowMs, log }) };
  const batches = new Set<Batch>();
  const ends: (() => void)[] = [];
  const turns: (() => void)[] = [];
  let archivingNow = 0;
  let lastIdMs = 0;
  let closing = false;

  function nextPackId(after: string | undefined): string {
    // Strictly ascending: of two instances with the same UIDs the order of their packs says which came first.
    lastIdMs = Math.max(nowMs(), lastIdMs + 1);
    // The clock of a gateway that is fast concerns this pack alone: others would be taken for later than what comes after them.
    const idMs = after === undefined ? lastIdMs : Math.max(lastIdMs, packIdTimeMs(after) + 1);
    return newPackId(idMs, randomBytes(10));
  }

  async function archiveInTurn(tenant: string, pack: PendingPack): Promise<void> {
    const { scratchBytes } = pack;
    scratch.leaving(scratchBytes);
    if (archivingNow >= ARCHIVED_AT_ONCE) await new Promise<void>((resolve) => turns.push(resolve));
    else archivingNow++;
    const outcomes = await archivePack(archiving, tenant, pack);
    const next = turns.shift();
    if (next === undefined) archivingNow--;
    else next();
    pack.end(outcomes);
    scratch.left(scratchBytes);
  }

  return {
    get scratchUsedBytes() {
      return scratch.usedBytes;
    },
    get batches() {
      return batches.size;
    },
    get instancesArriving() {
      return [...batches].reduce((sum, batch) => sum + batch.instancesArriving, 0);
    },
    batch(tenant) {
      const batch = new Batch({
        scratch,
        headers,
        limits,
        log,
        newPack: (series, after) => {
          const { studyInstanceUid, seriesInstanceUid } = series;
          const ref = { studyInstanceUid, seriesInstanceUid, packId: nextPackId(after) };
          return new PendingPack(ref, dosTimeOf(nowMs()));
        },
        archive: (pack) => void archiveInTurn(tenant, pack),
        isNew: async (series) => (await archive.index.listInstances(tenant, series, { limit: 1 })).items.length === 0,
        // What is deleted and still there is about to go: who sends it now has sent it anew.
        versions: async (ref) => {
          const versions = await archive.index.getVersions(tenant, ref);
          const gone = await deletedVersions(archive.index, versions);
          return versions.filter((version) => !gone.includes(version));
        },
        ended: (ended) => {
          batches.delete(ended);
          for (const wake of ends.splice(0)) wake();
        },
      });
      batches.add(batch);
      if (closing) batch.refuse(stopping());
      return batch;
    },
    async close() {
      closing = true;
      for (const batch of batches) {
        batch.refuse(stopping());
        batch.end();
      }
      while (batches.size > 0) await new Promise<void>((resolve) => ends.push(resolve));
    },
  };
}

const stopping = (): ArchiveError =>
  new ArchiveError('unavailable', 'The archive is being stopped; send again in a minute.');
