/**
 * Behind a real proxy with another name, port and prefix: every URL in every answer is the client's, and leads back through the proxy.
 */
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { makeInstance } from '#test/support/dicom-factory.ts';
import { serviceOver } from './ask.ts';
import { partsOf } from './read-multipart.ts';

const pdf = { tag: 0x00420011, vr: 'OB', value: new Uint8Array(2000) };
const nested = { tag: 0x54000100, vr: 'SQ', value: [[{ tag: 0x54001010, vr: 'OW', value: new Uint8Array(3000) }]] };
const made = makeInstance({ extra: [pdf, nested] });
const { studyInstanceUid, seriesInstanceUid, sopInstanceUid } = made.ref;
const instance = `/studies/${studyInstanceUid}/series/${seriesInstanceUid}/instances/${sopInstanceUid}`;

let fixture: ArchiveFixture;
let host: HttpHost;
const proxies: Server[] = [];
beforeAll(async () => {
  fixture = await makeArchive([made.file]);
  host = await serveHttp({ host: '127.0.0.1', port: 0, service: serviceOver(fixture), log: silentLogger });
});
afterAll(async () => {
  for (const proxy of proxies) {
    proxy.closeAllConnections();
    await new Promise((done) => proxy.close(done));
  }
  await host.close();
  await fixture.close();
});

/** Takes `/pacs` off the path and says what it took, in one of the two ways. Answers the DICOMweb URL that clients see. */
async function proxy(says: (port: number) => Record<string, string>): Promise<string> {
  const server = createServer((incoming, answer) => {
    const { port } = server.address() as AddressInfo;
    const onward = request(
      {
        port: host.port,
        host: '127.0.0.1',
        path: incoming.url!.replace(/^\/pacs/, ''),
        method: incoming.method,
        headers: { ...incoming.headers, host: 'archive.internal', ...says(port) },
      },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      },
    );
    incoming.pipe(onward);
  });
  proxies.push(server);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/pacs/dicomweb`;
}

const kinds: [string, (port: number) => Record<string, string>][] = [
  [
    'X-Forwarded-*',
    (port) => ({
      'x-forwarded-proto': 'http',
      'x-forwarded-host': '127.0.0.1',
      'x-forwarded-port': String(port),
      'x-forwarded-prefix': '/pacs',
    }),
  ],
  [
    'Forwarded',
    (port) => ({ forwarded: `for=1.2.3.4;proto=http;host="127.0.0.1:${port}"`, 'x-forwarded-prefix': '/pacs' }),
  ],
];

/** Every http URL in a text. */
const urlsIn = (text: string): string[] => text.match(/https?:\/\/[^"\s<>]+/g) ?? [];

describe.each(kinds)('behind a proxy that says %s', (_, says) => {
  let base: string;
  beforeAll(async () => {
    base = await proxy(says);
  });

  it('search and metadata hold URLs of the proxy alone, and they work (OHIF#4256, #3921, #1602)', async () => {
    const search = await fetch(`${base}/instances?PatientID=P1&Nonsense=1`);
    expect(search.headers.get('warning')).toMatch(new RegExp(`^299 ${base}: `));
    const [found] = (await search.json()) as DicomJson[];
    expect(found?.['00081190']?.Value?.[0]).toBe(`${base}${instance}`);
    const text = await (await fetch(`${base}${instance}/metadata`)).text();
    const uris = urlsIn(text);
    expect(uris.toSorted()).toEqual(
      ['00420011', '54000100/0/54001010', '7FE00010'].map((path) => `${base}${instance}/bulkdata/${path}`).toSorted(),
    );
    for (const uri of uris) {
      const response = await fetch(uri);
      expect([uri, response.status, response.headers.get('content-location')]).toEqual([uri, 200, uri]);
    }
  });

  it.each(['', '/bulkdata', '/frames/1', '/rendered'])(
    'parts and pictures say where they come from: %s',
    async (what) => {
      const response = await fetch(`${base}${instance}${what}`);
      const locations = response.headers.get('content-type')?.startsWith('multipart')
        ? (await partsOf(response)).map(({ headers }) => headers['content-location'] ?? '')
        : [response.headers.get('content-location') ?? ''];
      expect(locations.length).toBeGreaterThan(0);
      for (const location of locations) {
        expect(location.startsWith(`${base}${instance}`)).toBe(true);
        expect((await fetch(location)).status).toBe(200);
      }
    },
  );

  it('capabilities and OpenAPI name it as the service', async () => {
    const wadl = await (await fetch(`${base}/`, { method: 'OPTIONS' })).text();
    expect(wadl).toContain(`<resources base="${base}/">`);
    const openApi = (await (await fetch(`${base}/openapi.json`)).json()) as { servers: { url: string }[] };
    expect(openApi.servers).toEqual([{ url: base }]);
  });
});

describe('a proxy that says nothing usable', () => {
  it('is taken for none: URLs are of the host that was asked', async () => {
    const base = await proxy(() => ({
      'x-forwarded-host': 'evil.example/"><script>',
      'x-forwarded-port': '99999',
      'x-forwarded-prefix': '/../..',
      'x-forwarded-proto': 'javascript',
    }));
    const [found] = (await (await fetch(`${base}/instances`)).json()) as DicomJson[];
    expect(found?.['00081190']?.Value?.[0]).toBe(`http://archive.internal/dicomweb${instance}`);
  });
});
