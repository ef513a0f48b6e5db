/**
 * Names of packs: the packId (a UUIDv7, so that names sort by time), and the keys under which packs and their manifests
 * lie in every PackStore. Nothing that a sender wrote becomes part of a key unless it is a valid UID (PS3.5 §9.1).
 */
import { createHash } from 'node:crypto';
import { isUid } from '../dicom/uid.ts';
import type { PackRef } from './records.ts';

const tenantPattern = /^[a-z0-9][a-z0-9-]{0,62}$/;
const packIdPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const digestPartPattern = /^x[0-9a-f]{32}$/;
const packSuffix = '.zip';
const manifestSuffix = '.manifest.zst';

/**
 * A UUIDv7 (RFC 9562 §5.7), lower case. Whoever needs a strict order of two ids gives them different milliseconds.
 * @param random at least 10 bytes from a good source
 */
export function newPackId(nowMs: number, random: Uint8Array): string {
  if (random.length < 10) throw new RangeError('a packId needs 10 random bytes');
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(Math.max(0, Math.floor(nowMs))) << 16n);
  bytes.set(random.subarray(0, 10), 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  const hex = Buffer.from(bytes.buffer).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/**
 * The id directly before this one, of the same millisecond: for a pack that takes the place of another in the order of arrival. The
 * same for everybody who asks.
 */
export function packIdBefore(packId: string): string {
  const number = BigInt(`0x${packId.replaceAll('-', '')}`);
  // 12 and 62 random bits, with the version and the variant between them.
  const low = number & LOW_MASK;
  const high = (number >> 64n) & HIGH_MASK;
  const random = ((high << 62n) | low) - 1n;
  if (random < 0n) throw new RangeError('this packId is the first of its millisecond');
  const hex = ((number & ~((HIGH_MASK << 64n) | LOW_MASK)) | ((random >> 62n) << 64n) | (random & LOW_MASK)).toString(
    16,
  );
  return hex.padStart(32, '0').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const HIGH_MASK = (1n << 12n) - 1n;
const LOW_MASK = (1n << 62n) - 1n;

export function isPackId(text: string): boolean {
  return packIdPattern.test(text);
}

/** When the pack was made, in milliseconds since 1970, as its id says. */
export function packIdTimeMs(packId: string): number {
  return Number.parseInt(packId.slice(0, 8) + packId.slice(9, 13), 16);
}

/** Whether `text` may name a tenant: 1 to 63 of a-z, 0-9 and -, so that it is the same on every file system and in every URL. */
export function isTenant(text: string): boolean {
  return tenantPattern.test(text);
}

/**
 * What stands for a UID in keys, in names of entries and in references of packs: itself if it is valid, else `x` and 32 hex
 * digits of its SHA-256. What it has made stays as it is, so that a reference read from a key leads to the same key.
 */
export function keyPartOf(uid: string): string {
  return isKeyPart(uid) ? uid : `x${createHash('sha256').update(uid).digest('hex').slice(0, 32)}`;
}

/** The reference of a pack as its key has it, and therefore its record: study and series as parts of the key. */
export function packRefOf(ref: PackRef): PackRef {
  const { studyInstanceUid, seriesInstanceUid, packId } = ref;
  return { studyInstanceUid: keyPartOf(studyInstanceUid), seriesInstanceUid: keyPartOf(seriesInstanceUid), packId };
}

/** `<tenant>/<study>/<series>/<packId>.zip`. Throws RangeError for a tenant or packId that is none: both are ours, never a sender's. */
export function packKey(tenant: string, ref: PackRef): string {
  return `${stemOf(tenant, ref)}${packSuffix}`;
}

/** `<tenant>/<study>/<series>/<packId>.manifest.zst`, beside its pack. */
export function manifestKey(tenant: string, ref: PackRef): string {
  return `${stemOf(tenant, ref)}${manifestSuffix}`;
}

/**
 * Tenant and pack of a key that packKey could have made; undefined for any other text, however it is dressed up. Where study or
 * series have no valid UID, what keyPartOf made of it stands in the reference.
 */
export function parsePackKey(key: string): { readonly tenant: string; readonly ref: PackRef } | undefined {
  return parseKey(key, packSuffix);
}

/** Whether packKey or manifestKey could have made this key: no other may touch a disk or a bucket. */
export function isStoreKey(key: string): boolean {
  return parseKey(key, packSuffix) !== undefined || parseKey(key, manifestSuffix) !== undefined;
}

function parseKey(key: string, suffix: string): { readonly tenant: string; readonly ref: PackRef } | undefined {
  if (key.length > 300 || !key.endsWith(suffix)) return undefined;
  const parts = key.slice(0, -suffix.length).split('/');
  const [tenant, studyInstanceUid, seriesInstanceUid, packId] = parts;
  if (parts.length !== 4 || tenant === undefined || packId === undefined) return undefined;
  if (studyInstanceUid === undefined || seriesInstanceUid === undefined) return undefined;
  if (!isTenant(tenant) || !isPackId(packId)) return undefined;
  if (!isKeyPart(studyInstanceUid) || !isKeyPart(seriesInstanceUid)) return undefined;
  return { tenant, ref: { studyInstanceUid, seriesInstanceUid, packId } };
}

function stemOf(tenant: string, ref: PackRef): string {
  if (!isTenant(tenant)) throw new RangeError('not a tenant');
  if (!isPackId(ref.packId)) throw new RangeError('not a packId');
  return `${tenant}/${keyPartOf(ref.studyInstanceUid)}/${keyPartOf(ref.seriesInstanceUid)}/${ref.packId}`;
}

function isKeyPart(text: string): boolean {
  return isUid(text) || digestPartPattern.test(text);
}
