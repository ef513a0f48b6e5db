/**
 * The cloud behind the gateway's cache, put together: an Archive that finds what is not here, fetches pack by pack what is asked for,
 * and keeps it. For everybody who reads: DICOMweb on the LAN, C-FIND, C-MOVE, C-GET, routing. Who writes (receiver, sealing,
 * uploader, eviction) keeps to the gateway's own index and disk.
 */
import type { Archive, PackStore } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { matchKey } from '#shared/dicom/matching.ts';
import type { Logger } from '#shared/log.ts';
import type { DiskPackStore } from '../cache/disk-pack-store.ts';
import type { PackTurns } from '../cache/pack-turns.ts';
import type { SqliteIndex } from '../cache/sqlite-index.ts';
import { type CloudLineOptions, createCloudLine } from './cloud-line.ts';
import type { CloudReader } from './cloud-reader.ts';
import { createDeletions, type HearDeletions, hideDeletedIn } from './deletions.ts';
import { createMergedSearch } from './merged-search.ts';
import { createPackFetcher, type FetchTotals } from './pack-fetcher.ts';
import { createPurgedPacks } from './purged-packs.ts';
import { createRecallIndex } from './recall-index.ts';
import { createRecallPacks } from './recall-packs.ts';
import { createStudyHoldings } from './study-holdings.ts';

export interface RecallOptions {
  /** The gateway's own. */
  readonly index: SqliteIndex;
  readonly packs: DiskPackStore;
  /** The same for readers: what is read is checked, and stays for a while. */
  readonly reads: PackStore;
  readonly turns: PackTurns;
  readonly cloud: CloudReader;
  /** Whether so many bytes may be brought to this disk; it may make room for them. */
  readonly hasRoom: (bytes: number) => Promise<boolean>;
  readonly nowMs: () => number;
  readonly log: Logger;
  /** Of the line to the cloud: for tests. */
  readonly line?: Pick<CloudLineOptions, 'waitMs' | 'firstProbeMs'>;
}

export interface Recall {
  /** Closing its index closes the gateway's own. */
  readonly archive: Archive;
  /** The cloud's copy of an archived pack in place of a damaged one here, in the pack's turn. Rejects when that cannot be done now. */
  fetchPack(pack: PackRecord): Promise<void>;
  /** Follows what was deleted in the cloud, as far as it is to be heard now. */
  readonly hearDeletions: HearDeletions;
  /**
   * Shows no more what the cloud had deleted after it archived this pack, of which its receipt comes only now.
   * @param archived the pack as it is, or will be with the receipt
   */
  hideDeleted(archived: PackRecord): Promise<void>;
  /** See PackFetcher. */
  isLost(pack: Pick<PackRecord, 'packId'>): boolean;
  report(): FetchTotals & { readonly cloudAnswers: boolean };
  /** Ends questions and downloads. */
  close(): Promise<void>;
}

export function createRecall(options: RecallOptions): Recall {
  const { index, packs, reads, turns, cloud, hasRoom, nowMs, log } = options;
  const line = createCloudLine({
    // A study that nobody has: the cheapest question that needs the index to answer.
    probe: (signal) =>
      cloud.search({ level: 'study', keys: [matchKey([0x0020000d], 'UI', '0')], limit: 1, offset: 0 }, signal),
    log,
    ...options.line,
  });
  const holdings = createStudyHoldings({ index, cloud, line, nowMs, log });
  const mergedSearch = createMergedSearch({ index, cloud, line, nowMs, log });
  const giveUpPack = createPurgedPacks({ index, packs, turns, holdings, nowMs, log });
  const giveUp = (pack: PackRecord): Promise<void> => giveUpPack(pack.tenant, pack);
  const fetcher = createPackFetcher({ index, packs, turns, cloud, line, giveUp, hasRoom, nowMs, log });
  return {
    archive: {
      index: createRecallIndex({ index, holdings, mergedSearch, log }),
      packs: createRecallPacks({ index, disk: packs, reads, fetcher, nowMs }),
    },
    fetchPack: (pack) => fetcher.mend(pack),
    hearDeletions: createDeletions({ index, cloud, line, holdings, giveUpPack, log }),
    hideDeleted: (archived) => hideDeletedIn(index, archived),
    isLost: fetcher.isLost,
    report: () => ({ ...fetcher.totals(), cloudAnswers: line.isUp }),
    async close() {
      line.close();
      await fetcher.close();
    },
  };
}
