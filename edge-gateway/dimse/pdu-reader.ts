/**
 * Cuts a TCP stream into PDUs as its chunks arrive (PS3.8 §9.3), whatever their borders. Presentation data values are
 * handed on in pieces as they come, never gathered; nothing is ever allocated because a length field says so. A handler
 * that answers with a promise stops the reader until it is settled: that is the whole back-pressure. After some PDUs
 * others have their turn, so that a flood of short ones on one connection does not keep the rest of them waiting.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { GrowingBuffer } from './growing-buffer.ts';
import {
  AbortReason,
  MAX_ASSOCIATE_PDU_BYTES,
  PDU_HEADER_BYTES,
  PDV_HEADER_BYTES,
  PduType,
  pduViolation,
} from './pdu.ts';

export interface PduHandler {
  /** A PDU has begun; throws where its type has no place now. Before anything of its body is kept. */
  pduBegins(type: number): void;
  /** A whole PDU other than P-DATA-TF. */
  pdu(type: number, body: Uint8Array): void | Promise<void>;
  /**
   * A piece of a presentation data value. `isEnd`: the last piece of this one (there is at least one piece, maybe empty).
   * The bytes are never written to again.
   */
  piece(contextId: number, control: number, bytes: Uint8Array, isEnd: boolean): void | Promise<void>;
  /** A handler threw, a promise of one was rejected, or the stream breaks PS3.8. The reader has stopped for good. */
  failed(error: unknown): void;
  /** The reader waited, and has now taken all that it was given. */
  caughtUp(): void;
}

const nothing = new Uint8Array(0);

/** PDUs and values in them: a megabyte of usual ones, or a millisecond of short ones. */
const PARTS_PER_TURN = 128;

type State = 'pdu-header' | 'body' | 'pdv-header' | 'pdv';

export class PduReader {
  readonly #handler: PduHandler;
  readonly #maxPduBytes: number;
  readonly #header = Buffer.alloc(Math.max(PDU_HEADER_BYTES, PDV_HEADER_BYTES));
  #headerBytes = 0;
  #state: State = 'pdu-header';
  #type = 0;
  /** Bytes of the current PDU's body still to come. */
  #left = 0;
  /** Bytes of the current presentation data value still to come. */
  #pdvLeft = 0;
  #contextId = 0;
  #control = 0;
  readonly #body = new GrowingBuffer();
  #chunks: Uint8Array[] = [];
  #offset = 0;
  #isWaiting = false;
  #isStopped = false;
  #pduCount = 0;
  /** Since others had their turn. */
  #parts = 0;

  constructor(handler: PduHandler, maxPduBytes: number) {
    this.#handler = handler;
    this.#maxPduBytes = maxPduBytes;
  }

  /** A handler's promise is awaited. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** It waits and holds bytes that it has not looked at: time to stop reading the socket. */
  get isBehind(): boolean {
    return this.#isWaiting && this.#chunks.length > 0;
  }

  /** In the middle of a PDU. */
  get isMidPdu(): boolean {
    return this.#state !== 'pdu-header' || this.#headerBytes > 0;
  }

  /** Whole PDUs so far. */
  get pduCount(): number {
    return this.#pduCount;
  }

  push(chunk: Uint8Array): void {
    if (this.#isStopped || chunk.length === 0) return;
    this.#chunks.push(chunk);
    if (!this.#isWaiting) this.#run();
  }

  /** Whatever else comes is dropped. */
  stop(): void {
    this.#isStopped = true;
    this.#chunks = [];
    this.#body.take();
  }

  #run(): void {
    try {
      while (!this.#isStopped) {
        const chunk = this.#chunks[0];
        if (chunk === undefined) return;
        if (this.#offset === chunk.length) {
          this.#chunks.shift();
          this.#offset = 0;
          continue;
        }
        const waiting = this.#step(chunk) ?? this.#turn();
        if (waiting !== undefined) {
          this.#waitFor(waiting, chunk);
          return;
        }
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Lets others have theirs when this one has had enough. */
  #turn(): Promise<void> | undefined {
    if (this.#parts < PARTS_PER_TURN) return undefined;
    this.#parts = 0;
    return nextTurn();
  }

  #waitFor(waiting: Promise<void>, chunk: Uint8Array): void {
    if (this.#offset === chunk.length) {
      this.#chunks.shift();
      this.#offset = 0;
    }
    this.#isWaiting = true;
    waiting.then(
      () => {
        this.#isWaiting = false;
        this.#run();
        if (!this.#isWaiting && !this.#isStopped) this.#handler.caughtUp();
      },
      (error: unknown) => {
        this.#isWaiting = false;
        this.#fail(error);
      },
    );
  }

  #fail(error: unknown): void {
    if (this.#isStopped) return;
    this.stop();
    this.#handler.failed(error);
  }

  /** Takes what the state wants from `chunk` at the offset, where at least one byte is left. */
  #step(chunk: Uint8Array): void | Promise<void> {
    switch (this.#state) {
      case 'pdu-header':
        return this.#takeHeader(chunk, PDU_HEADER_BYTES) ? this.#beginPdu() : undefined;
      case 'pdv-header':
        return this.#takeHeader(chunk, PDV_HEADER_BYTES) ? this.#beginPdv() : undefined;
      case 'body':
        return this.#takeBody(chunk);
      default:
        return this.#takePiece(chunk);
    }
  }

  #take(chunk: Uint8Array, atMost: number): Uint8Array {
    const end = Math.min(chunk.length, this.#offset + atMost);
    const bytes = chunk.subarray(this.#offset, end);
    this.#offset = end;
    return bytes;
  }

  #takeHeader(chunk: Uint8Array, headerBytes: number): boolean {
    const part = this.#take(chunk, headerBytes - this.#headerBytes);
    this.#header.set(part, this.#headerBytes);
    this.#headerBytes += part.length;
    if (this.#headerBytes < headerBytes) return false;
    this.#headerBytes = 0;
    return true;
  }

  #beginPdu(): void | Promise<void> {
    this.#parts++;
    this.#type = this.#header[0] as number;
    this.#left = this.#header.readUInt32BE(2);
    this.#checkLength();
    this.#handler.pduBegins(this.#type);
    if (this.#type === PduType.Data) {
      this.#state = 'pdv-header';
      return;
    }
    this.#state = 'body';
  }

  #checkLength(): void {
    const details = { pduType: this.#type, lengthBytes: this.#left };
    switch (this.#type) {
      case PduType.Data:
        if (this.#left > this.#maxPduBytes)
          throw pduViolation('a P-DATA-TF is longer than agreed', AbortReason.InvalidPduParameterValue, details);
        if (this.#left < PDV_HEADER_BYTES)
          throw pduViolation('a P-DATA-TF holds no value', AbortReason.InvalidPduParameterValue, details);
        return;
      case PduType.AssociateRequest:
      case PduType.AssociateAccept:
        if (this.#left > MAX_ASSOCIATE_PDU_BYTES)
          throw pduViolation('an associate PDU is too long', AbortReason.InvalidPduParameterValue, details);
        return;
      case PduType.AssociateReject:
      case PduType.ReleaseRequest:
      case PduType.ReleaseResponse:
      case PduType.Abort:
        if (this.#left !== 4)
          throw pduViolation('a PDU has not the length of its type', AbortReason.InvalidPduParameterValue, details);
        return;
      default:
        throw pduViolation('a PDU of unknown type came', AbortReason.UnrecognizedPdu, details);
    }
  }

  #takeBody(chunk: Uint8Array): void | Promise<void> {
    const part = this.#take(chunk, this.#left);
    this.#left -= part.length;
    this.#body.append(part);
    if (this.#left > 0) return undefined;
    this.#endPdu();
    return this.#handler.pdu(this.#type, this.#body.take());
  }

  #beginPdv(): void | Promise<void> {
    this.#parts++;
    const lengthBytes = this.#header.readUInt32BE(0);
    this.#contextId = this.#header[4] as number;
    this.#control = this.#header[5] as number;
    this.#pdvLeft = lengthBytes - 2;
    this.#left -= PDV_HEADER_BYTES;
    if (lengthBytes < 2 || this.#pdvLeft > this.#left || lengthBytes % 2 !== 0) {
      throw pduViolation(
        'the length of a presentation data value is odd or does not fit its P-DATA-TF',
        AbortReason.InvalidPduParameterValue,
        { lengthBytes, leftBytes: this.#left },
      );
    }
    const rest = this.#left - this.#pdvLeft;
    if (rest > 0 && rest < PDV_HEADER_BYTES)
      throw pduViolation('a P-DATA-TF ends in a torn value', AbortReason.InvalidPduParameterValue, { leftBytes: rest });
    if (this.#pdvLeft > 0) {
      this.#state = 'pdv';
      return undefined;
    }
    this.#endPdv();
    return this.#handler.piece(this.#contextId, this.#control, nothing, true);
  }

  #takePiece(chunk: Uint8Array): void | Promise<void> {
    const bytes = this.#take(chunk, this.#pdvLeft);
    this.#pdvLeft -= bytes.length;
    this.#left -= bytes.length;
    const isEnd = this.#pdvLeft === 0;
    if (isEnd) this.#endPdv();
    return this.#handler.piece(this.#contextId, this.#control, bytes, isEnd);
  }

  #endPdv(): void {
    if (this.#left === 0) this.#endPdu();
    else this.#state = 'pdv-header';
  }

  #endPdu(): void {
    this.#state = 'pdu-header';
    this.#pduCount++;
  }
}
