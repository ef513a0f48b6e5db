/**
 * What a gateway is granted at S3: URLs by which their holder can do one thing for fifteen minutes at most, and the multipart uploads that
 * such URLs fill. Method, key, length, SHA-256 and If-None-Match are signed AS HEADERS: the SDK would move some of them into the URL, where
 * S3 does not look at them. The bytes' encryption is the bucket's default, and ingest hears of new objects from S3 itself.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  type ListPartsCommandOutput,
  type MultipartUpload,
  PutObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { MultipartUploads } from '#functions/gateway/parts.ts';
import type { GrantRead } from '#functions/gateway/reads.ts';
import type { GrantUpload, UploadExpectation } from '#functions/gateway/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { MIN_PART_BYTES } from '#shared/gateway-api.ts';
import { codeOf, createS3Calls, headOf, isPreconditionFailed, type S3Options, toBase64 } from './s3-calls.ts';

export interface S3Grants {
  readonly grantUpload: GrantUpload;
  readonly grantRead: GrantRead;
  readonly multipart: MultipartUploads;
  close(): void;
}

const MAX_LIFE_SECONDS = 15 * 60;

type Part = NonNullable<ListPartsCommandOutput['Parts']>[number];

/** @param nowMs since 1970: what URLs are dated by */
export function createS3Grants({ nowMs, ...options }: S3Options & { readonly nowMs: () => number }): S3Grants {
  const calls = createS3Calls(options);
  const { bucket: Bucket, client } = calls;

  /** A URL that is void without each of these headers. Throws RangeError for an expiry that is past, or too far. */
  async function sign(
    command: PutObjectCommand | GetObjectCommand | UploadPartCommand,
    expiresAtMs: number,
    headers: Readonly<Record<string, string>>,
    mustSign: readonly string[],
  ): Promise<{ url: string; headers: Record<string, string> }> {
    // A date in a signature has whole seconds.
    const signedAtMs = Math.floor(nowMs() / 1000) * 1000;
    const expiresIn = Math.floor((expiresAtMs - signedAtMs) / 1000);
    if (expiresIn < 1 || expiresIn > MAX_LIFE_SECONDS)
      throw new RangeError(`a grant lives 1 to ${MAX_LIFE_SECONDS} seconds, not ${expiresIn}`);
    // Its types and those of its commands differ by exactOptionalPropertyTypes, in nothing else.
    const url = await getSignedUrl(client, command as unknown as Parameters<typeof getSignedUrl>[1], {
      expiresIn,
      signingDate: new Date(signedAtMs),
      unhoistableHeaders: new Set(mustSign),
    });
    const signed = new URL(url).searchParams.get('X-Amz-SignedHeaders')?.split(';') ?? [];
    for (const name of ['host', ...mustSign])
      if (!signed.includes(name)) throw new Error(`the signature of a grant does not cover ${name}`);
    return { url, headers: { ...headers } };
  }

  /** All uploads to this very key, the one begun first before the others. */
  async function uploadsTo(key: string): Promise<MultipartUpload[]> {
    const found: MultipartUpload[] = [];
    let from: { KeyMarker?: string; UploadIdMarker?: string } | undefined = {};
    while (from !== undefined) {
      const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({ Bucket, Prefix: key, ...from });
      const page = await calls.retried(() => client.send(command, calls.options()));
      found.push(...(page.Uploads ?? []).filter(({ Key, UploadId }) => Key === key && UploadId !== undefined));
      from =
        page.IsTruncated === true && page.NextKeyMarker !== undefined
          ? {
              KeyMarker: page.NextKeyMarker,
              ...(page.NextUploadIdMarker !== undefined && { UploadIdMarker: page.NextUploadIdMarker }),
            }
          : undefined;
    }
    const orderOf = ({ Initiated, UploadId }: MultipartUpload): string =>
      `${Initiated?.toISOString() ?? ''} ${UploadId}`;
    return found.sort((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1));
  }

  async function partsOf(key: string, UploadId: string): Promise<Part[]> {
    const parts: Part[] = [];
    let marker: string | undefined;
    do {
      const command: ListPartsCommand = new ListPartsCommand({
        Bucket,
        Key: key,
        UploadId,
        ...(marker !== undefined && { PartNumberMarker: marker }),
      });
      const page = await calls.retried(() =>
        client.send(command, calls.options()).catch((error: unknown) => {
          throw codeOf(error) === 'NoSuchUpload' ? noUpload(error) : error;
        }),
      );
      parts.push(...(page.Parts ?? []));
      marker = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
    } while (marker !== undefined);
    return parts;
  }

  async function abort(Key: string, UploadId: string): Promise<void> {
    await calls.retried(() =>
      client
        .send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }), calls.options())
        .catch((error: unknown) => {
          if (codeOf(error) !== 'NoSuchUpload') throw error;
        }),
    );
  }

  /** The first upload is the one; of several that were begun at once the others are nobody's. */
  async function settle(key: string): Promise<string | undefined> {
    const [first, ...others] = await uploadsTo(key);
    for (const { UploadId } of others) await abort(key, UploadId ?? '');
    return first?.UploadId;
  }

  const exists = async (key: string): Promise<boolean> => (await calls.retried(() => headOf(calls, key))) !== undefined;

  const begin: MultipartUploads['begin'] = async (key, { lengthBytes, partBytes }) => {
    if (await exists(key)) return 'exists';
    const known = await settle(key);
    if (known !== undefined) {
      const there = await partsOf(key, known).catch(() => []);
      const usedBytes = partSizeOf(there, lengthBytes, partBytes);
      if (usedBytes !== undefined) return { uploadId: known, partBytes: usedBytes };
      // Parts that cannot make up this object, in whatever size.
      await abort(key, known);
    }
    const command = new CreateMultipartUploadCommand({
      Bucket,
      Key: key,
      ChecksumAlgorithm: 'SHA256',
      ChecksumType: 'COMPOSITE',
    });
    const { UploadId } = await calls.retried(() => client.send(command, calls.options()));
    const uploadId = (await settle(key)) ?? UploadId;
    if (uploadId === undefined) throw noUpload();
    return { uploadId, partBytes };
  };

  return {
    grantUpload(key, { lengthBytes, sha256, expiresAtMs }) {
      const checksum = toBase64(sha256);
      return sign(
        new PutObjectCommand({
          Bucket,
          Key: key,
          ContentLength: lengthBytes,
          ChecksumSHA256: checksum,
          IfNoneMatch: '*',
        }),
        expiresAtMs,
        { 'If-None-Match': '*', 'x-amz-checksum-sha256': checksum },
        ['content-length', 'if-none-match', 'x-amz-checksum-sha256'],
      );
    },

    grantRead: (key, expiresAtMs) => sign(new GetObjectCommand({ Bucket, Key: key }), expiresAtMs, {}, []),

    multipart: {
      begin,

      async list(key, uploadId) {
        const found = new Map<number, string>();
        for (const { PartNumber, ChecksumSHA256 } of await partsOf(key, uploadId))
          if (PartNumber !== undefined && ChecksumSHA256 !== undefined)
            found.set(PartNumber, Buffer.from(ChecksumSHA256, 'base64').toString('hex'));
        return found;
      },

      grantPart(key, uploadId, partNumber, { lengthBytes, sha256, expiresAtMs }: UploadExpectation) {
        const checksum = toBase64(sha256);
        return sign(
          new UploadPartCommand({
            Bucket,
            Key: key,
            UploadId: uploadId,
            PartNumber: partNumber,
            ContentLength: lengthBytes,
            ChecksumSHA256: checksum,
          }),
          expiresAtMs,
          { 'x-amz-checksum-sha256': checksum },
          ['content-length', 'x-amz-checksum-sha256'],
        );
      },

      async complete(key, uploadId, partSha256s) {
        let there: Part[];
        try {
          there = await partsOf(key, uploadId);
        } catch (error) {
          // Who asks again did not hear the first answer.
          if (error instanceof ArchiveError && error.code === 'not-found' && (await exists(key))) return 'exists';
          throw error;
        }
        const Parts = partSha256s.map((sha256, i) => {
          const part = there.find(({ PartNumber }) => PartNumber === i + 1);
          if (part?.ChecksumSHA256 !== toBase64(sha256)) throw otherParts();
          return { PartNumber: i + 1, ETag: part.ETag, ChecksumSHA256: part.ChecksumSHA256 };
        });
        return calls.retried(async (isUnsure) => {
          const command = new CompleteMultipartUploadCommand({
            Bucket,
            Key: key,
            UploadId: uploadId,
            MultipartUpload: { Parts },
            IfNoneMatch: '*',
          });
          try {
            await client.send(command, calls.options());
            return 'created';
          } catch (error) {
            if (isPreconditionFailed(error)) {
              await abort(key, uploadId);
              return 'exists';
            }
            if (codeOf(error) === 'NoSuchUpload') {
              if ((await headOf(calls, key)) === undefined) throw noUpload(error);
              return isUnsure ? 'created' : 'exists';
            }
            if (/^(InvalidPart|InvalidPartOrder|EntityTooSmall|InvalidRequest)$/.test(codeOf(error)))
              throw otherParts(error);
            throw error;
          }
        });
      },
    },
    close: calls.close,
  };
}

/**
 * Of how many bytes the parts of this upload are, which S3 does not keep: those wished for where what is there fits them, else those of
 * its first part. Undefined: neither. A wrong guess costs parts that are sent again, nothing more: each is known by its SHA-256.
 */
function partSizeOf(parts: readonly Part[], lengthBytes: number, wishedBytes: number): number | undefined {
  const fits = (partBytes: number): boolean =>
    partBytes >= MIN_PART_BYTES &&
    parts.every(({ PartNumber = 0, Size }) => Size === Math.min(partBytes, lengthBytes - (PartNumber - 1) * partBytes));
  return [wishedBytes, parts[0]?.Size ?? 0].find(fits);
}

const noUpload = (cause?: unknown): ArchiveError =>
  new ArchiveError('not-found', 'There is no such upload; announce the pack again.', {}, cause);

const otherParts = (cause?: unknown): ArchiveError =>
  new ArchiveError('conflict', 'The parts do not make up the object; announce the pack again.', {}, cause);
