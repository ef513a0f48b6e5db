/**
 * What S3 does before it looks at a request: AWS Signature Version 4, in the Authorization header or presigned in the URL, worked out from
 * the request as it came over the wire. Written from AWS's documentation, not from the SDK, which it is there to judge.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { S3Refusal } from './refusal.ts';

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
}

export interface WireRequest {
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>;
}

const ALGORITHM = 'AWS4-HMAC-SHA256';
const MAX_SKEW_MS = 15 * 60_000;
const MAX_EXPIRES_SECONDS = 7 * 24 * 3600;

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

/** `20260131T235959Z` in milliseconds since 1970. */
function timeOf(stamp: string): number {
  const iso = stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const ms = iso === stamp ? Number.NaN : Date.parse(iso);
  if (Number.isNaN(ms)) throw new S3Refusal(403, 'AccessDenied', 'AWS authentication requires a valid Date.');
  return ms;
}

/** Query in the order in which it came, decoded; `+` is no space. */
export function queryOf(target: string): [string, string][] {
  const text = target.split('?').slice(1).join('?');
  return text
    .split('&')
    .filter((one) => one !== '')
    .map((one) => {
      const [name = '', ...value] = one.split('=');
      return [decodeURIComponent(name), decodeURIComponent(value.join('='))];
    });
}

/** Throws S3Refusal; answers what was signed of the body: lower-case hex SHA-256, or UNSIGNED-PAYLOAD. */
export function verifySignature(request: WireRequest, keys: Keys, nowMs: number): string {
  const query = queryOf(request.target);
  const presigned = new Map(query.filter(([name]) => name.startsWith('X-Amz-')));
  const header = request.headers.authorization;
  if (header !== undefined && presigned.has('X-Amz-Signature'))
    throw new S3Refusal(400, 'InvalidArgument', 'Only one auth mechanism allowed.');
  if (header === undefined && !presigned.has('X-Amz-Signature'))
    throw new S3Refusal(403, 'AccessDenied', 'Access Denied');
  return header === undefined
    ? verifyPresigned(request, query, presigned, keys, nowMs)
    : verifyHeader(request, query, header, keys, nowMs);
}

function verifyHeader(
  request: WireRequest,
  query: readonly [string, string][],
  header: string,
  keys: Keys,
  nowMs: number,
): string {
  const [, credential, signedHeaders, signature] =
    /^AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(header) ?? [];
  if (credential === undefined || signedHeaders === undefined || signature === undefined)
    throw new S3Refusal(400, 'AuthorizationHeaderMalformed', 'The authorization header is malformed.');
  const stamp = request.headers['x-amz-date'] ?? '';
  const payload = request.headers['x-amz-content-sha256'];
  if (payload === undefined)
    throw new S3Refusal(400, 'InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
  if (payload.startsWith('STREAMING-'))
    throw new S3Refusal(501, 'NotImplemented', 'Bodies in signed chunks are not understood here.');
  check(request, query, credential, signedHeaders.split(';'), signature, stamp, payload, keys);
  if (Math.abs(nowMs - timeOf(stamp)) > MAX_SKEW_MS)
    throw new S3Refusal(
      403,
      'RequestTimeTooSkewed',
      'The difference between the request time and the clock is too large.',
    );
  return payload;
}

function verifyPresigned(
  request: WireRequest,
  query: readonly [string, string][],
  given: ReadonlyMap<string, string>,
  keys: Keys,
  nowMs: number,
): string {
  const need = (name: string): string => {
    const value = given.get(name);
    if (value === undefined)
      throw new S3Refusal(400, 'AuthorizationQueryParametersError', `Query-string authentication requires ${name}.`);
    return value;
  };
  if (need('X-Amz-Algorithm') !== ALGORITHM)
    throw new S3Refusal(400, 'AuthorizationQueryParametersError', 'X-Amz-Algorithm only supports AWS4-HMAC-SHA256.');
  const stamp = need('X-Amz-Date');
  const expiresSeconds = Number(need('X-Amz-Expires'));
  if (!(Number.isInteger(expiresSeconds) && expiresSeconds >= 1 && expiresSeconds <= MAX_EXPIRES_SECONDS))
    throw new S3Refusal(400, 'AuthorizationQueryParametersError', 'X-Amz-Expires must be from 1 to 604800.');
  const signed = need('X-Amz-SignedHeaders').split(';');
  const signature = need('X-Amz-Signature');
  const payload = request.headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD';
  const signedAtMs = timeOf(stamp);
  if (nowMs >= signedAtMs + expiresSeconds * 1000) throw new S3Refusal(403, 'AccessDenied', 'Request has expired');
  if (signedAtMs > nowMs + MAX_SKEW_MS) throw new S3Refusal(403, 'AccessDenied', 'Request is not valid yet');
  check(request, query, need('X-Amz-Credential'), signed, signature, stamp, 'UNSIGNED-PAYLOAD', keys);
  return payload;
}

function check(
  request: WireRequest,
  query: readonly [string, string][],
  credential: string,
  signed: readonly string[],
  signature: string,
  stamp: string,
  payload: string,
  { accessKeyId, secretAccessKey, region }: Keys,
): void {
  const [who, day, where, service, end] = credential.split('/');
  if (who !== accessKeyId)
    throw new S3Refusal(403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.');
  if (day !== stamp.slice(0, 8) || where !== region || service !== 's3' || end !== 'aws4_request')
    throw new S3Refusal(400, 'AuthorizationHeaderMalformed', `The scope is wrong; expecting '${region}'.`);
  if (!signed.includes('host')) throw new S3Refusal(403, 'AccessDenied', 'The host header must be signed.');
  const unsigned = Object.keys(request.headers).filter(
    (name) => name.startsWith('x-amz-') && name !== 'x-amz-content-sha256' && !signed.includes(name),
  );
  if (unsigned.length > 0)
    throw new S3Refusal(403, 'AccessDenied', 'There were headers present in the request which were not signed');
  const path = request.target.split('?')[0] ?? '';
  const canonical = [
    request.method,
    path
      .split('/')
      .map((part) => encode(decodeURIComponent(part)))
      .join('/'),
    query
      .filter(([name]) => name !== 'X-Amz-Signature')
      .map(([name, value]) => [encode(name), encode(value)] as const)
      .sort(([a, x], [b, y]) => (a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1))
      .map(([name, value]) => `${name}=${value}`)
      .join('&'),
    ...[...signed].sort().map((name) => `${name}:${(request.headers[name] ?? '').trim().replace(/ +/g, ' ')}`),
    '',
    signed.join(';'),
    payload,
  ].join('\n');
  const scope = [day, region, 's3', 'aws4_request'].join('/');
  const key = hmac(hmac(hmac(hmac(`AWS4${secretAccessKey}`, day ?? ''), region), 's3'), 'aws4_request');
  const right = hmac(key, [ALGORITHM, stamp, scope, sha256(canonical)].join('\n'));
  const given = Buffer.from(signature, 'hex');
  if (given.length !== right.length || !timingSafeEqual(given, right))
    throw new S3Refusal(403, 'SignatureDoesNotMatch', 'The request signature we calculated does not match yours.');
}
