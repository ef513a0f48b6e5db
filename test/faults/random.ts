/**
 * Chance that can be had again: a small seeded generator (mulberry32), for the moments and kinds of faults.
 */

export interface Chance {
  /** 0 (inclusive) to 1 (exclusive). */
  next(): number;
  /** An integer from 0 to `below` - 1. */
  integer(below: number): number;
  pick<T>(choices: readonly T[]): T;
}

export function chanceOf(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (below: number): number => Math.floor(next() * below);
  return { next, integer, pick: (choices) => choices[integer(choices.length)]! };
}

/** ARCHIPEL_FAULT_SEED, or one of this moment, which is printed so that a run can be had again. */
export function seedOfRun(): number {
  const seed = Number(process.env.ARCHIPEL_FAULT_SEED ?? Date.now() % 2 ** 31);
  console.log(`ARCHIPEL_FAULT_SEED=${seed}`);
  return seed;
}

/** ARCHIPEL_FAULT_ROUNDS, or the short round of CI. */
export const roundsOfRun = (short: number): number => Number(process.env.ARCHIPEL_FAULT_ROUNDS ?? short);
