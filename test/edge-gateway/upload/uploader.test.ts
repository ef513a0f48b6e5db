/**
 * The uploader against a scripted cloud on a real socket: whatever the line or the cloud does, every pack ends archived,
 * its bytes are created once, and nothing is believed that was not confirmed.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createCloudClient } from '#edge-gateway/upload/cloud-client.ts';
import { ServerClock } from '#edge-gateway/upload/server-clock.ts';
import { startUploader, type Uploader, type UploaderOptions } from '#edge-gateway/upload/uploader.ts';
import { packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord, PackState, UploadPriority } from '#shared/archive/records.ts';
import { MAX_PACK_BYTES, type StatusRequest, uploadRequest } from '#shared/gateway-api.ts';
import { silentLogger } from '#shared/log.ts';

const tenant = 'hospital';
const bytesOf = (n: number): Buffer => Buffer.alloc(1000 + n, `pack ${n} `);

let folder: string;
let archive: { index: SqliteIndex; packs: Archive['packs'] };
let server: Server;
let origin: string;
let uploader: Uploader | undefined;

/** The scripted cloud: what it holds, and what it does instead of answering, taken from the front for each request. */
let objects: Map<string, Buffer>;
let created: number;
let tricks: ('ok' | '500' | 'cut' | 'cut-after-storing' | 'garbage' | '403')[];
let receiptSha256: string | undefined;
let archivedAfterPolls: number;
/** What the cloud's clock shows, and until when its grants are good. */
let serverNowMs: () => number;
let grantExpiresAtMs: () => number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-'));
  archive = {
    index: await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false }),
    packs: createDiskPackStore({ root: join(folder, 'packs') }),
  };
  objects = new Map();
  created = 0;
  tricks = [];
  receiptSha256 = undefined;
  archivedAfterPolls = 0;
  serverNowMs = Date.now;
  grantExpiresAtMs = () => serverNowMs() + 900_000;
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  await uploader?.close();
  uploader = undefined;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await archive.index.close();
  await rm(folder, { recursive: true });
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const trick = tricks.shift() ?? 'ok';
  const json = (value: unknown): void =>
    void response.setHeader('Content-Type', 'application/json').end(JSON.stringify(value));
  if (trick === '500' || trick === '403') {
    response.statusCode = Number(trick);
    return json({ detail: 'Something is wrong here.' });
  }
  if (trick === 'garbage') return void response.end('<html>');
  if (trick === 'cut') return void request.socket.destroy();
  if (request.method === 'PUT') {
    const name = request.url ?? '';
    const isThere = objects.has(name);
    if (!isThere) {
      objects.set(name, body);
      created++;
    }
    if (trick === 'cut-after-storing') return void request.socket.destroy();
    response.statusCode = isThere ? 412 : 200;
    return void response.end();
  }
  if (request.url === '/gateway/uploads') {
    const parsed = uploadRequest.safeParse(JSON.parse(body.toString()));
    if (!parsed.success) {
      response.statusCode = 400;
      return json({ detail: 'The request is not as the contract says.' });
    }
    const { packs } = parsed.data;
    const grant = (packId: string) => ({
      kind: 'put',
      packId,
      url: `${origin}/objects/${packId}`,
      headers: { 'If-None-Match': '*' },
      expiresAtMs: grantExpiresAtMs(),
    });
    return json({ serverTimeMs: serverNowMs(), packs: packs.map(({ packId }) => grant(packId)) });
  }
  const { packs } = JSON.parse(body.toString()) as StatusRequest;
  const isArchived = archivedAfterPolls-- <= 0;
  return json({
    serverTimeMs: serverNowMs(),
    packs: packs.map(({ packId }) => {
      const object = objects.get(`/objects/${packId}`);
      if (object === undefined || !isArchived) return { kind: 'pending', packId };
      const sha256 = receiptSha256 ?? createHash('sha256').update(object).digest('hex');
      return { kind: 'archived', packId, receipt: { sha256, instanceCount: 1, archivedAtMs: 77 } };
    }),
  });
}

const settings: UploaderOptions['settings'] = {
  parallel: 3,
  kilobytesPerSecond: undefined,
  hours: [],
  partBytes: 16 * 1024 * 1024,
  multipartAboveBytes: 100 * 1024 * 1024,
};

type StartOptions = Partial<Omit<UploaderOptions, 'settings'>> & { settings?: Partial<UploaderOptions['settings']> };

async function seal(n: number, priority?: UploadPriority): Promise<PackRecord> {
  const bytes = bytesOf(n);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  const packId = `0197a000-0000-7000-8000-${String(n).padStart(12, '0')}`;
  const record: PackRecord = {
    tenant,
    studyInstanceUid: '1.2',
    seriesInstanceUid: `1.2.${n}`,
    packId,
    state: 'sealed',
    instanceCount: 1,
    lengthBytes: bytes.length,
    sha256,
    createdAtMs: 1,
    ...(priority === undefined ? {} : { priority }),
  };
  await archive.packs.create(packKey(tenant, record), bytes, { lengthBytes: bytes.length, sha256 });
  await archive.index.createPack(record);
  return record;
}

function start(options: StartOptions = {}): Uploader {
  const clock = new ServerClock({ nowMs: Date.now, log: silentLogger });
  uploader = startUploader({
    tenant,
    archive,
    cloud: createCloudClient({ cloudUrl: origin, clock }),
    clock,
    log: silentLogger,
    nowMs: Date.now,
    random: () => 0,
    statusIntervalMs: 10,
    ...options,
    settings: { ...settings, ...options.settings },
  });
  return uploader;
}

async function untilAll(records: readonly PackRecord[], state: PackState): Promise<void> {
  for (;;) {
    const now = await Promise.all(records.map((record) => archive.index.getPack(tenant, record)));
    if (now.every((record) => record?.state === state)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe('uploading', () => {
  it('brings every sealed pack to the cloud, byte for byte, and marks it archived by the receipt', async () => {
    const records = await Promise.all(Array.from({ length: 120 }, (_, n) => seal(n)));
    const { report } = start();
    await untilAll(records, 'archived');
    expect(created).toBe(120);
    expect(objects.get(`/objects/${records[7]?.packId}`)).toEqual(bytesOf(7));
    expect((await archive.index.getPack(tenant, records[0] as PackRecord))?.archivedAtMs).toBe(77);
    expect(report()).toMatchObject({ lastError: undefined, cloudReachable: true });
  });

  it('has what was deleted since the receipt hidden before and after the pack is marked archived', async () => {
    const record = await seal(1);
    const asked: unknown[] = [];
    start({
      hideDeleted: async ({ state, archivedAtMs }) => {
        asked.push([state, archivedAtMs, (await archive.index.getPack(tenant, record))?.state]);
      },
    });
    await untilAll([record], 'archived');
    await expect
      .poll(() => asked.slice(-2))
      .toEqual([
        ['archived', 77, 'sent'],
        ['archived', 77, 'archived'],
      ]);
  });

  it('takes up what a restart finds sealed or sent', async () => {
    const [one, two] = [await seal(1), await seal(2)];
    objects.set(`/objects/${two.packId}`, bytesOf(2));
    await archive.index.updatePack(tenant, two, ['sealed'], { state: 'sent', sentAtMs: 1 });
    start();
    await untilAll([one, two], 'archived');
    expect(created).toBe(1);
  });

  it('hears of new packs at once when it is woken', async () => {
    const { wake } = start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const record = await seal(1);
    wake();
    await untilAll([record], 'archived');
  });

  it.each(['500', 'cut', 'garbage', '403', 'cut-after-storing'] as const)(
    'tries again after %s, at each step, and creates once',
    async (trick) => {
      for (let step = 0; step < 3; step++) {
        const record = await seal(100 + step);
        tricks = [...Array.from({ length: step }, () => 'ok' as const), trick];
        // A 200 that meant nothing shows only by the silence after it.
        start({ resendAfterMs: 100 });
        await untilAll([record], 'archived');
        await uploader?.close();
      }
      expect(created).toBe(3);
    },
  );

  it('says what is wrong while the cloud is away, and that all is well when it is back', async () => {
    tricks = Array.from({ length: 20 }, () => 'cut');
    const record = await seal(1);
    const { report } = start();
    while (report().lastError === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(report()).toMatchObject({ lastError: 'The cloud could not be reached.', cloudReachable: false });
    await untilAll([record], 'archived');
    expect(report()).toMatchObject({ lastError: undefined, cloudReachable: true });
  });

  it('announces again what was sent and never confirmed', async () => {
    const record = await seal(1);
    archivedAfterPolls = 12;
    start({ resendAfterMs: 20 });
    await untilAll([record], 'archived');
    expect(created).toBe(1);
  });

  it('does not believe a receipt for other bytes', async () => {
    receiptSha256 = '00'.repeat(32);
    const record = await seal(1);
    start();
    await untilAll([record], 'rejected');
  });

  it('goes on with other packs when one cannot be read', async () => {
    const [bad, good] = [await seal(1), await seal(2)];
    await archive.packs.delete(packKey(tenant, bad));
    const { report } = start();
    await untilAll([good], 'archived');
    expect(report().lastError).toBeDefined();
    expect((await archive.index.getPack(tenant, bad))?.state).toBe('sealed');
  });

  it('brings the others to the cloud when it refuses to hear of one', async () => {
    const before = await Promise.all(Array.from({ length: 5 }, (_, n) => seal(n)));
    const bad = await seal(5);
    await archive.index.updatePack(tenant, bad, ['sealed'], { lengthBytes: MAX_PACK_BYTES + 1 });
    const behind = await Promise.all(Array.from({ length: 70 }, (_, n) => seal(6 + n)));
    const { report } = start();
    await untilAll([...before, ...behind], 'archived');
    expect(report().lastError).toContain('400');
    expect((await archive.index.getPack(tenant, bad))?.state).toBe('sealed');
  });

  it('lets no new pack wait for one that fails again and again', async () => {
    const bad = await seal(1);
    await archive.packs.delete(packKey(tenant, bad));
    // After its first failure it would have a quarter of an hour to wait.
    const { wake, report } = start({ random: () => 1000 });
    while (report().lastError === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    const record = await seal(2);
    wake();
    await untilAll([record], 'archived');
    expect(report().lastError).toBeDefined();
  });

  it('announces again what was sent before the clock was set back', async () => {
    const record = await seal(1);
    await archive.index.updatePack(tenant, record, ['sealed'], { state: 'sent', sentAtMs: Date.now() + 1e12 });
    start();
    await untilAll([record], 'archived');
    expect(created).toBe(1);
  });

  it('sends only what is urgent outside the hours, and says that this is why', async () => {
    const hour = (new Date().getHours() + 12) % 24;
    const text = `${String(hour).padStart(2, '0')}:00`;
    const [routine, stat] = [await seal(1), await seal(2, 'stat')];
    const { report } = start({ settings: { hours: [{ from: text, to: text.replace('00', '01') }] } });
    await untilAll([stat], 'archived');
    expect((await archive.index.getPack(tenant, routine))?.state).toBe('sealed');
    expect(report()).toMatchObject({ isUploadTime: false, lastError: undefined });
  });

  it('does not wait for a long back-off when something urgent comes', async () => {
    tricks = Array.from({ length: 3 }, () => 'cut');
    const routine = await seal(1);
    let slow = true;
    // Half an hour, until something urgent limits it.
    const { wake, report } = start({ random: () => (slow ? 0.99 : 0), retryCapMs: 1_800_000 });
    while (report().lastError === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    slow = false;
    const stat = await seal(2, 'stat');
    wake(stat);
    await untilAll([routine, stat], 'archived');
  });

  it.each([-2, 2])('uses grants by the cloud\u2019s clock on a machine whose own is %i hours off', async (hours) => {
    serverNowMs = () => Date.now() + hours * 3_600_000;
    const records = [await seal(1), await seal(2)];
    const { report } = start();
    await untilAll(records, 'archived');
    expect(created).toBe(2);
    expect(Math.round((report().clockSkewMs ?? 0) / 60_000)).toBe(hours * 60);
  });

  it('asks for another grant when one has expired before its turn', async () => {
    let asked = 0;
    grantExpiresAtMs = () => serverNowMs() + (asked++ === 0 ? 0 : 900_000);
    const record = await seal(1);
    start();
    await untilAll([record], 'archived');
    expect(asked).toBe(2);
  });

  it('asks the index for more only when there may be more, with every slot taken', async () => {
    const records = await Promise.all(Array.from({ length: 100 }, (_, n) => seal(n)));
    let looks = 0;
    const index = new Proxy(archive.index, {
      get(target, name) {
        if (name === 'packsToUpload') looks++;
        return Reflect.get(target, name) as unknown;
      },
    });
    const bytes = archive.packs;
    // Nobody is let go on before everybody who may has begun.
    let begun = 0;
    let letGo = (): void => {};
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const stream: typeof bytes.stream = async (key, range) => {
      if (++begun === 32) setTimeout(letGo, 200);
      await gate;
      return bytes.stream(key, range);
    };
    start({ archive: { index, packs: { stream } }, settings: { parallel: 32 } });
    await untilAll(records, 'archived');
    expect(looks).toBeLessThan(600);
  });
});
