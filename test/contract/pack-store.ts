/**
 * What every PackStore must do, whatever it stands on. `packStoreContract` declares the tests; each implementation's own
 * test file calls it with a way to make an empty store.
 */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manifestKey, newPackId, packKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { isArchiveError } from '#shared/errors.ts';

export interface PackStoreUnderTest {
  readonly store: PackStore;
  /** Removes the store and all that is in it. */
  cleanup(): Promise<void>;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const expectedOf = (bytes: Uint8Array) => ({ lengthBytes: bytes.length, sha256: sha256(bytes) });

function newRef() {
  return { studyInstanceUid: '1.2.3', seriesInstanceUid: '1.2.3.4', packId: newPackId(Date.now(), randomBytes(10)) };
}

const newKey = (): string => packKey('hospital', newRef());

function streamOf(...chunks: Uint8Array[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
  });
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const rejectsWith = (promise: Promise<unknown>, code: Parameters<typeof isArchiveError>[1]) =>
  expect(promise).rejects.toSatisfy((error) => isArchiveError(error, code));

export function packStoreContract(name: string, make: () => Promise<PackStoreUnderTest>): void {
  describe(`${name} is a PackStore`, () => {
    let under: PackStoreUnderTest;
    let store: PackStore;
    beforeEach(async () => {
      under = await make();
      store = under.store;
    });
    afterEach(() => under.cleanup());

    it('gives back what was created, whole, in ranges and as a stream', async () => {
      const key = newKey();
      const bytes = randomBytes(1_500_001);
      expect(await store.head(key)).toBeUndefined();
      expect(await store.create(key, bytes, expectedOf(bytes))).toBe('created');
      expect(await store.head(key)).toEqual({ lengthBytes: bytes.length });
      expect(Buffer.compare(await store.read(key), bytes)).toBe(0);
      for (const [offsetBytes, lengthBytes] of [
        [0, 1],
        [1, 700_000],
        [bytes.length - 1, 1],
        [bytes.length, 0],
        [0, 0],
      ] as const) {
        const part = bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
        expect(Buffer.compare(await store.read(key, { offsetBytes, lengthBytes }), part)).toBe(0);
        expect(Buffer.compare(await collect(await store.stream(key, { offsetBytes, lengthBytes })), part)).toBe(0);
      }
      expect(Buffer.compare(await collect(await store.stream(key)), bytes)).toBe(0);
    });

    it('creates from a stream', async () => {
      const key = manifestKey('hospital', newRef());
      const bytes = randomBytes(300_000);
      const body = streamOf(
        bytes.subarray(0, 1),
        bytes.subarray(1, 1),
        bytes.subarray(1, 200_000),
        bytes.subarray(200_000),
      );
      expect(await store.create(key, body, expectedOf(bytes))).toBe('created');
      expect(Buffer.compare(await store.read(key), bytes)).toBe(0);
    });

    it('keeps an empty object', async () => {
      const key = newKey();
      expect(await store.create(key, new Uint8Array(), expectedOf(new Uint8Array()))).toBe('created');
      expect(await store.head(key)).toEqual({ lengthBytes: 0 });
      expect(await store.read(key)).toHaveLength(0);
      expect(await collect(await store.stream(key))).toHaveLength(0);
    });

    it('never replaces an object, whatever the bytes', async () => {
      const key = newKey();
      const first = randomBytes(1000);
      const second = randomBytes(1000);
      await store.create(key, first, expectedOf(first));
      expect(await store.create(key, first, expectedOf(first))).toBe('exists');
      expect(await store.create(key, second, expectedOf(second))).toBe('exists');
      expect(await store.create(key, streamOf(second), expectedOf(second))).toBe('exists');
      expect(Buffer.compare(await store.read(key), first)).toBe(0);
    });

    it('lets one of many win who create the same key at once', async () => {
      const key = newKey();
      const bodies = Array.from({ length: 8 }, () => randomBytes(50_000));
      const answers = await Promise.all(bodies.map((body) => store.create(key, streamOf(body), expectedOf(body))));
      expect(answers.filter((answer) => answer === 'created')).toHaveLength(1);
      const kept = await store.read(key);
      expect(Buffer.compare(kept, bodies[answers.indexOf('created')] as Buffer)).toBe(0);
    });

    it('refuses bytes that are not those expected, and leaves nothing behind', async () => {
      const key = newKey();
      const bytes = randomBytes(1000);
      const { sha256: right } = expectedOf(bytes);
      await rejectsWith(
        store.create(key, bytes, { lengthBytes: 1000, sha256: sha256(randomBytes(4)) }),
        'checksum-mismatch',
      );
      await rejectsWith(store.create(key, bytes, { lengthBytes: 999, sha256: right }), 'checksum-mismatch');
      await rejectsWith(store.create(key, bytes, { lengthBytes: 1001, sha256: right }), 'checksum-mismatch');
      await rejectsWith(
        store.create(key, streamOf(bytes, bytes), { lengthBytes: 1000, sha256: right }),
        'checksum-mismatch',
      );
      expect(await store.head(key)).toBeUndefined();
      expect(await store.create(key, bytes, expectedOf(bytes))).toBe('created');
    });

    it('leaves nothing behind when the body breaks off', async () => {
      const key = newKey();
      let pulls = 0;
      const body = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (++pulls > 3) throw new Error('the sender went away');
          controller.enqueue(randomBytes(1000));
        },
      });
      await expect(store.create(key, body, { lengthBytes: 10_000, sha256: sha256(randomBytes(1)) })).rejects.toThrow();
      expect(await store.head(key)).toBeUndefined();
    });

    it('says not-found, also for keys beside existing ones', async () => {
      const bytes = randomBytes(10);
      await store.create(newKey(), bytes, expectedOf(bytes));
      await rejectsWith(store.read(newKey()), 'not-found');
      await rejectsWith(store.stream(newKey()), 'not-found');
      await rejectsWith(store.read(newKey(), { offsetBytes: 0, lengthBytes: 1 }), 'not-found');
    });

    it('refuses ranges that are not there', async () => {
      const key = newKey();
      const bytes = randomBytes(100);
      await store.create(key, bytes, expectedOf(bytes));
      for (const [offsetBytes, lengthBytes] of [
        [0, 101],
        [100, 1],
        [101, 0],
        [-1, 5],
        [5, -1],
        [0, 2 ** 50],
        [Number.NaN, 1],
        [0.5, 1],
      ] as const) {
        await rejectsWith(store.read(key, { offsetBytes, lengthBytes }), 'range-not-satisfiable');
        await rejectsWith(store.stream(key, { offsetBytes, lengthBytes }), 'range-not-satisfiable');
      }
    });

    it('reads as it is pulled, and lets go when cancelled', async () => {
      const key = newKey();
      const bytes = randomBytes(4_000_000);
      await store.create(key, bytes, expectedOf(bytes));
      for (let i = 0; i < 50; i++) {
        const stream = await store.stream(key);
        const reader = stream.getReader();
        const first = await reader.read();
        expect(first.value?.length).toBeGreaterThan(0);
        await reader.cancel();
      }
    });

    it('deletes, and deletes again', async () => {
      const key = newKey();
      const bytes = randomBytes(100);
      await store.create(key, bytes, expectedOf(bytes));
      await store.delete(key);
      expect(await store.head(key)).toBeUndefined();
      await store.delete(key);
      await store.delete(newKey());
    });

    it('keeps tenants, packs and manifests apart', async () => {
      const ref = newRef();
      const keys = [packKey('one', ref), packKey('two', ref), manifestKey('one', ref), manifestKey('two', ref)];
      for (const [i, key] of keys.entries()) {
        const bytes = Buffer.from([i]);
        expect(await store.create(key, bytes, expectedOf(bytes))).toBe('created');
      }
      for (const [i, key] of keys.entries()) expect([...(await store.read(key))]).toEqual([i]);
    });

    it('touches nothing for a key that no pack has', async () => {
      const bytes = randomBytes(10);
      const key = newKey();
      const hostile = [
        '',
        '/',
        '../x',
        `../${key}`,
        `/${key}`,
        key.replace('/', '/../'),
        key.replace('/', '\\'),
        key.replace('hospital', '..'),
        key.replace('hospital', '%2e%2e'),
        key.replace('.zip', '.zip\0'),
        key.replace('.zip', '.ZIP'),
        `${key}/`,
        key.replace('1.2.3/', '1.2.3//'),
        key.replace('1.2.3/', 'x/'),
        'hospital/1.2.3/1.2.3.4/pack.zip',
      ];
      for (const bad of hostile) {
        await rejectsWith(store.create(bad, bytes, expectedOf(bytes)), 'bad-request');
        await rejectsWith(store.read(bad), 'bad-request');
        await rejectsWith(store.stream(bad), 'bad-request');
        await rejectsWith(store.head(bad), 'bad-request');
        await rejectsWith(store.delete(bad), 'bad-request');
      }
    });
  });
}
