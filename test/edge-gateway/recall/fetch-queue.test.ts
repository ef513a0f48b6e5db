/**
 * Work that is done once however many want it, a few at a time, the urgent first.
 */
import { describe, expect, it } from 'vitest';
import { createFetchQueue } from '#edge-gateway/recall/fetch-queue.ts';

/** Jobs that end when they are told to, and the order in which they began. */
function jobs() {
  const begun: string[] = [];
  const ends = new Map<string, (error?: Error) => void>();
  const run = (name: string) => () =>
    new Promise<void>((resolve, reject) => {
      begun.push(name);
      ends.set(name, (error) => (error === undefined ? resolve() : reject(error)));
    });
  return { begun, run, end: (name: string, error?: Error) => ends.get(name)?.(error) };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a fetch queue', () => {
  it('does one job of a name at a time, for all who want it', async () => {
    const { begun, run, end } = jobs();
    const queue = createFetchQueue(2);
    const [first, second] = [queue.once('a', true, run('a')), queue.once('a', true, run('a'))];
    expect(begun).toEqual(['a']);
    end('a');
    await Promise.all([first, second]);
    const failed = [queue.once('a', true, run('a')), queue.once('a', false, run('a'))];
    end('a', new Error('no'));
    for (const one of failed) await expect(one).rejects.toThrow('no');
    expect(begun).toEqual(['a', 'a']);
  });

  it('runs so many at once, the urgent first, also those that became it', async () => {
    const { begun, run, end } = jobs();
    const queue = createFetchQueue(1);
    const all = [
      queue.once('now', true, run('now')),
      ...['x', 'y', 'z'].map((name) => queue.once(name, false, run(name))),
    ];
    all.push(queue.once('urgent', true, run('urgent')), queue.once('z', true, run('z')));
    expect(queue.idleCount).toBe(2);
    for (const name of ['now', 'urgent', 'z', 'x', 'y']) {
      expect(begun.at(-1)).toBe(name);
      end(name);
      await settled();
    }
    await Promise.all(all);
  });

  it('ends what waits when it is closed, and waits for what runs', async () => {
    const { begun, run, end } = jobs();
    const queue = createFetchQueue(1);
    const running = queue.once('a', true, run('a'));
    const waiting = queue.once('b', true, run('b'));
    const closed = queue.close(new Error('closing'));
    await expect(waiting).rejects.toThrow('closing');
    await expect(queue.once('c', true, run('c'))).rejects.toThrow('closing');
    end('a');
    await Promise.all([running, closed]);
    expect(begun).toEqual(['a']);
  });
});
