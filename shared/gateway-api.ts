/**
 * The contract between a gateway and the cloud: announcing sealed packs and getting grants to upload them, asking what
 * became of them. JSON over HTTPS; both sides check with these schemas. Unknown fields are ignored, so that either
 * side may be upgraded first.
 */
import { z } from 'zod';

export const UPLOADS_PATH = '/gateway/uploads';
export const UPLOAD_STATUS_PATH = '/gateway/uploads/status';
/** Packs that one request may name. */
export const MAX_PACKS_PER_REQUEST = 100;
/** A PUT of S3 takes this much and no more. */
export const MAX_PACK_BYTES = 5 * 1024 ** 3;

/** Whatever stands in (0020,000D) and (0020,000E): not always a valid UID, never more than a header may hold. */
const identifier = z.string().min(1).max(128);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal');
const packId = z
  .string()
  .regex(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'must be a UUIDv7 in lower case');

const packRef = z.object({ studyInstanceUid: identifier, seriesInstanceUid: identifier, packId });

export const uploadRequest = z.object({
  packs: z
    .array(
      packRef.extend({
        lengthBytes: z.int().min(1).max(MAX_PACK_BYTES),
        sha256,
        instanceCount: z.int().min(1),
      }),
    )
    .min(1)
    .max(MAX_PACKS_PER_REQUEST),
});
export type UploadRequest = z.infer<typeof uploadRequest>;

const receipt = z.object({ sha256, instanceCount: z.int(), archivedAtMs: z.number() });
/** The cloud's word that it re-read every byte of the pack and indexed every instance in it. */
export type Receipt = z.infer<typeof receipt>;

export const uploadResponse = z.object({
  /** The cloud's clock, so that a gateway can learn how wrong its own is. */
  serverTimeMs: z.number(),
  /** One answer for each pack asked for, in order. */
  packs: z.array(
    z.discriminatedUnion('kind', [
      z.object({
        kind: z.literal('put'),
        packId,
        /** Send the pack's bytes here, with exactly these headers and no Authorization of your own. 412: it is there already. */
        url: z.url(),
        headers: z.record(z.string(), z.string()),
        expiresAtMs: z.number(),
      }),
      z.object({ kind: z.literal('archived'), packId, receipt }),
      z.object({ kind: z.literal('rejected'), packId, reason: z.string() }),
    ]),
  ),
});
export type UploadResponse = z.infer<typeof uploadResponse>;
export type UploadAnswer = UploadResponse['packs'][number];

export const statusRequest = z.object({ packs: z.array(packRef).min(1).max(MAX_PACKS_PER_REQUEST) });
export type StatusRequest = z.infer<typeof statusRequest>;

export const statusResponse = z.object({
  serverTimeMs: z.number(),
  packs: z.array(
    z.discriminatedUnion('kind', [
      /** Not archived yet: on its way, or never announced. */
      z.object({ kind: z.literal('pending'), packId }),
      z.object({ kind: z.literal('archived'), packId, receipt }),
      z.object({ kind: z.literal('rejected'), packId, reason: z.string() }),
    ]),
  ),
});
export type StatusResponse = z.infer<typeof statusResponse>;
