/**
 * The cloud's time as learned from its answers: right whatever this machine's clock says or does.
 */
import { describe, expect, it } from 'vitest';
import { ServerClock } from '#edge-gateway/upload/server-clock.ts';
import { createLogger } from '#shared/log.ts';

const HOUR_MS = 3_600_000;

/** A machine with two clocks that this test turns, and a cloud whose clock is right. */
function world() {
  const log: string[] = [];
  const at = { monotonicMs: 1_000, wallMs: 5 * HOUR_MS, cloudMs: 5 * HOUR_MS };
  const pass = (ms: number): void => {
    at.monotonicMs += ms;
    at.wallMs += ms;
    at.cloudMs += ms;
  };
  const clock = new ServerClock({
    nowMs: () => at.wallMs,
    monotonicMs: () => at.monotonicMs,
    log: createLogger('info', (line) => log.push((JSON.parse(line) as { msg: string }).msg)),
  });
  const ask = (roundTripMs: number): void => {
    const learn = clock.measure();
    pass(roundTripMs / 2);
    const serverTimeMs = at.cloudMs;
    pass(roundTripMs / 2);
    learn(serverTimeMs);
  };
  return { at, pass, clock, ask, log };
}

describe('the clock of the cloud', () => {
  it('is this machine\u2019s until something was heard of it', () => {
    const { clock, at } = world();
    expect(clock.nowMs()).toBe(at.wallMs);
    expect(clock.skewMs()).toBeUndefined();
  });

  it.each([-2, 0, 2])('is right on a machine that is %i hours off', (hours) => {
    const { clock, at, ask, pass, log } = world();
    at.wallMs -= hours * HOUR_MS;
    ask(400);
    pass(60_000);
    expect(clock.nowMs()).toBe(at.cloudMs);
    expect(clock.skewMs()).toBe(hours * HOUR_MS);
    expect(log).toHaveLength(hours === 0 ? 0 : 1);
    ask(400);
    expect(log).toHaveLength(hours === 0 ? 0 : 1);
  });

  it('does not jump with this machine\u2019s clock, and says when that is right again', () => {
    const { clock, at, ask, pass, log } = world();
    ask(100);
    at.wallMs += 2 * HOUR_MS;
    pass(1_000);
    expect(clock.nowMs()).toBe(at.cloudMs);
    expect(clock.skewMs()).toBe(-2 * HOUR_MS);
    ask(100);
    at.wallMs -= 2 * HOUR_MS;
    ask(100);
    expect(log).toEqual([
      "the clock of this machine is 7200 s ahead of the cloud's; set it by NTP",
      'the clock of this machine is right again',
    ]);
  });

  it('learns nothing from an answer that took so long that it says nothing', () => {
    const { clock, at, ask } = world();
    ask(100);
    const learn = clock.measure();
    const serverTimeMs = at.cloudMs;
    at.monotonicMs += 3 * HOUR_MS;
    at.cloudMs += 3 * HOUR_MS;
    learn(serverTimeMs);
    expect(clock.nowMs()).toBe(at.cloudMs);
  });
});
