/**
 * Transcoding frames for whoever sends them: through the worker threads of a render pool, a few at a time, and within one budget of
 * memory for the frames of all answers together, so that slow readers cannot fill it. Of data sets it knows nothing: that
 * is transcoded-data-set.ts.
 */
import { ArchiveError } from '../errors.ts';
import type { TranscodedFrame, TranscodeRequest } from '../imaging/transcode.ts';
import { type ByteBudget, createByteBudget } from './byte-budget.ts';

/** One frame on its way: transcoded as soon as there is room and a thread for it. */
export interface FrameOnItsWay {
  readonly frame: Promise<TranscodedFrame>;
  /** It was passed on, or is not wanted any more: its memory counts no longer. */
  release(): void;
}

export interface Room {
  readonly granted: Promise<void>;
  release(): void;
}

export interface FrameTranscoder {
  /**
   * Begins to transcode a frame that `read` brings. What it rejects with: errors of `read`; ArchiveError `cannot-render`,
   * `not-acceptable`, `timeout`, `unavailable`. One that takes more than a thread may is not even read.
   *
   * Whoever wants several begins them in the order in which they are sent: what is held can then always be sent and released.
   * @param heldBytes that it will take, before and after together
   */
  begin(heldBytes: number, read: () => Promise<TranscodeRequest>): FrameOnItsWay;
  /** Whether less than half of the budget is held: then frames may be begun ahead of their turn; each answer's own always may. */
  readonly isRoomy: boolean;
  /** For frames that wait until all of an object are known; to be had before the first of them is begun. */
  gather(sizeBytes: number): Room;
}

export interface FrameTranscoderOptions {
  /** RenderPool's `transcode`. */
  readonly transcode: (request: TranscodeRequest) => Promise<TranscodedFrame>;
  /** For all frames on their way. Default 256 MiB; a larger one goes alone. */
  readonly budgetBytes?: number;
  /** Given to the pool at a time, so that pictures get their turn. Default 4. */
  readonly atOnce?: number;
}

const MIB = 1024 * 1024;
/** Each answer has a few frames on their way at most. */
const MAX_WAITING = 1_000;
/** What one frame may take while it is transcoded. */
const FRAME_BYTES = 1024 * MIB;
const GATHERED_BYTES = 64 * MIB;

export function createFrameTranscoder(options: FrameTranscoderOptions): FrameTranscoder {
  const { transcode, budgetBytes = 256 * MIB, atOnce = 4 } = options;
  const budget = createByteBudget(budgetBytes, MAX_WAITING);
  const gathered = createByteBudget(GATHERED_BYTES, MAX_WAITING);
  const turns = createByteBudget(atOnce, MAX_WAITING);
  let heldByFrames = 0;
  return {
    get isRoomy() {
      return heldByFrames < budgetBytes / 2;
    },
    begin(heldBytes, read) {
      if (heldBytes > FRAME_BYTES) {
        const frame = Promise.reject(
          new ArchiveError('cannot-render', 'The frame is too large to be transcoded here.', { heldBytes }),
        );
        frame.catch(() => {});
        return { frame, release: () => {} };
      }
      heldByFrames += heldBytes;
      const room = roomIn(budget, heldBytes);
      let isReleased = false;
      // Of a frame that nobody wants any more nobody sees what it failed with.
      const checkWanted = (): void => {
        if (isReleased) throw new ArchiveError('unavailable', 'The frame was given up.');
      };
      const frame = room.granted.then(async () => {
        checkWanted();
        const request = await read();
        return turns.hold(1, async () => {
          checkWanted();
          return transcode(request);
        });
      });
      // Whoever stops half-way does not wait for the frame after.
      frame.catch(() => {});
      return {
        frame,
        release: () => {
          if (isReleased) return;
          isReleased = true;
          // What a thread still works on takes its memory.
          frame
            .finally(() => {
              heldByFrames -= heldBytes;
              room.release();
            })
            .catch(() => {});
        },
      };
    },
    gather: (sizeBytes) => roomIn(gathered, sizeBytes),
  };
}

/** A place in the budget until it is released; one that is released before it is granted is let go as soon as it is. */
function roomIn(budget: ByteBudget, sizeBytes: number): Room {
  const granted = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  granted.promise.catch(() => {});
  budget
    .hold(sizeBytes, () => {
      granted.resolve();
      return released.promise;
    })
    .catch(granted.reject);
  return { granted: granted.promise, release: () => released.resolve() };
}
