/**
 * The contract of a gateway that reads from the cloud: search, what the cloud holds of a study, its instances' records, and
 * URLs that give the bytes of packs and manifests. POST, JSON over HTTPS, as gateway-api.ts; no request names a tenant, since that
 * comes from the credentials alone. What a key or a record looks like on the wire is made and read here, for both sides.
 */
import { z } from 'zod';
import type { InstanceRecord, PackRecord } from './archive/records.ts';
import type { DicomJson } from './dicom/dicom-json-model.ts';
import { combineDateTime, fuzzyNameKey, type MatchKey, matchKey } from './dicom/matching.ts';
import { isVr } from './dicom/vr.ts';
import { ArchiveError } from './errors.ts';
import {
  identifier,
  instancePlace,
  MAX_PACKS_PER_REQUEST,
  packId,
  packRef,
  sha256,
  signedRequest,
} from './gateway-api.ts';

export const SEARCH_PATH = '/gateway/search';
export const HOLDINGS_PATH = '/gateway/holdings';
export const INSTANCES_PATH = '/gateway/instances';
export const READS_PATH = '/gateway/reads';

/** Matches that one page of a search may have. */
export const MAX_MATCHES_PER_PAGE = 1_000;
/** Records that one page of instances may have: each takes up to 40 KB. */
export const MAX_INSTANCES_PER_PAGE = 500;
const MAX_KEYS = 256;
/** A list of a thousand UIDs, and more than any other key may have. */
const MAX_KEY_LENGTH = 128 * 1024;

const tag = z.int().min(0).max(0xffffffff);
const keyText = z.string().max(MAX_KEY_LENGTH);

/** A matching key as it was given; what it demands is worked out anew by whoever reads it. */
const wireKey = z.object({
  path: z.array(tag).min(1).max(16),
  vr: z.string().refine(isVr, 'must be a VR'),
  text: keyText,
  /** Of a key for a date that is one range of moments together with a time (PS3.4 §C.2.2.2.5): that time's. */
  time: z.object({ tag, text: keyText }).optional(),
  /** And its zone, where it has one: minutes from UTC. */
  offsetMinutes: z.int().min(-840).max(840).optional(),
  /** Of a key for a person's name that is matched fuzzily: true. */
  fuzzy: z.boolean().optional(),
});
export type WireKey = z.infer<typeof wireKey>;

/** Attributes of DICOM JSON: what their values are is for whoever looks at one. By hand, since a page has tens of thousands. */
const attributes = z.custom<DicomJson>(isDicomJson, 'must be an object of the DICOM JSON Model');

export const searchRequest = z.object({
  level: z.enum(['study', 'series', 'instance']),
  keys: z.array(wireKey).max(MAX_KEYS),
  limit: z.int().min(1).max(MAX_MATCHES_PER_PAGE),
  offset: z.int().min(0),
  /** Only what stands behind it; a date as the order of studies has it. */
  after: z.object({ date: z.string().max(8), uids: z.array(z.string().max(1024)).min(1).max(3) }).optional(),
});
export type SearchRequest = z.infer<typeof searchRequest>;

/** In the order of ArchiveIndex.search. */
export const searchResponse = z.object({ matches: z.array(attributes), more: z.boolean() });
export type SearchResponse = z.infer<typeof searchResponse>;

export const holdingsRequest = z.object({ studyInstanceUid: identifier });
export type HoldingsRequest = z.infer<typeof holdingsRequest>;

/** The cloud's record of a pack that it has verified and can give. */
const archivedPack = packRef.extend({
  lengthBytes: z.int().min(1),
  sha256,
  instanceCount: z.int().min(0),
  createdAtMs: z.number(),
  archivedAtMs: z.number(),
});
export type ArchivedPack = z.infer<typeof archivedPack>;

/** Empty for a study that the cloud does not know. */
export const holdingsResponse = z.object({ packs: z.array(archivedPack) });
export type HoldingsResponse = z.infer<typeof holdingsResponse>;

export const instancesRequest = z.object({
  studyInstanceUid: identifier,
  seriesInstanceUid: identifier.optional(),
  /** With a series: this instance alone, and then all versions of it. */
  sopInstanceUid: identifier.optional(),
  limit: z.int().min(1).max(MAX_INSTANCES_PER_PAGE),
  after: z.string().max(1024).optional(),
});
export type InstancesRequest = z.infer<typeof instancesRequest>;

const wireInstance = instancePlace.extend({ attributes });
export type WireInstance = z.infer<typeof wireInstance>;

/** Current instances in the order of ArchiveIndex.listInstances, or the versions of one. */
export const instancesResponse = z.object({ items: z.array(wireInstance), next: z.string().optional() });
export type InstancesResponse = z.infer<typeof instancesResponse>;

export const readsRequest = z.object({ packs: z.array(packRef).min(1).max(MAX_PACKS_PER_REQUEST) });
export type ReadsRequest = z.infer<typeof readsRequest>;

/** For GET; Range is allowed. */
export type ReadGrant = z.infer<typeof signedRequest>;

export const readsResponse = z.object({
  /** One answer for each pack asked for, in order. */
  packs: z.array(
    z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('granted'),
        packId,
        lengthBytes: z.int().min(1),
        sha256,
        pack: signedRequest,
        manifest: signedRequest,
        expiresAtMs: z.number(),
      }),
      /** It has been written anew under another packId without what is deleted, or nothing was left of it. */
      z.object({ kind: z.literal('purged'), packId }),
      /** Not in the cloud, or not verified yet. */
      z.object({ kind: z.literal('unknown'), packId }),
    ]),
  ),
});
export type ReadsResponse = z.infer<typeof readsResponse>;
export type ReadAnswer = ReadsResponse['packs'][number];

/** What `keyFromWire` makes the same key of. */
export function keyToWire({ path, vr, text, condition }: MatchKey): WireKey {
  if (condition.kind === 'fuzzy') return { path: [...path], vr, text, fuzzy: true };
  if (condition.kind !== 'combined') return { path: [...path], vr, text };
  // Both ends are a date of eight digits and a time.
  const range = (part: (end: string) => string): string =>
    `${condition.from === undefined ? '' : part(condition.from)}-${condition.to === undefined ? '' : part(condition.to)}`;
  return {
    path: [...path],
    vr,
    text: range((end) => end.slice(0, 8)),
    time: { tag: condition.timeTag, text: range((end) => end.slice(8)) },
    ...(condition.offsetMinutes === undefined ? {} : { offsetMinutes: condition.offsetMinutes }),
  };
}

/** Error `bad-request` for a value that its VR cannot have. */
export function keyFromWire({ path, vr, text, time, offsetMinutes, fuzzy }: WireKey): MatchKey {
  if (!isVr(vr)) throw new ArchiveError('bad-request', 'A key has a VR that is none.');
  const key = fuzzy === true && vr === 'PN' ? fuzzyNameKey(path, text) : matchKey(path, vr, text);
  if (time === undefined) return key;
  const timeKey = matchKey([...path.slice(0, -1), time.tag], 'TM', time.text);
  const [combined, ...rest] = combineDateTime([key, timeKey], offsetMinutes);
  if (combined === undefined || rest.length > 0)
    throw new ArchiveError('bad-request', 'A date and a time that do not belong together were given as one key.');
  return combined;
}

/** Without the tenant, which is each side's own name for itself. */
export function instanceToWire({ tenant: _, state: __, ...record }: InstanceRecord): WireInstance {
  return { ...record };
}

/** `state` is for the rule book to find out. */
export function instanceFromWire(tenant: string, instance: WireInstance): InstanceRecord {
  return { ...instance, tenant, state: 'current' };
}

/** Undefined for a pack that is not archived, or that was given up for one without what is deleted. */
export function packToWire(record: PackRecord): ArchivedPack | undefined {
  const { studyInstanceUid, seriesInstanceUid, packId: id, lengthBytes, instanceCount, createdAtMs } = record;
  if (record.state !== 'archived' || record.sha256 === undefined || record.purgedAtMs !== undefined) return undefined;
  return {
    studyInstanceUid,
    seriesInstanceUid,
    packId: id,
    lengthBytes,
    sha256: record.sha256,
    instanceCount,
    createdAtMs,
    archivedAtMs: record.archivedAtMs ?? createdAtMs,
  };
}

function isDicomJson(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  for (const [key, element] of Object.entries(value as Record<string, unknown>)) {
    if (!/^[0-9A-F]{8}$/.test(key) || typeof element !== 'object' || element === null) return false;
    const { vr, Value } = element as { vr?: unknown; Value?: unknown };
    if (typeof vr !== 'string' || !isVr(vr) || (Value !== undefined && !Array.isArray(Value))) return false;
  }
  return true;
}
