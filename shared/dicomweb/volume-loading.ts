/**
 * The frames of a volume out of the packs: neighbours in a pack in one large read, the next reads under way while threads decode, so that
 * a series is a few dozen requests to the store and memory holds a few of them at a time. Into which cells they go is imaging's.
 */
import type { PackStore } from '../archive/ports.ts';
import { ArchiveError } from '../errors.ts';
import type { SliceFrame } from '../imaging/volume-pool.ts';
import type { Context } from './context.ts';
import { maximumFrameBytes } from './frame-source.ts';
import { reachOf } from './reach.ts';
import { compare } from './stored-instances.ts';
import type { VolumeFrame } from './volume-frames.ts';

/** Of one read. A frame that is longer is read by itself. */
const readBytes = 4 * 1024 * 1024;
/** Between two frames of single-frame instances lie a local header, File Meta and attributes; more is other people's. */
const maximumGapBytes = 64 * 1024;
/** With the one that is being decoded they keep two threads and a store that is far away busy. */
const readsAhead = 3;

interface Located {
  readonly slice: number;
  readonly frame: VolumeFrame;
  readonly bytes: Extract<VolumeFrame['bytes'], { key: string }>;
}

/**
 * Errors: `unavailable` when one of the packs sleeps or is out of reach, `damaged` when one is missing or too short: a volume is whole
 * or is not given.
 */
export async function assertWithinReach(
  packs: PackStore,
  frames: readonly VolumeFrame[],
  context: Context,
): Promise<void> {
  const instances = [...new Set(frames.map(({ instance }) => instance))];
  const { failure } = await reachOf(packs, instances, context);
  if (failure !== undefined) throw failure;
}

/**
 * Each slice's frame once, in the order of packs. Errors: those of PackStore, `limit-exceeded` for a frame that no memory should hold;
 * what `signal` was aborted with.
 */
export async function* readSlices(
  packs: PackStore,
  frames: readonly VolumeFrame[],
  signal: AbortSignal,
): AsyncGenerator<SliceFrame, void, undefined> {
  const located: Located[] = [];
  for (const [slice, frame] of frames.entries()) {
    const { bytes } = frame;
    if ('key' in bytes) located.push({ slice, frame, bytes });
    else {
      signal.throwIfAborted();
      yield { slice, frame: await bytes.read() };
    }
  }
  const waiting = runsOf(located);
  const underWay: { readonly run: readonly Located[]; readonly reading: Promise<Uint8Array> }[] = [];
  for (;;) {
    signal.throwIfAborted();
    while (underWay.length < readsAhead) {
      const { value: run, done } = waiting.next();
      if (done === true) break;
      const reading = packs.read(run[0]!.bytes.key, spanOf(run));
      // Who takes it hears of its failure; when nobody does any more, nobody need.
      reading.catch(() => {});
      underWay.push({ run, reading });
    }
    const next = underWay.shift();
    if (next === undefined) return;
    const read = await next.reading;
    const { offsetBytes: start } = spanOf(next.run);
    for (const { slice, bytes } of next.run) {
      signal.throwIfAborted();
      const from = bytes.offsetBytes - start;
      yield { slice, frame: bytes.finish(read.subarray(from, from + bytes.lengthBytes)) };
    }
  }
}

/** What lies behind each other in one pack, as much as is read at once. */
function* runsOf(frames: readonly Located[]): Generator<readonly Located[], void, undefined> {
  const sorted = frames.toSorted(
    (a, b) => compare(a.bytes.key, b.bytes.key) || a.bytes.offsetBytes - b.bytes.offsetBytes,
  );
  let run: Located[] = [];
  for (const one of sorted) {
    const { key, offsetBytes, lengthBytes } = one.bytes;
    if (lengthBytes > maximumFrameBytes) {
      throw new ArchiveError(
        'limit-exceeded',
        `A frame is longer than ${maximumFrameBytes} bytes; retrieve the instance instead.`,
      );
    }
    const last = run.at(-1)?.bytes;
    if (last !== undefined) {
      const span = spanOf(run);
      const gap = offsetBytes - (span.offsetBytes + span.lengthBytes);
      if (last.key !== key || gap > maximumGapBytes || offsetBytes + lengthBytes - span.offsetBytes > readBytes) {
        yield run;
        run = [];
      }
    }
    run.push(one);
  }
  if (run.length > 0) yield run;
}

function spanOf(run: readonly Located[]): { offsetBytes: number; lengthBytes: number } {
  const { offsetBytes } = run[0]!.bytes;
  const last = run.at(-1)!.bytes;
  return { offsetBytes, lengthBytes: last.offsetBytes + last.lengthBytes - offsetBytes };
}
