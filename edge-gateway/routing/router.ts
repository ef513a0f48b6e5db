/**
 * Routing: what was received goes on to other AEs by rules. A sealed pack becomes a durable job for each destination; a
 * crash between the two is made up for at the next start, at the price of sending the last minutes' packs twice, which
 * receivers answer with Success. Says what must stay on the disk for it, and how it stands.
 */
import { join } from 'node:path';
import { newPackId } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import type { SqliteIndex } from '../cache/sqlite-index.ts';
import type { RemoteAe } from '../dimse/delivery.ts';
import type { RouteRule } from '../settings.ts';
import { openRouteCursor } from './route-cursor.ts';
import { ROUTE_PATIENCE_MS, RouteDelivery, type RouteDeliveryOptions, type RouteReport } from './route-delivery.ts';
import { openRouteQueue, type RouteQueue } from './route-queue.ts';
import { destinationsOf } from './route-rules.ts';

export interface RouterOptions extends Omit<RouteDeliveryOptions, 'queue' | 'destination' | 'index'> {
  readonly index: ArchiveIndex & Pick<SqliteIndex, 'packsOnDisk'>;
  /** Of its own. */
  readonly folder: string;
  readonly rules: readonly RouteRule[];
  /** By AE title; every destination of a rule is in it. */
  readonly remoteAes: ReadonlyMap<string, RemoteAe>;
}

export interface Router {
  /** A pack was sealed. Resolves at once. */
  sealed(pack: PackRecord): void;
  /** Whether a destination waits for it; for a week, then its bytes may leave the disk (and come back from the cloud). */
  isPinned(pack: Pick<PackRecord, 'packId'>): boolean;
  /** One to each destination of the rules. */
  report(): readonly RouteReport[];
  /** What is being sent is broken off and goes again after the next start. To be called when nothing is sealed any more. */
  close(): Promise<void>;
}

/** From the sealing time that a pack's record says to the moment when we hear of it, with a slow disk. */
const SLACK_MS = 5 * 60_000;
/** A pack is not open for longer than this. */
const LONGEST_OPEN_MS = 24 * 60 * 60_000;
const PAGE = 1_000;
const ADD_RETRY_MS = 1_000;
const MODALITY = '00080060';

interface Route {
  readonly queue: RouteQueue;
  readonly delivery: RouteDelivery;
}

/** What a crash left is found when it resolves. Errors: those of Queue, when a destination's cannot be opened; of the index. */
export async function createRouter(options: RouterOptions): Promise<Router> {
  const { folder, tenant, index, rules, remoteAes, nowMs, log } = options;
  const cursor = await openRouteCursor(join(folder, 'cursor.json'), log);
  const routes = new Map<string, Route>();
  /** Packs whose jobs are not all queued yet, with the time of their sealing. */
  const beingQueued = new Map<string, number>();
  const queueing = new Set<Promise<void>>();
  let isClosing = false;

  for (const to of new Set(rules.map((rule) => rule.to))) {
    const remote = remoteAes.get(to);
    if (remote === undefined) throw new RangeError(`the route to ${to} leads to no AE of the table`);
    const queue = await openRouteQueue(folder, to);
    routes.set(to, {
      queue,
      delivery: new RouteDelivery({ ...options, queue, destination: { ...remote, aeTitle: to } }),
    });
  }

  async function enqueue(pack: PackRecord): Promise<void> {
    const { packId, studyInstanceUid, seriesInstanceUid } = pack;
    const destinations = await destinationsOf(rules, pack, () => modalityOf(index, tenant, pack));
    const job = { packId, studyInstanceUid, seriesInstanceUid, enqueuedAtMs: nowMs() };
    for (const to of destinations) {
      const route = routes.get(to);
      await route?.queue.add(job);
      route?.delivery.wake();
    }
  }

  async function enqueueAnyhow(pack: PackRecord): Promise<void> {
    const sealedAtMs = pack.sealedAtMs ?? nowMs();
    beingQueued.set(pack.packId, sealedAtMs);
    while (!isClosing) {
      try {
        await enqueue(pack);
        beingQueued.delete(pack.packId);
        cursor.move(Math.min(sealedAtMs, ...beingQueued.values()));
        return;
      } catch (error) {
        log.error(
          { packId: pack.packId, err: error },
          'a pack could not be queued for routing; it will be tried again',
        );
        await new Promise((resolve) => setTimeout(resolve, ADD_RETRY_MS));
      }
    }
  }

  function sealed(pack: PackRecord): void {
    if (rules.length === 0) return;
    const run = enqueueAnyhow(pack).finally(() => queueing.delete(run));
    queueing.add(run);
  }

  if (rules.length === 0) await cursor.remove();
  else if (cursor.atStartMs === undefined) {
    cursor.move(nowMs());
    await cursor.save();
  } else for await (const pack of sealedSince(index, tenant, cursor.atStartMs - SLACK_MS)) sealed(pack);

  return {
    sealed,
    isPinned({ packId }) {
      if (beingQueued.has(packId)) return true;
      const keptSinceMs = nowMs() - ROUTE_PATIENCE_MS;
      return [...routes.values()].some(({ queue }) => (queue.waiting.get(packId) ?? 0) > keptSinceMs);
    },
    report: () => [...routes.values()].map(({ delivery }) => delivery.report()),
    async close() {
      await Promise.all([...routes.values()].map(({ delivery }) => delivery.close()));
      isClosing = true;
      await Promise.all(queueing);
      // Nothing was sealed that is not queued, and nothing will be: the next start need not look back.
      if (rules.length > 0 && beingQueued.size === 0) cursor.move(nowMs() + SLACK_MS);
      await Promise.all([...routes.values()].map(({ queue }) => queue.close()));
      await cursor.save();
    },
  };
}

/** None of these has left the disk yet: it would have been archived for long. */
async function* sealedSince(
  index: RouterOptions['index'],
  tenant: string,
  sinceMs: number,
): AsyncGenerator<PackRecord, void, void> {
  let after = newPackId(Math.max(0, sinceMs - LONGEST_OPEN_MS), new Uint8Array(10));
  for (;;) {
    const page = await index.packsOnDisk(tenant, { limit: PAGE, after });
    for (const pack of page) if ((pack.sealedAtMs ?? 0) >= sinceMs) yield pack;
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) return;
    after = last.packId;
  }
}

/** Of the series, by its first instance. */
async function modalityOf(index: ArchiveIndex, tenant: string, pack: PackRecord): Promise<string | undefined> {
  const { studyInstanceUid, seriesInstanceUid } = pack;
  const { items } = await index.listInstances(tenant, { studyInstanceUid, seriesInstanceUid }, { limit: 1 });
  const value = items[0]?.attributes[MODALITY]?.Value?.[0];
  return typeof value === 'string' ? value.trim() : undefined;
}
