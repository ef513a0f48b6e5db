/**
 * A gateway's cache with a cloud behind it: real archives on disk, the cloud's gateway service and object store on a real socket,
 * whose answers a test can count, hold back, spoil or refuse. The two call their tenant by different names.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskPackStore, type DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { PackTurns } from '#edge-gateway/cache/pack-turns.ts';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import { createCloudReader } from '#edge-gateway/recall/cloud-reader.ts';
import { createRecall, type Recall, type RecallOptions } from '#edge-gateway/recall/recall.ts';
import { createGatewayService } from '#functions/gateway/service.ts';
import { createObjectStore } from '#infra/local/object-store.ts';
import { createSignedUrls } from '#infra/local/signed-urls.ts';
import { indexInstances } from '#shared/archive/ingest.ts';
import { inspectPack } from '#shared/archive/inspect.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { PackRecord, PackRef } from '#shared/archive/records.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';

export const tenant = 'hospital';

/** What the cloud does instead of answering: gives an answer itself, or none and lets the real one through. */
export type Trick = (request: Request, answer: () => Promise<Response>) => Promise<Response> | undefined;

export interface Site {
  readonly cloud: ArchiveFixture;
  readonly index: SqliteIndex;
  readonly packs: DiskPackStore;
  readonly recall: Recall;
  /** Method and path of every request that reached the cloud; of objects their last part. */
  readonly asked: string[];
  trick: Trick | undefined;
  roomBytes: number;
  /** What making room waits for. */
  makeRoom: (() => Promise<unknown>) | undefined;
  readonly turns: PackTurns;
  nowMs: number;
  /** Packs of the cloud here as well, bytes and all, as if this gateway had sent them. */
  bringHere(packs: readonly PackRef[]): Promise<void>;
  /** As eviction does it. */
  evict(packs: readonly PackRef[]): Promise<void>;
  record(pack: PackRef): Promise<PackRecord | undefined>;
  /** Requests for objects of this kind. */
  gets(suffix: '.zip' | '.manifest.zst'): number;
  /** The cloud is gone, or there again, at the same address. */
  stopCloud(): Promise<void>;
  startCloud(): Promise<void>;
  close(): Promise<void>;
}

export interface SiteOptions {
  /** Part 10 files that the cloud has. */
  readonly instances: readonly Uint8Array[];
  readonly packSize?: number;
  readonly line?: RecallOptions['line'];
  /** Without sockets between the two: for thousands of questions. */
  readonly inProcess?: boolean;
}

export async function openSite({ instances, packSize, line, inProcess = false }: SiteOptions): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), 'archipel-recall-'));
  const cloud = await makeArchive(instances, packSize === undefined ? {} : { packSize });
  let host: HttpHost | undefined;
  let origin = '';
  const urls = createSignedUrls(folder, () => origin);
  const gatewayService = createGatewayService({
    archive: cloud.archive,
    grantUpload: async (key, expected) => urls.signPut(key, expected),
    grantRead: async (key, expiresAtMs) => urls.signGet(key, expiresAtMs),
    tenantOf: () => cloud.tenant,
    nowMs: Date.now,
    log: silentLogger,
  });
  const objects = createObjectStore({
    packs: cloud.archive.packs,
    urls,
    arrived: async () => {},
    nowMs: Date.now,
    log: silentLogger,
  });
  const service = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    const isObject = pathname.startsWith('/objects/');
    site.asked.push(isObject ? `${request.method} ${pathname.split('/').at(-1)}` : `${request.method} ${pathname}`);
    const answer = () => (isObject ? objects(request) : gatewayService(request));
    return (await site.trick?.(request, answer)) ?? answer();
  };
  const start = async (port: number): Promise<void> => {
    host = await serveHttp({ host: '127.0.0.1', port, service, log: silentLogger });
    origin = `http://127.0.0.1:${host.port}`;
  };
  await start(0);
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  const packs = createDiskPackStore({ root: join(folder, 'packs') });
  const turns = new PackTurns();
  const recall = createRecall({
    index,
    packs,
    reads: packs,
    turns,
    cloud: inProcess
      ? createCloudReader(origin, (...request) => service(new Request(...request)))
      : createCloudReader(origin),
    hasRoom: async (bytes) => {
      await site.makeRoom?.();
      return bytes <= site.roomBytes;
    },
    nowMs: () => site.nowMs,
    log: silentLogger,
    // A busy machine is not what is tested here.
    line: { waitMs: 20_000, firstProbeMs: 20, ...line },
  });

  const site: Site = {
    cloud,
    index,
    packs,
    recall,
    asked: [],
    trick: undefined,
    roomBytes: Number.POSITIVE_INFINITY,
    makeRoom: undefined,
    turns,
    nowMs: 1_000_000,
    async bringHere(refs) {
      for (const ref of refs) {
        const record = (await cloud.archive.index.getPack(cloud.tenant, ref)) as PackRecord;
        const expected = { lengthBytes: record.lengthBytes, sha256: record.sha256 ?? '' };
        const key = packKey(tenant, ref);
        await packs.create(key, await cloud.archive.packs.read(packKey(cloud.tenant, ref)), expected);
        const { instances: found } = await inspectPack(packs, key, { tenant, ref, ...expected });
        await indexInstances(index, found);
        await index.createPack({ ...record, tenant });
      }
    },
    async evict(refs) {
      for (const ref of refs) {
        await index.updatePack(tenant, ref, ['archived'], { evictedAtMs: site.nowMs });
        await packs.delete(packKey(tenant, ref));
      }
    },
    record: (pack) => index.getPack(tenant, pack),
    gets: (suffix) => site.asked.filter((line) => line.startsWith('GET') && line.endsWith(suffix)).length,
    stopCloud: async () => host?.close(0),
    startCloud: () => start(Number(new URL(origin).port)),
    async close() {
      await recall.close();
      await host?.close(0);
      await index.close();
      await cloud.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return site;
}

export const keyOf = (pack: PackRef): string => packKey(tenant, pack);
export const manifestKeyOf = (pack: PackRef): string => manifestKey(tenant, pack);
