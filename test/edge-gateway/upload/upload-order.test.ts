/**
 * In which order packs go to the cloud, over a real index: what is urgent at once, the newest before the oldest, and the oldest
 * all the same.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSqliteIndex, type SqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { UploadOrder } from '#edge-gateway/upload/upload-order.ts';
import type { PackRecord, UploadPriority } from '#shared/archive/records.ts';

const tenant = 'hospital';
let folder: string;
let index: SqliteIndex;
let isTime: boolean;
let resting: Set<number>;
let order: UploadOrder;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'archipel-order-'));
  index = await createSqliteIndex({ file: join(folder, 'index.sqlite'), inWorker: false });
  isTime = true;
  resting = new Set();
  order = new UploadOrder({
    tenant,
    index,
    rests: (pack) => resting.has(numberOf(pack)),
    isTime: () => isTime,
    parallel: 1,
  });
});
afterEach(async () => {
  await index.close();
  rmSync(folder, { recursive: true, force: true });
});

const numberOf = ({ packId }: PackRecord): number => Number(packId.slice(-12));

async function seal(n: number, priority: UploadPriority = 'routine'): Promise<void> {
  await index.createPack({
    tenant,
    studyInstanceUid: '1.2',
    seriesInstanceUid: `1.2.${n}`,
    packId: `0197a000-0000-7000-8000-${String(n).padStart(12, '0')}`,
    state: 'sealed',
    instanceCount: 1,
    lengthBytes: 10,
    createdAtMs: n,
    priority,
  });
}

async function look(): Promise<number[]> {
  const packs = await order.next();
  order.add(packs.map((pack) => ({ pack, answer: { kind: 'stored', packId: pack.packId } })));
  return packs.map(numberOf);
}

/** Takes and finishes packs, looking for more as the uploader does. */
async function sendAll(count: number): Promise<number[]> {
  const sent: number[] = [];
  while (sent.length < count) {
    if (sent.length === 0 || order.wantsMore) await look();
    const job = order.take('any');
    if (job === undefined) break;
    await index.updatePack(tenant, job.pack, ['sealed'], { state: 'sent' });
    order.done(job.pack);
    sent.push(numberOf(job.pack));
  }
  return sent;
}

describe('the order of uploads', () => {
  it('is by priority, and the newest first within each', async () => {
    await seal(1);
    await seal(2, 'low');
    await seal(3, 'stat');
    await seal(4);
    await seal(5, 'stat');
    await seal(6, 'low');
    expect(await sendAll(9)).toEqual([5, 3, 4, 1, 6, 2]);
  });

  it('lets what is urgent go ahead of all that was announced before', async () => {
    for (let n = 1; n <= 60; n++) await seal(n);
    await look();
    expect(numberOf(order.take('any')!.pack)).toBe(60);
    await seal(61, 'stat');
    await seal(62);
    expect(await look()).toEqual([61, 62]);
    expect([order.take('any'), order.take('any')].map((job) => numberOf(job!.pack))).toEqual([61, 62]);
    expect(order.take('stat')).toBeUndefined();
  });

  it('gives one of eight turns to the oldest, so that it does not wait for ever', async () => {
    for (let n = 1; n <= 300; n++) await seal(n);
    const sent = await sendAll(64);
    expect(sent.filter((n) => n <= 8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(sent.filter((n) => n > 100)).toHaveLength(56);
    expect(new Set([...sent, ...(await sendAll(300))]).size).toBe(300);
  });

  it('passes over what rests, however much of it is newer', async () => {
    for (let n = 1; n <= 130; n++) await seal(n);
    for (let n = 11; n <= 130; n++) resting.add(n);
    expect((await sendAll(20)).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('has only what is urgent outside the hours, also of what was announced within them', async () => {
    for (let n = 1; n <= 10; n++) await seal(n);
    await look();
    isTime = false;
    await seal(11, 'stat');
    expect(await look()).toEqual([11]);
    expect(numberOf(order.take('any')!.pack)).toBe(11);
    expect(order.take('any')).toBeUndefined();
    isTime = true;
    expect(numberOf(order.take('any')!.pack)).toBe(10);
  });
});
