/**
 * The internet between a hospital and its cloud, as bad as a test wants it: a TCP proxy that drops, delays, throttles, resets,
 * cuts after so many bytes, swallows, and flips bits. What it does may be changed at any time, for connections that exist as well.
 */
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

export interface Weather {
  /** Connections: let through, refused at once, or accepted and never answered; those that exist stand still then. */
  readonly line: 'up' | 'refused' | 'black-hole';
  /** Each way, for every piece. */
  readonly delayMs: number;
  /** To the cloud, of each connection. */
  readonly bytesPerSecond: number;
  /** A connection is reset when so many bytes have gone to the cloud on it. */
  readonly cutAfterBytes: number;
  /** One bit in so many bytes to the cloud is flipped. */
  readonly flipEveryBytes: number;
}

export const fairWeather: Weather = {
  line: 'up',
  delayMs: 0,
  bytesPerSecond: Number.POSITIVE_INFINITY,
  cutAfterBytes: Number.POSITIVE_INFINITY,
  flipEveryBytes: Number.POSITIVE_INFINITY,
};

const LOOK_MS = 20;

export class FaultProxy implements AsyncDisposable {
  readonly url: string;
  /** Bytes that came from the gateway, whatever became of them. */
  bytesUp = 0;
  flipped = 0;
  resets = 0;
  readonly #server: Server;
  readonly #targetPort: () => number;
  readonly #sockets = new Set<Socket>();
  #weather: Weather = fairWeather;
  #sinceFlip = 0;
  #closed = false;

  private constructor(server: Server, targetPort: () => number) {
    this.#server = server;
    this.#targetPort = targetPort;
    const address = server.address();
    this.url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  }

  /** @param targetPort on this machine; asked for each connection */
  static async start(targetPort: () => number): Promise<FaultProxy> {
    let proxy: FaultProxy | undefined;
    const server = createServer({ pauseOnConnect: true }, (socket) => proxy?.take(socket));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    proxy = new FaultProxy(server, targetPort);
    return proxy;
  }

  /** From now on; what is not given is fair. */
  set(weather: Partial<Weather> = {}): void {
    this.#weather = { ...fairWeather, ...weather };
  }

  /** RST on every connection there is. */
  resetAll(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  take(client: Socket): void {
    this.#keep(client);
    if (this.#weather.line === 'refused') {
      client.resetAndDestroy();
      return;
    }
    const cloud = dial(this.#targetPort(), '127.0.0.1');
    this.#keep(cloud);
    for (const [one, other] of [
      [client, cloud],
      [cloud, client],
    ] as const)
      one.on('close', () => other.destroy());
    void this.#carry(client, cloud, 'up');
    void this.#carry(cloud, client, 'down');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
  }

  async #carry(from: Socket, to: Socket, way: 'up' | 'down'): Promise<void> {
    let carried = 0;
    try {
      for await (const piece of from as AsyncIterable<Buffer>) {
        if (way === 'up') this.bytesUp += piece.length;
        while (this.#weather.line === 'black-hole' && !this.#closed && !from.destroyed) await pause(LOOK_MS);
        const { delayMs, bytesPerSecond, cutAfterBytes } = this.#weather;
        if (delayMs > 0) await pause(delayMs);
        if (way === 'up' && Number.isFinite(bytesPerSecond)) await pause((piece.length / bytesPerSecond) * 1000);
        if (way === 'up' && carried + piece.length > cutAfterBytes) {
          this.resets++;
          to.write(piece.subarray(0, cutAfterBytes - carried));
          from.resetAndDestroy();
          to.resetAndDestroy();
          return;
        }
        carried += piece.length;
        if (way === 'up') this.#flip(piece);
        if (!to.write(piece)) await new Promise<void>((go) => void to.once('drain', go).once('close', () => go()));
      }
      to.end();
    } catch {
      to.destroy();
    }
  }

  /** Not in the first KiB of a piece: that may be a request's head, whose damage says less than that of a body. */
  #flip(piece: Buffer): void {
    this.#sinceFlip += piece.length;
    if (this.#sinceFlip < this.#weather.flipEveryBytes || piece.length < 2048) return;
    this.#sinceFlip = 0;
    this.flipped++;
    const at = 1024 + ((this.flipped * 7919) % (piece.length - 1024));
    piece[at] = piece[at]! ^ (1 << (this.flipped % 8));
  }
}
