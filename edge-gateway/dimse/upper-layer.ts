/**
 * One transport connection as the DICOM upper layer sees it (PS3.8 §9.1): a socket read by a PduReader, stopped while
 * the reader waits, and ended in order: a last PDU, then whatever still comes is thrown away until the other side has
 * closed or a moment has passed (closing at once would reset the connection and lose that PDU). Knows no association.
 */
import type { Socket } from 'node:net';
import { abortCauseOf, encodeAbort } from './pdu.ts';
import { type PduHandler, PduReader } from './pdu-reader.ts';

export interface UpperLayerHandler extends Omit<PduHandler, 'caughtUp'> {
  /** The connection is gone; once, and nothing else is called after it. */
  closed(): void;
}

export interface UpperLayerLimits {
  /** The longest P-DATA-TF that we take. */
  readonly maxPduBytes: number;
  /** How long the other side has to close after our last PDU. */
  readonly lingerMs: number;
}

export class UpperLayer {
  readonly reader: PduReader;
  readonly #socket: Socket;
  readonly #limits: UpperLayerLimits;
  #isEnding = false;
  #drained: Promise<void> | undefined;
  /** How often the peer has caught up with what was written. */
  drainCount = 0;

  /** Takes over the socket: the handler learns of everything from here on. */
  constructor(socket: Socket, handler: UpperLayerHandler, limits: UpperLayerLimits) {
    this.#socket = socket;
    this.#limits = limits;
    this.reader = new PduReader(
      {
        pduBegins: (type) => handler.pduBegins(type),
        pdu: (type, body) => handler.pdu(type, body),
        piece: (contextId, control, bytes, isEnd) => handler.piece(contextId, control, bytes, isEnd),
        failed: (error) => handler.failed(error),
        caughtUp: () => {
          if (socket.isPaused()) socket.resume();
        },
      },
      limits.maxPduBytes,
    );
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 60_000);
    socket.on('data', (chunk: Buffer) => {
      this.reader.push(chunk);
      if (this.reader.isBehind) socket.pause();
    });
    // The reason of a broken connection adds nothing to its being closed.
    socket.on('error', () => {});
    socket.once('close', () => {
      this.#isEnding = true;
      this.reader.stop();
      handler.closed();
    });
  }

  /** The last PDU is sent, or the connection is gone. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** What was written waits for a peer that does not read. */
  get isClogged(): boolean {
    return this.#drained !== undefined;
  }

  /**
   * Writes PDUs in one write. The promise, if there is one, is settled when the peer has taken what was written or is
   * gone: whoever writes in answer to what was read waits for it, so that a peer that does not read is not read either.
   */
  write(parts: readonly Uint8Array[]): void | Promise<void> {
    if (this.#isEnding) return undefined;
    const socket = this.#socket;
    if (parts.length > 1) socket.cork();
    let hasRoom = true;
    for (const part of parts) hasRoom = socket.write(part);
    if (parts.length > 1) socket.uncork();
    if (hasRoom && !socket.writableNeedDrain) return undefined;
    this.#drained ??= new Promise((resolve) => {
      const done = () => {
        socket.off('drain', done);
        socket.off('close', done);
        this.#drained = undefined;
        this.drainCount++;
        resolve();
      };
      socket.on('drain', done);
      socket.on('close', done);
    });
    return this.#drained;
  }

  /** Sends the last PDU, if there is one to send, and closes. */
  end(lastPdu?: Uint8Array): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.reader.stop();
    const socket = this.#socket;
    if (lastPdu === undefined) socket.end();
    else socket.end(lastPdu);
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), this.#limits.lingerMs);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
  }

  /** A-ABORT with the source and reason that the error carries, and closes. */
  abort(error: unknown): void {
    this.end(encodeAbort(abortCauseOf(error)));
  }

  /** Closes without a word. */
  destroy(): void {
    this.#isEnding = true;
    this.reader.stop();
    this.#socket.destroy();
  }
}
