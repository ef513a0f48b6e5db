/**
 * The instances of one request (an InstanceBatch), each in a pack of its series: a pack is archived when it is full, when many others have
 * been filled since, when room is needed, and at the end. What is large has a pack of its own.
 */
import type { IncomingInstance, InstanceBatch, InstanceSink, Outcome } from '#shared/archive/outcome.ts';
import type { InstanceRecord, InstanceRef, SeriesRef } from '#shared/archive/records.ts';
import type { Logger } from '#shared/log.ts';
import type { PendingPack } from './pending-pack.ts';
import { type Occupant, type Scratch, ScratchFiles } from './scratch.ts';
import { type HeaderBudget, type Spooled, SpooledInstance } from './spooled-instance.ts';

export interface PackLimits {
  /** A pack gets no instance that makes it longer. */
  readonly packBytes: number;
  /** An instance that is longer has a pack of its own. */
  readonly ownPackBytes: number;
  /** Of one request: beyond it the pack that was filled longest ago is archived. */
  readonly openPacks: number;
}

/** What a batch needs of the receiver that it belongs to. */
export interface BatchGround {
  readonly scratch: Scratch;
  readonly headers: HeaderBudget;
  readonly limits: PackLimits;
  readonly log: Logger;
  /** @param after the packId of an instance with the same UIDs, which must come earlier in the order of arrival */
  newPack(series: SeriesRef, after: string | undefined): PendingPack;
  /** Begins to archive it; how that ends its `outcomes` tell. */
  archive(pack: PendingPack): void;
  /** Whether the index has nothing of the series. */
  isNew(series: SeriesRef): Promise<boolean>;
  versions(ref: InstanceRef): Promise<readonly InstanceRecord[]>;
  /** Nothing of the batch is under way any more. */
  ended(batch: Batch): void;
}

interface Placed {
  readonly digest: string;
  readonly packId: string;
  readonly outcome: Promise<Outcome>;
}

/** More entries than a ZIP file has without ZIP64. */
const MAX_ENTRIES = 65_000;

export class Batch implements InstanceBatch, Occupant {
  readonly #ground: BatchGround;
  readonly #files: ScratchFiles;
  /** By series, the one that was added to last at the end. */
  readonly #open = new Map<string, PendingPack>();
  readonly #placed = new Map<string, Placed[]>();
  readonly #isNew = new Map<string, Promise<boolean>>();
  readonly #sinks = new Set<SpooledInstance>();
  #order: Promise<unknown> = Promise.resolve();
  /** Whether an instance that is complete is about to be in a pack. */
  #isPlacing = false;
  #isEnded = false;
  #refusal: unknown;

  constructor(ground: BatchGround) {
    this.#ground = ground;
    this.#files = new ScratchFiles(ground.scratch);
    ground.scratch.enter(this);
  }

  get instancesArriving(): number {
    return [...this.#sinks].filter((sink) => sink.isArriving).length;
  }

  begin(incoming: IncomingInstance): InstanceSink {
    const sink = new SpooledInstance(
      {
        files: this.#files,
        headers: this.#ground.headers,
        log: this.#ground.log,
        versions: (ref) => this.#versions(ref),
        inOrder: (work) => this.#inOrder(work),
        place: (instance, known) => this.#place(instance, known),
        ended: (ended) => {
          this.#sinks.delete(ended);
          this.#checkEnd();
        },
      },
      incoming,
    );
    this.#sinks.add(sink);
    if (this.#refusal !== undefined) sink.refuse(this.#refusal);
    return sink;
  }

  end(): void {
    // Behind those that are committed and not placed yet.
    void this.#inOrder(async () => {
      this.#isEnded = true;
      this.relieve();
      this.#files.end();
      this.#checkEnd();
    });
  }

  /** Refuses what has not been committed, and what will begin. */
  refuse(error: unknown): void {
    this.#refusal = error;
    for (const sink of this.#sinks) sink.refuse(error);
  }

  relieve(): boolean {
    const packs = [...this.#open.values()];
    this.#open.clear();
    this.#files.change();
    for (const pack of packs) this.#ground.archive(pack);
    return packs.length > 0 || this.#isPlacing;
  }

  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#order.then(work);
    this.#order = done.catch(() => {});
    return done;
  }

  async #versions(ref: InstanceRef): Promise<readonly InstanceRecord[]> {
    const { studyInstanceUid, seriesInstanceUid } = ref;
    const key = seriesKey(ref);
    let isNew = this.#isNew.get(key);
    if (isNew === undefined) {
      isNew = this.#ground.isNew({ studyInstanceUid, seriesInstanceUid });
      this.#isNew.set(key, isNew);
    }
    return (await isNew) ? [] : this.#ground.versions(ref);
  }

  async #place(instance: Spooled, known: Promise<readonly InstanceRecord[]>): Promise<{ outcome: Promise<Outcome> }> {
    this.#isPlacing = true;
    try {
      return this.#placeBeside(instance, await known);
    } finally {
      this.#isPlacing = false;
      // Somebody waits for room, or this came late.
      if (this.#ground.scratch.isWanted || this.#isEnded) this.relieve();
    }
  }

  #placeBeside(instance: Spooled, known: readonly InstanceRecord[]): { outcome: Promise<Outcome> } {
    const { ref, digest } = instance;
    const key = `${seriesKey(ref)}\n${ref.sopInstanceUid}`;
    const before = this.#placed.get(key) ?? [];
    const same = before.find((placed) => placed.digest === digest);
    if (same !== undefined || known.some((version) => version.digest === digest)) {
      instance.range.release();
      const duplicate: Outcome = { kind: 'duplicate', ref, digest };
      // Of what is in this request: if that cannot be archived, this is not either.
      const outcome = same?.outcome.then((first) => (first.kind === 'refused' ? first : duplicate));
      return { outcome: outcome ?? Promise.resolve(duplicate) };
    }
    const after = [...before, ...known].reduce<string | undefined>(
      (last, { packId }) => (last === undefined || packId > last ? packId : last),
      undefined,
    );
    const pack = this.#packFor(instance, after);
    const at = pack.add(instance);
    // Whichever of them is archived first: this one came later.
    const isRival = before.length > 0 || known.length > 0;
    const outcome = pack.outcomes.then((outcomes): Outcome => {
      const own = outcomes[at]!;
      return own.kind === 'stored' && isRival ? { ...own, kind: 'conflict' } : own;
    });
    this.#placed.set(key, [...before, { digest, packId: pack.ref.packId, outcome }]);
    if (this.#open.get(seriesKey(ref)) !== pack) this.#ground.archive(pack);
    return { outcome };
  }

  /** One that is open, or a new one; of a large instance one that is not kept open. */
  #packFor({ ref, range }: Spooled, after: string | undefined): PendingPack {
    const { limits } = this.#ground;
    const key = seriesKey(ref);
    if (range.lengthBytes > limits.ownPackBytes) return this.#ground.newPack(ref, after);
    const open = this.#open.get(key);
    this.#open.delete(key);
    const fits =
      open !== undefined &&
      open.lengthBytes + range.lengthBytes <= limits.packBytes &&
      open.entryCount < MAX_ENTRIES &&
      !open.has(ref.sopInstanceUid) &&
      (after === undefined || open.ref.packId > after);
    if (open !== undefined && !fits) this.#ground.archive(open);
    const pack = fits ? open : this.#ground.newPack(ref, after);
    this.#open.set(key, pack);
    for (const [oldKey, old] of this.#open) {
      if (this.#open.size <= limits.openPacks) break;
      this.#open.delete(oldKey);
      this.#ground.archive(old);
    }
    return pack;
  }

  #checkEnd(): void {
    if (!this.#isEnded || this.#sinks.size > 0) return;
    this.#ground.scratch.leave(this);
    this.#ground.ended(this);
  }
}

const seriesKey = ({ studyInstanceUid, seriesInstanceUid }: SeriesRef): string =>
  `${studyInstanceUid}\n${seriesInstanceUid}`;
