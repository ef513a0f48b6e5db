/**
 * Pages that are stable while studies arrive: where the pages of a list ended that a client has read, so that his next offset goes on
 * behind the last match that he has, instead of counting anew from a beginning that has shifted. In memory and bounded: what was
 * read longest ago is forgotten first, and counted again. How the list is ordered is the index's (ArchiveIndex.search).
 */
import { createHash } from 'node:crypto';
import type { Place, Query } from '../archive/query.ts';

/** What of a request tells one client from another. There may be nothing better: requests do not say from which socket they come. */
const clientFields = ['authorization', 'forwarded', 'x-forwarded-for', 'user-agent'];

/** A place takes up to 300 bytes. */
const MAXIMUM_PLACES = 20_000;

export interface SearchPlaces {
  /** The page at `offset`, behind the last match before it, where the client has that. */
  pageAt(list: string, offset: number): Pick<Query, 'offset' | 'after'>;
  /** What a page from `offset` on has shown. A list that is read from its beginning is a new one. */
  remember(list: string, offset: number, shown: readonly Place[]): void;
}

/** What a client reads: the same query by the same client, whatever page of it. Holds nothing of either that could be read. */
export function listOf(request: Request, query: unknown): string {
  const client = clientFields.map((name) => request.headers.get(name));
  return createHash('sha256')
    .update(JSON.stringify([client, query]))
    .digest('base64');
}

/** @param maximumPlaces of all lists together */
export function createSearchPlaces(maximumPlaces = MAXIMUM_PLACES): SearchPlaces {
  /** By list, then by the number of matches up to and with the one that stands there. The list used last is the last. */
  const lists = new Map<string, Map<number, Place>>();
  let count = 0;

  function forget(list: string): void {
    count -= lists.get(list)?.size ?? 0;
    lists.delete(list);
  }

  return {
    pageAt(list, offset) {
      const after = lists.get(list)?.get(offset);
      return after === undefined ? { offset } : { offset: 0, after };
    },
    remember(list, offset, shown) {
      if (offset === 0) forget(list);
      const places = lists.get(list) ?? new Map<number, Place>();
      count -= places.size;
      for (const [i, place] of shown.entries()) places.set(offset + i + 1, place);
      count += places.size;
      lists.delete(list);
      if (places.size > 0) lists.set(list, places);
      for (const [oldest, known] of lists) {
        for (const first of known.keys()) {
          if (count <= maximumPlaces) return;
          known.delete(first);
          count--;
        }
        lists.delete(oldest);
      }
    },
  };
}
