/**
 * A data element as the reader finds it: where its value lies, and the value itself as a view on the bytes read, made
 * only when somebody asks for it. Most elements are never looked at, and a view costs more than all the rest of one.
 */
import { type DataSet, type Element, latin1, type Vr } from './data-set.ts';

export class EncodedElement implements Element {
  readonly tag: number;
  readonly vr: Vr;
  readonly offsetBytes: number;
  /** The reader shortens it when the data turn out to end within a bulk value. */
  lengthBytes: number;
  readonly items: readonly DataSet[] | undefined;
  readonly #bytes: Uint8Array | undefined;
  readonly #at: number;

  /** @param bytes hold the value from index `at` on; undefined when it is not held */
  constructor(
    tag: number,
    vr: Vr,
    offsetBytes: number,
    lengthBytes: number,
    bytes: Uint8Array | undefined,
    at: number,
    items: readonly DataSet[] | undefined,
  ) {
    this.tag = tag;
    this.vr = vr;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.items = items;
    this.#bytes = bytes;
    this.#at = at;
  }

  get value(): Uint8Array | undefined {
    return this.#bytes?.subarray(this.#at, this.#at + this.lengthBytes);
  }
}

/** The Defined Terms of Specific Character Set (0008,0005), trimmed; the first may be empty (PS3.3 §C.12.1.1.2). */
export function characterSetsOf(value: Uint8Array | undefined): readonly string[] {
  if (value === undefined || value.length === 0) return [];
  const text = latin1(value, 0, Math.min(value.length, 1024));
  if (text === lastText) return lastTerms;
  lastTerms = text.split('\\').map((term) => term.replaceAll('\0', '').trim());
  lastText = text;
  return lastTerms;
}

// Nearly all data sets of an archive name the same sets: the last answer is mostly the next one.
let lastText = '';
let lastTerms: readonly string[] = [];
