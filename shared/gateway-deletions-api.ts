/**
 * The contract of a gateway that is told what was deleted in the cloud: POST, JSON over HTTPS, as gateway-api.ts. The gateway reads on from
 * where it was; what changed a short while ago comes more than once, since it may have been written out of order.
 */
import { z } from 'zod';
import type { Tombstone } from './archive/records.ts';
import { instancePlace } from './gateway-api.ts';

export const DELETIONS_PATH = '/gateway/deletions';
export const MAX_DELETIONS_PER_PAGE = 1_000;

export const deletionsRequest = z.object({
  /** As the cloud gave it with the page before; absent: from the first deletion on. */
  cursor: z.string().max(1024).optional(),
  limit: z.int().min(1).max(MAX_DELETIONS_PER_PAGE),
});
export type DeletionsRequest = z.infer<typeof deletionsRequest>;

/** A tombstone, without attributes. */
const deletion = instancePlace.extend({
  state: z.enum(['deleted', 'restored', 'purging', 'purged']),
  /** By the cloud's clock, which also says when packs were archived. */
  deletedAtMs: z.number(),
  changedAtMs: z.number(),
});
export type Deletion = z.infer<typeof deletion>;

export const deletionsResponse = z.object({
  /** In the order in which they came into their states. */
  deletions: z.array(deletion),
  /** For the next request; never absent. */
  cursor: z.string(),
  /** Whether there are others already. */
  more: z.boolean(),
});
export type DeletionsResponse = z.infer<typeof deletionsResponse>;

export function deletionToWire({ tenant: _, attributes: __, ...tombstone }: Tombstone): Deletion {
  return { ...tombstone };
}

/** Whatever its state there: here its bytes are deleted, or count. */
export function deletionFromWire(tenant: string, wire: Deletion): Tombstone {
  return { ...wire, tenant, state: wire.state === 'restored' ? 'restored' : 'deleted', attributes: {} };
}
