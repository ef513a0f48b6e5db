/**
 * STOW-RS over a socket into a whole gateway, the cloud out of reach: what a viewer saves is found at once, what C-STORE brought is the
 * same, senders who leave in the middle leave nothing, and who may not look may not store.
 */
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '#edge-gateway/gateway.ts';
import { readEdgeSettings } from '#edge-gateway/settings.ts';
import { createLogger } from '#shared/log.ts';
import { freshUid, type MadeInstance, makeInstance } from '#test/support/dicom-factory.ts';
import { DicomwebClient } from '#test/support/dicomweb-client.ts';
import { send } from '#test/support/sender.ts';
import { until } from '#test/support/system.ts';
import { answerOf, multipartOf, type StoreAnswer } from '../../shared/dicomweb/storing.ts';

const MIB = 1024 * 1024;

let folder: string;
let gateway: Gateway;
let dicomweb: DicomwebClient;
const lines: string[] = [];
const settings = (more: Record<string, string> = {}) =>
  readEdgeSettings({
    ARCHIPEL_EDGE_DATA: folder,
    ARCHIPEL_EDGE_DICOM_PORT: '0',
    ARCHIPEL_EDGE_HTTP_PORT: '0',
    ARCHIPEL_EDGE_CLOUD_URL: 'http://127.0.0.1:9',
    ARCHIPEL_EDGE_DISK_RESERVE_MB: '16',
    ...more,
  });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archipel-lan-store-'));
  gateway = await startGateway(
    settings(),
    createLogger('info', (line) => lines.push(line)),
  );
  dicomweb = new DicomwebClient(`http://127.0.0.1:${gateway.httpPort}/dicomweb`);
});
afterAll(async () => {
  await gateway?.close();
  await rm(folder, { recursive: true, force: true });
});

const multipart = 'multipart/related; type="application/dicom"; boundary=b';

function post(
  body: Uint8Array | AsyncIterable<Uint8Array>,
  path = '/studies',
  headers: Record<string, string> = {},
): Promise<Response> {
  const init = { method: 'POST', body, duplex: 'half', headers: { 'content-type': multipart, ...headers } };
  return fetch(dicomweb.baseUrl + path, init as unknown as RequestInit);
}
const store = async (...made: MadeInstance[]): Promise<StoreAnswer> =>
  answerOf(await post(new Uint8Array(multipartOf(made.map(({ file }) => file)))));

describe('the LAN side', () => {
  it('stores what a viewer saves, to be found at once', async () => {
    const study = { studyInstanceUid: freshUid() };
    const [image, report] = [makeInstance(study), makeInstance({ ...study, modality: 'SR', pixels: 'none' })];
    await send(gateway.dicomPort, [image]);
    // As dicomweb-client writes it: a line end before the first boundary, none behind the last.
    const body = Buffer.concat([Buffer.from('\r\n'), multipartOf([report.file], '--b--')]);
    const response = await post(new Uint8Array(body), `/studies/${study.studyInstanceUid}`, {
      accept: 'application/dicom+json',
    });
    expect(await answerOf(response)).toMatchObject({ status: 200, failed: [] });
    expect(
      await dicomweb.search(`/studies/${study.studyInstanceUid}/instances?SOPInstanceUID=${report.ref.sopInstanceUid}`),
    ).toHaveLength(1);
    expect(Buffer.compare(await dicomweb.dataSet(report.ref), report.dataSet)).toBe(0);
    const metadata = await dicomweb.get(`/studies/${study.studyInstanceUid}/metadata`);
    expect(await metadata.json()).toHaveLength(2);
  });

  it('takes the same from C-STORE and STOW-RS as one, and other bytes as a conflict', async () => {
    const made = makeInstance();
    expect((await store(made)).status).toBe(200);
    await send(gateway.dicomPort, [made]);
    expect(await gateway.archive.index.getVersions('default', made.ref)).toHaveLength(1);
    expect((await store(makeInstance({ ...made.ref, patientName: 'Other' }))).status).toBe(202);
  });

  it('takes instances of any size as they come, whatever length was announced for them', async () => {
    const frames = 24;
    const made = makeInstance({
      rows: 1024,
      columns: 1024,
      frames,
      bitsAllocated: 8,
      pixels: Buffer.alloc(frames * MIB, 'pixels'),
    });
    const whole = multipartOf([
      { headers: { 'Content-Type': 'application/dicom', 'Content-Length': '12' }, body: made.file },
    ]);
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < whole.length; at += 100_000) yield whole.subarray(at, at + 100_000);
    }
    expect(await answerOf(await post(pieces()))).toMatchObject({ status: 200, failed: [] });
    expect(Buffer.compare(await dicomweb.dataSet(made.ref), made.dataSet)).toBe(0);
  });

  it('keeps what came whole when the sender leaves, and nothing of the rest', async () => {
    const [whole, half] = [makeInstance(), makeInstance({ rows: 512, columns: 512 })];
    const body = multipartOf([whole.file, half.file]);
    const socket = connect(gateway.httpPort, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      `POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: ${multipart}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body.subarray(0, body.length / 2));
    await until(
      'the first instance to be there',
      10_000,
      async () => (await gateway.archive.index.getInstance('default', whole.ref)) !== undefined,
    );
    socket.resetAndDestroy();
    await until('the request to end', 10_000, async () => lines.some((line) => line.includes('"refused":1')));
    expect(await gateway.archive.index.getInstance('default', half.ref)).toBeUndefined();
  });

  it('refuses what no page may send unasked, and whoever came by another name', async () => {
    const made = makeInstance();
    const body = new Uint8Array(multipartOf([made.file]));
    for (const type of ['text/plain', ''])
      expect((await post(body, '/studies', { 'content-type': type })).status).toBe(415);
    const preflight = await fetch(`${dicomweb.baseUrl}/studies`, {
      method: 'OPTIONS',
      headers: {
        origin: 'https://evil.example',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type',
      },
    });
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    const socket = connect(gateway.httpPort, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      `POST /dicomweb/studies HTTP/1.1\r\nHost: rebound.example\r\nContent-Type: ${multipart}\r\nContent-Length: ${body.length}\r\n\r\n`,
    );
    socket.write(body);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 403/);
    socket.destroy();
    expect(await gateway.archive.index.getInstance('default', made.ref)).toBeUndefined();
  });
});
