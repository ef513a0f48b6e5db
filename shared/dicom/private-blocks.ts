/**
 * The blocks of private elements of one data set (PS3.5 §7.8.1): (gggg,00bb) holds the creator of the elements (gggg,bbxx).
 */
import type { DicomJson } from './dicom-json-model.ts';
import { tagKey } from './tags.ts';

export interface PrivateBlock {
  readonly creator: string;
  /** Whether its creator has no other block in the group. */
  readonly isOnly: boolean;
}

export const isPrivate = (tag: number): boolean => (tag & 0x10000) !== 0;

/** (gggg,0010) to (gggg,00FF) of an odd group. */
export const isPrivateCreator = (tag: number): boolean =>
  isPrivate(tag) && (tag & 0xffff) >= 0x10 && (tag & 0xffff) <= 0xff;

/** (gggg,00bb) of (gggg,bbxx). */
export const creatorTagOf = (tag: number): number => ((tag & 0xffff0000) | ((tag >>> 8) & 0xff)) >>> 0;

/** The creator that the element names; undefined where it names none. */
export function creatorIn(json: DicomJson, key: string): string | undefined {
  const value: unknown = Object.hasOwn(json, key) ? json[key]?.Value?.[0] : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Finds the block of a private element; undefined for other elements, for creators themselves and where there is no creator. */
export function privateBlocks(json: DicomJson): (tag: number) => PrivateBlock | undefined {
  /** How many blocks of its group a creator has. */
  const counts = new Map<string, number>();
  const nameOf = (tag: number, creator: string): string => `${tag >>> 16} ${creator}`;
  for (const key of Object.keys(json)) {
    const tag = Number.parseInt(key, 16);
    const creator = isPrivateCreator(tag) ? creatorIn(json, key) : undefined;
    if (creator !== undefined) counts.set(nameOf(tag, creator), (counts.get(nameOf(tag, creator)) ?? 0) + 1);
  }
  return (tag) => {
    if (!isPrivate(tag) || (tag & 0xffff) < 0x1000) return undefined;
    const creator = creatorIn(json, tagKey(creatorTagOf(tag)));
    return creator === undefined ? undefined : { creator, isOnly: counts.get(nameOf(tag, creator)) === 1 };
  };
}
