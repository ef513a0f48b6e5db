/**
 * The way of decided commitments to those who asked (PS3.4 §J.3.3): all reports of one AE over one association, again with
 * full-jitter back-off when it is away, until they are taken or given up. What is to be reported is the store's; nothing is
 * remembered here that a restart may not forget.
 */
import { performance } from 'node:perf_hooks';
import { isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { type CommitmentReporter, openCommitmentReporter } from '../dimse/commitment-report.ts';
import type { DimseEvent } from '../dimse/events.ts';
import { isWarning, Status } from '../dimse/status.ts';
import { type ClientTls, type TlsIdentity, type TlsRemote, tlsTo } from '../dimse/tls.ts';
import type { CommitmentStore } from './commitment-store.ts';
import type { DueReport } from './sqlite-commitments.ts';

/** Where an AE that asked for commitments listens. */
export interface CommitmentPeer {
  readonly host: string;
  readonly port: number;
  readonly tls?: ClientTls;
}

/** Those of the settings' table, called over TLS where it says so. */
export function commitmentPeers(
  remoteAes: ReadonlyMap<string, TlsRemote & { readonly host: string; readonly port: number }>,
  tlsIdentity: TlsIdentity | undefined,
): (aeTitle: string) => CommitmentPeer | undefined {
  return (aeTitle) => {
    const remote = remoteAes.get(aeTitle);
    if (remote === undefined) return undefined;
    const tls = tlsTo(remote, tlsIdentity);
    return { host: remote.host, port: remote.port, ...(tls === undefined ? {} : { tls }) };
  };
}

export interface DeliveriesOptions {
  readonly store: CommitmentStore;
  /** Ours. */
  readonly aeTitle: string;
  /** By AE title, as it is now; undefined: not in the table. */
  readonly peerOf: (aeTitle: string) => CommitmentPeer | undefined;
  /** How long a report is tried. */
  readonly retryMs: number;
  /** From a request to the first try to report. */
  readonly firstDelayMs: number;
  /** The longest pause between two tries. */
  readonly retryCapMs: number;
  readonly nowMs: () => number;
  readonly random: () => number;
  readonly log: Logger;
  readonly onEvent?: (event: DimseEvent) => void;
}

/** AEs reported to at once. */
const PARALLEL = 8;
const FIRST_RETRY_MS = 1_000;
const PAGE = 20;
/** A peer that says so often that it cannot take a report will not take it. */
const MAX_REFUSALS = 5;
const CONNECT_TIMEOUT_MS = 15_000;

interface Rest {
  readonly failures: number;
  /** performance.now(). */
  readonly untilMs: number;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #running = new Map<string, Promise<void>>();
  readonly #open = new Set<CommitmentReporter>();
  readonly #resting = new Map<string, Rest>();
  #isClosing = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Begins with every AE that has something due and is not resting. Resolves at once. Errors: those of the store. */
  async begin(): Promise<void> {
    const { store, nowMs, firstDelayMs } = this.#options;
    const requestors = await store.requestorsToTell(nowMs(), firstDelayMs);
    const waiting = new Set(requestors);
    for (const requestor of this.#resting.keys()) if (!waiting.has(requestor)) this.#resting.delete(requestor);
    for (const requestor of requestors) {
      if (this.#isClosing || this.#running.size >= PARALLEL) return;
      if (this.#running.has(requestor)) continue;
      if ((this.#resting.get(requestor)?.untilMs ?? 0) > performance.now()) continue;
      const running = this.#deliverTo(requestor).finally(() => this.#running.delete(requestor));
      this.#running.set(requestor, running);
    }
  }

  /** Breaks off what is under way: it is reported again after the next start. */
  async close(): Promise<void> {
    this.#isClosing = true;
    for (const reporter of this.#open) reporter.abort();
    const late = new Promise<void>((resolve) => setTimeout(resolve, 2_000).unref());
    await Promise.race([Promise.all(this.#running.values()), late]);
  }

  async #deliverTo(requestor: string): Promise<void> {
    const log = this.#options.log.child({ requestor });
    try {
      const refusal = await this.#reportAll(requestor, log);
      if (refusal) this.#rest(requestor);
      else this.#resting.delete(requestor);
    } catch (error) {
      if (this.#isClosing) return;
      if (!isArchiveError(error)) log.error({ err: error }, 'reporting a storage commitment failed unexpectedly');
      await this.#unreachable(requestor, isArchiveError(error) ? error.message : 'the gateway itself failed', log);
    }
  }

  /** True: the peer did not take one of them. Errors: those of the association and of the store. */
  async #reportAll(requestor: string, log: Logger): Promise<boolean> {
    const { store, aeTitle, peerOf, nowMs, firstDelayMs } = this.#options;
    const peer = peerOf(requestor);
    if (peer === undefined) {
      await this.#unreachable(requestor, 'it is no longer in the AE table', log);
      return false;
    }
    const reporter = await openCommitmentReporter({
      ...peer,
      callingAeTitle: aeTitle,
      calledAeTitle: requestor,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    });
    this.#open.add(reporter);
    let isRefused = false;
    try {
      let after = 0;
      for (;;) {
        const due = await store.dueReports(requestor, after, PAGE, nowMs(), firstDelayMs);
        for (const report of due) isRefused = !(await this.#report(reporter, requestor, report, log)) || isRefused;
        after = due.at(-1)?.id ?? 0;
        if (due.length < PAGE) return isRefused;
      }
    } finally {
      this.#open.delete(reporter);
      await reporter.end();
    }
  }

  async #report(reporter: CommitmentReporter, requestor: string, report: DueReport, log: Logger): Promise<boolean> {
    const { store, aeTitle, nowMs } = this.#options;
    const { id, transactionUid, references, failed } = report;
    const event = await store.report(id, reporter.transferSyntaxUid, aeTitle);
    if (event === undefined) return true;
    const { status, comment } = await reporter.report(event);
    const fields = { transactionUid, references, failed };
    if (status === Status.Success || isWarning(status)) {
      await store.delivered(id, nowMs());
      this.#tell(requestor, report, true);
      log.info({ ...fields, tries: report.attempts + 1 }, 'storage commitment reported');
      return true;
    }
    const said = `it answered ${status.toString(16).toUpperCase().padStart(4, '0')}H${comment ? ` (${comment})` : ''}`;
    const isGivenUp = await store.refused(id, said, MAX_REFUSALS, nowMs());
    if (isGivenUp) {
      this.#tell(requestor, report, false);
      log.error({ ...fields, status, comment }, 'a storage commitment report was refused; given up');
    } else log.warn({ ...fields, status, comment }, 'a storage commitment report was refused; it will be sent again');
    return false;
  }

  async #unreachable(requestor: string, why: string, log: Logger): Promise<void> {
    const { store, retryMs, nowMs } = this.#options;
    const failures = this.#rest(requestor);
    try {
      const now = nowMs();
      const givenUp = await store.unreachable(requestor, why, now - retryMs, now);
      if (failures === 1) log.warn({ why }, 'storage commitments could not be reported; it will be tried again');
      for (const report of givenUp) {
        const { transactionUid, references, failed, attempts } = report;
        this.#tell(requestor, report, false);
        log.error(
          { transactionUid, references, failed, tries: attempts, why },
          'a storage commitment could not be reported; given up',
        );
      }
    } catch (error) {
      log.error({ err: error }, 'a failed storage commitment report could not be noted');
    }
  }

  #tell(aeTitle: string, { transactionUid, references, failed }: DueReport, isDelivered: boolean): void {
    const committed = references - failed;
    this.#options.onEvent?.({ kind: 'commitment-reported', aeTitle, transactionUid, committed, failed, isDelivered });
  }

  /** Answers how often it has failed in a row. */
  #rest(requestor: string): number {
    const failures = (this.#resting.get(requestor)?.failures ?? 0) + 1;
    const capMs = Math.min(this.#options.retryCapMs, FIRST_RETRY_MS * 2 ** Math.min(failures, 20));
    this.#resting.set(requestor, { failures, untilMs: performance.now() + this.#options.random() * capMs });
    return failures;
  }
}
