/**
 * Instance Availability (0008,0056), PS3.3 §C.4.23.1.1: how soon what was found can be had. Where the bytes lie, and
 * which of the terms follows from it, is the archive's; the terms are the standard's.
 */

export type InstanceAvailability =
  /** At once. */
  | 'ONLINE'
  /** After a delay: from slower storage, by itself when it is asked for. */
  | 'NEARLINE'
  /** Only after somebody has done something by hand. */
  | 'OFFLINE'
  /** Not at all, though it is known. */
  | 'UNAVAILABLE';

const soonestFirst: readonly InstanceAvailability[] = ['ONLINE', 'NEARLINE', 'OFFLINE', 'UNAVAILABLE'];

/** Of many instances together: as soon as the slowest of them. None at all: `UNAVAILABLE`. */
export function availabilityOfAll(parts: readonly InstanceAvailability[]): InstanceAvailability {
  let slowest = parts.length === 0 ? soonestFirst.length - 1 : 0;
  for (const part of parts) slowest = Math.max(slowest, soonestFirst.indexOf(part));
  return soonestFirst[slowest] ?? 'UNAVAILABLE';
}
