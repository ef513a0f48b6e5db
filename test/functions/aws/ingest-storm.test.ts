/**
 * F13 of RELIABILITY: packs whose arrival is told one to five times, in any order, late, to a step whose store and index fail now and then,
 * before or after they have done what they were asked. The end is that of telling each once, in order; what nobody understands lies
 * among the dead letters. Real ingest, real packs, a real index, over the wire of SQS. ARCHIPEL_STORMS: how many storms (3).
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createDiskPackStore } from '#edge-gateway/cache/disk-pack-store.ts';
import { createSqliteIndex } from '#edge-gateway/cache/sqlite-index.ts';
import { createSqsHandler } from '#functions/aws/sqs-events.ts';
import { createSqsQueue } from '#functions/aws/sqs-queue.ts';
import { createIngestStep } from '#functions/ingest/step.ts';
import { manifestKey, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRecord } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';
import { silentLogger } from '#shared/log.ts';
import { makeArchive } from '#test/support/archive-fixture.ts';
import { freshUid, makeInstance } from '#test/support/dicom-factory.ts';
import { sha256 } from '#test/support/dicomweb-client.ts';
import { created } from '#test/support/s3-events.ts';
import { pollOnce, startSqs, type TestSqs } from '#test/support/sqs.ts';

const bucket = 'archive';
const tenant = 'test';
const NOW_MS = Date.UTC(2024, 1, 1);
const MAX_RECEIVE_COUNT = 5;
const VISIBILITY_SECONDS = 1_800;

interface Pack {
  readonly record: PackRecord;
  readonly bytes: Uint8Array;
}

let sqs: TestSqs;
let client: SQSClient;
let packs: readonly Pack[];
let folder: string;

beforeAll(async () => {
  sqs = await startSqs();
  client = new SQSClient(sqs.config);
  folder = await mkdtemp(join(tmpdir(), 'archipel-storm-'));
  packs = await makePacks();
  vi.useFakeTimers({ toFake: ['Date'] });
});
afterAll(async () => {
  vi.useRealTimers();
  client.destroy();
  await sqs.close();
  await rm(folder, { recursive: true, force: true });
});

/** Two series of a study and one of another; one instance came twice, another a second time with other bytes; one pack is damaged. */
async function makePacks(): Promise<readonly Pack[]> {
  const study = freshUid();
  const [one, two, three] = [
    { studyInstanceUid: study, seriesInstanceUid: freshUid() },
    { studyInstanceUid: study, seriesInstanceUid: freshUid() },
    { studyInstanceUid: freshUid(), seriesInstanceUid: freshUid() },
  ] as const;
  const small = { rows: 4, columns: 4 };
  const made = [one, one, one, two, three, three].map((uids, i) =>
    makeInstance({ ...uids, ...small, instanceNumber: i }),
  );
  const other = makeInstance({ ...one, ...small, sopInstanceUid: made[0]!.ref.sopInstanceUid, instanceNumber: 99 });
  const fixture = await makeArchive(
    [...made, made[1]!, other].map(({ file }) => file),
    { packSize: 2 },
  );
  try {
    return await Promise.all(
      fixture.packs.map(async (ref) => {
        const bytes = Buffer.from(await fixture.archive.packs.read(packKey(tenant, ref)));
        if (ref.seriesInstanceUid === two.seriesInstanceUid) bytes.fill(0x55, 400, 500);
        const of = { lengthBytes: bytes.length, sha256: sha256(bytes), createdAtMs: 1, instanceCount: 2 };
        return { bytes, record: { ...ref, ...of, tenant, state: 'sealed' as const } };
      }),
    );
  } finally {
    await fixture.close();
  }
}

interface Site {
  readonly archive: Archive;
  close(): Promise<void>;
}

/** Where all packs have been uploaded; of the first the index knows nothing. */
async function open(): Promise<Site> {
  const root = await mkdtemp(join(folder, 'site-'));
  const index = await createSqliteIndex({ file: join(root, 'index.sqlite'), inWorker: false });
  const archive: Archive = { index, packs: createDiskPackStore({ root: join(root, 'packs') }) };
  await Promise.all(
    packs.map(async ({ record, bytes }, i) => {
      await archive.packs.create(packKey(tenant, record), bytes, { lengthBytes: bytes.length, sha256: sha256(bytes) });
      if (i > 0) await index.createPack(record);
    }),
  );
  return { archive, close: () => index.close() };
}

async function stateOf({ index, packs: store }: Archive) {
  const studies = [...new Set(packs.map(({ record }) => record.studyInstanceUid))].toSorted();
  return {
    studies: await Promise.all(
      studies.map(async (studyInstanceUid) => {
        const ref = { studyInstanceUid };
        const { items } = await index.listInstances(tenant, ref, { limit: 1_000 });
        return {
          study: await index.getStudy(tenant, ref),
          series: await index.listSeries(tenant, ref),
          versions: await Promise.all(items.map((item) => index.getVersions(tenant, item))),
          packs: await index.listPacks(tenant, ref),
        };
      }),
    ),
    conflicts: await index.listConflicts(tenant, 100),
    manifests: await Promise.all(
      packs.map(async ({ record }) => {
        const key = manifestKey(tenant, record);
        return (await store.head(key)) && sha256(await store.read(key));
      }),
    ),
  };
}

interface Fault {
  readonly call: number;
  /** Whether it was done, and only the answer is lost. */
  readonly isDone: boolean;
}

/** The same archive; of all that is asked of it, these calls fail. */
function failing({ index, packs: store }: Archive, faults: readonly Fault[]): Archive {
  let calls = 0;
  const over = <O extends object>(target: O): O =>
    new Proxy(target, {
      get(object, name, receiver) {
        const method: unknown = Reflect.get(object, name, receiver);
        if (typeof method !== 'function') return method;
        return async (...args: unknown[]): Promise<unknown> => {
          const fault = faults.find(({ call }) => call === calls);
          calls++;
          if (fault !== undefined && !fault.isDone) throw new ArchiveError('unavailable', 'made by the test: not done');
          const answer: unknown = await method.apply(object, args);
          if (fault !== undefined) throw new ArchiveError('unavailable', 'made by the test: its answer is lost');
          return answer;
        };
      },
    });
  return { index: over(index), packs: over(store) };
}

const poisons = [
  '{',
  '{"hello":1}',
  created('elsewhere', 'x'),
  created(bucket, 'x').replace('"x"', '"%E0%A4%A"'),
] as const;

const storms = fc.record({
  copies: fc.array(fc.array(fc.constantFrom(0, 1_000, 7_000), { minLength: 1, maxLength: 5 }), {
    minLength: 8,
    maxLength: 8,
  }),
  order: fc.infiniteStream(fc.nat()),
  // Fewer than a message has tries: none may die of them alone.
  faults: fc.array(fc.record({ call: fc.nat(80), isDone: fc.boolean() }), { maxLength: MAX_RECEIVE_COUNT - 1 }),
  poison: fc.subarray([...poisons]),
  pollers: fc.integer({ min: 1, max: 3 }),
});

describe('packs that are told of too often, out of order, late, and while things fail', () => {
  it('end as if each had been told of once, in order; poison ends among the dead letters', async () => {
    const calm = await open();
    const ingest = createIngestStep({ archive: calm.archive, nowMs: () => NOW_MS, log: silentLogger });
    for (const { record } of packs) await ingest({ key: packKey(tenant, record) });
    const expected = await stateOf(calm.archive);
    await calm.close();
    expect(expected.conflicts.count).toBe(1);
    expect(expected.studies.flatMap((one) => one.packs.map(({ state }) => state)).toSorted()).toEqual([
      ...packs.slice(1).map(() => 'archived'),
      'rejected',
    ]);

    const weather = fc.asyncProperty(storms, async ({ copies, order, faults, poison, pollers }) => {
      const site = await open();
      const { remove, ...where } = await sqs.createQueue(MAX_RECEIVE_COUNT);
      const queue = createSqsQueue<unknown>({ ...where, waitSeconds: 0 });
      try {
        const told = packs.flatMap(({ record }, i) =>
          copies[i]!.map((delayMs) => ({ delayMs, body: created(bucket, packKey(tenant, record)) })),
        );
        const all = [...told, ...poison.map((body) => ({ delayMs: 0, body }))]
          .map((message) => ({ message, rank: order.next().value as number }))
          .toSorted((a, b) => a.rank - b.rank);
        for (const { message } of all) {
          const { body, delayMs } = message;
          const command = { QueueUrl: where.queueUrl, MessageBody: body, DelaySeconds: delayMs / 1_000 };
          await client.send(new SendMessageCommand(command));
        }

        const archive = failing(site.archive, faults);
        const step = createIngestStep({ archive, nowMs: () => NOW_MS, log: silentLogger });
        const handler = createSqsHandler({ step, bucket, log: silentLogger });
        const settings = { batch: 10, visibilitySeconds: VISIBILITY_SECONDS };
        const poll = (): Promise<boolean> => pollOnce(client, where.queueUrl, settings, handler);
        for (let idle = 0; idle <= MAX_RECEIVE_COUNT; ) {
          const found = await Promise.all(Array.from({ length: pollers }, poll));
          if (found.includes(true)) continue;
          idle++;
          vi.setSystemTime(Date.now() + VISIBILITY_SECONDS * 1_000);
        }

        expect(await queue.counts()).toEqual({ ready: 0, inFlight: 0, dead: poison.length });
        const { Messages = [] } = await client.send(
          new ReceiveMessageCommand({ QueueUrl: where.deadLetterUrl, MaxNumberOfMessages: 10 }),
        );
        expect(Messages.map(({ Body }) => Body).toSorted()).toEqual(poison.toSorted());
        expect(await stateOf(site.archive)).toEqual(expected);
      } finally {
        await queue.close();
        await remove();
        await site.close();
      }
    });
    await fc.assert(weather, { numRuns: Number(process.env.ARCHIPEL_STORMS ?? 3) });
  });
});
