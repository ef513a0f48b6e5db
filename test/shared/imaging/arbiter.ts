/**
 * The arbiter: the formulas of PS3.3 and PS3.5 for one pixel at a time, in double precision, written down as the standard has them and
 * without a thought for speed. It shares no code with shared/imaging, and decides who is right where two renderers differ.
 */

/** PS3.5 §8.1.1: a cell of Bits Allocated to the value that is stored in it. */
export function storedValueOf(
  cell: bigint,
  { bitsStored, highBit, signed }: { bitsStored: number; highBit: number; signed: boolean },
): number {
  const lowest = BigInt(highBit + 1 - bitsStored);
  const bits = (cell >> lowest) & ((1n << BigInt(bitsStored)) - 1n);
  const isNegative = signed && bits >> BigInt(bitsStored - 1) === 1n;
  return Number(isNegative ? bits - (1n << BigInt(bitsStored)) : bits);
}

export interface Table {
  readonly firstMapped: number;
  readonly entries: ArrayLike<number>;
  readonly bits: number;
}

/** §C.11.1.1, §C.11.2.1.1: inputs below the first mapped give the first entry, those above the last mapped the last. */
export function entryOf({ firstMapped, entries }: Table, input: number): number {
  if (input < firstMapped) return entries[0]!;
  if (input > firstMapped + entries.length - 1) return entries[entries.length - 1]!;
  return entries[input - firstMapped]!;
}

export interface ArbiterWindow {
  readonly center: number;
  readonly width: number;
  readonly function: 'LINEAR' | 'LINEAR_EXACT' | 'SIGMOID';
}

/** §C.11.2.1.2, §C.11.2.1.3. */
export function windowed(
  x: number,
  { center: c, width: w, function: name }: ArbiterWindow,
  ymin: number,
  ymax: number,
) {
  if (name === 'SIGMOID') return (ymax - ymin) / (1 + Math.exp(-4 * ((x - c) / w))) + ymin;
  if (name === 'LINEAR_EXACT') {
    if (x <= c - w / 2) return ymin;
    if (x > c + w / 2) return ymax;
    return ((x - c) / w + 0.5) * (ymax - ymin) + ymin;
  }
  if (x <= c - 0.5 - (w - 1) / 2) return ymin;
  if (x > c - 0.5 + (w - 1) / 2) return ymax;
  return ((x - (c - 0.5)) / (w - 1) + 0.5) * (ymax - ymin) + ymin;
}

export interface GrayFormula {
  readonly modality: { readonly slope: number; readonly intercept: number } | Table;
  readonly voi: ArbiterWindow | Table;
  readonly inverse?: boolean;
  readonly presentation?: Table;
  readonly padding?: { readonly low: number; readonly high: number } | undefined;
}

/** A stored value to a grey level from 0 to `top`, not rounded; padding is black. */
export function grayOf(stored: number, formula: GrayFormula, top = 255): number {
  const { modality, voi, inverse = false, presentation, padding } = formula;
  if (padding !== undefined && stored >= padding.low && stored <= padding.high) return 0;
  const value = 'slope' in modality ? modality.slope * stored + modality.intercept : entryOf(modality, stored);
  if (Number.isNaN(value)) return 0;
  let y = 'center' in voi ? windowed(value, voi, 0, 1) : entryOf(voi, Math.round(value)) / (2 ** voi.bits - 1);
  if (inverse) y = 1 - y;
  if (presentation === undefined) return y * top;
  const input = Math.round(y * (presentation.entries.length - 1));
  return (entryOf(presentation, input) / (2 ** presentation.bits - 1)) * top;
}

type Triple = readonly [number, number, number];

/** §C.7.6.3.1.2, solved for R, G and B. */
export function rgbOfYbrFull([y, cb, cr]: Triple): Triple {
  const red = y + (cr - 128) / 0.5 * (1 - 0.299); // biome-ignore format: as derived
  const blue = y + (cb - 128) / 0.5 * (1 - 0.114); // biome-ignore format: as derived
  return [clamp(red), clamp((y - 0.299 * red - 0.114 * blue) / 0.587), clamp(blue)];
}

/** §C.7.6.3.1.2: Y from 16 to 235, chroma from 16 to 240. */
export function rgbOfYbrPartial([y, cb, cr]: Triple): Triple {
  const luma = ((y - 16) / (235 - 16)) * 255;
  const red = luma + ((cr - 128) / (240 - 16)) * 255 * 2 * (1 - 0.299);
  const blue = luma + ((cb - 128) / (240 - 16)) * 255 * 2 * (1 - 0.114);
  return [clamp(red), clamp((luma - 0.299 * red - 0.114 * blue) / 0.587), clamp(blue)];
}

const clamp = (value: number): number => Math.min(255, Math.max(0, value));

export type Segment =
  | { readonly kind: 'discrete'; readonly values: readonly number[] }
  | { readonly kind: 'linear'; readonly length: number; readonly end: number }
  | { readonly kind: 'indirect'; readonly first: number; readonly count: number };

/** §C.7.9.2: what segments say, entry by entry; an indirect one repeats `count` segments from the `first`. */
export function expanded(segments: readonly Segment[]): number[] {
  const entries: number[] = [];
  const take = (segment: Segment): void => {
    if (segment.kind === 'discrete') entries.push(...segment.values);
    else if (segment.kind === 'indirect') {
      for (const repeated of segments.slice(segment.first, segment.first + segment.count)) take(repeated);
    } else {
      const start = entries[entries.length - 1]!;
      for (let i = 1; i <= segment.length; i++) {
        entries.push(Math.round(start + ((segment.end - start) * i) / segment.length));
      }
    }
  };
  for (const segment of segments) take(segment);
  return entries;
}

/** The segments as they are written, in units of a byte (8-bit entries) or of a word. */
export function segmentUnits(segments: readonly Segment[], unitBits: 8 | 16): number[] {
  const units: number[] = [];
  const starts: number[] = [];
  for (const segment of segments) {
    starts.push(units.length * (unitBits / 8));
    if (segment.kind === 'discrete') units.push(0, segment.values.length, ...segment.values);
    else if (segment.kind === 'linear') units.push(1, segment.length, segment.end);
    else {
      const offset = starts[segment.first]!;
      const parts = Array.from(
        { length: 32 / unitBits },
        (_, i) => Math.floor(offset / 2 ** (i * unitBits)) % 2 ** unitBits,
      );
      units.push(2, segment.count, ...parts);
    }
  }
  return units;
}

export interface ArbiterShutter {
  readonly rectangle?: {
    readonly left: number;
    readonly right: number;
    readonly upper: number;
    readonly lower: number;
  };
  readonly circle?: { readonly row: number; readonly column: number; readonly radius: number };
  /** Row, column. */
  readonly polygon?: readonly (readonly [number, number])[];
}

/** §C.7.6.11: whether the pixel at this row and column, both from 1, is shown: within every shape or on its edge. */
export function isShown(row: number, column: number, { rectangle, circle, polygon }: ArbiterShutter): boolean {
  if (rectangle !== undefined) {
    const { left, right, upper, lower } = rectangle;
    if (column < left || column > right || row < upper || row > lower) return false;
  }
  if (circle !== undefined && (row - circle.row) ** 2 + (column - circle.column) ** 2 > circle.radius ** 2)
    return false;
  return polygon === undefined || isWithin(row, column, polygon);
}

/** On an edge, or the number of edges to its right is odd. */
function isWithin(row: number, column: number, vertices: readonly (readonly [number, number])[]): boolean {
  let crossings = 0;
  for (let i = 0; i < vertices.length; i++) {
    const [r1, c1] = vertices[i]!;
    const [r2, c2] = vertices[(i + 1) % vertices.length]!;
    const cross = (c2 - c1) * (row - r1) - (r2 - r1) * (column - c1);
    const isBeside =
      row >= Math.min(r1, r2) && row <= Math.max(r1, r2) && column >= Math.min(c1, c2) && column <= Math.max(c1, c2);
    if (cross === 0 && isBeside) return true;
    if (r1 > row !== r2 > row && column < c1 + ((row - r1) / (r2 - r1)) * (c2 - c1)) crossings += 1;
  }
  return crossings % 2 === 1;
}
