/**
 * The cloud's answers to a gateway: grants, receipts, refusals; and that an announcement is kept.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createGatewayService } from '#functions/gateway/service.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { uploadResponse } from '#shared/gateway-api.ts';
import { silentLogger } from '#shared/log.ts';

const tenant = 'hospital';
const pack = {
  studyInstanceUid: '1.2.3',
  seriesInstanceUid: '1.2.3.4',
  packId: '0197a000-0000-7000-8000-000000000001',
  lengthBytes: 1000,
  sha256: 'ab'.repeat(32),
  instanceCount: 2,
};

let folder: string;
let archive: Archive;
let service: (request: Request) => Promise<Response>;
const granted: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  archive = {
    index: await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false }),
    packs: createDiskPackStore({ root: join(folder, 'packs') }),
  };
  service = createGatewayService({
    archive,
    grantRead: async (key) => ({ url: `https://store.example/${key}`, headers: {} }),
    grantUpload: async (key) => {
      granted.push(key);
      return { url: `https://store.example/${key}`, headers: { 'If-None-Match': '*' } };
    },
    tenantOf: () => tenant,
    nowMs: () => 1_000_000,
    log: silentLogger,
  });
  granted.length = 0;
});

afterEach(async () => {
  await archive.index.close();
  await rm(folder, { recursive: true });
});

const post = (path: string, body: unknown, contentType = 'application/json'): Promise<Response> =>
  service(
    new Request(`http://cloud${path}`, {
      method: 'POST',
      headers: { 'content-type': contentType },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
  );

describe('POST /gateway/uploads', () => {
  it('takes nothing that a page of another origin could send as a form', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=a', '']) {
      expect((await post('/gateway/uploads', { packs: [pack] }, type)).status).toBe(415);
    }
    expect(granted).toEqual([]);
    expect((await post('/gateway/uploads', { packs: [pack] }, 'application/json; charset=utf-8')).status).toBe(200);
  });

  it('grants a PUT to the key of the pack and keeps what was announced', async () => {
    const response = await post('/gateway/uploads', { packs: [pack] });
    expect(response.status).toBe(200);
    const { packs, serverTimeMs } = uploadResponse.parse(await response.json());
    expect(serverTimeMs).toBe(1_000_000);
    expect(packs).toEqual([
      {
        kind: 'put',
        packId: pack.packId,
        url: `https://store.example/hospital/1.2.3/1.2.3.4/${pack.packId}.zip`,
        headers: { 'If-None-Match': '*' },
        expiresAtMs: 1_900_000,
      },
    ]);
    expect(await archive.index.getPack(tenant, pack)).toMatchObject({
      state: 'sealed',
      sha256: pack.sha256,
      lengthBytes: 1000,
      instanceCount: 2,
    });
  });

  it('answers with the receipt when the pack is archived already, and grants nothing', async () => {
    await post('/gateway/uploads', { packs: [pack] });
    await archive.index.updatePack(tenant, pack, ['sealed'], { state: 'archived', archivedAtMs: 5 });
    granted.length = 0;
    const { packs } = uploadResponse.parse(await (await post('/gateway/uploads', { packs: [pack] })).json());
    expect(packs).toEqual([
      { kind: 'archived', packId: pack.packId, receipt: { sha256: pack.sha256, instanceCount: 2, archivedAtMs: 5 } },
    ]);
    expect(granted).toEqual([]);
  });

  it('rejects the same pack with other bytes', async () => {
    await post('/gateway/uploads', { packs: [pack] });
    granted.length = 0;
    const { packs } = uploadResponse.parse(
      await (await post('/gateway/uploads', { packs: [{ ...pack, sha256: 'cd'.repeat(32) }] })).json(),
    );
    expect(packs[0]?.kind).toBe('rejected');
    expect(granted).toEqual([]);
  });

  it.each([
    ['no JSON', '{', /not JSON/],
    ['no packs', { packs: [] }, /packs/],
    ['an identifier that is no UUIDv7', { packs: [{ ...pack, packId: '../../x' }] }, /packId/],
    ['an upper-case checksum', { packs: [{ ...pack, sha256: 'AB'.repeat(32) }] }, /sha256/],
    ['more than a pack may have', { packs: [{ ...pack, lengthBytes: 7e10 }] }, /lengthBytes/],
    ['too many packs', { packs: Array.from({ length: 101 }, () => pack) }, /packs/],
  ])('answers 400 with a sentence to %s', async (_, body, sentence) => {
    const response = await post('/gateway/uploads', body);
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(((await response.json()) as { detail: string }).detail).toMatch(sentence);
  });

  it('answers 413 to a body without end, 405 to GET, 404 elsewhere', async () => {
    expect((await post('/gateway/uploads', `"${'x'.repeat(1024 * 1024)}"`)).status).toBe(413);
    expect((await service(new Request('http://cloud/gateway/uploads'))).status).toBe(405);
    expect((await post('/gateway/other', {})).status).toBe(404);
  });
});

describe('POST /gateway/uploads/status', () => {
  it('tells pending, archived and rejected apart', async () => {
    const ids = ['1', '2', '3', '4'].map((n) => pack.packId.replace(/1$/, n)) as [string, string, string, string];
    await post('/gateway/uploads', { packs: ids.slice(0, 3).map((packId) => ({ ...pack, packId })) });
    await archive.index.updatePack(tenant, { ...pack, packId: ids[1] }, ['sealed'], {
      state: 'archived',
      archivedAtMs: 7,
    });
    await archive.index.updatePack(tenant, { ...pack, packId: ids[2] }, ['sealed'], {
      state: 'rejected',
      reason: 'Its CRC is wrong.',
    });
    const response = await post('/gateway/uploads/status', { packs: ids.map((packId) => ({ ...pack, packId })) });
    const { packs } = (await response.json()) as { packs: { kind: string; reason?: string }[] };
    expect(packs.map((p) => p.kind)).toEqual(['pending', 'archived', 'rejected', 'pending']);
    expect(packs[2]?.reason).toBe('Its CRC is wrong.');
  });
});
