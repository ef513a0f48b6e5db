import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

const apart = ['test/interop/**', 'test/browser/**', 'test/bench/**', 'test/faults/**'];
/** The AWS side, on stand-ins that speak its protocols. */
const aws = ['test/functions/aws/**/*.test.ts', 'test/contract/{dynamo,s3,sqs}-*.test.ts', 'test/support/s3/**/*.test.ts'] // biome-ignore format: one list;
/** `shared/` is pure: no disk, no clock, no state. */
const pure = 'test/shared/**/*.test.ts';
/** Measures how long an honest peer waits: nothing else may run beside it. */
const alone = 'test/faults/hostile.test.ts';
/** Of faults, as somebody asked for by hand: hours are well spent. A short one that hangs has to say so soon. */
const isLongRun = ['ROUNDS', 'BACKLOG'].some((name) => process.env[`ARCHIPEL_FAULT_${name}`] !== undefined);

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // A busy machine is late for many things: what does not come at all is told all the same.
    expect: { poll: { timeout: 20_000 } },
    pool: 'forks',
    // Much of what is tested waits for disks and sockets: three at once also where there are two cores.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: [...apart, ...aws, pure, '**/node_modules/**'],
          // A process of its own costs each file a third of a second of two cores; none of them leaves anything behind for the next.
          isolate: false,
        },
      },
      {
        extends: true,
        test: { name: 'unit-pure', include: [pure], isolate: false },
      },
      {
        extends: true,
        test: { name: 'aws', include: aws, isolate: false },
      },
      {
        extends: true,
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          // Peers and packs are waited for most of the time.
          maxWorkers: 2,
        },
      },
      {
        extends: true,
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          exclude: [alone],
          testTimeout: isLongRun ? 4 * 3_600_000 : 600_000,
          hookTimeout: 120_000,
          // Each has a site of its own, and waits for recoveries half of the time.
          maxWorkers: isLongRun ? 1 : 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: 'faults-alone',
          include: [alone],
          testTimeout: isLongRun ? 4 * 3_600_000 : 600_000,
          hookTimeout: 120_000,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'browser',
          include: ['test/browser/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
