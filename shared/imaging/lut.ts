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
  const { values, bitsStored, signed } = frame;
  const chosen = chooseVoi(frame, attributes, requested);
  const display = displayTransform(attributes, chosen.transform);
  const pixels = new Uint8Array(values.length);
  if (bitsStored > 16 || values instanceof Float32Array || values instanceof Float64Array) {
    for (let i = 0; i < values.length; i++) pixels[i] = display(values[i]!);
    return { voi: chosen.voi, pixels };
  }
  // Indexed by the low bits, so that negative values need no offset: -1 is the last entry.
  const size = 2 ** bitsStored;
  const table = new Uint8Array(size);
  const half = signed ? size / 2 : size;
  for (let i = 0; i < size; i++) table[i] = display(i < half ? i : i - size);
  const mask = size - 1;
  for (let i = 0; i < values.length; i++) pixels[i] = table[values[i]! & mask]!;
  return { voi: chosen.voi, pixels };
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
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  if (modality.kind === 'table') {
    // Tables need not rise: look at every entry that the frame uses.
    const { firstMapped, entries } = modality.table;
    const used = new Uint8Array(entries.length);
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!;
      if (padding !== undefined && value >= padding.low && value <= padding.high) continue;
      used[Math.min(Math.max(value - firstMapped, 0), entries.length - 1)] = 1;
    }
    for (let i = 0; i < used.length; i++) {
      if (used[i] === 0) continue;
      low = Math.min(low, entries[i]!);
      high = Math.max(high, entries[i]!);
    }
    return { low, high };
  }
  const paddingLow = padding?.low ?? Number.POSITIVE_INFINITY;
  const paddingHigh = padding?.high ?? Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value >= paddingLow && value <= paddingHigh) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!Number.isFinite(low) || !Number.isFinite(high)) ({ low, high } = finiteRange(values));
  const ends = [low, high].map((value) => modalityValue(modality, value));
  return { low: Math.min(...ends), high: Math.max(...ends) };
}

/** Float frames may hold infinities; a range over those shows nothing. */
function finiteRange(values: PixelValues): { low: number; high: number } {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
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
