/**
 * Messages on their way out of one association, whole and one after the other (PS3.7 §6.3): short ones in one write, long
 * data sets streamed as fast as the peer reads, while whatever else there is to say waits for their end.
 */
import { ArchiveError } from '#shared/errors.ts';
import { type CommandSet, encodeCommandSet } from './command-set.ts';
import { dataSetPdus } from './fragmenter.ts';
import { encodeCommandPdus, encodeDataSetPdus, fragmentLimit } from './pdu.ts';
import type { UpperLayer } from './upper-layer.ts';

export class OutgoingMessages {
  readonly #layer: UpperLayer;
  readonly #maxPduBytes: () => number;
  /** Of the message whose data set is being streamed. */
  #turn: Promise<void> | undefined;

  /** @param maxPduBytes what the peer takes, once it is known */
  constructor(layer: UpperLayer, maxPduBytes: () => number) {
    this.#layer = layer;
    this.#maxPduBytes = maxPduBytes;
  }

  /** Writes a message as soon as it is its turn. The promise, if there is one, is settled when the peer has read enough for the next. */
  write(contextId: number, command: CommandSet, dataSet?: Uint8Array): void | Promise<void> {
    if (this.#turn !== undefined) return this.#turn.then(() => this.write(contextId, command, dataSet));
    const maxPduBytes = this.#maxPduBytes();
    const parts = [encodeCommandPdus(contextId, encodeCommandSet(command), maxPduBytes)];
    if (dataSet !== undefined) parts.push(encodeDataSetPdus(contextId, dataSet, maxPduBytes));
    return this.#layer.write(parts);
  }

  /** Resolves when all of it is written. Errors: those of `dataSet`, after which the message is torn; `unavailable`. */
  async stream(contextId: number, command: CommandSet, dataSet: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
    while (this.#turn !== undefined) await this.#turn;
    let endTurn = () => {};
    this.#turn = new Promise((resolve) => {
      endTurn = resolve;
    });
    try {
      const maxPduBytes = this.#maxPduBytes();
      await this.#layer.write([encodeCommandPdus(contextId, encodeCommandSet(command), maxPduBytes)]);
      const fragmentBytes = fragmentLimit(maxPduBytes);
      for await (const parts of dataSetPdus(dataSet, contextId, { fragmentBytes, pdvsPerPdu: 1 })) {
        if (this.#layer.isEnding) throw new ArchiveError('unavailable', 'the association ended within a data set');
        await this.#layer.write(parts);
      }
    } finally {
      this.#turn = undefined;
      endTurn();
    }
  }
}
