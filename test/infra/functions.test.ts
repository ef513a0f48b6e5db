/**
 * The function table: every path of the cloud goes to the function that is meant, and each function has just the grants it needs.
 */
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { functions } from '#infra/functions.ts';
import { answeredMethods, partOfKind, routes, type ServicePart } from '#shared/dicomweb/routes.ts';

const app = new Hono();
for (const row of functions) {
  if (row.trigger.kind === 'http')
    app.on([...row.trigger.methods], [...row.trigger.paths], (context) => context.text(row.name));
}
const ownerOf = async (path: string, method = 'GET'): Promise<string> => {
  const response = await app.request(path, { method });
  return response.status === 404 ? 'nobody' : response.text();
};

describe('the function table', () => {
  it.each([
    ['/dicomweb/studies', 'search'],
    ['/dicomweb/studies?PatientID=1', 'search'],
    ['/dicomweb/studies/1.2/series', 'search'],
    ['/dicomweb/studies/1.2/series/3/instances', 'search'],
    ['/dicomweb/instances', 'search'],
    ['/dicomweb/studies/1.2', 'retrieve'],
    ['/dicomweb/studies/1.2/metadata', 'retrieve'],
    ['/dicomweb/studies/1.2/series/3/instances/4/frames/1,2', 'retrieve'],
    ['/dicomweb/studies/1.2/series/3/instances/4/bulkdata/00420011', 'retrieve'],
    ['/dicomweb/studies/1.2/series/3/instances/4/frames/1/rendered', 'render'],
    ['/dicomweb/studies/1.2/series/3/instances/4/rendered', 'render'],
    ['/dicomweb/studies/1.2/thumbnail', 'render'],
    ['/dicomweb/studies/1.2/renderedmpr', 'volume'],
    ['/dicomweb/studies/1.2/series/3/rendered3D', 'volume'],
    ['/gateway/uploads', 'nobody'],
    ['/elsewhere', 'nobody'],
  ])('GET %s belongs to %s', async (path, owner) => {
    expect(await ownerOf(path)).toBe(owner);
  });

  it('sends every route of DICOMweb to the part of the service that answers it', async () => {
    const all: ReadonlySet<ServicePart> = new Set(['search', 'retrieve', 'render', 'volume', 'store', 'erase']);
    for (const route of routes) {
      const path = `/dicomweb${route.path.replaceAll(/\{\+?\w+\}/g, '1')}`.replace(/\/$/, '');
      for (const method of answeredMethods(route, all)) {
        expect([method, path, await ownerOf(path, method)]).toEqual([method, path, partOfKind(route[method]!)]);
      }
      // Whichever part answers a preflight speaks for all of them (`offered`), but one must.
      expect([path, await ownerOf(path, 'OPTIONS')]).not.toEqual([path, 'nobody']);
    }
  });

  it('takes DELETE of what can be retrieved alone', async () => {
    for (const path of [
      '/dicomweb/studies/1',
      '/dicomweb/studies/1/series/2',
      '/dicomweb/studies/1/series/2/instances/3',
    ])
      expect(await ownerOf(path, 'DELETE')).toBe('erase');
    expect(await ownerOf('/dicomweb/studies', 'DELETE')).toBe('nobody');
    expect(await ownerOf('/dicomweb/studies/1/metadata', 'DELETE')).toBe('nobody');
  });

  it('takes announcements by POST only', async () => {
    expect(await ownerOf('/gateway/uploads', 'POST')).toBe('gateway');
    expect(await ownerOf('/gateway/uploads/status', 'POST')).toBe('gateway');
  });

  it('takes instances at all studies and at one', async () => {
    for (const path of ['/dicomweb/studies', '/dicomweb/studies/1.2'])
      expect(await ownerOf(path, 'POST')).toBe('store');
    expect(await ownerOf('/dicomweb/studies/1.2/series/3', 'POST')).toBe('nobody');
  });

  it('names each function once and lets only storing and the pipeline write packs', () => {
    expect(new Set(functions.map((row) => row.name)).size).toBe(functions.length);
    expect(functions.filter((row) => row.grants.packs === 'write').map((row) => row.name)).toEqual([
      'store',
      'ingest',
      'purge',
    ]);
  });

  it('hides a message for six times as long as its function may run, and gives it tries enough', () => {
    for (const { trigger, timeoutSeconds } of functions) {
      if (trigger.kind !== 'queue') continue;
      // Lambda holds back messages that it was throttled on; those come again while others work on them where this is shorter.
      expect(trigger.visibilitySeconds).toBeGreaterThanOrEqual(6 * timeoutSeconds);
      expect(trigger.visibilitySeconds).toBeLessThanOrEqual(12 * 60 * 60);
      expect(trigger.maxReceiveCount).toBeGreaterThanOrEqual(5);
      // All of a batch are worked on at once.
      expect(trigger.batch).toBeLessThanOrEqual(10);
    }
  });
});
