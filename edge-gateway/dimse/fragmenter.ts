/**
 * A data set on its way out: cut into presentation data values and those put into P-DATA-TF PDUs (PS3.8 §9.3.5, Annex E),
 * without copying more than crumbs and without knowing its length beforehand.
 */
import { ArchiveError } from '#shared/errors.ts';
import { GrowingBuffer } from './growing-buffer.ts';
import { PDU_HEADER_BYTES, PDV_HEADER_BYTES, PDV_LAST, PduType, writePdvHeader } from './pdu.ts';

const SMALL_PIECE_BYTES = 4096;

export interface FragmentOptions {
  /** Of one presentation data value's payload: even, at least 2. */
  readonly fragmentBytes: number;
  readonly pdvsPerPdu: number;
}

/**
 * Yields the parts of one PDU at a time, to be written together. Pieces must not be written to after they were handed
 * over. Error: `bad-dicom` when the data set has an odd length, which cannot be sent (PS3.5 §7.1.1).
 */
export async function* dataSetPdus(
  dataSet: Uint8Array | AsyncIterable<Uint8Array>,
  contextId: number,
  options: FragmentOptions,
): AsyncGenerator<readonly Uint8Array[], void, void> {
  const pdu = new OpenPdu(contextId, options.pdvsPerPdu);
  let lengthBytes = 0;
  for await (const piece of dataSet instanceof Uint8Array ? [dataSet] : dataSet) {
    let offset = 0;
    while (offset < piece.length) {
      // A value is closed only when more is known to come: the last one has to say that it is the last.
      if (pdu.fragmentBytes === options.fragmentBytes) {
        pdu.closeValue(0);
        if (pdu.isFull) yield pdu.take();
      }
      const part = piece.subarray(offset, offset + options.fragmentBytes - pdu.fragmentBytes);
      pdu.add(part);
      offset += part.length;
    }
    lengthBytes += piece.length;
  }
  if (lengthBytes % 2 !== 0)
    throw new ArchiveError('bad-dicom', 'the data set has an odd length and cannot be sent; repair it first', {
      lengthBytes,
    });
  pdu.closeValue(PDV_LAST);
  yield pdu.take();
}

class OpenPdu {
  readonly #contextId: number;
  readonly #pdvsPerPdu: number;
  #parts: Uint8Array[] = [];
  #values = 0;
  #pduBytes = 0;
  #fragment: Uint8Array[] = [];
  /** Pieces too short to be worth a part of their own, until a longer one comes or the value closes. */
  readonly #small = new GrowingBuffer();
  fragmentBytes = 0;

  constructor(contextId: number, pdvsPerPdu: number) {
    this.#contextId = contextId;
    this.#pdvsPerPdu = pdvsPerPdu;
  }

  get isFull(): boolean {
    return this.#values === this.#pdvsPerPdu;
  }

  add(part: Uint8Array): void {
    this.fragmentBytes += part.length;
    if (part.length < SMALL_PIECE_BYTES) {
      this.#small.append(part);
      return;
    }
    this.#gather();
    this.#fragment.push(part);
  }

  #gather(): void {
    if (this.#small.length > 0) this.#fragment.push(this.#small.take());
  }

  closeValue(control: number): void {
    this.#gather();
    const isFirst = this.#values === 0;
    const header = Buffer.allocUnsafe(PDV_HEADER_BYTES + (isFirst ? PDU_HEADER_BYTES : 0));
    writePdvHeader(header, isFirst ? PDU_HEADER_BYTES : 0, this.fragmentBytes, this.#contextId, control);
    this.#parts.push(header, ...this.#fragment);
    this.#values++;
    this.#pduBytes += PDV_HEADER_BYTES + this.fragmentBytes;
    this.#fragment = [];
    this.fragmentBytes = 0;
  }

  /** The whole PDU; its header stands at the head of the first part. */
  take(): readonly Uint8Array[] {
    const parts = this.#parts;
    const header = parts[0] as Buffer;
    header[0] = PduType.Data;
    header[1] = 0;
    header.writeUInt32BE(this.#pduBytes, 2);
    this.#parts = [];
    this.#values = 0;
    this.#pduBytes = 0;
    return parts;
  }
}
