/**
 * What became of packs that were sent: asked soon and often of those sent just now, now and then of all. Also what says how
 * far uploads may run ahead of a cloud that does not keep up with them, so that what is urgent does not queue there.
 */

import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { MAX_PACKS_PER_REQUEST, type StatusResponse, type UploadAnswer } from '#shared/gateway-api.ts';
import type { Logger } from '#shared/log.ts';
import type { Pause } from './bell.ts';
import type { CloudClient } from './cloud-client.ts';

export interface ConfirmationsOptions {
  readonly tenant: string;
  readonly index: Pick<ArchiveIndex, 'packsInState' | 'updatePack'>;
  readonly cloud: Pick<CloudClient, 'status'>;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly signal: AbortSignal;
  readonly intervalMs: number;
  /** After this long in `sent` without word a pack is announced again. */
  readonly resendAfterMs: number;
  /** The cloud has said its last word about a pack. */
  readonly settle: (pack: PackRecord, answer: Settled) => Promise<void>;
  /** A pack is `sealed` again: it has to be announced anew. */
  readonly resend: () => void;
  /** There is room ahead again. */
  readonly room: () => void;
}

export type Settled = Extract<UploadAnswer, { kind: 'archived' | 'rejected' }>;

/** Packs that were sent within the last minute and are not confirmed: more than this many do not go ahead of the cloud. */
const MOST_AHEAD = 200;
const RECENT_MS = 60_000;
/** Looking at all that was sent comes so much more seldom than looking at the latest. */
const ALL_EVERY = 20;
const IDLE_MS = 5_000;

export class Confirmations {
  readonly #options: ConfirmationsOptions;
  /** Sent by this process within the last minute, by packId, in order. */
  readonly #recent = new Map<string, { readonly pack: PackRecord; readonly sentAtMs: number }>();
  #nextOfAllMs = 0;
  #anyWaiting = true;

  constructor(options: ConfirmationsOptions) {
    this.#options = options;
  }

  /** Whether the cloud has so much to do that others than `stat` should wait a moment. */
  get isFull(): boolean {
    const oldMs = performance.now() - RECENT_MS;
    for (const [packId, { sentAtMs }] of this.#recent) {
      if (sentAtMs > oldMs) break;
      this.#recent.delete(packId);
    }
    return this.#recent.size >= MOST_AHEAD;
  }

  sent(pack: PackRecord): void {
    this.#recent.set(pack.packId, { pack, sentAtMs: performance.now() });
    this.#anyWaiting = true;
  }

  /** Asks once; answers how long to wait until the next time. Errors: the cloud's and the index's. */
  async round(): Promise<Pause> {
    const { intervalMs, signal } = this.#options;
    const recent = [...this.#recent.values()].map(({ pack }) => pack);
    for (let at = 0; at < recent.length && !signal.aborted; at += MAX_PACKS_PER_REQUEST)
      await this.#ask(recent.slice(at, at + MAX_PACKS_PER_REQUEST));
    if (!this.isFull) this.#options.room();
    if (performance.now() >= this.#nextOfAllMs) await this.#askOfAll();
    // While packs wait, news does not hasten the next look: the cloud needs its time, and a poll costs a request.
    return this.#anyWaiting || this.#recent.size > 0 ? { ms: intervalMs, deaf: true } : { ms: IDLE_MS };
  }

  async #askOfAll(): Promise<void> {
    const { tenant, index, intervalMs, signal } = this.#options;
    const beganAtMs = performance.now();
    this.#anyWaiting = false;
    const limit = MAX_PACKS_PER_REQUEST;
    for await (const items of pagesOf((from) => index.packsInState(tenant, 'sent', { limit, ...from }))) {
      if (items.length > 0) this.#anyWaiting = true;
      const packs = items.filter(({ packId }) => !this.#recent.has(packId));
      if (packs.length > 0) await this.#ask(packs);
      if (signal.aborted) break;
    }
    const nowMs = performance.now();
    this.#nextOfAllMs = nowMs + Math.max(ALL_EVERY * intervalMs, 4 * (nowMs - beganAtMs));
  }

  async #ask(packs: readonly PackRecord[]): Promise<void> {
    const { packs: answers } = await this.#options.cloud.status(packs, this.#options.signal);
    const byId = new Map(answers.map((answer) => [answer.packId, answer]));
    // Together, since the index makes one sync of them.
    await Promise.all(packs.map((pack) => this.#take(pack, byId.get(pack.packId))));
  }

  async #take(pack: PackRecord, answer: StatusResponse['packs'][number] | undefined): Promise<void> {
    const { tenant, index, log, settle, resend } = this.#options;
    if (answer === undefined) return;
    if (answer.kind !== 'pending') {
      await settle(pack, answer);
      this.#recent.delete(pack.packId);
    } else if (this.#isLongAgo(pack)) {
      log.warn({ packId: pack.packId }, 'sent long ago and not archived; announcing it again');
      await index.updatePack(tenant, pack, ['sent'], { state: 'sealed' });
      this.#recent.delete(pack.packId);
      resend();
    }
  }

  /** A moment that is still to come is of a clock that was set back: nobody knows how long ago it was. */
  #isLongAgo({ packId, sentAtMs = 0 }: PackRecord): boolean {
    const sent = this.#recent.get(packId);
    const agoMs = sent === undefined ? this.#options.nowMs() - sentAtMs : performance.now() - sent.sentAtMs;
    return agoMs < 0 || agoMs > this.#options.resendAfterMs;
  }
}
