/**
 * The thread behind file-hash.ts: reads files with plain synchronous calls, since it has nothing else to do. Senders, who
 * wait for the threads beside it, go first.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import type { HashAnswer, HashRequest } from './file-hash.ts';

const LOW_PRIORITY = 10;

const buffer = Buffer.allocUnsafeSlow(1024 * 1024);

function hashFile(path: string, offsetBytes: number, wantedBytes: number): { sha256: string; lengthBytes: number } {
  const fd = openSync(path, 'r');
  try {
    const hash = createHash('sha256');
    let lengthBytes = 0;
    for (let count = -1; count !== 0; lengthBytes += count) {
      const atMost = Math.min(buffer.length, wantedBytes - lengthBytes);
      count = atMost === 0 ? 0 : readSync(fd, buffer, 0, atMost, offsetBytes + lengthBytes);
      hash.update(buffer.subarray(0, count));
    }
    return { sha256: hash.digest('hex'), lengthBytes };
  } finally {
    closeSync(fd);
  }
}

// On Linux a thread has a priority of its own.
if (parentPort !== null && process.platform === 'linux') setPriority(0, LOW_PRIORITY);

parentPort?.on('message', ({ id, path, range }: HashRequest) => {
  let answer: HashAnswer;
  try {
    answer = { id, ...hashFile(path, range?.offsetBytes ?? 0, range?.lengthBytes ?? Number.POSITIVE_INFINITY) };
  } catch (error) {
    answer = { id, failure: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});
