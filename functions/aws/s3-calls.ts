/**
 * How the archive speaks to one bucket: the client with the settings that S3 and what is like it understand, the time that one answer may
 * take, what is tried again, and what S3's refusals are called.
 */
import { HeadObjectCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { ArchiveError } from '#shared/errors.ts';
import { defaultTiming, type Pace, retried, type Timing } from './retry.ts';

export interface S3Options {
  readonly bucket: string;
  /** Endpoint, region and credentials where they are not those of the environment. */
  readonly client?: S3ClientConfig;
  readonly timing?: Timing;
  /** How long S3 may keep silent: before an answer begins, and within one. Bytes that are sent have time of their own. Default 10 s. */
  readonly silenceMs?: number;
}

export interface CallOptions {
  readonly requestTimeout: number;
  readonly abortSignal?: AbortSignal;
}

/** Less than a Lambda lives; S3 answers SlowDown for as long as it takes to split a prefix that has become hot. */
const pace: Pace = { patienceMs: 30_000, firstPauseMs: 50, longestPauseMs: 5_000, what: 'the store' };
const SILENCE_MS = 10_000;
const CONNECT_MS = 2_000;
/** As slow as a line between a Lambda or a small office and S3 may be. */
const LEAST_BYTES_PER_MS = 256;
/** Streams that somebody reads slowly hold a socket each. */
const MAX_SOCKETS = 256;

export type S3Calls = ReturnType<typeof createS3Calls>;

export function createS3Calls({ bucket, client: config, timing = defaultTiming, silenceMs = SILENCE_MS }: S3Options) {
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  const client = new S3Client({
    // What needs a checksum is given one of ours; the SDK's own, in a trailer, is not understood by all that speak S3.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: silenceMs,
      throwOnRequestTimeout: true,
      httpAgent: agent,
      httpsAgent: agent,
    },
    ...config,
    maxAttempts: 1,
  });
  return {
    bucket,
    client,
    silenceMs,
    /** For a request that carries so many bytes. */
    options: (sentBytes = 0): CallOptions => ({ requestTimeout: silenceMs + sentBytes / LEAST_BYTES_PER_MS }),
    /** @see retried */
    retried: <T>(attempt: (isUnsure: boolean) => Promise<T>): Promise<T> => retried(timing, pace, attempt),
    close: (): void => client.destroy(),
  };
}

export interface ObjectHead {
  readonly lengthBytes: number;
  /** Where it cannot be read now: its storage class or access tier. */
  readonly asleepIn: string | undefined;
  /** By whom it was made, as who made it wrote. */
  readonly writer: string | undefined;
}

/** Asks once. Undefined: there is no such object. Throws what the SDK throws. */
export async function headOf({ bucket, client, options }: S3Calls, key: string): Promise<ObjectHead | undefined> {
  try {
    const answer = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }), options());
    const { ContentLength, StorageClass, ArchiveStatus, Restore, Metadata } = answer;
    const isCold = StorageClass === 'GLACIER' || StorageClass === 'DEEP_ARCHIVE';
    const isAwake = Restore !== undefined && /ongoing-request="false"/.test(Restore);
    return {
      lengthBytes: ContentLength ?? 0,
      asleepIn: isAwake ? undefined : isCold ? StorageClass : ArchiveStatus,
      writer: Metadata?.writer,
    };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** S3's code of an error, as GET and PUT give it; a HEAD has no body, and what the SDK makes of its status. */
export const codeOf = (error: unknown): string => (error instanceof Error ? error.name : '');

export const isMissing = (error: unknown): boolean => codeOf(error) === 'NoSuchKey' || codeOf(error) === 'NotFound';

/** Somebody's If-None-Match or If-Match was not met. */
export const isPreconditionFailed = (error: unknown): boolean =>
  codeOf(error) === 'PreconditionFailed' ||
  (error as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata?.httpStatusCode === 412;

export const toBase64 = (sha256Hex: string): string => Buffer.from(sha256Hex, 'hex').toString('base64');

export const missing = (key: string): ArchiveError =>
  new ArchiveError('not-found', 'There is no object under this key.', { key });

/** How long S3's standard retrieval takes at most. */
const wakingSeconds: ReadonlyMap<string, number> = new Map([
  ['GLACIER', 5 * 3600],
  ['ARCHIVE_ACCESS', 5 * 3600],
]);
const LONGEST_WAKING_SECONDS = 12 * 3600;

/** @param storageClass or access tier, where S3 said it */
export function asleep(key: string, storageClass: string | undefined, cause?: unknown): ArchiveError {
  return new ArchiveError(
    'unavailable',
    'The object lies in a cold storage class and must be recalled before it can be read.',
    { key, storageClass, retryAfterSeconds: wakingSeconds.get(storageClass ?? '') ?? LONGEST_WAKING_SECONDS },
    cause,
  );
}
