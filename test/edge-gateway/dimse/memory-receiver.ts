/**
 * An InstanceReceiver that keeps what it is given in memory (or only counts and hashes it), for tests of the DIMSE
 * server alone: what reached the sink, in which order, and how each instance ended.
 */
import { createHash } from 'node:crypto';
import type { IncomingInstance, InstanceReceiver, InstanceSink, Outcome } from '#shared/archive/outcome.ts';

export interface Received {
  readonly incoming: IncomingInstance;
  end: 'open' | 'committed' | 'aborted';
  bytes: Buffer;
  lengthBytes: number;
  sha256: string;
  writes: number;
}

export interface MemoryReceiverOptions {
  /** False: only count and hash. */
  readonly isKept?: boolean;
  /** Called before a write is taken; a promise is back-pressure. */
  readonly beforeWrite?: (received: Received) => void | Promise<void>;
  /** Decides the outcome; may take its time. */
  readonly outcome?: (received: Received) => Outcome | Promise<Outcome>;
}

export class MemoryReceiver implements InstanceReceiver {
  readonly received: Received[] = [];
  readonly #options: MemoryReceiverOptions;

  constructor(options: MemoryReceiverOptions = {}) {
    this.#options = options;
  }

  begin(incoming: IncomingInstance): InstanceSink {
    const { isKept = true, beforeWrite, outcome = stored } = this.#options;
    const hash = createHash('sha256');
    const pieces: Uint8Array[] = [];
    const received: Received = { incoming, end: 'open', bytes: Buffer.alloc(0), lengthBytes: 0, sha256: '', writes: 0 };
    this.received.push(received);
    const take = (bytes: Uint8Array) => {
      received.writes++;
      received.lengthBytes += bytes.length;
      hash.update(bytes);
      if (isKept) pieces.push(bytes);
    };
    return {
      write: (bytes) => {
        const waiting = beforeWrite?.(received);
        if (waiting === undefined) return take(bytes);
        return waiting.then(() => take(bytes));
      },
      commit: async () => {
        received.bytes = Buffer.concat(pieces);
        received.sha256 = hash.digest('hex');
        const answer = await outcome(received);
        received.end = 'committed';
        return answer;
      },
      abort: () => {
        received.end = 'aborted';
      },
    };
  }
}

export function stored(received: Received): Outcome {
  return {
    kind: 'stored',
    ref: {
      studyInstanceUid: '1.2',
      seriesInstanceUid: '1.3',
      sopInstanceUid: received.incoming.sopInstanceUid ?? '1.4',
    },
    digest: received.sha256,
  };
}
