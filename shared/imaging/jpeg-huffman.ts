/**
 * Entropy-coded data of JPEG with Huffman coding (ISO/IEC 10918-1 Annex C and F): code tables, marker segments between
 * scans, and a bit reader over data whose stuffing has been removed. The processes are jpeg-dct.ts and jpeg-lossless.ts.
 */
import { cannotRender } from './decoded-frame.ts';

/** `length << 8 | symbol` for every 16 bits that can stand in the stream; 0 where no code begins so. */
export type HuffmanTable = Uint16Array;

export interface ScanComponent {
  readonly id: number;
  readonly dcTable: number;
  readonly acTable: number;
}

/** Parameters of a scan header; for lossless processes `spectralStart` is the predictor, `approximationLow` the point transform. */
export interface Scan {
  readonly components: readonly ScanComponent[];
  readonly spectralStart: number;
  readonly spectralEnd: number;
  readonly approximationHigh: number;
  readonly approximationLow: number;
  /** Entropy-coded segments, one to a restart interval, without stuffing and restart markers. */
  readonly intervals: readonly Uint8Array[];
}

export interface JpegTables {
  readonly huffman: (HuffmanTable | undefined)[];
  /** In zigzag order. */
  readonly quantisation: (Uint16Array | undefined)[];
  /** Huffman tables read so far, each in place of one before it. */
  tableCount: number;
  restartInterval: number;
}

/** Far beyond what encoders make (ten of a progressive frame): each costs a walk through the picture, each table a fill of it. */
const MAX_SCANS = 100;
const MAX_TABLES = 1000;
const MAX_RESTARTS = 2 ** 20;
const SPARE_BYTES = 8;

/** Walks from `offset` to the end, filling `tables`, and calls `onScan` for each scan. @throws ArchiveError `cannot-render` */
export function readScans(bytes: Uint8Array, offset: number, tables: JpegTables, onScan: (scan: Scan) => void): void {
  let at = offset;
  let scans = 0;
  for (;;) {
    while (at < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] !== 0xff && bytes[at + 1] !== 0)) at++;
    const marker = bytes[at + 1];
    if (marker === undefined || marker === 0xd9) break;
    at += 2;
    if (marker >= 0xd0 && marker <= 0xd8) continue;
    const end = at + (((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
    if (end < at + 2 || end > bytes.length) throw cannotRender('A JPEG marker segment reaches beyond the frame');
    const segment = bytes.subarray(at + 2, end);
    at = end;
    if (marker === 0xc4) readHuffmanTables(segment, tables);
    else if (marker === 0xdb) readQuantisationTables(segment, tables);
    else if (marker === 0xdd) tables.restartInterval = ((segment[0] ?? 0) << 8) | (segment[1] ?? 0);
    else if (marker === 0xda) {
      if (++scans > MAX_SCANS) throw tooManyScans();
      const data = entropyCodedSegments(bytes, at);
      onScan(scanHeader(segment, data.intervals));
      at = data.end;
    }
  }
  if (scans === 0) throw cannotRender('The JPEG frame has no scan');
}

export function emptyTables(): JpegTables {
  return { huffman: [], quantisation: [], tableCount: 0, restartInterval: 0 };
}

/** Tables by class (0 DC or lossless, 1 AC) and destination 0 to 3. */
export const huffmanSlot = (tableClass: number, destination: number): number => tableClass * 4 + destination;

function readHuffmanTables(segment: Uint8Array, tables: JpegTables): void {
  let at = 0;
  while (at + 17 <= segment.length) {
    const tableClass = segment[at]! >> 4;
    const destination = segment[at]! & 15;
    const counts = segment.subarray(at + 1, at + 17);
    const total = counts.reduce((sum, count) => sum + count, 0);
    at += 17;
    if (tableClass > 1 || destination > 3 || at + total > segment.length) {
      throw cannotRender('A JPEG Huffman table is damaged');
    }
    if (++tables.tableCount > MAX_TABLES) throw cannotRender(`The JPEG frame has more than ${MAX_TABLES} tables`);
    tables.huffman[huffmanSlot(tableClass, destination)] = huffmanTable(counts, segment.subarray(at, at + total));
    at += total;
  }
}

function huffmanTable(counts: Uint8Array, symbols: Uint8Array): HuffmanTable {
  const table = new Uint16Array(65536);
  let code = 0;
  let symbol = 0;
  for (let length = 1; length <= 16; length++) {
    for (let i = 0; i < counts[length - 1]!; i++, code++) {
      if (code >= 2 ** length) throw cannotRender('A JPEG Huffman table has more codes than fit its lengths');
      const first = code << (16 - length);
      table.fill((length << 8) | symbols[symbol++]!, first, first + 2 ** (16 - length));
    }
    code <<= 1;
  }
  return table;
}

function readQuantisationTables(segment: Uint8Array, tables: JpegTables): void {
  let at = 0;
  while (at < segment.length) {
    const wide = segment[at]! >> 4;
    const destination = segment[at]! & 15;
    at++;
    if (wide > 1 || destination > 3 || at + 64 * (1 + wide) > segment.length) {
      throw cannotRender('A JPEG quantisation table is damaged');
    }
    const table = new Uint16Array(64);
    for (let i = 0; i < 64; i++) {
      table[i] = wide ? (segment[at + 2 * i]! << 8) | segment[at + 2 * i + 1]! : segment[at + i]!;
    }
    tables.quantisation[destination] = table;
    at += 64 * (1 + wide);
  }
}

function scanHeader(segment: Uint8Array, intervals: readonly Uint8Array[]): Scan {
  const count = segment[0] ?? 0;
  if (count < 1 || count > 4 || segment.length < 4 + 2 * count) throw cannotRender('A JPEG scan header is damaged');
  const tail = 1 + 2 * count;
  return {
    components: Array.from({ length: count }, (_, i) => ({
      id: segment[1 + 2 * i]!,
      dcTable: huffmanSlot(0, segment[2 + 2 * i]! >> 4),
      acTable: huffmanSlot(1, segment[2 + 2 * i]! & 15),
    })),
    spectralStart: segment[tail]!,
    spectralEnd: segment[tail + 1]!,
    approximationHigh: segment[tail + 2]! >> 4,
    approximationLow: segment[tail + 2]! & 15,
    intervals,
  };
}

/** Copies the scan's data once, without stuffed zeros, cut at restart markers; each piece has a few spare zeros behind it. */
function entropyCodedSegments(bytes: Uint8Array, start: number): { intervals: Uint8Array[]; end: number } {
  const intervals: Uint8Array[] = [];
  const copy = new Uint8Array(endOfScan(bytes, start) - start + SPARE_BYTES);
  let pieceStart = 0;
  let filled = 0;
  let at = start;
  for (;;) {
    const stop = bytes.indexOf(0xff, at);
    const run = stop === -1 ? bytes.length : stop;
    copy.set(bytes.subarray(at, run), filled);
    filled += run - at;
    at = run;
    if (at >= bytes.length) break;
    const next = bytes[at + 1];
    if (next === 0) {
      copy[filled++] = 0xff;
      at += 2;
    } else if (next === 0xff) at++;
    else if (next !== undefined && next >= 0xd0 && next <= 0xd7) {
      intervals.push(copy.slice(pieceStart, filled + SPARE_BYTES).fill(0, filled - pieceStart));
      pieceStart = filled;
      at += 2;
    } else break;
  }
  intervals.push(copy.subarray(pieceStart, filled + SPARE_BYTES));
  return { intervals, end: at };
}

/** The next marker that is no restart: a frame of a thousand short scans is not copied a thousand times. */
function endOfScan(bytes: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(0xff, start); at !== -1; at = bytes.indexOf(0xff, at + 1)) {
    const next = bytes[at + 1];
    if (next !== 0 && next !== 0xff && next !== undefined && (next < 0xd0 || next > 0xd7)) return at;
  }
  return bytes.length;
}

/**
 * Before anything else is done with the bytes: decoders go through all of them. @param offset of the first scan
 * @throws ArchiveError `cannot-render` for more scans or restarts than any encoder makes
 */
export function checkScans(bytes: Uint8Array, offset: number): void {
  let scans = 0;
  let restarts = 0;
  for (let at = bytes.indexOf(0xff, offset); at !== -1; at = bytes.indexOf(0xff, at + 1)) {
    const marker = bytes[at + 1]!;
    if (marker === 0xda && ++scans > MAX_SCANS) throw tooManyScans();
    if (marker >= 0xd0 && marker <= 0xd7 && ++restarts > MAX_RESTARTS) {
      throw cannotRender('The JPEG frame has too many restart markers');
    }
  }
}

const tooManyScans = () => cannotRender(`The JPEG frame has more than ${MAX_SCANS} scans`);

/** Reads bits of one restart interval, most significant first. Reading past the end gives zeros, and `overrun` tells. */
export class BitReader {
  readonly bytes: Uint8Array;
  bit = 0;

  /** @param interval as Scan gives it, with its spare bytes */
  constructor(interval: Uint8Array) {
    this.bytes = interval;
    if (interval.length > 2 ** 28) throw cannotRender('A JPEG scan is longer than 256 MiB');
  }

  get overrun(): boolean {
    return this.bit > (this.bytes.length - SPARE_BYTES) * 8;
  }

  peek16(): number {
    const { bytes, bit } = this;
    const at = bit >>> 3;
    const word = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    return (word >>> (8 - (bit & 7))) & 0xffff;
  }

  symbol(table: HuffmanTable): number {
    const entry = table[this.peek16()]!;
    if (entry === 0) throw cannotRender('The JPEG data holds a code that its Huffman table does not know');
    this.bit += entry >>> 8;
    return entry & 0xff;
  }

  /** @param count 0 to 16 */
  bits(count: number): number {
    if (count === 0) return 0;
    const value = this.peek16() >>> (16 - count);
    this.bit += count;
    return value;
  }

  /** T.81 RECEIVE and EXTEND. */
  signedBits(count: number): number {
    if (count === 0) return 0;
    const value = this.bits(count);
    return value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
  }
}
