/**
 * A Service on a real socket: what its peers cost that do nothing, and what is let go of when they leave.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type HttpHost, serveHttp } from '#edge-gateway/http/host.ts';
import { silentLogger } from '#shared/log.ts';

const IDLE_TIMEOUT_MS = 200;
const MIB = 1024 * 1024;

let host: HttpHost | undefined;
afterEach(() => host?.close(0));

/** Says when the body of its answer, which never ends, was let go of. */
function endlessService(): { service: () => Promise<Response>; letGo: Promise<void> } {
  const letGo = Promise.withResolvers<void>();
  const piece = new Uint8Array(MIB);
  const service = async (): Promise<Response> =>
    new Response(
      new ReadableStream({
        pull: (controller) => controller.enqueue(piece),
        cancel: () => letGo.resolve(),
      }),
    );
  return { service, letGo: letGo.promise };
}

async function ask(port: number, text: string): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.write(text);
  return socket;
}

describe('serveHttp', () => {
  it('lets go of a download whose client stops reading', async () => {
    const { service, letGo } = endlessService();
    host = await serveHttp({
      host: '127.0.0.1',
      port: 0,
      service,
      log: silentLogger,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
    });
    const socket = await ask(host.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'readable');
    await letGo; // it never reads
    socket.destroy();
  });

  it('lets go of an upload that stops', async () => {
    const broken = Promise.withResolvers<unknown>();
    host = await serveHttp({
      host: '127.0.0.1',
      port: 0,
      service: async (request) => {
        await request.arrayBuffer().catch(broken.resolve);
        return new Response();
      },
      log: silentLogger,
      idleTimeoutMs: IDLE_TIMEOUT_MS,
    });
    const socket = await ask(host.port, 'PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfive ');
    expect(await broken.promise).toBeInstanceOf(Error);
    socket.destroy();
  });

  it('lets go of a download whose client leaves', async () => {
    const { service, letGo } = endlessService();
    host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
    const socket = await ask(host.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await once(socket, 'readable');
    socket.resetAndDestroy();
    await letGo;
  });
});
