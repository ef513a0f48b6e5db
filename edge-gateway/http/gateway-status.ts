/**
 * What hospital IT wants to see at a glance: is the gateway healthy, what is not in the cloud yet, since when, why.
 * Gathered here as one plain object; pages and /health only show it.
 */
import { statfs } from 'node:fs/promises';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { PackState, StudyRef } from '#shared/archive/records.ts';
import type { UploadReport } from '../upload/uploader.ts';

export interface GatewayStatus {
  readonly health: 'ok' | 'failing';
  /** Sentences; empty when all is well. */
  readonly problems: readonly string[];
  readonly aeTitle: string;
  readonly dicomPort: number;
  readonly cloudUrl: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: number;
  readonly packs: Readonly<Record<PackState, { packs: number; instances: number; bytes: number }>>;
  /** What is acknowledged and not archived in the cloud. */
  readonly backlog: {
    readonly packs: number;
    readonly instances: number;
    readonly bytes: number;
    readonly oldestAtMs: number | undefined;
  };
  readonly upload: UploadReport;
  readonly disk: { readonly freeBytes: number; readonly totalBytes: number; readonly reserveBytes: number };
  /** Whether the viewer is served at the root of this origin. */
  readonly viewer: boolean;
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
  readonly cloudUrl: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
  readonly upload: () => UploadReport;
  /** Whether a write to the volume failed, so that nothing more is accepted. */
  readonly fenced: () => boolean;
  readonly viewer: () => boolean;
}

const waitingStates = ['open', 'sealed', 'sent'] as const satisfies readonly PackState[];

export async function gatherStatus(from: StatusSources): Promise<GatewayStatus> {
  const [packs, volume] = await Promise.all([from.index.packTotals(from.tenant), statfs(from.dataFolder)]);
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
  const fatal: string[] = [];
  if (from.fenced())
    fatal.push('A write to the disk failed: nothing is accepted any more. Check the disk, then restart the gateway.');
  if (disk.freeBytes < disk.reserveBytes)
    fatal.push('The disk is nearly full: senders are told to try again later. Free some space.');
  const upload = from.upload();
  const problems = [...fatal];
  if (upload.lastError !== undefined) problems.push(`Upload: ${upload.lastError}`);
  if (packs.rejected.packs > 0)
    problems.push(`The cloud rejected ${packs.rejected.packs} pack(s); they stay here. The log says why.`);
  const { aeTitle, dicomPort, cloudUrl, version, startedAtMs } = from;
  const health = fatal.length > 0 ? 'failing' : 'ok';
  return {
    health,
    problems,
    aeTitle,
    dicomPort,
    cloudUrl,
    version,
    startedAtMs,
    nowMs: from.nowMs(),
    packs,
    backlog,
    upload,
    disk,
    viewer: from.viewer(),
  };
}

export async function studyProgress(index: ArchiveIndex, tenant: string, ref: StudyRef): Promise<StudyProgress> {
  const counts: Record<PackState, number> = { open: 0, sealed: 0, sent: 0, archived: 0, rejected: 0 };
  for (const pack of await index.listPacks(tenant, ref)) counts[pack.state] += pack.instanceCount;
  return counts;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);
