/**
 * Loaded volumes, kept within a budget of bytes: one that many ask for is loaded once, those that nobody has used for longest go first, and
 * none goes while somebody cuts through it. Named by what they are made of, so that nothing kept is ever stale. It knows nothing of loading.
 */
import { ArchiveError } from '../errors.ts';
import type { Volume } from '../imaging/volume.ts';

export interface WantedVolume {
  /** Of its content. */
  readonly key: string;
  readonly sizeBytes: number;
  /** Called at most once at a time for a key. `signal` is aborted when nobody waits for it any more. */
  load(signal: AbortSignal): Promise<Volume>;
}

export interface VolumeCache {
  /**
   * Does `work` with the volume, which stays until that has settled. Errors: those of `load`; `too-large` for more than the whole
   * budget, `unavailable` when too many wait for room, or when `signal` is aborted: who asked has left.
   */
  use<T>(wanted: WantedVolume, signal: AbortSignal, work: (volume: Volume) => Promise<T>): Promise<T>;
}

interface Entry {
  readonly sizeBytes: number;
  readonly loading: Promise<Volume>;
  readonly giveUp: () => void;
  users: number;
  isLoaded: boolean;
}

/** More than a host has connections for would be more than it can answer. */
const maximumWaiting = 256;

export function createVolumeCache(budgetBytes: number): VolumeCache {
  /** Used last at the end. */
  const entries = new Map<string, Entry>();
  const waiting: (() => void)[] = [];
  let heldBytes = 0;

  const freed = (sizeBytes: number): void => {
    heldBytes -= sizeBytes;
    for (const look of waiting.splice(0)) look();
  };

  const makeRoom = (sizeBytes: number): boolean => {
    const goodbye: [string, Entry][] = [];
    let free = budgetBytes - heldBytes;
    for (const [key, entry] of entries) {
      if (free >= sizeBytes) break;
      if (entry.users > 0 || !entry.isLoaded) continue;
      goodbye.push([key, entry]);
      free += entry.sizeBytes;
    }
    if (free < sizeBytes) return false; // nothing goes for a volume that does not come
    for (const [key, entry] of goodbye) {
      entries.delete(key);
      heldBytes -= entry.sizeBytes;
    }
    return true;
  };

  const begin = ({ key, sizeBytes, load }: WantedVolume): Entry => {
    const controller = new AbortController();
    heldBytes += sizeBytes;
    const forget = (): void => {
      if (entries.get(key) === entry) entries.delete(key);
    };
    const entry: Entry = {
      sizeBytes,
      loading: load(controller.signal),
      giveUp() {
        forget();
        controller.abort(new ArchiveError('unavailable', 'The volume is not wanted any more; ask again.'));
      },
      users: 1,
      isLoaded: false,
    };
    entries.set(key, entry);
    entry.loading.then(
      () => {
        entry.isLoaded = true;
        // Nobody waits for it and it has come all the same: it was given up when it was as good as there.
        if (entries.get(key) !== entry) freed(sizeBytes);
      },
      () => {
        forget();
        freed(sizeBytes);
      },
    );
    return entry;
  };

  /** Counted as used already. */
  const find = async (wanted: WantedVolume, signal: AbortSignal): Promise<Entry> => {
    if (wanted.sizeBytes > budgetBytes) {
      throw new ArchiveError(
        'too-large',
        `The volume takes ${wanted.sizeBytes} bytes, and ${budgetBytes} at most are held here; choose a part of it by volumeinputreference.`,
      );
    }
    for (;;) {
      if (signal.aborted) throw hasLeft();
      const known = entries.get(wanted.key);
      if (known !== undefined) {
        entries.delete(wanted.key);
        entries.set(wanted.key, known);
        known.users++;
        return known;
      }
      if (makeRoom(wanted.sizeBytes)) return begin(wanted);
      if (waiting.length >= maximumWaiting) {
        throw new ArchiveError('unavailable', 'Too many volumes are wanted at once; ask again later.', {
          retryAfterSeconds: 5,
        });
      }
      await unlessAborted(new Promise<void>((resolve) => waiting.push(resolve)), signal);
    }
  };

  return {
    async use(wanted, signal, work) {
      const entry = await find(wanted, signal);
      try {
        return await work(await unlessAborted(entry.loading, signal));
      } finally {
        entry.users--;
        if (entry.users === 0) {
          if (!entry.isLoaded) entry.giveUp();
          for (const look of waiting.splice(0)) look();
        }
      }
    },
  };
}

/** An abort's own reason would look like a fault of ours. */
const hasLeft = (): ArchiveError => new ArchiveError('unavailable', 'The client has left before the volume was there.');

/** What is waited for; error `unavailable` if the client leaves first. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) throw hasLeft();
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(hasLeft());
    signal.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort !== undefined) signal.removeEventListener('abort', abort);
  }
}
