/**
 * The share of the line that uploads may take: all together, urgent ones first. On a clock that this test reads, so that nothing
 * depends on how fast the machine is.
 */
import { describe, expect, it } from 'vitest';
import { Bandwidth } from '#edge-gateway/upload/bandwidth.ts';

function bodyOf(chunks: number, chunkBytes: number): ReadableStream<Uint8Array> {
  let left = chunks;
  return new ReadableStream(
    {
      pull(to) {
        if (left-- > 0) to.enqueue(new Uint8Array(chunkBytes));
        else to.close();
      },
    },
    { highWaterMark: 0 },
  );
}

async function drain(body: ReadableStream<Uint8Array>, seen: (bytes: number) => void = () => {}): Promise<number> {
  let total = 0;
  for await (const chunk of body) {
    total += chunk.length;
    seen(chunk.length);
  }
  return total;
}

describe('bandwidth', () => {
  it('is not touched when nothing limits it', () => {
    const body = bodyOf(1, 1);
    expect(new Bandwidth(undefined).pace(body, { urgent: false })).toBe(body);
  });

  it('is never more than configured, for all streams together, and no byte is lost', async () => {
    const bandwidth = new Bandwidth(1_000);
    const beganAtMs = performance.now();
    let total = 0;
    let fastest = 0;
    const count = (bytes: number): void => {
      total += bytes;
      // 500 ms of it may go at once, and the chunks that are on their way.
      fastest = Math.max(fastest, total - 1_000 * (performance.now() - beganAtMs + 500) - 4 * 10_000);
    };
    const sums = await Promise.all(
      [1, 2, 3].map(() => drain(bandwidth.pace(bodyOf(30, 10_000), { urgent: false }), count)),
    );
    expect(sums).toEqual([300_000, 300_000, 300_000]);
    expect(fastest).toBeLessThanOrEqual(0);
  });

  it('goes to what is urgent first', async () => {
    const bandwidth = new Bandwidth(1_000);
    const order: string[] = [];
    await drain(bandwidth.pace(bodyOf(1, 600_000), { urgent: false }));
    await Promise.all([
      ...['routine 1', 'routine 2'].map((name) =>
        drain(bandwidth.pace(bodyOf(2, 20_000), { urgent: false }), () => order.push(name)),
      ),
      drain(bandwidth.pace(bodyOf(2, 20_000), { urgent: true }), () => order.push('stat')),
    ]);
    expect(order.lastIndexOf('stat')).toBeLessThan(order.lastIndexOf('routine 1'));
    expect(order.lastIndexOf('stat')).toBeLessThan(order.lastIndexOf('routine 2'));
  });

  it('is let go of when a stream is cancelled while it waits', async () => {
    let cancelled = false;
    const source = new ReadableStream<Uint8Array>(
      {
        pull: (to) => to.enqueue(new Uint8Array(50_000)),
        cancel() {
          cancelled = true;
        },
      },
      { highWaterMark: 0 },
    );
    const reader = new Bandwidth(100).pace(source, { urgent: false }).getReader();
    await reader.read();
    await reader.read();
    const waiting = reader.read();
    await reader.cancel();
    expect((await waiting).done).toBe(true);
    expect(cancelled).toBe(true);
  });
});
