/**
 * What a gateway is told of deletions: the tombstones of its tenant in the order in which they changed. Moments are those of whoever wrote
 * them, and writing takes a while: so the cursor stays behind the present by more than that, and the latest are told again.
 */
import { z } from 'zod';
import { ArchiveError } from '#shared/errors.ts';
import { type DeletionsResponse, deletionsRequest, deletionToWire } from '#shared/gateway-deletions-api.ts';
import type { ReadBody, ReadOptions } from './reads.ts';

const OVERLAP_MS = 2 * 60_000;

const cursorSchema = z.object({ fromMs: z.number(), after: z.string().optional() });

/** POST of DELETIONS_PATH. Error `bad-request`. */
export async function deletions(
  { archive, nowMs }: ReadOptions,
  body: ReadBody,
  tenant: string,
): Promise<DeletionsResponse> {
  const { cursor, limit } = await body(deletionsRequest);
  const { fromMs, after } = readCursor(cursor);
  const askedAtMs = nowMs();
  const page = await archive.index.changedTombstones(tenant, {
    fromMs,
    limit,
    ...(after === undefined ? {} : { after }),
  });
  // Also back, with a clock that was set back: what is deleted then has earlier moments.
  const next = page.next === undefined ? { fromMs: askedAtMs - OVERLAP_MS } : { fromMs, after: page.next };
  return {
    deletions: page.items.map(deletionToWire),
    cursor: JSON.stringify(next),
    more: page.next !== undefined,
  };
}

function readCursor(cursor: string | undefined): z.infer<typeof cursorSchema> {
  if (cursor === undefined) return { fromMs: 0 };
  try {
    return cursorSchema.parse(JSON.parse(cursor));
  } catch (cause) {
    throw new ArchiveError('bad-request', 'The cursor is not one that was given out here.', {}, cause);
  }
}
