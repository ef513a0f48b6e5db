/**
 * What a gateway asks of the archive behind its cache: search, the packs of a study, its instances' records, and URLs for the bytes
 * of packs and manifests (gateway-read-api.ts). Only what is verified is shown: packs in state `archived`. Bytes never pass here.
 */
import type { z } from 'zod';
import { keyPartOf, manifestKey, packKey } from '#shared/archive/keys.ts';
import type { Archive } from '#shared/archive/ports.ts';
import type { PackRef } from '#shared/archive/records.ts';
import { DELETIONS_PATH } from '#shared/gateway-deletions-api.ts';
import {
  HOLDINGS_PATH,
  type HoldingsResponse,
  holdingsRequest,
  INSTANCES_PATH,
  type InstancesResponse,
  instancesRequest,
  instanceToWire,
  keyFromWire,
  packToWire,
  READS_PATH,
  type ReadAnswer,
  type ReadsResponse,
  readsRequest,
  SEARCH_PATH,
  type SearchResponse,
  searchRequest,
} from '#shared/gateway-read-api.ts';

import { deletions } from './deletions.ts';

/** Makes the one URL that lets its holder GET one object, whole or in ranges: bound to key, method and expiry. */
export type GrantRead = (
  key: string,
  expiresAtMs: number,
) => Promise<{ readonly url: string; readonly headers: Record<string, string> }>;

export interface ReadOptions {
  readonly archive: Archive;
  readonly grantRead: GrantRead;
  readonly nowMs: () => number;
}

/** Longer than a large pack takes on a thin line: S3 looks at the expiry when a GET begins, but a torn one begins again. */
const GRANT_LIFE_MS = 15 * 60 * 1000;

/** Reads the request's body as the contract has it. Error `bad-request`. */
export type ReadBody = <T extends z.ZodType>(schema: T) => Promise<z.infer<T>>;

/** By path; all of them POST. */
export const readRoutes = {
  [SEARCH_PATH]: search,
  [HOLDINGS_PATH]: holdings,
  [INSTANCES_PATH]: instances,
  [READS_PATH]: reads,
  [DELETIONS_PATH]: deletions,
} as const satisfies Record<string, (options: ReadOptions, body: ReadBody, tenant: string) => Promise<unknown>>;

async function search({ archive }: ReadOptions, body: ReadBody, tenant: string): Promise<SearchResponse> {
  const { keys, after, ...query } = await body(searchRequest);
  const page = await archive.index.search(tenant, {
    ...query,
    keys: keys.map(keyFromWire),
    ...(after === undefined ? {} : { after }),
  });
  return { matches: [...page.matches], more: page.more };
}

async function holdings({ archive }: ReadOptions, body: ReadBody, tenant: string): Promise<HoldingsResponse> {
  const { studyInstanceUid } = await body(holdingsRequest);
  const packs = await archive.index.listPacks(tenant, { studyInstanceUid: keyPartOf(studyInstanceUid) });
  return { packs: packs.map(packToWire).filter((pack) => pack !== undefined) };
}

async function instances({ archive }: ReadOptions, body: ReadBody, tenant: string): Promise<InstancesResponse> {
  const { studyInstanceUid, seriesInstanceUid, sopInstanceUid, limit, after } = await body(instancesRequest);
  if (seriesInstanceUid !== undefined && sopInstanceUid !== undefined) {
    const ref = { studyInstanceUid, seriesInstanceUid, sopInstanceUid };
    return { items: (await archive.index.getVersions(tenant, ref)).map(instanceToWire) };
  }
  const ref = { studyInstanceUid, ...(seriesInstanceUid === undefined ? {} : { seriesInstanceUid }) };
  const page = await archive.index.listInstances(tenant, ref, { limit, ...(after === undefined ? {} : { after }) });
  return { items: page.items.map(instanceToWire), ...(page.next === undefined ? {} : { next: page.next }) };
}

async function reads(options: ReadOptions, body: ReadBody, tenant: string): Promise<ReadsResponse> {
  const { packs } = await body(readsRequest);
  return { packs: await Promise.all(packs.map((ref) => grant(options, tenant, ref))) };
}

async function grant({ archive, grantRead, nowMs }: ReadOptions, tenant: string, ref: PackRef): Promise<ReadAnswer> {
  const record = await archive.index.getPack(tenant, ref);
  const pack = record && packToWire(record);
  if (record?.purgedAtMs !== undefined) return { kind: 'purged', packId: ref.packId };
  if (pack === undefined) return { kind: 'unknown', packId: ref.packId };
  const expiresAtMs = nowMs() + GRANT_LIFE_MS;
  const [bytes, manifest] = await Promise.all([
    grantRead(packKey(tenant, ref), expiresAtMs),
    grantRead(manifestKey(tenant, ref), expiresAtMs),
  ]);
  const { packId, lengthBytes, sha256 } = pack;
  return { kind: 'granted', packId, lengthBytes, sha256, pack: bytes, manifest, expiresAtMs };
}
