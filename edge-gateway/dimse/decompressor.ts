/**
 * Decompressing for receivers that take native pixels only: worker threads under limits of time and memory (imaging's
 * pool), and one budget for the frames of all associations together, so that slow receivers cannot fill the memory. Of
 * data sets it knows nothing: that is decompressed-data-set.ts.
 */
import { createByteBudget } from '#shared/dicomweb/byte-budget.ts';
import { ArchiveError } from '#shared/errors.ts';
import type { NativeFrame, NativeRequest } from '#shared/imaging/native-cells.ts';
import { createRenderPool } from '#shared/imaging/render-pool.ts';

/** One frame on its way: decoded as soon as there is room and a thread for it. */
export interface FrameOnItsWay {
  readonly native: Promise<NativeFrame>;
  /** It was passed on, or is not wanted any more: its memory counts no longer. */
  release(): void;
}

export interface Decompressor {
  /**
   * Begins to decode a frame that `read` brings. What it rejects with: errors of `read`; ArchiveError `cannot-render`, `timeout`,
   * `unavailable`. One that takes more than a thread may is not even read.
   * @param heldBytes that it will take, compressed and native together
   */
  begin(heldBytes: number, read: () => Promise<NativeRequest>): FrameOnItsWay;
  /** Ends the threads. */
  close(): Promise<void>;
}

export interface DecompressorOptions {
  /** Started with the first frame. Default 2. */
  readonly threads?: number;
  /** For one frame, default 30 s: beyond it somebody waits in vain. */
  readonly timeoutMs?: number;
  /** For all frames on their way. Default 256 MiB; a larger one goes alone. */
  readonly budgetBytes?: number;
}

const MIB = 1024 * 1024;
/** Each association has two frames on their way at most. */
const MAX_WAITING = 1_000;
/** What one frame may take while it is decoded. */
const FRAME_MEMORY_MB = 1024;

export function createDecompressor(options: DecompressorOptions = {}): Decompressor {
  const { threads = 2, timeoutMs = 30_000, budgetBytes = 256 * MIB } = options;
  const pool = createRenderPool({ threads, timeoutMs, memoryMb: FRAME_MEMORY_MB, maxWaiting: MAX_WAITING });
  const budget = createByteBudget(budgetBytes, MAX_WAITING);
  return {
    begin(heldBytes, read) {
      const native = Promise.withResolvers<NativeFrame>();
      const released = Promise.withResolvers<void>();
      let isReleased = false;
      // Whoever stops half-way does not wait for the frame after.
      native.promise.catch(() => {});
      if (heldBytes > FRAME_MEMORY_MB * MIB) {
        native.reject(
          new ArchiveError('cannot-render', 'The frame is too large to be decompressed here.', { heldBytes }),
        );
        return { native: native.promise, release: () => {} };
      }
      budget
        .hold(heldBytes, async () => {
          if (isReleased) return;
          native.resolve(await pool.decompress(await read()));
          await released.promise;
        })
        .catch(native.reject);
      return {
        native: native.promise,
        release: () => {
          isReleased = true;
          released.resolve();
        },
      };
    },
    close: () => pool.close(),
  };
}
