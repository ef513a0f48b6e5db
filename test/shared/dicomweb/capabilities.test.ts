/**
 * Capabilities (PS3.18 §8.9): OPTIONS on the service and on every resource, as WADL and as OpenAPI.
 */
import { SaxesParser } from 'saxes';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { indexedAttributes } from '#shared/archive/records.ts';
import { routes } from '#shared/dicomweb/routes.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { createVolumePool } from '#shared/imaging/volume-pool.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { ask, base, serviceOver } from './ask.ts';

/** Nothing is rendered: with it the service has all resources. */
const pool = createVolumePool();
let fixture: ArchiveFixture;
let service: Service;
beforeAll(async () => {
  fixture = await makeArchive([]);
  service = serviceOver(fixture, { volumes: pool });
});
afterAll(async () => {
  await pool.close();
  await fixture.close();
});

/** Elements of a well-formed document, in order. */
function elementsOf(xml: string): { name: string; attributes: Record<string, string> }[] {
  const found: { name: string; attributes: Record<string, string> }[] = [];
  const parser = new SaxesParser();
  parser.on('opentag', ({ name, attributes }) => {
    found.push({ name, attributes: attributes as Record<string, string> });
  });
  parser.on('error', (error) => {
    throw error;
  });
  parser.write(xml).close();
  return found;
}

describe('capabilities', () => {
  it.each([
    ['OPTIONS', ''],
    ['OPTIONS', '/'],
    ['GET', ''],
  ])('of the service are WADL by default: %s %s', async (method, path) => {
    const response = await ask(service, path, {}, method);
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/vnd.sun.wadl+xml']);
    const elements = elementsOf(await response.text());
    expect(elements.find(({ name }) => name === 'resources')?.attributes.base).toBe(`${base}/`);
    const paths = elements.filter(({ name }) => name === 'resource').map(({ attributes }) => `/${attributes.path}`);
    expect(paths).toEqual(routes.map((route) => route.path.replace('{+', '{')));
    const keys = new Set(elements.filter(({ name }) => name === 'param').map(({ attributes }) => attributes.name));
    for (const { keyword, vr } of indexedAttributes) if (vr !== 'SQ') expect(keys).toContain(keyword);
    const ids = elements.filter(({ name }) => name === 'method').map(({ attributes }) => attributes.id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('of a resource are its own, under the URL that the client sees', async () => {
    const response = await ask(
      service,
      '/studies/1.2/metadata',
      { accept: 'application/vnd.sun.wadl+xml', 'x-forwarded-prefix': '/pacs' },
      'OPTIONS',
    );
    const elements = elementsOf(await response.text());
    expect(elements.filter(({ name }) => name === 'resource').map(({ attributes }) => attributes.path)).toEqual([
      'studies/{study}/metadata',
    ]);
    expect(elements.find(({ name }) => name === 'resources')?.attributes.base).toBe(
      'http://archive.example:8080/pacs/dicomweb/',
    );
    expect(response.headers.get('allow')).toBe('GET, HEAD, OPTIONS');
  });

  it('are OpenAPI for who asks for JSON', async () => {
    for (const [method, path] of [
      ['GET', '/'],
      ['OPTIONS', '/'],
      ['OPTIONS', '/studies'],
    ] as const) {
      const response = await ask(service, path, { accept: 'application/json' }, method);
      expect(await response.json()).toMatchObject({ openapi: '3.1.0', servers: [{ url: base }] });
    }
  });

  it('are Allow alone for a preflight and for who takes neither', async () => {
    const preflight = { 'access-control-request-method': 'GET', origin: 'https://viewer.example' };
    for (const headers of [preflight, { accept: 'application/dicom+json' }]) {
      const response = await ask(service, '/studies', headers, 'OPTIONS');
      expect([response.status, response.headers.get('allow'), await response.text()]).toEqual([
        204,
        'GET, HEAD, OPTIONS',
        '',
      ]);
    }
    expect((await ask(service, '/', { accept: 'text/html' })).status).toBe(406);
    expect((await ask(service, '/nothing', {}, 'OPTIONS')).status).toBe(404);
  });

  it('say what the deployment does, whichever part is asked', async () => {
    const part = serviceOver(fixture, { parts: ['search'], offered: ['search', 'retrieve', 'render', 'store'] });
    const response = await ask(part, '/studies', { 'access-control-request-method': 'POST' }, 'OPTIONS');
    expect(response.headers.get('allow')).toBe('GET, HEAD, POST, OPTIONS');
  });
});
