/**
 * Keys of the index's table: an item collection is one study, and within it kinds of items in ranges of the sort key. Parts of keys are
 * joined so that keys sort as their parts do, one by one, whatever is in them: DynamoDB compares the bytes of UTF-8.
 */
import { createHash } from 'node:crypto';
import type { InstanceRef, PackRef, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { ArchiveError } from '#shared/errors.ts';

/** Of the table. */
export type ItemKey = {
  readonly pk: string;
  readonly sk: string;
};

/** Between parts. Before every character that a part has left. */
export const SEPARATOR = '#';
/** Behind every key that begins with the text before it. */
export const LAST = '\uffff';
/** Put behind a key, what comes next after it. */
export const NEXT = '\u0001';

/** Sort keys have at most 1,024 bytes: that of a conflict in its list has three UIDs and a digest. */
const MAXIMUM_PART_BYTES = 280;

/**
 * Itself where it is a UID or any other usual text. Characters up to `$` are written as `$` and two digits; those from U+D7FF on as that
 * character and six, so that the order of keys is one and the same for DynamoDB, which compares bytes of UTF-8, and for us.
 */
export const escaped = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what sorts before the separator
  text.replace(/[\u{0}-$\u{d7ff}-\u{10ffff}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code <= 0x24 ? `$${hex(code, 2)}` : `${HIGH}${hex(code, 6)}`;
  });

const HIGH = '\ud7ff';
const hex = (code: number, digits: number): string => code.toString(16).padStart(digits, '0');

/** A part of a key. */
export function partOf(text: string): string {
  const part = escaped(text);
  if (part.length * 3 <= MAXIMUM_PART_BYTES || Buffer.byteLength(part) <= MAXIMUM_PART_BYTES) return part;
  // No UID is as long. Two of them are told apart; where they stand among each other is not said.
  return `${firstBytes(part, 200)}$$${createHash('sha256').update(text).digest('hex')}`;
}

/** What partOf made it of; undefined where it cannot tell. */
export function textOfPart(part: string): string | undefined {
  if (part.includes('$$')) return undefined;
  return part.replace(/(?:\$([0-9a-f]{2})|\ud7ff([0-9a-f]{6}))/g, (_, low?: string, high?: string) =>
    String.fromCodePoint(Number.parseInt(low ?? high ?? '', 16)),
  );
}

/** The first characters of it, in at most so many bytes. */
export function firstBytes(text: string, bytes: number): string {
  let end = 0;
  let length = 0;
  for (const character of text) {
    length += Buffer.byteLength(character);
    if (length > bytes) break;
    end += character.length;
  }
  return text.slice(0, end);
}

export const joined = (...parts: readonly string[]): string => parts.map(partOf).join(SEPARATOR);

export const studyPartition = (tenant: string, { studyInstanceUid }: StudyRef): string =>
  `${tenant}${SEPARATOR}${partOf(studyInstanceUid)}`;
/** Of what is known of all studies of a tenant: no study has an empty part with a separator behind it. */
export const tenantPartition = (tenant: string): string => `${tenant}${SEPARATOR}${SEPARATOR}`;
export const tenantOf = (pk: string): string => pk.slice(0, pk.indexOf(SEPARATOR));
export const studyPartOf = (pk: string): string => pk.slice(pk.indexOf(SEPARATOR) + 1);

export type Kind = 'STUDY' | 'SERIES' | 'INSTANCE' | 'CONFLICT' | 'PACK' | 'TOMBSTONE' | 'LOOKUP' | 'MONTH';

export const sortKey = (kind: Kind, ...parts: readonly string[]): string =>
  [kind, ...parts.map(partOf)].join(SEPARATOR);

export const studyKey = (tenant: string, ref: StudyRef): ItemKey => ({ pk: studyPartition(tenant, ref), sk: 'STUDY' });
export const seriesKey = (tenant: string, ref: SeriesRef): ItemKey => ({
  pk: studyPartition(tenant, ref),
  sk: sortKey('SERIES', ref.seriesInstanceUid),
});
export const instanceKey = (tenant: string, ref: InstanceRef): ItemKey => ({
  pk: studyPartition(tenant, ref),
  sk: sortKey('INSTANCE', ref.seriesInstanceUid, ref.sopInstanceUid),
});
export const packItemKey = (tenant: string, ref: PackRef): ItemKey => ({
  pk: studyPartition(tenant, ref),
  sk: sortKey('PACK', ref.seriesInstanceUid, ref.packId),
});

/** Sort keys from `from` on, or behind it where it is a cursor, up to the last that begins with `prefix`. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** All of a kind that begin with these whole parts. */
export function rangeOf(kind: Kind, ...parts: readonly string[]): Range {
  const prefix = `${sortKey(kind, ...parts)}${SEPARATOR}`;
  return { from: prefix, to: prefix + LAST };
}

/** What is left of it behind a key; undefined: all of it. */
export const behind = (range: Range, last: string | undefined): Range =>
  last === undefined || last < range.from ? range : { from: last + NEXT, to: range.to };

/** The UIDs of an item: out of its keys, or as it says them itself where a key cannot. */
export function uidsOf(item: ItemKey & { readonly uids?: string }): readonly string[] {
  if (item.uids !== undefined) return JSON.parse(item.uids) as string[];
  const parts = [studyPartOf(item.pk), ...item.sk.split(SEPARATOR).slice(1)];
  return parts.map((part) => textOfPart(part) ?? '');
}

/** What an item has to say of its UIDs, for uidsOf. */
export function uidsToSay(uids: readonly string[]): { readonly uids?: string } {
  return uids.every((uid) => textOfPart(partOf(uid)) === uid) ? {} : { uids: JSON.stringify(uids) };
}

/** A moment as part of a key. */
export const momentPart = (ms: number): string =>
  String(Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.floor(ms)))).padStart(16, '0');

/** The values that a cursor holds, of the kinds that `like` has; undefined: the first page. Error `bad-request`. */
export function readCursor<T extends readonly (string | number)[]>(after: string | undefined, like: T): T | undefined {
  if (after === undefined) return undefined;
  try {
    const values = JSON.parse(after) as unknown[];
    if (values.length === like.length && values.every((value, i) => typeof value === typeof like[i]))
      return values as unknown as T;
  } catch {
    // Falls through: not one of ours.
  }
  throw new ArchiveError(
    'bad-request',
    'The cursor is not one that this index has given out; start from the first page.',
  );
}
