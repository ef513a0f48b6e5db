/**
 * The viewer's pages: routes answer the index, files are files, nothing outside the folder is served, and what is not
 * there yet says so.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createViewerPages, type ViewerState } from '#edge-gateway/http/viewer-pages.ts';

let root: string;
let state: ViewerState;
const get = (path: string, method = 'GET'): Promise<Response> =>
  createViewerPages(() => state)(new Request(`http://cloud${path}`, { method }));

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'archipel-'));
  const folder = join(root, 'viewer');
  await mkdir(join(folder, 'assets'), { recursive: true });
  await writeFile(join(folder, 'index.html'), '<title>OHIF</title>');
  await writeFile(join(folder, 'app.bundle.0123456789abcdef.js'), 'run()');
  await writeFile(join(root, 'secret.txt'), 'secret');
  state = { kind: 'ready', folder };
});
afterEach(() => rm(root, { recursive: true }));

it('answers routes of the viewer with its index page, isolated from other origins', async () => {
  for (const path of ['/', '/viewer?StudyInstanceUIDs=1.2.3', '/some/route']) {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain('OHIF');
    expect(response.headers.get('cross-origin-opener-policy')).toBe('same-origin');
    expect(response.headers.get('cross-origin-embedder-policy')).toBe('require-corp');
  }
});

it.each(['/viewer', '/viewer/'])('leads from %s, which names no study, to the list of studies', async (path) => {
  const response = await get(path);
  expect([response.status, response.headers.get('location')]).toEqual([302, '/']);
});

it('lets the pages load from and send to their own origin alone', async () => {
  const policy = (await get('/')).headers.get('content-security-policy') ?? '';
  expect(policy).toMatch(/^default-src 'self' blob: data:;/);
  expect(policy).not.toMatch(/https?:|\*/);
});

it('serves files with their media type, for ever when their name holds their hash', async () => {
  const response = await get('/app.bundle.0123456789abcdef.js');
  expect(await response.text()).toBe('run()');
  expect(response.headers.get('content-type')).toMatch('text/javascript');
  expect(response.headers.get('cache-control')).toMatch('immutable');
  expect((await get('/missing.js')).status).toBe(404);
});

it('points the viewer at the DICOMweb of its own origin', async () => {
  const text = await (await get('/app-config.js')).text();
  expect(text).toContain("window.location.origin + '/dicomweb'");
});

it.each(['/../secret.txt', '/..%2fsecret.txt', '/%2e%2e/secret.txt', '/assets/..%2f..%2fsecret.txt', '/%00', '/%ff'])(
  'serves nothing outside: %s',
  async (path) => {
    expect(await (await get(path)).text()).not.toContain('secret');
  },
);

it('says what is going on while the viewer is not there', async () => {
  state = { kind: 'fetching', step: 'unpacking the viewer' };
  const response = await get('/');
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('3');
  expect(await response.text()).toContain('unpacking the viewer');
  state = { kind: 'missing', reason: '<b>no network</b>' };
  expect(await (await get('/')).text()).toContain('&#60;b&#62;no network');
});

it('answers 405 to anything but reading', async () => {
  expect((await get('/', 'POST')).status).toBe(405);
});
