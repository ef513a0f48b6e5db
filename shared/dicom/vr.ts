/**
 * The Value Representations of PS3.5 §6.2 as the reader and the dictionary handle them: a small number for each, found
 * from its two letters without making a string, and how its length is encoded (PS3.5 §7.1.2).
 */
import type { Vr } from './data-set.ts';

/** In ascending order; the index in this list is the VR's number. */
export const vrNames: readonly Vr[] = [
  'AE', 'AS', 'AT', 'CS', 'DA', 'DS', 'DT', 'FD', 'FL', 'IS', 'LO', 'LT', 'OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'PN',
  'SH', 'SL', 'SQ', 'SS', 'ST', 'SV', 'TM', 'UC', 'UI', 'UL', 'UN', 'UR', 'US', 'UT', 'UV',
]; // biome-ignore format: a table reads better

const longForm = new Set<Vr>(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SQ', 'SV', 'UC', 'UN', 'UR', 'UT', 'UV']);
const bulk = new Set<Vr>(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN']);

/** What `vrNumber` answers for two bytes that are no VR. */
export const NO_VR = 255;

const numbers = new Uint8Array(26 * 26).fill(NO_VR);
for (const [number, name] of vrNames.entries()) {
  numbers[(name.charCodeAt(0) - 0x41) * 26 + name.charCodeAt(1) - 0x41] = number;
}

/** The number of the VR that two bytes spell, or NO_VR. */
export function vrNumber(first: number, second: number): number {
  const row = first - 0x41;
  const column = second - 0x41;
  if (row < 0 || row > 25 || column < 0 || column > 25) return NO_VR;
  return numbers[row * 26 + column] as number;
}

/** By VR number: 1 where explicit VR encodes two reserved bytes and a 32-bit length, 0 where a 16-bit length. */
export const hasLongLength: Uint8Array = Uint8Array.from(vrNames, (name) => (longForm.has(name) ? 1 : 0));

/** By VR number: 1 where a long value may be left where it lies. */
export const mayBeBulk: Uint8Array = Uint8Array.from(vrNames, (name) => (bulk.has(name) ? 1 : 0));

export const vrNumberOf = (name: Vr): number => vrNumber(name.charCodeAt(0), name.charCodeAt(1));

export function isVr(text: string): text is Vr {
  return text.length === 2 && vrNumber(text.charCodeAt(0), text.charCodeAt(1)) !== NO_VR;
}
