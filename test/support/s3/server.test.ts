/**
 * The strict S3 of tests is what S3 is, asked by the SDK with right and wrong keys and clocks, and by hand with what the SDK would not send.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { exchange } from './exchange.ts';
import { startTestS3, type TestS3 } from './server.ts';

const Bucket = 'archipel-test';
/** All that URLs escape, and what they need not. */
const Key = "a b/ü+&=%2F/~!'()*.zip";
const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');

let s3: TestS3;
let aheadMs: number;
const clients: S3Client[] = [];

beforeEach(async () => {
  aheadMs = 0;
  s3 = await startTestS3({ nowMs: () => Date.now() + aheadMs });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await s3.close();
});

function clientOf(config: S3ClientConfig = {}): S3Client {
  const checksums = {
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  } as const;
  const client = new S3Client({ ...s3.client, ...checksums, maxAttempts: 1, ...config });
  clients.push(client);
  return client;
}
const failing = (work: Promise<unknown>, name: string, httpStatusCode: number) =>
  expect(work).rejects.toMatchObject({ name, $metadata: { httpStatusCode } });
const codeIn = (bytes: Buffer): string => /<Code>(.*?)<\/Code>/.exec(bytes.toString())?.[1] ?? '';

describe('signatures', () => {
  const put = (client: S3Client) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body: 'x', Metadata: { word: 'a  b' } }));

  it('are found right, whatever is in a key', async () => {
    await put(clientOf());
    const { Body, Metadata } = await clientOf().send(new GetObjectCommand({ Bucket, Key }));
    expect([await Body?.transformToString(), Metadata]).toEqual(['x', { word: 'a  b' }]);
    const url = await getSignedUrl(clientOf() as never, new GetObjectCommand({ Bucket, Key }) as never);
    expect((await exchange('GET', url, {})).bytes.toString()).toBe('x');
  });

  it('of other keys, other regions and wrong clocks are refused', async () => {
    const { accessKeyId, secretAccessKey } = s3.keys;
    await failing(
      put(clientOf({ credentials: { accessKeyId, secretAccessKey: 'wrong' } })),
      'SignatureDoesNotMatch',
      403,
    );
    await failing(
      put(clientOf({ credentials: { accessKeyId: 'nobody', secretAccessKey } })),
      'InvalidAccessKeyId',
      403,
    );
    await failing(put(clientOf({ region: 'us-west-2' })), 'AuthorizationHeaderMalformed', 400);
    aheadMs = 16 * 60_000;
    await failing(put(clientOf()), 'RequestTimeTooSkewed', 403);
    expect(s3.bucket.objects.size).toBe(0);
  });

  it('are needed, and only one of them', async () => {
    const url = await getSignedUrl(clientOf() as never, new GetObjectCommand({ Bucket, Key }) as never, {
      expiresIn: 60,
    });
    expect((await exchange('GET', url.split('?')[0] ?? '', {})).status).toBe(403);
    const twice = await exchange('GET', url, { authorization: 'AWS4-HMAC-SHA256 x' });
    expect([twice.status, codeIn(twice.bytes)]).toEqual([400, 'InvalidArgument']);
    expect((await exchange('GET', url, { 'x-amz-meta-unsigned': '1' })).status).toBe(403);
    expect((await exchange('GET', url.replace('Expires=60', 'Expires=61'), {})).status).toBe(403);
    aheadMs = 60_000;
    expect(codeIn((await exchange('GET', url, {})).bytes)).toBe('AccessDenied');
    aheadMs = -16 * 60_000;
    expect(codeIn((await exchange('GET', url, {})).bytes)).toBe('AccessDenied');
  });
});

describe('objects', () => {
  it('are created once, checked, and given in ranges', async () => {
    const client = clientOf();
    const bytes = randomBytes(1000);
    const put = (more: object) => client.send(new PutObjectCommand({ Bucket, Key, Body: bytes, ...more }));
    await failing(put({ ChecksumSHA256: sum(randomBytes(1)) }), 'BadDigest', 400);
    await failing(put({ ChecksumSHA256: 'AAAA' }), 'InvalidRequest', 400);
    await failing(put({ ContentMD5: 'AAAAAAAAAAAAAAAAAAAAAA==' }), 'BadDigest', 400);
    await failing(put({ IfNoneMatch: '"x"' }), 'NotImplemented', 501);
    await failing(put({ Bucket: 'another' }), 'NoSuchBucket', 404);
    await put({ IfNoneMatch: '*', ChecksumSHA256: sum(bytes) });
    await failing(put({ IfNoneMatch: '*' }), 'PreconditionFailed', 412);
    const get = (Range: string) => client.send(new GetObjectCommand({ Bucket, Key, Range }));
    for (const [range, from, to] of [
      ['bytes=0-0', 0, 1],
      ['bytes=990-2000', 990, 1000],
      ['bytes=10-', 10, 1000],
      ['bytes=-7', 993, 1000],
    ] as const) {
      const answer = await get(range);
      expect(answer.ContentRange).toBe(`bytes ${from}-${to - 1}/1000`);
      expect(Buffer.compare((await answer.Body?.transformToByteArray())!, bytes.subarray(from, to))).toBe(0);
    }
    await failing(get('bytes=1000-'), 'InvalidRange', 416);
    const head = await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
    expect([head.ContentLength, head.ChecksumSHA256]).toEqual([1000, sum(bytes)]);
    expect((await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'a b/' }))).Contents?.[0]?.Key).toBe(Key);
    await client.send(new DeleteObjectCommand({ Bucket, Key }));
    await client.send(new DeleteObjectCommand({ Bucket, Key }));
    await failing(get('bytes=0-1'), 'NoSuchKey', 404);
    await failing(client.send(new HeadObjectCommand({ Bucket, Key })), 'NotFound', 404);
  });

  it('are refused without a length, and where the body is not what was signed', async () => {
    const url = await getSignedUrl(clientOf() as never, new PutObjectCommand({ Bucket, Key }) as never);
    expect((await exchange('PUT', url, { 'transfer-encoding': 'chunked' })).status).toBe(411);
    const hash =
      (next: (args: never) => Promise<never>) => (args: { request: { headers: Record<string, string> } }) => {
        args.request.headers['x-amz-content-sha256'] = 'ab'.repeat(32);
        return next(args as never);
      };
    const command = new PutObjectCommand({ Bucket, Key, Body: 'x' });
    command.middlewareStack.add(hash as never, { step: 'build' });
    await failing(clientOf().send(command), 'XAmzContentSHA256Mismatch', 400);
    expect(s3.bucket.objects.size).toBe(0);
  });

  it('sleep, and are awake again', async () => {
    const client = clientOf();
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }));
    s3.bucket.get(Key).storageClass = 'GLACIER';
    await failing(client.send(new GetObjectCommand({ Bucket, Key })), 'InvalidObjectState', 403);
    expect((await client.send(new HeadObjectCommand({ Bucket, Key }))).StorageClass).toBe('GLACIER');
    s3.bucket.get(Key).restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"';
    expect(await (await client.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString()).toBe('x');
  });
});

describe('uploads in parts', () => {
  const first = randomBytes(5 * 1024 * 1024);
  const last = randomBytes(10);

  it('keep S3 rules about parts, order, size and checksums', async () => {
    const client = clientOf();
    const { UploadId } = await client.send(
      new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm: 'SHA256' }),
    );
    const at = { Bucket, Key, UploadId };
    const part = (PartNumber: number, Body: Buffer, ChecksumSHA256?: string) =>
      client.send(new UploadPartCommand({ ...at, PartNumber, Body, ...(ChecksumSHA256 && { ChecksumSHA256 }) }));
    await failing(part(1, first), 'InvalidRequest', 400);
    await failing(part(1, first, sum(last)), 'BadDigest', 400);
    await failing(part(10_001, last, sum(last)), 'InvalidArgument', 400);
    const one = { PartNumber: 1, ETag: (await part(1, first, sum(first))).ETag, ChecksumSHA256: sum(first) };
    const two = { PartNumber: 2, ETag: (await part(2, last, sum(last))).ETag, ChecksumSHA256: sum(last) };
    const listed = await client.send(new ListPartsCommand(at));
    expect(listed.Parts?.map(({ ChecksumSHA256 }) => ChecksumSHA256)).toEqual([sum(first), sum(last)]);
    const complete = (Parts: object[], more: object = {}) =>
      client.send(new CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts }, ...more }));
    await failing(complete([two, one]), 'InvalidPartOrder', 400);
    await failing(complete([one, { ...two, ETag: '"00"' }]), 'InvalidPart', 400);
    await failing(complete([{ ...one, ChecksumSHA256: undefined }, two]), 'InvalidPart', 400);
    await failing(complete([one, { ...two, PartNumber: 3 }]), 'InvalidPart', 400);
    await client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' }));
    await failing(complete([one, two], { IfNoneMatch: '*' }), 'PreconditionFailed', 412);
    expect((await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads).toHaveLength(1);
    await complete([one, two]);
    expect(Buffer.compare(s3.bucket.get(Key).bytes, Buffer.concat([first, last]))).toBe(0);
    await failing(complete([one, two]), 'NoSuchUpload', 404);
    await failing(client.send(new AbortMultipartUploadCommand(at)), 'NoSuchUpload', 404);
  });

  it('are no objects when a part is too small, or when they are aborted', async () => {
    const client = clientOf();
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    const at = { Bucket, Key, UploadId };
    const Parts = [];
    for (const PartNumber of [1, 2]) {
      const { ETag } = await client.send(new UploadPartCommand({ ...at, PartNumber, Body: last }));
      Parts.push({ PartNumber, ETag });
    }
    await failing(
      client.send(new CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } })),
      'EntityTooSmall',
      400,
    );
    await client.send(new AbortMultipartUploadCommand(at));
    expect([s3.bucket.objects.size, s3.bucket.uploads.size]).toEqual([0, 0]);
  });
});
