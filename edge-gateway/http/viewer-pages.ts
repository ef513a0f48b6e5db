/**
 * Serves the OHIF viewer at the root of an origin, the cloud's or a gateway's, configured for the DICOMweb beside it.
 * Unknown paths are routes of the viewer and answer its index page. Until the viewer is there, a page says what is going on.
 */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { extname, join, normalize, sep } from 'node:path';
import { Readable } from 'node:stream';
import { ArchiveError } from '#shared/errors.ts';
import { problemOf } from '#shared/problem.ts';

export type ViewerState =
  | { readonly kind: 'ready'; readonly folder: string }
  | { readonly kind: 'fetching'; readonly step: string }
  | { readonly kind: 'missing'; readonly reason: string };

const mediaTypes: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.jpg': 'image/jpeg',
  '.ico': 'image/x-icon',
  '.woff': 'font/woff',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain; charset=utf-8',
};

/** The viewer's worker threads use shared memory, which browsers allow on isolated pages only. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'X-Content-Type-Options': 'nosniff',
  // Nothing is loaded from or sent to any other origin: it works without the internet, and nobody is told of who looks at what.
  'Content-Security-Policy': [
    "default-src 'self' blob: data:",
    "script-src 'self' blob: 'unsafe-inline' 'unsafe-eval'",
    "style-src 'self' 'unsafe-inline'",
    "frame-ancestors 'self'",
    "base-uri 'self'",
    "form-action 'self'",
  ].join('; '),
  'Referrer-Policy': 'same-origin',
};

export function createViewerPages(state: () => ViewerState): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return problemOf(new ArchiveError('method-not-allowed', 'Pages answer GET and HEAD.', { allow: 'GET, HEAD' }));
    const now = state();
    if (now.kind !== 'ready') return waitingPage(now);
    const { pathname: path, searchParams } = new URL(request.url);
    // Without a study there is nothing to view but the list of them; by itself the viewer says that something went wrong.
    if (/^\/viewer\/?$/.test(path) && !searchParams.has('StudyInstanceUIDs'))
      return new Response(null, { status: 302, headers: { Location: '/' } });
    if (path === '/app-config.js')
      return new Response(appConfig, {
        headers: { ...isolation, 'Content-Type': 'text/javascript; charset=utf-8', 'Cache-Control': 'no-cache' },
      });
    return (await fileResponse(now.folder, path)) ?? indexPage(now.folder, path);
  };
}

async function fileResponse(folder: string, path: string): Promise<Response | undefined> {
  let decoded: string;
  try {
    decoded = normalize(decodeURIComponent(path));
  } catch {
    return undefined;
  }
  const file = join(folder, decoded);
  if (decoded.includes('\0') || !file.startsWith(folder + sep)) return undefined;
  const found = await stat(file).catch(() => undefined);
  if (found?.isFile() !== true) return undefined;
  // Names with a content hash never change their bytes.
  const cache = /\.[0-9a-f]{16,}\.(js|css|wasm)$/.test(file) ? 'public, max-age=31536000, immutable' : 'no-cache';
  const body = Readable.toWeb(createReadStream(file)) as unknown as ReadableStream<Uint8Array>;
  const headers = {
    ...isolation,
    'Content-Type': mediaTypes[extname(file)] ?? 'application/octet-stream',
    'Content-Length': String(found.size),
    'Cache-Control': cache,
  };
  return new Response(body, { headers });
}

/** A missing file of a known kind is missing; everything else is a route of the viewer. */
async function indexPage(folder: string, path: string): Promise<Response> {
  if (extname(path) in mediaTypes)
    return problemOf(new ArchiveError('not-found', 'The viewer has no such file; it may be of another version.'));
  const html = await readFile(join(folder, 'index.html'));
  return new Response(html, {
    headers: { ...isolation, 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-cache' },
  });
}

function waitingPage(state: Exclude<ViewerState, { kind: 'ready' }>): Response {
  const sentence =
    state.kind === 'fetching'
      ? `The viewer is being prepared: ${state.step}. This page comes again by itself.`
      : `The viewer is not here: ${state.reason} The archive itself works; DICOMweb is under /dicomweb.`;
  const html = `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="3">
<title>Archipel</title><body style="font:1rem/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem"><h1>Archipel</h1><p>${escapeHtml(sentence)}</p></body></html>`;
  return new Response(html, {
    status: 503,
    headers: { 'Content-Type': 'text/html; charset=utf-8', 'Retry-After': '3', 'Cache-Control': 'no-store' },
  });
}

const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** The viewer's settings: the data source is this origin's own DICOMweb. */
const appConfig = `window.config = {
  routerBasename: '/',
  showStudyList: true,
  investigationalUseDialog: { option: 'never' },
  extensions: [],
  modes: [],
  customizationService: { global: { 'ohif.tours': { $set: [] } } },
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  strictZSpacingForVolumeViewport: true,
  maxNumberOfWebWorkers: 3,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  defaultDataSourceName: 'archipel',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'archipel',
    configuration: {
      friendlyName: 'Archipel',
      name: 'archipel',
      wadoUriRoot: window.location.origin + '/dicomweb/wado',
      qidoRoot: window.location.origin + '/dicomweb',
      wadoRoot: window.location.origin + '/dicomweb',
      qidoSupportsIncludeField: true,
      imageRendering: 'wadors',
      thumbnailRendering: 'thumbnail',
      thumbnailRequestStrategy: 'fetch',
      enableStudyLazyLoad: true,
      supportsFuzzyMatching: true,
      supportsWildcard: true,
      omitQuotationForMultipartRequest: true,
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};
`;
