/**
 * The gateway's packs with the cloud's behind them: what is read and not on this disk is fetched whole and kept, then read from here
 * as everything else. Who reads pack after pack of one study gets the next ones fetched ahead of him.
 */
import { manifestKey, packKey, parsePackKey } from '#shared/archive/keys.ts';
import type { ArchiveIndex, PackStore } from '#shared/archive/ports.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { isArchiveError } from '#shared/errors.ts';
import type { PackFetcher } from './pack-fetcher.ts';

export interface RecallPacksOptions {
  readonly index: Pick<ArchiveIndex, 'getPack' | 'listPacks'>;
  /** Whether something is on this disk. */
  readonly disk: Pick<PackStore, 'head'>;
  /** What reads it from there. */
  readonly reads: PackStore;
  readonly fetcher: PackFetcher;
  readonly nowMs: () => number;
}

/** Packs fetched ahead of who reads a study. */
const AHEAD = 2;
/** A study from which nothing was fetched for so long is not being read through. */
const READING_MS = 5 * 60_000;
const MAX_READINGS = 100;
/** Of a pack that is evicted again before it could be opened. */
const TRIES = 3;
/** What was read stays on the disk for longer than this (read-pins.ts): until then nobody looks whether it is there. */
const READ_LATELY_MS = 60_000;
const MAX_READ_LATELY = 1000;

interface Reading {
  /** The pack that was asked for last. */
  packId: string;
  untilMs: number;
}

export function createRecallPacks({ index, disk, reads, fetcher, nowMs }: RecallPacksOptions): PackStore {
  /** Studies that somebody has fetched from lately; the one used last is the last. */
  const readings = new Map<string, Reading>();
  /** Packs by key, and when one was last read. */
  const readLately = new Map<string, number>();

  /** What a key that is not on this disk names in the cloud; undefined: nothing. */
  async function archivedPack(key: string): Promise<{ pack: PackRecord; isManifest: boolean } | undefined> {
    const asPack = key.replace(/\.manifest\.zst$/, '.zip');
    const parts = parsePackKey(asPack);
    const pack = parts && (await index.getPack(parts.tenant, parts.ref));
    return pack?.state === 'archived' ? { pack, isManifest: asPack !== key } : undefined;
  }

  /** Brings the object here. False: there is none to bring. Errors: those of PackFetcher. */
  async function bring(key: string): Promise<boolean> {
    const found = await archivedPack(key);
    if (found === undefined) return false;
    const { pack, isManifest } = found;
    if (!isManifest) {
      noteMiss(pack);
      await fetcher.fetch(pack);
      return true;
    }
    // What lies on this disk is inspected here, sooner than the cloud would answer.
    if ((await disk.head(packKey(pack.tenant, pack))) !== undefined) return false;
    try {
      await fetcher.fetchManifest(pack);
      return true;
    } catch (error) {
      if (!isArchiveError(error, 'not-found')) throw error;
      // None to be had: then from the bytes, which must be here for it.
      await fetcher.fetch(pack);
      return false;
    }
  }

  async function here<T>(key: string, read: () => Promise<T>): Promise<T> {
    noteRead(key);
    for (let attempt = 1; ; attempt++) {
      // Looked for first: whoever tries to read a pack that is not there takes it for a damaged one.
      const isHere = wasReadLately(key) || (await disk.head(key)) !== undefined || (await bring(key));
      try {
        const answer = await read();
        noteHere(key);
        return answer;
      } catch (error) {
        readLately.delete(key);
        if (!isArchiveError(error, 'not-found') || !isHere || attempt === TRIES) throw error;
      }
    }
  }

  const wasReadLately = (key: string): boolean =>
    performance.now() - (readLately.get(key) ?? Number.NEGATIVE_INFINITY) < READ_LATELY_MS;

  /** Manifests are not pinned by who reads them. */
  function noteHere(key: string): void {
    if (parsePackKey(key) === undefined) return;
    if (readLately.size >= MAX_READ_LATELY) readLately.clear();
    readLately.set(key, performance.now());
  }

  const nameOf = (tenant: string, { studyInstanceUid }: PackRef): string => `${tenant}/${studyInstanceUid}`;

  function noteMiss(pack: PackRecord): void {
    const name = nameOf(pack.tenant, pack);
    const known = readings.get(name);
    readings.delete(name);
    readings.set(name, { packId: known?.packId ?? pack.packId, untilMs: nowMs() + READING_MS });
    for (const [oldest] of readings) {
      if (readings.size <= MAX_READINGS) return;
      readings.delete(oldest);
    }
  }

  /** The second pack of a study that is read after something of it was fetched: whoever reads it will read on. */
  function noteRead(key: string): void {
    if (readings.size === 0) return;
    const parts = parsePackKey(key);
    const reading = parts && readings.get(nameOf(parts.tenant, parts.ref));
    if (reading === undefined || reading.packId === parts?.ref.packId) return;
    reading.packId = parts?.ref.packId ?? '';
    if (nowMs() > reading.untilMs) return;
    // It costs nobody anything when it fails.
    if (parts !== undefined) fetchAhead(parts.tenant, parts.ref).catch(() => {});
  }

  /** In the order in which studies are read: series by UID, packs in the order of their making. */
  async function fetchAhead(tenant: string, from: PackRef): Promise<void> {
    const { studyInstanceUid } = from;
    const place = ({ seriesInstanceUid, packId }: PackRef): string => `${seriesInstanceUid}\n${packId}`;
    const next = (await index.listPacks(tenant, { studyInstanceUid }))
      .filter((pack) => place(pack) > place(from))
      .sort((a, b) => (place(a) < place(b) ? -1 : 1))
      .slice(0, AHEAD);
    for (const pack of next) if (pack.state === 'archived' && pack.evictedAtMs !== undefined) fetcher.prefetch(pack);
  }

  return {
    async head(key) {
      const found = await disk.head(key);
      if (found !== undefined) return found;
      const archived = await archivedPack(key);
      if (archived === undefined) return undefined;
      if (!archived.isManifest) {
        await fetcher.assertWithinReach(archived.pack);
        return { lengthBytes: archived.pack.lengthBytes };
      }
      await bring(key);
      return disk.head(manifestKey(archived.pack.tenant, archived.pack));
    },
    read: (key, range) => here(key, () => reads.read(key, range)),
    stream: (key, range) => here(key, () => reads.stream(key, range)),
    create: (key, body, expected) => reads.create(key, body, expected),
    delete: (key) => reads.delete(key),
  };
}
