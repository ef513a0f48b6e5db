/**
 * Which packs lie on the gateway's disk, and which of them may leave it first: questions beside the ArchiveIndex port, since
 * only a cache asks them. They only read: what is done about a pack goes through the port, on its state's condition.
 */
import type { PackRecord } from '#shared/archive/records.ts';
import type { Database } from './sqlite-database.ts';
import type { StoredPage } from './sqlite-instances.ts';
import { packOf } from './sqlite-packs.ts';

export interface CacheTotals {
  /** Sealed packs of any state whose bytes are on this disk. */
  readonly onDisk: { readonly packs: number; readonly bytes: number };
  /** Of these, what is archived and could therefore be evicted. */
  readonly evictable: { readonly packs: number; readonly bytes: number };
  /** What of the archive is known here and has to be fetched. */
  readonly evicted: { readonly packs: number; readonly bytes: number };
}

export interface CachedPackTable {
  /** Archived packs whose bytes are here, the one longest unused (see lastUsedMs) first. */
  leastRecentlyUsed(tenant: string, page: { limit: number; after?: string }): StoredPage<PackRecord>;
  /** Those marked as evicted last, the last one first. */
  lastEvicted(tenant: string, limit: number): readonly PackRecord[];
  /** Every sealed pack, of whatever state, whose bytes should be here, in ascending order of packId from after `after`. */
  packsOnDisk(tenant: string, page: { limit: number; after?: string }): readonly PackRecord[];
  cacheTotals(tenant: string): CacheTotals;
  /** Bytes of the packs that were made from `packId` on, open ones included, and the first of them. */
  arrivedSince(tenant: string, packId: string): { readonly bytes: number; readonly firstPackId: string | undefined };
}

/** When a pack was last needed: read, archived (by the cloud's clock), or sealed. The expression in pack_cached says the same. */
export const lastUsedMs = ({ accessedAtMs = 0, archivedAtMs = 0, sealedAtMs = 0 }: PackRecord): number =>
  Math.max(accessedAtMs, archivedAtMs, sealedAtMs);

const lastUsed = 'max(coalesce(accessed_at_ms, 0), coalesce(archived_at_ms, 0), coalesce(sealed_at_ms, 0))';

export const cachedPacksMigration = `
  CREATE INDEX pack_cached ON pack (tenant, ${lastUsed}, pack_id, length_bytes)
    WHERE state = 'archived' AND evicted_at_ms IS NULL;
  CREATE INDEX pack_on_disk ON pack (tenant, pack_id, length_bytes) WHERE state <> 'open' AND evicted_at_ms IS NULL;
  CREATE INDEX pack_evicted ON pack (tenant, evicted_at_ms, length_bytes) WHERE evicted_at_ms IS NOT NULL;
`;

export function createCachedPackTable(database: Database): CachedPackTable {
  const sql = (text: string) => database.statement(text);
  const totalOf = (text: string, tenant: string): { packs: number; bytes: number } => {
    const row = sql(text).get(tenant);
    return { packs: row?.packs as number, bytes: (row?.bytes as number | null) ?? 0 };
  };
  const counts = 'SELECT count(*) AS packs, sum(length_bytes) AS bytes FROM pack';

  return {
    leastRecentlyUsed(tenant, { limit, after }) {
      const [usedMs, packId] = after === undefined ? [-1, ''] : (JSON.parse(after) as [number, string]);
      const items = sql(`SELECT * FROM pack INDEXED BY pack_cached
        WHERE tenant = ? AND state = 'archived' AND evicted_at_ms IS NULL AND (${lastUsed}, pack_id) > (?, ?)
        ORDER BY ${lastUsed}, pack_id LIMIT ?`)
        .all(tenant, usedMs, packId, limit)
        .map(packOf);
      const last = items.at(-1);
      const next =
        items.length < limit || last === undefined ? undefined : JSON.stringify([lastUsedMs(last), last.packId]);
      return { items, next };
    },

    lastEvicted: (tenant, limit) =>
      sql(`SELECT * FROM pack INDEXED BY pack_evicted WHERE tenant = ? AND evicted_at_ms IS NOT NULL
        ORDER BY evicted_at_ms DESC LIMIT ?`)
        .all(tenant, limit)
        .map(packOf),

    packsOnDisk: (tenant, { limit, after = '' }) =>
      sql(`SELECT * FROM pack INDEXED BY pack_on_disk
        WHERE tenant = ? AND state <> 'open' AND evicted_at_ms IS NULL AND pack_id > ? ORDER BY pack_id LIMIT ?`)
        .all(tenant, after, limit)
        .map(packOf),

    cacheTotals: (tenant) => ({
      onDisk: totalOf(
        `${counts} INDEXED BY pack_on_disk WHERE tenant = ? AND state <> 'open' AND evicted_at_ms IS NULL`,
        tenant,
      ),
      evictable: totalOf(
        `${counts} INDEXED BY pack_cached WHERE tenant = ? AND state = 'archived' AND evicted_at_ms IS NULL`,
        tenant,
      ),
      evicted: totalOf(`${counts} INDEXED BY pack_evicted WHERE tenant = ? AND evicted_at_ms IS NOT NULL`, tenant),
    }),

    arrivedSince(tenant, packId) {
      const row = sql(`SELECT sum(length_bytes) AS bytes, min(pack_id) AS first FROM pack INDEXED BY pack_by_state
        WHERE tenant = ? AND state IN ('open', 'sealed', 'sent', 'archived', 'rejected') AND pack_id >= ?`).get(
        tenant,
        packId,
      );
      return { bytes: (row?.bytes as number | null) ?? 0, firstPackId: (row?.first as string | null) ?? undefined };
    },
  };
}
