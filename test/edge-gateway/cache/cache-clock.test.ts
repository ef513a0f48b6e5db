/** The cache's clock against every kind of jump: it is never ahead of what has been lived, nor of the machine's own. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { CacheClock } from '#edge-gateway/cache/cache-clock.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const START_MS = Date.UTC(2026, 5, 1);

it('goes with a clock that is right, and catches up after a long stop, at most twice as fast as time goes', () => {
  const time = { wall: START_MS, up: 0 };
  const clock = new CacheClock(
    () => time.wall,
    () => time.up,
  );
  for (let i = 0; i < 10; i++) {
    time.wall += DAY_MS;
    time.up += DAY_MS;
    expect(clock.nowMs()).toBe(time.wall);
  }
  const saved = clock.limitMs();
  // Off for 60 days.
  time.wall += 60 * DAY_MS;
  const next = new CacheClock(
    () => time.wall,
    () => time.up,
    saved,
  );
  expect(next.nowMs()).toBe(saved);
  time.wall += 30 * DAY_MS;
  time.up += 30 * DAY_MS;
  expect(next.nowMs()).toBe(saved + 60 * DAY_MS);
  time.wall += 40 * DAY_MS;
  time.up += 40 * DAY_MS;
  expect(next.nowMs()).toBe(time.wall);
});

it('never goes forward faster than twice the time that was lived, over jumps and restarts', () => {
  const step = fc.record({
    jumpDays: fc.oneof(fc.constant(0), fc.integer({ min: -20_000, max: 20_000 })),
    livedMs: fc.integer({ min: 0, max: 3 * DAY_MS }),
    restarts: fc.boolean(),
    asks: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const time = { wall: START_MS, up: 0 };
      const make = (savedMs?: number) =>
        new CacheClock(
          () => time.wall,
          () => time.up,
          savedMs,
        );
      let clock = make();
      let lived = 0;
      for (const { jumpDays, livedMs, restarts, asks } of steps) {
        time.wall += jumpDays * DAY_MS + livedMs;
        time.up += livedMs;
        lived += livedMs;
        if (asks) expect(clock.nowMs()).toBeLessThanOrEqual(Math.min(time.wall, START_MS + 2 * lived));
        if (restarts) {
          const saved = clock.limitMs();
          time.up = 0;
          clock = make(saved);
        }
      }
    }),
  );
});
