/**
 * In which order packs go: `stat`, `routine`, `low`, and the newest first within each, since it is what somebody waits for.
 * So that under a load that never ends the oldest is not left for ever, every eighth goes to the oldest of all. It asks the
 * index for a few at a time, however many wait, and has what it takes announced, so that a slot finds a grant ready.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord, UploadPriority } from '#shared/archive/records.ts';
import type { UploadAnswer } from '#shared/gateway-api.ts';

export interface UploadIndex extends Pick<ArchiveIndex, 'packsInState' | 'updatePack'> {
  /** Sealed packs of one priority, newest first, from before the packId `before`. */
  packsToUpload(
    tenant: string,
    priority: UploadPriority,
    page: { limit: number; before?: string },
  ): Promise<readonly PackRecord[]>;
}

/** A pack and what the cloud said of it. */
export interface Job {
  readonly pack: PackRecord;
  readonly answer: UploadAnswer;
}

export interface UploadOrderOptions {
  readonly tenant: string;
  readonly index: UploadIndex;
  /** Whether the pack is to be left alone for now. */
  readonly rests: (pack: PackRecord) => boolean;
  /** Whether others than `stat` may go now. */
  readonly isTime: () => boolean;
  /** Packs on the wire at once. */
  readonly parallel: number;
}

/** Beyond what is on the wire. */
const LOOK_AHEAD = 50;
/** More that are announced than this are only grants growing old. */
const MOST_READY = 2 * LOOK_AHEAD;
const OLDEST_AHEAD = 8;
const EVERY_NTH_OLDEST = 8;
const rank = { stat: 0, routine: 1, low: 2 } as const satisfies Record<UploadPriority, number>;

export const priorityOf = ({ priority = 'routine' }: PackRecord): UploadPriority => priority;
export const isStat = (pack: PackRecord): boolean => priorityOf(pack) === 'stat';

export class UploadOrder {
  readonly #options: UploadOrderOptions;
  #ready: Job[] = [];
  /** Announced or on the wire. */
  readonly #inHand = new Set<string>();
  #taken = 0;
  #mayBeMore = false;
  readonly #lookAhead: number;

  constructor(options: UploadOrderOptions) {
    this.#options = options;
    this.#lookAhead = LOOK_AHEAD + options.parallel;
  }

  /** Whether it is time to look for more, and there may be more. */
  get wantsMore(): boolean {
    return this.#mayBeMore && this.#ready.length < LOOK_AHEAD / 2;
  }

  /** Packs that should be announced next, in order; none that is in hand. */
  async next(): Promise<readonly PackRecord[]> {
    const found: PackRecord[] = [];
    const isTime = this.#options.isTime();
    for (const priority of ['stat', 'routine', 'low'] as const) {
      if (priority === 'stat' || isTime) await this.#look(priority, found);
    }
    this.#mayBeMore = found.length >= this.#lookAhead;
    if (isTime) found.push(...(await this.#oldest()));
    const seen = new Set<string>();
    return found.filter(({ packId }) => {
      if (seen.has(packId) || this.#inHand.has(packId)) return false;
      seen.add(packId);
      return true;
    });
  }

  /** These may be taken now. What is beyond the look-ahead is let go, and announced again when its turn comes. */
  add(jobs: readonly Job[]): void {
    for (const job of jobs) this.#inHand.add(job.pack.packId);
    this.#ready = [...this.#ready, ...jobs].sort(before);
    const oldest = this.#ready.reduce<Job | undefined>(
      (first, job) => (first === undefined || job.pack.packId < first.pack.packId ? job : first),
      undefined,
    );
    for (const job of this.#ready.splice(MOST_READY)) {
      if (job === oldest) this.#ready.push(job);
      else this.done(job.pack);
    }
  }

  /** The next to be sent; `done` ends it. Undefined: nothing is ready that may go now. */
  take(only: 'stat' | 'any'): Job | undefined {
    const [first] = this.#ready;
    if (first === undefined) return undefined;
    if (!isStat(first.pack) && (only === 'stat' || !this.#options.isTime())) return undefined;
    let at = 0;
    if (!isStat(first.pack) && ++this.#taken % EVERY_NTH_OLDEST === 0) {
      for (const [i, { pack }] of this.#ready.entries()) if (pack.packId < this.#ready[at]!.pack.packId) at = i;
    }
    return this.#ready.splice(at, 1)[0];
  }

  /** The pack was sent, or failed, or is let go. */
  done({ packId }: PackRecord): void {
    this.#inHand.delete(packId);
  }

  /** Lets go of everything that is ready: its grants are of no use any more. */
  clear(): void {
    for (const { pack } of this.#ready.splice(0)) this.done(pack);
  }

  /** Adds those of one priority until there are enough; those that rest are passed over. */
  async #look(priority: UploadPriority, found: PackRecord[]): Promise<void> {
    const { tenant, index, rests } = this.#options;
    let before: string | undefined;
    while (found.length < this.#lookAhead) {
      const page = { limit: this.#lookAhead, ...(before === undefined ? {} : { before }) };
      const packs = await index.packsToUpload(tenant, priority, page);
      found.push(...packs.filter((pack) => !rests(pack)).slice(0, this.#lookAhead - found.length));
      before = packs.at(-1)?.packId;
      if (packs.length < this.#lookAhead) return;
    }
  }

  async #oldest(): Promise<readonly PackRecord[]> {
    const { tenant, index, rests } = this.#options;
    const { items } = await index.packsInState(tenant, 'sealed', { limit: OLDEST_AHEAD });
    return items.filter((pack) => !rests(pack));
  }
}

/** STAT first; then by priority, newest first. */
function before(a: Job, b: Job): number {
  const byRank = rank[priorityOf(a.pack)] - rank[priorityOf(b.pack)];
  if (byRank !== 0) return byRank;
  return a.pack.packId < b.pack.packId ? 1 : -1;
}
