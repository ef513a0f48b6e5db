/**
 * The heads of elements that defy explicit VR (PS3.5 §7.1.2): a VR that does not exist, no VR at all, a length in the
 * wrong form. What was meant is guessed from the bytes alone, so that the answer never depends on how they arrived.
 */
import { tagAt, uint16, uint32 } from './byte-window.ts';
import { dictionaryVrNumber, NOT_IN_DICTIONARY, US_OR_SS } from './tags.ts';
import type { ToleratedKind } from './tolerance.ts';
import { hasLongLength, NO_VR, vrNumber, vrNumberOf } from './vr.ts';

export interface ElementHead {
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
 * many the value can have at most, counted from `at`. Answers what was wrong, or undefined where the data end within the head.
 */
export function readOddHead(
  bytes: Uint8Array,
  at: number,
  littleEndian: boolean,
  dictionaryVr: number,
  has: (lengthBytes: number) => boolean,
  leftBytes: number,
  head: ElementHead,
): ToleratedKind | undefined {
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
