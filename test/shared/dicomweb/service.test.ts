/**
 * What holds for every answer of the service: methods, errors, origins, tenants, logs.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRenderService } from '#functions/render/service.ts';
import { createRetrieveService } from '#functions/retrieve/service.ts';
import { createSearchService } from '#functions/search/service.ts';
import type { PackStore } from '#shared/archive/ports.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { ArchiveError } from '#shared/errors.ts';
import { transcodeFrame } from '#shared/imaging/transcode.ts';
import { createLogger, silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { ask, bytesOf, problemOf, serviceOver } from './ask.ts';

const instance = makeInstance({ patientName: 'Canary^Bird' });
const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = instance.ref;
const path = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}`;

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([instance.file]);
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

describe('every answer', () => {
  it.each(['/studies', path, `${path}/metadata`, `${path}/frames/1`, `${path}/rendered`, '/nothing'])(
    'is private and says nosniff: %s',
    async (resource) => {
      const { headers } = await ask(service, resource);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('cache-control')).toMatch(/^(private|no-store)/);
      expect(headers.get('vary')).toContain('Authorization');
    },
  );

  it.each([
    '/studies',
    path,
    `${path}?accept=application/dicom`,
    `${path}/metadata`,
    `${path}/frames/1`,
    `${path}/rendered`,
  ])('has the header fields of GET for HEAD, without a body: %s', async (resource) => {
    let open = 0;
    const { packs } = fixture.archive;
    const watching: PackStore = {
      ...packs,
      stream: async (key, range) => {
        open++;
        const reader = (await packs.stream(key, range)).getReader();
        const source = {
          async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
            const { done, value } = await reader.read();
            if (!done) return controller.enqueue(value);
            open--;
            controller.close();
          },
          cancel() {
            open--;
            return reader.cancel();
          },
        };
        return new ReadableStream(source, { highWaterMark: 0 });
      },
    };
    const watched = serviceOver(fixture, { archive: { ...fixture.archive, packs: watching } });
    const head = await ask(watched, resource, {}, 'HEAD');
    expect([head.status, (await bytesOf(head)).length]).toEqual([200, 0]);
    const withoutBoundary = (headers: Headers) =>
      [...headers].map(([name, value]) => [name, value.replace(/boundary=\w+/, 'boundary=')]);
    const get = await ask(service, resource);
    expect(withoutBoundary(head.headers)).toEqual(withoutBoundary(get.headers));
    await get.body?.cancel();
    expect(open).toBe(0);
  });
});

describe('methods', () => {
  it('other than GET, HEAD and OPTIONS are 405 with Allow', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const response = await ask(service, '/studies', {}, method);
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
    }
  });

  it('OPTIONS says what there is', async () => {
    const response = await ask(service, path, {}, 'OPTIONS');
    expect([response.status, response.headers.get('allow')]).toEqual([200, 'GET, HEAD, OPTIONS']);
  });
});

describe('pages of other origins', () => {
  const viewer = 'https://viewer.example';

  it('may read nothing unless they are named', async () => {
    const response = await ask(service, '/studies', { origin: viewer });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('may read what they need when they are, with a token after a preflight', async () => {
    const open = serviceOver(fixture, { allowedOrigins: [viewer] });
    const preflight = await ask(
      open,
      '/studies',
      { origin: viewer, 'access-control-request-headers': 'authorization' },
      'OPTIONS',
    );
    expect(Object.fromEntries(preflight.headers)).toMatchObject({
      'access-control-allow-origin': viewer,
      'access-control-allow-methods': 'GET, HEAD, OPTIONS',
      'access-control-allow-headers': expect.stringContaining('Authorization'),
    });
    for (const resource of ['/studies', '/nothing']) {
      const { headers } = await ask(open, resource, { origin: viewer });
      expect(headers.get('access-control-allow-origin')).toBe(viewer);
      const exposed = headers.get('access-control-expose-headers')?.split(', ');
      expect(exposed).toEqual(
        expect.arrayContaining(['Content-Type', 'Content-Location', 'ETag', 'Warning', 'Content-Range']),
      );
    }
    const other = await ask(open, '/studies', { origin: 'https://evil.example' });
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
    const any = await ask(serviceOver(fixture, { allowedOrigins: ['*'] }), '/studies', { origin: viewer });
    expect(any.headers.get('access-control-allow-origin')).toBe('*');
  });
});

describe('errors', () => {
  it.each<[string, number]>([
    ['/nothing', 404],
    ['/studies/1.2.3', 404],
    ['/studies/not-a-uid', 400],
    ['/studies/..%2f..%2fetc%2fpasswd', 400],
    [`/studies/${'1'.repeat(65)}`, 400],
    ['/studies/%00', 400],
    [`${path}/frames/0`, 400],
    [`${path}/frames/2`, 404],
    [`/studies?PatientID=${'x'.repeat(17_000)}`, 400],
  ])('%.60s is %i with a problem', async (resource, status) => {
    const response = await ask(service, resource);
    expect(response.status).toBe(status);
    expect(await problemOf(response)).toMatchObject({ status, detail: expect.stringMatching(/[.]$/) });
  });

  it('of an Accept list beyond all bounds is 400', async () => {
    expect((await ask(service, '/studies', { accept: 'a/b,'.repeat(2000) })).status).toBe(400);
  });

  it('say who may not, and how to try again', async () => {
    const locked = serviceOver(fixture, {
      tenantOf: () => {
        throw new ArchiveError('unauthorized', 'Send a token.');
      },
    });
    const response = await ask(locked, '/studies');
    expect([response.status, response.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
  });

  it('that nobody foresaw are 500 in general words, and logged', async () => {
    const lines: string[] = [];
    const broken = serviceOver(fixture, {
      archive: {
        ...fixture.archive,
        index: { ...fixture.archive.index, search: () => Promise.reject(new Error('secret path /root/x')) },
      },
      log: createLogger('info', (line) => void lines.push(line)),
    });
    const response = await ask(broken, '/studies');
    expect(response.status).toBe(500);
    expect(JSON.stringify(await problemOf(response))).not.toContain('secret');
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0]!)).toMatchObject({ resource: 'search', err: { message: 'secret path /root/x' } });
  });

  it('of packs that cannot be had now are 503 with Retry-After, also where the answer is a stream', async () => {
    const { packs } = fixture.archive;
    const away = () => Promise.reject(new ArchiveError('unavailable', 'The cloud is away.', { retryAfterSeconds: 30 }));
    const cut: PackStore = { ...packs, read: away, stream: away };
    const service = serviceOver(fixture, { archive: { ...fixture.archive, packs: cut } });
    for (const [resource, accept] of [
      [path, 'multipart/related; type="application/dicom"; transfer-syntax=*'],
      [path, 'application/zip'],
      [`${path}/metadata`, 'application/dicom+json'],
      [`${path}/frames/1`, 'multipart/related; type="application/octet-stream"; transfer-syntax=*'],
    ] as const) {
      const response = await ask(service, resource, { accept });
      expect([resource, response.status, response.headers.get('retry-after')]).toEqual([resource, 503, '30']);
    }
  });

  it('of a manifest that is gone are ours, not the client’s', async () => {
    const { packs } = fixture.archive;
    const without: PackStore = { ...packs, read: () => Promise.reject(new ArchiveError('not-found', 'No object.')) };
    const damaged = serviceOver(fixture, { archive: { ...fixture.archive, packs: without } });
    expect((await ask(damaged, `${path}/metadata`)).status).toBe(500);
    expect((await ask(damaged, `${path}/frames/1`)).status).toBe(500);
  });

  it('never carry patient data into the log', async () => {
    const lines: string[] = [];
    const log = createLogger('debug', (line) => void lines.push(line));
    const { packs } = fixture.archive;
    const failing: PackStore = {
      ...packs,
      read: () => Promise.reject(new Error('disk')),
      stream: () => Promise.reject(new Error('disk')),
    };
    const logged = serviceOver(fixture, { log, archive: { ...fixture.archive, packs: failing } });
    for (const resource of [
      '/studies?PatientName=Canary*',
      '/studies/Canary%5EBird?PatientID=Canary',
      `${path}/frames/1?PatientName=Canary`,
      `${path}?token=Canary`,
    ]) {
      await (await ask(logged, resource)).text().catch(() => {});
    }
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.join('')).not.toContain('Canary');
  });
});

describe('parts', () => {
  it('answer their own resources and no others', async () => {
    const options = {
      archive: fixture.archive,
      tenantOf: () => fixture.tenant,
      render: async () => new Uint8Array(1),
      transcode: transcodeFrame,
      log: silentLogger,
    };
    const resources = [
      '/studies',
      path,
      `${path}/metadata`,
      `${path}/frames/1`,
      `${path}/rendered`,
      `${path}/thumbnail`,
    ];
    const statuses = async (one: Service): Promise<number[]> =>
      Promise.all(resources.map(async (resource) => (await ask(one, resource)).status));
    expect(await statuses(createSearchService(options))).toEqual([200, 404, 404, 404, 404, 404]);
    expect(await statuses(createRetrieveService(options))).toEqual([404, 200, 200, 200, 404, 404]);
    expect(await statuses(createRenderService(options))).toEqual([404, 404, 404, 404, 200, 200]);
  });

  it('refuse methods alike, whichever of them a request reaches', async () => {
    for (const part of ['search', 'retrieve', 'render'] as const) {
      const one = serviceOver(fixture, { parts: [part] });
      for (const resource of ['/studies', path, `${path}/rendered`]) {
        const response = await ask(one, resource, {}, 'POST');
        expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS']);
      }
    }
  });

  it('keep tenants apart', async () => {
    const other = serviceOver(fixture, { tenantOf: () => 'other' });
    expect(await (await ask(other, '/studies')).json()).toEqual([]);
    for (const resource of [path, `${path}/metadata`, `${path}/frames/1`, `${path}/rendered`]) {
      expect((await ask(other, resource)).status).toBe(404);
    }
  });
});
