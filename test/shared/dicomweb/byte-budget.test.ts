/**
 * What is held at once stays within the budget, in order, whatever fails.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createByteBudget } from '#shared/dicomweb/byte-budget.ts';

const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('createByteBudget', () => {
  it('never holds more than the budget, unless one thing alone is more, and begins in order', async () => {
    const sizes = fc.array(fc.record({ sizeBytes: fc.nat(150), fails: fc.boolean() }), { maxLength: 30 });
    await fc.assert(
      fc.asyncProperty(sizes, async (tasks) => {
        const budget = createByteBudget(100, 30);
        const begun: number[] = [];
        const held = new Set<number>();
        const results = await Promise.allSettled(
          tasks.map(({ sizeBytes, fails }, i) =>
            budget.hold(sizeBytes, async () => {
              begun.push(i);
              held.add(i);
              const sum = [...held].reduce((bytes, task) => bytes + tasks[task]!.sizeBytes, 0);
              const isAlone = [...held].every((task) => task === i || tasks[task]!.sizeBytes === 0);
              expect(sum <= 100 || isAlone).toBe(true);
              await breathe();
              held.delete(i);
              if (fails) throw new Error('as it was told to');
              return i;
            }),
          ),
        );
        expect(begun).toEqual(tasks.map((_, i) => i));
        expect(results.map(({ status }) => status === 'rejected')).toEqual(tasks.map(({ fails }) => fails));
      }),
      { numRuns: 100 },
    );
  });

  it('refuses when too many wait, and serves again afterwards', async () => {
    const budget = createByteBudget(10, 2);
    const ending = Promise.withResolvers<void>();
    const running = [1, 2, 3].map(() => budget.hold(10, () => ending.promise));
    await expect(budget.hold(1, async () => {})).rejects.toMatchObject({ code: 'unavailable' });
    ending.resolve();
    await Promise.all(running);
    expect(await budget.hold(1, async () => 'done')).toBe('done');
  });
});
