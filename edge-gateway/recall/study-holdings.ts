/**
 * Makes known here what the cloud holds of a study and this gateway does not: the records of its packs and instances, as if they had
 * been evicted from here. What is adopted obeys the same rule book (shared/archive/ingest.ts) as what is received; the bytes
 * come when somebody reads them. A study is asked about once in a while, however many want it.
 */

import { indexInstances } from '#shared/archive/ingest.ts';
import { keyPartOf, packRefOf } from '#shared/archive/keys.ts';
import type { ArchiveIndex } from '#shared/archive/ports.ts';
import type { InstanceRef, PackRecord, SeriesRef, StudyRef } from '#shared/archive/records.ts';
import { pagesOf } from '#shared/archive/walk.ts';
import { isUid } from '#shared/dicom/uid.ts';
import {
  type ArchivedPack,
  type InstancesRequest,
  instanceFromWire,
  MAX_INSTANCES_PER_PAGE,
  type WireInstance,
} from '#shared/gateway-read-api.ts';
import type { Logger } from '#shared/log.ts';
import type { CloudLine } from './cloud-line.ts';
import type { CloudReader } from './cloud-reader.ts';

export interface StudyHoldingsOptions {
  readonly index: ArchiveIndex;
  readonly cloud: Pick<CloudReader, 'holdings' | 'instances'>;
  readonly line: CloudLine;
  readonly nowMs: () => number;
  readonly log: Logger;
}

export interface StudyHoldings {
  /**
   * When it resolves, the index knows what the cloud held of the study a minute ago at most. Errors: `unavailable`, and what the cloud
   * answers; those of the index.
   */
  adopt(tenant: string, ref: StudyRef): Promise<void>;
  /** The cloud is asked anew about the study when it is adopted next. */
  forget(tenant: string, ref: StudyRef): void;
  /** The same, and every version of one instance with it. */
  adoptVersions(tenant: string, ref: InstanceRef): Promise<void>;
}

const FRESH_MS = 60_000;
const MAX_REMEMBERED = 1_000;
/** For a page of records; a question of few bytes has the line's own bound. */
const PAGE_WAIT_MS = 30_000;

export function createStudyHoldings({ index, cloud, line, nowMs, log }: StudyHoldingsOptions): StudyHoldings {
  const asked = new Map<string, { readonly adopting: Promise<void>; freshUntilMs: number }>();

  async function adoptStudy(tenant: string, { studyInstanceUid }: StudyRef): Promise<void> {
    const { packs } = await line.ask((signal) => cloud.holdings({ studyInstanceUid }, signal));
    const study = keyPartOf(studyInstanceUid);
    const known = await index.listPacks(tenant, { studyInstanceUid: study });
    const names = new Set(known.map(nameOf));
    const unknown = packs.filter((pack) => pack.studyInstanceUid === study && !names.has(nameOf(pack)));
    if (unknown.length === 0) return;
    const wanted = new Set(unknown.map(nameOf));
    let instances = 0;
    for (const ref of seriesOf(studyInstanceUid, unknown)) {
      for await (const items of instancesOf(ref)) {
        const own = items.filter((item) => isOf(item, study) && wanted.has(nameOf(packRefOf(item))));
        await indexInstances(
          index,
          own.map((instance) => instanceFromWire(tenant, instance)),
        );
        instances += own.length;
      }
    }
    // Only now: a pack that is known is never asked about again.
    await Promise.all(unknown.map((pack) => index.createPack(evictedPack(tenant, pack, nowMs()))));
    log.info(
      { studyInstanceUid, packs: unknown.length, instances },
      'what the cloud holds of a study is known here now',
    );
  }

  const instancesOf = (ref: StudyRef | SeriesRef): AsyncGenerator<readonly WireInstance[], void, void> =>
    pagesOf((from) => {
      const request: InstancesRequest = { ...ref, limit: MAX_INSTANCES_PER_PAGE, ...from };
      return line.ask((signal) => cloud.instances(request, signal), PAGE_WAIT_MS);
    });

  function adopt(tenant: string, ref: StudyRef): Promise<void> {
    const name = askedName(tenant, ref);
    const known = asked.get(name);
    if (known !== undefined && nowMs() < known.freshUntilMs) return known.adopting;
    const entry = { adopting: adoptStudy(tenant, ref), freshUntilMs: Number.POSITIVE_INFINITY };
    asked.delete(name);
    asked.set(name, entry);
    entry.adopting.then(
      () => {
        entry.freshUntilMs = nowMs() + FRESH_MS;
      },
      () => asked.get(name) === entry && asked.delete(name),
    );
    for (const [oldest] of asked) {
      if (asked.size <= MAX_REMEMBERED) break;
      asked.delete(oldest);
    }
    return entry.adopting;
  }

  return {
    adopt,
    forget: (tenant, ref) => void asked.delete(askedName(tenant, ref)),
    async adoptVersions(tenant, { studyInstanceUid, seriesInstanceUid, sopInstanceUid }) {
      await adopt(tenant, { studyInstanceUid });
      const request = { studyInstanceUid, seriesInstanceUid, sopInstanceUid, limit: MAX_INSTANCES_PER_PAGE };
      const { items } = await line.ask((signal) => cloud.instances(request, signal));
      const records = items
        .filter((item) => isOf(item, keyPartOf(studyInstanceUid)))
        .map((item) => instanceFromWire(tenant, item));
      const packs = await Promise.all(records.map((record) => index.getPack(tenant, packRefOf(record))));
      // Of packs that have their way before them, here or to the cloud, nobody else's word counts.
      await indexInstances(
        index,
        records.filter((_, i) => packs[i]?.state === 'archived'),
      );
    },
  };
}

/** What the cloud says of another study than it was asked about is not taken. @param study as in keys */
const isOf = ({ studyInstanceUid }: WireInstance, study: string): boolean => keyPartOf(studyInstanceUid) === study;

const askedName = (tenant: string, { studyInstanceUid }: StudyRef): string =>
  JSON.stringify([tenant, studyInstanceUid]);

const nameOf = ({ seriesInstanceUid, packId }: SeriesRef & { readonly packId: string }): string =>
  `${seriesInstanceUid} ${packId}`;

/** Of which series to list the instances; of the whole study where a series' key does not tell its UID. */
function seriesOf(studyInstanceUid: string, packs: readonly ArchivedPack[]): readonly (StudyRef | SeriesRef)[] {
  const uids = [...new Set(packs.map(({ seriesInstanceUid }) => seriesInstanceUid))];
  return uids.every(isUid)
    ? uids.map((seriesInstanceUid) => ({ studyInstanceUid, seriesInstanceUid }))
    : [{ studyInstanceUid }];
}

/**
 * As if it had been here and gone: that is what is true of it, and everything that reads knows what to do then. It was not sealed
 * here, so that nobody routes it as if it had been received, and left long before what eviction has just marked.
 */
function evictedPack(tenant: string, pack: ArchivedPack, nowMs: number): PackRecord {
  const { studyInstanceUid, seriesInstanceUid, packId, lengthBytes, sha256, instanceCount } = pack;
  return {
    tenant,
    studyInstanceUid,
    seriesInstanceUid,
    packId,
    state: 'archived',
    instanceCount,
    lengthBytes,
    sha256,
    createdAtMs: pack.createdAtMs,
    archivedAtMs: pack.archivedAtMs,
    evictedAtMs: Math.min(pack.archivedAtMs, nowMs),
  };
}
