/**
 * Two sides of a storage commitment for tests: an archive that answers requests and reports, which can be ended and started again
 * on the same file, and an AE that asks and listens for reports on a port of its own, which can be away.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createCommitmentStore } from '#edge-gateway/commitment/commitment-store.ts';
import { type Commitments, type CommitmentTiming, startCommitments } from '#edge-gateway/commitment/commitments.ts';
import type { CommitmentPeer } from '#edge-gateway/commitment/deliveries.ts';
import { createDiskDigest } from '#edge-gateway/commitment/disk-digest.ts';
import { connect } from '#edge-gateway/dimse/client.ts';
import { CommandField, type CommandSet, NO_DATA_SET } from '#edge-gateway/dimse/command-set.ts';
import type { CommitmentIntake } from '#edge-gateway/dimse/commitment.ts';
import {
  type CommitmentResult,
  encodeCommitmentRequest,
  type ReferencedInstance,
  readCommitmentResult,
} from '#edge-gateway/dimse/commitment-data-set.ts';
import { createDimseServer, type DimseServer } from '#edge-gateway/dimse/server.ts';
import type { Service } from '#edge-gateway/dimse/service.ts';
import type { StatusAnswer } from '#edge-gateway/dimse/status.ts';
import type { TlsIdentity } from '#edge-gateway/dimse/tls.ts';
import { silentLogger } from '#shared/log.ts';
import { type ArchiveFixture, makeArchive } from '#test/support/archive-fixture.ts';
import { freePorts } from '#test/support/system.ts';
import { MemoryReceiver } from '../dimse/memory-receiver.ts';

export const PUSH_MODEL = '1.2.840.10008.1.20.1';
export const WELL_KNOWN = '1.2.840.10008.1.20.1.1';
export const IMPLICIT = '1.2.840.10008.1.2';
export const EXPLICIT = '1.2.840.10008.1.2.1';
export const MODALITY = 'MODALITY';

const limits = { lingerMs: 100, closeDeadlineMs: 200 };
const timing: CommitmentTiming = { firstDelayMs: 10, pollMs: 20, retryCapMs: 100 };

export interface SiteOptions {
  readonly mode?: 'edge' | 'cloud';
  readonly retryHours?: number;
  readonly peers?: ReadonlyMap<string, CommitmentPeer>;
  readonly nowMs?: () => number;
  readonly whenIndexed?: () => Promise<void>;
}

export class CommitmentSite implements AsyncDisposable {
  readonly fixture: ArchiveFixture;
  readonly folder: string;
  readonly #options: SiteOptions;
  commitments!: Commitments;
  server!: DimseServer;

  private constructor(fixture: ArchiveFixture, folder: string, options: SiteOptions) {
    this.fixture = fixture;
    this.folder = folder;
    this.#options = options;
  }

  static async create(instances: readonly Uint8Array[], options: SiteOptions = {}): Promise<CommitmentSite> {
    const folder = mkdtempSync(join(tmpdir(), 'archipel-commitment-'));
    const site = new CommitmentSite(await makeArchive(instances), folder, options);
    await site.start();
    return site;
  }

  async start(): Promise<void> {
    const { archive, tenant } = this.fixture;
    const { pathOf } = archive.packs as DiskPackStore;
    const { mode = 'cloud', retryHours = 48, peers = new Map(), nowMs = Date.now } = this.#options;
    this.commitments = startCommitments({
      store: createCommitmentStore({ file: join(this.folder, 'commitments.sqlite'), inWorker: false }),
      disk: createDiskDigest({ pathOf, openFolder: join(this.folder, 'open') }),
      tenant,
      index: archive.index,
      mode,
      retryHours,
      aeTitle: 'ARCHIPEL',
      peerOf: (aeTitle) => peers.get(aeTitle),
      whenIndexed: this.#options.whenIndexed ?? (async () => {}),
      nowMs,
      random: Math.random,
      log: silentLogger,
      timing,
    });
    this.server = await createDimseServer({
      host: '127.0.0.1',
      port: 0,
      aeTitle: 'ARCHIPEL',
      receiver: new MemoryReceiver(),
      storageCommitment: { intake: this.commitments },
      log: silentLogger,
      limits,
    });
  }

  async stop(): Promise<void> {
    await this.server.close();
    await this.commitments.close();
  }

  ask(references: readonly ReferencedInstance[], options: AskOptions = {}): Promise<StatusAnswer> {
    return ask(this.server.port, references, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.fixture.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface AskOptions {
  readonly transactionUid?: string;
  readonly transferSyntaxUid?: string;
  readonly callingAeTitle?: string;
  /** To say something else in the command. */
  readonly command?: Partial<CommandSet>;
  /** Instead of what asks for the references; null: none. */
  readonly dataSet?: Uint8Array | null;
}

/** N-ACTION, and its answer. */
export async function ask(
  port: number,
  references: readonly ReferencedInstance[],
  options: AskOptions = {},
): Promise<StatusAnswer> {
  const { transactionUid = '1.2.3.4', transferSyntaxUid = IMPLICIT, callingAeTitle = MODALITY, dataSet } = options;
  const association = await connect({
    host: '127.0.0.1',
    port,
    callingAeTitle,
    calledAeTitle: 'ARCHIPEL',
    contexts: [{ abstractSyntax: PUSH_MODEL, transferSyntaxes: [transferSyntaxUid] }],
  });
  const [context] = association.contexts;
  if (context === undefined) throw new Error('Storage Commitment was not accepted');
  const bytes =
    dataSet === undefined ? encodeCommitmentRequest({ transactionUid, references }, transferSyntaxUid) : dataSet;
  const answer = await association.request(
    context,
    {
      requestedSopClassUid: PUSH_MODEL,
      commandField: CommandField.NActionRequest,
      dataSetType: bytes === null ? NO_DATA_SET : 1,
      requestedSopInstanceUid: WELL_KNOWN,
      actionTypeId: 1,
      ...options.command,
    },
    bytes ?? undefined,
  );
  await association.release();
  return answer;
}

export interface Report extends CommitmentResult {
  readonly eventTypeId: number | undefined;
  readonly callingAeTitle: string;
}

/** Who asked, as it listens for reports. */
export class ReportListener implements AsyncDisposable {
  readonly port: number;
  readonly reports: Report[] = [];
  /** Called with each report before it is answered. */
  readonly #onReport: (report: Report) => Promise<void>;
  /** Answered to the next reports, one after the other; then Success. */
  readonly answers: number[] = [];
  #server: DimseServer | undefined;

  private constructor(port: number, onReport: (report: Report) => Promise<void>) {
    this.port = port;
    this.#onReport = onReport;
  }

  /** Not listening yet. */
  static async create(onReport = async (_: Report): Promise<void> => {}): Promise<ReportListener> {
    const [port] = await freePorts(1);
    return new ReportListener(port!, onReport);
  }

  get peers(): ReadonlyMap<string, CommitmentPeer> {
    return new Map([[MODALITY, { host: '127.0.0.1', port: this.port }]]);
  }

  /** @param tls only over TLS, with this identity */
  async listen(tls?: TlsIdentity): Promise<void> {
    const service: Service = (request, scope) => {
      const pieces: Uint8Array[] = [];
      return {
        write: (piece) => void pieces.push(Uint8Array.from(piece)),
        abort: () => {},
        complete: async () => {
          const result = readCommitmentResult(Buffer.concat(pieces), scope.context.transferSyntaxUid);
          if ('refusal' in result) return result.refusal;
          const { eventTypeId } = request;
          const report = { ...result, eventTypeId, callingAeTitle: scope.callingAeTitle };
          await this.#onReport(report);
          this.reports.push(report);
          return { status: this.answers.shift() ?? 0 };
        },
      };
    };
    this.#server = await createDimseServer({
      host: '127.0.0.1',
      ...(tls === undefined
        ? { port: this.port }
        : { port: 0, tls: { port: this.port, identity: tls, clientCertificate: 'required' as const } }),
      aeTitle: MODALITY,
      receiver: new MemoryReceiver(),
      storageCommitment: { intake: nobody, user: { service } },
      log: silentLogger,
      limits,
    });
  }

  async goAway(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.goAway();
  }
}

/** Takes no requests: for servers that only hear reports. */
export const nobody: CommitmentIntake = {
  knows: () => false,
  accept: async () => ({ answer: { status: 0x0110 }, transactionUid: undefined, references: 0 }),
};
