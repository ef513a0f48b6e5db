/**
 * Grants of S3 where their contract does not reach: what a signature covers, uploads that were begun twice or lost, and faults on the way
 * (threats F10, F12).
 */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createS3Grants, type S3Grants } from '#functions/aws/s3-grants.ts';
import { newPackId, packKey } from '#shared/archive/keys.ts';
import { MIN_PART_BYTES } from '#shared/gateway-api.ts';
import { exchange } from '#test/support/s3/exchange.ts';
import { type Fault, startTestS3, type TestS3 } from '#test/support/s3/server.ts';

const LIFE_MS = 15 * 60_000;
const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const key = packKey('hospital', {
  studyInstanceUid: '1.2.3',
  seriesInstanceUid: '1.2.3.4',
  packId: newPackId(0, randomBytes(10)),
});
const pieces = [randomBytes(MIN_PART_BYTES), randomBytes(1000)];
const lengthBytes = MIN_PART_BYTES + 1000;
const wanted = { lengthBytes, partBytes: MIN_PART_BYTES };

let s3: TestS3;
let grants: S3Grants;
let faults: Record<string, (Fault | undefined)[]>;

beforeEach(async () => {
  faults = {};
  s3 = await startTestS3({ faultOf: (operation) => faults[operation]?.shift() });
  grants = createS3Grants({ bucket: s3.bucketName, client: s3.client, nowMs: Date.now });
});
afterEach(async () => {
  grants.close();
  await s3.close();
});

async function begin(partBytes = MIN_PART_BYTES): Promise<{ uploadId: string; partBytes: number }> {
  const begun = await grants.multipart.begin(key, { lengthBytes, partBytes });
  if (begun === 'exists') throw new Error('it is there already');
  return begun;
}
async function putAll(uploadId: string): Promise<void> {
  for (const [i, piece] of pieces.entries()) {
    const expected = { lengthBytes: piece.length, sha256: hex(piece), expiresAtMs: Date.now() + LIFE_MS };
    const { url, headers } = await grants.multipart.grantPart(key, uploadId, i + 1, expected);
    expect((await exchange('PUT', url, headers, piece)).status).toBe(200);
  }
}

it('signs length, checksum and condition as headers, for fifteen minutes at most', async () => {
  const expected = { lengthBytes: 5, sha256: hex(randomBytes(5)), expiresAtMs: Date.now() + LIFE_MS };
  const query = new URL((await grants.grantUpload(key, expected)).url).searchParams;
  expect(query.get('X-Amz-SignedHeaders')).toBe('content-length;host;if-none-match;x-amz-checksum-sha256');
  expect([...query.keys()].filter((name) => /checksum|none/i.test(name))).toEqual([]);
  expect(Number(query.get('X-Amz-Expires'))).toBeLessThanOrEqual(900);
  const part = new URL((await grants.multipart.grantPart(key, 'x', 1, expected)).url).searchParams;
  expect(part.get('X-Amz-SignedHeaders')).toBe('content-length;host;x-amz-checksum-sha256');
  for (const expiresAtMs of [Date.now() + LIFE_MS + 2_000, Date.now() - 1_000]) {
    await expect(grants.grantUpload(key, { ...expected, expiresAtMs })).rejects.toThrow(RangeError);
    await expect(grants.grantRead(key, expiresAtMs)).rejects.toThrow(RangeError);
  }
});

it('stores no bit that was flipped on the way (F9)', async () => {
  const body = randomBytes(1000);
  const expected = { lengthBytes: body.length, sha256: hex(body), expiresAtMs: Date.now() + LIFE_MS };
  const { url, headers } = await grants.grantUpload(key, expected);
  faults.PutObject = Array.from({ length: 5 }, () => 'flipped' as const);
  for (let i = 0; i < 5; i++) expect((await exchange('PUT', url, headers, body)).status).toBe(400);
  expect(s3.bucket.objects.size).toBe(0);
  expect((await exchange('PUT', url, headers, body)).status).toBe(200);
});

describe('an upload in parts', () => {
  it('is one, however many begin it at once: the others are aborted', async () => {
    const begun = await Promise.all(Array.from({ length: 5 }, () => begin()));
    const { uploadId } = await begin();
    expect([...s3.bucket.uploads.keys()]).toEqual([uploadId]);
    expect(begun.map((one) => one.uploadId)).toContain(uploadId);
  });

  it('goes on in parts of the size that it was begun with, or anew where they fit no size', async () => {
    const { uploadId } = await begin();
    await putAll(uploadId);
    expect(await begin(2 * MIN_PART_BYTES)).toEqual({ uploadId, partBytes: MIN_PART_BYTES });
    s3.bucket.uploads.get(uploadId)?.parts.delete(1);
    const anew = await begin(2 * MIN_PART_BYTES);
    expect(anew.partBytes).toBe(2 * MIN_PART_BYTES);
    expect([...s3.bucket.uploads.keys()]).toEqual([anew.uploadId]);
  });

  it.each(['slow-down', 'error-in-200', 'done-but-broken', 'answer-lost', 'conflict'] as const)(
    'is completed once when the answer is "%s" (F12)',
    async (fault) => {
      const { uploadId } = await begin();
      await putAll(uploadId);
      faults.CompleteMultipartUpload = [fault];
      expect(await grants.multipart.complete(key, uploadId, pieces.map(hex))).toBe('created');
      expect(s3.bucket.get(key).bytes.equals(Buffer.concat(pieces))).toBe(true);
      expect(await grants.multipart.complete(key, uploadId, pieces.map(hex))).toBe('exists');
    },
  );

  it('is not completed of other parts than were meant, and replaces nothing', async () => {
    const { uploadId } = await begin();
    await putAll(uploadId);
    const others = [hex(pieces[0]!), hex(randomBytes(1))];
    await expect(grants.multipart.complete(key, uploadId, others)).rejects.toMatchObject({ code: 'conflict' });
    const first = randomBytes(10);
    s3.bucket.put(key, first, { ifNoneMatch: '*', checksum: undefined, metadata: {} });
    expect(await grants.multipart.complete(key, uploadId, pieces.map(hex))).toBe('exists');
    expect(s3.bucket.get(key).bytes).toEqual(first);
    expect(s3.bucket.uploads.size).toBe(0);
    expect(await grants.multipart.begin(key, wanted)).toBe('exists');
  });
});
