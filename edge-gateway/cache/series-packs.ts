/**
 * Which open pack an instance goes into, and when a pack has been open long enough: at its size, when its series has been
 * quiet, at its age, or when too many are open at once.
 */
import { randomBytes } from 'node:crypto';
import { newPackId, packIdTimeMs } from '#shared/archive/keys.ts';
import type { SeriesRef } from '#shared/archive/records.ts';
import { OpenPack, type PackGround } from './open-pack.ts';

export interface PackLimits {
  /** A pack of this size is sealed. */
  readonly packBytes: number;
  /** So is one whose series brought nothing for so long, */
  readonly quietMs: number;
  /** The same for one in which something is `stat`. */
  readonly statQuietMs: number;
  /** and one of this age. */
  readonly ageMs: number;
  /** More than this many at a time are not open: the one that has been quiet for longest is sealed. */
  readonly openPacks: number;
}

interface Timed {
  readonly pack: OpenPack;
  quiet: NodeJS.Timeout;
  hastened: boolean;
  readonly age: NodeJS.Timeout;
}

export class SeriesPacks {
  readonly #ground: PackGround;
  readonly #limits: PackLimits;
  readonly #nowMs: () => number;
  readonly #seal: (pack: OpenPack) => void;
  /** Of each series, in order of their making. */
  readonly #bySeries = new Map<string, OpenPack[]>();
  /** In order of their last use. */
  readonly #open = new Map<OpenPack, Timed>();
  #lastIdMs = 0;

  constructor(ground: PackGround, limits: PackLimits, nowMs: () => number, seal: (pack: OpenPack) => void) {
    this.#ground = ground;
    this.#limits = limits;
    this.#nowMs = nowMs;
    this.#seal = seal;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * An id for a new pack, later than all that were given before, whatever the clock does, and later than `after`: the order of
   * arrival, by which everybody decides who was first, is the order of packIds.
   */
  newPackId(after?: string): string {
    const afterMs = after === undefined ? 0 : packIdTimeMs(after);
    this.#lastIdMs = Math.max(this.#nowMs(), this.#lastIdMs + 1, afterMs + 1);
    return newPackId(this.#lastIdMs, randomBytes(10));
  }

  /**
   * The pack for an entry of this name: one of its series that is open and has no such name, else a new one. The caller appends
   * in the same turn.
   * @param after the packId of an instance with the same UIDs, which must come earlier in the order of arrival
   */
  place(series: SeriesRef, name: string, after: string | undefined): OpenPack {
    const key = keyOf(series);
    const fitting = this.#bySeries
      .get(key)
      ?.find((pack) => pack.takes(name) && (after === undefined || pack.packId > after));
    const pack = fitting ?? this.#make(key, series, after);
    this.#touch(pack);
    return pack;
  }

  /** Call it when something was appended: seals the pack if it is full, or of no use after a failure. */
  appended(pack: OpenPack): void {
    if (pack.promisedBytes >= this.#limits.packBytes || !pack.usable) this.#retire(pack);
  }

  /** Something in it is `stat`: it does not wait as long as others for more of its series. */
  hasten(pack: OpenPack): void {
    const timed = this.#open.get(pack);
    if (timed === undefined || timed.hastened) return;
    clearTimeout(timed.quiet);
    timed.quiet = setTimeout(() => this.#retire(pack), this.#limits.statQuietMs).unref();
    timed.hastened = true;
  }

  /** Begins to seal all that are open. */
  retireAll(): void {
    for (const pack of [...this.#open.keys()]) this.#retire(pack);
  }

  #make(key: string, series: SeriesRef, after: string | undefined): OpenPack {
    if (this.#open.size >= this.#limits.openPacks) {
      const [quietest] = this.#open.keys();
      if (quietest !== undefined) this.#retire(quietest);
    }
    const packId = this.newPackId(after);
    const pack = new OpenPack(this.#ground, { packId, series, createdAtMs: this.#nowMs() });
    const retire = (): void => this.#retire(pack);
    const quiet = setTimeout(retire, this.#limits.quietMs).unref();
    const age = setTimeout(retire, this.#limits.ageMs).unref();
    this.#open.set(pack, { pack, quiet, age, hastened: false });
    const siblings = this.#bySeries.get(key);
    if (siblings === undefined) this.#bySeries.set(key, [pack]);
    else siblings.push(pack);
    return pack;
  }

  #touch(pack: OpenPack): void {
    const timed = this.#open.get(pack);
    if (timed === undefined) return;
    timed.quiet.refresh();
    this.#open.delete(pack);
    this.#open.set(pack, timed);
  }

  #retire(pack: OpenPack): void {
    const timed = this.#open.get(pack);
    if (timed === undefined) return;
    clearTimeout(timed.quiet);
    clearTimeout(timed.age);
    this.#open.delete(pack);
    const key = keyOf(pack.series);
    const siblings = (this.#bySeries.get(key) ?? []).filter((other) => other !== pack);
    if (siblings.length === 0) this.#bySeries.delete(key);
    else this.#bySeries.set(key, siblings);
    this.#seal(pack);
  }
}

const keyOf = (series: SeriesRef): string => `${series.studyInstanceUid}\n${series.seriesInstanceUid}`;
