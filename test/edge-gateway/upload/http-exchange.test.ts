/**
 * A request to the cloud always ends, whatever stands at the other end of the line: silence, drops, pages of a hotel's network.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type CloudClient, createCloudClient } from '#edge-gateway/upload/cloud-client.ts';
import { ServerClock } from '#edge-gateway/upload/server-clock.ts';
import { silentLogger } from '#shared/log.ts';

let server: Server | undefined;
let client: CloudClient | undefined;
const sockets = new Set<Socket>();
afterEach(async () => {
  client?.close();
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
});

/** A peer that does with each connection what the test says. */
async function peer(behave: (socket: Socket) => void): Promise<string> {
  server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    behave(socket);
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const origin = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  const limits = { windowMs: 150, windowBytes: 1_000, answerMs: 150, maxAnswerBytes: 1_000 };
  const clock = new ServerClock({ nowMs: Date.now, log: silentLogger });
  client = createCloudClient({ cloudUrl: origin, clock, putLimits: limits, callLimits: limits });
  return origin;
}

const never = new AbortController().signal;
const put = (origin: string, bytes = 10): Promise<'created' | 'exists'> =>
  client!.put({ url: `${origin}/x`, headers: {} }, new Blob([new Uint8Array(bytes)]).stream(), bytes, never);
function answer(text: string): (socket: Socket) => void {
  return (socket) => {
    socket.once('data', () => socket.write(text));
  };
}

describe('a request to the cloud', () => {
  it.each([
    ['says nothing', () => {}],
    [
      'reads nothing',
      (socket: Socket) => {
        socket.pause();
      },
    ],
    [
      'answers drop by drop',
      (socket: Socket) => {
        socket.once('data', () => {
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n');
          const drip = setInterval(() => socket.write('x'), 20);
          socket.on('close', () => clearInterval(drip));
        });
      },
    ],
  ] as const)('ends when the other side %s', async (_, behave) => {
    await expect(put(await peer(behave), 20_000_000)).rejects.toMatchObject({ code: 'timeout' });
  });

  it('ends when the answer is longer than any', async () => {
    const origin = await peer(answer(`HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n${'x'.repeat(9999)}`));
    await expect(put(origin)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('does not end while our own side has nothing to send', async () => {
    const origin = await peer((socket) => {
      let got = 0;
      socket.on('data', (bytes) => {
        got += bytes.length;
        if (bytes.includes('end')) socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n${got > 0 ? '' : 'x'}`);
      });
    });
    const slow = new ReadableStream<Uint8Array>({
      async start(to) {
        to.enqueue(Buffer.from('beg'));
        await new Promise((resolve) => setTimeout(resolve, 600));
        to.enqueue(Buffer.from('end'));
        to.close();
      },
    });
    expect(await client!.put({ url: `${origin}/x`, headers: {} }, slow, 6, never)).toBe('created');
  });

  it.each([
    ['a page with 200', 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>'],
    ['a redirect to a sign-in page', 'HTTP/1.1 302 Found\r\nLocation: http://login/\r\nContent-Length: 0\r\n\r\n'],
  ])('is not believed to have reached it after %s', async (_, text) => {
    await expect(put(await peer(answer(text)))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('sign-in'),
    });
  });

  it('takes a word that is not in the contract for no word', async () => {
    await peer(answer('HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>'));
    await expect(client!.status([], never)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
