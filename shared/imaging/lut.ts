/**
 * Grayscale from stored values to 8-bit display values: Modality LUT, VOI LUT, presentation (PS3.3 §C.11.1, §C.11.2,
 * §C.11.6; PS3.4 §N.2), in double precision with one rounding at the end. Up to 16 bits stored this is one table of
 * 2^BitsStored entries; wider and float pixels are computed one by one. Colour is color.ts.
 */
import { cannotRender, type DecodedFrame, type PixelValues } from './decoded-frame.ts';
import type { ImageAttributes, ModalityTransform, Window } from './image-attributes.ts';
import type { LookupTable } from './lookup-table.ts';

/** From a modality value to 0 … 255, not yet rounded. */
export type VoiTransform = (value: number) => number;

/** The formulas of PS3.3 §C.11.2.1.2, §C.11.2.1.3.1 and §C.11.2.1.3.2 with an output range of 0 to 255. */
export function windowTransform({ center, width, function: voiFunction }: Window): VoiTransform {
  if (voiFunction === 'SIGMOID') return (x) => 255 / (1 + Math.exp((-4 * (x - center)) / width));
  const exact = voiFunction === 'LINEAR_EXACT';
  const middle = exact ? center : center - 0.5;
  const span = exact ? width : width - 1;
  const low = middle - span / 2;
  const high = middle + span / 2;
  return (x) => (x <= low ? 0 : x > high ? 255 : ((x - middle) / span + 0.5) * 255);
}

/** A VOI LUT: below the first input mapped its first entry, above the last its last; entries are 0 to 2^bits - 1. */
export function tableTransform(table: LookupTable): VoiTransform {
  const scale = 255 / (2 ** table.bits - 1);
  return (x) => entryOf(table, Math.round(x)) * scale;
}

export function modalityValue(modality: ModalityTransform, stored: number): number {
  return modality.kind === 'linear' ? stored * modality.slope + modality.intercept : entryOf(modality.table, stored);
}

export interface GrayRendering {
  /** What was applied: the window asked for, the first of the data set, its first VOI LUT, or the frame's own range. */
  readonly voi: 'requested' | 'window' | 'table' | 'range';
  readonly pixels: Uint8Array<ArrayBuffer>;
}

/** @returns one byte per pixel, 0 black: MONOCHROME1 is inverted already, padding is black */
export function renderGray(frame: DecodedFrame, attributes: ImageAttributes, requested?: Window): GrayRendering {
  const { values, bitsStored } = frame;
  const chosen = chooseVoi(frame, attributes, requested);
  const display = displayTransform(attributes, chosen.transform);
  const pixels = new Uint8Array(values.length);
  if (bitsStored > 16 || values.BYTES_PER_ELEMENT > 2) {
    for (let i = 0; i < values.length; i++) pixels[i] = display(values[i]!);
    return { voi: chosen.voi, pixels };
  }
  // Indexed by the value's own bits, so that negative ones need no offset (-1 is the last entry), and filled only
  // where the frame has values: a CT uses 4,000 of its 65,536.
  const table = new Uint8Array(2 ** (8 * values.BYTES_PER_ELEMENT));
  const mask = table.length - 1;
  const { low, high } = storedRange(values);
  for (let value = low; value <= high; value++) table[value & mask] = display(value);
  if (values.BYTES_PER_ELEMENT === 1) lookUpBytes(values, table, pixels);
  else lookUpWords(values, table, pixels);
  return { voi: chosen.voi, pixels };
}

// One loop to a kind of array: a loop that meets several kinds is compiled for none of them, and runs at a quarter.
function lookUpBytes(values: PixelValues, table: Uint8Array, pixels: Uint8Array): void {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bytes.length; i++) pixels[i] = table[bytes[i]!]!;
}

function lookUpWords(values: PixelValues, table: Uint8Array, pixels: Uint8Array): void {
  const words = new Uint16Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < words.length; i++) pixels[i] = table[words[i]!]!;
}

function storedRange(values: PixelValues): { low: number; high: number } {
  if (values instanceof Uint8Array) return { low: 0, high: 255 };
  if (values instanceof Int8Array) return { low: -128, high: 127 };
  return values instanceof Int16Array ? signedRange(values) : unsignedRange(values as Uint16Array);
}

function signedRange(values: Int16Array): { low: number; high: number } {
  let low = 32767;
  let high = -32768;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

function unsignedRange(values: Uint16Array): { low: number; high: number } {
  let low = 65535;
  let high = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

function displayTransform(attributes: ImageAttributes, voi: VoiTransform): (stored: number) => number {
  const { modality, inverse, padding } = attributes;
  return (stored) => {
    if (padding !== undefined && stored >= padding.low && stored <= padding.high) return 0;
    const gray = voi(modalityValue(modality, stored));
    if (Number.isNaN(gray)) return 0;
    const rounded = gray >= 255 ? 255 : gray > 0 ? Math.floor(gray + 0.5) : 0;
    return inverse ? 255 - rounded : rounded;
  };
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
  if (modality.kind === 'table' || (padding !== undefined && values.BYTES_PER_ELEMENT <= 2)) {
    return rangeOfUsedValues(values, modality, padding);
  }
  const { low, high } = values.BYTES_PER_ELEMENT === 2 ? storedRange(values) : plainRange(values, padding);
  if (low > high) return { low, high };
  const ends = [low, high].map((value) => modalityValue(modality, value));
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

/** Tables need not rise, and padding may lie in the middle: look at every value that the frame uses, once. */
function rangeOfUsedValues(
  values: PixelValues,
  modality: ModalityTransform,
  padding: ImageAttributes['padding'],
): { low: number; high: number } {
  const used = new Set<number>();
  if (values.BYTES_PER_ELEMENT <= 2) {
    const seen = new Uint8Array(65536);
    for (let i = 0; i < values.length; i++) seen[values[i]! & 0xffff] = 1;
    const signed = values instanceof Int16Array || values instanceof Int8Array;
    for (let i = 0; i < seen.length; i++) if (seen[i] === 1) used.add(signed && i > 32767 ? i - 65536 : i);
  } else {
    const { low, high } = plainRange(values, padding);
    for (const value of [low, high]) used.add(value);
  }
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const stored of used) {
    if (padding !== undefined && stored >= padding.low && stored <= padding.high) continue;
    const value = modalityValue(modality, stored);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
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
