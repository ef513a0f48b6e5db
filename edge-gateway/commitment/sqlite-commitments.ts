/**
 * Storage commitments in SQLite, as plain functions on one connection: what was asked, what is known of each reference, and
 * what is still to be reported. A request is read and a report written here too, in the thread that has the engine: one may
 * have tens of thousands of references. Time comes in with each call; who calls is commitments.ts.
 *
 *     undecided --every reference has a reason--> decided --reported--> delivered
 *                                                         --given up--> undelivered
 */
import { createHash } from 'node:crypto';
import type { PackRef } from '#shared/archive/records.ts';
import type { Database } from '../cache/sqlite-database.ts';
import type { OperationKind } from '../cache/sqlite-runner.ts';
import {
  CommitmentEvent,
  encodeCommitmentResult,
  type FailedInstance,
  FailureReason,
  NormalizedStatus,
  type ReferencedInstance,
  readCommitmentRequest,
} from '../dimse/commitment-data-set.ts';
import { type StatusAnswer, success } from '../dimse/status.ts';

/** Of all that are not ended: what one AE may make this disk hold. */
const MAX_REFERENCES_IN_ALL = 1_000_000;
const MAX_COMMITMENTS = 10_000;

export interface IncomingRequest {
  /** The calling AE title. */
  readonly requestor: string;
  readonly transferSyntaxUid: string;
  readonly bytes: Uint8Array;
}

export interface Acceptance {
  readonly answer: StatusAnswer;
  readonly transactionUid: string | undefined;
  readonly references: number;
  /** The same request was there, undecided or unreported. */
  readonly isRepeated: boolean;
}

/** Names one reference of one commitment. */
export interface ReferenceKey {
  readonly commitmentId: number;
  readonly position: number;
}

export type UnlocatedReference = ReferenceKey & ReferencedInstance;

/** What was found out about a reference: its reason (0: committed), or the packs on whose fate it depends. */
export type Finding = ReferenceKey & ({ readonly reason: number } | { readonly packs: readonly PackRef[] });

export interface DueReport {
  readonly id: number;
  readonly transactionUid: string;
  readonly references: number;
  readonly failed: number;
  readonly attempts: number;
}

export interface ReportData {
  readonly eventTypeId: number;
  readonly bytes: Uint8Array;
}

export interface CommitmentsOverview {
  readonly undecided: number;
  /** Decided and not delivered yet. */
  readonly unreported: number;
  /** By AE title: reports that could not be delivered so far, or were given up. */
  readonly troubles: readonly {
    readonly requestor: string;
    readonly reports: number;
    readonly isGivenUp: boolean;
    readonly lastError: string;
  }[];
}

export interface CommitmentEngine {
  accept(request: IncomingRequest, nowMs: number): Acceptance;
  unlocated(limit: number): readonly UnlocatedReference[];
  find(findings: readonly Finding[]): void;
  awaitedPacks(after: number, limit: number): readonly { readonly id: number; readonly ref: PackRef }[];
  settle(pack: number, fate: 'archived' | 'rejected' | 'gone'): void;
  isAwaited(packId: string): boolean;
  expire(createdBeforeMs: number): void;
  conclude(nowMs: number): number;
  /** AEs with reports due: decided, and asked for at least `delayMs` ago, so that the answer to the request is there before. */
  requestorsToTell(nowMs: number, delayMs: number): readonly string[];
  /** Oldest first, those behind `after`. */
  dueReports(requestor: string, after: number, limit: number, nowMs: number, delayMs: number): readonly DueReport[];
  report(id: number, transferSyntaxUid: string, retrieveAeTitle: string): ReportData | undefined;
  delivered(id: number, nowMs: number): void;
  /** The peer could not be told anything. Gives up, and answers, what was decided before `decidedBeforeMs`. */
  unreachable(requestor: string, error: string, decidedBeforeMs: number, nowMs: number): readonly DueReport[];
  /** The peer did not take it. True: so often that it is given up. */
  refused(id: number, error: string, maxRefusals: number, nowMs: number): boolean;
  overview(endedAfterMs: number): CommitmentsOverview;
  prune(endedBeforeMs: number): void;
}

/** Findings that a power cut takes are found again; what was promised or said to a peer must stay. */
export const commitmentOperations = {
  accept: 'promise',
  unlocated: 'read',
  find: 'derived',
  awaitedPacks: 'read',
  settle: 'derived',
  isAwaited: 'read',
  expire: 'derived',
  conclude: 'promise',
  requestorsToTell: 'read',
  dueReports: 'read',
  report: 'read',
  delivered: 'promise',
  unreachable: 'promise',
  refused: 'promise',
  overview: 'read',
  prune: 'derived',
} as const satisfies Record<keyof CommitmentEngine, OperationKind>;

export function createCommitmentEngine(database: Database): CommitmentEngine {
  const sql = (text: string) => database.statement(text);
  const active = "state IN ('undecided', 'decided')";

  function end(id: number, state: 'delivered' | 'undelivered', nowMs: number): void {
    sql('UPDATE commitment SET state = ?, ended_at_ms = ? WHERE id = ?').run(state, nowMs, id);
    sql('DELETE FROM reference WHERE commitment_id = ?').run(id);
  }

  /** Packs that nobody waits for any more are not asked about, and hold up no eviction. */
  function dropUnawaited(): void {
    sql('DELETE FROM pack WHERE NOT EXISTS (SELECT 1 FROM wait WHERE wait.pack = pack.id)').run();
  }

  function packNumber({ studyInstanceUid, seriesInstanceUid, packId }: PackRef): number {
    const known = sql('SELECT id FROM pack WHERE pack_id = ?').get(packId);
    if (known !== undefined) return known.id as number;
    const { lastInsertRowid } = sql('INSERT INTO pack (study_uid, series_uid, pack_id) VALUES (?, ?, ?)').run(
      studyInstanceUid,
      seriesInstanceUid,
      packId,
    );
    return Number(lastInsertRowid);
  }

  return {
    accept({ requestor, transferSyntaxUid, bytes }, nowMs) {
      const request = readCommitmentRequest(bytes, transferSyntaxUid);
      if ('refusal' in request) return refused(request.refusal);
      const { transactionUid, references } = request;
      const fingerprint = fingerprintOf(references);
      const known = sql(`SELECT fingerprint FROM commitment
        WHERE requestor = ? AND transaction_uid = ? AND ${active}`).get(requestor, transactionUid);
      if (known !== undefined) {
        const isRepeated = known.fingerprint === fingerprint;
        const answer = isRepeated ? success : transactionInUse;
        return { answer, transactionUid, references: references.length, isRepeated };
      }
      const held = sql(`SELECT count(*) AS commitments, sum(reference_count) AS refs FROM commitment
        WHERE ${active}`).get();
      if (
        Number(held?.commitments ?? 0) >= MAX_COMMITMENTS ||
        Number(held?.refs ?? 0) + references.length > MAX_REFERENCES_IN_ALL
      )
        return refused(tooManyPending, transactionUid);
      const { lastInsertRowid } = sql(`INSERT INTO commitment
        (requestor, transaction_uid, state, reference_count, fingerprint, created_at_ms)
        VALUES (?, ?, 'undecided', ?, ?, ?)`).run(requestor, transactionUid, references.length, fingerprint, nowMs);
      const insert = sql(`INSERT INTO reference (commitment_id, position, sop_class_uid, sop_instance_uid)
        VALUES (?, ?, ?, ?)`);
      for (const [position, { sopClassUid, sopInstanceUid }] of references.entries())
        insert.run(lastInsertRowid, position, sopClassUid, sopInstanceUid);
      return { answer: success, transactionUid, references: references.length, isRepeated: false };
    },

    unlocated: (limit) =>
      sql(`SELECT commitment_id, position, sop_class_uid, sop_instance_uid FROM reference
        WHERE reason IS NULL AND located = 0 ORDER BY commitment_id, position LIMIT ?`)
        .all(limit)
        .map((row) => ({
          commitmentId: row.commitment_id as number,
          position: row.position as number,
          ...referenceOf(row),
        })),

    find(findings) {
      const decide = sql(`UPDATE reference SET reason = ?, located = 1
        WHERE commitment_id = ? AND position = ? AND reason IS NULL`);
      const wait = sql('INSERT INTO wait (pack, commitment_id, position) VALUES (?, ?, ?) ON CONFLICT DO NOTHING');
      for (const finding of findings) {
        const { commitmentId, position } = finding;
        const reason = 'reason' in finding ? finding.reason : null;
        const { changes } = decide.run(reason, commitmentId, position);
        if (changes === 0 || 'reason' in finding) continue;
        for (const pack of finding.packs) wait.run(packNumber(pack), commitmentId, position);
      }
    },

    awaitedPacks: (after, limit) =>
      sql('SELECT id, study_uid, series_uid, pack_id FROM pack WHERE id > ? ORDER BY id LIMIT ?')
        .all(after, limit)
        .map((row) => ({
          id: row.id as number,
          ref: {
            studyInstanceUid: row.study_uid as string,
            seriesInstanceUid: row.series_uid as string,
            packId: row.pack_id as string,
          },
        })),

    settle(pack, fate) {
      const waiting = `reason IS NULL AND (commitment_id, position) IN
        (SELECT commitment_id, position FROM wait WHERE pack = ?1)`;
      if (fate === 'archived')
        sql(`UPDATE reference SET reason = 0 WHERE ${waiting} AND NOT EXISTS (SELECT 1 FROM wait AS other
          WHERE other.commitment_id = reference.commitment_id AND other.position = reference.position
          AND other.pack <> ?1)`).run(pack);
      else if (fate === 'rejected')
        sql(`UPDATE reference SET reason = ?2 WHERE ${waiting}`).run(pack, FailureReason.ProcessingFailure);
      else sql(`UPDATE reference SET located = 0 WHERE ${waiting}`).run(pack);
      sql('DELETE FROM wait WHERE pack = ?').run(pack);
      sql('DELETE FROM pack WHERE id = ?').run(pack);
    },

    isAwaited: (packId) =>
      sql('SELECT 1 FROM reference WHERE reason IS NULL AND located = 0 LIMIT 1').get() !== undefined ||
      sql('SELECT 1 FROM pack WHERE pack_id = ?').get(packId) !== undefined,

    expire(createdBeforeMs) {
      const late = sql("SELECT id FROM commitment WHERE state = 'undecided' AND created_at_ms < ?").all(
        createdBeforeMs,
      );
      for (const { id } of late) {
        sql(`UPDATE reference SET reason = CASE located WHEN 1 THEN ? ELSE ? END
          WHERE commitment_id = ? AND reason IS NULL`).run(
          FailureReason.ResourceLimitation,
          FailureReason.ProcessingFailure,
          id as number,
        );
        sql('DELETE FROM wait WHERE commitment_id = ?').run(id as number);
      }
      if (late.length > 0) dropUnawaited();
    },

    conclude(nowMs) {
      const { changes } = sql(`UPDATE commitment SET state = 'decided', decided_at_ms = ?,
        failed_count = (SELECT count(*) FROM reference WHERE commitment_id = commitment.id AND reason > 0)
        WHERE state = 'undecided' AND NOT EXISTS
        (SELECT 1 FROM reference WHERE commitment_id = commitment.id AND reason IS NULL)`).run(nowMs);
      return Number(changes);
    },

    requestorsToTell: (nowMs, delayMs) =>
      sql(`SELECT DISTINCT requestor FROM commitment WHERE ${due}`)
        .all(nowMs, delayMs)
        .map(({ requestor }) => requestor as string),

    dueReports: (requestor, after, limit, nowMs, delayMs) =>
      sql(`SELECT ${reportColumns} FROM commitment WHERE ${due} AND requestor = ?3 AND id > ?4 ORDER BY id LIMIT ?5`)
        .all(nowMs, delayMs, requestor, after, limit)
        .map(reportOf),

    report(id, transferSyntaxUid, retrieveAeTitle) {
      const row = sql("SELECT transaction_uid FROM commitment WHERE id = ? AND state = 'decided'").get(id);
      if (row === undefined) return undefined;
      const committed: ReferencedInstance[] = [];
      const failed: FailedInstance[] = [];
      const rows = sql(`SELECT sop_class_uid, sop_instance_uid, reason FROM reference
        WHERE commitment_id = ? ORDER BY position`).all(id);
      for (const reference of rows) {
        const failureReason = reference.reason as number;
        if (failureReason === 0) committed.push(referenceOf(reference));
        else failed.push({ ...referenceOf(reference), failureReason });
      }
      const result = { transactionUid: row.transaction_uid as string, committed, failed };
      const eventTypeId = failed.length === 0 ? CommitmentEvent.Successful : CommitmentEvent.FailuresExist;
      return { eventTypeId, bytes: encodeCommitmentResult(result, transferSyntaxUid, retrieveAeTitle) };
    },

    delivered: (id, nowMs) => end(id, 'delivered', nowMs),

    unreachable(requestor, error, decidedBeforeMs, nowMs) {
      sql(`UPDATE commitment SET attempts = attempts + 1, last_error = ?
        WHERE state = 'decided' AND requestor = ?`).run(error, requestor);
      const late = sql(`SELECT ${reportColumns} FROM commitment
        WHERE state = 'decided' AND requestor = ? AND decided_at_ms < ?`)
        .all(requestor, decidedBeforeMs)
        .map(reportOf);
      for (const { id } of late) end(id, 'undelivered', nowMs);
      return late;
    },

    refused(id, error, maxRefusals, nowMs) {
      const row = sql(`UPDATE commitment SET attempts = attempts + 1, refusals = refusals + 1, last_error = ?
        WHERE id = ? RETURNING refusals`).get(error, id);
      const isEnough = Number(row?.refusals ?? 0) >= maxRefusals;
      if (isEnough) end(id, 'undelivered', nowMs);
      return isEnough;
    },

    overview(endedAfterMs) {
      const count = (state: string) =>
        sql('SELECT count(*) AS count FROM commitment WHERE state = ?').get(state)?.count as number;
      const troubles = sql(`SELECT requestor, state, count(*) AS reports, last_error, max(id) FROM commitment
        WHERE (state = 'decided' AND attempts > 0) OR (state = 'undelivered' AND ended_at_ms > ?)
        GROUP BY requestor, state ORDER BY requestor, state LIMIT 100`).all(endedAfterMs);
      return {
        undecided: count('undecided'),
        unreported: count('decided'),
        troubles: troubles.map((row) => ({
          requestor: row.requestor as string,
          reports: row.reports as number,
          isGivenUp: row.state === 'undelivered',
          lastError: (row.last_error ?? '') as string,
        })),
      };
    },

    prune(endedBeforeMs) {
      sql('DELETE FROM commitment WHERE ended_at_ms < ?').run(endedBeforeMs);
    },
  };
}

/** ?1: now, ?2: the least age. What was made in the future is of a clock that was set back. */
const due = "state = 'decided' AND (created_at_ms <= ?1 - ?2 OR created_at_ms > ?1)";

const reportColumns = 'id, transaction_uid, reference_count, failed_count, attempts';

const reportOf = (row: Record<string, unknown>): DueReport => ({
  id: row.id as number,
  transactionUid: row.transaction_uid as string,
  references: row.reference_count as number,
  failed: row.failed_count as number,
  attempts: row.attempts as number,
});

const referenceOf = (row: Record<string, unknown>): ReferencedInstance => ({
  sopClassUid: row.sop_class_uid as string,
  sopInstanceUid: row.sop_instance_uid as string,
});

function fingerprintOf(references: readonly ReferencedInstance[]): string {
  const hash = createHash('sha256');
  for (const { sopClassUid, sopInstanceUid } of references) hash.update(`${sopClassUid} ${sopInstanceUid}\n`);
  return hash.digest('hex');
}

const refused = (answer: StatusAnswer, transactionUid?: string): Acceptance => ({
  answer,
  transactionUid,
  references: 0,
  isRepeated: false,
});

const transactionInUse: StatusAnswer = {
  status: NormalizedStatus.InvalidArgumentValue,
  comment: 'the Transaction UID is in use for other references',
  offendingElements: [0x00081195],
};

const tooManyPending: StatusAnswer = {
  status: NormalizedStatus.ResourceLimitation,
  comment: 'too many commitments are pending; ask again later',
};
