/**
 * What every cloud's grants must do and must not, whatever signs them: `grantsContract` declares the tests; each implementation's own test
 * file calls it with a way to make an empty store with its grants.
 */
import { createHash, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { MultipartUploads } from '#functions/gateway/parts.ts';
import type { GrantRead } from '#functions/gateway/reads.ts';
import type { GrantUpload } from '#functions/gateway/service.ts';
import { manifestKey, newPackId, packKey } from '#shared/archive/keys.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { MIN_PART_BYTES } from '#shared/gateway-api.ts';

export interface GrantsUnderTest {
  readonly packs: PackStore;
  readonly grantUpload: GrantUpload;
  readonly grantRead: GrantRead;
  readonly multipart: MultipartUploads;
  readonly nowMs: () => number;
  /** Sets the clocks of the store and of who grants forward. */
  readonly pass: (ms: number) => void;
  /** As somebody does who holds a grant: nothing but what is given goes over the wire, and a Content-Length. */
  readonly send: (
    method: string,
    url: string,
    headers: Readonly<Record<string, string>>,
    body?: Uint8Array,
  ) => Promise<{ readonly status: number; readonly bytes: Buffer }>;
  cleanup(): Promise<void>;
}

const hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const newRef = () => ({
  studyInstanceUid: '1.2.3',
  seriesInstanceUid: '1.2.3.4',
  packId: newPackId(Date.now(), randomBytes(10)),
});
const LIFE_MS = 15 * 60_000;
const isRefusal = (status: number): boolean => status >= 400 && status < 500;

export function grantsContract(name: string, make: () => Promise<GrantsUnderTest>): void {
  describe(`${name} are grants`, () => {
    let under: GrantsUnderTest;
    beforeEach(async () => {
      under = await make();
    });
    afterEach(() => under.cleanup());

    const key = packKey('hospital', newRef());
    const body = randomBytes(1000);
    const grant = (lifeMs = LIFE_MS) =>
      under.grantUpload(key, { lengthBytes: body.length, sha256: hex(body), expiresAtMs: under.nowMs() + lifeMs });

    it('let their holder create the object, once', async () => {
      const { url, headers } = await grant();
      expect((await under.send('PUT', url, headers, body)).status).toBe(200);
      expect(Buffer.compare(await under.packs.read(key), body)).toBe(0);
      expect((await under.send('PUT', url, headers, body)).status).toBe(412);
      expect(Buffer.compare(await under.packs.read(key), body)).toBe(0);
    });

    it('let one of many win who use them at once', async () => {
      const { url, headers } = await grant();
      const answers = await Promise.all(Array.from({ length: 6 }, () => under.send('PUT', url, headers, body)));
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412, 412, 412]);
    });

    it('are of use until they expire, and not afterwards', async () => {
      const { url, headers } = await grant();
      under.pass(LIFE_MS - 2_000);
      const other = packKey('hospital', newRef());
      const later = await under.grantUpload(other, {
        lengthBytes: body.length,
        sha256: hex(body),
        expiresAtMs: under.nowMs() + 1_500,
      });
      expect((await under.send('PUT', later.url, later.headers, body)).status).toBe(200);
      under.pass(2_001);
      expect((await under.send('PUT', url, headers, body)).status).toBe(403);
      expect(await under.packs.head(key)).toBeUndefined();
    });

    const without = (headers: Record<string, string>, unwanted: string): Record<string, string> =>
      Object.fromEntries(Object.entries(headers).filter(([one]) => one.toLowerCase() !== unwanted));

    it.each<[string, (url: string, headers: Record<string, string>) => Promise<{ status: number }>]>([
      ['another key', (url, headers) => under.send('PUT', url.replace('1.2.3.4', '1.2.3.5'), headers, body)],
      [
        'the manifest beside it',
        (url, headers) => under.send('PUT', url.replace('.zip', '.manifest.zst'), headers, body),
      ],
      ['another tenant', (url, headers) => under.send('PUT', url.replace('hospital', 'clinic'), headers, body)],
      ['reading', (url, headers) => under.send('GET', url, headers)],
      ['deleting', (url, headers) => under.send('DELETE', url, headers)],
      ['POST', (url, headers) => under.send('POST', url, headers, body)],
      ['fewer bytes', (url, headers) => under.send('PUT', url, headers, body.subarray(1))],
      ['more bytes', (url, headers) => under.send('PUT', url, headers, Buffer.concat([body, body]))],
      ['other bytes', (url, headers) => under.send('PUT', url, headers, randomBytes(body.length))],
      [
        'other bytes with their own checksum',
        (url, headers) => {
          const others = randomBytes(body.length);
          const sum = Buffer.from(hex(others), 'hex').toString('base64');
          return under.send('PUT', url, { ...headers, 'x-amz-checksum-sha256': sum }, others);
        },
      ],
      ['no checksum', (url, headers) => under.send('PUT', url, without(headers, 'x-amz-checksum-sha256'), body)],
      ['replacing', (url, headers) => under.send('PUT', url, without(headers, 'if-none-match'), body)],
      [
        'another condition',
        (url, headers) =>
          under.send('PUT', url, { ...without(headers, 'if-none-match'), 'if-none-match': '"x"' }, body),
      ],
      ['a cut signature', (url, headers) => under.send('PUT', url.slice(0, -1), headers, body)],
      ['no signature', (url, headers) => under.send('PUT', url.split('?')[0] ?? '', headers, body)],
    ])('do not let anybody do else: %s', async (_, attempt) => {
      const { url, headers } = await grant();
      const { status } = await attempt(url, headers);
      expect(status).toSatisfy(isRefusal);
      expect(await under.packs.head(key)).toBeUndefined();
      expect((await under.send('PUT', url, headers, body)).status).toBe(200);
    });

    it('let their holder read one object, whole or in ranges', async () => {
      const ref = newRef();
      for (const one of [packKey('hospital', ref), manifestKey('hospital', ref)]) {
        await under.packs.create(one, body, { lengthBytes: body.length, sha256: hex(body) });
        const { url, headers } = await under.grantRead(one, under.nowMs() + LIFE_MS);
        expect(Buffer.compare((await under.send('GET', url, headers)).bytes, body)).toBe(0);
        const part = await under.send('GET', url, { ...headers, range: 'bytes=10-19' });
        expect([part.status, Buffer.compare(part.bytes, body.subarray(10, 20))]).toEqual([206, 0]);
        expect((await under.send('GET', url, { ...headers, range: 'bytes=1000-' })).status).toBe(416);
        expect((await under.send('PUT', url, headers, body)).status).toSatisfy(isRefusal);
        expect((await under.send('DELETE', url, headers)).status).toSatisfy(isRefusal);
        expect((await under.send('GET', url.replace('1.2.3.4', '1.2.3.5'), headers)).status).toBe(403);
        under.pass(LIFE_MS);
        expect((await under.send('GET', url, headers)).status).toBe(403);
      }
      const { url, headers } = await under.grantRead(packKey('hospital', newRef()), under.nowMs() + LIFE_MS);
      expect((await under.send('GET', url, headers)).status).toBe(404);
    });

    describe('in parts', () => {
      const bytes = randomBytes(MIN_PART_BYTES + 1000);
      const pieces = [bytes.subarray(0, MIN_PART_BYTES), bytes.subarray(MIN_PART_BYTES)];
      const wanted = { lengthBytes: bytes.length, partBytes: MIN_PART_BYTES };

      async function begin(): Promise<string> {
        const begun = await under.multipart.begin(key, wanted);
        if (begun === 'exists') throw new Error('it is there already');
        expect(begun.partBytes).toBe(MIN_PART_BYTES);
        return begun.uploadId;
      }
      const grantPart = (uploadId: string, number: number) =>
        under.multipart.grantPart(key, uploadId, number, {
          lengthBytes: pieces[number - 1]!.length,
          sha256: hex(pieces[number - 1]!),
          expiresAtMs: under.nowMs() + LIFE_MS,
        });
      async function put(uploadId: string, number: number): Promise<void> {
        const { url, headers } = await grantPart(uploadId, number);
        expect((await under.send('PUT', url, headers, pieces[number - 1])).status).toBe(200);
      }

      it('let an upload go on with what is missing, and make one object of it', async () => {
        const uploadId = await begin();
        await put(uploadId, 2);
        expect(await begin()).toBe(uploadId);
        expect([...(await under.multipart.list(key, uploadId))]).toEqual([[2, hex(pieces[1]!)]]);
        await put(uploadId, 1);
        // Its answer was lost, and it comes again.
        await put(uploadId, 1);
        expect(await under.packs.head(key)).toBeUndefined();
        expect(await under.multipart.complete(key, uploadId, pieces.map(hex))).toBe('created');
        expect(Buffer.compare(await under.packs.read(key), bytes)).toBe(0);
        expect(await under.multipart.begin(key, wanted)).toBe('exists');
        await expect(under.multipart.list(key, uploadId)).rejects.toMatchObject({ code: 'not-found' });
      });

      it('take no part of other bytes, of another size, in another place, or too late', async () => {
        const uploadId = await begin();
        const { url, headers } = await grantPart(uploadId, 2);
        const flipped = Buffer.from(pieces[1]!);
        flipped[77]! ^= 1;
        expect((await under.send('PUT', url, headers, flipped)).status).toBe(400);
        expect((await under.send('PUT', url, headers, flipped.subarray(1))).status).toBe(403);
        expect((await under.send('PUT', url, {}, pieces[1])).status).toBe(403);
        expect((await under.send('GET', url, headers)).status).toSatisfy(isRefusal);
        const elsewhere = url.replace(/partNumber=2|\/2\?/, (one) => one.replace('2', '1'));
        expect(elsewhere).not.toBe(url);
        expect((await under.send('PUT', elsewhere, headers, pieces[1])).status).toBe(403);
        under.pass(LIFE_MS);
        expect((await under.send('PUT', url, headers, pieces[1])).status).toBe(403);
        expect((await under.multipart.list(key, uploadId)).size).toBe(0);
      });

      it('are no concern of another key', async () => {
        const uploadId = await begin();
        const other = packKey('hospital', newRef());
        await expect(under.multipart.list(other, uploadId)).rejects.toMatchObject({ code: 'not-found' });
        await expect(under.multipart.complete(other, uploadId, [])).rejects.toMatchObject({ code: 'not-found' });
        await expect(under.multipart.list(key, '00'.repeat(16))).rejects.toMatchObject({ code: 'not-found' });
      });
    });
  });
}
