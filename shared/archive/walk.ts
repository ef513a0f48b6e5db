/**
 * How whoever works on much of an index goes through it: page after page, and some at a time. It knows no records.
 */

/** Items that are worked on at once. */
const CONCURRENCY = 16;

/**
 * All pages of a list: each is asked for when the one before has been worked on, so what that has changed counts.
 * @param list asks for the page behind `after`; what it is given goes into the request as it is
 */
export async function* pagesOf<T>(
  list: (from: {
    readonly after?: string;
  }) => Promise<{ readonly items: readonly T[]; readonly next?: string | undefined }>,
): AsyncGenerator<readonly T[], void, void> {
  let after: string | undefined;
  do {
    const page = await list(after === undefined ? {} : { after });
    yield page.items;
    after = page.next;
  } while (after !== undefined);
}

/** Results in the order of the items. Rejects only when nothing of it runs on: whoever then tries again is not in its own way. */
export async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const waiting = items.entries();
  const some = async (): Promise<void> => {
    for (const [i, item] of waiting) results[i] = await work(item);
  };
  for (const end of await Promise.allSettled(Array.from({ length: CONCURRENCY }, some)))
    if (end.status === 'rejected') throw end.reason;
  return results;
}
