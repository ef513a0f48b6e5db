/**
 * What becomes of a batch of SQS messages as Lambda hands it over: what is understood, what is reported as failed, and by whom nobody is held up.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSqsHandler, type SqsEvent } from '#functions/aws/sqs-events.ts';
import { silentLogger } from '#shared/log.ts';
import { created } from '#test/support/s3-events.ts';
import { eventOf } from '#test/support/sqs.ts';

const bucket = 'archive';
const own = (key: string): string => JSON.stringify({ key });
const event = (...bodies: readonly string[]): SqsEvent =>
  eventOf(bodies.map((Body, i) => ({ MessageId: `m${i}`, ReceiptHandle: `r${i}`, Body, MD5OfBody: '' })));
const testEvent = JSON.stringify({
  Service: 'Amazon S3',
  Event: 's3:TestEvent',
  Time: '2024-01-31T00:00:00.000Z',
  Bucket: bucket,
  RequestId: '5582815E1AEA5ADF',
  HostId: '8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR',
});

async function handled(given: unknown, step: (key: string) => Promise<void> = async () => {}) {
  const keys: string[] = [];
  const handler = createSqsHandler({
    bucket,
    log: silentLogger,
    step: async ({ key }) => {
      keys.push(key);
      await step(key);
    },
  });
  const { batchItemFailures } = await handler(given, { getRemainingTimeInMillis: () => 3_050 });
  return { keys, failed: batchItemFailures.map(({ itemIdentifier }) => itemIdentifier) };
}

describe('an event of SQS', () => {
  it('is handed to the step message by message: those of S3 with their keys decoded, and our own', async () => {
    const key = 't/1.2/3/a b+c%é.zip';
    const { keys, failed } = await handled(event(created(bucket, key), own('plain'), created(bucket, 'x', 'y')));
    expect(keys.toSorted()).toEqual(['plain', key, 'x', 'y'].toSorted());
    expect(failed).toEqual([]);
  });

  it('is done with what S3 sends when it is told to notify', async () => {
    expect(await handled(event(testEvent))).toEqual({ keys: [], failed: [] });
  });

  it.each([
    ['no JSON', '{'],
    ['nothing', ''],
    ['something else', '{"hello":1}'],
    ['another list', '[]'],
    ['null', 'null'],
    ['a key of no text', '{"key":1}'],
    ['an empty key', '{"key":""}'],
    ['no records', '{"Records":[]}'],
    ['a key that is not URL-encoded', created(bucket, 'k').replace('"k"', '"%E0%A4%A"')],
    ['another bucket', created('elsewhere', 'k')],
    ['an object that was removed', created(bucket, 'k').replace('ObjectCreated:Put', 'ObjectRemoved:Delete')],
    ['another service', created(bucket, 'k').replace('aws:s3', 'aws:ses')],
  ])('reports %s as failed, and nothing else', async (_, body) => {
    expect(await handled(event(own('a'), body, own('b')))).toEqual({ keys: ['a', 'b'], failed: ['m1'] });
  });

  it('reports what the step fails on, and works on all that stands beside it', async () => {
    const step = async (key: string): Promise<void> => {
      if (key.startsWith('bad')) throw new Error('it failed');
    };
    const { keys, failed } = await handled(event(own('bad'), created(bucket, 'bad2', 'x'), own('y')), step);
    expect(keys.toSorted()).toEqual(['bad', 'bad2', 'x', 'y']);
    expect(failed).toEqual(['m0', 'm1']);
  });

  it('reports what hangs before the call is over, so that what is done does not come again', async () => {
    const step = (key: string): Promise<void> => (key === 'hangs' ? new Promise(() => {}) : Promise.resolve());
    expect((await handled(event(own('hangs'), own('a')), step)).failed).toEqual(['m0']);
  });

  it.each([undefined, null, {}, { Records: [{}] }, { Records: [{ messageId: '', body: '' }] }])(
    'is refused as a whole where it is none (%j)',
    async (given) => {
      await expect(handled(given)).rejects.toThrow(TypeError);
    },
  );

  it('never does without an answer for each message, whatever is in it', async () => {
    const bodies = fc.oneof(
      fc.string(),
      fc.json(),
      fc.array(fc.nat(0xffff), { minLength: 1 }).map((codes) => created(bucket, String.fromCharCode(...codes))),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(bodies, { maxLength: 5 }), async (list) => {
        const { keys, failed } = await handled(event(...list));
        expect(keys.length + failed.length).toBe(list.length);
      }),
      { numRuns: 100 },
    );
  });
});
