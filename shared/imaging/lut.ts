/**
 * Grayscale from stored values to display values of 8 or 16 bits: Modality LUT, VOI LUT, presentation (PS3.3 §C.11.1, §C.11.2,
 * §C.11.6; PS3.4 §N.2), in double precision with one rounding at the end. Up to 16 bits stored this is one table, looked up by
 * table-lookup.ts; wider and float pixels are computed one by one. Colour is color.ts.
 */
import { cannotRender, type DecodedFrame, type PixelValues } from './decoded-frame.ts';
import type { ImageAttributes, ModalityTransform, Window } from './image-attributes.ts';
import type { LookupTable } from './lookup-table.ts';
import { lookUp, lookUpWide, usedValues } from './table-lookup.ts';

export interface VoiTransform {
  /** From a modality value to 0 … 255, not yet rounded. */
  readonly at: (value: number) => number;
  /** Values below and above give what these give, up to what rounding takes off. */
  readonly low: number;
  readonly high: number;
}

/** Of widths: at twice the width from its centre a sigmoid is within a tenth of a grey level of its end; at five, of 16 bits, too. */
const SIGMOID_REACH = 5;

/** The formulas of PS3.3 §C.11.2.1.2, §C.11.2.1.3.1 and §C.11.2.1.3.2 with an output range of 0 to 255. */
export function windowTransform({ center, width, function: voiFunction }: Window): VoiTransform {
  if (voiFunction === 'SIGMOID') {
    const reach = SIGMOID_REACH * width;
    const at = (x: number) => 255 / (1 + Math.exp((-4 * (x - center)) / width));
    return { at, low: center - reach, high: center + reach };
  }
  const exact = voiFunction === 'LINEAR_EXACT';
  const middle = exact ? center : center - 0.5;
  const span = exact ? width : width - 1;
  const low = middle - span / 2;
  const high = middle + span / 2;
  return { at: (x) => (x <= low ? 0 : x > high ? 255 : ((x - middle) / span + 0.5) * 255), low, high };
}

/** A VOI LUT: below the first input mapped its first entry, above the last its last; entries are 0 to 2^bits - 1. */
export function tableTransform(table: LookupTable): VoiTransform {
  const scale = 255 / (2 ** table.bits - 1);
  const { firstMapped, entries } = table;
  return { at: (x) => entryOf(table, Math.round(x)) * scale, low: firstMapped, high: firstMapped + entries.length };
}

export function modalityValue(modality: ModalityTransform, stored: number): number {
  return modality.kind === 'linear' ? stored * modality.slope + modality.intercept : entryOf(modality.table, stored);
}

export interface GrayRendering<Pixels = Uint8Array<ArrayBuffer>> {
  /** What was applied: the window asked for, the first of the data set, its first VOI LUT, or the frame's own range. */
  readonly voi: 'requested' | 'window' | 'table' | 'range';
  readonly pixels: Pixels;
}

/** @returns one byte per pixel, 0 black: MONOCHROME1 is inverted already, padding is black */
export function renderGray(frame: DecodedFrame, attributes: ImageAttributes, requested?: Window): GrayRendering {
  const { values } = frame;
  const { voi, transform } = chooseVoi(frame, attributes, requested);
  const shade = shadeOf(attributes, transform, 255);
  if (values.BYTES_PER_ELEMENT > 2)
    return { voi, pixels: oneByOne(values, attributes, shade, new Uint8Array(values.length)) };
  const table = new Uint8Array(2 ** (8 * values.BYTES_PER_ELEMENT));
  fillTable(table, values, attributes, { shade, ...storedReach(attributes.modality, transform) });
  return { voi, pixels: lookUp(values, table) };
}

/** As renderGray with 65536 levels, for displays and files that show more than 256. */
export function renderGrayWide(
  frame: DecodedFrame,
  attributes: ImageAttributes,
  requested?: Window,
): GrayRendering<Uint16Array<ArrayBuffer>> {
  const { values } = frame;
  const { voi, transform } = chooseVoi(frame, attributes, requested);
  const shade = shadeOf(attributes, transform, 65535);
  if (values.BYTES_PER_ELEMENT > 2)
    return { voi, pixels: oneByOne(values, attributes, shade, new Uint16Array(values.length)) };
  const table = new Uint16Array(2 ** (8 * values.BYTES_PER_ELEMENT));
  fillTable(table, values, attributes, { shade, ...storedReach(attributes.modality, transform) });
  return { voi, pixels: lookUpWide(values, table) };
}

/** From a stored value that is no padding to a level from 0 to `top`: all of the way, with its one rounding. */
function shadeOf(
  { modality, inverse, presentationTable }: ImageAttributes,
  { at }: VoiTransform,
  top: 255 | 65535,
): (stored: number) => number {
  const scale = top / 255;
  if (presentationTable !== undefined) {
    const { entries, bits } = presentationTable;
    const last = entries.length - 1;
    const output = top / (2 ** bits - 1);
    return (stored) => {
      const gray = at(modalityValue(modality, stored));
      if (Number.isNaN(gray)) return 0;
      const part = Math.max(0, Math.min(1, gray / 255));
      return Math.round(entries[Math.round((inverse ? 1 - part : part) * last)]! * output);
    };
  }
  return (stored) => {
    const gray = at(modalityValue(modality, stored)) * scale;
    if (Number.isNaN(gray)) return 0;
    const rounded = gray >= top ? top : gray > 0 ? Math.floor(gray + 0.5) : 0;
    return inverse ? top - rounded : rounded;
  };
}

/** Wider than a table can be. In pieces, as doubles: a loop that meets several kinds of arrays is compiled for none of them. */
function oneByOne<Pixels extends Uint8Array | Uint16Array>(
  values: PixelValues,
  { padding }: ImageAttributes,
  shade: (stored: number) => number,
  pixels: Pixels,
): Pixels {
  const paddingLow = padding?.low ?? Number.POSITIVE_INFINITY;
  const paddingHigh = padding?.high ?? Number.NEGATIVE_INFINITY;
  const piece = new Float64Array(Math.min(values.length, 65536));
  for (let from = 0; from < values.length; from += piece.length) {
    const count = Math.min(piece.length, values.length - from);
    piece.set(values.subarray(from, from + count));
    for (let i = 0; i < count; i++) {
      const value = piece[i]!;
      pixels[from + i] = value >= paddingLow && value <= paddingHigh ? 0 : shade(value);
    }
  }
  return pixels;
}

interface StoredShades {
  readonly shade: (stored: number) => number;
  /** Stored values below and above have the shades of these. */
  readonly from: number;
  readonly to: number;
}

/** Where a stored value makes a difference: a CT window takes 400 of 65,536 values, and the rest are black or white. */
function storedReach(modality: ModalityTransform, { low, high }: VoiTransform): { from: number; to: number } {
  if (modality.kind === 'table') {
    const { firstMapped, entries } = modality.table;
    return { from: firstMapped, to: firstMapped + entries.length - 1 };
  }
  const ends = [low, high].map((value) => (value - modality.intercept) / modality.slope);
  return { from: Math.floor(Math.min(...ends)) - 1, to: Math.ceil(Math.max(...ends)) + 1 };
}

/** Indexed by the value's own bits, so that negative ones need no offset: -1 is the last entry. */
function fillTable(
  table: Uint8Array | Uint16Array,
  values: PixelValues,
  { padding }: ImageAttributes,
  { shade, from, to }: StoredShades,
): void {
  const mask = table.length - 1;
  const least = values instanceof Int16Array || values instanceof Int8Array ? -table.length / 2 : 0;
  const most = least + mask;
  const first = Math.max(least, Math.min(most, from));
  const last = Math.max(least, Math.min(most, to));
  const put = (start: number, end: number, level: number): void => {
    if (start < 0) table.fill(level, start & mask, (Math.min(end, -1) & mask) + 1);
    if (end >= 0) table.fill(level, Math.max(start, 0), end + 1);
  };
  if (first > least) put(least, first - 1, shade(first));
  for (let value = first; value <= last; value++) table[value & mask] = shade(value);
  if (last < most) put(last + 1, most, shade(last));
  if (padding !== undefined && padding.low <= most && padding.high >= least) {
    put(Math.max(least, Math.ceil(padding.low)), Math.min(most, Math.floor(padding.high)), 0);
  }
}

function chooseVoi(
  frame: DecodedFrame,
  attributes: ImageAttributes,
  requested: Window | undefined,
): { voi: GrayRendering['voi']; transform: VoiTransform } {
  if (requested !== undefined) return { voi: 'requested', transform: windowTransform(requested) };
  const [window] = attributes.windows;
  if (window !== undefined) return { voi: 'window', transform: windowTransform(window) };
  const [table] = attributes.voiTables;
  if (table !== undefined) return { voi: 'table', transform: tableTransform(table) };
  return { voi: 'range', transform: windowTransform(rangeWindow(frame, attributes)) };
}

/** The window that shows the frame's smallest modality value black and its largest white, padding left aside. */
export function rangeWindow(frame: DecodedFrame, attributes: ImageAttributes): Window {
  if (frame.bitsStored === 1 && attributes.modality.kind === 'linear') return oneBitWindow(attributes.modality);
  const { low, high } = modalityRange(frame.values, attributes);
  if (!(low <= high)) return { center: 0.5, width: 1, function: 'LINEAR_EXACT' };
  const width = high - low || 1;
  return { center: low + width / 2, width, function: 'LINEAR_EXACT' };
}

/** Segments: 0 is black and 1 is white in every frame, also in those that hold only one of them. */
function oneBitWindow({ slope, intercept }: { slope: number; intercept: number }): Window {
  return { center: intercept + slope / 2, width: Math.abs(slope), function: 'LINEAR_EXACT' };
}

function modalityRange(values: PixelValues, { modality, padding }: ImageAttributes): { low: number; high: number } {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const stored of values.BYTES_PER_ELEMENT <= 2 ? usedValues(values) : endsOf(values, padding)) {
    if (padding !== undefined && stored >= padding.low && stored <= padding.high) continue;
    const value = modalityValue(modality, stored);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

function endsOf(values: PixelValues, padding: ImageAttributes['padding']): number[] {
  const { low, high } = plainRange(values, padding);
  return low <= high ? [low, high] : [];
}

/** Of finite values without padding: float frames may hold infinities, and a range over those shows nothing. */
function plainRange(values: PixelValues, padding: ImageAttributes['padding']): { low: number; high: number } {
  const paddingLow = padding?.low ?? Number.POSITIVE_INFINITY;
  const paddingHigh = padding?.high ?? Number.NEGATIVE_INFINITY;
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if ((value >= paddingLow && value <= paddingHigh) || value - value !== 0) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

function entryOf(table: LookupTable, input: number): number {
  const { entries, firstMapped } = table;
  const last = entries.length - 1;
  if (last < 0) throw cannotRender('A lookup table has no entries');
  const index = input - firstMapped;
  return entries[Math.max(0, Math.min(last, index))]!;
}
