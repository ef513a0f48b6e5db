/**
 * How many bytes from its first a JPEG 2000 or HTJ2K codestream must be read for each of its resolutions, by its main header alone
 * (ISO/IEC 15444-1 Annex A: SIZ, COD, TLM; the transfer syntax with RPCL options, PS3.5 §10.18, has what it takes). Decodes
 * nothing, and says nothing where the header leaves a doubt: then a frame is read whole.
 */
import { uint16, uint32 } from './byte-window.ts';

const START_OF_CODESTREAM = 0xff4f;
const IMAGE_SIZE = 0xff51;
const CODING_STYLE = 0xff52;
const TILE_PART_LENGTHS = 0xff55;
const START_OF_TILE_PART = 0xff90;
const START_OF_DATA = 0xff93;
/** Other levels of some components, or another order of progression: COC, POC. */
const UNLIKE_THE_REST = [0xff53, 0xff5f];
/** Which put the packets of one resolution before those of the next: RLCP, RPCL. */
const BY_RESOLUTION = [1, 2];
const MOST_LEVELS = 32;
/** SOT and SOD; a tile-part has at least these. */
const LEAST_TILE_PART_BYTES = 14;
/** EOC, and a byte that makes the length of a fragment even (PS3.5 §A.4). */
const MOST_BYTES_BEHIND = 4;

/** Of a frame, enough for the main header of whatever encoder: its quantization and its tile-parts at 33 resolutions, and a comment. */
export const MAIN_HEADER_BYTES = 2048;

/**
 * @param head the codestream's first MAIN_HEADER_BYTES, or all of it
 * @param lengthBytes of the whole codestream
 * @returns lengths in bytes, of the lowest resolution first, of all but the highest: that is the codestream. Each halves the
 *   width and the height of the next, rounding up. Undefined unless there is one tile, a tile-part to each resolution in
 *   ascending order, and a table of them that agrees with the codestream's length
 */
export function resolutionPrefixes(head: Uint8Array, lengthBytes: number): readonly number[] | undefined {
  if (head.length < 42 || word(head, 0) !== START_OF_CODESTREAM || word(head, 2) !== IMAGE_SIZE) return undefined;
  if (!isOneTile(head)) return undefined;
  let levels: number | undefined;
  let tileParts: readonly number[] = [];
  for (let at = 2; at + 12 <= head.length; ) {
    const marker = word(head, at);
    if (marker === START_OF_TILE_PART) {
      return levels === undefined ? undefined : prefixesOf(head, at, levels, tileParts, lengthBytes);
    }
    const segmentBytes = word(head, at + 2);
    const end = at + 2 + segmentBytes;
    if (marker < 0xff00 || segmentBytes < 2 || end > head.length || UNLIKE_THE_REST.includes(marker)) return undefined;
    if (marker === CODING_STYLE) {
      levels = head[at + 9]!;
      if (!BY_RESOLUTION.includes(head[at + 5]!) || levels < 1 || levels > MOST_LEVELS) return undefined;
    }
    if (marker === TILE_PART_LENGTHS) {
      if (tileParts.length > 0) return undefined;
      tileParts = tilePartLengths(head.subarray(at + 4, end));
    }
    at = end;
  }
  return undefined;
}

const word = (bytes: Uint8Array, at: number): number => uint16(bytes, at, false);

/** From the origin on: tiles at an offset cut the resolutions elsewhere. */
function isOneTile(head: Uint8Array): boolean {
  const [width, height, x, y, tileWidth, tileHeight, tileX, tileY] = Array.from({ length: 8 }, (_, i) =>
    uint32(head, 8 + 4 * i, false),
  ) as [number, number, number, number, number, number, number, number];
  return x === 0 && y === 0 && tileX === 0 && tileY === 0 && tileWidth >= width && tileHeight >= height;
}

/** Out of a TLM segment without its marker and length (A.7.1); none when it is not of one tile, or of more than counts here. */
function tilePartLengths(segment: Uint8Array): readonly number[] {
  const sizes = segment[1] ?? 0xff;
  const indexBytes = (sizes >> 4) & 3;
  const isLong = ((sizes >> 6) & 1) === 1;
  const entryBytes = indexBytes + (isLong ? 4 : 2);
  const count = (segment.length - 2) / entryBytes;
  if (indexBytes > 2 || !Number.isInteger(count) || count > MOST_LEVELS + 1) return [];
  const lengths: number[] = [];
  for (let at = 2; at < segment.length; at += entryBytes) {
    for (let i = 0; i < indexBytes; i++) if (segment[at + i] !== 0) return [];
    lengths.push(isLong ? uint32(segment, at + indexBytes, false) : word(segment, at + indexBytes));
  }
  return lengths;
}

function prefixesOf(
  head: Uint8Array,
  firstTilePartAt: number,
  levels: number,
  tileParts: readonly number[],
  lengthBytes: number,
): readonly number[] | undefined {
  if (tileParts.length !== levels + 1 || tileParts.some((bytes) => bytes < LEAST_TILE_PART_BYTES)) return undefined;
  if (firstTilePartAt + LEAST_TILE_PART_BYTES > head.length) return undefined;
  // The first tile-part's own header must say the same, but need not say how many there are (A.4.2), and change nothing.
  const counted = head[firstTilePartAt + 11];
  if (uint32(head, firstTilePartAt + 6, false) !== tileParts[0] || (counted !== 0 && counted !== levels + 1)) {
    return undefined;
  }
  if (word(head, firstTilePartAt + 12) !== START_OF_DATA) return undefined;
  const ends: number[] = [];
  let end = firstTilePartAt;
  for (const bytes of tileParts) {
    end += bytes;
    ends.push(end);
  }
  return end > lengthBytes || end < lengthBytes - MOST_BYTES_BEHIND ? undefined : ends.slice(0, -1);
}
