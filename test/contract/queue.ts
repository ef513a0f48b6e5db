/**
 * What every Queue must do, with a clock that the test turns. Of one that is not exact, as SQS is not, less is asked: neither order,
 * nor which of its messages are in flight, nor what reasons they died of.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Queue, QueueCounts } from '#shared/archive/queue.ts';

export interface MadeQueue {
  readonly queue: Queue<unknown>;
  /** Keeps order, counts to the letter, knows earlier deliveries, keeps reasons, and lives on a clock that may be set back. */
  readonly isExact: boolean;
  /** Lets time pass: whole seconds; also backwards, as when somebody sets the clock. */
  pass(ms: number): Promise<void>;
  /** Closes the queue and opens it again on what it left. */
  reopen(): Promise<Queue<unknown>>;
  remove(): Promise<void>;
}

const MAX_RECEIVE_COUNT = 3;

/** @param make a queue whose messages die after three deliveries */
export function queueContract(name: string, make: (maxReceiveCount: number) => Promise<MadeQueue>): void {
  describe(`${name} as a Queue`, () => {
    let made: MadeQueue;
    let queue: Queue<unknown>;
    beforeAll(async () => {
      made = await make(MAX_RECEIVE_COUNT);
      queue = made.queue;
    });
    afterEach(empty);
    afterAll(async () => {
      await queue.close();
      await made.remove();
    });

    /** Tests share a queue. */
    async function empty(): Promise<void> {
      await made.pass(3_600_000);
      for (;;) {
        const { ready, inFlight, dead } = await queue.counts();
        if (ready + inFlight + dead === 0) return;
        await queue.redrive();
        await queue.delete((await queue.receive(100, 1_000)).map(({ id }) => id));
      }
    }

    const ordered = (list: readonly unknown[]): readonly unknown[] =>
      made.isExact ? list : list.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
    const expectCounts = async (expected: QueueCounts): Promise<void> => {
      const { ready, inFlight, dead } = await queue.counts();
      if (made.isExact) expect({ ready, inFlight, dead }).toEqual(expected);
      else expect([ready + inFlight, dead]).toEqual([expected.ready + expected.inFlight, expected.dead]);
    };
    const take = async (max = 10, visibilityMs = 1_000) =>
      (await queue.receive(max, visibilityMs)).map(({ body }) => body);
    const one = async (visibilityMs = 1_000) => {
      const [message] = await queue.receive(1, visibilityMs);
      if (message === undefined) throw new Error('there is no message');
      return message;
    };

    it('delivers what was sent until it is deleted', async () => {
      expect(await take()).toEqual([]);
      await queue.send({ key: 'a', list: [1, null, 'ü'] });
      await queue.sendAll(['b', 3]);
      const messages = await queue.receive(2, 1_000);
      expect(messages.map(({ receiveCount }) => receiveCount)).toEqual([1, 1]);
      const [last] = await queue.receive(10, 1_000);
      const bodies = [...messages.map(({ body }) => body), last?.body];
      expect(ordered(bodies)).toEqual(ordered([{ key: 'a', list: [1, null, 'ü'] }, 'b', 3]));
      await expectCounts({ ready: 0, inFlight: 3, dead: 0 });
      await queue.delete(messages.map(({ id }) => id));
      await made.pass(2_000);
      expect(await take()).toEqual([last?.body]);
    });

    it('keeps what many send at once', async () => {
      await Promise.all(Array.from({ length: 50 }, (_, i) => queue.send(i)));
      expect((await take(100)).toSorted()).toEqual(Array.from({ length: 50 }, (_, i) => i).toSorted());
      await queue.sendAll([]);
      await expectCounts({ ready: 0, inFlight: 50, dead: 0 });
    });

    it('hides a message from all but one, for its visibility time', async () => {
      await queue.send('a');
      const taken = await Promise.all([take(), take(), take()]);
      expect(taken.flat()).toEqual(['a']);
      if (made.isExact) {
        await made.pass(999);
        expect(await take()).toEqual([]);
      }
      await made.pass(1_000);
      expect((await one()).receiveCount).toBe(2);
    });

    it('shows a message after its delay', async () => {
      await queue.send('late', { delayMs: 1_000 });
      await queue.send('now');
      await expectCounts({ ready: 2, inFlight: 0, dead: 0 });
      expect(await take(10, 60_000)).toEqual(['now']);
      await made.pass(1_000);
      expect(await take()).toEqual(['late']);
    });

    it('lets work take longer', async () => {
      await queue.send('a');
      const { id } = await one(3_000);
      await made.pass(2_000);
      await queue.extend([id], 3_000);
      await made.pass(2_000);
      expect(await take()).toEqual([]);
      await made.pass(1_000);
      const again = await one();
      // Whoever was too slow must not hide it from, nor give it back for, the one who has it now.
      await queue.extend([id], 60_000);
      await queue.retry(id, { reason: 'too late', delayMs: 0 });
      await expectCounts({ ready: 0, inFlight: 1, dead: 0 });
      await made.pass(1_000);
      expect((await one()).receiveCount).toBe(again.receiveCount + 1);
      // But it may say that it is done.
      if (!made.isExact) return;
      await queue.delete([id]);
      await expectCounts({ ready: 0, inFlight: 0, dead: 0 });
    });

    it('brings back what failed, after a delay', async () => {
      await queue.send('a');
      await queue.retry((await one(60_000)).id, { reason: 'The store was away.', delayMs: 2_000 });
      await expectCounts({ ready: 1, inFlight: 0, dead: 0 });
      expect(await take()).toEqual([]);
      await made.pass(2_000);
      expect((await one()).receiveCount).toBe(2);
    });

    it('buries what fails too often, with the reason, and others go on', async () => {
      await queue.sendAll(['poison', 'good']);
      for (let i = 0; i < MAX_RECEIVE_COUNT; i++) {
        const messages = await queue.receive(2, 1_000);
        for (const { id, body } of messages) {
          if (body === 'good') await queue.delete([id]);
          else await queue.retry(id, { reason: `Failure ${i + 1}.`, delayMs: 0 });
        }
      }
      expect(await take()).toEqual([]);
      await expectCounts({ ready: 0, inFlight: 0, dead: 1 });
      const letters = await queue.deadLetters(10);
      expect(letters).toMatchObject([{ body: 'poison', ...(made.isExact && { reason: 'Failure 3.' }) }]);
    });

    it('buries what was never finished, and lets what stands behind it through', async () => {
      await queue.send('silent');
      for (let i = 0; i < MAX_RECEIVE_COUNT; i++) {
        await one(1_000);
        await made.pass(1_000);
      }
      await queue.send('next');
      expect(await take(made.isExact ? 1 : 10)).toEqual(['next']);
      const [letter] = await queue.deadLetters(10);
      const reason = 'It was received 3 times and never finished.';
      expect(letter).toMatchObject({ body: 'silent', ...(made.isExact && { reason }) });
    });

    it('redrives dead letters, all or those named', async () => {
      await queue.sendAll(['a', 'b', 'c']);
      for (let i = 0; i < MAX_RECEIVE_COUNT; i++) {
        for (const { id } of await queue.receive(10, 1_000)) await queue.retry(id, { reason: 'No.', delayMs: 0 });
      }
      expect(await take()).toEqual([]);
      const letters = await queue.deadLetters(10);
      expect(letters.map(({ body }) => body).toSorted()).toEqual(['a', 'b', 'c']);
      const two = await queue.deadLetters(2);
      if (made.isExact) expect(two).toEqual(letters.slice(0, 2));
      expect(two).toHaveLength(2);
      expect(await queue.redrive([letters[1]!.id])).toBe(1);
      expect((await queue.receive(10, 1_000)).map(({ body, receiveCount }) => [body, receiveCount])).toEqual([
        [letters[1]!.body, 1],
      ]);
      expect(await queue.redrive()).toBe(2);
      expect(await queue.redrive()).toBe(0);
      await expectCounts({ ready: 2, inFlight: 1, dead: 0 });
    });

    it('takes no notice of ids that are none of its own', async () => {
      await queue.send('a');
      await queue.delete(['', '1', 'x.1', '99.1', '1.1; DROP TABLE message', '-1.1']);
      await queue.extend(['99.1'], 5);
      await queue.retry('nonsense', { reason: 'No.', delayMs: 0 });
      expect(await queue.redrive(['99.1'])).toBe(0);
      expect(await take()).toEqual(['a']);
    });

    it('refuses a message that is too long, and all that were sent with it', async () => {
      const long = 'x'.repeat(256 * 1024);
      await expect(queue.sendAll(['short', long])).rejects.toMatchObject({ code: 'too-large' });
      await expectCounts({ ready: 0, inFlight: 0, dead: 0 });
    });

    it('is not held up when the clock is set back', async () => {
      if (!made.isExact) return;
      await queue.sendAll(['a', 'b']);
      expect(await take(1, 1_000)).toEqual(['a']);
      await made.pass(-3_600_000);
      expect((await take(10, 1_000)).toSorted()).toEqual(['a', 'b']);
      await made.pass(1_000);
      expect((await take(10, 1_000)).toSorted()).toEqual(['a', 'b']);
    });

    it('keeps everything when it is closed and opened again', async () => {
      await queue.sendAll(['a', 'b', 'c']);
      const first = await one(5_000);
      const rest = ['a', 'b', 'c', 'd'].filter((body) => body !== first.body);
      const sent = queue.send('d');
      queue = await made.reopen();
      await sent;
      await expectCounts({ ready: 3, inFlight: 1, dead: 0 });
      expect(ordered(await take())).toEqual(rest);
      await queue.delete([first.id]);
      await made.pass(10_000);
      expect(ordered((await queue.receive(10, 1_000)).map(({ body, receiveCount }) => [body, receiveCount]))).toEqual(
        rest.map((body) => [body, 2]),
      );
    });

    it('answers what was asked before it is closed, and nothing after', async () => {
      const own = await make(MAX_RECEIVE_COUNT);
      const sent = own.queue.send('a');
      await Promise.all([own.queue.close(), own.queue.close()]);
      await sent;
      await expect(own.queue.send('a')).rejects.toMatchObject({ code: 'unavailable' });
      await own.remove();
    });

    it('takes each character that JSON can say', async () => {
      const body = { 'ke\u0000y': '\u0001\u001f\u007f\ufffe\uffff\ud800\u2028😀<&>' };
      await queue.send(body);
      expect(await take()).toEqual([body]);
    });

    it('loses nothing and delivers nothing that was deleted, whatever happens', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(anyStep, { maxLength: 30 }), async (steps) => {
          const sent = new Set<number>();
          const done = new Set<number>();
          const deliveries = new Map<unknown, string>();
          let taken: { id: string; body: unknown }[] = [];
          for (const [i, step] of steps.entries()) {
            if (step.kind === 'send') {
              await queue.send(i, { delayMs: step.ms });
              sent.add(i);
            } else if (step.kind === 'receive') {
              const messages = await queue.receive(3, step.ms);
              for (const { body } of messages) expect(done.has(body as number)).toBe(false);
              for (const { id, body } of messages) deliveries.set(body, id);
              taken = [...taken, ...messages];
            } else if (step.kind === 'delete') {
              for (const { id, body } of taken.splice(0, 2)) {
                // Whether that of an earlier delivery counts, only an exact queue can say.
                if (!made.isExact && deliveries.get(body) !== id) continue;
                await queue.delete([id]);
                done.add(body as number);
              }
            } else if (step.kind === 'retry') {
              for (const { id } of taken.splice(0, 1)) await queue.retry(id, { reason: 'No.', delayMs: step.ms });
            } else await made.pass(step.ms);
          }
          const buried = new Set((await queue.deadLetters(100)).map(({ body }) => body as number));
          const { ready, inFlight, dead } = await queue.counts();
          expect(dead).toBe(buried.size);
          // A dead letter stays one, even if somebody who had it before says that it is done.
          const open = [...sent].filter((i) => !buried.has(i) && !done.has(i));
          expect(ready + inFlight).toBe(open.length);
          await empty();
        }),
        { numRuns: made.isExact ? 50 : 10 },
      );
    });
  });
}

const anyStep = fc.record({
  kind: fc.constantFrom('send', 'send', 'receive', 'receive', 'delete', 'retry', 'pass'),
  ms: fc.constantFrom(0, 1_000, 5_000),
});
