/**
 * The gateway's pages for people and machines: `/` (a status page that reads well on a phone), `/status.json`,
 * `/studies/<uid>/progress.json`, and `/health` for a load balancer or a watchdog. They show; they decide nothing.
 */
import { keyPartOf } from '#shared/archive/keys.ts';
import { type GatewayStatus, gatherStatus, type StatusSources, studyProgress } from './gateway-status.ts';
import { statusPage } from './status-page.ts';

const noStore = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' };

export function createStatusPages(sources: StatusSources): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return new Response('Use GET.', { status: 405, headers: { Allow: 'GET, HEAD' } });
    const path = new URL(request.url).pathname;
    if (path === '/health') return health(await gatherStatus(sources));
    if (path === '/status.json') return Response.json(await gatherStatus(sources), { headers: noStore });
    if (path === '/') {
      const headers = {
        ...noStore,
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Security-Policy':
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
      };
      return new Response(statusPage(await gatherStatus(sources)), { headers });
    }
    const study = /^\/studies\/([^/]{1,128})\/progress\.json$/.exec(path)?.[1];
    if (study !== undefined) {
      const ref = { studyInstanceUid: keyPartOf(decodeURIComponent(study)) };
      return Response.json(await studyProgress(sources.index, sources.tenant, ref), { headers: noStore });
    }
    return Response.json(
      { status: 404, title: 'not-found', detail: 'There is no such page; / is the status page.' },
      { status: 404 },
    );
  };
}

function health({ health, problems }: GatewayStatus): Response {
  return Response.json({ health, problems }, { status: health === 'ok' ? 200 : 503, headers: noStore });
}
