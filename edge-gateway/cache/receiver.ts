/**
 * The door through which instances come onto this disk (C-STORE, STOW-RS): composes budget, packs, index feeder and
 * sealing over one folder, after recovery has put right what an earlier process left in it. One process to a folder:
 * the composition root holds its lock (folder-lock.ts).
 *
 *     <folder>/open/<packId>.zip    open packs        <folder>/open/<packId>.part    large instances on their way in
 *     <folder>/damaged/             what recovery set aside                   <folder>/alive        see volume-proof.ts
 */
import { join } from 'node:path';
import { packKey, packRefOf } from '#shared/archive/keys.ts';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { UploadPriorityRule } from '../settings.ts';
import { Arrivals } from './arrivals.ts';
import { BlockPool } from './block-pool.ts';
import type { CrashPoint } from './crash-point.ts';
import type { DiskPackStore } from './disk-pack-store.ts';
import { DiskRoom } from './disk-room.ts';
import { createFileHasher } from './file-hash.ts';
import { diskFiles, type Files, makeFolderDurably } from './files.ts';
import { IncomingSink } from './incoming-instance.ts';
import { IndexFeeder } from './index-feeder.ts';
import { KnownInstances } from './known-instances.ts';
import { HeaderMemory, MemoryBudget } from './memory-budget.ts';
import type { OpenPack, PackGround } from './open-pack.ts';
import { defaultLimits, type ReceiverLimits, type ReceiverParts } from './receiver-parts.ts';
import { recover } from './recovery.ts';
import { Sealing } from './sealing.ts';
import { SeriesPacks } from './series-packs.ts';
import { SyncGroup } from './sync-group.ts';
import { Volume } from './volume.ts';
import { VolumeProof } from './volume-proof.ts';

export interface ReceiverOptions {
  /** On the same volume as `packs`. */
  readonly folder: string;
  readonly tenant: string;
  readonly index: ArchiveIndex;
  /** Made with `openFolder: openFolderOf(folder)`, so that instances can be read before their pack is sealed. */
  readonly packs: DiskPackStore;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly limits?: Partial<ReceiverLimits>;
  /** Of the folder's volume, where others ask for it as well; else one of its own, by `limits.reserveBytes`. */
  readonly room?: DiskRoom;
  /** What is to be uploaded before other packs, or after them; the priority of the C-STORE where none fits. */
  readonly priorities?: readonly UploadPriorityRule[];
  readonly onSealed?: (record: PackRecord) => void;
  /** Whether the cloud does not have an archived pack any more: what was in it is stored anew if it comes again. */
  readonly isLost?: (pack: PackRecord) => boolean;
  readonly files?: Files;
  readonly crashPoint?: CrashPoint;
}

export interface ReceiverTotals {
  /** Stored since this process began, duplicates not counted. */
  readonly stored: { readonly instances: number; readonly bytes: number };
  readonly instancesArriving: number;
  readonly heldBytes: number;
  readonly openPacks: number;
  readonly packsBeingSealed: number;
  /** Instances acknowledged and not in the index yet. */
  readonly unindexed: number;
  /** The disk has failed: nothing is stored any more until a restart. */
  readonly fenced: boolean;
  /** Why: a sentence. */
  readonly fenceReason: string | undefined;
}

export interface Receiver extends InstanceReceiver {
  /** Seals what is open; resolves when it is done and everything acknowledged before is indexed. */
  flush(): Promise<void>;
  /** Resolves when everything acknowledged before the call is in the index; rejects when the receiver is closed before. */
  indexed(): Promise<void>;
  /** Takes nothing more, ends what is being committed, seals what is open, and lets everything go. */
  close(): Promise<void>;
  totals(): ReceiverTotals;
}

/** Where a receiver over this folder keeps its open packs. */
export const openFolderOf = (folder: string): string => join(folder, 'open');
const CLOSE_MS = 8_000;
/** As much as a few senders have on its way at once. */
const FREE_BLOCK_BYTES = 16 * 1024 * 1024;
const damagedFolderOf = (folder: string): string => join(folder, 'damaged');

const marksOf = (reserveBytes: number) => ({
  evictBelowBytes: reserveBytes,
  reserveBytes,
  rejectBelowBytes: reserveBytes,
});

function stopping(): ArchiveError {
  return new ArchiveError('out-of-resources', 'The gateway is being stopped; send again in a minute.');
}

/** Resolves when recovery has ended: everything acknowledged before is in the index or the log says what is lost. */
export async function createReceiver(options: ReceiverOptions): Promise<Receiver> {
  const { folder, tenant, index, packs: store, clock: nowMs, priorities = [] } = options;
  const files = options.files ?? diskFiles;
  const log = options.log.child({ part: 'receiver' });
  const crashPoint = options.crashPoint ?? (() => {});
  const limits: ReceiverLimits = { ...defaultLimits, ...options.limits };
  const openFolder = openFolderOf(folder);
  await makeFolderDurably(files, openFolder, folder);

  const room = options.room ?? new DiskRoom({ files, folder: openFolder, marks: marksOf(limits.reserveBytes) });
  const proof = new VolumeProof(files, join(folder, 'alive'));
  const volume = new Volume(room, proof, log);
  const folderSync = new SyncGroup(async () => {
    volume.assertWritable();
    try {
      await files.syncFolder(openFolder);
    } catch (error) {
      volume.raiseFence(error, 'syncing a folder');
    }
    await volume.assertSynced();
  });
  const ground: PackGround = { files, folder: openFolder, folderSync, volume, crashPoint };
  const arrivals = new Arrivals();
  const feeder = new IndexFeeder({ tenant, index, arrivals, log, crashPoint });
  const hasher = createFileHasher();
  const onSealed = options.onSealed ?? (() => {});
  const sealing = new Sealing({
    tenant,
    index,
    packs: store,
    feeder,
    hasher,
    volume,
    files,
    log,
    nowMs,
    crashPoint,
    onSealed,
  });
  const seal = (pack: OpenPack): void => sealing.seal(pack);
  const packs = new SeriesPacks(ground, limits, nowMs, seal);
  const budget = new MemoryBudget(limits.heldBytes);
  const arriving = new Set<IncomingSink>();
  const endings: (() => void)[] = [];
  const dropping = new Set<Promise<void>>();
  let closing = false;

  async function isKept(record: InstanceRecord): Promise<boolean> {
    const pack = await index.getPack(tenant, packRefOf(record));
    // What the cloud would not take, or is known to be damaged, is no safe copy; if it comes again, it goes there anew.
    if (pack?.state === 'rejected') return false;
    if ((await store.head(packKey(tenant, record))) !== undefined) return true;
    if ((await files.stat(join(openFolder, `${record.packId}.zip`))) !== undefined) return true;
    return pack?.state === 'archived' && options.isLost?.(pack) !== true;
  }

  const parts: ReceiverParts = {
    tenant,
    limits,
    log,
    nowMs,
    ground,
    volume,
    budget,
    blocks: new BlockPool(FREE_BLOCK_BYTES),
    headers: new HeaderMemory(limits.headerBytes),
    arrivals,
    known: new KnownInstances(tenant, index, (ref) => feeder.isWaiting(ref)),
    packs,
    feeder,
    priorities,
    seal,
    isKept,
    ended(instance) {
      arriving.delete(instance);
      for (const wake of endings.splice(0)) wake();
    },
    dropped(done) {
      dropping.add(done);
      done.finally(() => dropping.delete(done));
    },
  };

  try {
    await recover({
      tenant,
      index,
      store,
      ground,
      damagedFolder: damagedFolderOf(folder),
      feeder,
      packs,
      hasher,
      priorities,
      seal,
      log,
      nowMs,
      onSealed,
    });
  } catch (error) {
    await feeder.stop();
    await sealing.stop();
    await hasher.close();
    await proof.close();
    throw error;
  }

  async function allCommitted(): Promise<void> {
    while ([...arriving].some((sink) => sink.committing)) await new Promise<void>((resolve) => endings.push(resolve));
  }

  return {
    begin(incoming) {
      const sink = new IncomingSink(parts, incoming);
      if (closing) sink.refuse(stopping());
      else arriving.add(sink);
      return sink;
    },

    async flush() {
      packs.retireAll();
      await feeder.idle();
      await sealing.idle();
    },

    indexed: () => feeder.caughtUp(),

    async close() {
      closing = true;
      for (const sink of arriving) sink.refuse(stopping());
      // An index that fails for ever must not hold up the end: what it has not got is recovery's.
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
      const committed = allCommitted();
      await Promise.race([committed, late]);
      packs.retireAll();
      await Promise.race([feeder.idle().then(() => sealing.idle()), late]);
      // Who waits for room behind such an index goes on now: its instance is stored, and indexed after the next start.
      await feeder.stop();
      await committed;
      packs.retireAll();
      await sealing.stop();
      await Promise.all(dropping);
      await hasher.close();
      await proof.close();
    },

    totals: () => ({
      stored: arrivals.stored,
      instancesArriving: arriving.size,
      heldBytes: budget.usedBytes,
      openPacks: packs.size,
      packsBeingSealed: sealing.size,
      unindexed: feeder.backlog,
      fenced: volume.fence !== undefined,
      fenceReason: volume.fence,
    }),
  };
}
