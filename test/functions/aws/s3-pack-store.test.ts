/**
 * The pack store on S3 where its contract does not reach: what goes wrong on the way there and back (threats F9, F10, F12), large objects, and
 * objects that sleep.
 */
import { createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Timing } from '#functions/aws/retry.ts';
import { createS3PackStore, type S3PackStore } from '#functions/aws/s3-pack-store.ts';
import { newPackId, packKey } from '#shared/archive/keys.ts';
import { type Fault, startTestS3, type TestS3 } from '#test/support/s3/server.ts';

const MIB = 1024 * 1024;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const expectedOf = (bytes: Uint8Array) => ({ lengthBytes: bytes.length, sha256: sha256(bytes) });
const newKey = (): string =>
  packKey('hospital', {
    studyInstanceUid: '1.2.3',
    seriesInstanceUid: '1.2.3.4',
    packId: newPackId(Date.now(), randomBytes(10)),
  });

/** Pauses pass at once; what is waited for the network takes its time. */
function quickTiming(): Timing {
  let slept = 0;
  return {
    nowMs: () => performance.now() + slept,
    random: () => 0.5,
    sleep: async (ms) => {
      slept += ms;
    },
  };
}

let s3: TestS3;
let store: S3PackStore;
/** What goes wrong, request by request of an operation. */
let faults: Record<string, (Fault | undefined)[]>;
let always: Fault | undefined;

const parts = { aboveBytes: 10 * MIB, partBytes: 5 * MIB };
const open = (more: { silenceMs?: number } = {}): S3PackStore =>
  createS3PackStore({ bucket: s3.bucketName, client: s3.client, timing: quickTiming(), parts, ...more });
/** Of those that wait for an answer that never comes: long enough for one that does. */
const isSilent = (fault: Fault): boolean => /silent|stalled/.test(fault);
function openFor(fault: Fault): void {
  if (!isSilent(fault)) return;
  store.close();
  store = open({ silenceMs: 200 });
}

beforeEach(async () => {
  faults = {};
  always = undefined;
  s3 = await startTestS3({ faultOf: (operation) => always ?? faults[operation]?.shift() });
  store = open();
});
afterEach(async () => {
  store.close();
  await s3.close();
});

const statuses = (operation: string): number[] =>
  s3.requests.filter((one) => one.operation === operation).map(({ status }) => status);
const refused = (work: Promise<unknown>, code: string, details: object = {}) =>
  expect(work).rejects.toMatchObject({ code, details });
const streamOf = (bytes: Uint8Array, chunkBytes = 700_000): ReadableStream<Uint8Array> => {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes.subarray(at, at + chunkBytes));
      at += chunkBytes;
      if (at >= bytes.length) controller.close();
    },
  });
};
async function collect(stream: ReadableStream<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('creating', () => {
  const nothingDone = ['slow-down', 'broken', 'conflict', 'silent', 'reset', 'flipped'] as const;
  const done = ['done-but-broken', 'answer-lost', 'done-but-silent'] as const;

  it.each([...nothingDone, ...done])('says created, once, after "%s"', async (fault) => {
    const [key, bytes] = [newKey(), randomBytes(10_000)];
    openFor(fault);
    faults.PutObject = [fault];
    expect(await store.create(key, bytes, expectedOf(bytes))).toBe('created');
    expect(Buffer.compare(await store.read(key), bytes)).toBe(0);
    expect(statuses('PutObject').at(-1)).toBe((done as readonly string[]).includes(fault) ? 412 : 200);
  });

  it('tells its own object from that of somebody who was faster', async () => {
    const [key, bytes] = [newKey(), randomBytes(1000)];
    faults.PutObject = ['answer-lost', 'broken'];
    expect(await store.create(key, bytes, expectedOf(bytes))).toBe('created');
    faults.PutObject = ['done-but-broken'];
    // Its own PUT was refused, whatever the answer was.
    expect(await store.create(key, bytes, expectedOf(bytes))).toBe('exists');
  });

  it('stores no bit that was flipped on the way, also when it always is (F9)', async () => {
    const [key, bytes] = [newKey(), randomBytes(50_000)];
    always = 'flipped';
    await refused(store.create(key, bytes, expectedOf(bytes)), 'unavailable', { retryAfterSeconds: 60 });
    expect(s3.bucket.objects.size).toBe(0);
    expect(new Set(statuses('PutObject'))).toEqual(new Set([400]));
  });

  it('gives up on a store that is busy, with a time to come back', async () => {
    const [key, bytes] = [newKey(), randomBytes(10)];
    always = 'slow-down';
    await refused(store.create(key, bytes, expectedOf(bytes)), 'unavailable', { retryAfterSeconds: 60 });
    await refused(store.read(key), 'unavailable', { retryAfterSeconds: 60 });
    await refused(store.head(key), 'unavailable', { retryAfterSeconds: 60 });
    await refused(store.delete(key), 'unavailable', { retryAfterSeconds: 60 });
  });

  it('sends nothing of a body that is not the one announced', async () => {
    const bytes = randomBytes(2 * MIB);
    await refused(
      store.create(newKey(), streamOf(bytes), { lengthBytes: bytes.length, sha256: sha256(randomBytes(1)) }),
      'checksum-mismatch',
    );
    await refused(store.create(newKey(), bytes, { lengthBytes: 10, sha256: sha256(bytes) }), 'checksum-mismatch');
    expect(statuses('PutObject')).toEqual([]);
  });
});

describe('creating in parts', () => {
  const bytes = randomBytes(11 * MIB + 12_345);
  const expected = expectedOf(bytes);

  it('makes one object, whatever part, completion or answer is lost (F12)', async () => {
    const key = newKey();
    faults.CreateMultipartUpload = ['slow-down'];
    faults.UploadPart = ['flipped', 'reset', 'done-but-broken', 'answer-lost', 'slow-down'];
    faults.CompleteMultipartUpload = ['error-in-200', 'answer-lost'];
    expect(await store.create(key, streamOf(bytes, 3 * MIB), expected)).toBe('created');
    expect(s3.bucket.get(key).bytes.equals(bytes)).toBe(true);
    expect(s3.bucket.uploads.size).toBe(0);
    expect(statuses('PutObject')).toEqual([]);
    expect(await store.create(key, streamOf(bytes), expected)).toBe('exists');
    const requested = s3.requests.length;
    expect((await store.read(key)).length).toBe(bytes.length);
    expect(s3.requests.length - requested).toBe(2);
  });

  it('can be tried again when somebody else has ended the upload', async () => {
    const key = newKey();
    const body = streamOf(bytes);
    const ended = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, controller) {
        s3.bucket.uploads.clear();
        controller.enqueue(chunk);
      },
    });
    await refused(store.create(key, body.pipeThrough(ended), expected), 'unavailable');
    expect(await store.create(key, bytes, expected)).toBe('created');
  });

  it('leaves nothing of a body that turns out to be another, or breaks off', async () => {
    await refused(store.create(newKey(), bytes, { ...expected, sha256: sha256(randomBytes(1)) }), 'checksum-mismatch');
    await refused(store.create(newKey(), streamOf(bytes.subarray(0, 6 * MIB)), expected), 'checksum-mismatch');
    expect([s3.bucket.objects.size, s3.bucket.uploads.size]).toEqual([0, 0]);
    expect(statuses('CompleteMultipartUpload')).toEqual([]);
  });
});

describe('reading', () => {
  const bytes = randomBytes(9 * MIB + 77);
  const key = newKey();
  beforeEach(() => {
    s3.bucket.put(key, bytes, { ifNoneMatch: undefined, checksum: undefined, metadata: {} });
  });

  it('takes long ranges in pieces, short ones in one GET, and no HEAD', async () => {
    const range = { offsetBytes: 70, lengthBytes: 9 * MIB };
    expect(Buffer.compare(await store.read(key, range), bytes.subarray(70, 70 + 9 * MIB))).toBe(0);
    expect(statuses('GetObject')).toEqual([206, 206]);
    await store.read(key, { offsetBytes: 5, lengthBytes: 500_000 });
    expect(s3.requests).toHaveLength(3);
  });

  it.each(['slow-down', 'broken', 'silent', 'reset', 'short', 'stalled', 'answer-lost'] as const)(
    'gives all bytes, and none twice, when the answer is "%s"',
    async (fault) => {
      openFor(fault);
      faults.GetObject = [fault, undefined, fault];
      const long = { offsetBytes: 5, lengthBytes: 9 * MIB };
      expect(Buffer.compare(await store.read(key, long), bytes.subarray(5, 5 + 9 * MIB))).toBe(0);
      faults.GetObject = [fault, fault];
      expect(
        Buffer.compare(
          await collect(await store.stream(key, { offsetBytes: 3, lengthBytes: 2 * MIB })),
          bytes.subarray(3, 3 + 2 * MIB),
        ),
      ).toBe(0);
    },
  );

  it('never answers with fewer bytes than were asked for', async () => {
    always = 'short';
    await refused(store.read(key, { offsetBytes: 0, lengthBytes: 1000 }), 'unavailable');
    await refused(store.stream(key, { offsetBytes: 0, lengthBytes: 1000 }), 'unavailable');
  });

  it('gives any range as it is, with anything going wrong', async () => {
    const some = fc.constantFrom<Fault | undefined>(undefined, 'slow-down', 'broken', 'reset', 'short', 'answer-lost');
    await fc.assert(
      fc.asyncProperty(
        fc.nat(bytes.length),
        fc.nat(MIB),
        fc.array(some, { maxLength: 4 }),
        fc.boolean(),
        async (offsetBytes, wanted, list, isStream) => {
          const range = { offsetBytes, lengthBytes: Math.min(wanted, bytes.length - offsetBytes) };
          faults.GetObject = [...list];
          const got = isStream ? await collect(await store.stream(key, range)) : await store.read(key, range);
          expect(Buffer.compare(got, bytes.subarray(offsetBytes, offsetBytes + range.lengthBytes))).toBe(0);
        },
      ),
      { numRuns: 20 },
    );
  });

  it('mixes no bytes of two objects', async () => {
    faults.GetObject = ['reset'];
    const reader = (await store.stream(key)).getReader();
    await reader.read();
    s3.bucket.put(key, randomBytes(bytes.length), { ifNoneMatch: undefined, checksum: undefined, metadata: {} });
    await expect(
      (async () => {
        while (!(await reader.read()).done);
      })(),
    ).rejects.toMatchObject({ code: 'damaged' });
  });

  it('reads no further than is pulled, and closes its connection when nobody wants more', async () => {
    const reader = (await store.stream(key)).getReader();
    await reader.read();
    expect(await s3.connections()).toBeGreaterThan(0);
    await reader.cancel();
    // Those kept for the next request are none that somebody reads from.
    store.close();
    await expect.poll(() => s3.connections()).toBe(0);
  });
});

describe('objects that sleep', () => {
  it.each([
    ['GLACIER', 5 * 3600],
    ['DEEP_ARCHIVE', 12 * 3600],
  ])('in %s are said to, with the time it takes to wake them', async (storageClass, retryAfterSeconds) => {
    const [key, bytes] = [newKey(), randomBytes(100)];
    await store.create(key, bytes, expectedOf(bytes));
    s3.bucket.get(key).storageClass = storageClass;
    for (const restore of [undefined, 'ongoing-request="true"']) {
      s3.bucket.get(key).restore = restore;
      const details = { retryAfterSeconds, storageClass };
      await refused(store.head(key), 'unavailable', details);
      await refused(store.read(key), 'unavailable', details);
      await refused(store.stream(key), 'unavailable', details);
      expect(await store.create(key, bytes, expectedOf(bytes))).toBe('exists');
    }
    s3.bucket.get(key).restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"';
    expect(await store.head(key)).toEqual({ lengthBytes: 100 });
    expect(Buffer.compare(await store.read(key), bytes)).toBe(0);
  });
});

describe('a store that is not to be used', () => {
  it('says so: wrong keys, no bucket', async () => {
    const wrong = { ...s3.client, credentials: { accessKeyId: s3.keys.accessKeyId, secretAccessKey: 'wrong' } };
    for (const options of [
      { bucket: s3.bucketName, client: wrong },
      { bucket: 'another', client: s3.client },
    ]) {
      const other = createS3PackStore(options);
      await refused(other.read(newKey()), 'unavailable');
      await refused(other.create(newKey(), new Uint8Array(1), expectedOf(new Uint8Array(1))), 'unavailable');
      other.close();
    }
  });
});
