/**
 * The DIMSE server: listens, in plain text and over TLS, gives every connection an Association and decides with peers.ts and
 * connections.ts which may be opened, watches the clock for all of them, and closes without breaking off a store that is under way.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { InstanceReceiver } from '#shared/archive/outcome.ts';
import type { Archive } from '#shared/archive/ports.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import type { AssociateRequest } from './associate-pdu.ts';
import { Association } from './association.ts';
import { CommandField } from './command-set.ts';
import { type CommitmentIntake, createCommitmentService } from './commitment.ts';
import type { CommitmentUser } from './commitment-user.ts';
import { type Connection, Connections } from './connections.ts';
import type { Decompressor } from './decompressor.ts';
import type { RemoteAe } from './delivery.ts';
import { echoService } from './echo.ts';
import type { DimseEvent } from './events.ts';
import { createFindService } from './find.ts';
import { createGetService } from './get.ts';
import { informationModels } from './information-model.ts';
import { type DimseLimits, defaultDimseLimits } from './limits.ts';
import { createMoveService } from './move.ts';
import { isStorageClass, type NegotiationPolicy } from './negotiation.ts';
import { Rejects } from './pdu.ts';
import { type Admission, type Caller, createAdmission, type PeerSettings, rejected } from './peers.ts';
import type { Service } from './service.ts';
import { createStoreService } from './store.ts';
import { createTlsListener, type TlsIdentity, type TlsListenerOptions, verifiedSubjects } from './tls.ts';

/** What Query/Retrieve is offered over. */
export interface QueryRetrieveOptions {
  readonly archive: Archive;
  readonly tenant: string;
  /** For receivers that do not take what is compressed. Whoever made it closes it. */
  readonly decompressor: Decompressor;
  /** Answers to one C-FIND; beyond it the query ends with A700H. Default 100,000. */
  readonly maxFindResults?: number;
  /** Where C-MOVE may send to, by AE title. Default: nowhere. */
  readonly remoteAes?: ReadonlyMap<string, RemoteAe>;
  /** With which we call those that want TLS. */
  readonly tlsIdentity?: TlsIdentity;
}

export interface StorageCommitmentOptions {
  /** Takes what others ask for. */
  readonly intake: CommitmentIntake;
  /** Hears what others report on what we asked them for; without it reports are refused. */
  readonly user?: Pick<CommitmentUser, 'service'>;
}

export interface DimseServerOptions {
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Ours. */
  readonly aeTitle: string;
  /** Who may call. Default: anybody, by any title. */
  readonly peers?: PeerSettings;
  /** A second port, over TLS. */
  readonly tls?: TlsListenerOptions & { readonly port: number };
  /** Whether there is room on the disk: while there is none, associations that are only for storage are rejected 2/3/2. */
  readonly hasRoom?: () => boolean;
  readonly receiver: InstanceReceiver;
  /** Without it Query/Retrieve is not offered. */
  readonly queryRetrieve?: QueryRetrieveOptions;
  /** Without it Storage Commitment is not offered. */
  readonly storageCommitment?: StorageCommitmentOptions;
  readonly log: Logger;
  readonly limits?: Partial<DimseLimits>;
  /** For counters and pages; must not throw. */
  readonly onEvent?: (event: DimseEvent) => void;
}

/** Of the socket: fewer, larger reads. */
const READ_BYTES = 256 * 1024;

const anybody: PeerSettings = { calledAeTitles: 'any', unknownCallers: 'accepted', remoteAes: new Map() };

export interface DimseServer {
  readonly port: number;
  /** Undefined: no TLS. */
  readonly tlsPort: number | undefined;
  /** Connections now, associations or not yet. */
  readonly connectionCount: number;
  /** Stops accepting; ends what is idle, lets running stores finish within the deadline, aborts the rest. */
  close(): Promise<void>;
}

/**
 * Listens when it resolves. Errors: `unavailable` when an address cannot be listened on, `bad-request` when an address of the
 * settings is none.
 */
export async function createDimseServer(options: DimseServerOptions): Promise<DimseServer> {
  const { log, hasRoom = () => true } = options;
  const limits = { ...defaultDimseLimits, ...options.limits };
  const connections = new Connections(limits);
  const policy: NegotiationPolicy = {
    maxPduBytes: limits.maxPduBytes,
    maxOperations: limits.maxOperations,
    offersQueryRetrieve: options.queryRetrieve !== undefined,
    offersStorageCommitment: options.storageCommitment !== undefined,
  };
  const admissionOf = createAdmission(options.peers ?? anybody);
  const services = new Map<number, Service>([
    [CommandField.CEchoRequest, echoService],
    [CommandField.CStoreRequest, createStoreService(options.receiver)],
    ...queryRetrieveServices(options),
    ...storageCommitmentServices(options),
  ]);
  const report = (event: DimseEvent) => {
    try {
      options.onEvent?.(event);
    } catch (error) {
      log.error({ err: error, event: event.kind }, 'whoever listens to DIMSE events failed');
    }
  };

  /** Who it is comes first, since that is for good; what is only for now after it. */
  const admit = (connection: Connection, caller: Caller, request: AssociateRequest): Admission => {
    const admission = admissionOf(caller);
    if (admission.kind === 'rejected') return admission;
    const why =
      connections.limitFor(connection, caller.callingAeTitle, admission.maxAssociations) ??
      (isOnlyForStorage(request) && !hasRoom() ? 'the disk has no room for what it wants to store' : undefined);
    return why === undefined ? admission : rejected(Rejects.localLimitExceeded, why);
  };

  const open = (socket: Socket, connection: Connection, certificateSubjects: readonly string[] | undefined) => {
    const { address } = connection;
    connection.association = new Association(socket, {
      policy,
      limits,
      services,
      log,
      address,
      isSecure: certificateSubjects !== undefined,
      admit: (request) => {
        const { callingAeTitle, calledAeTitle } = request;
        const caller = { callingAeTitle, calledAeTitle, address, certificateSubjects: certificateSubjects ?? [] };
        return admit(connection, caller, request);
      },
      report: (event) => {
        if (event.kind === 'association-accepted') connections.accepted(connection, event.peer.callingAeTitle);
        report(event);
      },
    });
  };

  const server = createServer({ highWaterMark: READ_BYTES }, (socket) => {
    const connection = connections.enter(socket);
    if (connection !== undefined) open(socket, connection, undefined);
  });
  await listen(server, options.host, options.port);
  const servers: Server[] = [server];
  /** Since the last look at the clock: a flood of connections must not become a flood of log lines. */
  let failed = { count: 0, address: '', code: '' };
  if (options.tls !== undefined) {
    const secure = createTlsListener(options.tls, {
      handshakeTimeoutMs: limits.handshakeTimeoutMs,
      onConnection: (socket) => connections.enter(socket),
      onSecure: (socket) => {
        const connection = connections.of(socket);
        if (connection === undefined) socket.destroy();
        else open(socket, connection, verifiedSubjects(socket));
      },
      onFailed: (address, code) => {
        failed = { count: failed.count + 1, address, code };
      },
    });
    servers.push(secure);
    await listen(secure, options.host, options.tls.port).catch((error: unknown) => {
      server.close();
      throw error;
    });
  }
  // A failed accept (out of file descriptors) concerns one connection, not the server.
  for (const one of servers)
    one.on('error', (error) => log.error({ err: error }, 'a connection could not be accepted'));
  const clock = watchTime(limits, (nowMs) => {
    connections.each(({ association }) => association?.checkTime(nowMs));
    const cut = connections.takeCut();
    if (cut.count > 0) {
      log.warn({ ...cut, connections: connections.count }, 'connections cut: far too many are open');
      report({ kind: 'connections-cut', why: 'too-many', count: cut.count });
    }
    if (failed.count > 0) {
      log.warn({ ...failed }, 'TLS handshakes failed: check versions, suites and certificates');
      report({ kind: 'connections-cut', why: 'handshake-failed', count: failed.count });
    }
    failed = { count: 0, address: '', code: '' };
  });
  let closing: Promise<void> | undefined;
  return {
    port: portOf(server),
    tlsPort: servers[1] === undefined ? undefined : portOf(servers[1]),
    get connectionCount() {
      return connections.count;
    },
    close: () => {
      closing ??= close(servers, connections, limits.closeDeadlineMs).finally(() => clearInterval(clock));
      return closing;
    },
  };
}

/** Whether all that it can do is to store: one that may also query or retrieve is of use while the disk is full. */
function isOnlyForStorage({ contexts }: AssociateRequest): boolean {
  const classes = contexts.map((context) => context.abstractSyntax);
  return classes.some(isStorageClass) && !classes.some((uid) => informationModels.has(uid));
}

function storageCommitmentServices({ storageCommitment }: DimseServerOptions): [number, Service][] {
  if (storageCommitment === undefined) return [];
  const { intake, user } = storageCommitment;
  return [
    [CommandField.NActionRequest, createCommitmentService(intake)],
    ...(user === undefined ? [] : ([[CommandField.NEventReportRequest, user.service]] as [number, Service][])),
  ];
}

function queryRetrieveServices({ queryRetrieve, aeTitle }: DimseServerOptions): [number, Service][] {
  if (queryRetrieve === undefined) return [];
  const { archive, tenant, decompressor, maxFindResults = 100_000, remoteAes = new Map(), tlsIdentity } = queryRetrieve;
  const calling = { aeTitle, remoteAes, ...(tlsIdentity === undefined ? {} : { tlsIdentity }) };
  return [
    [CommandField.CGetRequest, createGetService({ archive, tenant, decompressor })],
    [CommandField.CMoveRequest, createMoveService({ archive, tenant, decompressor, ...calling })],
    [
      CommandField.CFindRequest,
      createFindService({ index: archive.index, tenant, aeTitle, maxResults: maxFindResults }),
    ],
  ];
}

/** One clock for all connections, fine enough for the shortest limit. */
function watchTime(limits: DimseLimits, look: (nowMs: number) => void): NodeJS.Timeout {
  const shortestMs = Math.min(limits.artimMs, limits.idleTimeoutMs, limits.stallTimeoutMs);
  const everyMs = Math.max(10, Math.min(1_000, Math.floor(shortestMs / 4)));
  const clock = setInterval(() => look(performance.now()), everyMs);
  clock.unref();
  return clock;
}

async function close(servers: readonly Server[], connections: Connections, deadlineMs: number): Promise<void> {
  const isClosed = Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  connections.each((connection) => {
    if (connection.association === undefined) connection.destroy();
    else connection.association.shutDown();
  });
  const deadline = setTimeout(() => {
    connections.each(({ association }) => association?.abort('the gateway is closing and cannot wait any longer'));
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
