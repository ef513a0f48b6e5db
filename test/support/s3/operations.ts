/**
 * What the stand-in's operations do with a request whose signature was right: checks of the body, conditions, ranges, and the XML of answers,
 * as S3's API reference has them.
 */
import { createHash } from 'node:crypto';
import { type Bucket, type StoredObject, sha256Base64 } from './objects.ts';
import { elements, escapeXml, S3Refusal } from './refusal.ts';

export interface Call {
  readonly bucket: Bucket;
  readonly bucketName: string;
  readonly key: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
  /** What was signed of the body. */
  readonly payloadSha256: string;
  /** Answers half of what it was asked for. */
  readonly isShort: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const ok = (headers: Record<string, string> = {}): Answer => ({ status: 200, headers, body: Buffer.alloc(0) });

function xml(root: string, inner: string): Answer {
  const text = `<?xml version="1.0" encoding="UTF-8"?><${root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${inner}</${root}>`;
  return { status: 200, headers: { 'content-type': 'application/xml' }, body: Buffer.from(text) };
}

/** The SHA-256 that was given in the header, in base64, when the body has it. */
function checkedSum({ headers, body, payloadSha256 }: Call): string | undefined {
  const hex = createHash('sha256').update(body).digest('hex');
  if (payloadSha256 !== 'UNSIGNED-PAYLOAD' && payloadSha256 !== hex)
    throw new S3Refusal(
      400,
      'XAmzContentSHA256Mismatch',
      "The provided 'x-amz-content-sha256' header does not match what was computed.",
    );
  const md5 = headers['content-md5'];
  if (md5 !== undefined && md5 !== createHash('md5').update(body).digest('base64'))
    throw new S3Refusal(400, 'BadDigest', 'The Content-MD5 you specified did not match what we received.');
  const others = Object.keys(headers).filter((name) =>
    /^x-amz-(checksum-(?!sha256$|type$|algorithm$|mode$)|trailer)/.test(name),
  );
  if (others.length > 0) throw new S3Refusal(501, 'NotImplemented', `Not known here: ${others.join(', ')}`);
  const given = headers['x-amz-checksum-sha256'];
  if (given === undefined) return undefined;
  if (!/^[A-Za-z0-9+/]{43}=$/.test(given))
    throw new S3Refusal(400, 'InvalidRequest', 'Value for x-amz-checksum-sha256 header is invalid.');
  if (given !== sha256Base64(body))
    throw new S3Refusal(400, 'BadDigest', 'The SHA256 you specified did not match the calculated checksum.');
  return given;
}

const metadataOf = (headers: Call['headers']): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      name.startsWith('x-amz-meta-') && value !== undefined ? [[name, value]] : [],
    ),
  );

function headersOf(found: StoredObject, headers: Call['headers']): Record<string, string> {
  return {
    etag: found.etag,
    'last-modified': new Date(found.modifiedAtMs).toUTCString(),
    'accept-ranges': 'bytes',
    'content-type': 'application/octet-stream',
    ...(found.storageClass !== 'STANDARD' && { 'x-amz-storage-class': found.storageClass }),
    ...(found.restore !== undefined && { 'x-amz-restore': found.restore }),
    ...(headers['x-amz-checksum-mode'] === 'ENABLED' &&
      found.checksum !== undefined && { 'x-amz-checksum-sha256': found.checksum }),
    ...found.metadata,
  };
}

/** First byte and the one behind the last; undefined where all is meant, as of a Range that nobody can read. */
function spanOf(range: string | undefined, lengthBytes: number): { from: number; to: number } | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(range ?? '') ?? [];
  if (first === '' && last === '') return undefined;
  const from = first === '' ? Math.max(0, lengthBytes - Number(last)) : Number(first);
  const to = first === '' || last === '' ? lengthBytes : Math.min(Number(last) + 1, lengthBytes);
  if (first !== '' && last !== '' && Number(last) < from) return undefined;
  if (from >= lengthBytes)
    throw new S3Refusal(416, 'InvalidRange', 'The requested range is not satisfiable', {
      RangeRequested: range ?? '',
      ActualObjectSize: String(lengthBytes),
    });
  return { from, to };
}

function checkMatch(found: StoredObject, headers: Call['headers']): void {
  const wanted = headers['if-match'];
  if (wanted !== undefined && wanted !== '*' && wanted !== found.etag)
    throw new S3Refusal(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold', {
      Condition: 'If-Match',
    });
}

const isAsleep = ({ storageClass, restore }: StoredObject): boolean =>
  /^(GLACIER|DEEP_ARCHIVE)$/.test(storageClass) && !/ongoing-request="false"/.test(restore ?? '');

const param = (query: Call['query'], name: string): string => query.get(name) ?? '';

export const operations: Readonly<Record<string, (call: Call) => Answer>> = {
  PutObject(call) {
    const checksum = checkedSum(call);
    const { bucket, key, body, headers } = call;
    const ifNoneMatch = headers['if-none-match'];
    const { etag } = bucket.put(key, body, { ifNoneMatch, checksum, metadata: metadataOf(headers) });
    return ok({ etag, ...(checksum !== undefined && { 'x-amz-checksum-sha256': checksum }) });
  },

  GetObject({ bucket, key, headers, isShort }) {
    const found = bucket.get(key);
    checkMatch(found, headers);
    if (isAsleep(found))
      throw new S3Refusal(403, 'InvalidObjectState', "The operation is not valid for the object's storage class", {
        StorageClass: found.storageClass,
      });
    const total = found.bytes.length;
    const asked = spanOf(headers.range, total);
    const span = asked && isShort ? { from: asked.from, to: asked.from + ((asked.to - asked.from + 1) >> 1) } : asked;
    const body = span === undefined ? found.bytes : found.bytes.subarray(span.from, span.to);
    return {
      status: span === undefined ? 200 : 206,
      headers: {
        ...headersOf(found, headers),
        'content-length': String(body.length),
        ...(span && { 'content-range': `bytes ${span.from}-${span.to - 1}/${total}` }),
      },
      body,
    };
  },

  HeadObject({ bucket, key, headers }) {
    const found = bucket.get(key);
    checkMatch(found, headers);
    return ok({ ...headersOf(found, headers), 'content-length': String(found.bytes.length) });
  },

  DeleteObject({ bucket, key }) {
    bucket.objects.delete(key);
    return { ...ok(), status: 204 };
  },

  ListObjectsV2({ bucket, bucketName, query }) {
    const prefix = param(query, 'prefix');
    const after = query.get('continuation-token') ?? param(query, 'start-after');
    const limit = Math.min(1000, Number(query.get('max-keys') ?? 1000));
    const all = [...bucket.objects]
      .filter(([key]) => key.startsWith(prefix) && key > after)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const page = all.slice(0, limit);
    const contents = page.map(
      ([Key, { bytes, etag, modifiedAtMs, storageClass }]) =>
        `<Contents>${elements({
          Key,
          LastModified: new Date(modifiedAtMs).toISOString(),
          ETag: etag,
          Size: bytes.length,
          StorageClass: storageClass,
        })}</Contents>`,
    );
    const more = all.length > page.length;
    const head = elements({
      Name: bucketName,
      Prefix: prefix,
      KeyCount: page.length,
      MaxKeys: limit,
      IsTruncated: more,
      NextContinuationToken: more ? page.at(-1)?.[0] : undefined,
    });
    return xml('ListBucketResult', head + contents.join(''));
  },

  CreateMultipartUpload({ bucket, bucketName, key, headers }) {
    const algorithm = headers['x-amz-checksum-algorithm'];
    if (algorithm !== undefined && algorithm !== 'SHA256')
      throw new S3Refusal(501, 'NotImplemented', 'Only SHA256 is known here.');
    const { uploadId } = bucket.begin(key, algorithm !== undefined, metadataOf(headers));
    return xml('InitiateMultipartUploadResult', elements({ Bucket: bucketName, Key: key, UploadId: uploadId }));
  },

  UploadPart(call) {
    const { bucket, key, query, body } = call;
    const checksum = checkedSum(call);
    const part = bucket.putPart(key, param(query, 'uploadId'), Number(param(query, 'partNumber')), body, checksum);
    return ok({ etag: part.etag, ...(checksum !== undefined && { 'x-amz-checksum-sha256': checksum }) });
  },

  ListParts({ bucket, bucketName, key, query }) {
    const UploadId = param(query, 'uploadId');
    const { parts } = bucket.uploadOf(key, UploadId);
    const after = Number(query.get('part-number-marker') ?? 0);
    const limit = Math.min(1000, Number(query.get('max-parts') ?? 1000));
    const all = [...parts].filter(([number]) => number > after).sort(([a], [b]) => a - b);
    const page = all.slice(0, limit);
    const more = all.length > page.length;
    const list = page.map(
      ([PartNumber, { bytes, etag, checksum }]) =>
        `<Part>${elements({ PartNumber, ETag: etag, Size: bytes.length, ChecksumSHA256: checksum })}</Part>`,
    );
    const head = elements({
      Bucket: bucketName,
      Key: key,
      UploadId,
      MaxParts: limit,
      IsTruncated: more,
      NextPartNumberMarker: more ? page.at(-1)?.[0] : undefined,
    });
    return xml('ListPartsResult', head + list.join(''));
  },

  ListMultipartUploads({ bucket, bucketName, query }) {
    const prefix = param(query, 'prefix');
    const list = [...bucket.uploads.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .map(
        ({ key, uploadId, initiatedAtMs }) =>
          `<Upload>${elements({ Key: key, UploadId: uploadId, Initiated: new Date(initiatedAtMs).toISOString() })}</Upload>`,
      );
    return xml('ListMultipartUploadsResult', elements({ Bucket: bucketName, IsTruncated: false }) + list.join(''));
  },

  CompleteMultipartUpload(call) {
    const { bucket, bucketName, key, query, headers, body, payloadSha256 } = call;
    if (payloadSha256 !== 'UNSIGNED-PAYLOAD') checkedSum({ ...call, headers: {} });
    const text = body.toString();
    const elementOf = (part: string, name: string): string | undefined =>
      new RegExp(`<${name}>([^<]*)</${name}>`).exec(part)?.[1]?.replaceAll('&quot;', '"');
    const named = [...text.matchAll(/<Part>(.*?)<\/Part>/gs)].map(([part]) => ({
      number: Number(elementOf(part, 'PartNumber')),
      etag: elementOf(part, 'ETag') ?? '',
      checksum: elementOf(part, 'ChecksumSHA256'),
    }));
    const { etag } = bucket.complete(key, param(query, 'uploadId'), named, headers['if-none-match']);
    return xml(
      'CompleteMultipartUploadResult',
      `${elements({ Bucket: bucketName, Key: key })}<ETag>${escapeXml(etag)}</ETag>`,
    );
  },

  AbortMultipartUpload({ bucket, key, query }) {
    bucket.abort(key, param(query, 'uploadId'));
    return { ...ok(), status: 204 };
  },
};
