/**
 * Grouped syncs: everybody is covered by a sync that began after they asked, nobody by more than they need, and a failure
 * is final.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SyncGroup } from '#edge-gateway/cache/sync-group.ts';

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await Promise.resolve();
};

describe('a sync group', () => {
  it('covers everybody by a sync that began after they asked, one at a time', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(20), fc.nat(9)), { minLength: 1, maxLength: 30 }), async (askers) => {
        let clock = 0;
        let running = 0;
        let begun = 0;
        let lastBegin = -1;
        const group = new SyncGroup(async () => {
          expect(++running).toBe(1);
          begun++;
          const began = ++clock;
          await turns(10);
          lastBegin = began;
          running--;
        });
        await Promise.all(
          askers.map(async ([after]) => {
            await turns(after);
            const asked = ++clock;
            await group.synced();
            expect(lastBegin).toBeGreaterThan(asked);
          }),
        );
        expect(begun).toBeLessThanOrEqual(askers.length);
        await group.idle();
        expect(running).toBe(0);
      }),
      { numRuns: 100 },
    );
  });

  it('needs two syncs for many who come while one runs', async () => {
    let begun = 0;
    const group = new SyncGroup(async () => {
      begun++;
      await turns(5);
    });
    const first = group.synced();
    await Promise.all([first, ...Array.from({ length: 50 }, () => group.synced())]);
    expect(begun).toBe(2);
  });

  it('never tries again after a failure', async () => {
    let begun = 0;
    const group = new SyncGroup(async () => {
      begun++;
      await turns(3);
      throw new Error('EIO');
    });
    const asked = [group.synced(), group.synced(), group.synced()];
    expect((await Promise.allSettled(asked)).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await expect(group.synced()).rejects.toThrow('EIO');
    await group.idle();
    expect(begun).toBe(1);
  });
});
