/**
 * Modalities that send without end and believe what they are told: instances of mixed sizes on several associations, a list
 * of those answered Success, and those not answered sent again, as a modality does.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { InstanceRef } from '#shared/archive/records.ts';
import { type InstanceOptions, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { associate, type Sendable, storeOn } from '#test/support/sender.ts';
import type { Chance } from './random.ts';

export interface Acknowledged {
  readonly ref: InstanceRef;
  /** SHA-256 of the data set bytes, lower-case hex. */
  readonly digest: string;
}

/** How often each size comes, and its pixels: mostly small, some the size of a CT slice, a few with a pack of their own. */
const sizes = [
  { weight: 70, columns: 64, rows: 64 },
  { weight: 27, columns: 512, rows: 512 },
  { weight: 3, columns: 2400, rows: 2200 },
] as const;

const REFUSED_PAUSE_MS = 100;

export class Modality {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers that were not Success; the instance is sent again, as long as it takes. There are none while the disk is well. */
  readonly refused: number[] = [];
  /** Associations that were not had, or did not hold. */
  turnedAway = 0;
  readonly #port: () => number;
  readonly #chance: Chance;
  readonly #uidRoot: string;
  readonly #instancesPerSeries: number;
  #allowed = 0;
  #made = 0;
  #unanswered: MadeInstance[] = [];
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: { port: () => number; chance: Chance; uidRoot: string; instancesPerSeries?: number }) {
    this.#port = options.port;
    this.#chance = options.chance;
    this.#uidRoot = options.uidRoot;
    this.#instancesPerSeries = options.instancesPerSeries ?? 40;
  }

  /** It may make so many instances more; it waits when there are none left. */
  allow(count: number): void {
    this.#allowed += count;
  }

  start(): void {
    this.#stopped = false;
    this.#running = this.#run();
  }

  /** Ends after the instance that is on its way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Resolves when everything that was allowed is made, sent and answered. */
  async finish(): Promise<void> {
    await this.stop();
    while (this.#hasWork()) await this.#associationOf(() => this.#next());
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      if (this.#hasWork()) await this.#associationOf(() => (this.#stopped ? undefined : this.#next()));
      else await pause(20);
    }
  }

  #hasWork(): boolean {
    return this.#unanswered.length > 0 || this.#made < this.#allowed;
  }

  #next(): MadeInstance | undefined {
    return this.#unanswered[0] ?? (this.#made < this.#allowed ? this.#make() : undefined);
  }

  /** One association, for as long as it holds and there is something to send. */
  async #associationOf(nextInstance: () => MadeInstance | undefined): Promise<void> {
    const kinds: Pick<Sendable, 'sopClassUid' | 'transferSyntaxUid'>[] = [template];
    try {
      const association = await associate(this.#port(), kinds, { connectTimeoutMs: 3_000, responseTimeoutMs: 20_000 });
      try {
        for (let instance = nextInstance(); instance !== undefined; instance = nextInstance()) {
          if (!this.#unanswered.includes(instance)) this.#unanswered.push(instance);
          const { status } = await storeOn(association, instance);
          if (status === 0) {
            this.#unanswered = this.#unanswered.filter((other) => other !== instance);
            this.acknowledged.push({ ref: instance.ref, digest: instance.digest });
          } else {
            this.refused.push(status);
            await pause(REFUSED_PAUSE_MS);
          }
        }
      } finally {
        if (association.isOpen) await association.release();
      }
    } catch {
      // The other side is away: that is what this is about. Try again soon.
      this.turnedAway++;
      await pause(50);
    }
  }

  #make(): MadeInstance {
    const number = this.#made++;
    const series = Math.floor(number / this.#instancesPerSeries);
    const options: InstanceOptions = {
      studyInstanceUid: `${this.#uidRoot}.1`,
      seriesInstanceUid: `${this.#uidRoot}.1.${series + 1}`,
      sopInstanceUid: `${this.#uidRoot}.1.${series + 1}.${number + 1}`,
      instanceNumber: number + 1,
      ...this.#size(),
    };
    return makeInstance(options);
  }

  #size(): { rows: number; columns: number } {
    let at = this.#chance.integer(100);
    for (const { weight, rows, columns } of sizes) {
      at -= weight;
      if (at < 0) return { rows, columns };
    }
    return sizes[0];
  }
}

const template = makeInstance();
