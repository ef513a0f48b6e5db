/**
 * The heads of elements: VR, length, and where the value begins (PS3.5 §7.1.2, §7.1.3), also of those that defy explicit VR
 * with a VR that does not exist, none at all, or a length in the wrong form. What was meant is guessed from the bytes
 * alone, so that the answer never depends on how they arrived.
 */
import { type ByteWindow, tagAt, uint16, uint32 } from './byte-window.ts';
import { type HeaderLimits, MAX_HEADER_BYTES } from './header-limits.ts';
import { dictionaryVrNumber, NOT_IN_DICTIONARY, US_OR_SS } from './tags.ts';
import type { Tolerance, ToleratedKind } from './tolerance.ts';
import { hasLongLength, NO_VR, vrNumber, vrNumberOf } from './vr.ts';

interface ElementHead {
  /** VR number. */
  vr: number;
  /** 0xFFFFFFFF: undefined. */
  lengthBytes: number;
  /** Index of the value's first byte in the window. */
  valueAt: number;
}

const UNDEFINED_LENGTH = 0xffffffff;
const UN = vrNumberOf('UN');
const SQ = vrNumberOf('SQ');
const US = vrNumberOf('US');
const SS = vrNumberOf('SS');

/** Reads one head after the other into its own fields: an object for each would cost more than the reading. */
export class HeadReader implements ElementHead {
  vr = UN;
  lengthBytes = 0;
  valueAt = 0;
  /** (0028,0103) as far as it is known: in implicit VR it decides between US and SS (PS3.5 §A.1). */
  pixelRepresentation = 0;
  readonly #window: ByteWindow;
  readonly #limits: HeaderLimits;
  readonly #tolerance: Tolerance;

  constructor(window: ByteWindow, limits: HeaderLimits, tolerance: Tolerance) {
    this.#window = window;
    this.#limits = limits;
    this.#tolerance = tolerance;
  }

  /** The head at index `at`, of which 8 bytes are there, within a parent that ends at `end`. False: the data end within it. */
  read(at: number, end: number, tag: number, explicitVr: boolean, littleEndian: boolean): boolean {
    const { bytes } = this.#window;
    if (!explicitVr) {
      this.vr = this.dictionaryVr(tag);
      this.lengthBytes = uint32(bytes, at + 4, littleEndian);
      this.valueAt = at + 8;
      return true;
    }
    const vr = vrNumber(bytes[at + 4]!, bytes[at + 5]!);
    if (vr !== NO_VR) {
      if (hasLongLength[vr] === 0) {
        this.vr = vr;
        this.lengthBytes = uint16(bytes, at + 6, littleEndian);
        this.valueAt = at + 8;
        return true;
      }
      if (bytes[at + 6] === 0 && bytes[at + 7] === 0) {
        if (!this.#limits.has(at, 12)) return false;
        this.vr = vr;
        this.lengthBytes = uint32(bytes, at + 8, littleEndian);
        this.valueAt = at + 12;
        return true;
      }
    }
    const has = (lengthBytes: number) => at + lengthBytes <= end && this.#limits.has(at, lengthBytes);
    const leftBytes = Math.min(end - at, this.#window.totalBytes - this.#window.base - at, MAX_HEADER_BYTES);
    this.#tolerance.note(readOddHead(bytes, at, littleEndian, this.dictionaryVr(tag), has, leftBytes, this), tag);
    return true;
  }

  dictionaryVr(tag: number): number {
    const vr = dictionaryVrNumber(tag);
    if (vr === US_OR_SS) return this.pixelRepresentation === 1 ? SS : US;
    return vr === NOT_IN_DICTIONARY ? UN : vr;
  }
}

const isPrintable = (byte: number) => byte >= 0x20 && byte <= 0x7e;

/** Whether the two bytes behind the tag at `at` are a VR, and one that the dictionary does not contradict. */
export function spellsVrOf(bytes: Uint8Array, at: number, tag: number): boolean {
  const vr = vrNumber(bytes[at + 4]!, bytes[at + 5]!);
  if (vr === NO_VR) return false;
  const known = dictionaryVrNumber(tag);
  return known === NOT_IN_DICTIONARY || known === US_OR_SS || known === vr || vr === UN || hasLongLength[vr] === 1;
}

/**
 * Reads a head that is none by the letter of explicit VR. `has` tells whether so many bytes lie at `at`, `leftBytes` how
 * many the value can have at most, counted from `at`. Answers what was wrong.
 */
function readOddHead(
  bytes: Uint8Array,
  at: number,
  littleEndian: boolean,
  dictionaryVr: number,
  has: (lengthBytes: number) => boolean,
  leftBytes: number,
  head: ElementHead,
): ToleratedKind {
  const first = bytes[at + 4]!;
  const second = bytes[at + 5]!;
  const length16 = uint16(bytes, at + 6, littleEndian);
  const vr = vrNumber(first, second);
  if (vr !== NO_VR) {
    // A long form whose reserved bytes are not zero: garbage in them, or the 16-bit length of a short form.
    const length32 = has(12) ? uint32(bytes, at + 8, littleEndian) : undefined;
    head.vr = vr;
    if (length32 !== undefined && (length32 <= leftBytes - 12 || (length32 === UNDEFINED_LENGTH && vr === SQ))) {
      head.lengthBytes = length32;
      head.valueAt = at + 12;
      return 'reserved-bytes';
    }
    head.lengthBytes = length16;
    head.valueAt = at + 8;
    return 'short-length';
  }
  head.vr = dictionaryVr === SQ ? UN : dictionaryVr;
  if (isPrintable(first) && isPrintable(second)) {
    // PS3.5 §6.2: VRs of the future have 32-bit lengths. Of those that never were, most have 16 bits.
    const mayBeLong = length16 === 0 && has(14) && !continues(bytes, at, littleEndian);
    if (mayBeLong) {
      head.lengthBytes = uint32(bytes, at + 8, littleEndian);
      head.valueAt = at + 12;
    } else {
      head.lengthBytes = length16;
      head.valueAt = at + 8;
    }
    return 'unknown-vr';
  }
  if (first === 0 && second === 0 && length16 !== 0) {
    head.lengthBytes = length16;
    head.valueAt = at + 8;
    return 'unknown-vr';
  }
  head.vr = dictionaryVr;
  head.lengthBytes = uint32(bytes, at + 4, littleEndian);
  head.valueAt = at + 8;
  return 'no-vr';
}

/** Whether the next element of the data set follows at once, so that the one at `at` is an empty one of the short form. */
function continues(bytes: Uint8Array, at: number, littleEndian: boolean): boolean {
  return (
    tagAt(bytes, at + 8, littleEndian) > tagAt(bytes, at, littleEndian) &&
    vrNumber(bytes[at + 12]!, bytes[at + 13]!) !== NO_VR
  );
}
