/**
 * What the pages beside DICOMweb, and the socket itself, refuse: problems (RFC 9457) as everywhere, with a sentence.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import { createViewerPages } from '#edge-gateway/http/viewer-pages.ts';
import { silentLogger } from '#shared/log.ts';

let folder: string;
let host: HttpHost;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-problems-'));
  writeFileSync(join(folder, 'index.html'), '<!doctype html>');
  const service = createViewerPages(() => ({ kind: 'ready', folder }));
  host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
});
afterAll(async () => {
  await host.close();
  rmSync(folder, { recursive: true });
});

/** Everything that the host answers to these bytes. */
function answerTo(bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = connect(host.port, '127.0.0.1', () => socket.write(bytes));
    socket.on('data', (piece) => pieces.push(piece));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(pieces).toString('latin1')));
  });
}

describe('a refusal', () => {
  it.each([
    ['POST', '/', 405, 'method-not-allowed'],
    ['GET', '/missing.js', 404, 'not-found'],
  ])('of %s %s by a page is %i, a problem', async (method, path, status, code) => {
    const response = await fetch(`http://127.0.0.1:${host.port}${path}`, { method });
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    expect(await response.json()).toMatchObject({ status, code, detail: expect.stringMatching(/[.]$/) });
    if (status === 405) expect(response.headers.get('allow')).toBe('GET, HEAD');
  });

  it.each([
    ['what is no HTTP', 'DICM\u0001\u0002\r\n\r\n'],
    ['header fields without end', `GET / HTTP/1.1\r\nHost: x\r\nCookie: ${'x'.repeat(40_000)}\r\n\r\n`],
  ])('of %s is 400, a problem, and the end of the connection', async (_, bytes) => {
    const [head = '', body = ''] = (await answerTo(bytes)).split('\r\n\r\n');
    expect(head).toMatch(/^HTTP\/1\.1 400 /);
    expect(head).toMatch(/content-type: application\/problem\+json/i);
    expect(JSON.parse(body)).toMatchObject({ status: 400, detail: expect.stringMatching(/[.]$/) });
  });
});
