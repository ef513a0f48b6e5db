/**
 * Reads data elements (PS3.5 §7) out of a window of bytes into DataSets: one top-level element after the other, a
 * sequence with all that is in it. Where the bytes of an element have not all come, it stops before that element and
 * says how many are missing. Bounded in depth, number and length; where the data set begins and how it is encoded is
 * part10.ts; what to do with bytes that defy their encoding is element-head.ts.
 */
import { ArchiveError } from '../errors.ts';
import { type ByteWindow, moreBytesNeeded, tagAt, uint16, uint32 } from './byte-window.ts';
import { DataSet, type Vr } from './data-set.ts';
import { HeadReader, spellsVrOf } from './element-head.ts';
import { characterSetsOf, EncodedElement } from './encoded-element.ts';
import { HeaderLimits } from './header-limits.ts';
import { Tag } from './tags.ts';
import type { Tolerance } from './tolerance.ts';
import { mayBeBulk, vrNames, vrNumberOf } from './vr.ts';

const UNDEFINED_LENGTH = 0xffffffff;
const SQ = vrNumberOf('SQ');
const UN = vrNumberOf('UN');
const OB = vrNumberOf('OB');
const OW = vrNumberOf('OW');
const numericVrs = new Set((['US', 'SS', 'UL', 'SL', 'FL', 'FD', 'SV', 'UV', 'AT', 'OW', 'OF', 'OD', 'OL', 'OV'] as const).map(vrNumberOf)); // biome-ignore format: a list

/** Thrown when the content of a sequence cannot be its content; the nearest sequence of defined length survives it. */
const malformed: unique symbol = Symbol('malformed');

function isPixelData(tag: number): boolean {
  return tag === Tag.PixelData || tag === Tag.FloatPixelData || tag === Tag.DoubleFloatPixelData;
}

export interface PixelDataHead {
  readonly tag: number;
  readonly vr: Vr;
  readonly offsetBytes: number;
  readonly lengthBytes: number | undefined;
}

export class ElementReader {
  readonly window: ByteWindow;
  /** Set when Pixel Data was met. */
  pixelData: PixelDataHead | undefined;
  readonly #tolerance: Tolerance;
  readonly #bulkThresholdBytes: number;
  readonly #limits: HeaderLimits;
  readonly #head: HeadReader;
  /** The data have ended within an element: everything unwinds, keeping what is complete. */
  #cut = false;
  #lastBulk: EncodedElement | undefined;

  constructor(window: ByteWindow, tolerance: Tolerance, bulkThresholdBytes: number) {
    this.window = window;
    this.#tolerance = tolerance;
    this.#bulkThresholdBytes = bulkThresholdBytes;
    this.#limits = new HeaderLimits(window);
    this.#head = new HeadReader(window, this.#limits, tolerance);
  }

  /** What it keeps in memory of the bytes that came. */
  get heldBytes(): number {
    return this.#limits.heldBytes;
  }

  /**
   * Reads top-level elements until Pixel Data or the end: true. False: more bytes are needed first, up to `window.neededBytes`.
   * With `stop` it also ends before the first element for which that says so.
   */
  read(into: DataSet, explicitVr: boolean, stop?: (tag: number, offsetBytes: number) => boolean): boolean {
    const { window } = this;
    let pixelRepresentation = this.#head.pixelRepresentation;
    try {
      while (!this.#cut) {
        const at = window.position - window.base;
        if (!this.#limits.has(at, 8)) {
          this.#endOfTopLevel(into, at);
          return true;
        }
        const tag = tagAt(window.bytes, at, into.littleEndian);
        if (stop?.(tag, window.position)) return true;
        if (tag >= Tag.FloatPixelData && isPixelData(tag)) {
          if (this.#head.read(at, Number.POSITIVE_INFINITY, tag, explicitVr, into.littleEndian))
            this.#foundPixelData(tag);
          else this.#cutShort(tag, at);
          return true;
        }
        let next: number;
        if (tag >>> 16 !== 0 && tag < 0xfffe0000) {
          next = this.#element(into, at, Number.POSITIVE_INFINITY, 0, tag, explicitVr);
        } else {
          if (!this.#isStray(into, tag)) return true;
          next = at + 8;
        }
        window.position = window.base + next;
        this.#limits.commit();
        pixelRepresentation = this.#head.pixelRepresentation;
        this.#limits.checkLength(window.position);
      }
      return true;
    } catch (signal) {
      if (signal === malformed) {
        throw new ArchiveError('bad-dicom', `The data set cannot be read beyond byte ${window.position}`, {
          offsetBytes: window.position,
        });
      }
      if (signal !== moreBytesNeeded) throw signal;
      this.#limits.rollBack();
      this.#head.pixelRepresentation = pixelRepresentation;
      return false;
    }
  }

  /** What may stand where an element should: a delimiter too many (true), or padding, which ends the data set (false). */
  #isStray(into: DataSet, tag: number): boolean {
    if (tag === 0) {
      this.#tolerance.note('padding');
      return false;
    }
    if (tag !== Tag.ItemDelimitationItem && tag !== Tag.SequenceDelimitationItem) throw malformed;
    this.#tolerance.note('stray-delimiter', into.highestTag < 0 ? tag : into.highestTag);
    return true;
  }

  #endOfTopLevel(into: DataSet, at: number): void {
    if (this.#lastBulk !== undefined && this.window.position > this.window.received) {
      this.#lastBulk.lengthBytes -= this.window.position - this.window.received;
      this.#tolerance.note('cut-short', this.#lastBulk.tag);
    } else if (at < this.window.filled) {
      if (this.window.bytes.subarray(at, this.window.filled).every((byte) => byte === 0)) {
        if (into.highestTag >= 0) this.#tolerance.note('padding');
      } else this.#tolerance.note('cut-off');
    }
  }

  #foundPixelData(tag: number): void {
    const { vr, lengthBytes, valueAt } = this.#head;
    this.pixelData = {
      tag,
      vr: vrNames[vr] as Vr,
      offsetBytes: this.window.base + valueAt,
      lengthBytes: lengthBytes === UNDEFINED_LENGTH ? undefined : lengthBytes,
    };
  }

  #cutShort(tag: number, at: number): number {
    this.#tolerance.note('cut-short', tag);
    this.#cut = true;
    return Math.max(at, this.window.filled);
  }

  /** Reads the element at `at`, whose first 8 bytes are there and whose parent ends at `end`; answers where the next one begins. */
  #element(into: DataSet, at: number, end: number, depth: number, tag: number, explicitVr: boolean): number {
    this.#limits.countElement();
    const { window } = this;
    if (!this.#head.read(at, end, tag, explicitVr, into.littleEndian)) return this.#cutShort(tag, at);
    const { lengthBytes, valueAt } = this.#head;
    let { vr } = this.#head;
    if (lengthBytes === UNDEFINED_LENGTH) return this.#undefinedLength(into, tag, vr, valueAt, end, depth, explicitVr);
    const next = valueAt + lengthBytes;
    if (next > end) throw malformed;
    if (depth === 0 && lengthBytes > this.#bulkThresholdBytes && mayBeBulk[vr] === 1) {
      return this.#passOver(into, tag, vr, valueAt, lengthBytes);
    }
    if (next > window.filled && !this.#limits.has(valueAt, lengthBytes) && vr !== SQ) return this.#cutShort(tag, at);
    if ((lengthBytes & 1) !== 0) this.#tolerance.note('odd-length', tag);
    if (vr === UN && explicitVr) {
      vr = this.#knownVr(tag, into);
      if (vr === SQ) return this.#definedSequence(into, tag, valueAt, next, depth, false, true);
    } else if (vr === SQ) {
      return this.#definedSequence(into, tag, valueAt, next, depth, explicitVr, into.littleEndian);
    }
    const element = new EncodedElement(
      tag,
      vrNames[vr] as Vr,
      window.base + valueAt,
      lengthBytes,
      window.bytes,
      valueAt,
      undefined,
    );
    this.#add(into, element);
    if (tag === Tag.SpecificCharacterSet) into.characterSets = characterSetsOf(element.value);
    else if (tag === Tag.PixelRepresentation && lengthBytes >= 2) {
      this.#head.pixelRepresentation = uint16(window.bytes, valueAt, into.littleEndian);
    }
    return next;
  }

  #add(into: DataSet, element: EncodedElement): void {
    if (element.tag <= into.highestTag) {
      if (!into.append(element)) this.#tolerance.note('duplicate', element.tag);
      else this.#tolerance.note('not-ascending', element.tag);
    } else into.append(element);
  }

  /** UN of a standard element: its VR in the dictionary. The bytes are little endian then (PS3.5 §6.2.2), so numbers stay UN elsewhere. */
  #knownVr(tag: number, into: DataSet): number {
    const vr = this.#head.dictionaryVr(tag);
    if (vr === UN || (!into.littleEndian && numericVrs.has(vr))) return UN;
    this.#tolerance.note('un-known', tag);
    return vr;
  }

  #passOver(into: DataSet, tag: number, vr: number, valueAt: number, lengthBytes: number): number {
    const { window } = this;
    const offsetBytes = window.base + valueAt;
    if ((lengthBytes & 1) !== 0) this.#tolerance.note('odd-length', tag);
    const element = new EncodedElement(tag, vrNames[vr] as Vr, offsetBytes, lengthBytes, undefined, 0, undefined);
    this.#add(into, element);
    this.#lastBulk = element;
    this.#limits.passOver(lengthBytes);
    return valueAt + lengthBytes;
  }

  #definedSequence(
    into: DataSet,
    tag: number,
    at: number,
    end: number,
    depth: number,
    explicitVr: boolean,
    littleEndian: boolean,
  ): number {
    const { window } = this;
    const items: DataSet[] = [];
    let vr: Vr = 'SQ';
    let bytes: Uint8Array | undefined;
    try {
      this.#readItems(items, into, tag, at, end, depth, explicitVr, littleEndian);
    } catch (signal) {
      if (signal !== malformed) throw signal;
      this.#tolerance.note('unreadable-sequence', tag);
      vr = 'UN';
      bytes = window.bytes;
    }
    const lengthBytes = Math.min(end, window.filled) - at;
    this.#add(into, new EncodedElement(tag, vr, window.base + at, lengthBytes, bytes, at, bytes ? undefined : items));
    return at + lengthBytes;
  }

  #undefinedLength(
    into: DataSet,
    tag: number,
    vr: number,
    at: number,
    end: number,
    depth: number,
    explicitVr: boolean,
  ): number {
    const { window } = this;
    if (vr === OB || (vr === OW && (explicitVr || tag === Tag.PixelData)))
      return this.#fragments(into, tag, vr, at, end);
    const items: DataSet[] = [];
    // UN of undefined length is a sequence in implicit VR little endian, whatever is around it (PS3.5 §6.2.2).
    const fromUn = explicitVr && vr === UN;
    if (explicitVr && vr !== SQ && !fromUn) throw malformed;
    const next = fromUn
      ? this.#readItems(items, into, tag, at, end, depth, this.#explicitInUn(tag, at, end), true)
      : this.#readItems(items, into, tag, at, end, depth, explicitVr, into.littleEndian);
    const lengthBytes = Math.max(0, (this.#delimited ? next - 8 : next) - at);
    this.#add(into, new EncodedElement(tag, 'SQ', window.base + at, lengthBytes, undefined, 0, items));
    return next;
  }

  /** Some senders write the items of such a UN in explicit VR all the same. */
  #explicitInUn(tag: number, at: number, end: number): boolean {
    if (at + 14 > end || !this.#limits.has(at, 14)) return false;
    const { bytes } = this.window;
    if (tagAt(bytes, at, true) !== Tag.Item || !spellsVrOf(bytes, at + 8, tagAt(bytes, at + 8, true))) return false;
    this.#tolerance.note('explicit-in-un', tag);
    return true;
  }

  /** Whether the last sequence read ended with its delimiter. */
  #delimited = false;

  /** Reads items until `end` or the sequence's delimiter; answers where what follows begins. */
  #readItems(
    items: DataSet[],
    parent: DataSet,
    tag: number,
    start: number,
    end: number,
    depth: number,
    explicitVr: boolean,
    littleEndian: boolean,
  ): number {
    this.#limits.checkNesting(depth + 1);
    // A Pixel Representation within an item, an icon's for example, says nothing about what follows.
    const pixelRepresentation = this.#head.pixelRepresentation;
    let at = start;
    while (at < end) {
      if (at + 8 > end) throw malformed;
      if (!this.#limits.has(at, 8)) return this.#cutShort(tag, at);
      const { bytes } = this.window;
      const itemTag = tagAt(bytes, at, littleEndian);
      const lengthBytes = uint32(bytes, at + 4, littleEndian);
      at += 8;
      if (itemTag === Tag.Item) {
        this.#limits.countItem();
        const item = new DataSet(littleEndian, parent.characterSets);
        const isUndefined = lengthBytes === UNDEFINED_LENGTH;
        if (!isUndefined && at + lengthBytes > end) this.#tolerance.note('item-length', tag);
        const itemEnd = isUndefined ? end : Math.min(at + lengthBytes, end);
        at = this.#readItem(item, tag, at, itemEnd, isUndefined, depth + 1, explicitVr);
        items.push(item);
        this.#head.pixelRepresentation = pixelRepresentation;
        if (this.#cut) return at;
      } else if (itemTag === Tag.SequenceDelimitationItem) {
        if (lengthBytes !== 0) this.#tolerance.note('delimiter-length', tag);
        this.#delimited = true;
        return at;
      } else if (itemTag === Tag.ItemDelimitationItem) {
        this.#tolerance.note('stray-delimiter', tag);
      } else if (depth === 0 && end === Number.POSITIVE_INFINITY && items.length > 0 && itemTag > tag) {
        // Only where what follows goes on as the enclosing data set would: after the sequence, in ascending order.
        this.#tolerance.note('no-sequence-delimiter', tag);
        this.#delimited = false;
        return at - 8;
      } else throw malformed;
    }
    this.#delimited = false;
    return at;
  }

  #readItem(
    item: DataSet,
    sequenceTag: number,
    start: number,
    end: number,
    isUndefined: boolean,
    depth: number,
    explicitVr: boolean,
  ): number {
    let at = start;
    while (at < end) {
      if (at + 8 > end) throw malformed;
      if (!this.#limits.has(at, 8)) return this.#cutShort(sequenceTag, at);
      const tag = tagAt(this.window.bytes, at, item.littleEndian);
      if (tag >>> 16 === 0xfffe) {
        if (tag === Tag.ItemDelimitationItem) {
          if (uint32(this.window.bytes, at + 4, item.littleEndian) !== 0) {
            this.#tolerance.note('delimiter-length', sequenceTag);
          }
          if (isUndefined) return at + 8;
          this.#tolerance.note('stray-delimiter', sequenceTag);
          at += 8;
          continue;
        }
        if (!isUndefined) throw malformed;
        this.#tolerance.note('no-item-delimiter', sequenceTag);
        return at;
      }
      at = this.#element(item, at, end, depth, tag, explicitVr);
      if (this.#cut) return at;
    }
    return at;
  }

  /** A value of fragments (PS3.5 §A.4) that is not the Pixel Data of the data set, an icon's for example: kept as it is. */
  #fragments(into: DataSet, tag: number, vr: number, start: number, end: number): number {
    const { window } = this;
    let at = start;
    for (;;) {
      if (at + 8 > end) throw malformed;
      if (!this.#limits.has(at, 8)) return this.#cutShort(tag, at);
      const itemTag = tagAt(window.bytes, at, into.littleEndian);
      const lengthBytes = uint32(window.bytes, at + 4, into.littleEndian);
      if (itemTag === Tag.SequenceDelimitationItem) break;
      if (itemTag !== Tag.Item || lengthBytes === UNDEFINED_LENGTH) throw malformed;
      this.#limits.countItem();
      if (at + 8 + lengthBytes > end) throw malformed;
      if (!this.#limits.has(at + 8, lengthBytes)) return this.#cutShort(tag, at);
      at += 8 + lengthBytes;
    }
    const held = at - start > this.#bulkThresholdBytes ? undefined : window.bytes;
    this.#add(
      into,
      new EncodedElement(tag, vrNames[vr] as Vr, window.base + start, at - start, held, start, undefined),
    );
    return at + 8;
  }
}
