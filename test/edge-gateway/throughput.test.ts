/** The minutes of the last day: what is counted lands in its minute, a day is kept, and a long sleep leaves it empty. */
import { expect, it } from 'vitest';
import { type Counters, createThroughput, type Throughput } from '#edge-gateway/throughput.ts';

const MINUTE_MS = 60_000;

function throughput(): { of: Throughput; at: (ms: number, receivedBytes: number, uploadedBytes?: number) => void } {
  let now = 1_000_000;
  let counters: Counters = { receivedBytes: 0, uploadedBytes: 0 };
  const of = createThroughput({ counters: () => counters, elapsedMs: () => now, sampleMs: 1_000_000 });
  of.close();
  const start = now;
  return {
    of,
    at(ms, receivedBytes, uploadedBytes = 0) {
      now = start + ms;
      counters = { receivedBytes, uploadedBytes };
    },
  };
}

const received = (of: Throughput): number[] => of.minutes().map((minute) => minute.receivedBytes);

it('puts what was counted into its minute', () => {
  const { of, at } = throughput();
  expect(received(of)).toEqual([0]);
  at(10_000, 100, 7);
  expect(of.minutes()).toEqual([{ receivedBytes: 100, uploadedBytes: 7 }]);
  at(MINUTE_MS + 1, 150, 7);
  expect(received(of)).toEqual([100, 50]);
  at(4 * MINUTE_MS, 150, 7);
  expect(received(of)).toEqual([100, 50, 0, 0, 0]);
});

it('keeps a day, and nothing of the day before', () => {
  const { of, at } = throughput();
  for (let minute = 0; minute < 3_000; minute++) {
    at(minute * MINUTE_MS, minute + 1);
    of.minutes();
  }
  expect(received(of)).toEqual(Array.from({ length: 1440 }, () => 1));
  at(3_000 * MINUTE_MS + 2 * 1440 * MINUTE_MS, 5_000);
  expect(received(of)).toEqual([...Array.from({ length: 1439 }, () => 0), 2_000]);
});

it('says the rate of the last minutes', () => {
  const { of, at } = throughput();
  at(30_000, 3_000, 600);
  expect(of.bytesPerSecond()).toEqual({ receivedBytes: 100, uploadedBytes: 20 });
  at(10 * MINUTE_MS + 30_000, 3_000, 600);
  expect(of.bytesPerSecond()).toEqual({ receivedBytes: 0, uploadedBytes: 0 });
  at(10 * MINUTE_MS + 45_000, 3_000, 600 + 285);
  expect(of.bytesPerSecond()).toEqual({ receivedBytes: 0, uploadedBytes: 1 });
});

it('is not confused by counters that begin anew', () => {
  const { of, at } = throughput();
  at(1_000, 500);
  of.minutes();
  at(2_000, 10);
  expect(received(of)).toEqual([500]);
});
