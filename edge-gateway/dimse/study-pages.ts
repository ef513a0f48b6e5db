/**
 * All studies of a search, one page after the other, at a cost that grows with their number: an offset makes the index look again
 * at all that it skips, so pages go on from the Study Date that the last ones came to. The order is that of ArchiveIndex.search.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Query, SearchPage } from '#shared/archive/query.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import { type MatchKey, matchKey } from '#shared/dicom/matching.ts';
import { Tag } from '#shared/dicom/tags.ts';

export interface PageSizes {
  /** Of the first page: the first answer is wanted soon. */
  readonly first: number;
  readonly next: number;
  /** An offset from which on it is worth to go on from a date. */
  readonly rebase: number;
}

const usual: PageSizes = { first: 100, next: 1_000, rebase: 2_000 };
/** Studies told apart from those of the next page; more of one date are paged by offset. */
const MAX_REMEMBERED = 1_000;

/** Each once, also while others are stored. Errors: those of ArchiveIndex.search. */
export async function* studyPages(
  index: Pick<ArchiveIndex, 'search'>,
  tenant: string,
  keys: Query['keys'],
  sizes: PageSizes = usual,
): AsyncGenerator<DicomJson, void, void> {
  /** What the next page may show again, by UID. */
  let seen = new Map<string, string | undefined>();
  let until: MatchKey | undefined;
  let untilDate: string | undefined;
  let isTail = false;
  let offset = 0;
  let total = 0;
  let limit = sizes.first;
  const pageAt = (from: number): Promise<SearchPage> =>
    index.search(tenant, { level: 'study', keys: until === undefined ? keys : [until, ...keys], limit, offset: from });
  for (;;) {
    const page = await pageAt(offset);
    limit = sizes.next;
    for (const match of page.matches) {
      const uid = String(match['0020000D']?.Value?.[0]);
      if (seen.has(uid)) continue;
      seen.set(uid, dateOf(match));
      total++;
      yield match;
    }
    offset += page.matches.length;
    if (!page.more) {
      if (until === undefined) return;
      // Those without a date that can be compared come last: behind all that had one.
      until = undefined;
      isTail = true;
      offset = total;
      continue;
    }
    const date = dateOf(page.matches.at(-1));
    if (isTail || offset < sizes.rebase || date === undefined || date === untilDate) continue;
    const again = new Map([...seen].filter(([, other]) => other === undefined || other === date));
    if (again.size > MAX_REMEMBERED) continue;
    seen = again;
    untilDate = date;
    until = matchKey([Tag.StudyDate], 'DA', `-${date}`);
    offset = 0;
  }
}

/** Where the study stands in the order; undefined for what is no single whole date. */
function dateOf(match: DicomJson | undefined): string | undefined {
  const values = match?.['00080020']?.Value ?? [];
  const [date] = values;
  return values.length === 1 && typeof date === 'string' && /^\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/.test(date)
    ? date
    : undefined;
}
