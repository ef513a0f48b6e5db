/**
 * The fragments of encapsulated Pixel Data (PS3.5 §A.4): finding them by their item headers, and joining those of a frame.
 * Damaged and cut sequences of fragments give what is there; nothing is allocated by a number that the file claims.
 */
import { ArchiveError } from '../errors.ts';
import { tagAt, uint32 } from './byte-window.ts';
import type { RangedSource } from './ranged-source.ts';
import { Tag } from './tags.ts';

const ITEM_HEADER_BYTES = 8;
/** More fragments than any frame table needs; a file can hold a hundred million empty ones. */
export const MAX_FRAGMENTS = 1_000_000;

export interface FragmentScan {
  /** Of the first fragment's item tag: what offset tables count from. */
  readonly startBytes: number;
  /** Source offsets of the fragments' item tags. */
  readonly itemOffsets: number[];
  /** Of the fragments' bytes that are there. */
  readonly lengths: number[];
  /** The first four bytes of each fragment; 0 where it is shorter. */
  readonly leading: number[];
  readonly tolerated: string[];
}

/** Finds all fragments from `startBytes`, the item tag of the first one, to the sequence's delimiter. */
export async function scanFragments(source: RangedSource, startBytes: number): Promise<FragmentScan> {
  const scan: FragmentScan = { startBytes, itemOffsets: [], lengths: [], leading: [], tolerated: [] };
  const { itemOffsets, lengths, leading, tolerated } = scan;
  let at = startBytes;
  for (;;) {
    if (!source.holds(at, 13) && (await source.fetch(at, 13)) < ITEM_HEADER_BYTES) {
      tolerated.push('The fragments of Pixel Data end without their delimiter');
      return scan;
    }
    let tag = source.tag(at);
    // A fragment of odd length may have been padded without counting the padding.
    const previous = lengths.at(-1);
    const odd = previous !== undefined && (previous & 1) === 1;
    if (tag !== Tag.Item && odd && source.holds(at, ITEM_HEADER_BYTES + 1)) {
      const padded = source.tag(at + 1);
      if (padded === Tag.Item || padded === Tag.SequenceDelimitationItem) {
        at += 1;
        tag = padded;
      }
    }
    if (tag === Tag.SequenceDelimitationItem) return scan;
    const lengthBytes = source.uint32(at + 4);
    if (tag !== Tag.Item || lengthBytes === 0xffffffff) {
      tolerated.push(`Behind fragment ${lengths.length} there is neither a fragment nor the end of Pixel Data`);
      return scan;
    }
    if (lengths.length === MAX_FRAGMENTS) {
      tolerated.push(`Pixel Data has more than ${MAX_FRAGMENTS} fragments; the rest was left out`);
      return scan;
    }
    const leftBytes = source.lengthBytes - at - ITEM_HEADER_BYTES;
    itemOffsets.push(at);
    lengths.push(Math.min(lengthBytes, leftBytes));
    leading.push(lengthBytes >= 4 && source.holds(at + ITEM_HEADER_BYTES, 4) ? source.leadingBytes(at + 8) : 0);
    if ((lengthBytes & 1) !== 0 && !tolerated.includes(ODD_FRAGMENT)) tolerated.push(ODD_FRAGMENT);
    if (lengthBytes > leftBytes) {
      tolerated.push(`Pixel Data is cut short: of fragment ${lengths.length} only ${leftBytes} of ${lengthBytes} bytes are there`); // biome-ignore format: one sentence
      return scan;
    }
    at += ITEM_HEADER_BYTES + lengthBytes;
  }
}

const ODD_FRAGMENT = 'A fragment of Pixel Data has an odd length';

/**
 * The bytes of a frame without the item headers between its fragments. `bytes` begin with the first fragment's item tag.
 * Error: `damaged` when they are no fragments.
 */
export function joinFragments(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  let total = 0;
  while (at + ITEM_HEADER_BYTES <= bytes.length) {
    const isPadded = at > 0 && tagAt(bytes, at, true) !== Tag.Item && tagAt(bytes, at + 1, true) === Tag.Item;
    if (isPadded) at += 1;
    if (tagAt(bytes, at, true) !== Tag.Item) break;
    const start = at + ITEM_HEADER_BYTES;
    const part = bytes.subarray(start, start + uint32(bytes, at + 4, true));
    parts.push(part);
    total += part.length;
    at = start + part.length;
  }
  if (parts.length === 0 || at < bytes.length) {
    throw new ArchiveError('damaged', 'The bytes of the frame are not the fragments that they should be', {
      offsetBytes: at,
      lengthBytes: bytes.length,
    });
  }
  if (parts.length === 1) return parts[0]!;
  const joined = new Uint8Array(total);
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
