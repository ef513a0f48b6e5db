/**
 * Reads a sealed pack from the disk again, as slowly as it must so that nobody waits for it, and says whether its bytes are
 * still those that were sealed.
 */
import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { PackRecord } from '#shared/archive/records.ts';
import { errorCode, type Files } from './files.ts';

export interface CheckPace {
  /** Whether senders need the machine at this moment: reading stops while they do. */
  readonly isBusy: () => boolean;
  readonly signal: AbortSignal;
}

const CHUNK_BYTES = 512 * 1024;
/** At most some 50 MB/s. */
const CHUNK_PAUSE_MS = 10;
const BUSY_PAUSE_MS = 250;
/** A gateway that is never idle reads on all the same, chunk by chunk. */
const MAX_BUSY_MS = 10_000;

const passing: readonly (string | undefined)[] = ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EINTR', 'EACCES', 'EPERM'];

/** Whether a file could not be read for what the machine lacks at the moment, or this process may not: it says nothing about its bytes. */
export const mayPass = (error: unknown): boolean => passing.includes(errorCode(error));

/** A sentence about what is wrong with the file; undefined when it is as it was sealed. Errors: AbortError; those that may pass. */
export async function findDamage(
  files: Files,
  path: string,
  { lengthBytes, sha256 }: Pick<PackRecord, 'lengthBytes' | 'sha256'>,
  { isBusy, signal }: CheckPace,
): Promise<string | undefined> {
  try {
    const file = await files.open(path, 'read');
    try {
      const length = await file.lengthBytes();
      if (length !== lengthBytes) return `The file has ${length} bytes in place of ${lengthBytes}.`;
      const hash = createHash('sha256');
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, lengthBytes));
      for (let at = 0; at < lengthBytes; ) {
        for (let waited = 0; isBusy() && waited < MAX_BUSY_MS; waited += BUSY_PAUSE_MS)
          await pause(BUSY_PAUSE_MS, undefined, { signal });
        const count = await file.read(chunk.subarray(0, lengthBytes - at), at);
        if (count === 0) return 'The file is shorter than it says.';
        hash.update(chunk.subarray(0, count));
        at += count;
        if (at < lengthBytes) await pause(CHUNK_PAUSE_MS, undefined, { signal });
      }
      return hash.digest('hex') === sha256 ? undefined : 'Its SHA-256 is not the one with which it was sealed.';
    } finally {
      await file.close();
    }
  } catch (error) {
    if (signal.aborted || mayPass(error)) throw error;
    const code = errorCode(error);
    if (code === 'ENOENT') return 'The file is gone.';
    return `The file cannot be read (${code ?? 'unknown error'}).`;
  }
}
