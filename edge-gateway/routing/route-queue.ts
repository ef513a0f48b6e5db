/**
 * What waits for one destination: durable jobs, one to a pack, in a queue of its own, so that a destination that is away
 * holds up nobody; and in memory the packs they are about, for whoever asks what must stay on the disk. One consumer only.
 */
import { join } from 'node:path';
import type { QueueMessage } from '#shared/archive/queue.ts';
import type { PackRef } from '#shared/archive/records.ts';
import { createSqliteQueue } from '../cache/sqlite-queue.ts';

export interface RouteJob extends PackRef {
  readonly enqueuedAtMs: number;
}

export interface RouteQueue {
  /** Packs that wait, and since when; the one that waits longest need not be first. */
  readonly waiting: ReadonlyMap<string, number>;
  /** Resolves when the job is on stable storage. Nothing happens when the pack is waiting already. */
  add(job: RouteJob): Promise<void>;
  /** Those that have waited longest for their turn. They come again until they are done. */
  next(max: number): Promise<readonly QueueMessage<RouteJob>[]>;
  done(job: QueueMessage<RouteJob>): Promise<void>;
  /** It comes again after `delayMs`, and still waits. `reason` is a sentence. */
  later(job: QueueMessage<RouteJob>, reason: string, delayMs: number): Promise<void>;
  close(): Promise<void>;
}

/** Jobs are tried for ever: what that means is route-delivery.ts. */
const NEVER_DEAD = 999_999_999;
const ALL = 10_000_000;

/** @param folder of all destinations' queues. Errors: those of Queue. */
export async function openRouteQueue(folder: string, aeTitle: string): Promise<RouteQueue> {
  // A title may hold characters that no file name may.
  const file = join(folder, `${Buffer.from(aeTitle, 'latin1').toString('hex')}.sqlite`);
  const queue = createSqliteQueue<RouteJob>({ file, maxReceiveCount: NEVER_DEAD });
  const waiting = new Map<string, number>();
  // The only consumer hides nothing: what it has not deleted it gets again.
  for (const { body } of await queue.receive(ALL, 0)) waiting.set(body.packId, body.enqueuedAtMs);
  return {
    waiting,
    async add(job) {
      if (waiting.has(job.packId)) return;
      waiting.set(job.packId, job.enqueuedAtMs);
      try {
        await queue.send(job);
      } catch (error) {
        waiting.delete(job.packId);
        throw error;
      }
    },
    async next(max) {
      const jobs = await queue.receive(max, 0);
      // One that was to come later when this began is heard of now.
      for (const { body } of jobs) waiting.set(body.packId, body.enqueuedAtMs);
      return jobs;
    },
    async done({ id, body }) {
      await queue.delete([id]);
      waiting.delete(body.packId);
    },
    later: ({ id }, reason, delayMs) => queue.retry(id, { reason, delayMs }),
    close: () => queue.close(),
  };
}
