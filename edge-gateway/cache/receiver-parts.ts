/**
 * What the receiver is made of, as one instance on its way in sees it, and the limits that an operator may set.
 */
import type { InstanceRecord } from '#shared/archive/records.ts';
import { MAX_PACK_BYTES } from '#shared/gateway-api.ts';
import type { Logger } from '#shared/log.ts';
import type { UploadPriorityRule } from '../settings.ts';
import type { Arrivals } from './arrivals.ts';
import type { BlockPool } from './block-pool.ts';
import type { IncomingSink } from './incoming-instance.ts';
import type { IndexFeeder } from './index-feeder.ts';
import type { KnownInstances } from './known-instances.ts';
import type { HeaderMemory, MemoryBudget } from './memory-budget.ts';
import type { OpenPack, PackGround } from './open-pack.ts';
import type { PackLimits, SeriesPacks } from './series-packs.ts';
import type { Volume } from './volume.ts';

export interface ReceiverLimits extends PackLimits {
  /** An instance whose data set is longer has a pack of its own and is streamed to disk. */
  readonly ownPackBytes: number;
  /** A longer data set is refused: no store of packs could ever take it. */
  readonly instanceBytes: number;
  /** Of instances on their way in, for all senders together: beyond it senders wait. */
  readonly heldBytes: number;
  /**
   * Of headers of instances on their way in, for all senders together: they stay in memory to be read while their bytes go to
   * disk. Beyond it long ones are refused; those of up to a MiB never are.
   */
  readonly headerBytes: number;
  /** Free space that is never used up: below it everything is refused. */
  readonly reserveBytes: number;
}

export const defaultLimits: ReceiverLimits = {
  packBytes: 64 * 1024 * 1024,
  quietMs: 5_000,
  statQuietMs: 1_000,
  ageMs: 60_000,
  openPacks: 256,
  ownPackBytes: 8 * 1024 * 1024,
  // What is around a data set in its pack is far less than a MiB.
  instanceBytes: MAX_PACK_BYTES - 1024 * 1024,
  heldBytes: 128 * 1024 * 1024,
  headerBytes: 256 * 1024 * 1024,
  reserveBytes: 1024 * 1024 * 1024,
};

export interface ReceiverParts {
  readonly tenant: string;
  readonly limits: ReceiverLimits;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly ground: PackGround;
  readonly volume: Volume;
  readonly budget: MemoryBudget;
  readonly blocks: BlockPool;
  readonly headers: HeaderMemory;
  readonly arrivals: Arrivals;
  readonly known: KnownInstances;
  readonly packs: SeriesPacks;
  readonly feeder: IndexFeeder;
  readonly priorities: readonly UploadPriorityRule[];
  /** Seals a pack that nobody appends to. */
  seal(pack: OpenPack): void;
  /** Whether the bytes of an indexed instance are still here, or safe in the cloud. */
  isKept(record: InstanceRecord): Promise<boolean>;
  /** An instance has ended, one way or the other. */
  ended(instance: IncomingSink): void;
  /** A file is being removed: closing waits for it. */
  dropped(done: Promise<void>): void;
}
