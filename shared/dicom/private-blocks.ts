/**
 * The blocks of private elements of one data set (PS3.5 §7.8.1): (gggg,00bb) holds the creator of the elements (gggg,bbxx).
 */
import type { DicomJson, JsonElement } from './dicom-json-model.ts';
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

export interface PrivateElement {
  /** Of its block only where its creator has several. */
  readonly tag: number;
  readonly creator: string;
  readonly element: JsonElement;
}

/** False when it is there already. */
export function put(json: DicomJson, tag: number, element: JsonElement): boolean {
  const key = tagKey(tag);
  if (Object.hasOwn(json, key)) return false;
  json[key] = element;
  return true;
}

const firstBlock = 0x10;
const lastBlock = 0xff;

/**
 * Adds elements to a data set in the blocks of their creators, which are added where they are not there. False when two are the
 * same, or when a group has no room for one more creator.
 */
export function placePrivates(json: DicomJson, elements: readonly PrivateElement[]): boolean {
  if (elements.length === 0) return true;
  const groups = groupsIn(json);
  for (const { tag, creator, element } of elements) {
    const ownTag = creatorTagOf(tag);
    const isOwn = (ownTag & 0xff) >= firstBlock && creatorIn(json, tagKey(ownTag)) === creator;
    const block = isOwn ? ownTag & 0xff : blockFor(json, tag >>> 16, creator, groups);
    const placed = ((tag & 0xffff00ff) | ((block ?? 0) << 8)) >>> 0;
    if (block === undefined || !put(json, placed, element)) return false;
  }
  return true;
}

interface GroupBlocks {
  readonly byCreator: Map<string, number>;
  readonly taken: Set<number>;
}

/** All private groups in one pass: there may be very many. */
function groupsIn(json: DicomJson): Map<number, GroupBlocks> {
  const groups = new Map<number, GroupBlocks>();
  for (const key of Object.keys(json)) {
    const tag = Number.parseInt(key, 16);
    if (!isPrivate(tag)) continue;
    const { byCreator, taken } = blocksOf(groups, tag >>> 16);
    const isInBlock = (tag & 0xffff) > lastBlock;
    taken.add(isInBlock ? (tag >>> 8) & 0xff : tag & 0xff);
    const creator = isPrivateCreator(tag) ? creatorIn(json, key) : undefined;
    if (creator !== undefined && !byCreator.has(creator)) byCreator.set(creator, tag & 0xff);
  }
  return groups;
}

function blocksOf(groups: Map<number, GroupBlocks>, group: number): GroupBlocks {
  const known = groups.get(group);
  if (known !== undefined) return known;
  const blocks: GroupBlocks = { byCreator: new Map(), taken: new Set() };
  groups.set(group, blocks);
  return blocks;
}

function blockFor(
  json: DicomJson,
  group: number,
  creator: string,
  groups: Map<number, GroupBlocks>,
): number | undefined {
  const { byCreator, taken } = blocksOf(groups, group);
  const known = byCreator.get(creator);
  if (known !== undefined) return known;
  let block = firstBlock;
  while (taken.has(block)) block++;
  if (block > lastBlock) return undefined;
  taken.add(block);
  byCreator.set(creator, block);
  put(json, ((group << 16) | block) >>> 0, { vr: 'LO', Value: [creator] });
  return block;
}
