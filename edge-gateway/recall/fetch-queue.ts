/**
 * Work that is done once however many want it, a few at a time, and what somebody waits for before what somebody may want next.
 */

export interface FetchQueue {
  /** The one job of this name: that under way or in line, or a new one. Who waits for it puts it before those that nobody waits for. */
  once(name: string, isUrgent: boolean, run: () => Promise<void>): Promise<void>;
  /** In line, with nobody waiting. */
  readonly idleCount: number;
  /** Nothing new begins; what is in line rejects with `error`. Resolves when nothing is under way. */
  close(error: Error): Promise<void>;
}

interface Job {
  readonly name: string;
  readonly run: () => Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** @param parallel how many run at once */
export function createFetchQueue(parallel: number): FetchQueue {
  const known = new Map<string, Promise<void>>();
  const urgent: Job[] = [];
  const idle: Job[] = [];
  let running = 0;
  let closed: Error | undefined;

  function next(): void {
    while (running < parallel) {
      const job = urgent.shift() ?? idle.shift();
      if (job === undefined) return;
      running++;
      job
        .run()
        .then(job.resolve, job.reject)
        .finally(() => {
          running--;
          next();
        });
    }
  }

  /** Somebody waits now for what was only foreseen. */
  function hurry(name: string): void {
    const at = idle.findIndex((job) => job.name === name);
    if (at >= 0) urgent.push(...idle.splice(at, 1));
  }

  return {
    once(name, isUrgent, run) {
      const same = known.get(name);
      if (same !== undefined) {
        if (isUrgent) hurry(name);
        return same;
      }
      if (closed !== undefined) return Promise.reject(closed);
      const work = new Promise<void>((resolve, reject) => {
        (isUrgent ? urgent : idle).push({ name, run, resolve, reject });
      });
      known.set(name, work);
      const end = (): void => void known.delete(name);
      work.then(end, end);
      next();
      return work;
    },
    get idleCount() {
      return idle.length;
    },
    async close(error) {
      closed = error;
      for (const job of [...urgent.splice(0), ...idle.splice(0)]) job.reject(error);
      await Promise.allSettled(known.values());
    },
  };
}
