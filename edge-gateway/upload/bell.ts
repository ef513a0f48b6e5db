/**
 * How a loop waits for its next round: for a time, for news, or through a back-off that only closing and what is urgent end.
 */

export interface Pause {
  readonly ms: number;
  /** News does not end it: only closing, and what is urgent. */
  readonly deaf?: boolean;
}

export interface Bell {
  /** Ends a pause that is not deaf; one ring while nobody waits is remembered. */
  ring(): void;
  /** Ends any pause. */
  ringUrgently(): void;
  wait(pause: Pause): Promise<void>;
}

export function createBell(closed: AbortSignal): Bell {
  let rung = false;
  let urgent = false;
  let wakeUp: (() => void) | undefined;
  closed.addEventListener('abort', () => wakeUp?.(), { once: true });
  const ring = (): void => {
    rung = true;
    wakeUp?.();
  };
  return {
    ring,
    ringUrgently() {
      urgent = true;
      ring();
    },
    async wait({ ms, deaf = false }) {
      const isOver = (): boolean => closed.aborted || urgent || (rung && !deaf);
      if (ms > 0 && !isOver()) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wakeUp = () => {
            if (!isOver()) return;
            clearTimeout(timer);
            resolve();
          };
        });
        wakeUp = undefined;
      }
      urgent = false;
      if (!deaf) rung = false;
    },
  };
}
