/**
 * Which fragments make up which frame (PS3.5 §A.4): by an offset table, by the rules of the transfer syntax, or by where
 * compressed images begin. Offset tables are believed only as far as they point at fragments.
 */
import type { FragmentScan } from './fragments.ts';
import type { Codec } from './transfer-syntax.ts';

/** Index of each frame's first fragment, ascending, and what was tolerated to get there. */
export interface Grouping {
  readonly firstFragments: readonly number[];
  readonly tolerated: readonly string[];
}

const isVideo = (codec: Codec) => codec === 'mpeg2' || codec === 'mpeg4' || codec === 'hevc';

/** Whether a fragment that begins with these four bytes begins an image. */
export function startsImage(codec: Codec, leading: number): boolean {
  switch (codec) {
    case 'jpeg':
    case 'jpeg-lossless':
    case 'jpeg-ls':
      return leading >>> 8 === 0xffd8ff; // SOI, and the first byte of the next marker
    case 'jpeg-2000':
    case 'htj2k':
      return leading === 0xff4fff51 || leading === 0x0000000c; // SOC and SIZ; or a JP2 file's signature box
    case 'jpeg-xl':
      return leading >>> 16 === 0xff0a || leading === 0x0000000c;
    default:
      return false;
  }
}

/**
 * @param offsets of the frames from the first fragment's item tag, from either offset table; undefined: there is none
 * @param frameCount Number of Frames (0028,0008), undefined when absent
 * @param frameBytes of an uncompressed frame, to know where it ends in the Encapsulated Uncompressed transfer syntax
 */
export function groupFragments(
  scan: FragmentScan,
  offsets: readonly number[] | undefined,
  codec: Codec,
  frameCount: number | undefined,
  frameBytes: number,
): Grouping {
  const fragments = scan.lengths.length;
  const declared = frameCount ?? 1;
  if (fragments === 0) return { firstFragments: [], tolerated: ['Pixel Data has no fragments'] };
  // A video is one stream, however many pictures are in it.
  if (isVideo(codec)) return { firstFragments: [0], tolerated: [] };
  const tolerated: string[] = [];
  if (offsets !== undefined) {
    const byTable = firstFragmentsAt(scan, offsets);
    if (byTable !== undefined && (byTable.length === declared || fragments !== declared)) {
      return { firstFragments: byTable, tolerated: countMismatch(byTable.length, declared) };
    }
    tolerated.push('The offset table of Pixel Data is wrong; the fragments were searched instead');
  }
  const firstFragments = bySearch(scan, codec, declared, frameBytes);
  return { firstFragments, tolerated: [...tolerated, ...countMismatch(firstFragments.length, declared)] };
}

function countMismatch(found: number, declared: number): string[] {
  return found === declared ? [] : [`Pixel Data has ${found} frames where ${declared} are declared`];
}

/** The fragments at which the table points; undefined when it is not ascending from 0 or points elsewhere. */
function firstFragmentsAt(scan: FragmentScan, offsets: readonly number[]): number[] | undefined {
  const found: number[] = [];
  let fragment = 0;
  for (const offset of offsets) {
    const wanted = scan.startBytes + offset;
    while (fragment < scan.itemOffsets.length && scan.itemOffsets[fragment]! < wanted) fragment += 1;
    if (scan.itemOffsets[fragment] !== wanted) {
      // What a cut file has lost is no fault of the table.
      const lastOffset = scan.itemOffsets.at(-1)!;
      return wanted > lastOffset && found.length > 0 && scan.tolerated.length > 0 ? found : undefined;
    }
    if (found.at(-1) === fragment || (found.length === 0 && fragment !== 0)) return undefined;
    found.push(fragment);
  }
  return found.length > 0 ? found : undefined;
}

function bySearch(scan: FragmentScan, codec: Codec, declared: number, frameBytes: number): number[] {
  const fragments = scan.lengths.length;
  const each = () => Array.from({ length: fragments }, (_, index) => index);
  // RLE: one fragment to a frame (PS3.5 §A.4.2).
  if (fragments === declared || (codec === 'rle' && declared > 1)) return each();
  if (declared === 1) return [0];
  if (codec === 'native') return byLength(scan, frameBytes);
  const starts: number[] = [];
  for (let i = 0; i < fragments; i++) if (i === 0 || startsImage(codec, scan.leading[i]!)) starts.push(i);
  if (starts.length > 1 || fragments < declared) return starts.length > 1 ? starts : each();
  return each();
}

function byLength(scan: FragmentScan, frameBytes: number): number[] {
  const starts: number[] = [];
  let room = 0;
  for (let i = 0; i < scan.lengths.length; i++) {
    if (room <= 0) {
      starts.push(i);
      room = frameBytes;
    }
    room -= scan.lengths[i]!;
  }
  return starts;
}
