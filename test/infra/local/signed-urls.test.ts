/**
 * A presigned URL lets its holder do one thing once: everything else is refused with a sentence.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createObjectStore } from '#infra/local/object-store.ts';
import { createSignedUrls, type SignedUrls } from '#infra/local/signed-urls.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import { silentLogger } from '#shared/log.ts';

const key = 'hospital/1.2.3/1.2.3.4/0197a000-0000-7000-8000-000000000001.zip';
const body = Buffer.from('the bytes of a pack');
const sha256 = createHash('sha256').update(body).digest('hex');

let folder: string;
let packs: PackStore;
let urls: SignedUrls;
let arrived: string[];
let put: (
  url: string,
  headers: Record<string, string>,
  bytes?: Uint8Array<ArrayBuffer>,
  method?: string,
) => Promise<Response>;
let nowMs = 1_000;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  packs = createDiskPackStore({ root: join(folder, 'packs') });
  urls = createSignedUrls(folder, () => 'http://cloud');
  arrived = [];
  nowMs = 1_000;
  const store = createObjectStore({
    packs,
    urls,
    arrived: async (message) => void arrived.push(message.key),
    nowMs: () => nowMs,
    log: silentLogger,
  });
  put = (url, headers, bytes = body, method = 'PUT') =>
    store(
      new Request(url, {
        method,
        headers: { 'Content-Length': String(bytes.length), ...headers },
        ...(method === 'GET' ? {} : { body: bytes }),
      }),
    );
});

afterEach(() => rm(folder, { recursive: true }));

const grant = () => urls.signPut(key, { lengthBytes: body.length, sha256, expiresAtMs: 2_000 });
const sentence = async (response: Response): Promise<string> => ((await response.json()) as { detail: string }).detail;

describe('a granted PUT', () => {
  it('creates the object and tells the queue', async () => {
    const { url, headers } = grant();
    expect((await put(url, headers)).status).toBe(200);
    expect(Buffer.from(await packs.read(key))).toEqual(body);
    expect(arrived).toEqual([key]);
  });

  it('answers 412 the second time, replaces nothing, and tells the queue again in case the first word was lost', async () => {
    const { url, headers } = grant();
    await put(url, headers);
    expect((await put(url, headers)).status).toBe(412);
    expect(Buffer.from(await packs.read(key))).toEqual(body);
    expect(arrived).toEqual([key, key]);
  });

  it('survives a restart of the store: the signing key is kept', async () => {
    const { url, headers } = grant();
    urls = createSignedUrls(folder, () => 'http://cloud');
    const again = createObjectStore({ packs, urls, arrived: async () => {}, nowMs: () => nowMs, log: silentLogger });
    const response = await again(
      new Request(url, { method: 'PUT', headers: { ...headers, 'Content-Length': String(body.length) }, body }),
    );
    expect(response.status).toBe(200);
  });

  it('stores nothing when the bytes are not those of the checksum', async () => {
    const { url, headers } = grant();
    const other = Buffer.from(body);
    other[3] = 0;
    const response = await put(url, headers, other);
    expect(response.status).toBe(400);
    expect(await packs.head(key)).toBeUndefined();
    expect(arrived).toEqual([]);
  });
});

describe('what a grant does not allow', () => {
  const late = (url: string, headers: Record<string, string>): Promise<Response> => {
    nowMs = 2_000;
    return put(url, headers);
  };

  it.each<[string, (url: string, headers: Record<string, string>) => Promise<Response>, number]>([
    ['a PUT after its expiry', (url, headers) => late(url, headers), 403],
    ['another key', (url, headers) => put(url.replace('1.2.3.4', '1.2.3.5'), headers), 403],
    ['a key outside', (url, headers) => put(url.replace('1.2.3.4', '..%2F..%2Fx'), headers), 403],
    ['another length in the URL', (url, headers) => put(url.replace('length=19', 'length=20'), headers), 403],
    ['a later expiry', (url, headers) => put(url.replace('expires=2000', 'expires=9000'), headers), 403],
    ['a cut signature', (url, headers) => put(url.slice(0, -1), headers), 403],
    ['another length of the body', (url, headers) => put(url, headers, Buffer.from('short')), 403],
    [
      'no If-None-Match',
      (url, headers) => put(url, { 'x-amz-checksum-sha256': headers['x-amz-checksum-sha256'] ?? '' }),
      403,
    ],
    ['another checksum header', (url, headers) => put(url, { ...headers, 'x-amz-checksum-sha256': 'AAAA' }), 403],
    ['another method', (url, headers) => put(url, headers, body, 'DELETE'), 405],
    ['reading', (url, headers) => put(url, headers, body, 'GET'), 403],
  ])('%s', async (_, attempt, status) => {
    const { url, headers } = grant();
    const response = await attempt(url, headers);
    expect(response.status).toBe(status);
    expect(await sentence(response)).toMatch(/[a-z]{3}.*\.$/);
    expect(await packs.head(key)).toBeUndefined();
    expect(arrived).toEqual([]);
  });
});

describe('a granted GET', () => {
  const get = (url: string, headers: Record<string, string> = {}): Promise<Response> =>
    put(url, headers, new Uint8Array(), 'GET');
  const stored = async (): Promise<string> => {
    await packs.create(key, body, { lengthBytes: body.length, sha256 });
    return urls.signGet(key, 2_000).url;
  };

  it('gives the object, whole or a range of it', async () => {
    const url = await stored();
    const whole = await get(url);
    expect([whole.status, whole.headers.get('content-length')]).toEqual([200, String(body.length)]);
    expect(Buffer.from(await whole.arrayBuffer())).toEqual(body);
    for (const [range, from, to] of [
      ['bytes=4-8', 4, 9],
      ['bytes=10-', 10, body.length],
      ['bytes=-3', body.length - 3, body.length],
    ] as const) {
      const part = await get(url, { range });
      expect([part.status, part.headers.get('content-range')]).toEqual([206, `bytes ${from}-${to - 1}/${body.length}`]);
      expect(Buffer.from(await part.arrayBuffer())).toEqual(body.subarray(from, to));
    }
    expect((await get(url, { range: 'bytes=900-' })).status).toBe(416);
    expect(arrived).toEqual([]);
  });

  it('gives nothing else, not later, and does nothing else', async () => {
    const url = await stored();
    const other = key.replace(/1\.zip$/, '2.zip');
    expect((await get(urls.signGet(other, 2_000).url)).status).toBe(404);
    expect((await get(url.replace('1.2.3.4', '1.2.3.5'))).status).toBe(403);
    expect((await get(url.replace('1.zip', '1.manifest.zst'))).status).toBe(403);
    expect((await get(url.replace('expires=2000', 'expires=9000'))).status).toBe(403);
    expect((await get(url.slice(0, -1))).status).toBe(403);
    expect((await put(url, {})).status).toBe(403);
    expect((await put(url, {}, body, 'DELETE')).status).toBe(405);
    nowMs = 2_000;
    expect((await get(url)).status).toBe(403);
  });
});
