/**
 * The open connections of the DIMSE ports and their limits. Associations are counted in all, by address and by AE title; beyond
 * a limit they are told to come back later. Connections on which nobody has asked for one yet have no such rights: an address
 * has no more of them than of associations, and when there are too many in all, the one that has waited longest goes.
 */
import type { Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Association } from './association.ts';
import type { ConnectionLimits } from './limits.ts';
import { plainAddress } from './peers.ts';

export class Connection {
  readonly address: string;
  readonly openedAtMs = performance.now();
  /** Undefined within a TLS handshake. */
  association: Association | undefined;
  /** Of its association; undefined until that is accepted. */
  callingAeTitle: string | undefined;
  readonly #socket: Socket;

  constructor(socket: Socket, address: string) {
    this.#socket = socket;
    this.address = address;
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

export class Connections {
  readonly #limits: ConnectionLimits;
  /** By both ends, in the order of their coming. */
  readonly #all = new Map<string, Connection>();
  readonly #waiting = new Set<Connection>();
  #whenEmpty: (() => void) | undefined;
  #cutCount = 0;
  #cutAddress = '';

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#all.size;
  }

  /** Connections cut since the last time that this was asked, and whose the last one was. */
  takeCut(): { readonly count: number; readonly address: string } {
    const cut = { count: this.#cutCount, address: this.#cutAddress };
    this.#cutCount = 0;
    return cut;
  }

  /** Counts a connection until its socket has closed. Undefined: there were too many, and it is cut. */
  enter(socket: Socket): Connection | undefined {
    const key = keyOf(socket);
    const connection = new Connection(socket, plainAddress(socket.remoteAddress ?? ''));
    const { maxAssociations, maxWaiting, maxAssociationsPerAddress } = this.#limits;
    // The second time for those whose association is over and whose connection is not.
    const isFull = this.#all.size >= maxAssociations + 2 * maxWaiting;
    let fromAddress = 0;
    for (const { address } of this.#waiting) if (address === connection.address) fromAddress++;
    // Of one below TLS nobody else listens; that it has closed is all there is to know.
    socket.on('error', () => {});
    if (socket.remotePort === undefined || fromAddress >= maxAssociationsPerAddress || isFull) {
      this.#cut(connection);
      return undefined;
    }
    const [oldest] = this.#waiting;
    if (oldest !== undefined && this.#waiting.size >= maxWaiting) {
      this.#waiting.delete(oldest);
      this.#cut(oldest);
    }
    this.#all.set(key, connection);
    this.#waiting.add(connection);
    socket.once('close', () => {
      this.#waiting.delete(connection);
      if (this.#all.get(key) === connection) this.#all.delete(key);
      if (this.#all.size === 0) this.#whenEmpty?.();
    });
    return connection;
  }

  #cut(connection: Connection): void {
    this.#cutCount++;
    this.#cutAddress = connection.address;
    connection.destroy();
  }

  /** The connection of a socket, or of one that TLS was laid over. */
  of(socket: Socket): Connection | undefined {
    return this.#all.get(keyOf(socket));
  }

  /** Why another association of this connection and title cannot be opened now; undefined: it can. */
  limitFor(connection: Connection, callingAeTitle: string, maxOfTitle: number | undefined): string | undefined {
    let all = 0;
    let fromAddress = 0;
    let ofTitle = 0;
    for (const other of this.#all.values()) {
      // Whoever has released may open the next one before its connection is closed.
      if (other.callingAeTitle === undefined || other.association?.isOver === true) continue;
      all++;
      if (other.address === connection.address) fromAddress++;
      if (other.callingAeTitle === callingAeTitle) ofTitle++;
    }
    if (all >= this.#limits.maxAssociations) return 'too many associations are open';
    if (fromAddress >= this.#limits.maxAssociationsPerAddress)
      return 'too many associations from this address are open';
    return ofTitle >= (maxOfTitle ?? Number.POSITIVE_INFINITY)
      ? 'too many associations of this calling AE title are open'
      : undefined;
  }

  /** Its association was accepted: it is one of those that count. */
  accepted(connection: Connection, callingAeTitle: string): void {
    connection.callingAeTitle = callingAeTitle;
    this.#waiting.delete(connection);
  }

  each(visit: (connection: Connection) => void): void {
    for (const connection of [...this.#all.values()]) visit(connection);
  }

  empty(): Promise<void> {
    if (this.#all.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
    });
  }
}

const keyOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort} ${socket.localPort}`;
