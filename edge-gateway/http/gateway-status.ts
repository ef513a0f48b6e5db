/**
 * What hospital IT wants to see at a glance: is the gateway healthy, what is not in the cloud yet, since when, why, and who
 * sends. Gathered here from the parts as one plain object without patient data; pages, /health and metrics only show it.
 */
import { statfs } from 'node:fs/promises';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackState, StudyRef } from '#shared/archive/records.ts';
import type { CacheReport } from '../cache/cache.ts';
import type { CommitmentsOverview } from '../commitment/sqlite-commitments.ts';
import type { PeerNote } from '../dimse/peer-book.ts';
import type { Recall } from '../recall/recall.ts';
import type { RouteReport } from '../routing/route-delivery.ts';
import type { Counters, Throughput } from '../throughput.ts';
import type { UploadReport } from '../upload/uploader.ts';
import { routeSentences } from './route-sentences.ts';
import { type Verdict, verdictOf } from './verdict.ts';
import { counted, duration } from './words.ts';

export interface GatewayStatus {
  /** failing: nothing is accepted. */
  readonly health: 'ok' | 'failing';
  readonly verdict: Verdict;
  /** Sentences for whoever looks after the gateway: somebody must do something; each is in the runbook. */
  readonly alarms: readonly string[];
  /** Sentences that explain, and pass by themselves. */
  readonly warnings: readonly string[];
  readonly aeTitle: string;
  readonly dicomPort: number;
  /** Undefined: no DICOM over TLS. */
  readonly dicomTlsPort?: number | undefined;
  readonly cloudUrl: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly packs: Readonly<Record<PackState, PackTotal>>;
  /** What is acknowledged and not archived in the cloud. */
  readonly backlog: {
    readonly packs: number;
    readonly instances: number;
    readonly bytes: number;
    readonly oldestAtMs: number | undefined;
  };
  /** Since the start, duplicates not counted. */
  readonly stored: { readonly instances: number; readonly bytes: number };
  /** Bytes per second, mean of the last minutes. */
  readonly rate: Counters;
  /** Of each minute of the last 24 hours, the present one last. */
  readonly minutes: readonly Counters[];
  readonly upload: UploadReport;
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number; readonly reserveBytes: number };
  /** Undefined while the index cannot be read. */
  readonly cache?: CacheReport | undefined;
  /** On the DIMSE ports, at this moment. */
  readonly connections: number;
  /** AEs heard from, last heard first. */
  readonly peers: readonly PeerNote[];
  /** Undefined while their list cannot be read. */
  readonly commitments?: CommitmentsOverview | undefined;
  /** What was fetched back from the cloud, and whether it answers those who wait. */
  readonly recall?: RecallReport | undefined;
  /** Destinations of the routes. */
  readonly routes: readonly RouteReport[];
  /** Whether the viewer is served at the root of this origin. */
  readonly viewer: boolean;
}

interface PackTotal {
  readonly packs: number;
  readonly instances: number;
  readonly bytes: number;
}

/** How far the instances of one study have come: counts of instances by the state of their pack. */
export type StudyProgress = Readonly<Record<PackState, number>>;

export interface StatusSources {
  readonly index: ArchiveIndex;
  readonly tenant: string;
  readonly dataFolder: string;
  readonly reserveBytes: number;
  readonly aeTitle: string;
  readonly dicomPort: number;
  readonly dicomTlsPort?: number | undefined;
  readonly cloudUrl: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
  readonly upload: () => UploadReport;
  readonly receiver: () => ReceivingTotals;
  readonly throughput: Pick<Throughput, 'minutes' | 'bytesPerSecond'>;
  readonly connections: () => number;
  readonly peers: () => readonly PeerNote[];
  /** Absent: nothing is routed. */
  readonly routes?: () => readonly RouteReport[];
  readonly viewer: () => boolean;
  /** Storage commitments; absent: they are not offered. */
  readonly commitments?: () => Promise<CommitmentsOverview>;
  readonly cache?: () => Promise<CacheReport>;
  readonly recall?: () => RecallReport;
}

type RecallReport = ReturnType<Recall['report']>;

/** What the page needs of the receiver's totals. */
interface ReceivingTotals {
  readonly stored: { readonly instances: number; readonly bytes: number };
  /** Whether a write to the volume failed, so that nothing more is accepted. */
  readonly fenced: boolean;
}

const MAX_SKEW_MS = 60_000;
const waitingStates = ['open', 'sealed', 'sent'] as const satisfies readonly PackState[];

export async function gatherStatus(from: StatusSources): Promise<GatewayStatus> {
  // A disk that fails takes the index with it: that is to be said here, not to be the end of the page.
  const [totals, volume, cache] = await Promise.all([
    from.index.packTotals(from.tenant).catch(() => undefined),
    statfs(from.dataFolder).catch(() => ({ bavail: 0, bsize: 1, blocks: 0 })),
    from.cache?.().catch(() => undefined),
  ]);
  const packs = totals ?? nothing;
  const disk = {
    freeBytes: volume.bavail * volume.bsize,
    totalBytes: volume.blocks * volume.bsize,
    reserveBytes: from.reserveBytes,
  };
  const waiting = waitingStates.map((state) => packs[state]);
  const oldest = waiting.map((total) => total.oldestCreatedAtMs).filter((ms) => ms !== undefined);
  const backlog = {
    packs: sum(waiting.map((total) => total.packs)),
    instances: sum(waiting.map((total) => total.instances)),
    bytes: sum(waiting.map((total) => total.bytes)),
    oldestAtMs: oldest.length === 0 ? undefined : Math.min(...oldest),
  };
  const { fenced, stored } = from.receiver();
  const upload = from.upload();
  const fatal: string[] = [];
  if (fenced)
    fatal.push('A write to the disk failed: nothing is accepted any more. Check the disk, then restart the gateway.');
  if (disk.totalBytes > 0 && disk.freeBytes < disk.reserveBytes)
    fatal.push('The disk is nearly full: senders are told to try again later. Free some space.');
  if (totals === undefined)
    fatal.push('The index on the disk cannot be read. Check the disk, then restart the gateway.');
  const alarms = [...fatal, ...damageOf(cache)];
  if (packs.rejected.packs > 0)
    alarms.push(`The cloud rejected ${counted(packs.rejected.packs, 'pack')}; they stay here. The log says why.`);
  const warnings: string[] = [];
  if (upload.lastError !== undefined) warnings.push(`Upload: ${upload.lastError}`);
  const commitments = await from.commitments?.().catch(() => 'unreadable' as const);
  if (commitments === 'unreadable')
    alarms.push('The list of storage commitments cannot be read: none is taken, and nothing leaves the disk.');
  else warnings.push(...unreported(commitments));
  warnings.push(...skewOf(upload));
  const routes = from.routes?.() ?? [];
  warnings.push(...routeSentences(routes, from.nowMs()));
  const { aeTitle, dicomPort, dicomTlsPort, cloudUrl, version, startedAtMs } = from;
  const gathered = {
    health: fatal.length > 0 ? 'failing' : 'ok',
    alarms,
    warnings,
    aeTitle,
    dicomPort,
    dicomTlsPort,
    cloudUrl,
    version,
    startedAtMs,
    nowMs: from.nowMs(),
    packs,
    backlog,
    stored,
    rate: from.throughput.bytesPerSecond(),
    minutes: from.throughput.minutes(),
    upload,
    disk,
    cache,
    commitments: commitments === 'unreadable' ? undefined : commitments,
    recall: from.recall?.(),
    connections: from.connections(),
    peers: from.peers(),
    routes,
    viewer: from.viewer(),
  } as const;
  return { ...gathered, verdict: verdictOf(gathered) };
}

const none = { packs: 0, instances: 0, bytes: 0, oldestCreatedAtMs: undefined };
const nothing = { open: none, sealed: none, sent: none, archived: none, rejected: none };

/** What was found damaged on the disk and is not mended. */
function damageOf(cache: CacheReport | undefined): string[] {
  const damaged = cache?.scrub.damaged ?? [];
  const lost = damaged.filter(({ isMendable }) => !isMendable).length;
  const mendable = damaged.length - lost;
  const sentences: string[] = [];
  if (lost > 0)
    sentences.push(
      `${counted(lost, 'pack')} changed on the disk before the cloud had them: images must be sent again; the log names them.`,
    );
  if (mendable > 0)
    sentences.push(`${counted(mendable, 'pack')} changed on the disk and could not be mended yet; it is tried again.`);
  return sentences;
}

/** Uploads go by the cloud's clock; all else on this machine does not. */
function skewOf({ clockSkewMs = 0 }: UploadReport): string[] {
  if (Math.abs(clockSkewMs) < MAX_SKEW_MS) return [];
  const direction = clockSkewMs > 0 ? 'behind' : 'ahead of';
  return [
    `The clock of this machine is ${duration(Math.abs(clockSkewMs))} ${direction} the cloud's; set it up to keep time by NTP.`,
  ];
}

function unreported(overview: CommitmentsOverview | undefined): string[] {
  return (overview?.troubles ?? []).map(
    ({ requestor, reports, isGivenUp, lastError }) =>
      `Storage commitment: ${counted(reports, 'report')} could not be delivered to ${requestor}${
        isGivenUp ? ' and will not be tried again' : ' yet'
      }: ${lastError}.`,
  );
}

export async function studyProgress(index: ArchiveIndex, tenant: string, ref: StudyRef): Promise<StudyProgress> {
  const counts: Record<PackState, number> = { open: 0, sealed: 0, sent: 0, archived: 0, rejected: 0 };
  for (const pack of await index.listPacks(tenant, ref)) counts[pack.state] += pack.instanceCount;
  return counts;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
