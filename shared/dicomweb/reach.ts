/**
 * Which of many instances can be had now. The packs of a study lie in different places: one may sleep, be behind a line that is down, or
 * be missing. What is known of that beforehand is said with status 206 and a Warning (PS3.18 §8.5), instead of an answer that breaks off.
 */
import type { PackStore } from '../archive/ports.ts';
import { ArchiveError, isArchiveError } from '../errors.ts';
import type { Context } from './context.ts';
import { addWarning } from './search.ts';
import { keyOf, type StoredInstance } from './stored-instances.ts';

export interface Reach {
  readonly reachable: readonly StoredInstance[];
  /** Why the first of the others cannot be had; undefined when all can. */
  readonly failure: ArchiveError | undefined;
}

const questionsAtOnce = 8;

/**
 * Looks for the packs of the instances, not into them. Of instances in one pack nothing is asked: reading it tells.
 * Throws the failure when not one of them can be had.
 */
export async function reachOf(
  packs: PackStore,
  instances: readonly StoredInstance[],
  context: Context,
): Promise<Reach> {
  const byPack = Map.groupBy(instances, keyOf);
  if (byPack.size <= 1) return { reachable: instances, failure: undefined };
  const failures = new Map<string, ArchiveError>();
  const lengths = new Map<string, number>();
  const waiting = byPack.keys();
  const ask = async (): Promise<void> => {
    for (const key of waiting) {
      const found = await lengthOf(packs, key);
      if (typeof found === 'number') lengths.set(key, found);
      else failures.set(key, found);
    }
  };
  await Promise.all(Array.from({ length: questionsAtOnce }, ask));
  const isWithin = (instance: StoredInstance): boolean =>
    instance.offsetBytes + instance.lengthBytes <= (lengths.get(keyOf(instance)) ?? 0);
  const reachable = instances.filter(isWithin);
  if (reachable.length === instances.length) return { reachable: instances, failure: undefined };
  const [failure = new ArchiveError('damaged', 'A pack ends before what the index says is in it.')] = failures.values();
  if (reachable.length === 0) throw failure;
  context.log.warn(
    { code: failure.code, ...failure.details, away: instances.length - reachable.length },
    'Only a part of what was asked for can be given',
  );
  return { reachable, failure };
}

/** What else than 200 an answer says that holds a part only. It is not to be kept in place of the whole. */
export function partialStatus(
  headers: Headers,
  { reachable, failure }: Reach,
  total: number,
  context: Context,
): 200 | 206 {
  if (failure === undefined) return 200;
  const when = failure.code === 'damaged' ? '' : ' now';
  const what = `${total - reachable.length} of ${total} instances cannot be given${when}`;
  const why = failure.code === 'damaged' ? 'a stored object cannot be read' : failure.message;
  addWarning(headers, context.baseUrl, `${what}: ${why}`);
  headers.delete('etag');
  headers.set('cache-control', 'no-store');
  const seconds = Number(failure.details.retryAfterSeconds);
  if (seconds > 0) headers.set('retry-after', String(seconds));
  return 206;
}

async function lengthOf(packs: PackStore, key: string): Promise<number | ArchiveError> {
  try {
    const found = await packs.head(key);
    return found?.lengthBytes ?? new ArchiveError('damaged', 'A pack is missing.', { key });
  } catch (error) {
    const isPassing = isArchiveError(error, 'unavailable') || isArchiveError(error, 'out-of-resources');
    if (isPassing || isArchiveError(error, 'damaged')) return error;
    throw error;
  }
}
