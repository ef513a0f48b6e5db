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

  it('cuts connections beyond so many, and takes others again when those have gone', async () => {
    const service = async (): Promise<Response> => new Response('here');
    host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger, maxConnections: 2 });
    const hello = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n';
    const idle = [await ask(host.port, hello), await ask(host.port, hello)];
    for (const socket of idle) await once(socket, 'data');
    const third = await ask(host.port, hello);
    await once(third, 'close');
    expect(third.bytesRead).toBe(0);
    for (const socket of idle) socket.destroy();
    // It is noticed when their ends have come.
    for (;;) {
      const later = await ask(host.port, hello);
      await Promise.race([once(later, 'data'), once(later, 'close')]);
      later.destroy();
      if (later.bytesRead > 0) break;
    }
  });

  it('cuts a connection that sends request upon request and waits for no answer', async () => {
    let begun = 0;
    const service = async (): Promise<Response> => {
      begun++;
      return new Promise(() => {});
    };
    host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
    const socket = await ask(host.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(500));
    socket.resume();
    await once(socket, 'close');
    expect(begun).toBe(8);
  });

  it('answers any number of requests on a connection, a few of them ahead', async () => {
    const service = async (): Promise<Response> => new Response('here');
    host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger });
    const socket = await ask(host.port, '');
    let answers = 0;
    socket.on('data', (text: Buffer) => (answers += text.toString().split('200 OK').length - 1));
    for (let round = 1; round <= 5; round++) {
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(4));
      await expect.poll(() => answers).toBe(4 * round);
    }
    socket.destroy();
  });

  it('cuts those who take none of their answers once these hold too much memory, and no others', async () => {
    const bytes = new Uint8Array(16 * MIB);
    host = await serveHttp({
      host: '127.0.0.1',
      port: 0,
      service: async () => new Response(bytes),
      log: silentLogger,
      maxPendingBytes: 40 * MIB,
      pendingCheckMs: 100,
    });
    const stalled: Socket[] = [];
    for (let i = 0; i < 6; i++) {
      const socket = await ask(host.port, 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
      socket.pause();
      stalled.push(socket);
    }
    // Only who asks the socket hears of its end: nobody reads it.
    const cut = (): number => stalled.filter((socket) => !socket.write('\r\n') || socket.destroyed).length;
    await expect.poll(cut, { timeout: 10_000 }).toBeGreaterThan(2);
    const answer = await fetch(`http://127.0.0.1:${host.port}/`);
    expect((await answer.arrayBuffer()).byteLength).toBe(16 * MIB);
    for (const socket of stalled) socket.destroy();
  });

  describe('with an upload of any length', () => {
    const post = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n';

    it('lets go of it when it only trickles', async () => {
      const broken = Promise.withResolvers<unknown>();
      const service = async (request: Request): Promise<Response> => {
        await request.arrayBuffer().catch(broken.resolve);
        return new Response();
      };
      host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger, bodyCheckMs: 100 });
      const socket = await ask(host.port, post);
      const drip = setInterval(() => socket.write('x'), 10);
      expect(await broken.promise).toBeInstanceOf(Error);
      clearInterval(drip);
    });

    it('gives it a whole interval before it is judged', async () => {
      const started = Promise.withResolvers<void>();
      const service = async (request: Request): Promise<Response> => {
        started.resolve();
        return new Response(String((await request.arrayBuffer()).byteLength));
      };
      const checkMs = 1000;
      host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger, bodyCheckMs: checkMs });
      // It begins just before somebody looks, and its bytes come just after that.
      await new Promise((resolve) => setTimeout(resolve, checkMs * 0.8));
      const socket = await ask(host.port, post);
      await started.promise;
      await new Promise((resolve) => setTimeout(resolve, checkMs * 0.4));
      socket.write('x'.repeat(1_000_000));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1.1 200/);
      socket.destroy();
    });

    it('waits as long as it is not the sender who makes it slow', async () => {
      const goOn = Promise.withResolvers<void>();
      const service = async (request: Request): Promise<Response> => {
        await goOn.promise;
        return new Response(String((await request.arrayBuffer()).byteLength));
      };
      host = await serveHttp({ host: '127.0.0.1', port: 0, service, log: silentLogger, bodyCheckMs: 100 });
      const socket = await ask(host.port, post + 'x'.repeat(1_000_000));
      await new Promise((resolve) => setTimeout(resolve, 500));
      goOn.resolve();
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(/^HTTP\/1.1 200/);
      socket.destroy();
    });
  });
});
