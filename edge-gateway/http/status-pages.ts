/**
 * The gateway's pages for people and machines: `/status` (reads well on a phone; at `/` as well where there is no viewer),
 * `/status.json`, `/studies/<uid>/progress.json`, `/health` for a load balancer or a watchdog, and `/metrics` for Prometheus. They show; they
 * decide nothing.
 */
import { keyPartOf } from '#shared/archive/keys.ts';
import { ArchiveError } from '#shared/errors.ts';
import { problemOf } from '#shared/problem.ts';
import type { Metrics } from '../metrics.ts';
import { type GatewayStatus, gatherStatus, type StatusSources, studyProgress } from './gateway-status.ts';
import { statusPage, statusPagePolicy } from './status-page.ts';

const pagePaths: readonly string[] = ['/health', '/status', '/status.json', '/metrics'];
const progressPath = /^\/studies\/([^/]{1,128})\/progress\.json$/;

/** Whether a path is one of these pages, whatever else is served on the same origin. `/` is not: it may be the viewer's. */
export function isStatusPath(path: string): boolean {
  return pagePaths.includes(path) || progressPath.test(path);
}

const noStore = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };

export function createStatusPages(
  sources: StatusSources,
  metrics: Pick<Metrics, 'text' | 'contentType'>,
): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return problemOf(new ArchiveError('method-not-allowed', 'Pages answer GET and HEAD.', { allow: 'GET, HEAD' }));
    const path = new URL(request.url).pathname;
    if (path === '/health') return health(await gatherStatus(sources));
    if (path === '/status.json') return Response.json(await gatherStatus(sources), { headers: noStore });
    if (path === '/metrics') {
      const headers = { ...noStore, 'Content-Type': metrics.contentType };
      return new Response(await metrics.text(await gatherStatus(sources)), { headers });
    }
    if (path === '/status' || path === '/') {
      const headers = {
        ...noStore,
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Security-Policy': statusPagePolicy,
        'Referrer-Policy': 'no-referrer',
      };
      return new Response(statusPage(await gatherStatus(sources)), { headers });
    }
    const study = progressPath.exec(path)?.[1];
    if (study !== undefined) {
      const ref = { studyInstanceUid: keyPartOf(unescaped(study)) };
      return Response.json(await studyProgress(sources.index, sources.tenant, ref), { headers: noStore });
    }
    return problemOf(new ArchiveError('not-found', 'There is no such page; /status is the status page.'));
  };
}

function health({ health, alarms, warnings }: GatewayStatus): Response {
  return Response.json({ health, alarms, warnings }, { status: health === 'ok' ? 200 : 503, headers: noStore });
}

/** What is no valid escape is no UID either. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
