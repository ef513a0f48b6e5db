/**
 * A pack in parts, from announcement to object, through the gateway service and the store's own URLs: resumed without
 * sending again what is there, completed twice as once, and nothing but the right bytes in any place.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore, type DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { partBytesFor } from '#functions/gateway/parts.ts';
import { createGatewayService } from '#functions/gateway/service.ts';
import { createObjectStore } from '#infra/local/object-store.ts';
import { createPartStore, type PartStore } from '#infra/local/part-store.ts';
import { createSignedUrls, type SignedUrls } from '#infra/local/signed-urls.ts';
import { packKey } from '#shared/archive/keys.ts';
import { completeResponse, MIN_PART_BYTES, partsResponse, uploadResponse } from '#shared/gateway-api.ts';
import { silentLogger } from '#shared/log.ts';

const tenant = 'hospital';
const bytes = randomBytes(2 * MIN_PART_BYTES + 1000);
const hex = (part: Uint8Array): string => createHash('sha256').update(part).digest('hex');
const ref = {
  studyInstanceUid: '1.2',
  seriesInstanceUid: '1.2.3',
  packId: '0197a000-0000-7000-8000-000000000001',
};
const pack = { ...ref, lengthBytes: bytes.length, sha256: hex(bytes), instanceCount: 1 };
const multipart = { aboveBytes: 1000, partBytes: MIN_PART_BYTES };
const pieces = [0, 1, 2].map((i) => bytes.subarray(i * MIN_PART_BYTES, (i + 1) * MIN_PART_BYTES));
const named = pieces.map((piece, i) => ({ partNumber: i + 1, sha256: hex(piece) }));
const partsSha256 = hex(Buffer.concat(named.map(({ sha256 }) => Buffer.from(sha256, 'hex'))));

let folder: string;
let index: SqliteIndex;
let packs: DiskPackStore;
let urls: SignedUrls;
let arrived: string[];
let parts: PartStore;
let nowMs: number;

function open(): void {
  parts = createPartStore({
    folder: join(folder, 'uploads'),
    packs,
    urls,
    arrived: async ({ key }) => void arrived.push(key),
    nowMs: () => nowMs,
    log: silentLogger,
  });
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-parts-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  packs = createDiskPackStore({ root: join(folder, 'packs') });
  urls = createSignedUrls(folder, () => 'http://cloud');
  arrived = [];
  nowMs = Date.now();
  open();
});
afterEach(async () => {
  await index.close();
  rmSync(folder, { recursive: true, force: true });
});

async function post(path: string, body: unknown): Promise<Response> {
  const service = createGatewayService({
    archive: { index, packs },
    grantUpload: async (...args) => urls.signPut(...args),
    grantRead: async () => ({ url: 'http://cloud/', headers: {} }),
    multipart: parts,
    tenantOf: () => tenant,
    nowMs: () => nowMs,
    log: silentLogger,
  });
  const headers = { 'content-type': 'application/json' };
  return service(new Request(`http://cloud${path}`, { method: 'POST', headers, body: JSON.stringify(body) }));
}

const announce = async () =>
  uploadResponse.parse(await (await post('/gateway/uploads', { packs: [pack], multipart })).json()).packs[0];

async function begin(): Promise<string> {
  const answer = await announce();
  if (answer?.kind !== 'parts') throw new Error(`not in parts: ${answer?.kind}`);
  expect(answer.partBytes).toBe(MIN_PART_BYTES);
  return answer.uploadId;
}

const ask = async (uploadId: string) =>
  partsResponse.parse(
    await (await post('/gateway/uploads/parts', { ...ref, uploadId, partBytes: MIN_PART_BYTES, parts: named })).json(),
  ).parts;

const complete = (uploadId: string) =>
  post('/gateway/uploads/complete', { ...ref, uploadId, partCount: 3, partsSha256 });

async function put(grant: { url: string; headers: Record<string, string> }, body: Uint8Array): Promise<number> {
  const objects = createObjectStore({
    packs,
    urls,
    parts,
    arrived: async () => {},
    nowMs: () => nowMs,
    log: silentLogger,
  });
  const headers = { ...grant.headers, 'content-length': String(body.length) };
  return (await objects(new Request(grant.url, { method: 'PUT', headers, body: body as Uint8Array<ArrayBuffer> })))
    .status;
}

async function putAll(uploadId: string): Promise<void> {
  for (const [i, grant] of (await ask(uploadId)).entries()) {
    if (grant.kind === 'put') expect(await put(grant, pieces[i]!)).toBe(200);
  }
}

describe('an upload in parts', () => {
  it('becomes the object, bit by bit, and ingest hears of it', async () => {
    const uploadId = await begin();
    await putAll(uploadId);
    expect(completeResponse.parse(await (await complete(uploadId)).json()).result).toBe('created');
    expect(readFileSync(packs.pathOf(packKey(tenant, ref))).equals(bytes)).toBe(true);
    expect(arrived).toEqual([packKey(tenant, ref)]);
    expect(readdirSync(join(folder, 'uploads'))).toEqual([]);
  });

  it('goes on after a restart with what is missing, and says what is there', async () => {
    const uploadId = await begin();
    const [first] = await ask(uploadId);
    if (first?.kind !== 'put') throw new Error('no grant');
    expect(await put(first, pieces[0]!)).toBe(200);
    open();
    expect(await begin()).toBe(uploadId);
    expect((await ask(uploadId)).map(({ kind }) => kind)).toEqual(['confirmed', 'put', 'put']);
    // A part that comes again, because its answer was lost, is there.
    expect(await put(first, pieces[0]!)).toBe(200);
  });

  it('is completed once, however often that is asked for', async () => {
    const uploadId = await begin();
    await putAll(uploadId);
    expect((await complete(uploadId)).status).toBe(200);
    expect(completeResponse.parse(await (await complete(uploadId)).json()).result).toBe('exists');
    expect((await announce())?.kind).toBe('stored');
  });

  it('is not completed while a part is missing, or is another than was meant', async () => {
    const uploadId = await begin();
    expect((await complete(uploadId)).status).toBe(409);
    await putAll(uploadId);
    const other = { ...ref, uploadId, partCount: 3, partsSha256: 'ab'.repeat(32) };
    expect((await post('/gateway/uploads/complete', other)).status).toBe(409);
    expect((await post('/gateway/uploads/complete', { ...other, uploadId: '00'.repeat(16) })).status).toBe(404);
    expect(existsSync(packs.pathOf(packKey(tenant, ref)))).toBe(false);
  });

  it('takes no part with other bytes, and no fewer or more of them', async () => {
    const uploadId = await begin();
    const [first] = await ask(uploadId);
    if (first?.kind !== 'put') throw new Error('no grant');
    const flipped = Buffer.from(pieces[0]!);
    flipped[77]! ^= 1;
    expect(await put(first, flipped)).toBe(400);
    expect(await put(first, pieces[0]!.subarray(1))).toBe(403);
    expect((await ask(uploadId))[0]?.kind).toBe('put');
    expect(await put(first, pieces[0]!)).toBe(200);
  });

  it('believes the newest of two that send one part, and cuts the other off', async () => {
    const uploadId = await begin();
    const expected = { lengthBytes: MIN_PART_BYTES, sha256: hex(pieces[0]!) };
    const stalled = new ReadableStream<Uint8Array>({ start: (to) => to.enqueue(new Uint8Array(1000)) });
    const first = parts.put(`uploads/${uploadId}/1`, stalled, expected);
    const failed = expect(first).rejects.toMatchObject({ code: 'checksum-mismatch' });
    const body = new Blob([pieces[0]! as Uint8Array<ArrayBuffer>]).stream();
    expect(await parts.put(`uploads/${uploadId}/1`, body, expected)).toBe(true);
    await failed;
    expect((await ask(uploadId)).map(({ kind }) => kind)).toEqual(['confirmed', 'put', 'put']);
  });

  it('is no concern of who announced another pack, however well it knows its name', async () => {
    const uploadId = await begin();
    await putAll(uploadId);
    const other = { ...ref, packId: '0197a000-0000-7000-8000-000000000002' };
    expect((await post('/gateway/uploads', { packs: [{ ...pack, ...other }], multipart })).status).toBe(200);
    const wanted = { ...other, uploadId, partBytes: MIN_PART_BYTES, parts: named };
    expect((await post('/gateway/uploads/parts', wanted)).status).toBe(404);
    const ended = { ...other, uploadId, partCount: 3, partsSha256 };
    expect((await post('/gateway/uploads/complete', ended)).status).toBe(404);
    await expect(parts.complete(packKey(tenant, other), uploadId, [])).rejects.toMatchObject({ code: 'not-found' });
    expect((await complete(uploadId)).status).toBe(200);
    expect(readFileSync(packs.pathOf(packKey(tenant, ref))).equals(bytes)).toBe(true);
  });

  it('is told to ingest by the next start, when a crash came between object and event', async () => {
    const uploadId = await begin();
    await putAll(uploadId);
    await packs.adopt(packKey(tenant, ref), join(folder, 'uploads', uploadId, 'data'));
    open();
    await parts.sweep();
    expect(arrived).toEqual([packKey(tenant, ref)]);
    expect(readdirSync(join(folder, 'uploads'))).toEqual([]);
  });

  it('is removed when nobody has gone on with it for a week', async () => {
    const uploadId = await begin();
    await parts.sweep();
    expect(readdirSync(join(folder, 'uploads'))).toEqual([uploadId]);
    const weekAgo = new Date(nowMs - 8 * 24 * 60 * 60 * 1000);
    utimesSync(join(folder, 'uploads', uploadId, 'parts'), weekAgo, weekAgo);
    await parts.sweep();
    expect(readdirSync(join(folder, 'uploads'))).toEqual([]);
    expect((await complete(uploadId)).status).toBe(404);
  });
});

describe('the size of parts', () => {
  it('is what was wished for, within what S3 allows', () => {
    const mib = 1024 * 1024;
    expect(partBytesFor(200 * mib, 16 * mib)).toBe(16 * mib);
    expect(partBytesFor(200 * mib, 1)).toBe(MIN_PART_BYTES);
    expect(partBytesFor(64 * 1024 * mib, 5 * mib) * 10_000).toBeGreaterThanOrEqual(64 * 1024 * mib);
  });
});
