/**
 * Going through a listing page by page.
 */
import { expect } from 'vitest';
import type { Page } from '#shared/archive/ports.ts';

/** Everything that `list` lists, in pages of `limit`, none of which may be longer. */
export async function all<T>(
  list: (page: { limit: number; after?: string }) => Promise<Page<T>>,
  limit: number,
): Promise<readonly T[]> {
  const items: T[] = [];
  let after: string | undefined;
  do {
    const page = await list(after === undefined ? { limit } : { limit, after });
    expect(page.items.length).toBeLessThanOrEqual(limit);
    items.push(...page.items);
    after = page.next;
  } while (after !== undefined);
  return items;
}
