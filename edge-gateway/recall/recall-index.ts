/**
 * The gateway's index with the cloud's behind it. Searches are merged; a study that is looked at closer is first made known here as
 * far as the cloud holds it, so that everything below it comes from one place. What is known here is answered whatever the cloud
 * does; what is not, while it cannot be asked, is `unavailable` and not unknown. Writes go to this gateway's index alone.
 */
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { Query, SearchPage } from '#shared/archive/query.ts';
import type { StudyRef } from '#shared/archive/records.ts';
import { exactValues } from '#shared/dicom/matching.ts';
import { ArchiveError, isArchiveError } from '#shared/errors.ts';
import type { Logger } from '#shared/log.ts';
import { cloudNotAsked, type MergedSearch } from './merged-search.ts';
import type { StudyHoldings } from './study-holdings.ts';

export interface RecallIndexOptions {
  readonly index: ArchiveIndex;
  readonly holdings: StudyHoldings;
  readonly mergedSearch: MergedSearch;
  readonly log: Logger;
}

/** Studies that one search names and that are made known before it; with more of them the search is merged. */
const MAX_NAMED_STUDIES = 16;

export function createRecallIndex({ index, holdings, mergedSearch, log }: RecallIndexOptions): ArchiveIndex {
  /** Why it could not be done; undefined when it was. */
  async function tryTo(adopt: () => Promise<void>, { studyInstanceUid }: StudyRef): Promise<ArchiveError | undefined> {
    try {
      await adopt();
      return undefined;
    } catch (error) {
      if (!isArchiveError(error)) throw error;
      if (error.code === 'unavailable') return error;
      log.warn({ studyInstanceUid, err: error }, 'the cloud could not be asked about a study');
      // No identifier of anything in the cloud.
      if (error.code === 'bad-request') return undefined;
      // What the cloud has against the gateway is nothing that who asks here has done.
      return new ArchiveError('unavailable', 'The cloud archive refused to answer this gateway.', {}, error);
    }
  }

  /** What is here, after the cloud was asked about the study; the reason why not, if nothing is. */
  async function read<T>(
    tenant: string,
    ref: StudyRef,
    from: () => Promise<T>,
    isFound: (found: T) => boolean,
  ): Promise<T> {
    const failure = await tryTo(() => holdings.adopt(tenant, ref), ref);
    const found = await from();
    if (failure !== undefined && !isFound(found)) throw failure;
    return found;
  }

  /** The studies that a search below the level of studies is all about, if it says so and they are few. */
  function studiesOf({ level, keys }: Query): readonly string[] | undefined {
    if (level === 'study') return undefined;
    const key = keys.find(({ path }) => path.length === 1 && path[0] === 0x0020000d);
    const uids = key && exactValues(key);
    return uids === undefined || uids.length > MAX_NAMED_STUDIES ? undefined : uids;
  }

  async function searchWithin(tenant: string, query: Query, studies: readonly string[]): Promise<SearchPage> {
    const failures = await Promise.all(
      studies.map((studyInstanceUid) =>
        tryTo(() => holdings.adopt(tenant, { studyInstanceUid }), { studyInstanceUid }),
      ),
    );
    const failure = failures.find((one) => one !== undefined);
    const page = await index.search(tenant, query);
    return failure === undefined ? page : { ...page, incomplete: cloudNotAsked };
  }

  const isThere = (found: unknown): boolean => found !== undefined;

  return {
    createInstances: (records) => index.createInstances(records),
    replaceCurrent: (record, expected) => index.replaceCurrent(record, expected),
    replaceConflict: (record, expected) => index.replaceConflict(record, expected),
    deleteConflict: (record) => index.deleteConflict(record),
    deleteCurrent: (record) => index.deleteCurrent(record),
    createTombstones: (tombstones) => index.createTombstones(tombstones),
    updateTombstone: (tombstone, from, change) => index.updateTombstone(tombstone, from, change),
    // What the cloud deletes is told to this gateway (deletions.ts), whether it has anything of it or not.
    listTombstones: (tenant, ref, page) => index.listTombstones(tenant, ref, page),
    changedTombstones: (tenant, page) => index.changedTombstones(tenant, page),
    tombstonesToPurge: (tenant, page) => index.tombstonesToPurge(tenant, page),
    /** What is known here needs no question. */
    async getInstance(tenant, ref) {
      const known = await index.getInstance(tenant, ref);
      return known ?? read(tenant, ref, () => index.getInstance(tenant, ref), isThere);
    },
    async getVersions(tenant, ref) {
      const failure = await tryTo(() => holdings.adoptVersions(tenant, ref), ref);
      const versions = await index.getVersions(tenant, ref);
      if (failure !== undefined && versions.length === 0) throw failure;
      return versions;
    },
    listInstances: (tenant, ref, page) =>
      read(
        tenant,
        ref,
        () => index.listInstances(tenant, ref, page),
        ({ items }) => items.length > 0 || page.after !== undefined,
      ),
    listConflicts: (tenant, limit) => index.listConflicts(tenant, limit),
    recount: (tenant, ref) => index.recount(tenant, ref),
    getStudy: (tenant, ref) => read(tenant, ref, () => index.getStudy(tenant, ref), isThere),
    getSeries: (tenant, ref) => read(tenant, ref, () => index.getSeries(tenant, ref), isThere),
    listSeries: (tenant, ref) =>
      read(
        tenant,
        ref,
        () => index.listSeries(tenant, ref),
        (found) => found.length > 0,
      ),
    createPack: (record) => index.createPack(record),
    getPack: (tenant, ref) => index.getPack(tenant, ref),
    updatePack: (tenant, ref, from, change) => index.updatePack(tenant, ref, from, change),
    deletePack: (tenant, ref) => index.deletePack(tenant, ref),
    listPacks: (tenant, ref) => index.listPacks(tenant, ref),
    packsInState: (tenant, state, page) => index.packsInState(tenant, state, page),
    packTotals: (tenant) => index.packTotals(tenant),
    search(tenant, query) {
      const studies = studiesOf(query);
      return studies === undefined ? mergedSearch(tenant, query) : searchWithin(tenant, query, studies);
    },
    close: () => index.close(),
  };
}
