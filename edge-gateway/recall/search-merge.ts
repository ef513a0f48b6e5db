/**
 * One search over two archives: what is here and what the cloud has, as one list in the port's order, each match once. What matches
 * here stands where it stands here, what only the cloud has where it stands there, so that no page depends on another. Of a
 * study or a series in both, the side that counts more instances answers: another gateway may have sent more of it.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import { inOrder, type Place, placeOf, type Query, type SearchPage, withAvailability } from '#shared/archive/query.ts';
import type { Level } from '#shared/archive/records.ts';
import type { DicomJson } from '#shared/dicom/dicom-json-model.ts';
import type { MatchKey } from '#shared/dicom/matching.ts';
import { MAX_MATCHES_PER_PAGE } from '#shared/gateway-read-api.ts';

export type Search = (query: Query) => Promise<SearchPage>;

export interface MergeSources {
  readonly tenant: string;
  readonly index: Pick<ArchiveIndex, 'search'>;
  /** Never rejects: a page that is `incomplete` ends the cloud's part. */
  readonly cloud: Search;
}

interface Entry {
  readonly match: DicomJson;
  readonly place: Place;
}

/** What has been read of one side and not been shown, in its order. */
interface Side {
  waiting: Entry[];
  more: boolean;
  /** How far it has been read: whatever comes stands behind it. Undefined: not at all. */
  readTo: Place | undefined;
  /** Whether the last page has all its matches. */
  isWhole: boolean;
  /** The last page as it came, by name: most of what the other side asks about is on it. */
  lastPage: ReadonlyMap<string, DicomJson>;
}

const unread = (after: Place | undefined): Side => ({
  waiting: [],
  more: true,
  readTo: after,
  isWhole: false,
  lastPage: new Map(),
});

const uidTags: Readonly<Record<Level, readonly [key: string, tag: number]>> = {
  study: ['0020000D', 0x0020000d],
  series: ['0020000E', 0x0020000e],
  instance: ['00080018', 0x00080018],
};
const countTags: Readonly<Record<Level, string | undefined>> = {
  study: '00201208',
  series: '00201209',
  // One instance is as many here as there, and here it is at hand.
  instance: undefined,
};

export class SearchMerge {
  readonly #sources: MergeSources;
  readonly #query: Pick<Query, 'level' | 'keys'>;
  readonly #here: Side;
  readonly #there: Side;
  #incomplete: string | undefined;

  /** @param after where it begins; undefined: with the first match. */
  constructor(sources: MergeSources, query: Pick<Query, 'level' | 'keys'>, after: Place | undefined) {
    this.#sources = sources;
    this.#query = query;
    this.#here = unread(after);
    this.#there = unread(after);
  }

  /** The next matches behind those that were taken before. Errors: those of the local search. */
  async take(limit: number): Promise<SearchPage> {
    const matches: DicomJson[] = [];
    // One more than is wanted says whether there is more.
    for (;;) {
      await this.#read(limit + 1);
      const side = this.#next();
      if (side === undefined || matches.length === limit) {
        const page = { matches, more: side !== undefined };
        return this.#incomplete === undefined ? page : { ...page, incomplete: this.#incomplete };
      }
      matches.push((side.waiting.shift() as Entry).match);
    }
  }

  /** The side that has the next match; undefined at the end of both. */
  #next(): Side | undefined {
    const [here] = this.#here.waiting;
    const [there] = this.#there.waiting;
    if (there === undefined) return here === undefined ? undefined : this.#here;
    return here === undefined || isBefore(there.place, here.place) ? this.#there : this.#here;
  }

  /** Reads on until it is clear what comes next: the cloud's side only as far as what is here reaches. */
  async #read(wanted: number): Promise<void> {
    const limit = Math.min(wanted, MAX_MATCHES_PER_PAGE);
    const [here, there] = [this.#here, this.#there];
    if (here.waiting.length === 0 && here.more) {
      // Both at once where the cloud's has not been read further: what is on both pages needs no question.
      const isBoth =
        there.waiting.length === 0 &&
        there.more &&
        !(here.readTo && there.readTo && isBefore(here.readTo, there.readTo));
      const [own, others] = await Promise.all([
        this.#page(here, limit, (query) => this.#search(query)),
        isBoth ? this.#page(there, limit, (query) => this.#ask(query)) : [],
      ]);
      await Promise.all([this.#showHere(own), this.#showThere(others)]);
    }
    while (there.waiting.length === 0 && there.more && isBehind(here.waiting[0]?.place, there.readTo))
      await this.#showThere(await this.#page(there, limit, (query) => this.#ask(query)));
  }

  async #showHere(matches: readonly DicomJson[]): Promise<void> {
    const { level } = this.#query;
    const twins = countTags[level] === undefined ? undefined : await this.#among(matches, this.#there);
    for (const match of matches) {
      const twin = twins?.get(nameOf(level, match));
      const isMore = twin !== undefined && countOf(level, twin) > countOf(level, match);
      this.#here.waiting.push({
        place: placeOf(level, match),
        match: isMore ? placedAs(match, asFromCloud(twin)) : match,
      });
    }
  }

  async #showThere(matches: readonly DicomJson[]): Promise<void> {
    const { level } = this.#query;
    const known = await this.#among(matches, this.#here);
    for (const match of matches) {
      if (known.has(nameOf(level, match))) continue;
      this.#there.waiting.push({ place: placeOf(level, match), match: asFromCloud(match) });
    }
  }

  async #page(side: Side, limit: number, search: Search): Promise<readonly DicomJson[]> {
    const { level } = this.#query;
    const after = side.readTo;
    const { matches, more } = await search({
      ...this.#query,
      limit,
      offset: 0,
      ...(after === undefined ? {} : { after }),
    });
    const last = matches.at(-1);
    const readTo = last && placeOf(level, last);
    // A side that does not come further has come to its end, whatever it says.
    side.more = more && readTo !== undefined && (after === undefined || isBefore(after, readTo));
    side.isWhole = !more && after === undefined;
    side.lastPage = new Map(matches.map((match) => [nameOf(level, match), match]));
    side.readTo = readTo ?? after;
    return matches;
  }

  #search(query: Query): Promise<SearchPage> {
    return this.#sources.index.search(this.#sources.tenant, query);
  }

  async #ask(query: Query): Promise<SearchPage> {
    if (this.#incomplete !== undefined) return { matches: [], more: false };
    const page = await this.#sources.cloud(query);
    this.#incomplete ??= page.incomplete;
    return page;
  }

  /** Which of these the other side has as matches of the same query, by name. */
  async #among(matches: readonly DicomJson[], other: Side): Promise<ReadonlyMap<string, DicomJson>> {
    const { level, keys } = this.#query;
    const unknown = other.isWhole ? [] : matches.filter((match) => !other.lastPage.has(nameOf(level, match)));
    const [name, tag] = uidTags[level];
    const uids = [...new Set(unknown.map((match) => String(match[name]?.Value?.[0] ?? '')))].filter(isListed);
    if (uids.length === 0) return other.lastPage;
    const key: MatchKey = { path: [tag], vr: 'UI', text: uids.join('\\'), condition: { kind: 'values', values: uids } };
    const found = new Map(other.lastPage);
    for (let offset = 0, more = true; more; ) {
      // A UID may stand in several studies, so that there can be more matches than UIDs.
      const query = { level, keys: [key, ...keys], limit: MAX_MATCHES_PER_PAGE, offset };
      const page = await (other === this.#there ? this.#ask(query) : this.#search(query));
      for (const match of page.matches) found.set(nameOf(level, match), match);
      offset += page.matches.length;
      more = page.more && page.matches.length > 0;
    }
    return found;
  }
}

/** Tells it from all others of its level. */
const nameOf = (level: Level, match: DicomJson): string => placeOf(level, match).uids.join('\n');

function countOf(level: Level, match: DicomJson): number {
  const tag = countTags[level];
  return tag === undefined ? 0 : Number(match[tag]?.Value?.[0] ?? 0);
}

/** What the cloud can give at once has to come from there. */
function asFromCloud(match: DicomJson): DicomJson {
  const availability = match['00080056']?.Value?.[0];
  return inOrder(
    withAvailability(match, availability === 'OFFLINE' || availability === 'UNAVAILABLE' ? availability : 'NEARLINE'),
  );
}

/** Can be one of a list of UIDs; what cannot stands twice when both sides have it. */
const isListed = (uid: string): boolean => uid !== '' && !/[\\,*?]/.test(uid);

/** A list is ordered by the dates that it shows. */
function placedAs({ '00080020': date }: DicomJson, match: DicomJson): DicomJson {
  const { '00080020': _, ...rest } = match;
  return date === undefined ? rest : inOrder({ ...rest, '00080020': date });
}

/** The order of ArchiveIndex.search: newest first, then by UID. */
function isBefore(a: Place, b: Place): boolean {
  if (a.date !== b.date) return a.date > b.date;
  const at = a.uids.findIndex((uid, i) => uid !== b.uids[i]);
  return at >= 0 && (a.uids[at] ?? '') < (b.uids[at] ?? '');
}

/** Whether something could still come that stands before `place`; nothing stands behind the end of a list. */
const isBehind = (place: Place | undefined, readTo: Place | undefined): boolean =>
  place === undefined || readTo === undefined || isBefore(readTo, place);
