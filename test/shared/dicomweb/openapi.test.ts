/**
 * The OpenAPI document: a linter passes it, every route is in it, and what it says of a route is what the route answers.
 */
import { createConfig, lintFromString } from '@redocly/openapi-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openApiDocument } from '#shared/dicomweb/openapi.ts';
import { related, searchableAt } from '#shared/dicomweb/operations.ts';
import { methodsOf, routes, type ServicePart } from '#shared/dicomweb/routes.ts';
import type { Service } from '#shared/dicomweb/service.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { ask, base, bytesOf, serviceOver } from './ask.ts';

const everything: ReadonlySet<ServicePart> = new Set(['search', 'retrieve', 'render', 'volume', 'store', 'erase']);
const reading: ReadonlySet<ServicePart> = new Set(['search', 'retrieve', 'render']);
const nested = { tag: 0x54000100, vr: 'SQ', value: [[{ tag: 0x54001010, vr: 'OW', value: new Uint8Array(3000) }]] };
const image = makeInstance({ rows: 8, columns: 8, extra: [nested] });
const second = makeInstance({ ...image.ref, rows: 8, columns: 8, sopInstanceUid: freshUid(), instanceNumber: 2 });

interface Media {
  readonly schema?: unknown;
}
interface Responses {
  readonly [status: string]: { readonly $ref?: string; readonly content?: Readonly<Record<string, Media>> };
}
interface DocumentedOperation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { $ref: string }[];
  readonly responses: Responses;
}
type Paths = Record<string, Record<string, DocumentedOperation>>;

const documentOf = (parts: ReadonlySet<ServicePart>): { paths: Paths; components: { parameters: object } } =>
  JSON.parse(JSON.stringify(openApiDocument('https://archive.hospital.org/dicomweb', parts)));

let fixture: ArchiveFixture;
let service: Service;

beforeAll(async () => {
  fixture = await makeArchive([image.file, second.file]);
  service = serviceOver(fixture);
});
afterAll(() => fixture.close());

const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = image.ref;
const uriQuery = `requestType=WADO&studyUID=${studyInstanceUid}&seriesUID=${seriesInstanceUid}&objectUID=${sopInstanceUid}`;
const filled = (path: string, frames = '1'): string =>
  path
    .replace(/^\/wado$/, `/wado?${uriQuery}`)
    .replace('{study}', image.ref.studyInstanceUid)
    .replace('{series}', image.ref.seriesInstanceUid)
    .replace('{instance}', image.ref.sopInstanceUid)
    .replace('{frames}', frames)
    .replace('{path}', '54000100/0/54001010');

/** The media type as the document names it: without boundaries and transfer syntaxes. */
const named = (contentType: string | null): string =>
  (contentType ?? '').replace(/; boundary=\w+/, '').replace(/; transfer-syntax=[0-9.]+/, '');

describe('the OpenAPI document', () => {
  it.each([
    ['of all parts', everything],
    ['of a service that only reads', reading],
  ])('%s passes a linter by its recommended rules', async (_, parts) => {
    const source = JSON.stringify(openApiDocument('https://archive.hospital.org/dicomweb', parts));
    const config = await createConfig({ extends: ['recommended'] });
    const lint = async (text: string) =>
      (await lintFromString({ source: text, absoluteRef: 'openapi.json', config })).map(
        ({ ruleId, message, location }) => [ruleId, message, location[0]?.pointer],
      );
    expect(await lint(source)).toEqual([]);
    if (parts === everything) return;
    // A linter that finds nothing in anything would be no judge.
    expect(await lint(source.replace('"operationId":"metadataOfStudy"', '"operationId":"metadataOfSeries"'))).toEqual([
      ['operation-operationId-unique', expect.anything(), expect.anything()],
    ]);
  });

  it('names every route with every method, and nothing else', () => {
    const { paths } = documentOf(everything);
    const documented = Object.entries(paths).map(([path, item]) => [
      path,
      ...Object.keys(item).filter((name) => name !== 'parameters'),
    ]);
    const offered = routes.map((route) => [
      route.path.replace('{+', '{'),
      ...methodsOf(route, everything).map((method) => method.toLowerCase()),
    ]);
    expect(documented.map(([path, ...methods]) => [path, methods.toSorted()])).toEqual(
      offered.map(([path, ...methods]) => [path, methods.toSorted()]),
    );
  });

  it('is served, of the service as it is asked for, and of what it answers only', async () => {
    const response = await ask(service, '/openapi.json', { forwarded: 'proto=https;host="pacs.example:8443"' });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
    const served = (await response.json()) as { servers: unknown; paths: Paths };
    expect(served.servers).toEqual([{ url: 'https://pacs.example:8443/dicomweb' }]);
    expect(Object.keys(served.paths['/studies'] ?? {}).toSorted()).toEqual(['get', 'head', 'options']);
    expect((await ask(service, '/openapi.json', { accept: 'text/html' })).status).toBe(406);
  });
});

describe('every documented route', () => {
  const { paths } = documentOf(reading);
  const operations = Object.entries(paths).map(([path, item]) => [path, item.get as DocumentedOperation] as const);

  it.each(operations)('GET %s answers as documented by default, and HEAD alike', async (path, { responses }) => {
    const response = await ask(service, filled(path));
    expect(response.status).toBe(200);
    expect(Object.keys(responses['200']?.content ?? {})).toContain(named(response.headers.get('content-type')));
    await response.body?.cancel();
    const head = await ask(service, filled(path), {}, 'HEAD');
    expect([head.status, named(head.headers.get('content-type'))]).toEqual([
      200,
      named(response.headers.get('content-type')),
    ]);
  });

  it.each(operations)('GET %s answers each media type that it has here, as that type', async (path, { responses }) => {
    const given: string[] = [];
    for (const type of Object.keys(responses['200']?.content ?? {})) {
      const asked = path === '/wado' ? `${filled(path)}&contentType=${encodeURIComponent(type)}` : filled(path);
      const response = await ask(service, asked, { accept: type });
      if (response.status === 406) continue; // of what another instance would hold
      // Several pictures are a multipart, also for who asks for the pictures' type.
      const answered = named(response.headers.get('content-type'));
      expect([type, response.status]).toEqual([type, 200]);
      expect([type, related(type)]).toContain(answered);
      expect(Object.keys(responses['200']?.content ?? {})).toContain(answered);
      expect((await bytesOf(response)).length).toBeGreaterThan(0);
      given.push(type);
    }
    expect(given).not.toEqual([]);
  });

  it.each(operations)('GET %s refuses as documented', async (path, { responses }) => {
    const refusals: [number, Promise<Response>][] = [];
    if ('406' in responses) refusals.push([406, ask(service, filled(path), { accept: 'audio/x-none' })]);
    if ('404' in responses)
      refusals.push([404, ask(service, filled(path).replaceAll(image.ref.studyInstanceUid, '1.2.3'))]);
    if ('400' in responses) refusals.push([400, ask(service, filled(path), { accept: 'a/b,'.repeat(2000) })]);
    for (const [status, asked] of refusals) {
      const response = await asked;
      expect([path, response.status]).toEqual([path, status]);
      expect(response.headers.get('content-type')).toBe('application/problem+json');
      expect(((await response.json()) as { detail: string }).detail).toMatch(/^[A-Z].{20}/);
    }
  });

  const kept = operations.filter(([, { responses }]) => '304' in responses);
  it.each(kept)('GET %s is not sent again to who holds it, who may keep it as long as before', async (path) => {
    const whole = await ask(service, filled(path));
    await whole.body?.cancel();
    const again = await ask(service, filled(path), { 'if-none-match': whole.headers.get('etag') ?? '' });
    expect([again.status, await again.text()]).toEqual([304, '']);
    for (const name of ['etag', 'cache-control', 'vary']) {
      expect([name, again.headers.get(name)]).toEqual([name, whole.headers.get(name)]);
    }
  });

  it.each(operations)('OPTIONS %s allows what is documented', async (path) => {
    const response = await ask(service, filled(path), { accept: 'application/json' }, 'OPTIONS');
    const documented = Object.keys(paths[path] ?? {}).filter((name) => name !== 'parameters');
    const allowed = response.headers.get('allow')?.toLowerCase().split(', ');
    expect([response.status, allowed?.toSorted()]).toEqual([200, documented.toSorted()]);
  });

  it('takes the ranges that it documents', async () => {
    const ranged = operations.filter(([, { parameters = [] }]) =>
      parameters.some(({ $ref }) => $ref.endsWith('/header-Range')),
    );
    expect(ranged.length).toBeGreaterThan(2);
    for (const [path, { responses }] of ranged) {
      for (const accept of ['application/dicom', 'application/octet-stream', 'application/zip']) {
        const whole = await ask(service, filled(path), { accept });
        await whole.body?.cancel();
        // A ZIP file that is written on the way has no ranges, and does not say so.
        if (!whole.headers.has('accept-ranges')) continue;
        const response = await ask(service, filled(path), { accept, range: 'bytes=0-3' });
        expect([path, response.status, (await bytesOf(response)).length]).toEqual([path, 206, 4]);
        expect(Object.keys(responses['206']?.content ?? {})).toContain(named(response.headers.get('content-type')));
        const beyond = await ask(service, filled(path), { accept, range: 'bytes=99999999-' });
        expect(beyond.status).toBe(416);
      }
    }
  });
});

describe('what search is said to match', () => {
  it.each(['study', 'series', 'instance'] as const)('at the level of the %s is matched, by keyword', async (level) => {
    const word = level === 'study' ? 'studies' : level === 'series' ? 'series' : 'instances';
    const keys = searchableAt(level).filter(({ vr }) => vr !== 'SQ');
    const values = keys.map(({ keyword, vr }) => `${keyword}=${vr === 'UI' ? '1.2' : vr === 'DA' ? '20240101' : ''}`);
    const response = await ask(service, `/${word}?${values.join('&')}`);
    expect([response.status, response.headers.get('warning')]).toEqual([200, null]);
    const deeper = searchableAt('instance').find((one) => !searchableAt(level).includes(one));
    if (deeper === undefined) return;
    const other = await ask(service, `/${word}?${deeper.keyword}=1`);
    expect(other.headers.get('warning')).toMatch(/not supported/);
  });
});

describe('URLs in examples', () => {
  it('lead to this service only', () => {
    expect(JSON.stringify(openApiDocument(base, everything))).not.toMatch(
      /https?:\/\/(?!archive\.example|dicom\.nema\.org)/,
    );
  });
});
