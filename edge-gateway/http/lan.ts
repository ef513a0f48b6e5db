/**
 * What the gateway's HTTP port serves, put together: DICOMweb under `/dicomweb` over the gateway's own archive, the status
 * pages under their names, and at the root the viewer, once its files are there, else the status page. Nothing of it
 * needs the cloud.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Archive } from '#shared/archive/ports.ts';
import type { InspectEntry } from '#shared/dicomweb/manifests.ts';
import { createDicomwebService } from '#shared/dicomweb/service.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import type { Logger } from '#shared/log.ts';
import { problemResponse } from '#shared/problem.ts';
import type { Receiver } from '../cache/receiver.ts';
import type { Metrics } from '../metrics.ts';
import type { EdgeSettings } from '../settings.ts';
import type { StatusSources } from './gateway-status.ts';
import { createLanAccess, isServed } from './lan-access.ts';
import { createStatusPages, isStatusPath } from './status-pages.ts';
import { createViewerPages } from './viewer-pages.ts';

export interface LanOptions {
  readonly settings: Pick<EdgeSettings, 'host' | 'lanAccess' | 'tenant' | 'viewerFolder'>;
  readonly archive: Archive;
  /** Takes what is stored by STOW-RS. */
  readonly receiver: Pick<Receiver, 'begin' | 'indexed'>;
  readonly inspectEntry: InspectEntry;
  readonly status: Omit<StatusSources, 'viewer'>;
  readonly metrics: Pick<Metrics, 'text' | 'contentType'>;
  readonly log: Logger;
}

export interface Lan {
  readonly service: (request: Request) => Promise<Response>;
  /** Ends the render threads. */
  close(): Promise<void>;
}

/** Started with the first picture that is asked for. Receiving goes before rendering, so there are few. */
const RENDER_THREADS = 2;
const RENDER_TIMEOUT_MS = 10_000;
/** Of one frame: a breast tomosynthesis slice takes a tenth of it. */
const RENDER_MEMORY_MB = 512;
const WAITING_FRAMES = 64;
/** Of volumes that are in use or kept for the next cut: one of 512 x 512 x 480, so that a gateway stays below a gigabyte. */
const VOLUME_CACHE_BYTES = 256 * 1024 * 1024;
/** How long the answer to a store waits for an index that is behind. */
const FINDABLE_TIMEOUT_MS = 5_000;

export function createLan({ settings, archive, receiver, inspectEntry, status, metrics, log }: LanOptions): Lan {
  const allow = createLanAccess(settings);
  const renderPool = createRenderPool({
    threads: RENDER_THREADS,
    timeoutMs: RENDER_TIMEOUT_MS,
    memoryMb: RENDER_MEMORY_MB,
    maxWaiting: WAITING_FRAMES,
  });
  const volumePool = createVolumePool({
    threads: RENDER_THREADS,
    memoryMb: RENDER_MEMORY_MB,
    volumeLimitBytes: VOLUME_CACHE_BYTES,
    maxWaiting: WAITING_FRAMES,
  });
  const dicomweb = createDicomwebService({
    archive,
    receiver,
    async findable() {
      const indexed = receiver.indexed().catch(() => {});
      await Promise.race([indexed, pause(FINDABLE_TIMEOUT_MS, undefined, { ref: false })]);
    },
    tenantOf: (request) => {
      allow(request);
      return settings.tenant;
    },
    render: renderPool.render,
    transcode: renderPool.transcode,
    volumes: volumePool,
    volumeCacheBytes: VOLUME_CACHE_BYTES,
    log,
    inspectEntry,
  });
  const folder = isServed(settings) ? settings.viewerFolder : undefined;
  const hasViewer = folder === undefined ? async () => false : appearing(join(folder, 'index.html'));
  let viewerIsHere = false;
  const pages = createStatusPages({ ...status, viewer: () => viewerIsHere }, metrics);
  const viewer = createViewerPages(() => ({ kind: 'ready', folder: folder ?? '' }));

  return {
    async service(request) {
      const { pathname } = new URL(request.url);
      if (pathname === '/dicomweb' || pathname.startsWith('/dicomweb/')) return dicomweb(request);
      viewerIsHere = await hasViewer();
      if (isStatusPath(pathname)) return pages(request);
      try {
        allow(request);
      } catch (error) {
        return pathname === '/' ? pages(request) : problemResponse(error, log);
      }
      return viewerIsHere ? viewer(request) : pages(request);
    },
    async close() {
      await renderPool.close();
      await volumePool.close();
    },
  };
}

/** Whether a file is there: asked until it is. */
function appearing(path: string): () => Promise<boolean> {
  let isThere = false;
  return async () => {
    isThere ||= await stat(path).then(
      (found) => found.isFile(),
      () => false,
    );
    return isThere;
  };
}
