/**
 * The cloud on one machine: every row of the function table, mounted on node:http or on the queue, over a SQLite index and
 * a disk pack store. Composition root of the local cloud; it also is a legitimate small deployment.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Hono } from 'hono';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createSqliteQueue } from '#edge-gateway/cache/sqlite-queue.ts';
import { serveHttp } from '#edge-gateway/http/host.ts';
import { isOwnName } from '#edge-gateway/http/own-name.ts';
import { createViewerPages, type ViewerState } from '#edge-gateway/http/viewer-pages.ts';
import { createEraseService } from '#functions/erase/service.ts';
import { createGatewayService } from '#functions/gateway/service.ts';
import { createIngestStep, type PackArrived } from '#functions/ingest/step.ts';
import { createPurgeStep } from '#functions/purge/step.ts';
import { createRenderService } from '#functions/render/service.ts';
import { createRetrieveService } from '#functions/retrieve/service.ts';
import { createSearchService } from '#functions/search/service.ts';
import { createBatchReceiver } from '#functions/store/receiver.ts';
import { createStoreService } from '#functions/store/service.ts';
import { createVolumeService } from '#functions/volume/service.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { createEraser } from '#shared/dicomweb/erase.ts';
import { ArchiveError } from '#shared/errors.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import type { Logger } from '#shared/log.ts';
import { problemResponse } from '#shared/problem.ts';
import { type FunctionRow, functions } from '../functions.ts';
import { createObjectStore } from './object-store.ts';
import { createPartStore } from './part-store.ts';
import { type Pipeline, startPipeline } from './pipeline.ts';
import { type Schedule, startSchedule } from './schedule.ts';
import { createSignedUrls, OBJECTS_PATH } from './signed-urls.ts';

export interface LocalCloudOptions {
  readonly folder: string;
  readonly host: '127.0.0.1';
  /** 0: any free one. */
  readonly port: number;
  readonly tenant: string;
  readonly viewer: () => ViewerState;
  /** After so many days what is deleted can no longer be restored, and its bytes go. Default 30. */
  readonly purgeAfterDays?: number;
  /** Under which origin gateways reach it, where that is not its own: behind a proxy. */
  readonly publicOrigin?: () => string;
  readonly log: Logger;
}

export interface LocalCloud {
  readonly url: string;
  readonly archive: Archive;
  close(): Promise<void>;
}

type Service = (request: Request) => Promise<Response>;
type HttpRow = FunctionRow & { trigger: { kind: 'http' } };

/** Most of what ingest does is to wait for the disk, which takes several syncs at once as gladly as one. */
const INGEST_CONCURRENCY = 4;
const DAY_MS = 24 * 60 * 60 * 1000;
const PURGE_AFTER_DAYS = 30;
/** For what is on its way in by STOW-RS: of all requests, and therefore of one instance. */
const SCRATCH_BYTES = 16 * 1024 ** 3;
/** Longer than ingest takes for a pack; who stored it has most probably done it by then. */
const LOOK_AGAIN_MS = 5 * 60_000;
const SWEEP_INTERVAL_MS = 60 * 60 * 1000;
const RENDER_THREADS = 2;
const RENDER_TIMEOUT_MS = 10_000;
const RENDER_MEMORY_MB = 1024;
/** Of volumes that are kept for the next cut, and so of one: three of 512 x 512 x 300. */
const VOLUME_CACHE_BYTES = 512 * 1024 * 1024;

export async function startLocalCloud(options: LocalCloudOptions): Promise<LocalCloud> {
  const { folder, host, log } = options;
  const nowMs = Date.now;
  const tenantOf = (): string => options.tenant;
  mkdirSync(folder, { recursive: true });
  const index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: true });
  const packs = createDiskPackStore({ root: join(folder, 'packs') });
  const archive: Archive = { index, packs };
  const queue = createSqliteQueue<PackArrived>({ file: join(folder, 'queue.sqlite') });
  const renderPool = createRenderPool({
    threads: RENDER_THREADS,
    timeoutMs: RENDER_TIMEOUT_MS,
    memoryMb: RENDER_MEMORY_MB,
  });
  const volumePool = createVolumePool({
    threads: RENDER_THREADS,
    memoryMb: RENDER_MEMORY_MB,
    volumeLimitBytes: VOLUME_CACHE_BYTES,
  });
  let url = '';
  const urls = createSignedUrls(folder, options.publicOrigin ?? (() => url));

  const pipelines: Pipeline[] = [];
  const arrived = async (message: PackArrived): Promise<void> => {
    await queue.send(message);
    for (const pipeline of pipelines) pipeline.wake();
  };
  const multipart = createPartStore({ folder: join(folder, 'uploads'), packs, urls, arrived, nowMs, log });

  const receiver = await createBatchReceiver({
    archive,
    scratchFolder: join(folder, 'incoming'),
    scratchBytes: SCRATCH_BYTES,
    arrived: (message) => queue.send(message, { delayMs: LOOK_AGAIN_MS }),
    nowMs,
    log: log.child({ function: 'store' }),
  });
  const offered = ['search', 'retrieve', 'render', 'volume', 'store', 'erase'] as const;
  const dicomweb = { archive, tenantOf, render: renderPool.render, transcode: renderPool.transcode, log, offered };
  const grantUpload = async (...args: Parameters<typeof urls.signPut>) => urls.signPut(...args);
  const grantRead = async (...args: Parameters<typeof urls.signGet>) => urls.signGet(...args);
  const httpServices: Record<
    HttpRow['name'] & ('search' | 'render' | 'volume' | 'retrieve' | 'store' | 'gateway' | 'erase'),
    Service
  > = {
    search: createSearchService(dicomweb),
    render: createRenderService(dicomweb),
    volume: createVolumeService({ ...dicomweb, volumes: volumePool, volumeCacheBytes: VOLUME_CACHE_BYTES }),
    retrieve: createRetrieveService(dicomweb),
    store: createStoreService({ ...dicomweb, receiver }),
    erase: createEraseService({ ...dicomweb, eraser: createEraser(index, nowMs) }),
    gateway: createGatewayService({ archive, grantUpload, grantRead, multipart, tenantOf, nowMs, log }),
  };
  const steps = { ingest: createIngestStep({ archive, nowMs, log }) };
  const purge = createPurgeStep({
    archive,
    ingest: steps.ingest,
    purgeAfterMs: (options.purgeAfterDays ?? PURGE_AFTER_DAYS) * DAY_MS,
    nowMs,
    log: log.child({ function: 'purge' }),
  });

  for (const row of functions) {
    if (row.trigger.kind !== 'queue') continue;
    const { batch } = row.trigger;
    const concurrency = INGEST_CONCURRENCY;
    pipelines.push(
      startPipeline({ queue, step: steps.ingest, batch, concurrency, log: log.child({ function: row.name }) }),
    );
  }
  const schedules: Schedule[] = [];
  for (const row of functions) {
    if (row.trigger.kind !== 'schedule') continue;
    const run = (): Promise<void> => purge({ tenant: options.tenant });
    schedules.push(startSchedule(run, row.trigger.everyMinutes * 60_000, log.child({ function: row.name })));
  }
  const sweep = (): Promise<void> =>
    multipart.sweep().catch((error: unknown) => log.warn({ err: error }, 'uploads could not be looked through'));
  await sweep();
  const sweeping = setInterval(sweep, SWEEP_INTERVAL_MS).unref();
  const app = new Hono({ strict: false }); // with a slash at the end too, as the Service itself
  for (const row of functions) {
    if (row.trigger.kind !== 'http') continue;
    const service = httpServices[row.name as keyof typeof httpServices];
    app.on([...row.trigger.methods], [...row.trigger.paths], (context) => service(context.req.raw));
  }
  app.all('/dicomweb/*', (context) => httpServices.retrieve(context.req.raw));
  app.all('/gateway/*', (context) => httpServices.gateway(context.req.raw));
  const objects = createObjectStore({ packs, urls, parts: multipart, arrived, nowMs, log });
  app.all(`${OBJECTS_PATH}*`, (context) => objects(context.req.raw));
  const viewer = createViewerPages(options.viewer);
  app.all('*', (context) => viewer(context.req.raw));

  const service = async (request: Request): Promise<Response> =>
    isOwnName(request) ? app.fetch(request) : problemResponse(notByThisName(), log);
  const server = await serveHttp({ host, port: options.port, service, log });
  url = `http://${host}:${server.port}`;
  return {
    url,
    archive,
    async close() {
      await server.close();
      await receiver.close();
      clearInterval(sweeping);
      await Promise.all(schedules.map((schedule) => schedule.close()));
      await Promise.all(pipelines.map((pipeline) => pipeline.close()));
      await renderPool.close();
      await volumePool.close();
      await queue.close();
      await index.close();
    },
  };
}

/** Who asks is not checked, so only this machine may. */
const notByThisName = (): ArchiveError =>
  new ArchiveError(
    'forbidden',
    'This archive answers under localhost or an address; a proxy before it must send that as Host and the name in X-Forwarded-Host.',
  );
