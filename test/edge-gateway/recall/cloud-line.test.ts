/**
 * The line to the cloud: who waits how long, who does not wait at all, and how it comes back.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { type CloudLine, createCloudLine } from '#edge-gateway/recall/cloud-line.ts';
import { ArchiveError } from '#shared/errors.ts';
import { silentLogger } from '#shared/log.ts';
import { until } from '#test/support/system.ts';

let line: CloudLine;
afterEach(() => line.close());

const open = (probe: () => Promise<unknown>, waitMs = 30): void => {
  line = createCloudLine({ probe, log: silentLogger, waitMs, firstProbeMs: 5 });
};
const never = (): Promise<never> => new Promise(() => {});
const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('aborted'))));
const unavailable = { code: 'unavailable', details: { retryAfterSeconds: 30 } };

describe('the line to the cloud', () => {
  it('goes down when a question takes too long, and then asks nothing', async () => {
    open(never, 10);
    await expect(line.ask(untilAborted)).rejects.toMatchObject(unavailable);
    expect(line.isUp).toBe(false);
    let asked = 0;
    await expect(line.ask(async () => asked++)).rejects.toMatchObject(unavailable);
    expect(asked).toBe(0);
  });

  it('comes back when a probe is answered, be it with a refusal', async () => {
    let probes = 0;
    open(async () => {
      if (++probes < 3) throw new ArchiveError('unavailable', 'not yet');
      throw new ArchiveError('forbidden', 'not you');
    });
    await expect(line.ask(() => Promise.reject(new ArchiveError('unavailable', 'cut')))).rejects.toMatchObject(
      unavailable,
    );
    await until('the line to be up', 5_000, async () => line.isUp);
    expect(probes).toBe(3);
    expect(await line.ask(async () => 7)).toBe(7);
  });

  it('comes back at once when only the question was heavy', async () => {
    line = createCloudLine({ probe: async () => {}, log: silentLogger, waitMs: 10, firstProbeMs: 3_600_000 });
    await expect(line.ask(untilAborted)).rejects.toMatchObject(unavailable);
    await until('the line to be up', 5_000, async () => line.isUp);
  });

  it('holds when the cloud answers no', async () => {
    open(never);
    await expect(line.ask(() => Promise.reject(new ArchiveError('too-large', 'too broad')))).rejects.toMatchObject({
      code: 'too-large',
    });
    expect(line.isUp).toBe(true);
  });

  it('ends what is being asked when it is closed', async () => {
    open(never, 60_000);
    const asking = line.ask(untilAborted);
    line.close();
    await expect(asking).rejects.toMatchObject(unavailable);
    await expect(line.ask(async () => 1)).rejects.toMatchObject(unavailable);
  });
});
