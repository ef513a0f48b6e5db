/**
 * Brings packs and manifests back from the cloud: whole, verified while they stream to the disk, each once however many wait for it,
 * a few at a time, and those that somebody waits for before those that somebody may want next. Who stops waiting stops nothing:
 * what was begun is kept. Bytes that are not those of the pack's SHA-256 are never in their place, so nobody is served them.
 */
import { createHash } from 'node:crypto';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import { decodeManifest } from '#shared/archive/manifest.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { ReadAnswer } from '#shared/gateway-read-api.ts';
import type { Logger } from '#shared/log.ts';
import type { DiskPackStore } from '../cache/disk-pack-store.ts';
import type { PackTurns } from '../cache/pack-turns.ts';
import type { CloudLine } from './cloud-line.ts';
import type { CloudReader } from './cloud-reader.ts';
import { createFetchQueue } from './fetch-queue.ts';

export interface PackFetcherOptions {
  readonly index: Pick<ArchiveIndex, 'getPack' | 'updatePack'>;
  readonly packs: DiskPackStore;
  readonly turns: PackTurns;
  readonly cloud: Pick<CloudReader, 'reads' | 'open'>;
  readonly line: CloudLine;
  /** The cloud has written the pack anew without what was deleted: what is looked for in it is looked for elsewhere when this resolves. */
  readonly giveUp: (pack: PackRecord) => Promise<void>;
  /** Whether so many bytes may be brought to this disk. */
  readonly hasRoom: (bytes: number) => Promise<boolean>;
  readonly nowMs: () => number;
  readonly log: Logger;
  /** Packs on the way at once. Default 3. */
  readonly parallel?: number;
}

export interface FetchTotals {
  /** Since the start. */
  readonly packs: number;
  readonly bytes: number;
  readonly failures: number;
}

export interface PackFetcher {
  /** Whether it could be fetched now, for which the cloud is asked. Errors: `unavailable` when not; `damaged` when it is lost. */
  assertWithinReach(pack: PackRecord): Promise<void>;
  /**
   * The pack's bytes are here when it resolves. Errors: `unavailable` (the cloud is away, or sent something else), `out-of-resources`,
   * `not-found` when the cloud does not have it.
   */
  fetch(pack: PackRecord): Promise<void>;
  /** The same when nothing else is to be done; what becomes of it is for nobody. */
  prefetch(pack: PackRecord): void;
  /** The pack's manifest is here when it resolves. Errors: as of `fetch`; `not-found` when there is none. */
  fetchManifest(pack: PackRecord): Promise<void>;
  /** Puts the cloud's bytes in place of those here, which are damaged; nobody reads anything between. Errors: as of `fetch`. */
  mend(pack: PackRecord): Promise<void>;
  /** Whether the cloud has said, when it was asked last, that it does not have what it had archived: it is safe nowhere. */
  isLost(pack: Pick<PackRecord, 'packId'>): boolean;
  totals(): FetchTotals;
  /** Ends what is under way and resolves when nothing is. */
  close(): Promise<void>;
}

const PARALLEL = 3;
const PARALLEL_MANIFESTS = 4;
/** Of a download that breaks off or brings wrong bytes. */
const TRIES = 3;
const MAX_PREFETCHES = 16;
const MAX_LOST = 100_000;
/** Of a manifest as it is stored: that of 65,536 instances takes less. */
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

type Granted = Extract<ReadAnswer, { kind: 'granted' }>;

export function createPackFetcher(options: PackFetcherOptions): PackFetcher {
  const { index, packs, turns, cloud, line, giveUp, hasRoom, nowMs, log, parallel = PARALLEL } = options;
  const closing = new AbortController();
  const queue = createFetchQueue(parallel);
  // Metadata shall not wait behind pixels.
  const manifestQueue = createFetchQueue(PARALLEL_MANIFESTS);
  const totals = { packs: 0, bytes: 0, failures: 0 };
  let incomingBytes = 0;
  /** By packId. Forgotten by a restart, and found again by whoever reads. */
  const lostPacks = new Set<string>();

  /** Where the pack was given up in the cloud it is given up here, before whoever wants it is told to ask once more: not in the pack's turn. */
  async function orGiveUp(pack: PackRecord, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (isMoved(error))
        await giveUp(pack).catch((cause: unknown) =>
          log.warn({ packId: pack.packId, err: cause }, 'what lay in a purged pack could not be looked for elsewhere'),
        );
      throw error;
    }
  }

  async function grantFor(pack: PackRecord): Promise<Granted> {
    const answer = await line.ask((signal) => cloud.reads(pack, signal));
    if (answer.kind === 'purged') throw moved(pack);
    if (answer.kind === 'unknown')
      throw new ArchiveError('not-found', 'The cloud archive does not have this pack.', { packId: pack.packId });
    // A pack is its bytes: another SHA-256 is another pack.
    if (answer.sha256 !== pack.sha256 || answer.lengthBytes !== pack.lengthBytes)
      throw new ArchiveError('unavailable', 'The cloud archive has another pack under this name.', {
        packId: pack.packId,
      });
    return answer;
  }

  /**
   * Sees to it that there is room, then works in the pack's turn: not the other way round, since making room takes turns of its own, and
   * might come to this very pack.
   */
  async function withRoom(pack: PackRecord, work: () => Promise<void>): Promise<void> {
    incomingBytes += pack.lengthBytes;
    try {
      if (!(await hasRoom(incomingBytes)))
        throw new ArchiveError(
          'out-of-resources',
          'The disk of the gateway has no room to fetch this from the cloud.',
          {
            lengthBytes: pack.lengthBytes,
          },
        );
      await turns.inTurn(pack, work);
    } catch (error) {
      totals.failures++;
      throw error;
    } finally {
      incomingBytes -= pack.lengthBytes;
    }
  }

  /** Downloads until the bytes are right, a few times; `store` verifies them. */
  async function download(
    pack: PackRecord,
    store: (body: ReadableStream<Uint8Array>, expected: { lengthBytes: number; sha256: string }) => Promise<unknown>,
  ): Promise<void> {
    const { packId } = pack;
    const startedAtMs = performance.now();
    for (let attempt = 1; ; attempt++) {
      try {
        const { pack: grant, lengthBytes, sha256 } = await grantFor(pack);
        await store(await cloud.open(grant, closing.signal), { lengthBytes, sha256 });
        lostPacks.delete(packId);
        totals.packs++;
        totals.bytes += lengthBytes;
        const ms = Math.round(performance.now() - startedAtMs);
        log.info({ packId, bytes: lengthBytes, ms }, 'a pack was fetched from the cloud');
        return;
      } catch (error) {
        if (isArchiveError(error, 'not-found')) throw lost(pack, error);
        if (isMoved(error)) throw error;
        log.warn({ packId, attempt, err: error }, 'a pack could not be fetched from the cloud');
        const mayHelp = isArchiveError(error, 'checksum-mismatch') || isArchiveError(error, 'unavailable');
        if (!mayHelp || attempt === TRIES || !line.isUp || closing.signal.aborted) throw outward(error);
      }
    }
  }

  /** What was archived is gone: nobody can put that right by asking again. */
  function lost({ packId }: PackRecord, cause: ArchiveError): ArchiveError {
    if (lostPacks.size < MAX_LOST) lostPacks.add(packId);
    log.error({ packId, err: cause }, 'the cloud does not have a pack that it has archived');
    return new ArchiveError(
      'damaged',
      'The cloud archive does not have a pack that it has archived.',
      { packId },
      cause,
    );
  }

  /** In its turn: it may be evicted again from the moment that its record says it is here, and no sooner. */
  async function bringPack(pack: PackRecord): Promise<void> {
    const key = packKey(pack.tenant, pack);
    const isHere = async (): Promise<boolean> => (await packs.head(key)) !== undefined;
    const noteHere = (): Promise<unknown> =>
      index.updatePack(pack.tenant, pack, ['archived'], { evictedAtMs: undefined, accessedAtMs: nowMs() });
    // It may have come since the caller looked.
    if (await isHere()) {
      await turns.inTurn(pack, async () => (await isHere()) && (await noteHere()));
      return;
    }
    await withRoom(pack, async () => {
      if (!(await isHere())) await download(pack, (body, expected) => packs.create(key, body, expected));
      await noteHere();
    });
  }

  const mendPack = (pack: PackRecord): Promise<void> =>
    withRoom(pack, () => download(pack, (body, expected) => packs.replace(packKey(pack.tenant, pack), body, expected)));

  async function bringManifest(pack: PackRecord): Promise<void> {
    const key = manifestKey(pack.tenant, pack);
    if ((await packs.head(key)) !== undefined) return;
    const { manifest: grant } = await grantFor(pack);
    const bytes = await gathered(await cloud.open(grant, closing.signal));
    const { packId, sha256, lengthBytes } = await decodeManifest(bytes).catch(outwardly);
    if (packId !== pack.packId || sha256 !== pack.sha256 || lengthBytes !== pack.lengthBytes)
      throw new ArchiveError('unavailable', 'The cloud sent a manifest of another pack.', { packId: pack.packId });
    await packs.create(key, bytes, {
      lengthBytes: bytes.length,
      sha256: createHash('sha256').update(bytes).digest('hex'),
    });
  }

  return {
    async assertWithinReach(pack) {
      await orGiveUp(pack, () =>
        grantFor(pack).catch((error: unknown) => {
          throw isArchiveError(error, 'not-found') ? lost(pack, error) : error;
        }),
      );
    },
    fetch: (pack) => queue.once(packKey(pack.tenant, pack), true, () => orGiveUp(pack, () => bringPack(pack))),
    prefetch(pack) {
      if (!line.isUp || queue.idleCount >= MAX_PREFETCHES || closing.signal.aborted) return;
      // Its failure is logged, and tried again by whoever needs it.
      queue.once(packKey(pack.tenant, pack), false, () => orGiveUp(pack, () => bringPack(pack))).catch(() => {});
    },
    fetchManifest: (pack) =>
      manifestQueue.once(manifestKey(pack.tenant, pack), true, () => orGiveUp(pack, () => bringManifest(pack))),
    mend: (pack) => queue.once(`mend ${packKey(pack.tenant, pack)}`, false, () => orGiveUp(pack, () => mendPack(pack))),
    isLost: ({ packId }) => lostPacks.has(packId),
    totals: () => ({ ...totals }),
    async close() {
      closing.abort();
      await Promise.all([queue.close(closed()), manifestQueue.close(closed())]);
    },
  };
}

async function gathered(body: ReadableStream<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    length += piece.length;
    if (length > MAX_MANIFEST_BYTES) throw new ArchiveError('unavailable', 'The cloud sent a manifest without end.');
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

/** Wrong bytes from the cloud are no fault of who asked for them, nor of what is stored here. */
function outward(error: unknown): unknown {
  if (!isArchiveError(error) || (error.code !== 'checksum-mismatch' && error.code !== 'damaged')) return error;
  return new ArchiveError(
    'unavailable',
    'The cloud sent other bytes than it has verified; try again later.',
    {},
    error,
  );
}

const outwardly = (error: unknown): never => {
  throw outward(error);
};

/** Nothing is lost: who asks once more is led to where it lies now. */
const moved = ({ packId }: PackRecord): ArchiveError =>
  new ArchiveError('unavailable', 'The archive was just written anew here, after something was deleted; ask again.', {
    packId,
    moved: true,
    retryAfterSeconds: 1,
  });

const isMoved = (error: unknown): boolean => isArchiveError(error, 'unavailable') && error.details.moved === true;

const closed = (): ArchiveError => new ArchiveError('unavailable', 'The gateway is closing; ask again in a minute.');
