/**
 * What the SQS queue makes of an SQS that is busy, broken, done with half of a batch, or silent about what it has done; and of what only SQS
 * has: batches of ten and of bytes, long polls, messages that others have put there.
 */
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Timing } from '#functions/aws/retry.ts';
import { createSqsQueue } from '#functions/aws/sqs-queue.ts';
import type { Queue } from '#shared/archive/queue.ts';
import { createFaultyWay, type Fault, type FaultyWay } from '#test/support/dynamo-faults.ts';
import { startSqs, type TestQueue, type TestSqs } from '#test/support/sqs.ts';

let sqs: TestSqs;
let way: FaultyWay;
let where: TestQueue;
let queue: Queue<unknown>;
/** What goes wrong with the next requests of an operation. */
let faults: Partial<Record<string, (Fault | undefined)[]>> = {};

/** Pauses take no time, and patience ends as it would. */
function quickTiming(): Timing {
  let nowMs = 0;
  return {
    nowMs: () => nowMs,
    random: () => 0.5,
    async sleep(ms) {
      nowMs += ms;
    },
  };
}

beforeAll(async () => {
  sqs = await startSqs();
  way = await createFaultyWay(sqs.config.endpoint as string, (operation) => faults[operation]?.shift());
});
afterAll(async () => {
  await way.close();
  await sqs.close();
});
beforeEach(async () => {
  faults = {};
  where = await sqs.createQueue(1);
  queue = open();
});
afterEach(async () => {
  await queue.close();
  await where.remove();
});

const open = (waitSeconds = 0): Queue<unknown> => {
  const client = { ...where.client, endpoint: way.endpoint };
  return createSqsQueue({ ...where, client, waitSeconds, timing: quickTiming() });
};
const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const take = async (max = 100): Promise<unknown[]> => (await queue.receive(max, 60_000)).map(({ body }) => body);
const requestsOf = async (operation: string, work: () => Promise<unknown>): Promise<number> => {
  const before = way.requests.get(operation) ?? 0;
  await work();
  return (way.requests.get(operation) ?? 0) - before;
};
/** As who else may write there would. */
const sendText = async (MessageBody: string): Promise<void> => {
  const client = new SQSClient(sqs.config);
  await client.send(new SendMessageCommand({ QueueUrl: where.queueUrl, MessageBody }));
  client.destroy();
};

describe('the SQS queue', () => {
  it('sends tens, and of a batch that was half done only the other half again', async () => {
    faults = { SendMessageBatch: ['half', undefined, 'half', 'throttled', 'half'] };
    const requests = await requestsOf('SendMessageBatch', () => queue.sendAll(numbers(25)));
    expect(requests).toBe(3 + 4);
    expect((await take()).toSorted()).toEqual(numbers(25).toSorted());
  });

  it('sends no more bytes at once than SQS takes', async () => {
    const long = ['a', 'b', 'c'].map((letter) => letter.repeat(200 * 1024));
    expect(await requestsOf('SendMessageBatch', () => queue.sendAll(long))).toBe(3);
    expect((await take()).toSorted()).toEqual(long);
  });

  it('sends again what it does not know to have been sent', async () => {
    faults = { SendMessageBatch: ['answer-lost', 'done-but-broken', 'broken'] };
    await queue.send('a');
    expect(await take()).toEqual(['a', 'a', 'a']);
  });

  it('says so when it cannot send, after all that can be sent was', async () => {
    faults = { SendMessageBatch: ['half-refused'] };
    await expect(queue.sendAll(['a', 'b'])).rejects.toThrow();
    expect(await take()).toEqual(['a']);
    faults = { SendMessageBatch: Array.from({ length: 1_000 }, () => 'throttled' as const) };
    await expect(queue.send('a')).rejects.toMatchObject({ code: 'unavailable', details: { retryAfterSeconds: 60 } });
    faults = { SendMessageBatch: ['denied'] };
    await expect(queue.send('a')).rejects.toMatchObject({ code: 'unavailable', details: {} });
  });

  it('of a queue that was not deployed says so at once', async () => {
    const lost = createSqsQueue({ ...where, queueUrl: `${where.queueUrl}-x`, timing: quickTiming(), waitSeconds: 0 });
    await expect(lost.receive(1, 0)).rejects.toMatchObject({ code: 'unavailable' });
    await lost.close();
  });

  it('deletes and hides tens, half done ones included', async () => {
    await queue.sendAll(numbers(12));
    const ids = (await queue.receive(100, 60_000)).map(({ id }) => id);
    faults = { DeleteMessageBatch: ['half', 'answer-lost'] };
    await queue.delete(ids.slice(1));
    expect(await queue.counts()).toEqual({ ready: 0, inFlight: 1, dead: 0 });
    await queue.extend(ids, 0);
    expect(await queue.counts()).toEqual({ ready: 1, inFlight: 0, dead: 0 });
  });

  it('gives what it has when there was to be more', async () => {
    await queue.sendAll(numbers(12));
    faults = { ReceiveMessage: [undefined, 'denied'] };
    expect(await take()).toHaveLength(10);
    expect(await take()).toHaveLength(2);
  });

  it('waits for a message where it is told to', async () => {
    const patient = open(5);
    const received = patient.receive(1, 60_000);
    await queue.send('a');
    expect((await received).map(({ body }) => body)).toEqual(['a']);
    await patient.close();
  });

  it('leaves to the dead letters what is no JSON, and tells them as they are', async () => {
    await sendText('{');
    expect(await queue.receive(10, 0)).toEqual([]);
    await queue.send('a');
    expect(await take()).toEqual(['a']);
    expect((await queue.deadLetters(10)).map(({ body }) => body)).toEqual(['{']);
  });

  it('redrives many, once each, also when some of it must be repeated', async () => {
    await queue.sendAll(numbers(23));
    await queue.extend(
      (await queue.receive(100, 60_000)).map(({ id }) => id),
      0,
    );
    expect(await take()).toEqual([]);
    // A dead letter that is looked at stays one.
    expect(await queue.deadLetters(100)).toHaveLength(23);
    expect(await queue.counts()).toEqual({ ready: 0, inFlight: 0, dead: 23 });
    faults = { SendMessageBatch: ['half'], DeleteMessageBatch: ['half', 'answer-lost'] };
    expect(await queue.redrive()).toBe(23);
    expect((await take()).toSorted()).toEqual(numbers(23).toSorted());
    expect(await queue.counts()).toEqual({ ready: 0, inFlight: 23, dead: 0 });
  });

  it('does not hide for longer than SQS can', async () => {
    await expect(queue.send('a', { delayMs: 901_000 })).rejects.toThrow(RangeError);
    await expect(queue.receive(1, 43_201_000)).rejects.toThrow(RangeError);
    await expect(queue.receive(1, Number.NaN)).rejects.toThrow(RangeError);
  });
});
