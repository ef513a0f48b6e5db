/**
 * Which packs wait to be uploaded, in the order in which they should go: a question beside the ArchiveIndex port, since only
 * a gateway's uploader asks it. It costs the same however many packs wait; what is done goes through the port.
 */
import type { PackRecord, UploadPriority } from '#shared/archive/records.ts';
import type { Database } from './sqlite-database.ts';
import { packOf } from './sqlite-packs.ts';

export interface WaitingPackTable {
  /** Sealed packs of one priority, newest first, from before the packId `before`. */
  packsToUpload(
    tenant: string,
    priority: UploadPriority,
    page: { limit: number; before?: string },
  ): readonly PackRecord[];
}

const priorityOf = "coalesce(priority, 'routine')";

export const waitingPacksMigration = `
  CREATE INDEX pack_to_upload ON pack (tenant, ${priorityOf}, pack_id) WHERE state = 'sealed';
`;

/** Later than every packId. */
const LAST = 'g';

export function createWaitingPackTable(database: Database): WaitingPackTable {
  return {
    packsToUpload: (tenant, priority, { limit, before = LAST }) =>
      database
        .statement(`SELECT * FROM pack INDEXED BY pack_to_upload
          WHERE tenant = ? AND ${priorityOf} = ? AND state = 'sealed' AND pack_id < ? ORDER BY pack_id DESC LIMIT ?`)
        .all(tenant, priority, before, limit)
        .map(packOf),
  };
}
