/**
 * What errors of AWS and of the way there mean: whether to try again, whether something may have been done all the same, and what to say.
 * What is not known here is a bug and stays what it is.
 */
import { ArchiveError } from '#shared/errors.ts';

export type Fault =
  /** The condition of a write was not met. */
  | { readonly kind: 'refused' }
  /** Nothing was done; later it may be. */
  | { readonly kind: 'throttled' }
  /** Nobody knows whether it was done. */
  | { readonly kind: 'unsure' }
  | { readonly kind: 'failed'; readonly error: unknown };

const throttles: ReadonlySet<string> = new Set([
  'ProvisionedThroughputExceededException',
  'ThrottlingException',
  'Throttling',
  'RequestLimitExceeded',
  'TooManyRequestsException',
  'RequestThrottled',
  'RequestThrottledException',
  'SlowDown',
  'TransactionConflictException',
  'TransactionInProgressException',
  'ReplicatedWriteConflictException',
  // S3: somebody else writes there right now, or what arrived was not what was sent. None of it is kept.
  'ConditionalRequestConflict',
  'OperationAborted',
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'IncompleteBody',
  // SQS: too many messages are in flight.
  'OverLimit',
  'KmsThrottled',
]);

/** Who asks is not who may, or what is asked for was not deployed: nothing that trying again would mend soon. */
const misconfigured: ReadonlySet<string> = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'IncompleteSignatureException',
  'InvalidAccessKeyId',
  'InvalidSignatureException',
  'KMSAccessDeniedException',
  'KmsAccessDenied',
  'KmsDisabled',
  'KmsInvalidState',
  'KmsNotFound',
  'MissingAuthenticationTokenException',
  'NoSuchBucket',
  'PermanentRedirect',
  'QueueDoesNotExist',
  'ResourceNotFoundException',
  'SignatureDoesNotMatch',
  'UnrecognizedClientException',
]);

/** These say what should have been signed, the token of the session in it: no part of an error that is logged. */
const ofSignature = /Signature/;

const connection =
  /^(ECONNRESET|ECONNREFUSED|ECONNABORTED|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|UND_ERR_.*|ERR_SSL_.*BAD_RECORD_MAC)$/;

/** This clock is wrong: the SDK has learnt by how much from the answer, and signs the next request by the other one. */
const isSkewed = (name: string, message: string): boolean =>
  name === 'RequestTimeTooSkewed' ||
  name === 'RequestExpired' ||
  (name === 'InvalidSignatureException' && /expired|not yet current/i.test(message));

/** @param what of the archive is spoken of, as the sentences have it */
export function faultOf(error: unknown, what: string): Fault {
  if (!(error instanceof Error)) return { kind: 'failed', error };
  const { name, message } = error;
  const { code, $metadata, $response } = error as {
    code?: unknown;
    $metadata?: { httpStatusCode?: number; clockSkewCorrected?: boolean };
    $response?: { statusCode?: number };
  };
  if (name === 'ConditionalCheckFailedException') return { kind: 'refused' };
  // What a HEAD is refused for it does not say: only that the SDK has found the clock to be wrong.
  if (throttles.has(name) || isSkewed(name, message) || $metadata?.clockSkewCorrected === true)
    return { kind: 'throttled' };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  if (status !== undefined && status >= 500) return { kind: 'unsure' };
  // S3 has waited in vain for bytes, or has begun to answer 200 before it knew.
  if (name === 'RequestTimeout' || name === 'InternalError') return { kind: 'unsure' };
  if (name === 'TimeoutError' || (typeof code === 'string' && connection.test(code))) return { kind: 'unsure' };
  // An answer that broke off, or that a proxy gave.
  if (name === 'SyntaxError' && ($metadata !== undefined || $response !== undefined)) return { kind: 'unsure' };
  // A HEAD says no more than its status.
  if (misconfigured.has(name) || status === 401 || status === 403)
    return {
      kind: 'failed',
      error: new ArchiveError(
        'unavailable',
        `The cloud does not let ${what} be used (${name}); whoever runs it must look at its deployment and its permissions.`,
        {},
        ofSignature.test(name) ? undefined : error,
      ),
    };
  if (name === 'ValidationException' && /item size/i.test(message))
    return {
      kind: 'failed',
      error: new ArchiveError('limit-exceeded', `A record is larger than ${what} can hold.`, {}, error),
    };
  return { kind: 'failed', error };
}
