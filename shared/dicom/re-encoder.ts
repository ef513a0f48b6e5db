/**
 * A native data set from one uncompressed transfer syntax into another (PS3.5 §7.1, §7.3, Annex A), as a stream: implicit and explicit
 * VR, little and big endian. Values are passed on as they are, words turned round where the byte order changes; sequences
 * and items get undefined lengths, group lengths (retired) are left out. Attributes of the outermost data set may be
 * changed on the way. Knows no pixels and holds no value.
 */
import { ArchiveError } from '../errors.ts';
import { swapBytes, wordBytesOf } from './byte-order.ts';
import type { Vr } from './data-set.ts';
import { dictionaryVrNumber, NOT_IN_DICTIONARY, Tag, tagKey, US_OR_SS } from './tags.ts';
import { hasLongLength, NO_VR, vrNames, vrNumber, vrNumberOf } from './vr.ts';

export interface DataSetEncoding {
  readonly explicitVr: boolean;
  readonly littleEndian: boolean;
}

/** What becomes of an attribute of the outermost data set: another value, of even length and in the target's byte order, or nothing. */
export type Change = { readonly vr: Vr; readonly value: Uint8Array } | 'removed';

const UNDEFINED_LENGTH = 0xffffffff;
const MAX_SHORT_LENGTH = 0xfffe;
const MAX_DEPTH = 32;
const ITEM = 0xfffee000;
const ITEM_DELIMITATION = 0xfffee00d;
const SEQUENCE_DELIMITATION = 0xfffee0dd;
/** UN of undefined length holds implicit VR little endian, whatever surrounds it (PS3.5 §6.2.2). */
const IMPLICIT: DataSetEncoding = { explicitVr: false, littleEndian: true };

interface Container {
  readonly isItem: boolean;
  /** Source offset of the first byte behind it; undefined when a delimiter says so. */
  readonly endBytes: number | undefined;
  readonly encoding: DataSetEncoding;
  /** Nothing of it is passed on. */
  readonly isRemoved: boolean;
  /** Its items are the fragments of a value (PS3.5 §A.4), which only what is removed may hold. */
  readonly isFragments: boolean;
}

/** What is left of the value being passed on. */
interface Value {
  leftBytes: number;
  readonly wordBytes: 1 | 2 | 4 | 8;
  readonly isSwapped: boolean;
  readonly isSkipped: boolean;
  readonly isPixelRepresentation: boolean;
}

/** Takes a bare data set in pieces of any size and gives pieces of the other encoding. Error `bad-dicom` for what cannot be followed. */
export class ReEncoder {
  readonly #from: DataSetEncoding;
  readonly #to: DataSetEncoding;
  readonly #changes: ReadonlyMap<number, Change>;
  readonly #removedAt: ReadonlySet<number>;
  /** Tags of values to be written, ascending: at the place of the attribute, or where it would be. */
  readonly #written: number[];
  readonly #containers: Container[] = [];
  #rest: Uint8Array = new Uint8Array(0);
  /** Source offset of the first byte of #rest. */
  #offsetBytes = 0;
  #value: Value | undefined;
  #pixelRepresentation = 0;
  #out: Uint8Array[] = [];

  /**
   * @param changes by tag, of attributes of the outermost data set
   * @param removedAt source offsets of values, at whatever depth, that are left out together with their attributes
   */
  constructor(
    from: DataSetEncoding,
    to: DataSetEncoding,
    changes: ReadonlyMap<number, Change> = new Map(),
    removedAt: ReadonlySet<number> = new Set(),
  ) {
    this.#removedAt = removedAt;
    this.#from = from;
    this.#to = to;
    this.#changes = changes;
    this.#written = [...changes.keys()].filter((tag) => changes.get(tag) !== 'removed').sort((a, b) => a - b);
  }

  push(chunk: Uint8Array): Uint8Array[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (this.#value === undefined ? this.#head() : this.#pass(this.#value));
    return this.#taken();
  }

  /**
   * The head of an attribute of the outermost data set, whose value the caller writes behind it. What was pushed must end before
   * its place; what is pushed afterwards goes on behind it. `lengthBytes` is even.
   */
  insert(tag: number, vr: Vr, lengthBytes: number): Uint8Array[] {
    this.#checkComplete();
    this.#writeChangesUpTo(tag);
    this.#writeHead(tag, vr, lengthBytes);
    return this.#taken();
  }

  /** No more bytes will come; the last pieces. */
  end(): Uint8Array[] {
    this.#checkComplete();
    this.#writeChangesUpTo(Number.POSITIVE_INFINITY);
    return this.#taken();
  }

  #checkComplete(): void {
    this.#closeEnded();
    if (this.#value !== undefined || this.#rest.length > 0 || this.#containers.length > 0)
      throw new ArchiveError('bad-dicom', 'The data set ends within an element and cannot be converted.', {
        offsetBytes: this.#offsetBytes,
      });
  }

  #writeChangesUpTo(tag: number): void {
    for (let next = this.#written[0]; next !== undefined && next <= tag; next = this.#written[0]) {
      this.#written.shift();
      const change = this.#changes.get(next);
      if (change === undefined || change === 'removed') continue;
      this.#writeHead(next, change.vr, change.value.length);
      this.#out.push(change.value);
    }
  }

  #taken(): Uint8Array[] {
    const out = this.#out;
    this.#out = [];
    return out;
  }

  #consume(lengthBytes: number): Uint8Array {
    const bytes = this.#rest.subarray(0, lengthBytes);
    this.#rest = this.#rest.subarray(lengthBytes);
    this.#offsetBytes += lengthBytes;
    return bytes;
  }

  /** False: more bytes are needed. Words are never torn. */
  #pass(value: Value): boolean {
    let lengthBytes = Math.min(value.leftBytes, this.#rest.length);
    if (lengthBytes < value.leftBytes) lengthBytes -= lengthBytes % value.wordBytes;
    if (lengthBytes === 0 && value.leftBytes > 0) return false;
    const bytes = this.#consume(lengthBytes);
    value.leftBytes -= lengthBytes;
    if (value.leftBytes === 0) this.#value = undefined;
    if (value.isSkipped || lengthBytes === 0) return true;
    if (value.isPixelRepresentation && bytes.length >= 2)
      this.#pixelRepresentation = viewOf(bytes).getUint16(0, this.#encoding().littleEndian);
    this.#out.push(value.isSwapped ? swapBytes(bytes, value.wordBytes) : bytes);
    return true;
  }

  #encoding(): DataSetEncoding {
    return this.#containers.at(-1)?.encoding ?? this.#from;
  }

  #closeEnded(): void {
    for (;;) {
      const container = this.#containers.at(-1);
      if (container?.endBytes === undefined || this.#offsetBytes < container.endBytes) return;
      if (this.#offsetBytes > container.endBytes)
        throw this.#cannot('an element is longer than the sequence that holds it');
      this.#close(container);
    }
  }

  #close(container: Container): void {
    if (!container.isRemoved) this.#writeItemHead(container.isItem ? ITEM_DELIMITATION : SEQUENCE_DELIMITATION, 0);
    this.#containers.pop();
  }

  /** False: more bytes are needed. */
  #head(): boolean {
    this.#closeEnded();
    if (this.#rest.length < 8) return false;
    const { explicitVr, littleEndian } = this.#encoding();
    const view = viewOf(this.#rest);
    const tag = view.getUint16(0, littleEndian) * 0x10000 + view.getUint16(2, littleEndian);
    if (tag >>> 16 === 0xfffe) {
      this.#consume(8);
      this.#delimiter(tag, view.getUint32(4, littleEndian));
      return true;
    }
    if (this.#containers.at(-1)?.isItem === false) throw this.#cannot('a sequence holds something other than items');
    if (!explicitVr) {
      this.#consume(8);
      const lengthBytes = view.getUint32(4, littleEndian);
      this.#element(tag, this.#implicitVr(tag, lengthBytes), lengthBytes);
      return true;
    }
    const number = vrNumber(this.#rest[4] as number, this.#rest[5] as number);
    if (number === NO_VR) throw this.#cannot(`the element ${tagKey(tag)} has no VR`);
    const isLong = hasLongLength[number] === 1;
    if (isLong && this.#rest.length < 12) return false;
    this.#consume(isLong ? 12 : 8);
    const lengthBytes = isLong ? view.getUint32(8, littleEndian) : view.getUint16(6, littleEndian);
    this.#element(tag, vrNames[number] as Vr, lengthBytes);
    return true;
  }

  #implicitVr(tag: number, lengthBytes: number): Vr {
    const number = dictionaryVrNumber(tag);
    if (number === US_OR_SS) return this.#pixelRepresentation === 1 ? 'SS' : 'US';
    if (number !== NOT_IN_DICTIONARY) return vrNames[number] as Vr;
    return lengthBytes === UNDEFINED_LENGTH ? 'SQ' : 'UN';
  }

  #delimiter(tag: number, lengthBytes: number): void {
    const top = this.#containers.at(-1);
    if (tag === ITEM && top?.isFragments === true && lengthBytes !== UNDEFINED_LENGTH) {
      this.#value = skipped(lengthBytes);
      return;
    }
    if (tag === ITEM && top?.isItem === false) {
      if (!top.isRemoved) this.#writeItemHead(ITEM, UNDEFINED_LENGTH);
      this.#open({ isItem: true, lengthBytes, encoding: top.encoding, isRemoved: top.isRemoved });
      return;
    }
    const isItemEnd = tag === ITEM_DELIMITATION && top?.isItem === true;
    const isSequenceEnd = tag === SEQUENCE_DELIMITATION && top?.isItem === false;
    if (top === undefined || top.endBytes !== undefined || !(isItemEnd || isSequenceEnd))
      throw this.#cannot('an item or its end stands where there is no sequence for it');
    this.#close(top);
  }

  #open({ lengthBytes, ...container }: Omit<Container, 'endBytes' | 'isFragments'> & { lengthBytes: number }): void {
    if (this.#containers.length >= 2 * MAX_DEPTH)
      throw this.#cannot(`sequences are nested more than ${MAX_DEPTH} deep`);
    const endBytes = lengthBytes === UNDEFINED_LENGTH ? undefined : this.#offsetBytes + lengthBytes;
    this.#containers.push({ ...container, endBytes, isFragments: false });
  }

  #element(tag: number, vr: Vr, lengthBytes: number): void {
    const encoding = this.#encoding();
    const top = this.#containers.at(-1);
    if (top === undefined) this.#writeChangesUpTo(tag);
    const isChanged = top === undefined ? this.#changes.has(tag) : top.isRemoved;
    const isRemoved = isChanged || this.#removedAt.has(this.#offsetBytes);
    if (vr === 'SQ' || (vr === 'UN' && lengthBytes === UNDEFINED_LENGTH)) {
      if (!isRemoved) this.#writeHead(tag, 'SQ', UNDEFINED_LENGTH);
      this.#open({ isItem: false, lengthBytes, encoding: vr === 'UN' ? IMPLICIT : encoding, isRemoved });
      return;
    }
    if (lengthBytes === UNDEFINED_LENGTH) {
      if (!isRemoved) throw this.#cannot(`the element ${tagKey(tag)} is encapsulated`);
      this.#containers.push({ isItem: false, endBytes: undefined, encoding, isRemoved, isFragments: true });
      return;
    }
    const isSkipped = isRemoved || (tag & 0xffff) === 0;
    if (!isSkipped) this.#writeHead(tag, vr, lengthBytes);
    const wordBytes = wordBytesOf(vr);
    const isSwapped = wordBytes > 1 && encoding.littleEndian !== this.#to.littleEndian;
    const isPixelRepresentation = tag === Tag.PixelRepresentation;
    this.#value = { leftBytes: lengthBytes, wordBytes, isSwapped, isSkipped, isPixelRepresentation };
  }

  /** A VR whose length has 16 bits gives way to UN where the value is longer (PS3.5 §6.2.2). */
  #writeHead(tag: number, vr: Vr, lengthBytes: number): void {
    const { explicitVr } = this.#to;
    const isShort = explicitVr && hasLongLength[vrNumberOf(vr)] === 0 && lengthBytes <= MAX_SHORT_LENGTH;
    const head = new Uint8Array(explicitVr && !isShort ? 12 : 8);
    const view = this.#tagIn(head, tag);
    if (explicitVr) {
      const written = isShort || hasLongLength[vrNumberOf(vr)] === 1 ? vr : 'UN';
      head[4] = written.charCodeAt(0);
      head[5] = written.charCodeAt(1);
    }
    if (isShort) view.setUint16(6, lengthBytes, this.#to.littleEndian);
    else view.setUint32(head.length - 4, lengthBytes, this.#to.littleEndian);
    this.#out.push(head);
  }

  #writeItemHead(tag: number, lengthBytes: number): void {
    const head = new Uint8Array(8);
    this.#tagIn(head, tag).setUint32(4, lengthBytes, this.#to.littleEndian);
    this.#out.push(head);
  }

  #tagIn(head: Uint8Array, tag: number): DataView {
    const view = viewOf(head);
    view.setUint16(0, tag >>> 16, this.#to.littleEndian);
    view.setUint16(2, tag & 0xffff, this.#to.littleEndian);
    return view;
  }

  #cannot(why: string): ArchiveError {
    return new ArchiveError('bad-dicom', `The data set cannot be converted: ${why}.`, {
      offsetBytes: this.#offsetBytes,
    });
  }
}

const skipped = (leftBytes: number): Value => ({
  leftBytes,
  wordBytes: 1,
  isSwapped: false,
  isSkipped: true,
  isPixelRepresentation: false,
});

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
