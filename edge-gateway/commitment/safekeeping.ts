/**
 * Whether what a commitment names is in safe keeping here (PS3.4 §J.1): by the cloud's receipt for its pack, or by its bytes on
 * this disk, read anew. An instance is looked up by its SOP Instance UID alone, as the request names it; where more than one
 * study has it, or other bytes came under the same UIDs (a conflict), all of them must be safe: who asks has sent one of them.
 */
import { packKey, packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRecord, InstanceRef, PackRecord } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { matchKey } from '#shared/dicom/matching.ts';
import { Tag, tagKey } from '#shared/dicom/tags.ts';
import type { Logger } from '#shared/log.ts';
import { FailureReason } from '../dimse/commitment-data-set.ts';
import type { DiskDigest } from './disk-digest.ts';
import type { Finding, UnlocatedReference } from './sqlite-commitments.ts';

/** `cloud`: archived there, with its receipt. `edge`: on this disk and undamaged, or archived and no longer on this disk. */
export type CommitmentMode = 'edge' | 'cloud';

export interface SafekeepingOptions {
  readonly tenant: string;
  readonly index: ArchiveIndex;
  readonly mode: CommitmentMode;
  readonly disk: Pick<DiskDigest, 'digest'>;
  /** Whether the cloud does not have an archived pack any more. */
  readonly isLost?: (pack: PackRecord) => boolean;
  readonly log: Logger;
}

/** References looked up at once. */
export const LOOKUP_BATCH = 100;

/** Whether an index can be asked for it; nothing that we hold has another. */
const canBeLookedUp = (uid: string): boolean => /^[\w.:-]+$/.test(uid);

/** Of search: an instance is rarely in more than one study. */
const PAGE = 1_000;

const COMMITTED = 0;

/** Of at most LOOKUP_BATCH references; answers come in their order. Errors: those of the index. */
export async function findingsFor(
  references: readonly UnlocatedReference[],
  options: SafekeepingOptions,
): Promise<Finding[]> {
  const records = await storedVersions(
    [...new Set(references.map(({ sopInstanceUid }) => sopInstanceUid))].filter(canBeLookedUp),
    options,
  );
  const findings: Finding[] = [];
  for (const { commitmentId, position, sopClassUid, sopInstanceUid } of references) {
    const found = records.get(sopInstanceUid) ?? [];
    const ofClass = found.filter((record) => record.sopClassUid === sopClassUid);
    const fate =
      ofClass.length > 0
        ? await fateOf(ofClass, options)
        : { reason: found.length > 0 ? FailureReason.ClassInstanceConflict : FailureReason.NoSuchInstance };
    findings.push({ commitmentId, position, ...fate });
  }
  return findings;
}

async function storedVersions(
  uids: readonly string[],
  { index, tenant }: SafekeepingOptions,
): Promise<Map<string, InstanceRecord[]>> {
  const records = new Map<string, InstanceRecord[]>();
  if (uids.length === 0) return records;
  const keys = [matchKey([Tag.SOPInstanceUID], 'UI', uids.join('\\'))];
  const refs: InstanceRef[] = [];
  for (let more = true; more; ) {
    const page = await index.search(tenant, { level: 'instance', keys, limit: PAGE, offset: refs.length });
    refs.push(...page.matches.map(refOf));
    more = page.more;
  }
  for (const record of (await Promise.all(refs.map((ref) => index.getVersions(tenant, ref)))).flat()) {
    const known = records.get(record.sopInstanceUid);
    if (known === undefined) records.set(record.sopInstanceUid, [record]);
    else known.push(record);
  }
  return records;
}

const refOf = (match: DicomJson): InstanceRef => {
  const uid = (tag: number): string => String(match[tagKey(tag)]?.Value?.[0] ?? '');
  return {
    studyInstanceUid: uid(Tag.StudyInstanceUID),
    seriesInstanceUid: uid(Tag.SeriesInstanceUID),
    sopInstanceUid: uid(Tag.SOPInstanceUID),
  };
};

type Fate = { readonly reason: number } | { readonly packs: readonly ReturnType<typeof packRefOf>[] };

async function fateOf(records: readonly InstanceRecord[], options: SafekeepingOptions): Promise<Fate> {
  const { index, tenant, mode, isLost } = options;
  const packs = await Promise.all(records.map((record) => index.getPack(tenant, packRefOf(record))));
  if (packs.some((pack) => pack !== undefined && isLost?.(pack) === true))
    return { reason: FailureReason.ProcessingFailure };
  if (mode === 'edge') {
    for (const [i, record] of records.entries())
      if (!(await isIntact(record, packs[i], options))) return { reason: FailureReason.ProcessingFailure };
    return { reason: COMMITTED };
  }
  if (packs.some((pack) => pack?.state === 'rejected')) return { reason: FailureReason.ProcessingFailure };
  const awaited = records.filter((_, i) => packs[i]?.state !== 'archived').map(packRefOf);
  return awaited.length === 0 ? { reason: COMMITTED } : { packs: awaited };
}

async function isIntact(
  record: InstanceRecord,
  pack: PackRecord | undefined,
  { tenant, disk, log }: SafekeepingOptions,
): Promise<boolean> {
  // What was evicted is in the cloud, which verified it.
  if (pack?.state === 'archived' && pack.evictedAtMs !== undefined) return true;
  const { sopInstanceUid, packId } = record;
  const digest = await disk.digest(record, packKey(tenant, record));
  if (digest === record.digest) return true;
  log.error(
    { sopInstanceUid, packId },
    digest === undefined ? 'an instance cannot be read from the disk' : 'an instance on the disk is damaged',
  );
  return false;
}
