/**
 * The DIMSE server: listens, keeps connections within their limits in all and for each address, gives every connection
 * an Association, watches the clock for all of them, and closes without breaking off a store that is under way.
 */
import { createServer, type Server } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { Association, type AssociationEnd, type AssociationLimits } from './association.ts';
import { CommandField } from './command-set.ts';
import { echoService } from './echo.ts';
import { createFindService } from './find.ts';
import { createGetService } from './get.ts';
import { createMoveService, type RemoteAe } from './move.ts';
import type { NegotiationPolicy } from './negotiation.ts';
import { DEFAULT_MAX_PDU_BYTES } from './pdu.ts';
import type { Service } from './service.ts';
import { createStoreService, type StoreReport } from './store.ts';

export interface DimseLimits extends AssociationLimits {
  /** The longest P-DATA-TF that we take and offer to take. */
  readonly maxPduBytes: number;
  /** Beyond it associations are rejected 2/3/2 (transient), beyond twice it connections are cut. */
  readonly maxConnections: number;
  /** The same for each address. */
  readonly maxConnectionsPerAddress: number;
  /** Requests that one association may have unanswered, where the requestor negotiates a window. */
  readonly maxOperations: number;
  /** How long `close` lets running stores go on. */
  readonly closeDeadlineMs: number;
}

export const defaultDimseLimits: DimseLimits = {
  maxPduBytes: DEFAULT_MAX_PDU_BYTES,
  maxConnections: 200,
  maxConnectionsPerAddress: 64,
  maxOperations: 8,
  artimMs: 30_000,
  idleTimeoutMs: 10 * 60_000,
  stallTimeoutMs: 60_000,
  lingerMs: 1_500,
  closeDeadlineMs: 10_000,
};

export type DimseEvent =
  | { readonly kind: 'association-accepted'; readonly callingAeTitle: string }
  | {
      readonly kind: 'association-ended';
      readonly end: AssociationEnd;
      /** Undefined when the connection closed before it said. */
      readonly callingAeTitle: string | undefined;
    }
  | ({ readonly kind: 'store' } & StoreReport);

/** What Query/Retrieve is offered over. */
export interface QueryRetrieveOptions {
  readonly archive: Archive;
  readonly tenant: string;
  /** Answers to one C-FIND; beyond it the query ends with A700H. Default 100,000. */
  readonly maxFindResults?: number;
  /** Where C-MOVE may send to, by AE title. Default: nowhere. */
  readonly remoteAes?: ReadonlyMap<string, RemoteAe>;
}

export interface DimseServerOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Ours. */
  readonly aeTitle: string;
  /** Reject associations that call another title than ours (1/1/7); off by default, since many a modality is set up carelessly. */
  readonly isCalledAeTitleChecked?: boolean;
  /** When given, all others are rejected (1/1/3). */
  readonly callingAeTitles?: readonly string[];
  readonly receiver: InstanceReceiver;
  /** Without it Query/Retrieve is not offered. */
  readonly queryRetrieve?: QueryRetrieveOptions;
  readonly log: Logger;
  readonly limits?: Partial<DimseLimits>;
  /** For counters and pages; must not throw. */
  readonly onEvent?: (event: DimseEvent) => void;
}

export interface DimseServer {
  readonly port: number;
  /** Connections now, associations or not yet. */
  readonly connectionCount: number;
  /** Stops accepting; ends what is idle, lets running stores finish within the deadline, aborts the rest. */
  close(): Promise<void>;
}

/** Listens when it resolves. Errors: `unavailable` when the address cannot be listened on. */
export async function createDimseServer(options: DimseServerOptions): Promise<DimseServer> {
  const limits = { ...defaultDimseLimits, ...options.limits };
  const onEvent = options.onEvent ?? (() => {});
  const connections = new Connections(limits);
  const policy: NegotiationPolicy = {
    maxPduBytes: limits.maxPduBytes,
    maxOperations: limits.maxOperations,
    offersQueryRetrieve: options.queryRetrieve !== undefined,
    ...(options.isCalledAeTitleChecked === true ? { calledAeTitles: [options.aeTitle] } : {}),
    ...(options.callingAeTitles === undefined ? {} : { callingAeTitles: options.callingAeTitles }),
  };
  const services = new Map<number, Service>([
    [CommandField.CEchoRequest, echoService],
    [CommandField.CStoreRequest, createStoreService(options.receiver, (store) => onEvent({ kind: 'store', ...store }))],
    ...queryRetrieveServices(options),
  ]);

  /** Since the last look at the clock: a flood of connections must not become a flood of log lines. */
  let cut = 0;
  const server = createServer({ highWaterMark: 256 * 1024 }, (socket) => {
    const address = socket.remoteAddress ?? '';
    const place = connections.placeFor(address);
    if (place === 'none') {
      cut++;
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const association = new Association(socket, {
      policy,
      limits,
      services,
      log: options.log,
      isOverLimit: place === 'over-limit',
      onAccepted: (callingAeTitle) => onEvent({ kind: 'association-accepted', callingAeTitle }),
      onEnd: (end, callingAeTitle) => {
        connections.remove(address, association);
        onEvent({ kind: 'association-ended', end, callingAeTitle });
      },
    });
    connections.add(address, association);
  });
  await listen(server, options.host, options.port);
  // A failed accept (out of file descriptors) concerns one connection, not the server.
  server.on('error', (error) => options.log.error({ err: error }, 'a connection could not be accepted'));
  const clock = watchTime(limits, (nowMs) => {
    connections.each((association) => association.checkTime(nowMs));
    if (cut > 0) options.log.warn({ cut, connections: connections.count }, 'connections cut: far too many are open');
    cut = 0;
  });
  let closing: Promise<void> | undefined;
  return {
    port: portOf(server),
    get connectionCount() {
      return connections.count;
    },
    close: () => {
      closing ??= close(server, connections, limits.closeDeadlineMs).finally(() => clearInterval(clock));
      return closing;
    },
  };
}

function queryRetrieveServices({ queryRetrieve, aeTitle }: DimseServerOptions): [number, Service][] {
  if (queryRetrieve === undefined) return [];
  const { archive, tenant, maxFindResults = 100_000, remoteAes = new Map() } = queryRetrieve;
  return [
    [CommandField.CGetRequest, createGetService({ archive, tenant })],
    [CommandField.CMoveRequest, createMoveService({ archive, tenant, aeTitle, remoteAes })],
    [
      CommandField.CFindRequest,
      createFindService({ index: archive.index, tenant, aeTitle, maxResults: maxFindResults }),
    ],
  ];
}

/** The open connections, counted in all and by address. */
class Connections {
  readonly #limits: DimseLimits;
  readonly #associations = new Set<Association>();
  readonly #byAddress = new Map<string, number>();
  #whenEmpty: (() => void) | undefined;

  constructor(limits: DimseLimits) {
    this.#limits = limits;
  }

  get count(): number {
    return this.#associations.size;
  }

  /** One that is over the limit is kept just long enough to be told so: a modality tries again after a transient reject. */
  placeFor(address: string): 'within' | 'over-limit' | 'none' {
    const { maxConnections, maxConnectionsPerAddress } = this.#limits;
    const fromAddress = this.#byAddress.get(address) ?? 0;
    if (this.count >= 2 * maxConnections || fromAddress >= 2 * maxConnectionsPerAddress) return 'none';
    return this.count >= maxConnections || fromAddress >= maxConnectionsPerAddress ? 'over-limit' : 'within';
  }

  add(address: string, association: Association): void {
    this.#associations.add(association);
    this.#byAddress.set(address, (this.#byAddress.get(address) ?? 0) + 1);
  }

  remove(address: string, association: Association): void {
    if (!this.#associations.delete(association)) return;
    const left = (this.#byAddress.get(address) ?? 1) - 1;
    if (left === 0) this.#byAddress.delete(address);
    else this.#byAddress.set(address, left);
    if (this.count === 0) this.#whenEmpty?.();
  }

  each(visit: (association: Association) => void): void {
    for (const association of [...this.#associations]) visit(association);
  }

  empty(): Promise<void> {
    if (this.count === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenEmpty = resolve;
    });
  }
}

/** One clock for all connections, fine enough for the shortest limit. */
function watchTime(limits: DimseLimits, look: (nowMs: number) => void): NodeJS.Timeout {
  const shortestMs = Math.min(limits.artimMs, limits.idleTimeoutMs, limits.stallTimeoutMs);
  const everyMs = Math.max(10, Math.min(1_000, Math.floor(shortestMs / 4)));
  const clock = setInterval(() => look(performance.now()), everyMs);
  clock.unref();
  return clock;
}

async function close(server: Server, connections: Connections, deadlineMs: number): Promise<void> {
  const isClosed = new Promise<void>((resolve) => server.close(() => resolve()));
  connections.each((association) => association.shutDown());
  const deadline = setTimeout(() => {
    connections.each((association) => association.abort('the gateway is closing and cannot wait any longer'));
  }, deadlineMs);
  await connections.empty();
  clearTimeout(deadline);
  await isClosed;
}

async function listen(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new ArchiveError(
          'unavailable',
          `cannot listen for DIMSE on ${host}:${port}; is it in use?`,
          { host, port },
          cause,
        ),
      );
    });
    server.listen({ host, port, backlog: 511 }, resolve);
  });
  server.removeAllListeners('error');
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}
