/**
 * The queue consumer of one machine over a real SQLite queue: once each, leases renewed and taken over, failures ever later.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteQueue } from '#edge-gateway/cache/sqlite-queue.ts';
import { startPipeline } from '#infra/local/pipeline.ts';
import type { Queue } from '#shared/archive/queue.ts';
import { silentLogger } from '#shared/log.ts';
import { until } from '#test/support/system.ts';

describe('the pipeline of one machine', () => {
  let folder: string;
  let queue: Queue<string>;
  let nowMs = Date.now();
  const open = (): Queue<string> =>
    createSqliteQueue({ file: join(folder, 'queue.sqlite'), inWorker: false, maxReceiveCount: 3, nowMs: () => nowMs });
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'archipel-pipeline-'));
    nowMs = Date.now();
    queue = open();
  });
  afterEach(async () => {
    await queue.close();
    rmSync(folder, { recursive: true, force: true });
  });

  function start(step: (message: string) => Promise<void>, leaseMs?: number) {
    return startPipeline({ queue, step, batch: 1, log: silentLogger, ...(leaseMs === undefined ? {} : { leaseMs }) });
  }
  const isEmpty = async (): Promise<boolean> => {
    const { ready, inFlight } = await queue.counts();
    return ready + inFlight === 0;
  };

  it('runs the step on each message once and deletes it', async () => {
    const done: string[] = [];
    const pipeline = start(async (message) => void done.push(message));
    for (const message of ['a', 'b', 'c']) await queue.send(message);
    pipeline.wake();
    await until('the queue to be empty', 10_000, isEmpty);
    await pipeline.close();
    expect(done).toEqual(['a', 'b', 'c']);
  });

  it('works on as many at once as it may, each of them once', async () => {
    await queue.sendAll(['a', 'b', 'c', 'd', 'e']);
    const done: string[] = [];
    let running = 0;
    let most = 0;
    const step = async (message: string): Promise<void> => {
      most = Math.max(most, ++running);
      await pause(50);
      running--;
      done.push(message);
    };
    const pipeline = startPipeline({ queue, step, batch: 1, concurrency: 3, log: silentLogger });
    await until('the queue to be empty', 10_000, isEmpty);
    await pipeline.close();
    expect(done.sort()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(most).toBe(3);
  });

  it('takes up within seconds what a killed process had in hand', async () => {
    await queue.send('a');
    let taken = false;
    const never = new Promise<void>(() => {});
    // A step that never ends in a queue that is closed is what a killed process leaves: nobody deletes or renews.
    start(() => {
      taken = true;
      return never;
    });
    await until('the step to begin', 10_000, async () => taken);
    await queue.close();
    queue = open();
    const done: string[] = [];
    const pipeline = start(async (message) => void done.push(message));
    await pause(400);
    expect(done).toEqual([]);
    nowMs += 15_001;
    pipeline.wake();
    await until('the message to be worked on', 10_000, async () => done.length === 1);
    await until('the queue to be empty', 10_000, isEmpty);
    await pipeline.close();
  });

  it('renews its lease while a step runs, however long', async () => {
    let runs = 0;
    const leaseMs = 300;
    await queue.send('a');
    const step = async (): Promise<void> => {
      runs++;
      for (let i = 0; i < 8; i++) {
        await pause(100);
        nowMs += 100;
      }
    };
    const one = start(step, leaseMs);
    const other = start(step, leaseMs);
    await until('the queue to be empty', 10_000, isEmpty);
    await Promise.all([one.close(), other.close()]);
    expect(runs).toBe(1);
  });

  it('lets a failure come back later, ever later, and then among the dead letters', async () => {
    const attemptsAtMs: number[] = [];
    const startedAtMs = nowMs;
    const pipeline = start(async () => {
      attemptsAtMs.push(nowMs - startedAtMs);
      throw new Error('it failed');
    });
    await queue.send('a');
    await until('the dead letter', 20_000, async () => {
      nowMs += 500;
      pipeline.wake();
      return (await queue.counts()).dead === 1;
    });
    await pipeline.close();
    expect(attemptsAtMs.length).toBe(3);
    expect(attemptsAtMs[1]! - attemptsAtMs[0]!).toBeGreaterThanOrEqual(2_000);
    expect(attemptsAtMs[2]! - attemptsAtMs[1]!).toBeGreaterThanOrEqual(8_000);
    const [dead] = await queue.deadLetters(10);
    expect(dead).toMatchObject({ body: 'a', reason: 'The step failed unexpectedly; the log says more.' });
  });
});
