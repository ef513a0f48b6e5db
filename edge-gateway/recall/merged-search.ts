/**
 * Searching here and in the cloud, page by page: who reads on gets the next matches of the same merge, so that reading a long list
 * costs what is in it, and whoever jumps to the middle of one pays for what he skips. While the cloud is away what is here is
 * answered at once, with a sentence about what could not be asked.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { checkQuery, type Place, placeOf, type Query, type SearchPage } from '#shared/archive/query.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import { keyToWire, MAX_MATCHES_PER_PAGE } from '#shared/gateway-read-api.ts';
import type { Logger } from '#shared/log.ts';
import type { CloudLine } from './cloud-line.ts';
import type { CloudReader } from './cloud-reader.ts';
import { SearchMerge } from './search-merge.ts';

export interface MergedSearchOptions {
  readonly index: Pick<ArchiveIndex, 'search'>;
  readonly cloud: Pick<CloudReader, 'search'>;
  readonly line: CloudLine;
  readonly nowMs: () => number;
  readonly log: Logger;
}

/** Answers as ArchiveIndex.search does, `incomplete` where the cloud did not answer; `too-large` also for too far an offset. */
export type MergedSearch = (tenant: string, query: Query) => Promise<SearchPage>;

/** Merges that somebody may read on from; each holds two pages at most. */
const MAX_OPEN_MERGES = 16;
const OPEN_MS = 60_000;
/** Who begins in the middle has everything before it read for him. */
const MAX_SKIPPED = 100_000;
/** What C-FIND and QIDO-RS say of it. */
export const cloudNotAsked = 'The cloud archive could not be asked; what is not on this gateway may be missing';

/** `here alone`: begun while the cloud was away, and stays so, since a list must not change while it is read. */
type Merge = SearchMerge | 'here alone';

interface OpenMerge {
  readonly merge: Merge;
  /** Two, of the same place. */
  readonly names: readonly string[];
  readonly untilMs: number;
}

export function createMergedSearch({ index, cloud, line, nowMs, log }: MergedSearchOptions): MergedSearch {
  /** By query and where it goes on: behind the last match or, for who counts, at the next offset. The one used last is the last. */
  const open = new Map<string, OpenMerge>();

  async function ask(query: Query): Promise<SearchPage> {
    try {
      return await line.ask((signal) => cloud.search(query, signal));
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      if (error.code === 'unavailable') return { matches: [], more: false, incomplete: cloudNotAsked };
      log.warn({ err: error }, 'the cloud refused a search');
      return { matches: [], more: false, incomplete: `${cloudNotAsked}: ${error.message}` };
    }
  }

  function forget({ names }: OpenMerge): void {
    for (const name of names) open.delete(name);
  }

  function take(name: string): Merge | undefined {
    const found = open.get(name);
    if (found === undefined) return undefined;
    forget(found);
    return nowMs() < found.untilMs ? found.merge : undefined;
  }

  function keep(names: readonly string[], merge: Merge): void {
    for (const name of names) {
      const other = open.get(name);
      if (other !== undefined) forget(other);
    }
    const kept = { merge, names, untilMs: nowMs() + OPEN_MS };
    for (const name of names) open.set(name, kept);
    for (const [, oldest] of open) {
      if (open.size <= 2 * MAX_OPEN_MERGES) return;
      forget(oldest);
    }
  }

  return async (tenant, query) => {
    checkQuery(query);
    const { level, keys, limit, offset, after } = query;
    const asked = JSON.stringify([tenant, level, keys.map(keyToWire)]);
    const nameAt = (from: Place | undefined, at: number): string => `${asked} ${JSON.stringify([from, at])}`;
    let merge = take(nameAt(after, offset));
    if (merge === undefined && !line.isUp) merge = 'here alone';
    if (merge === undefined) {
      if (offset > MAX_SKIPPED)
        throw new ArchiveError(
          'too-large',
          `A search can begin at ${MAX_SKIPPED} matches at most; narrow it, or read on page by page.`,
        );
      const begun = new SearchMerge({ tenant, index, cloud: ask }, { level, keys }, after);
      merge = begun;
      for (let left = offset; left > 0; ) {
        const skipped = await begun.take(Math.min(left, MAX_MATCHES_PER_PAGE));
        left -= skipped.matches.length;
        if (!skipped.more) break;
      }
    }
    const page =
      merge === 'here alone'
        ? { ...(await index.search(tenant, query)), incomplete: cloudNotAsked }
        : await merge.take(limit);
    const last = page.matches.at(-1);
    if (page.more && last !== undefined)
      keep([nameAt(placeOf(level, last), 0), nameAt(after, offset + page.matches.length)], merge);
    return page;
  };
}
