/**
 * The contract between a gateway and the cloud: announcing sealed packs and getting grants to upload them, asking what
 * became of them. JSON over HTTPS; both sides check with these schemas. Unknown fields are ignored, so that either
 * side may be upgraded first.
 */
import { z } from 'zod';

export const UPLOADS_PATH = '/gateway/uploads';
export const UPLOAD_PARTS_PATH = '/gateway/uploads/parts';
export const UPLOAD_COMPLETE_PATH = '/gateway/uploads/complete';
export const UPLOAD_STATUS_PATH = '/gateway/uploads/status';
/** Packs that one request may name. */
export const MAX_PACKS_PER_REQUEST = 100;
/** Parts that one request may ask grants for. */
export const MAX_PARTS_PER_REQUEST = 100;
/** One PUT of S3 takes this much and no more. */
export const MAX_PUT_BYTES = 5 * 1024 ** 3;
/** Parts that one object of S3 may be put together from. */
export const MAX_PARTS = 10_000;
/** All but the last part of an object of S3 have at least so much. */
export const MIN_PART_BYTES = 5 * 1024 ** 2;
/** S3 would take 5 TiB in parts; this much can be read back and checked within the time that ingest has for one pack. */
export const MAX_PACK_BYTES = 64 * 1024 ** 3;

/** Whatever stands in (0020,000D) and (0020,000E): not always a valid UID, never more than a header may hold. */
export const identifier = z.string().min(1).max(128);
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hexadecimal');
export const packId = z
  .string()
  .regex(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'must be a UUIDv7 in lower case');

/** Where the bytes of an instance are and what they are, as both sides keep it. */
export const instancePlace = z.object({
  studyInstanceUid: z.string(),
  seriesInstanceUid: z.string(),
  sopInstanceUid: z.string(),
  sopClassUid: z.string(),
  transferSyntaxUid: z.string(),
  digest: sha256,
  packId,
  offsetBytes: z.int().min(0),
  lengthBytes: z.int().min(0),
  dataSetOffsetBytes: z.int().min(0),
});

export const packRef = z.object({ studyInstanceUid: identifier, seriesInstanceUid: identifier, packId });

/** To be asked for with exactly these headers, and no Authorization of one's own. */
export const signedRequest = z.object({ url: z.url(), headers: z.record(z.string(), z.string()) });

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
  /** The gateway can send in parts, and wishes to above so many bytes, in parts of this size. Absent: it cannot. */
  multipart: z.object({ aboveBytes: z.int().min(1), partBytes: z.int().min(1) }).optional(),
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
        /** Send the pack's bytes there. 412: it is there already. */
        ...signedRequest.shape,
        expiresAtMs: z.number(),
      }),
      z.object({
        kind: z.literal('parts'),
        packId,
        /** Of the upload that is under way for this pack, or was begun just now. */
        uploadId: z.string().min(1).max(1024),
        /** Of every part but the last. */
        partBytes: z.int().min(1),
      }),
      /** The bytes are there, and nothing need be sent. Only to a gateway that can send in parts. */
      z.object({ kind: z.literal('stored'), packId }),
      z.object({ kind: z.literal('archived'), packId, receipt }),
      z.object({ kind: z.literal('rejected'), packId, reason: z.string() }),
    ]),
  ),
});
export type UploadResponse = z.infer<typeof uploadResponse>;
export type UploadAnswer = UploadResponse['packs'][number];

const partNumber = z.int().min(1).max(MAX_PARTS);
const uploadRef = packRef.extend({ uploadId: z.string().min(1).max(1024) });

/** Asks for URLs of the next parts, and with that which of them are there already. */
export const partsRequest = uploadRef.extend({
  partBytes: z.int().min(1),
  parts: z.array(z.object({ partNumber, sha256 })).min(1).max(MAX_PARTS_PER_REQUEST),
});
export type PartsRequest = z.infer<typeof partsRequest>;

export const partsResponse = z.object({
  serverTimeMs: z.number(),
  /** One for each part asked for, in order. */
  parts: z.array(
    z.discriminatedUnion('kind', [
      /** Like the grant of a pack; a part may be put again. */
      z.object({
        kind: z.literal('put'),
        partNumber,
        ...signedRequest.shape,
        expiresAtMs: z.number(),
      }),
      /** The cloud has this part, with this SHA-256: it need not be sent. */
      z.object({ kind: z.literal('confirmed'), partNumber }),
    ]),
  ),
});
export type PartsResponse = z.infer<typeof partsResponse>;
export type PartGrant = Extract<PartsResponse['parts'][number], { kind: 'put' }>;

/**
 * All parts are there: makes one object of them. Create-only, and as often as wanted: what is there already stays. 404: there is
 * no such upload any more; 409: the cloud has not these parts. Announce the pack again then.
 */
export const completeRequest = uploadRef.extend({
  partCount: partNumber,
  /** SHA-256 of the SHA-256s (32 bytes each) of all parts in order: it stands for the list of parts. */
  partsSha256: sha256,
});
export type CompleteRequest = z.infer<typeof completeRequest>;

export const completeResponse = z.object({ serverTimeMs: z.number(), result: z.enum(['created', 'exists']) });
export type CompleteResponse = z.infer<typeof completeResponse>;

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
