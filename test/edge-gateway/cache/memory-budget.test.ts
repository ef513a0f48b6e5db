/**
 * The budget for instances on their way in: who is over it waits, the quietest is asked to make room, and nobody waits for ever.
 */
import { describe, expect, it } from 'vitest';
import { type Holder, MemoryBudget } from '#edge-gateway/cache/memory-budget.ts';

class Sender implements Holder {
  readonly #budget: MemoryBudget;
  heldBytes = 0;
  spilledBytes = 0;
  mayspill = true;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  take(bytes: number): Promise<void> | undefined {
    this.heldBytes += bytes;
    return this.#budget.take(this, bytes);
  }

  spill(): boolean {
    if (!this.mayspill || this.heldBytes === 0) return false;
    const bytes = this.heldBytes;
    this.heldBytes = 0;
    this.spilledBytes += bytes;
    this.#budget.leaving(this, bytes);
    setImmediate(() => this.#budget.left(bytes));
    return true;
  }

  drop(): void {
    this.#budget.drop(this, this.heldBytes);
    this.heldBytes = 0;
  }
}

describe('a memory budget', () => {
  it('lets pass what fits', () => {
    const budget = new MemoryBudget(100);
    const sender = new Sender(budget);
    expect(sender.take(60)).toBeUndefined();
    expect(sender.take(40)).toBeUndefined();
    sender.drop();
    expect(budget.usedBytes).toBe(0);
  });

  it('asks the one that has been quiet for longest to make room, and lets the others wait for it', async () => {
    const budget = new MemoryBudget(100);
    const [quiet, busy, late] = [new Sender(budget), new Sender(budget), new Sender(budget)];
    quiet.take(40);
    busy.take(40);
    await late.take(40);
    expect([quiet.spilledBytes, busy.spilledBytes, late.spilledBytes]).toEqual([40, 0, 0]);
    expect(budget.usedBytes).toBe(80);
  });

  it('waits for those who are leaving before it asks others', async () => {
    const budget = new MemoryBudget(100);
    const [leaving, other] = [new Sender(budget), new Sender(budget)];
    leaving.take(90);
    leaving.spill();
    await other.take(50);
    expect(other.spilledBytes).toBe(0);
    expect(budget.usedBytes).toBe(50);
  });

  it('stops nobody for ever when no one can make room', async () => {
    const budget = new MemoryBudget(100);
    const sender = new Sender(budget);
    sender.mayspill = false;
    await sender.take(150);
    expect(budget.usedBytes).toBe(150);
  });

  it('lets many senders through in the end', async () => {
    const budget = new MemoryBudget(1000);
    const senders = Array.from({ length: 50 }, () => new Sender(budget));
    let most = 0;
    await Promise.all(
      senders.map(async (sender) => {
        for (let i = 0; i < 20; i++) {
          await sender.take(30);
          most = Math.max(most, budget.usedBytes);
        }
        sender.drop();
      }),
    );
    expect(most).toBeLessThan(1000 + 50 * 30);
    await expect.poll(() => budget.usedBytes).toBe(0);
  });
});
