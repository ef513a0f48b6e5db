/**
 * The SQS queue keeps the contract of Queue, over the wire of a stand-in in this process, whose clock is turned with ours. Against another
 * one time really passes: minutes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, vi } from 'vitest';
import { createSqsQueue } from '#functions/aws/sqs-queue.ts';
import { startSqs } from '#test/support/sqs.ts';
import { queueContract } from './queue.ts';

const sqs = await startSqs();
if (!sqs.isOurs) vi.setConfig({ testTimeout: 600_000 });
beforeAll(() => {
  if (sqs.isOurs) vi.useFakeTimers({ toFake: ['Date'] });
});

queueContract('the SQS queue', async (maxReceiveCount) => {
  const { remove, ...where } = await sqs.createQueue(maxReceiveCount);
  const open = () => createSqsQueue<unknown>({ ...where, waitSeconds: sqs.isOurs ? 0 : 1 });
  const queue = open();
  return {
    queue,
    isExact: false,
    async pass(ms) {
      if (sqs.isOurs) vi.setSystemTime(Date.now() + ms);
      else await sleep(Math.min(ms, 20_000));
    },
    async reopen() {
      await queue.close();
      return open();
    },
    remove,
  };
});

afterAll(async () => {
  vi.useRealTimers();
  await sqs.close();
});
