/**
 * The messages of a queue in SQLite, as plain functions on one connection; time comes in with each call. A message is
 * hidden until `visible_at_ms`; `hidden_for_ms` beside it shows it, too, when the clock was set back and would hide it longer.
 */
import type { QueueCounts, QueueMessage } from '#shared/archive/queue.ts';
import type { Database } from './sqlite-database.ts';
import type { OperationKind } from './sqlite-runner.ts';

export const queueMigrations: readonly string[] = [
  `
  CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    body TEXT NOT NULL,
    visible_at_ms INTEGER NOT NULL,
    hidden_for_ms INTEGER NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0,
    reason TEXT,
    died_at_ms INTEGER
  ) STRICT;
  CREATE INDEX message_visible ON message (visible_at_ms, id, hidden_for_ms, in_flight) WHERE died_at_ms IS NULL;
  CREATE INDEX message_dead ON message (died_at_ms, id) WHERE died_at_ms IS NOT NULL;
  `,
];

export interface StoredDeadLetter {
  readonly id: string;
  readonly body: string;
  readonly reason: string;
  readonly diedAtMs: number;
}

/** Bodies are JSON text. */
export interface QueueEngine {
  send(bodies: readonly string[], delayMs: number, nowMs: number): void;
  receive(max: number, visibilityMs: number, nowMs: number): readonly QueueMessage<string>[];
  delete(ids: readonly string[]): void;
  extend(ids: readonly string[], visibilityMs: number, nowMs: number): void;
  retry(id: string, reason: string, delayMs: number, nowMs: number): void;
  counts(nowMs: number): QueueCounts;
  deadLetters(limit: number): readonly StoredDeadLetter[];
  redrive(ids: readonly string[] | undefined, nowMs: number): number;
}

/** What a power cut may take of receiving and deleting only makes messages come once more. */
export const queueOperations = {
  send: 'promise',
  receive: 'derived',
  delete: 'derived',
  extend: 'derived',
  retry: 'derived',
  counts: 'read',
  deadLetters: 'read',
  redrive: 'promise',
} as const satisfies Record<keyof QueueEngine, OperationKind>;

const visible = 'died_at_ms IS NULL AND (visible_at_ms <= ?1 OR visible_at_ms > ?1 + hidden_for_ms)';

export function createQueueEngine(database: Database, maxReceiveCount: number): QueueEngine {
  const sql = (text: string) => database.statement(text);

  const bury = (id: number, reason: string, nowMs: number): void => {
    sql('UPDATE message SET died_at_ms = ?, reason = ?, in_flight = 0 WHERE id = ?').run(nowMs, reason, id);
  };

  return {
    send(bodies, delayMs, nowMs) {
      const insert = sql('INSERT INTO message (body, visible_at_ms, hidden_for_ms) VALUES (?, ?, ?)');
      for (const body of bodies) insert.run(body, nowMs + delayMs, delayMs);
    },

    receive(max, visibilityMs, nowMs) {
      const messages: QueueMessage<string>[] = [];
      while (messages.length < max) {
        const rows = sql(`SELECT id, body, receive_count, reason FROM message WHERE ${visible}
          ORDER BY visible_at_ms, id LIMIT ?2`).all(nowMs, max - messages.length);
        if (rows.length === 0) break;
        for (const row of rows) {
          const id = row.id as number;
          const receiveCount = (row.receive_count as number) + 1;
          if (receiveCount > maxReceiveCount) {
            bury(id, `${row.reason ?? `It was received ${maxReceiveCount} times and never finished.`}`, nowMs);
            continue;
          }
          sql(`UPDATE message SET receive_count = ?, visible_at_ms = ?, hidden_for_ms = ?, in_flight = 1, reason = NULL
            WHERE id = ?`).run(receiveCount, nowMs + visibilityMs, visibilityMs, id);
          messages.push({ id: `${id}.${receiveCount}`, body: row.body as string, receiveCount });
        }
        // Hidden for no time at all they would be found again and again.
        if (visibilityMs <= 0) break;
      }
      return messages;
    },

    delete(ids) {
      for (const { id } of deliveriesOf(ids)) sql('DELETE FROM message WHERE id = ? AND died_at_ms IS NULL').run(id);
    },

    extend(ids, visibilityMs, nowMs) {
      for (const { id, receiveCount } of deliveriesOf(ids)) {
        sql(`UPDATE message SET visible_at_ms = ?, hidden_for_ms = ?
          WHERE id = ? AND receive_count = ? AND in_flight = 1 AND died_at_ms IS NULL`).run(
          nowMs + visibilityMs,
          visibilityMs,
          id,
          receiveCount,
        );
      }
    },

    retry(delivery, reason, delayMs, nowMs) {
      for (const { id, receiveCount } of deliveriesOf([delivery])) {
        const { changes } = sql(`UPDATE message SET visible_at_ms = ?, hidden_for_ms = ?, in_flight = 0, reason = ?
          WHERE id = ? AND receive_count = ? AND died_at_ms IS NULL`).run(
          nowMs + delayMs,
          delayMs,
          reason,
          id,
          receiveCount,
        );
        if (changes === 1 && receiveCount >= maxReceiveCount) bury(id, reason, nowMs);
      }
    },

    counts(nowMs) {
      const row = sql(`SELECT count(*) AS alive, total(in_flight AND NOT (${visible})) AS hidden FROM message
        WHERE died_at_ms IS NULL`).get(nowMs);
      const dead = sql('SELECT count(*) AS dead FROM message WHERE died_at_ms IS NOT NULL').get();
      const inFlight = row?.hidden as number;
      return { ready: (row?.alive as number) - inFlight, inFlight, dead: dead?.dead as number };
    },

    deadLetters: (limit) =>
      sql('SELECT * FROM message WHERE died_at_ms IS NOT NULL ORDER BY died_at_ms, id LIMIT ?')
        .all(limit)
        .map((row) => ({
          id: `${row.id}.${row.receive_count}`,
          body: row.body as string,
          reason: row.reason as string,
          diedAtMs: row.died_at_ms as number,
        })),

    redrive(ids, nowMs) {
      const revive = `UPDATE message SET died_at_ms = NULL, reason = NULL, receive_count = 0, visible_at_ms = ?, hidden_for_ms = 0
        WHERE died_at_ms IS NOT NULL`;
      if (ids === undefined) return Number(sql(revive).run(nowMs).changes);
      let count = 0;
      for (const { id } of deliveriesOf(ids)) count += Number(sql(`${revive} AND id = ?`).run(nowMs, id).changes);
      return count;
    },
  };
}

/** What ids name; those that are none of ours name nothing. */
function deliveriesOf(ids: readonly string[]): { id: number; receiveCount: number }[] {
  return ids.flatMap((text) => {
    const [, id, receiveCount] = /^(\d{1,15})\.(\d{1,9})$/.exec(text) ?? [];
    return id === undefined ? [] : [{ id: Number(id), receiveCount: Number(receiveCount) }];
  });
}
