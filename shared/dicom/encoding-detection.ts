/**
 * How a data set is encoded, as its first element shows it: for files that do not say, and for those that say something
 * else than they do. A guess overrides the transfer syntax only where the bytes make no sense otherwise.
 */
import { type ByteWindow, tagAt, uint16, uint32 } from './byte-window.ts';
import { spellsVrOf } from './element-head.ts';
import { dictionaryVrNumber, NOT_IN_DICTIONARY, Tag } from './tags.ts';
import type { Tolerance } from './tolerance.ts';
import { NO_VR, vrNumber } from './vr.ts';

export interface DetectedEncoding {
  readonly explicitVr: boolean;
  readonly littleEndian: boolean;
}

/** Bytes that a judgement wants to see; fewer only when the data end. */
export const BYTES_TO_JUDGE = 12;

const isKnown = (tag: number) => dictionaryVrNumber(tag) !== NOT_IN_DICTIONARY;

/** What the first element says when nothing else does; undefined: it does not look like a data set. */
export function detectEncoding(window: ByteWindow, at: number): DetectedEncoding | undefined {
  const { bytes } = window;
  if (at + 8 > window.filled) return undefined;
  const little = tagAt(bytes, at, true);
  const big = tagAt(bytes, at, false);
  const isExplicit = vrNumber(bytes[at + 4]!, bytes[at + 5]!) !== NO_VR;
  for (const littleEndian of isExplicit ? [true, false] : [true]) {
    const tag = littleEndian ? little : big;
    // The first element of a composite object is in group 0008, or in a low private group before it.
    const group = tag >>> 16;
    if (group === 0 || group > 0x00ff) continue;
    if (isExplicit) {
      if (group === 0x0008 || spellsVrOf(bytes, at, tag)) return { explicitVr: true, littleEndian };
      continue;
    }
    const lengthBytes = uint32(bytes, at + 4, true);
    const isSequence = at + 12 <= window.filled && tagAt(bytes, at + 8, true) === Tag.Item;
    if (lengthBytes === 0xffffffff ? isSequence : isKnown(tag) && lengthBytes <= 1024 * 1024) {
      return { explicitVr: false, littleEndian: true };
    }
  }
  return undefined;
}

/** The encoding that a transfer syntax claims, put right where the first element proves it wrong. */
export function confirmEncoding(
  window: ByteWindow,
  at: number,
  claimed: DetectedEncoding,
  tolerance: Tolerance,
): DetectedEncoding {
  const { bytes } = window;
  if (at + 8 > window.filled) return claimed;
  let { explicitVr, littleEndian } = claimed;
  const tag = tagAt(bytes, at, littleEndian);
  const hasVr = vrNumber(bytes[at + 4]!, bytes[at + 5]!) !== NO_VR;
  if (hasVr) {
    const other = tagAt(bytes, at, !littleEndian);
    const isSwapped =
      !isKnown(tag) && isKnown(other) && other >>> 16 <= 0x00ff && uint16(bytes, at, littleEndian) > 0x00ff;
    if (isSwapped) {
      tolerance.note(littleEndian ? 'not-little-endian' : 'not-big-endian');
      littleEndian = !littleEndian;
    }
    if (!explicitVr && (isSwapped || spellsVrOf(bytes, at, tag))) {
      tolerance.note('not-implicit');
      explicitVr = true;
    }
  } else if (explicitVr) {
    const detected = detectEncoding(window, at);
    if (detected !== undefined && !detected.explicitVr) {
      tolerance.note('not-explicit');
      return detected;
    }
  }
  return { explicitVr, littleEndian };
}
